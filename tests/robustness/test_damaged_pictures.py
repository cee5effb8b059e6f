"""Damaged and odd picture files: read right or refused by name; never a traceback, a hang, a crash."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from lbfgs_style import images, rerun
from lbfgs_style.cli import streams
from lbfgs_style.errors import ImageFileError
from lbfgs_style.images.formats import registry
from tests.helpers import profiles
from tests.helpers.command import ROOT, one_error, paint, photo, run, save, start
from tests.robustness.corpus import cases, damaged, reading

pytestmark = pytest.mark.skipif(os.name != "posix", reason="pipes, sockets and permissions as POSIX has them")


CASES = {case.name: case for case in reading.corpus()}

# The corpus


@pytest.fixture(scope="module")
def verdicts():
    return reading.tried()


def test_no_file_of_the_corpus_is_lost(verdicts):
    assert [verdict for verdict in verdicts if verdict.outcome == "lost"] == []


def test_the_corpus_is_large_and_has_every_kind(verdicts):
    assert len(verdicts) >= 600
    assert {verdict.group for verdict in verdicts} == {case.group for case in reading.corpus()}
    assert len({verdict.name for verdict in verdicts}) == len(verdicts)


def test_every_refusal_says_what_is_wrong_and_what_to_do(verdicts):
    refused = [verdict for verdict in verdicts if verdict.outcome == "refused"]
    assert len(refused) > 200
    for verdict in refused:
        assert len(verdict.detail) > 15
        assert "Traceback" not in verdict.detail
        assert "/io/opencv" not in verdict.detail  # positions in OpenCV's source do not help the user


READER = """
import os, signal, sys
from pathlib import Path
from tests.robustness.corpus import reading

sound = reading.images.read
cases = {case.name: case for case in reading.corpus()}

def read(path):
    if path.name == "empty.png":
        os.kill(os.getpid(), signal.SIGSEGV)
    return sound(path)

