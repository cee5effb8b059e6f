"""Films are written: by OpenCV, by PyAV with their sound, as GIF; what cannot be written is refused."""

from __future__ import annotations

import os
import sys
from fractions import Fraction

import cv2
import numpy as np
import pytest

from lbfgs_style import ImageFileError, OptionError
from lbfgs_style.outputs.recording import check_recording
from lbfgs_style.video import films
from lbfgs_style.video.films import check_film, write_film
from tests.helpers.moving_pictures import as_bytes, pan, read_film

FRAMES = as_bytes(pan(8, (48, 64)))


def timed(seconds: list[float]) -> list[tuple[float, np.ndarray]]:
    return list(zip(seconds, FRAMES, strict=False))


def nearest(film: list[np.ndarray]) -> list[int]:
    """Return which of `FRAMES` each frame of a film shows."""
    errors = [[np.abs(frame[:48, :64].astype(float) - each).mean() for each in FRAMES] for frame in film]
    return [int(np.argmin(row)) for row in errors]


@pytest.fixture
def opencv_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(films, "has_encoder", lambda: False)


@pytest.mark.usefixtures("opencv_alone")
@pytest.mark.parametrize("name", ["out.mp4", "out.webm"])
def test_opencv_writes_films_and_says_what_is_missing(name: str, tmp_path, caplog) -> None:
    write_film(tmp_path / name, timed([i / 10 for i in range(8)]), 0.8, rate=10)
    assert nearest(read_film(tmp_path / name)) == list(range(8))
    assert "without sound: pip install 'lbfgs-style[video]'" in caplog.text


@pytest.mark.usefixtures("opencv_alone")
def test_uneven_times_are_kept_at_a_constant_rate(tmp_path) -> None:
    """At 10 frames a second: one shown for 0.3 s is there three times, one for 0.02 s not at all."""
    write_film(tmp_path / "out.mp4", timed([0.0, 0.3, 0.32, 0.4]), 0.5, rate=10)
    assert nearest(read_film(tmp_path / "out.mp4")) == [0, 0, 0, 2, 3]


@pytest.mark.usefixtures("opencv_alone")
def test_formats_that_need_the_extra_are_refused_without_it(tmp_path) -> None:
    with pytest.raises(OptionError, match=r"\.mkv needs PyAV: pip install"):
        check_film(tmp_path / "out.mkv")


@pytest.mark.parametrize("with_pyav", [False, True])
def test_an_animation_keeps_its_times(with_pyav: bool, tmp_path, monkeypatch) -> None:
    if with_pyav:
        pytest.importorskip("av")
    monkeypatch.setattr(films, "has_encoder", lambda: with_pyav)
    write_film(tmp_path / "out.gif", timed([0.0, 0.3, 0.34, 0.4]), 0.6, rate=10)
    done, animation = cv2.imreadanimation(str(tmp_path / "out.gif"))
    assert done
    assert list(animation.durations) == [300, 40, 60, 200]
    assert nearest([frame[..., 2::-1] for frame in animation.frames]) == [0, 1, 2, 3]


@pytest.mark.parametrize("name", ["out.mp4", "out.webm", "out.mkv"])
def test_frames_have_their_times_with_pyav(name: str, tmp_path) -> None:
    av = pytest.importorskip("av")
    seconds = [0.0, 0.3, 0.32, 0.4]
    write_film(tmp_path / name, timed(seconds), 0.5, rate=10)
    with av.open(str(tmp_path / name)) as film:
        stream = film.streams.video[0]
        shown = [frame.time for frame in film.decode(stream)]
        codec = stream.codec_context.name
    assert shown == pytest.approx(seconds, abs=2e-3)
    assert codec == ("vp9" if name.endswith("webm") else "h264")
    film = read_film(tmp_path / name)
    assert nearest(film) == [0, 1, 2, 3]
    assert np.abs(film[0].astype(float) - FRAMES[0]).mean() < 6


