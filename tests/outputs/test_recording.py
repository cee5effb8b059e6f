"""Frames and videos of a run."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from lbfgs_style import STOP, ImageFileError, OptionError, Options, StyleTransfer, images, recording
from lbfgs_style.cli import transfer
from lbfgs_style.outputs.recording import VIDEO_FORMATS, check_recording, recorded
from tests.helpers.command import contents, one_error, paint, photo
from tests.helpers.small_networks import small_vgg

OPTIONS = Options(size=48, scales=(24,), iterations=(7, 5), device="cpu", threads=1)


@pytest.fixture(scope="module")
def job():
    return StyleTransfer(small_vgg(), options=OPTIONS)


def rolled(job, callback=None, **where):
    with recorded(callback, **where) as on_iterate:
        return job.run(photo(), photo()[::-1], on_iterate=on_iterate)


def test_every_fourth_frame(job, tmp_path):
    seen = {}

    def look(iterate):
        number = iterate.iteration + (7 if iterate.scale == 2 else 0)
        seen[number] = np.rint(255 * iterate.image())

    rolled(job, look, frames=tmp_path / "frames", save_every=4)
    names = sorted(path.name for path in (tmp_path / "frames").iterdir())
    assert names == [f"frame-{n:06d}.png" for n in (1, 4, 8, 12)]
    for n in (1, 4, 8, 12):
        read = np.rint(255 * images.read(tmp_path / "frames" / f"frame-{n:06d}.png").rgb)
        np.testing.assert_array_equal(read, seen[n])
    assert seen[4].shape == (21, 24, 3)
    assert seen[12].shape == (41, 48, 3)  # 27·48/32 = 40.5


def test_the_result_of_the_callback_is_passed_on(job, tmp_path):
    result = rolled(job, lambda iterate: STOP if iterate.iteration == 2 else True, frames=tmp_path / "frames")
    assert result.stop_reason == "callback"


def test_a_video(job, tmp_path):
    """12 iterations, and the last frame for 1.5 seconds at 24 frames a second; sides made even."""
    result = rolled(job, video=tmp_path / "run.mp4")
    video = cv2.VideoCapture(str(tmp_path / "run.mp4"))
    frames = []
    while True:
        there, frame = video.read()
        if not there:
            break
        frames.append(frame[..., ::-1])
    assert len(frames) == 12 + 36
    assert frames[0].shape == (40, 48, 3)
    # A lossy codec: alike on the whole.
    assert np.abs(frames[-1].astype(float) - result.image[:40]).mean() < 12
    assert [path.name for path in tmp_path.iterdir()] == ["run.mp4"]


def test_an_animation(job, tmp_path):
    rolled(job, video=tmp_path / "run.gif")
    done, animation = cv2.imreadanimation(str(tmp_path / "run.gif"))
    assert done
    assert len(animation.frames) == 12
    assert list(animation.durations) == [100] * 11 + [1500]


def test_long_runs_make_no_long_videos(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "lbfgs_style.outputs.recording.VIDEO_FORMATS",
        {".gif": VIDEO_FORMATS[".gif"].__class__(None, 24, 5, 10)},
    )
    options = Options(size=32, iterations=11, device="cpu", threads=1)
    rolled(StyleTransfer(small_vgg(), options=options), video=tmp_path / "run.gif")
    _, animation = cv2.imreadanimation(str(tmp_path / "run.gif"))
    assert len(animation.frames) == 5  # iterations 1, 4, 7, 10 and the last
    assert animation.frames[0].shape[:2] == (20, 24)


def test_a_failed_run_leaves_the_old_video(job, tmp_path):
    path = tmp_path / "run.mp4"
    path.write_bytes(b"old")

    def fail(iterate):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        rolled(job, fail, video=path)
    with recorded(None, video=path):
        pass  # nothing was painted
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_command(folder, network):
    more = "--frames", "frames", "--save-every", 1, "--video", "run.gif"
    assert paint(network, *more) == 0
    assert len(list(Path("frames").iterdir())) == 2
    assert Path("run.gif").is_file()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("--save-every 5", "--save-every needs a folder.*--frames"),
        ("--frames f --save-every 0", "--save-every must be a whole number.*got 0"),
        ("--frames photo.png", r"--frames photo\.png: is a file"),
        ("--frames no/frames", r"--frames no/frames: the folder \S+no does not exist"),
        ("--frames full", "holds the frames of another run"),
        ("--video run.mpg", r"--video run\.mpg: expected one of \.mp4, \.gif\."),
        ("--video no/run.mp4", "does not exist"),
    ],
)
def test_mistakes_are_one_line(folder, network, capfd, arguments, says):
    Path("full").mkdir()
    Path("full/frame-000001.png").write_bytes(b"old")
    before = contents(folder)
    assert paint(network, *arguments.split()) == 2
    one_error(capfd, says)
    assert contents(folder) == before


@pytest.mark.parametrize("files", [("--frames", "gone/f", "--save-every", 1), ("--video", "gone/v.mp4")])
def test_a_folder_that_vanishes_leaves_the_picture(folder, network, capfd, monkeypatch, files):
    """The picture is painted to its end and written; then the error is reported."""
    Path("gone").mkdir()

    def check(*arguments, **options):
        check_recording(*arguments, **options)
        Path("gone").rmdir()

    monkeypatch.setattr(transfer, "check_recording", check)
    monkeypatch.setattr(recording, "check_recording", lambda *_, **__: None)
    assert paint(network, "--quiet", *files) == 2
    one_error(capfd, f"{files[0]} {files[1]}.*gone")
    assert images.read("out.png").rgb.shape == (27, 32, 3)
    assert not Path("gone").exists()


def test_mistakes_in_python_raise_our_errors(job, tmp_path):
    with pytest.raises(OptionError, match=r"\.mp4"), recorded(video=tmp_path / "a.txt"):
        pass
    (tmp_path / "f").write_text("x")
    with pytest.raises(ImageFileError, match="is a file"), recorded(frames=tmp_path / "f"):
        pass
