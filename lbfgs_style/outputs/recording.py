"""Record a run: frames in a folder, and a short video."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import images
from ..errors import ImageFileError, OptionError, did_you_mean
from ..images import fit, from_array, resize
from ..pipeline.results import Iterate, IterateCallback
from ..system.files import atomic_write, is_utf8, why_unwritable
from ..video.films import open_writer, write_animation

# Iterations from one frame to the next by default.
EVERY = 10

# Names of the frames in their folder.
FRAMES = "frame-*.png"

# Records the image of an iteration, or skips it.
Take = Callable[[Iterate], None]
Frame = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class VideoFormat:
    """How a video of one extension is written.

    Attributes
    ----------
    codec : str or None
        Name for OpenCV's VideoWriter; None for an animated GIF.
    longest : int
        Most pixels of the longer side of a frame.
    frames, rate : int
        Most frames, and frames per second.
    """

    codec: str | None
    longest: int
    frames: int
    rate: int


VIDEO_FORMATS = {
    ".mp4": VideoFormat("mp4v", longest=1080, frames=192, rate=24),
    # GIF has no compression between frames: fewer and smaller ones.
    ".gif": VideoFormat(None, longest=360, frames=60, rate=10),
}

_HOLD = 1.5  # seconds that the last frame stays


def check_recording(
    frames: Path | None, save_every: int | None, video: Path | None, *, resumed: bool = False
) -> None:
    """Check before a long run that its frames and its video can be written.

    The folder of a `resumed` run may hold frames.

    Raises
    ------
    OptionError
        The options contradict each other, or a file of that kind cannot be written.
    ImageFileError
        A file or folder cannot be written.
    """
    if save_every is not None and frames is None:
        raise OptionError("--save-every needs a folder to save to: add --frames DIR.")
    if save_every is not None and save_every < 1:
        raise OptionError(f"--save-every must be a whole number of iterations from 1, got {save_every}.")
    if frames is not None:
        if frames.exists() and not frames.is_dir():
            raise ImageFileError(f"--frames {frames}: is a file; expected a folder")
        if not resumed and frames.is_dir() and any(frames.glob(FRAMES)):
            raise ImageFileError(f"--frames {frames}: holds the frames of another run: choose another folder")
        problem = None if frames.is_dir() else why_unwritable(frames)
        if problem is not None:
            raise ImageFileError(f"--frames {frames}: {problem}")
    if video is not None:
        suffix = video.suffix.lower()
        if suffix not in VIDEO_FORMATS:
            raise OptionError(
                f"--video {video}: expected one of {', '.join(VIDEO_FORMATS)}."
                f"{did_you_mean(suffix, VIDEO_FORMATS)}"
            )
        problem = why_unwritable(video)
        if problem is not None:
            raise ImageFileError(f"--video {video}: {problem}")
        if not is_utf8(video.resolve().parent):
            raise ImageFileError(f"--video {video}: its folder's name is not UTF-8: choose another folder.")
        if suffix == ".gif" and not _opencv_animates():
            raise OptionError("--video: GIF needs OpenCV 4.11 or later; write an .mp4 or update OpenCV.")


@contextmanager
def recorded(
    callback: IterateCallback | None = None,
    *,
    frames: Path | None = None,
    save_every: int | None = None,
    video: Path | None = None,
    resumed: bool = False,
) -> Generator[IterateCallback]:
    """Yield a callback for `StyleTransfer.run` that records images of the iterations.

    Parameters
    ----------
    callback : callable, optional
        Called after recording; its return value is passed on.
    frames : Path, optional
        Folder for ``frame-000010.png``, …, each of the size of its scale; created if missing.
    save_every : int, optional
        Iterations from one frame to the next; default `EVERY`.
    video : Path, optional
        An .mp4 or .gif of a few seconds, of the size of the result or smaller; complete when the block
        ends, and not written when the block raises or there was no iteration.
    resumed : bool
        The run is resumed from a checkpoint: its frames join the existing ones, its video shows the rest.

    Raises
    ------
    OptionError, ImageFileError
        See `check_recording`. An error while recording does not end the run: recording stops, and the error
        is raised when the block ends.
    """
    check_recording(frames, save_every, video, resumed=resumed)
    with ExitStack() as stack:
        takes: list[Take] = []
        if frames is not None:
            takes.append(_frames(frames, save_every or EVERY))
        if video is not None:
            takes.append(stack.enter_context(_video(video)))

        failures: list[ImageFileError] = []

        def on_iterate(iterate: Iterate) -> object:
            try:
                for take in () if failures else takes:
                    take(iterate)
            except ImageFileError as error:
                failures.append(error)
            return None if callback is None else callback(iterate)

        yield on_iterate
        if failures:
            raise failures[0]


class ScaleImages:
    """Callback that keeps the image with which each scale but the last ends, in `images` by its size.

    Of the scales that a resumed run finished before, there is none.
    """

    # Pixels of the longer side of an image that is kept.
    LONGEST = 512

    def __init__(self) -> None:
        self.images: dict[tuple[int, int], images.FloatImage] = {}
        self._last: Iterate | None = None

    def __call__(self, iterate: Iterate) -> None:
        """Keep the image of the iteration before if this one belongs to the next scale."""
        before = self._last
        if before is not None and before.scale < iterate.scale:
            longest = min(max(before.size), self.LONGEST)
            self.images[before.size] = resize(before.image(), fit(before.size, longest))
        self._last = iterate if iterate.scale < iterate.scales else None


def done_before(iterate: Iterate) -> int:
    """Return the number of an iteration in the whole run, as if earlier scales had made all planned ones."""
    return sum(count for _, count in iterate.plan[: iterate.scale - 1]) + iterate.iteration


def _frames(folder: Path, every: int) -> Take:
    def take(iterate: Iterate) -> None:
        number = done_before(iterate)
        if number % every == 0 or number == 1:
            try:
                folder.mkdir(exist_ok=True)
            except OSError as error:
                raise ImageFileError(
                    f"--frames {folder}: {why_unwritable(folder) or error.strerror}"
                ) from error
            picture = np.rint(255 * iterate.image()).astype(np.uint8)
            images.write(folder / f"frame-{number:06d}.png", from_array(picture))

    return take


class _Empty(Exception):
    """Raised where there was no iteration, so that an old file is not replaced."""


@contextmanager
def _video(path: Path) -> Generator[Take]:
    kind = VIDEO_FORMATS[path.suffix.lower()]
    pictures: list[Frame] = []  # all frames of a GIF, which is written at the end; the last frame of a video
    last: list[Iterate] = []
    try:
        with atomic_write(path) as temporary, ExitStack() as stack:
            writers: list[Any] = []

            def add(iterate: Iterate) -> None:
                frame = _frame(iterate, kind.longest)
                if kind.codec is None:
                    pictures.append(frame)
                    return
                if not writers:
                    if problem := why_unwritable(path):  # it was writable when the run started
                        raise ImageFileError(f"--video {path}: {problem}")
                    size = (frame.shape[0], frame.shape[1])
                    writers.append(open_writer(temporary, kind.codec, kind.rate, size))
                    stack.callback(writers[0].release)
                writers[0].write(frame)
                pictures[:] = [frame]

            def take(iterate: Iterate) -> None:
                total = sum(count for _, count in iterate.plan)
                step = -(-total // kind.frames)
                last[:] = [iterate]
                if (done_before(iterate) - 1) % step == 0:
                    last.clear()
                    add(iterate)

            yield take
            for iterate in last:
                add(iterate)
            if not pictures:
                raise _Empty
            if kind.codec is None:
                each, last_one = round(1000 / kind.rate), round(1000 * _HOLD)
                write_animation(temporary, pictures, [each] * (len(pictures) - 1) + [last_one])
            else:
                for _ in range(round(_HOLD * kind.rate)):
                    writers[0].write(pictures[-1])
    except _Empty:
        return


def _frame(iterate: Iterate, longest: int) -> Frame:
    """Return the image of an iteration at the size of the video: BGR, with even sides, which codecs need."""
    size, _ = iterate.plan[-1]
    if max(size) > longest:
        size = fit(size, longest)
    even = (max(2, size[0] // 2 * 2), max(2, size[1] // 2 * 2))
    return np.ascontiguousarray(np.rint(255 * resize(iterate.image(), even)).astype(np.uint8)[..., ::-1])


def _opencv_animates() -> bool:
    import cv2

    return hasattr(cv2, "imwriteanimation")
