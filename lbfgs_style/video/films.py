"""Write films: the codec of each format, and frames of uneven duration at a constant rate."""

from __future__ import annotations

import errno
import importlib.util
import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageFileError, OptionError, did_you_mean
from ..system.files import atomic_write, is_utf8, why_unwritable

log = logging.getLogger(__name__)

Pixels = NDArray[np.uint8]

TimedFrames = Iterable[tuple[float, Pixels]]
"""Seconds at which each frame begins, increasing, and its pixels H×W×3, RGB."""


@dataclass(frozen=True, slots=True)
class FilmFormat:
    """How a film of one extension is written.

    Attributes
    ----------
    opencv : str or None
        Codec of OpenCV's VideoWriter; None if OpenCV cannot write the format.
    video : str or None
        Codec of PyAV; None for an animated image.
    sounds : tuple of str
        Codecs of sound that such a file holds; empty for any.
    """

    opencv: str | None
    video: str | None
    sounds: tuple[str, ...] = ()


_MP4_SOUNDS = ("aac", "mp3", "ac3", "eac3", "alac", "opus")
FILM_FORMATS = {
    ".mp4": FilmFormat("mp4v", "libx264", _MP4_SOUNDS),
    ".mov": FilmFormat("mp4v", "libx264", (*_MP4_SOUNDS, "pcm_s16le", "pcm_s24le")),
    ".webm": FilmFormat("VP90", "libvpx-vp9", ("opus", "vorbis")),
    ".mkv": FilmFormat(None, "libx264"),
    ".gif": FilmFormat(None, None),
}


def has_encoder() -> bool:
    """Return whether PyAV, the extra `video`, is installed."""
    return importlib.util.find_spec("av") is not None


def check_film(path: Path) -> FilmFormat:
    """Return the format of a film, or raise OptionError or ImageFileError if it cannot be written."""
    suffix = path.suffix.lower()
    if suffix not in FILM_FORMATS:
        raise OptionError(
            f"{path}: expected a film that ends in one of {', '.join(FILM_FORMATS)}, or a folder for images."
            f"{did_you_mean(suffix, FILM_FORMATS)}"
        )
    problem = why_unwritable(path)
    if problem is not None:
        raise ImageFileError(f"{path}: {problem}")
    if not has_encoder() and not is_utf8(path.resolve().parent):
        raise ImageFileError(f"{path}: its folder's name is not UTF-8: choose another folder.")
    kind = FILM_FORMATS[suffix]
    if kind.video is not None and kind.opencv is None and not has_encoder():
        raise OptionError(f"{path}: {suffix} needs PyAV: pip install 'lbfgs-style[video]', or write an .mp4.")
    return kind


def write_film(
    path: Path,
    frames: TimedFrames,
    end: float,
    *,
    rate: float,
    sound: Path | None = None,
    first_second: float = 0.0,
) -> None:
    """Write a film atomically.

    H.264, or VP9 in WebM, and the sound of another film are written by PyAV; without it OpenCV writes MPEG-4
    or VP9 without sound, and a warning says so.

    Parameters
    ----------
    path : Path
        A file whose extension is in `FILM_FORMATS`. Codecs need even sides, so odd ones lose a row or a
        column, except in a GIF.
    frames : iterable of (float, array)
        When each frame begins, in seconds, and its pixels.
    end : float
        When the last frame ends.
    rate : float
        Frames per second, for codecs without time stamps.
    sound : Path, optional
        A film whose sound is copied, from `first_second` on.

    Raises
    ------
    ImageFileError
        The file cannot be written.
    """
    kind = check_film(path)
    if kind.video is not None and not has_encoder():
        log.warning(
            "%s: %s without sound: pip install 'lbfgs-style[video]' brings H.264 and keeps the sound",
            *(path, "VP9" if kind.opencv == "VP90" else "MPEG-4"),
        )
    try:
        with atomic_write(path) as temporary:
            if kind.video is None and has_encoder():
                from .encoder import encode_animation

                encode_animation(temporary, frames, end)
            elif kind.video is None:
                _write_gif(temporary, frames, end)
            elif has_encoder():
                from .encoder import Sound, encode  # imports PyAV

                track = None if sound is None else Sound(sound, kind.sounds, first_second, first_second + end)
                encode(temporary, _even(frames), codec=kind.video, rate=rate, sound=track)
            else:
                _write_opencv(temporary, str(kind.opencv), rate, _at_constant_rate(_even(frames), end, rate))
            if not temporary.exists() or temporary.stat().st_size == 0:
                raise OSError(errno.ENOSPC, "is the disk full?")
    except OSError as error:
        raise ImageFileError(f"{path}: cannot be written: {error.strerror or error}") from error


def open_writer(path: Path, codec: str, rate: float, size: tuple[int, int]) -> Any:
    """Open OpenCV's writer of films for BGR frames of (height, width)."""
    import cv2

    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), float(rate), size[::-1])
    if not writer.isOpened():
        raise OptionError(f"This OpenCV cannot write {path.suffix} ({codec}): write a .gif instead.")
    return writer


def write_animation(path: Path, pictures: Sequence[Pixels], milliseconds: Sequence[int]) -> None:
    """Write an endless GIF of BGR frames."""
    import cv2

    animation = cv2.Animation()
    animation.frames, animation.durations = list(pictures), list(milliseconds)
    animation.loop_count = 0  # endless
    if not cv2.imwriteanimation(str(path), animation):
        raise ImageFileError(f"{path.suffix}: OpenCV cannot write the animation: write an .mp4")


def _write_gif(path: Path, frames: TimedFrames, end: float) -> None:
    seconds, pixels = zip(*frames, strict=True)
    # GIF counts hundredths of a second; the sum must not drift.
    ticks = [10 * round(100 * each) for each in (*seconds, end)]
    durations = [max(20, after - before) for before, after in pairwise(ticks)]
    write_animation(path, [np.ascontiguousarray(each[..., ::-1]) for each in pixels], durations)


def _write_opencv(path: Path, codec: str, rate: float, frames: Iterator[Pixels]) -> None:
    first = next(frames)
    writer = open_writer(path, codec, rate, (first.shape[0], first.shape[1]))
    try:
        written = 0
        for pixels in _chained(first, frames):
            writer.write(np.ascontiguousarray(pixels[..., ::-1]))
            written += 1
    finally:
        writer.release()
    _check_length(path, written)


def _chained(first: Pixels, others: Iterator[Pixels]) -> Iterator[Pixels]:
    yield first
    yield from others


def _check_length(path: Path, written: int) -> None:
    """Raise OSError unless a film has all its frames: OpenCV does not report a full disk."""
    import cv2

    count = int(cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FRAME_COUNT))
    if count < written:
        raise OSError(errno.ENOSPC, f"only {max(0, count)} of {written} frames: is the disk full?")


def _even(frames: TimedFrames) -> Iterator[tuple[float, Pixels]]:
    for seconds, pixels in frames:
        height, width = (max(2, side // 2 * 2) for side in pixels.shape[:2])
        yield seconds, pixels[:height, :width]


def _at_constant_rate(frames: TimedFrames, end: float, rate: float) -> Iterator[Pixels]:
    """Yield the frame that is shown at each tick: where times are uneven, some twice and some not at all."""
    tick = 0

    def until(seconds: float) -> int:
        return math.floor(seconds * rate + 0.5)

    latest: list[Pixels] = []
    for seconds, pixels in frames:
        for _ in range(tick, until(seconds)):
            if latest:
                yield latest[0]
        tick = max(tick, until(seconds))
        latest[:] = [pixels]
    for _ in range(tick, max(tick + 1, until(end))):
        yield latest[0]