def with_sound(path, codec: str = "aac"):
    """Write a film of two seconds whose tone rises after one."""
    av = pytest.importorskip("av")
    write_film(path, timed([i / 4 for i in range(8)]), 2.0, rate=4)
    silent = path.rename(path.with_name(f"silent{path.suffix}"))
    with av.open(str(silent)) as source, av.open(str(path), "w") as film:
        video = film.add_stream_from_template(source.streams.video[0])
        sound = film.add_stream(codec, rate=48000)
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                film.mux(packet)
        time = np.arange(96000) / 48000
        tone = np.sin(2 * np.pi * np.where(time < 1, 440, 880) * time) * 8000
        frame = av.AudioFrame.from_ndarray(tone.astype(np.int16)[None], "s16", "mono")
        frame.rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
        film.mux(sound.encode(frame))
        film.mux(sound.encode())
    return path


def tones(path) -> tuple[float, list[float]]:
    """Return the seconds of a film's sound, and its loudest frequency in each half second."""
    import av

    with av.open(str(path)) as film:
        if not film.streams.audio:
            return 0.0, []
        parts = [frame.to_ndarray()[0] for frame in film.decode(audio=0)]
    sound = np.concatenate(parts)
    loudest = [
        float(np.argmax(np.abs(np.fft.rfft(sound[i : i + 24000])))) * 2
        for i in range(2400, len(sound) - 24000, 24000)
    ]
    return len(sound) / 48000, loudest


def test_the_sound_of_a_part_goes_with_its_frames(tmp_path) -> None:
    source = with_sound(tmp_path / "source.mp4")
    write_film(tmp_path / "whole.mp4", timed([i / 4 for i in range(8)]), 2.0, rate=4, sound=source)
    seconds, loudest = tones(tmp_path / "whole.mp4")
    assert seconds == pytest.approx(2, abs=0.1)
    assert loudest[0] == pytest.approx(440, abs=4)
    assert loudest[-1] == pytest.approx(880, abs=4)
    frames = timed([0.0, 0.25, 0.5])
    write_film(tmp_path / "part.mp4", frames, 0.75, rate=4, sound=source, first_second=1.1)
    seconds, loudest = tones(tmp_path / "part.mp4")
    assert seconds == pytest.approx(0.75, abs=0.1)
    assert loudest == pytest.approx([880], abs=4)


def test_sound_that_does_not_fit_is_left_out_with_a_line(tmp_path, caplog) -> None:
    source = with_sound(tmp_path / "source.mp4")
    write_film(tmp_path / "out.webm", timed([0.0, 0.25]), 0.5, rate=4, sound=source)
    assert tones(tmp_path / "out.webm") == (0.0, [])
    assert "its sound (aac) cannot be stored in this format" in caplog.text
    write_film(tmp_path / "out.mkv", timed([0.0, 0.25]), 0.5, rate=4, sound=source)
    assert tones(tmp_path / "out.mkv")[0] > 0.3


def test_odd_sides_lose_a_row_and_a_column(tmp_path) -> None:
    odd = [(i / 10, frame[:47, :63]) for i, frame in enumerate(FRAMES)]
    write_film(tmp_path / "out.mp4", odd, 0.8, rate=10)
    assert read_film(tmp_path / "out.mp4")[0].shape == (46, 62, 3)
    write_film(tmp_path / "out.gif", odd, 0.8, rate=10)
    assert read_film(tmp_path / "out.gif")[0].shape == (47, 63, 3)


def test_a_film_that_fails_leaves_the_one_before(tmp_path) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"before")

    def frames():
        yield from timed([0.0, 0.1])
        raise ImageFileError("a frame cannot be read")

    with pytest.raises(ImageFileError, match="a frame cannot be read"):
        write_film(path, frames(), 0.3, rate=10)
    assert path.read_bytes() == b"before"
    assert [each.name for each in tmp_path.iterdir()] == ["out.mp4"]


def test_other_names_are_refused(tmp_path) -> None:
    with pytest.raises(OptionError, match=r"ends in one of .*Did you mean '\.mp4'"):
        check_film(tmp_path / "out.mp5")
    with pytest.raises(ImageFileError, match="does not exist"):
        check_film(tmp_path / "none" / "out.mp4")


@pytest.mark.skipif(sys.platform != "linux", reason="file names are UTF-8 elsewhere")
def test_a_folder_on_whose_name_opencv_crashes_is_refused(tmp_path, monkeypatch) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    monkeypatch.setattr(films, "has_encoder", lambda: False)
    with pytest.raises(ImageFileError, match="its folder's name is not UTF-8"):
        films.check_film(folder / "out.mp4")
    with pytest.raises(ImageFileError, match="its folder's name is not UTF-8"):
        check_recording(None, None, folder / "run.mp4")
