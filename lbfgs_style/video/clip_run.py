"""Paint a clip into its working folder: all passes, each resumed where it was interrupted."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from .. import images
from ..images import Picture, to_array
from ..settings.video_options import VideoOptions
from ..system.files import atomic_write
from .clip_painter import ClipPainter
from .clips import Clip, Part
from .films import Pixels, write_film
from .frames import Frame
from .passes import later_passes
from .working_folder import WorkingFolder, frame_name

log = logging.getLogger(__name__)

_FIRST = "pass 1"


@dataclass(slots=True, eq=False)
class ClipRun:
    """A clip that is painted into a working folder.

    Attributes
    ----------
    clip, part
        The clip, and which frames of it.
    video : VideoOptions
        The passes.
    folder : WorkingFolder
        The folder, held.
    seconds : list of float
        When each painted frame is shown.
    """

    clip: Clip
    part: Part
    video: VideoOptions
    folder: WorkingFolder
    seconds: list[float] = field(default_factory=list[float])

    def paint(self, painter: ClipPainter) -> Iterator[Frame]:
        """Yield the frames of all passes as they are saved, without those that an earlier run has saved."""
        yield from self._first_pass(painter)
        if painter.is_cancelled:
            return
        count = len(self.seconds)
        before = _FIRST
        for each in later_passes(count, self.video):
            contents, results = self.folder.contents(count), self.folder.results(before, count)
            state, seconds = self.folder.resume(each.name)
            for frame in painter.repaint(each, contents, results, state):
                self.folder.save(each.name, each.order[frame.number], frame, seconds, content=False)
                yield frame
            if painter.is_cancelled:
                return
            if len(each.order) == count:
                before = each.name

    def frames_left(self, count: int) -> int:
        """Return how many frames remain to be painted in all passes of a clip of `count` frames."""
        later = later_passes(count, self.video)
        saved = [self.folder.resume(name)[0] for name in (_FIRST, *(each.name for each in later))]
        done = sum(state.number for state in saved if state is not None)
        return max(0, count + sum(len(each.order) for each in later) - done)

    def write(self, path: Path) -> None:
        """Write the film of the frames that are painted, with the sound of the clip."""
        first, gap = self.seconds[0], self.part.every / self.clip.rate
        write_film(
            path,
            self._timed(first),
            self.seconds[-1] - first + gap,
            rate=self.clip.rate / self.part.every,
            sound=self.clip.path if self.clip.is_film else None,
            first_second=first,
        )

    def write_images(self, folder: Path) -> None:
        """Copy the frames that are painted into a folder, in place of those of an earlier run.

        They are not moved: a run that is killed meanwhile continues from them.
        """
        files = self._files()
        for old in set(folder.glob("frame-*.png")) - {folder / frame_name(i) for i in range(len(files))}:
            old.unlink()
        for index, file in enumerate(files):
            with atomic_write(folder / frame_name(index)) as temporary:
                shutil.copy2(file, temporary)

    def thumbnails(self, most: int) -> list[tuple[float, Path]]:
        """Return seconds and files of up to `most` frames, evenly spread over those that are painted."""
        files = self._files()
        indices = np.unique(np.linspace(0, len(files) - 1, min(most, len(files))).round().astype(int))
        return [(self.seconds[i], files[i]) for i in indices]

    def _files(self) -> list[Path]:
        names = [_FIRST, *(each.name for each in later_passes(len(self.seconds), self.video))]
        return self.folder.latest(names, len(self.seconds))

    def _timed(self, first: float) -> Iterator[tuple[float, Pixels]]:
        """Yield the seconds and pixels of each painted frame for a film."""
        is_said = False
        for seconds, file in zip(self.seconds, self._files(), strict=True):
            picture = images.read(file)
            if picture.alpha is not None and not is_said:
                log.warning("a film has no transparency: its frames are laid over white")
                is_said = True
            opaque = replace(images.over_white(picture), dtype=np.dtype(np.uint8), gray=False)
            yield seconds - first, to_array(opaque)

    def _first_pass(self, painter: ClipPainter) -> Iterator[Frame]:
        state, self.seconds = self.folder.resume(_FIRST)
        read = list(self.seconds)  # of frames that are read ahead, too
        done = len(read)

        def pictures() -> Iterator[Picture]:
            for index, frame in enumerate(self.clip.frames(self.part)):
                if index >= done:
                    read.append(frame.seconds)
                    yield frame.picture

        keeps_contents = self.video.passes > 1 or self.video.loop
        for frame in painter.paint(pictures(), resume=state):
            seconds = read[: frame.number + 1]
            self.folder.save(_FIRST, frame.number, frame, seconds, content=keeps_contents)
            self.seconds = seconds
            yield frame
