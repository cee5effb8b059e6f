"""The command video: films and folders, continued after an interruption, errors of one line."""

from __future__ import annotations

import json
import shutil
import signal
import time

import numpy as np
import pytest

from lbfgs_style import ImageFileError, images
from lbfgs_style.video import clip_run, working_folder
from tests.helpers.command import contents, one_error, run, start
from tests.helpers.moving_pictures import as_bytes, pan, read_film, save_film, save_images

COUNT, SIZE = 5, (48, 64)
FRAMES = as_bytes(pan(COUNT, SIZE))


@pytest.fixture
def clip(folder):
    """The name of a film in the current folder."""
    save_film(folder / "clip.mp4", FRAMES, rate=10)
    return "clip.mp4"


def arguments(network, clip, *more, output="out.mp4"):
    options = ("--network", network, "--size", 64, "--iterations", 5, "--frame-iterations", 3)
    return ("video", clip, "painting.png", "-o", output, *options, "--device", "cpu", "--threads", 1, *more)


def frames_of(folder):
    return [path.read_bytes() for path in sorted(folder.glob("frame-*.png"))]


def test_a_film_is_painted_with_its_recipe_and_repeated(network, folder, clip, capfd):
    assert run(*arguments(network, clip)) == 0
    assert "out.mp4: 5 frames in" in capfd.readouterr().err
    assert len(read_film(folder / "out.mp4")) == COUNT
    recipe = json.loads((folder / "out.mp4.json").read_text())
    assert (recipe["files"]["content"], recipe["video"]["long_term"]) == ("clip.mp4", [1, 2, 4])
    assert not (folder / "out.mp4.frames").exists()
    assert run("rerun", "out.mp4", "-o", "again.mp4") == 0
    assert "the same as out.mp4, byte for byte" in capfd.readouterr().err
    assert (folder / "again.mp4").read_bytes() == (folder / "out.mp4").read_bytes()
    assert run("rerun", "out.mp4", "-o", "other.mp4", "--strength", 0.9) == 0
    assert (folder / "other.mp4").read_bytes() != (folder / "out.mp4").read_bytes()


def test_a_moved_or_changed_clip_is_named(network, folder, clip, capfd):
    assert run(*arguments(network, clip, "--quiet")) == 0
    (folder / clip).rename(folder / "moved.mp4")
    assert run("rerun", "out.mp4") == 2
    one_error(capfd, "the clip of out.mp4.json is not there: name it with --content")
    assert run("rerun", "out.mp4", "--content", "moved.mp4", "--quiet") == 0
    save_film(folder / clip, FRAMES[::-1])
    assert run("rerun", "out.mp4") == 2
    one_error(capfd, "has changed since out.mp4.json was made")


def test_folders_of_images_in_and_out(network, folder, capfd):
    save_images(folder / "views", FRAMES)
    (folder / "views" / "view-2.png").write_bytes(b"damaged")
    assert run(*arguments(network, "views", "--rate", 10, output="painted")) == 0
    err = capfd.readouterr().err
    assert "left out: views/view-2.png" in err.replace("\\", "/")
    assert sorted(path.name for path in (folder / "painted").iterdir()) == [
        *(f"frame-00000{number}.png" for number in range(1, COUNT)),
        "video.json",
    ]
    before = frames_of(folder / "painted")
    assert run("rerun", "painted", "-o", "again", "--quiet") == 0
    assert frames_of(folder / "again") == before
    shorter = arguments(network, "views", "--end", 0.3, "--rate", 10, "--quiet", output="painted")
    assert run(*shorter) == 0
    assert len(frames_of(folder / "painted")) == 2


def test_transparent_frames_are_laid_over_white_in_a_film(network, folder, capfd):
    opacity = np.full((*SIZE, 1), 255, np.uint8)
    opacity[:, :20] = 0
    save_images(folder / "views", [np.dstack([frame, opacity]) for frame in FRAMES[:2]])
    assert run(*arguments(network, "views", output="out.mp4")) == 0
    assert "its frames are laid over white" in capfd.readouterr().err
    assert read_film(folder / "out.mp4")[0][:, :12].mean() > 240


def test_a_loop_of_a_part_as_gif_with_thumbnails(network, folder, clip):
    more = ("--start", 0.1, "--every", 2, "--loop", "--passes", 2, "--thumbnails", "sheet.png", "--quiet")
    assert run(*arguments(network, clip, *more, output="out.gif")) == 0
    assert len(read_film(folder / "out.gif")) == 2
    assert images.read(folder / "sheet.png").rgb.shape[1] > 2 * 150