reading.images.read = read
three = [cases["whole.png"], cases["empty.png"], cases["whole.jpg"]]
reading.read_all(Path(sys.argv[2]), int(sys.argv[4]), three)
"""


def test_a_crash_is_detected_and_the_files_after_it_are_read(tmp_path):
    three = [CASES[name] for name in ("whole.png", "empty.png", "whole.jpg")]
    for case in three:
        case.make(tmp_path)
    verdicts = list(reading.verdicts(three, tmp_path, three, (sys.executable, "-c", READER)))
    assert [v.outcome for v in verdicts] == ["read", "lost", "read"], verdicts
    assert verdicts[1].detail == "ends the process with -11"


def test_a_reader_that_hangs_is_given_up():
    code = "import time; time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as reader:
        try:
            assert list(reading.lines(reader, 0.1)) == []
            assert reader.poll() is None
        finally:
            reader.kill()


@pytest.mark.parametrize(
    ("name", "outcome", "detail"),
    [
        ("empty.png", RuntimeError("x"), "RuntimeError: x"),
        ("empty.png", ImageFileError("the file is empty; expected an image"), "the file is empty"),
        ("empty.png", ImageFileError("PATH: broken"), "broken"),
        ("empty.png", ImageFileError("PATH: the file is empty;\nexpected an image"), "the file"),
        ("whole.png", ImageFileError("PATH: damaged"), "damaged"),
        ("empty.png", cases.wave(), "expected a refusal: the file is empty"),
        ("whole.png", cases.wave() + np.uint8(1), "off by 1, expected at most 0"),
        ("whole.png", cases.wave()[1:], r"expected uint8 (40, 48, 3)"),
        ("whole.png", cases.wave().astype(np.uint16), "expected uint8"),
    ],
)
def test_wrong_outcomes_are_detected(monkeypatch, name, outcome, detail):
    path = Path("folder") / name

    def read(path):
        if isinstance(outcome, Exception):
            raise type(outcome)(str(outcome).replace("PATH", str(path)))
        return images.from_array(outcome)

    monkeypatch.setattr(images, "read", read)
    verdict = reading.judge(CASES[name], path)
    assert verdict.outcome == "lost"
    assert detail in verdict.detail


# Through the command

REFUSED = [
    *("bit-333.png", "cut-last.jpg", "empty.webp", "zeros.tiff", "phone.jpg", "huge.png"),
    *("huge.tiff", "one-nan.pfm", "folder.png", "link-to-itself.png", "terabyte.png", "bad line\nbreak.png"),
]


@pytest.mark.parametrize("role", ["content", "style", "mask"])
@pytest.mark.parametrize("name", REFUSED)
def test_the_command_refuses_in_one_line(folder, network, capfd, name, role):
    case = CASES[name]
    case.make(folder)
    before = set(folder.iterdir())
    inputs = {"content": {"content": name}, "style": {"styles": (name,)}, "mask": {}}[role]
    more = ("--keep-mask", name) if role == "mask" else ()
    assert paint(network, *more, **inputs) == 2
    one_error(capfd, re.escape(case.says))
    assert set(folder.iterdir()) == before


@pytest.mark.parametrize("role", ["content", "--init"])
def test_a_pipe_without_a_writer_does_not_hang(folder, network, role):
    os.mkfifo("pipe.png")
    arguments = ["photo.png", "painting.png", "-o", "out.png", "--network", network]
    if role.startswith("--"):
        arguments += [role, "pipe.png"]
    else:
        arguments[["content", "style"].index(role)] = "pipe.png"
    process = start("transfer", *arguments, cwd=folder)
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, out) == (2, "")
    assert re.fullmatch(r"lbfgs-style: pipe\.png: cannot be read: it is a named pipe[^\n]*\n", err)


def test_statistics_recipes_and_options_do_not_hang_on_a_pipe(folder, network, capfd):
    for name in ("pipe.npz", "pipe.json", "pipe.toml"):
        os.mkfifo(name)
    assert paint(network, styles=("pipe.npz",)) == 2
    one_error(capfd, r"pipe\.npz: cannot be read: it is a named pipe")
    assert run("rerun", "pipe.json") == 2
    one_error(capfd, r"pipe\.json: cannot be read: it is a named pipe")
    assert paint(network, "--options", "pipe.toml") == 2
    one_error(capfd, r"pipe\.toml: cannot be read as options: it is a named pipe")


def test_a_pipe_of_the_shell_is_read(folder, network):
    """What ``<(cat painting.png)`` gives: the number of a pipe that is open already."""
    reader, writer = os.pipe()
    os.write(writer, Path("painting.png").read_bytes())
    os.close(writer)
    try:
        assert paint(network, styles=(f"/dev/fd/{reader}",)) == 0
    finally:
        os.close(reader)


@pytest.mark.parametrize("name", ["日本語の写真.png", "line\nbreak.png", os.fsdecode(b"\xff\xfe.png")])
def test_names_that_are_hard_to_print(folder, network, capfd, name):
    save("photo.png", photo())
    Path("photo.png").rename(name)
    arguments = ("--report", "run.html", "--style-mask", f"./{name}")
    assert paint(network, *arguments, content=f"./{name}", output=f"out-{name}") == 0
    assert paint(network, "--report", "run.json", content=f"./{name}", output=f"out-{name}") == 0
    assert run("rerun", f"out-{name}", "-o", "again.png") == 0
    assert run("rerun", "run.json", "-o", "again.png") == 0
    assert images.read(f"out-{name}").rgb.shape == (27, 32, 3)
    assert "\nbreak" not in capfd.readouterr().err
    Path(name).write_bytes(b"no picture at all, in fact")
    assert paint(network, content=f"./{name}") == 2
    one_error(capfd, "damaged, cut short")


# JPEG that is damaged in its middle


def hole(jpeg: bytes) -> bytes:
    """Zeros in the scan: libjpeg meets an invalid code, and reads on."""
    middle = len(jpeg) * 4 // 5
    return jpeg[:middle] + bytes(60) + jpeg[middle + 60 :]


def test_a_jpeg_with_a_hole_is_read_and_reported_as_damaged(folder, network, capfd):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    Path("hole.jpg").write_bytes(hole(cases.encoded(".jpg", noise)))
    assert paint(network, content="hole.jpg") == 0
    line = next(line for line in capfd.readouterr().err.splitlines() if "hole.jpg" in line)
    assert re.search(r"hole\.jpg: may be damaged; decoded as far as possible \(Corrupt JPEG", line)
    assert paint(network, "--quiet", content="hole.jpg") == 0
    assert capfd.readouterr() == ("", "")
    assert paint(network, content="photo.png") == 0
    assert "damaged" not in capfd.readouterr().err


def test_messages_of_libpng_are_not_printed(folder, network, capfd):
    data = bytearray(Path("photo.png").read_bytes())
    data[-20] ^= 1
    Path("flipped.png").write_bytes(data)
    assert paint(network, content="flipped.png") == 2
    one_error(capfd, r"flipped\.png: damaged or cut short; expected a whole PNG file")


def test_what_the_library_logs_while_it_reads_is_shown(folder, network):
    about = images.Metadata(icc=profiles.tables_only())
    images.write("scan.jpg", replace(images.from_array(photo()), metadata=about))
    arguments = ("--network", network, "--size", 32, "--iterations", 1)
    _, err = start(
        "transfer", "scan.jpg", "painting.png", "-o", "out.png", *arguments, cwd=folder
    ).communicate()
    assert "'a scanner' is not applied: taken as sRGB" in err
    assert "may be damaged" not in err


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
def test_without_stderr_pictures_are_read(folder, network):
    """As with ``2>&-`` in the shell: there is no stream whose messages could be captured."""
    closed = ["sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, "-m", "lbfgs_style"]
    command = [*closed, "transfer", "photo.png", "painting.png", "-o", "out.png"]
    here = os.environ | {"PYTHONPATH": str(ROOT)}
    arguments = ["--network", network, "--size", "32", "--iterations", "1", "--quiet"]
    assert subprocess.run([*command, *arguments], env=here, check=False).returncode == 0
    assert Path("out.png").is_file()


def test_messages_of_decoders_are_captured_up_to_a_length(caplog):
    before = len(os.listdir("/dev/fd")) if Path("/dev/fd").exists() else 0  # noqa: PTH208  # numbers, no files
    with caplog.at_level("DEBUG", "lbfgs_style"), streams.capture_decoder_messages("a picture"):
        os.write(2, b"word\n" * 100_000)
    assert (len(os.listdir("/dev/fd")) if before else 0) == before  # noqa: PTH208
    assert [record.levelname for record in caplog.records[:3]] == ["WARNING", "DEBUG", "DEBUG"]
    assert sum(len(record.args[-1]) for record in caplog.records) <= 1 << 16


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "[ERROR:0@0.1] global grfmt_tiff.cpp:117 TIFF_Error Fax3Decode2D: Bad code word",
            "Fax3Decode2D: Bad",
        ),
        (
            "[ WARN:0@0.1] global grfmt_tiff.cpp:123 TIFF_Warning JPEGLib: Corrupt JPEG data",
            "JPEGLib: Corrupt",
        ),
    ],
)
def test_errors_that_opencv_logs_are_damage_in_every_format(caplog, line, words):
    with streams.capture_decoder_messages("a picture"):
        os.write(2, f"{line}\n".encode())
    (record,) = caplog.records
    assert f"a picture: may be damaged; decoded as far as possible ({words}" in record.getMessage()


def test_a_damaged_jpeg_inside_a_tiff_is_reported(folder, network, capfd):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    flags = [cv2.IMWRITE_TIFF_COMPRESSION, 7, cv2.IMWRITE_TIFF_ROWSPERSTRIP, 16]
    data = bytearray(cases.encoded(".tiff", noise, *flags))
    data[len(data) // 2 : len(data) // 2 + 60] = b"\xff\xd9" * 30
    Path("hole.tiff").write_bytes(data)
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        assert paint(network, content="hole.tiff") == 0
        assert cv2.utils.logging.getLogLevel() == cv2.utils.logging.LOG_LEVEL_SILENT
    finally:
        cv2.utils.logging.setLogLevel(level)
    assert "hole.tiff: may be damaged; decoded as far as possible (JPEGLib:" in capfd.readouterr().err


def test_other_messages_of_decoders_are_not_reported_as_damage(caplog):
    """libpng has checksums and refuses damage; what it warns of, and what OpenCV logs, is something else."""
    with streams.capture_decoder_messages("a picture"):
        os.write(
            2, b"libpng warning: iCCP: known incorrect sRGB profile\n[ WARN:0@0.1] global loadsave.cpp\n"
        )
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


def test_a_refused_picture_is_not_reported_as_damaged_too(caplog):
    def refuse():
        with streams.capture_decoder_messages("a picture"):
            os.write(2, b"Corrupt JPEG data\n")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        refuse()
    assert caplog.records == []


def test_without_a_temporary_folder_pictures_are_read(folder, network, monkeypatch):
    def none():
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(streams.tempfile, "TemporaryFile", none)
    before = len(os.listdir("/dev/fd")) if Path("/dev/fd").exists() else 0  # noqa: PTH208  # numbers, no files
    with streams.capture_decoder_messages("a picture"):
        images.read("photo.png")
    assert (len(os.listdir("/dev/fd")) if before else 0) == before  # noqa: PTH208


# The cap on pixels


def test_more_pixels_can_be_allowed_and_fewer(folder, network, capfd):
    assert paint(network, "--max-pixels", 27 * 32) == 0
    capfd.readouterr()
    assert paint(network, "--max-pixels", 27 * 32 - 1) == 2
    one_error(capfd, r"photo\.png: 32×27 pixels; expected at most 863 in all: .*--max-pixels")
    assert paint(network, "--max-pixels", 0) == 2
    one_error(capfd, "--max-pixels")


@pytest.mark.parametrize(
    "command",
    [
        ("style", "painting.png", "-o", "a.npz"),
        ("grid", "photo.png", "painting.png", "-o", "a.png"),
        ("reconstruct", "content", "photo.png", "-o", "a.png"),
        ("reconstruct", "style", "painting.png", "-o", "a.png"),
    ],
)
def test_the_cap_holds_for_every_command(folder, network, capfd, command):
    assert run(*command, "--network", network, "--max-pixels", 500) == 2
    one_error(capfd, r"pixels; expected at most 500 in all")


def test_the_cap_holds_for_a_rerun(folder, network, capfd):
    assert paint(network) == 0
    capfd.readouterr()
    assert run("rerun", "out.png", "--max-pixels", 500) == 2
    one_error(capfd, r"photo\.png: 32×27 pixels; expected at most 500")
    with pytest.raises(ImageFileError, match="at most 500"):
        rerun.prepare("out.png", max_pixels=500)


def test_the_declared_size_is_checked_before_decoding(monkeypatch):
    """In every format: the declared size is refused although OpenCV's decoder is missing."""
    monkeypatch.setattr(cv2, "imdecodeWithMetadata", None)
    names = []
    for case in damaged.huge():
        if case.says == damaged.TOO_LARGE:
            names.append(case.name)
            with pytest.raises(ImageFileError, match="pixels; expected at most 268435456 in all"):
                images.decode(case.content, name=case.name)
    assert len(names) >= 19


@pytest.mark.parametrize("name", list(cases.plain()))
def test_the_declared_size_is_the_true_one(name):
    data, wants, _ = cases.plain()[name]
    assert registry.declared_size(registry.format_of(data), data) == wants.shape[:2]
