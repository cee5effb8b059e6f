"""Read clips: films that OpenCV reads, animated images, and sequences of image files."""

from __future__ import annotations

import hashlib
import logging
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .. import images
from ..errors import ImageFileError, OptionError
from ..images import MAX_PIXELS, Picture, from_array
from ..settings.validation import require_int
from ..system.files import is_utf8, not_a_path

log = logging.getLogger(__name__)

# Frames per second: of a sequence of images, and the largest rate of a film that is believed.
SEQUENCE_RATE, MOST_RATE = 25.0, 120.0

# Extensions of animated images, and of the images of a sequence.
ANIMATIONS = (".gif", ".apng", ".webp", ".avif")
SEQUENCE_IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")

# Bytes of a file that are hashed at a time.
_CHUNK = 2**22


@dataclass(frozen=True, slots=True, eq=False)
class ClipFrame:
    """A frame of a clip.

    Attributes
    ----------
    number : int
        Number of the frame in the clip, 0-based.
    seconds : float
        When it is shown, from the beginning of the clip.
    picture : Picture
        Its pixels, upright.
    """

    number: int
    seconds: float
    picture: Picture


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Which frames of a clip are painted.

    Attributes
    ----------
    start, end : float
        Seconds of the first frame, and of the first one after the last.
    every : int
        1 for every frame, 2 for every other one.

    Raises
    ------
    OptionError
        A value is out of range.
    """

    start: float = 0.0
    end: float = math.inf
    every: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise OptionError(
                f"A part of a clip must start at 0 seconds or later and end after that, got "
                f"{self.start:g} to {self.end:g}."
            )
        require_int("every", self.every, 1, 1_000_000_000)


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """A clip whose frames can be read.

    Attributes
    ----------
    path : Path
        The file or folder, or a pattern of files such as ``frames/*.png``.
    files : tuple of Path
        The files that it consists of.
    rate : float
        Frames per second, on average.
    count : int
        Frames that the file declares; 0 where it declares none.
    max_pixels : int
        Largest height × width of a frame.
    """

    path: Path
    files: tuple[Path, ...]
    rate: float
    count: int
    max_pixels: int = MAX_PIXELS

    @property
    def is_sequence(self) -> bool:
        """Whether it is a sequence of image files."""
        return self.files != (self.path,)

    @property
    def is_film(self) -> bool:
        """Whether it is a single file that is not an animated image."""
        return not self.is_sequence and self.path.suffix.lower() not in ANIMATIONS

    def frames(self, part: Part | None = None) -> Iterator[ClipFrame]:
        """Yield the frames of a part of the clip.

        Frames that cannot be read are left out, and a film may end early: a warning is logged.

        Raises
        ------
        ImageFileError
            A frame is too large.
        """
        part = part or Part()
        first: int | None = None
        for number, seconds, read in self._sources():
            if seconds >= part.end:
                return
            if seconds < part.start:
                continue
            first = number if first is None else first
            if (number - first) % part.every == 0 and (picture := read()) is not None:
                yield ClipFrame(number, seconds, picture)

    def count_in(self, part: Part) -> int:
        """Return the number of frames of a part, as far as the file declares it."""
        first, last = (math.ceil(min(self.count, each * self.rate)) for each in (part.start, part.end))
        return -(-(last - first) // part.every)

    def fingerprint(self) -> str:
        """Return the sha256 of the bytes of all files, 64 hexadecimal digits."""
        digest = hashlib.sha256()
        for path in self.files:
            with path.open("rb") as file:
                while data := file.read(_CHUNK):
                    digest.update(data)
        return digest.hexdigest()

    def _sources(self) -> Iterator[tuple[int, float, Any]]:
        """Yield number and seconds of each frame, and a function that reads it, or returns None."""
        if self.is_film:
            yield from self._of_film()
        elif self.is_sequence:
            for number, path in enumerate(self.files):
                yield number, number / self.rate, partial(self._read_image, path)
        else:
            yield from self._of_animation()

    def _of_film(self) -> Iterator[tuple[int, float, Any]]:
        import cv2

        capture = _capture(self.path)
        number, latest = 0, -1.0
        while capture.grab():
            seconds = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if seconds <= latest:  # no time stamps, or damaged ones
                seconds = max(latest, 0.0) + 1 / self.rate if number else 0.0
            latest = seconds
            yield number, seconds, lambda: self._picture(capture.retrieve()[1])
            number += 1
        if number < self.count:
            log.warning("%s: ends after %d of %d frames", self.path, number, self.count)

    def _of_animation(self) -> Iterator[tuple[int, float, Any]]:
        animation = _animation(self.path)
        seconds = 0.0
        for number, (pixels, duration) in enumerate(zip(animation.frames, animation.durations, strict=False)):
            yield number, seconds, partial(self._picture, pixels)
            seconds += _frame_seconds(duration)

    def _read_image(self, path: Path) -> Picture | None:
        try:
            return images.read(path, max_pixels=self.max_pixels)
        except ImageFileError as error:
            log.warning("left out: %s", error)
            return None

    def _picture(self, pixels: Any) -> Picture | None:
        """Return a frame that OpenCV decoded, BGR or BGRA of 8 bits."""
        if pixels is None:
            log.warning("left out: %s: a frame that is damaged", self.path)
            return None
        if pixels.shape[0] * pixels.shape[1] > self.max_pixels:
            raise ImageFileError(
                f"{self.path}: frames of {pixels.shape[1]}×{pixels.shape[0]} pixels; expected at most "
                f"{self.max_pixels} pixels: allow more with --max-pixels."
            )
        is_opaque = pixels.shape[2] == 3 or pixels[..., 3].min() == 255
        order = (2, 1, 0) if is_opaque else (2, 1, 0, 3)
        return from_array(np.ascontiguousarray(pixels[..., order]), name=str(self.path))


def open_clip(path: Path | str, *, rate: float | None = None, max_pixels: int = MAX_PIXELS) -> Clip:
    """Open a clip: a film, an animated image, a folder of images or a pattern such as ``frames/*.png``.

    Parameters
    ----------
    path : path
        The clip.
    rate : float, optional
        Frames per second of a sequence of images, in place of 25.
    max_pixels : int
        Largest height × width of a frame.

    Raises
    ------
    ImageFileError
        There is nothing that can be read.
    """
    path = Path(path)
    if path.is_dir() or (not path.exists() and any(c in path.name for c in "*?")):
        folder, pattern = (path, "*") if path.is_dir() else (path.parent, path.name)
        files = [each for each in folder.glob(pattern) if each.suffix.lower() in SEQUENCE_IMAGES]
        if not files:
            raise ImageFileError(f"{path}: holds no images; expected files such as frame-000001.png.")
        for each in files:
            if not each.is_file():
                raise ImageFileError(f"{each}: is no file; expected images alone: move it elsewhere.")
        ordered = tuple(sorted(files, key=_natural))
        return Clip(path, ordered, rate or SEQUENCE_RATE, len(ordered), max_pixels)
    if not path.exists():
        raise ImageFileError(f"{path}: {not_a_path(path) or 'no such file.'}")
    if path.suffix.lower() in ANIMATIONS:
        animation = _animation(path)
        seconds = sum(map(_frame_seconds, animation.durations))
        count = len(animation.frames)
        return Clip(path, (path,), count / seconds, count, max_pixels)
    import cv2

    capture = _capture(path)
    found, count = (capture.get(each) for each in (cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_COUNT))
    known = found if 0 < found <= MOST_RATE else SEQUENCE_RATE
    return Clip(path, (path,), known, max(0, int(count)), max_pixels)


def _capture(path: Path) -> Any:
    import cv2

    capture = cv2.VideoCapture(_name_for_opencv(path))  # turns frames upright by itself
    if not capture.isOpened() or capture.get(cv2.CAP_PROP_FRAME_WIDTH) < 1:
        raise ImageFileError(
            f"{path}: cannot be read as a film; expected an MP4, MOV, WebM, AVI or MKV file, a GIF, or a "
            "folder of images."
        )
    return capture


def _animation(path: Path) -> Any:
    import cv2

    done, animation = cv2.imreadanimation(_name_for_opencv(path))
    if not done or not len(animation.frames):
        raise ImageFileError(f"{path}: cannot be read as an animation: it is damaged, or of another kind.")
    return animation


def _name_for_opencv(path: Path) -> str:
    """Return the absolute name of a file: FFmpeg takes ``part:1.mp4`` alone for an address.

    Raises
    ------
    ImageFileError
        It is no file, such as a pipe, which may never end; or its name is not UTF-8, on which OpenCV crashes.
    """
    if not path.is_file():
        raise ImageFileError(
            f"{path}: is no file; expected a clip: save what a pipe brings into a file first."
        )
    if not is_utf8(path):
        raise ImageFileError(f"{path}: its name is not UTF-8: rename file or folder.")
    return str(path.absolute())


def _frame_seconds(milliseconds: float) -> float:
    """Return how many seconds a frame of an animation is shown: as in players, 0.1 for a duration of 0."""
    return milliseconds / 1000 if milliseconds > 0 else 0.1


def _natural(path: Path) -> list[tuple[int, str]]:
    """Return a key by which frame-9 comes before frame-10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]