def test_a_killed_run_continues_bit_for_bit(network, folder, clip):
    assert run(*arguments(network, clip, "--quiet", output="whole")) == 0
    killed = start(*arguments(network, clip, "--frame-iterations", 3, output="killed"))
    frames = folder / "killed.frames" / "pass 1"
    deadline = time.monotonic() + 60
    while not (frames / "frame-000002.png").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    killed.kill()
    killed.communicate()
    done = len(frames_of(frames))
    assert done >= 2
    times = {path.name: path.stat().st_mtime_ns for path in frames.glob("frame-*.png")}
    assert run(*arguments(network, clip, "--quiet", output="killed")) == 0
    assert frames_of(folder / "killed") == frames_of(folder / "whole")
    kept = [name for name, then in times.items() if (folder / "killed" / name).stat().st_mtime_ns == then]
    assert len(kept) >= done - 1  # one frame at most is painted again
    assert not (folder / "killed.frames").exists()


def test_an_interrupted_run_writes_what_is_there(network, folder, clip):
    process = start(*arguments(network, clip, "--frame-iterations", 400))
    frames = folder / "out.mp4.frames" / "pass 1"
    deadline = time.monotonic() + 60
    while not (frames / "frame-000002.png").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command continues from out.mp4.frames" in err
    assert len(read_film(folder / "out.mp4")) == len(frames_of(frames)) < COUNT
    assert run(*arguments(network, clip)) == 2  # other options


def test_frames_of_another_run_are_not_continued(network, folder, clip, capfd, monkeypatch):
    fail_at(monkeypatch, 3)
    assert run(*arguments(network, clip, "--quiet")) == 2
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    capfd.readouterr()
    assert run(*arguments(network, clip, "--temporal", 3)) == 2
    one_error(capfd, "out.mp4.frames: has the frames of another run.*delete the folder")


def fail_at(monkeypatch, number, folder="pass 1"):
    """Let the disk be full when a frame of a pass is written."""
    write = images.write

    def full(path, *more, **options):
        if path.name == f"frame-{number:06d}.png" and path.parent.name == folder:
            raise ImageFileError(f"{path}: cannot be written: No space left on device")
        write(path, *more, **options)

    monkeypatch.setattr(working_folder.images, "write", full)


def test_on_a_full_disk_what_is_there_is_whole_and_is_continued(network, folder, clip, capfd, monkeypatch):
    assert run(*arguments(network, clip, "--quiet", output="whole")) == 0
    fail_at(monkeypatch, 3)
    assert run(*arguments(network, clip, output="full")) == 2
    err = capfd.readouterr().err.splitlines()
    assert "No space left on device" in err[-1]
    assert "full.frames has 2 frames: the same command continues" in err[-2]
    assert len(frames_of(folder / "full")) == 2
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    assert run(*arguments(network, clip, "--quiet", output="full")) == 0
    assert frames_of(folder / "full") == frames_of(folder / "whole")


@pytest.mark.parametrize(("name", "number"), [("pass 2", 2), ("loop", 3)])
def test_later_passes_are_continued_bit_for_bit(name, number, network, folder, clip, monkeypatch):
    more = ("--passes", 2, "--loop", "--quiet")
    assert run(*arguments(network, clip, *more, output="whole")) == 0
    fail_at(monkeypatch, number, name)
    assert run(*arguments(network, clip, *more, output="full")) == 2
    assert len(frames_of(folder / "full")) == COUNT
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    assert run(*arguments(network, clip, *more, output="full")) == 0
    assert frames_of(folder / "full") == frames_of(folder / "whole")


