"""Pictures as people have them, through the command: formats, metadata, standard streams, old outputs."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from lbfgs_style import images
from lbfgs_style.images import exif
from lbfgs_style.images.formats import registry
from tests.helpers import profiles
from tests.helpers.camera import XMP, camera
from tests.helpers.command import ROOT, contents, one_error, paint, photo, save


@pytest.fixture
def standard_input(monkeypatch):
    def give(data):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))

    return give


# Formats


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "avif", "tiff"])
def test_full_size_is_the_size_of_the_photo_in_every_format(folder, network, suffix):
    save(f"odd.{suffix}", photo(37, 53))
    assert paint(network, "--size", "full", content=f"odd.{suffix}", output=f"out.{suffix}") == 0
    assert images.read(f"out.{suffix}").rgb.shape == (37, 53, 3)


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_a_deep_photo_in_a_wide_profile_comes_back_as_such(folder, network, suffix):
    deep = 20000 + photo().astype(np.uint16) * 60 + 7
    plain = images.encode(images.from_array(deep), suffix)
    Path(f"deep.{suffix}").write_bytes(
        registry.write_metadata(plain, images.Metadata(icc=profiles.rgb()), (27, 32), alpha=False)
    )
    # Content alone, from the photo: what comes out is nearly the photo, in its own numbers.
    more = "--style-weight", 0, "--tv-weight", 0
    assert paint(network, *more, content=f"deep.{suffix}", output=f"out.{suffix}") == 0
    data = Path(f"out.{suffix}").read_bytes()
    assert images.decode(data).metadata.icc == profiles.rgb()
    stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)[..., ::-1]
    assert stored.dtype == np.uint16
    assert np.abs(stored.astype(int) - deep).max() < 200


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "avif", "tiff"])
def test_metadata_go_from_the_photo_to_the_result(folder, network, suffix):
    about = images.Metadata(exif=camera(1), icc=profiles.rgb(), xmp=XMP)
    images.write("told.jpg", replace(images.from_array(photo()), metadata=about))
    assert paint(network, content="told.jpg", output=f"out.{suffix}") == 0
    got = images.read(f"out.{suffix}").metadata
    assert got.icc == profiles.rgb()
    assert exif.entry(got.exif, 271).data == b"Ace\0"
    assert exif.entry(got.exif, 274) is None or exif.entry(got.exif, 274).number() == 1


def test_a_profile_that_is_not_applied_is_reported_unless_quiet(folder, network, capfd):
    about = images.Metadata(icc=profiles.tables_only())
    images.write("scan.png", replace(images.from_array(photo()), metadata=about))
    assert paint(network, content="scan.png") == 0
    assert (
        "scan.png: its colour profile 'a scanner' is not applied: taken as sRGB\n" in capfd.readouterr().err
    )
    assert images.read("out.png").metadata.icc == profiles.tables_only()
    assert paint(network, "--quiet", content="scan.png") == 0
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", ["jpg", "webp", "avif"])
def test_quality_makes_files_larger(folder, network, suffix):
    save("big.png", np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8))
    sizes = []
    for quality in (20, 90):
        assert paint(network, "--quality", quality, content="big.png", output=f"out.{suffix}") == 0
        sizes.append(Path(f"out.{suffix}").stat().st_size)
    assert sizes[0] < 0.8 * sizes[1]


# Standard input and output


def test_from_pipe_to_pipe(folder, network):
    arguments = ("--network", network, "--size", "32", "--iterations", "2", "--threads", "1")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "lbfgs_style",
            "transfer",
            "-",
            "painting.png",
            "-o",
            "-",
            "--no-recipe",
            *arguments,
        ],
        input=Path("photo.png").read_bytes(),
        capture_output=True,
        check=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert paint(network, "--no-recipe") == 0
    np.testing.assert_array_equal(
        images.to_array(images.decode(done.stdout)), images.to_array(images.read("out.png"))
    )
    assert done.stdout == Path("out.png").read_bytes()
    assert b"standard output: 32\xc3\x9727" in done.stderr
    assert set(contents(folder)) == {"photo.png", "painting.png", "out.png"}


@pytest.mark.parametrize(
    ("file_format", "begins"), [("jpg", b"\xff\xd8"), ("tiff", b"II*\0"), ("webp", b"RIFF")]
)
def test_the_format_of_standard_output(folder, network, capfdbinary, file_format, begins):
    assert paint(network, "--format", file_format, output="-") == 0
    out, err = capfdbinary.readouterr()
    assert out.startswith(begins)
    assert images.decode(out).rgb.shape == (27, 32, 3)
    assert b"lbfgs-style: standard output: " in err
    assert set(contents(folder)) == {"photo.png", "painting.png"}


def test_a_painting_or_a_start_on_standard_input(folder, network, standard_input):
    standard_input(Path("painting.png").read_bytes())
    assert paint(network, "--report", "run.json", styles=("-",)) == 0
    assert json.loads(Path("run.json").read_text())["files"]["styles"] == ["-"]
    standard_input(images.encode(images.from_array(np.full((20, 20, 3), 255, np.uint8))))
    assert paint(network, "--iterations", 1, "--init", "-") == 0
    assert images.read("out.png").rgb.mean() > 0.9


@pytest.mark.parametrize(
    ("data", "says"),
    [(b"", "standard input is empty"), (b"no picture" * 20, "standard input: damaged, cut short, or of a")],
)
def test_other_data_on_standard_input_is_refused(folder, network, capfd, standard_input, data, says):
    standard_input(data)
    assert paint(network, content="-") == 2
    one_error(capfd, says)
    assert set(contents(folder)) == {"photo.png", "painting.png"}


def test_a_terminal_is_not_filled_with_a_picture(folder, network, capfd, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert paint(network, output="-") == 2
    one_error(capfd, "'-' would fill the terminal")


@pytest.mark.parametrize(
    ("more", "content", "output", "says"),
    [
        (("--init", "-"), "-", "out.png", "Only one image can be '-'"),
        (("--format", "jpg"), "photo.png", "out.png", "--format is for the output '-'"),
        (("--format", "gif"), "photo.png", "-", "--format must be one of png, jpg.*got 'gif'"),
        (("--quality", 0), "photo.png", "out.jpg", "--quality must be from 1 to 100, got 0"),
        (("--report", "-"), "photo.png", "out.png", "--report '-': standard output is for the image"),
        (("--format", "webp", "--size", 16384), "wide.png", "-", "does not fit .webp"),
    ],
)
def test_mistakes_about_streams(folder, network, capfd, more, content, output, says):
    save("wide.png", np.zeros((16, 512), np.uint8))
    before = contents(folder)
    assert paint(network, *more, content=content, output=output) == 2
    one_error(capfd, says)
    assert contents(folder) == before


# What is there already


@pytest.mark.parametrize("there", ["out.png", "run.json"])
def test_no_overwrite_refuses_an_existing_output(folder, network, capfd, there):
    Path(there).write_bytes(b"old")
    before = contents(folder)
    assert paint(network, "--no-overwrite", "--report", "run.json") == 2
    one_error(capfd, rf"{there} is there already: choose another name, or leave out --no-overwrite")
    assert contents(folder) == before
    assert paint(network, "--overwrite", "--report", "run.json") == 0
    assert Path(there).read_bytes() != b"old"
    Path(there).unlink()
    Path("run.json").unlink(missing_ok=True)
    Path("out.png").unlink(missing_ok=True)
    assert paint(network, "--no-overwrite", "--report", "run.json") == 0
