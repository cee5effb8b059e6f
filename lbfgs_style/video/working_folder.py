"""The working folder of a clip: its painted frames as PNG, and what the next one depends on.

Each frame is written before the state that includes it, and both atomically: a process that is killed loses
the frame in work, and its successor continues with the same numbers.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, overload

import numpy as np

from .. import images
from ..errors import CheckpointError
from ..images import FloatImage, Picture, with_rgb
from ..system.files import atomic_write, why_unwritable
from ..system.locks import try_lock
from ..system.npz import check_array, read_arrays, read_int
from .drift import Anchor, Gain
from .frames import Frame, VideoState

# File in the folder that says which run it belongs to, and the folder of the content frames.
_RUN, _CONTENTS = "run.json", "contents"

# File in the folder of a pass with what its next frame depends on, and its largest size in bytes.
_STATE, _MOST_BYTES = "state.npz", 2**34


class FrameFiles(Sequence[Picture]):
    """The frames in a folder, ``frame-000001.png`` and so on, each read when it is needed."""

    def __init__(self, folder: Path, count: int) -> None:
        self._folder, self._count = folder, count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Picture: ...
    @overload
    def __getitem__(self, index: slice) -> list[Picture]: ...
    def __getitem__(self, index: int | slice) -> Picture | list[Picture]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._count))]
        return images.read(self._folder / frame_name(range(self._count)[index]))


def frame_name(index: int) -> str:
    """Return the name of the file of a frame, 0-based."""
    return f"frame-{index + 1:06d}.png"


@dataclass(frozen=True, slots=True)
class WorkingFolder:
    """The folder of one run, which is made when it begins and removed at its end.

    Attributes
    ----------
    path : Path
        The folder.
    """

    path: Path

    @contextmanager
    def open(self, run: Mapping[str, Any]) -> Generator[Self]:
        """Lock the folder of a run, which is described by a dictionary for JSON.

        Raises
        ------
        CheckpointError
            The folder is that of another run, is in use, or cannot be made.
        """
        about = self.path / _RUN
        text = json.dumps(run, sort_keys=True).encode()
        with try_lock(self.path) as is_ours:
            if not is_ours:
                raise CheckpointError(f"{self.path}: in use by another run: wait for it to end.")
            if self.path.exists() and not _is_empty(self.path):
                if not about.is_file() or about.read_bytes() != text:
                    raise CheckpointError(
                        f"{self.path}: has the frames of another run; expected one with the same inputs and "
                        "options: delete the folder, or choose another output."
                    )
            else:
                problem = None if self.path.exists() else why_unwritable(self.path)
                if problem is not None:
                    raise CheckpointError(f"{self.path}: {problem}.")
                self.path.mkdir(exist_ok=True)
                with atomic_write(about) as temporary:
                    temporary.write_bytes(text)
            yield self

    def resume(self, name: str) -> tuple[VideoState | None, list[float]]:
        """Return the state of a pass, and when each of its frames is shown, in seconds.

        Raises
        ------
        CheckpointError
            The state is damaged.
        """
        path = self.path / name / _STATE
        try:
            with path.open("rb") as file:
                arrays = read_arrays(file, most=_MOST_BYTES, packed=False)
            return _state(arrays), check_array(arrays["seconds"], np.float64).ravel().tolist()
        except FileNotFoundError:
            return None, []
        except (KeyError, ValueError, OSError) as error:
            raise CheckpointError(f"{path}: damaged: delete {self.path} to start again.") from error

    def save(self, name: str, index: int, frame: Frame, seconds: Sequence[float], *, content: bool) -> None:
        """Write a frame of a pass and the state after it, and its content frame for later passes.

        Parameters
        ----------
        name : str
            The pass.
        index : int
            Number of the frame in the clip.
        frame : Frame
            The frame.
        seconds : sequence of float
            When each frame of the pass so far is shown.
        content : bool
            Whether to write the content frame.
        """
        folder, state = self.path / name, frame.state
        folder.mkdir(exist_ok=True)
        images.write(folder / frame_name(index), frame.picture)
        if content:
            (self.path / _CONTENTS).mkdir(exist_ok=True)
            picture = with_rgb(frame.picture, state.contents[0])  # of the same kind: grey, alpha, 16 bits
            images.write(self.path / _CONTENTS / frame_name(index), picture)
        with atomic_write(folder / _STATE, temporary_name=f".{_STATE}") as temporary:
            np.savez(temporary, **_arrays(state), seconds=np.array(seconds, np.float64))

    def contents(self, count: int) -> FrameFiles:
        """Return the content frames, which the first pass has saved."""
        return FrameFiles(self.path / _CONTENTS, count)

    def results(self, name: str, count: int) -> FrameFiles:
        """Return the frames of a pass over the whole clip."""
        return FrameFiles(self.path / name, count)

    def latest(self, names: Sequence[str], count: int) -> list[Path]:
        """Return the files of all frames, each from the last of the named passes that painted it.

        Raises
        ------
        CheckpointError
            A frame is missing.
        """
        files: list[Path] = []
        for index in range(count):
            paths = (self.path / name / frame_name(index) for name in reversed(names))
            file = next((path for path in paths if path.exists()), None)
            if file is None:
                raise CheckpointError(
                    f"{self.path}: {frame_name(index)} is missing: delete the folder to start again."
                )
            files.append(file)
        return files

    def discard(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.path, ignore_errors=True)


def _is_empty(folder: Path) -> bool:
    """Return whether a path is an empty folder, as a process leaves it that is killed at its beginning."""
    return folder.is_dir() and not any(folder.iterdir())


def _arrays(state: VideoState) -> dict[str, Any]:
    return {
        "number": np.array(state.number),
        "shot": np.array(state.shot),
        "scalars": np.array([*state.anchor, *state.gain], np.float64),
        "first": state.first,
        "contents": np.stack(state.contents),
        "results": np.stack(state.results),
    }


def _state(arrays: Mapping[str, Any]) -> VideoState:
    shape = arrays["contents"].shape
    if len(shape) != 4 or shape[0] < 1 or shape[3] != 3:
        raise ValueError("no stack of frames")
    first = check_array(arrays["first"], np.float32, shape[1:])
    contents, results = (check_array(arrays[name], np.float32, shape) for name in ("contents", "results"))
    scalars = [*map(float, check_array(arrays["scalars"], np.float64, (5,)))]

    def each(stack: FloatImage) -> tuple[FloatImage, ...]:
        return tuple(np.ascontiguousarray(image) for image in stack)

    return VideoState(
        number=read_int(arrays["number"]),
        shot=read_int(arrays["shot"]),
        first=first,
        anchor=Anchor(*scalars[:3]),
        gain=Gain(*scalars[3:]),
        contents=each(contents),
        results=each(results),
    )