def test_a_dry_run_paints_nothing(network, folder, clip, capfd):
    before = contents(folder)
    assert run(*arguments(network, clip, "--dry-run", "--passes", 2)) == 0
    said = capfd.readouterr().out
    assert "64×48" in said
    assert f"with {2 * COUNT - 1} others of about" in said
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--every", 0), "every must be a whole number"),
        (("--start", 9), "has no frame from 9 to inf seconds"),
        (("--start", 2, "--end", 1), "must start at 0 seconds or later and end after that"),
        (("--temporal", -1), "temporal must be a finite number"),
        (("--long-term", "2,4"), "long_term must be numbers of frames that grow from 1"),
        (("--long-term", "1,1.5"), "--long-term must be whole numbers"),
        (("--rate", 0), "--rate must be frames per second"),
        (("--rate", 5), "--rate is for sequences of images: clip.mp4 has times of its own"),
        (("--long-term", "1,inf"), "--long-term must be whole numbers"),
        (("--memory", "1MB"), "does not fit into 1.0 MB"),
        (("--keep-mask", "alpha"), "a video has one mask for all frames"),
        (("-o", "."), "expected the name of a film, or of a folder"),
        (("-o", "new.avi"), "new.avi: expected a film that ends in one of"),
        (("--init", "photo.png"), "--init must be content, noise or style for a video"),
        (("-o", "out.mp5x/none/out.mp4"), "does not exist"),
        (("-o", "-"), "a video is written into a file or a folder"),
        (("-o", "photo.png"), "is a file; expected a folder for PNG files, or a film"),
        (("-o", "clip.mp4"), "clip.mp4 would be overwritten, but is one of the inputs"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(more, says, network, folder, clip, capfd):
    before = contents(folder)
    assert run(*arguments(network, clip, *more)) == 2
    one_error(capfd, says)
    assert contents(folder) == before


@pytest.mark.parametrize("more", [("-o", "views"), ("--thumbnails", "views/sheet.png")])
def test_nothing_is_written_among_the_images_of_the_clip(more, network, folder, capfd):
    save_images(folder / "views", FRAMES)
    (folder / "views" / "video.json").write_text("{}")  # as frames that were painted have it
    before = contents(folder)
    assert run(*arguments(network, "views", *more)) == 2
    one_error(capfd, "views: holds the clip")
    assert contents(folder) == before


@pytest.mark.parametrize("kind", ["gray", "alpha", "16 bits"])
def test_later_passes_keep_the_kind_of_the_frames(kind, network, folder):
    frames = {
        "gray": [frame[..., 0] for frame in FRAMES[:3]],
        "alpha": [np.dstack([frame, frame[..., 0]]) for frame in FRAMES[:3]],
        "16 bits": [frame.astype(np.uint16) * 257 for frame in FRAMES[:3]],
    }[kind]
    save_images(folder / "views", frames)
    assert run(*arguments(network, "views", "--passes", 2, "--loop", "--quiet", output="painted")) == 0
    for number in (1, 2, 3):
        painted = images.to_array(images.read(folder / "painted" / f"frame-00000{number}.png"))
        assert (painted.shape, painted.dtype) == (frames[0].shape, frames[0].dtype)


def test_a_run_that_is_killed_while_it_hands_over_its_frames_continues(network, folder, clip, monkeypatch):
    more = ("--passes", 2, "--quiet")
    assert run(*arguments(network, clip, *more, output="whole")) == 0

    def die(source, target):
        if source.name == "frame-000003.png":
            raise SystemExit  # neither caught nor reported, as a kill is not
        shutil.copyfile(source, target)

    monkeypatch.setattr(clip_run.shutil, "copy2", die)
    with pytest.raises(SystemExit):
        run(*arguments(network, clip, *more, output="killed"))
    assert len(frames_of(folder / "killed")) == 2
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    assert run(*arguments(network, clip, *more, output="killed")) == 0
    assert frames_of(folder / "killed") == frames_of(folder / "whole")


def test_a_damaged_working_folder_is_named(network, folder, clip, capfd, monkeypatch):
    (folder / "out.mp4.frames").mkdir()  # empty, as a run leaves it that is killed at its beginning
    fail_at(monkeypatch, 4)
    assert run(*arguments(network, clip)) == 2
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    capfd.readouterr()
    first_pass = folder / "out.mp4.frames" / "pass 1"
    (first_pass / "frame-000001.png").rename(folder / "elsewhere.png")
    assert run(*arguments(network, clip, "--quiet")) == 2
    assert "frame-000001.png is missing: delete the folder to start again" in capfd.readouterr().err
    with np.load(first_pass / "state.npz") as file:
        arrays = dict(file)
    for damage in ({"scalars": arrays["scalars"][:3]}, {"contents": arrays["contents"][:0]}, {"contents": 1}):
        np.savez(first_pass / "state.npz", **(arrays | damage))
        assert run(*arguments(network, clip, "--quiet")) == 2
        one_error(capfd, "state.npz: damaged: delete out.mp4.frames to start again")
    (first_pass.parent / "run.json").write_bytes(b"\xff")
    assert run(*arguments(network, clip, "--quiet")) == 2
    one_error(capfd, "has the frames of another run")


def test_a_sheet_of_panoramas_fits_a_file(network, folder):
    wide = [np.ascontiguousarray(np.tile(frame[:8], (1, 20, 1))) for frame in FRAMES]
    save_images(folder / "views", wide + wide[:2])
    more = ("--size", "full", "--iterations", 1, "--frame-iterations", 1, "--thumbnails", "sheet.jpg")
    layers = ("--style-layers", "relu1_1", "--content-layers", "relu1_1", "--quiet")
    assert run(*arguments(network, "views", *more, *layers, output="painted")) == 0
    assert images.read(folder / "sheet.jpg").rgb.shape[1] < 7000


def test_a_clip_that_is_none_is_refused(network, folder, capfd):
    assert run(*arguments(network, "photo.txt")) == 2
    one_error(capfd, "photo.txt: no such file")


def test_the_first_frames_are_the_same_with_more_that_follow(network, folder, clip):
    """What a frame is does not depend on what is read ahead."""
    assert run(*arguments(network, clip, "--quiet", output="whole")) == 0
    assert run(*arguments(network, clip, "--quiet", "--end", 0.3, output="part")) == 0
    assert frames_of(folder / "part") == frames_of(folder / "whole")[:3]
    assert np.abs(images.read(folder / "part" / "frame-000003.png").rgb - FRAMES[2] / 255).mean() > 0.005
