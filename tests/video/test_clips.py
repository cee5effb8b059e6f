"""Clips are read: films with their time, turned ones upright, animations, sequences, damaged frames."""

from __future__ import annotations

import os
import sys

import cv2
import numpy as np
import pytest

from lbfgs_style import ImageFileError, OptionError, images
from lbfgs_style.video.clips import Part, open_clip
from lbfgs_style.video.films import write_film
from tests.helpers.moving_pictures import as_bytes, pan, save_film, save_images, turn

FRAMES = as_bytes(pan(10, (48, 64)))


def close(frame: np.ndarray, expected: np.ndarray) -> bool:
    return frame.shape == expected.shape and np.abs(frame - expected / 255.0).mean() < 0.03


def test_a_film_is_read_with_its_times(tmp_path) -> None:
    clip = open_clip(save_film(tmp_path / "pan.mp4", FRAMES, rate=20))
    assert (clip.rate, clip.count, clip.is_film) == (20, 10, True)
    frames = list(clip.frames())
    assert [frame.number for frame in frames] == list(range(10))
    assert [frame.seconds for frame in frames] == pytest.approx([0.05 * i for i in range(10)])
    assert all(close(frame.picture.rgb, each) for frame, each in zip(frames, FRAMES, strict=True))
    assert frames[0].picture.dtype == np.uint8


@pytest.mark.parametrize(
    ("part", "numbers"),
    [
        (Part(0.1, 0.3), [2, 3, 4, 5]),
        (Part(every=4), [0, 4, 8]),
        (Part(0.25, every=2), [5, 7, 9]),
        (Part(0.4, 1e308), [8, 9]),
    ],
)
def test_a_part_of_a_film_is_read(part: Part, numbers: list[int], tmp_path) -> None:
    clip = open_clip(save_film(tmp_path / "pan.mp4", FRAMES, rate=20))
    assert [frame.number for frame in clip.frames(part)] == numbers
    assert clip.count_in(part) == len(numbers)


def test_a_turned_film_is_read_upright(tmp_path) -> None:
    path = save_film(tmp_path / "phone.mp4", FRAMES)
    turn(path)
    (first, *_) = open_clip(path).frames()
    assert close(first.picture.rgb, np.rot90(FRAMES[0], -1))


def test_uneven_frame_rates_keep_their_times(tmp_path) -> None:
    pytest.importorskip("av")
    seconds = [0.0, 0.12, 0.14, 0.16, 0.28]
    write_film(tmp_path / "phone.mp4", zip(seconds, FRAMES, strict=False), 0.3, rate=20)
    frames = list(open_clip(tmp_path / "phone.mp4").frames())
    assert [frame.seconds for frame in frames] == pytest.approx(seconds, abs=1e-3)


def test_an_animation_is_read_with_its_times(tmp_path) -> None:
    seconds = [0.0, 0.1, 0.4]
    write_film(tmp_path / "pan.gif", zip(seconds, FRAMES, strict=False), 0.5, rate=10)
    clip = open_clip(tmp_path / "pan.gif")
    assert (clip.count, clip.is_film, clip.rate) == (3, False, pytest.approx(6))
    frames = list(clip.frames())
    assert [frame.seconds for frame in frames] == pytest.approx(seconds)
    assert np.abs(frames[2].picture.rgb - FRAMES[2] / 255.0).mean() < 0.1  # of 256 colours


def test_transparent_frames_of_an_animation_are_read_with_their_alpha(tmp_path) -> None:
    clear = np.dstack([FRAMES[0][..., ::-1], np.full(FRAMES[0].shape[:2], 255, np.uint8)])
    clear[:, :20, 3] = 0
    animation = cv2.Animation()
    animation.frames, animation.durations = [clear, clear], np.array([100, 100], np.int32)
    assert cv2.imwriteanimation(str(tmp_path / "clear.png"), animation)
    (tmp_path / "clear.png").rename(tmp_path / "clear.apng")
    first = next(open_clip(tmp_path / "clear.apng").frames()).picture
    assert first.alpha is not None
    np.testing.assert_array_equal(first.alpha, clear[..., 3] / 255)
    np.testing.assert_array_equal(images.to_array(first)[:, 20:, :3], FRAMES[0][:, 20:])


