"""Input without an end: no more of it is read than a picture can have, and it is refused in one line."""

from __future__ import annotations

import io
import itertools
import os
import re
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lbfgs_style import ImageFileError, images
from lbfgs_style.images import input_limits
from tests.helpers.command import contents, one_error, paint, photo, run, start

POSIX = pytest.mark.skipif(not Path("/dev/stdin").exists(), reason="pipes that have a path")

PNG = images.encode(images.from_array(photo(480, 640)))
JPEG = images.encode(images.from_array(photo(480, 640)), "jpg")
MIB = 2**20


def pushed(pipe, begin, more):
    """Send `begin`, then `more` repeatedly until the reader stops; return the number of bytes sent."""
    sent, piece = os.write(pipe, begin), more * (MIB // len(more))
    try:
        for _ in itertools.count():
            sent += os.write(pipe, piece)
    except BrokenPipeError:
        return sent


def refused(begin, more, *arguments):
    """Run the command with an endless standard input; return its message and the bytes that it read."""
    reader, writer = os.pipe()
    process = start(*arguments, stdin=reader)
    os.close(reader)
    try:
        with ThreadPoolExecutor(1) as other:
            sending = other.submit(pushed, writer, begin, more)
            try:
                out, err = process.communicate(timeout=120)
            finally:
                process.kill()
            sent = sending.result(60)
    finally:
        os.close(writer)
        process.wait()
    assert (process.returncode, out) == (2, "")
    (line,) = err.splitlines()
    return line, sent


NO_PICTURE = "damaged, cut short, or of a format that cannot be read"


@POSIX
@pytest.mark.parametrize(
    ("arguments", "begin", "more", "says", "most"),
    [
        ("transfer - painting.png", b"", b"\0", f"standard input: {NO_PICTURE}", MIB),
        ("transfer photo.png /dev/stdin", b"", b"y\n", f"/dev/stdin: {NO_PICTURE}", MIB),
        (
            "transfer photo.png painting.png --style-mask -",
            PNG[:16] + struct.pack(">II", 10**6, 10**6),
            b"\0",
            "standard input: 1000000×1000000 pixels; expected at most",
            MIB,
        ),
        # What a picture can have, and nothing beyond.
        (
            "reconstruct content -",
            PNG,
            b"\0",
            "standard input: more than 278265856 bytes come through this pipe for an image of 640×480",
            278265856,
        ),
    ],
    ids=["zeros", "words", "huge", "a PNG before it"],
)
def test_an_endless_pipe_is_refused(folder, arguments, begin, more, says, most):
    before = contents(folder)
    line, sent = refused(begin, more, *arguments.split(), "-o", "out.png")
    assert re.match(f"lbfgs-style: {says}", line)
    assert sent <= most + 2 * MIB  # and what was on its way
    assert contents(folder) == before


@POSIX
@pytest.mark.parametrize(
    ("arguments", "says", "most"),
    [
        ("transfer photo.png painting.png -o out.png --options /dev/stdin", "more than 1048576 bytes", MIB),
        ("rerun /dev/stdin -o out.png", "more than 268435456 bytes", 256 * MIB),
    ],
)
def test_endless_options_and_recipes_are_refused(folder, arguments, says, most):
    line, sent = refused(b"", b"\n", *arguments.split())
    assert re.match(f"lbfgs-style: /dev/stdin: cannot be read.*{says}", line)
    assert sent <= most + 2 * MIB


@POSIX
def test_a_device_as_standard_input_is_refused(folder):
    with Path("/dev/zero").open("rb") as endless:
        process = start("transfer", "-", "painting.png", "-o", "out.png", stdin=endless)
        try:
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
            process.wait()
    assert (process.returncode, out) == (2, "")
    assert re.fullmatch(r"lbfgs-style: standard input: [^\n]*\n", err)


# What is read, to the byte


@pytest.fixture
def little(monkeypatch):
    """Look at 100 bytes, and leave room for 1000 more than the pixels."""
    monkeypatch.setattr(input_limits, "BEGINNING_BYTES", 100)
    monkeypatch.setattr(input_limits, "EXTRA_BYTES", 1000)


def taken(data, max_pixels=10**6):
    return input_limits.read_pipe(io.BytesIO(data), "pipe", max_pixels=max_pixels)


def test_reading_stops_at_the_most_that_a_picture_can_have(little):
    most = 1000 + 32 * 480 * 640
    data = PNG.ljust(most, b"\0")
    assert taken(data) == data
    with pytest.raises(ImageFileError, match=f"more than {most} bytes .* for an image of 640×480"):
        taken(data + b"\0")


def test_without_a_size_it_is_what_the_largest_picture_can_have(little):
    """The size of this JPEG comes after its first 100 bytes."""
    data = JPEG[:2] + b"\xff\xfe" + struct.pack(">H", 152) + bytes(150) + JPEG[2:]
    most = 1000 + 32 * 10**5
    assert taken(data, 10**5) == data
    with pytest.raises(ImageFileError, match=f"more than {most} bytes come through this pipe; expected"):
        taken(data.ljust(most + 1, b"\0"), 10**5)


def test_no_more_is_read_than_opencv_takes(little, monkeypatch):
    monkeypatch.setattr(input_limits, "MAX_BYTES", 5000)
    with pytest.raises(ImageFileError, match="more than 5000 bytes"):
        taken(PNG.ljust(5001, b"\0"))


@pytest.mark.parametrize("length", [0, 1, 99, 100, 101])
def test_short_input_comes_as_it_is(little, length):
    assert taken(PNG[:length]) == PNG[:length]


# Text that is nested without an end


def test_options_and_recipes_of_lists_within_lists(folder, network, capfd):
    Path("deep.toml").write_text("size = " + "[" * 100_000)
    assert paint(network, "--options", "deep.toml") == 2
    one_error(capfd, r"deep\.toml: lists nested too deeply")
    Path("deep.json").write_text("[" * 100_000)
    assert run("rerun", "deep.json", "-o", "out.png") == 2
    one_error(capfd, r"deep\.json: its recipe is damaged")


def test_files_of_options_and_reports_have_a_limit(folder, network, capfd):
    Path("long.toml").write_text("#" * (MIB + 1))
    assert paint(network, "--options", "long.toml") == 2
    one_error(capfd, r"long\.toml: cannot be read as options: it has more than 1048576 bytes")
    with Path("long.json").open("wb") as file:
        file.truncate(2**26 + 1)
    assert run("rerun", "long.json", "-o", "out.png") == 2
    one_error(capfd, r"long\.json: cannot be read: it has more than 67108864 bytes")