def test_a_sequence_of_images_is_read_in_the_order_of_its_numbers(tmp_path) -> None:
    folder = save_images(tmp_path / "views", FRAMES)
    (folder / "notes.txt").write_text("no image")
    for path in (folder, folder / "view-*.png"):
        clip = open_clip(path, rate=10)
        frames = list(clip.frames(Part(0.8)))
        assert [frame.number for frame in frames] == [8, 9]
        np.testing.assert_allclose(frames[-1].picture.rgb, FRAMES[9] / 255.0, atol=1e-6)
    assert clip.fingerprint() == open_clip(folder).fingerprint()


def test_images_that_cannot_be_read_are_left_out(tmp_path, caplog) -> None:
    folder = save_images(tmp_path / "views", FRAMES)
    (folder / "view-3.png").write_bytes(b"\x89PNG damaged")
    assert [frame.number for frame in open_clip(folder).frames()] == [0, 1, *range(3, 10)]
    (record,) = caplog.records
    assert "left out" in record.message
    assert "view-3.png" in record.message


def test_a_film_that_ends_early_is_read_as_far_as_it_goes(tmp_path, caplog) -> None:
    """An AVI says in its header how many frames it has, and can be cut anywhere."""
    path = tmp_path / "cut.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for frame in FRAMES:
        writer.write(np.ascontiguousarray(frame))
    writer.release()
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    clip = open_clip(path)
    frames = list(clip.frames())
    assert 0 < len(frames) < 10
    assert clip.count == 10
    assert f"ends after {len(frames)} of 10 frames" in caplog.text


@pytest.mark.parametrize(
    ("name", "contents", "says"),
    [
        ("none.mp4", None, "no such file"),
        ("text.mp4", b"not a film at all", "cannot be read as a film; expected an MP4"),
        ("damaged.gif", b"GIF89a", "cannot be read as an animation"),
    ],
)
def test_what_is_no_clip_is_refused(name: str, contents: bytes | None, says: str, tmp_path) -> None:
    if contents is not None:
        (tmp_path / name).write_bytes(contents)
    with pytest.raises(ImageFileError, match=says):
        open_clip(tmp_path / name)


def test_an_empty_folder_and_large_frames_are_refused(tmp_path) -> None:
    with pytest.raises(ImageFileError, match="holds no images"):
        open_clip(tmp_path)
    path = save_film(tmp_path / "pan.mp4", FRAMES)
    with pytest.raises(ImageFileError, match="frames of 64×48 pixels; expected at most 1000 pixels"):
        list(open_clip(path, max_pixels=1000).frames())


@pytest.mark.parametrize("wrong", [{"start": 2, "end": 1}, {"start": -1}, {"every": 0}])
def test_parts_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(OptionError, match="must"):
        Part(**wrong)


def test_any_name_of_a_film_is_a_file_and_no_address(tmp_path, monkeypatch) -> None:
    save_film(tmp_path / "pan.mp4", FRAMES).rename(tmp_path / "part:1.mp4")
    monkeypatch.chdir(tmp_path)
    assert len(list(open_clip("part:1.mp4").frames())) == len(FRAMES)


@pytest.mark.skipif(sys.platform != "linux", reason="file names are UTF-8 elsewhere")
@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_a_name_on_which_opencv_crashes_is_refused(suffix: str, tmp_path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9" + suffix.encode())
    path.write_bytes(b"film")
    with pytest.raises(ImageFileError, match="its name is not UTF-8: rename"):
        open_clip(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
@pytest.mark.parametrize("name", ["pipe.mp4", "pipe.gif", "views/pipe.png"])
def test_a_pipe_is_refused_and_not_waited_for(name: str, tmp_path) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    os.mkfifo(path)
    with pytest.raises(ImageFileError, match="is no file"):
        open_clip(path if path.parent == tmp_path else path.parent)


def test_a_sequence_has_numbers_and_other_signs_in_its_names(tmp_path) -> None:
    for name in ("10.png", "9.png", "²3.png", "9²1.png"):
        images.write(tmp_path / name, images.from_array(FRAMES[0]))
    names = [path.name for path in open_clip(tmp_path).files]
    assert sorted(names) == sorted(path.name for path in tmp_path.iterdir())
    assert names.index("9.png") < names.index("10.png")
