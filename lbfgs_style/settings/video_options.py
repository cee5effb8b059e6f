"""Settings of a video besides those of each frame's run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import OptionError
from .limits import Flag
from .validation import require_int, require_weight

# Frames back, at most, that a frame is held to, and times that a clip is painted.
_FARTHEST, _MOST_PASSES = 32, 16


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoOptions:
    """How the frames of a video are held together.

    Attributes
    ----------
    temporal : float
        Weight γ of γ/(HW) Σ c (x − w)², which holds a frame x to its neighbours w where they are reliable, c.
    frame_iterations : int
        Iterations of each frame but the first of a shot.
    long_term : tuple of int
        The frames that a frame is held to, in frames back, the one before first: farther ones show what was
        hidden in between.
    passes : int
        Times that the clip is painted, forwards and backwards in turn: what a camera uncovers late then looks
        the same from the beginning.
    loop : bool
        The last frame leads into the first one.

    Raises
    ------
    OptionError
        A value is out of range.
    """

    temporal: float = 20.0
    frame_iterations: int = 15
    long_term: tuple[int, ...] = (1, 2, 4)
    passes: int = 1
    loop: bool = False

    def __post_init__(self) -> None:
        require_weight("temporal", self.temporal)
        require_int("frame_iterations", self.frame_iterations, 1, 1_000_000)
        require_int("passes", self.passes, 1, _MOST_PASSES)
        Flag().check("loop", self.loop)
        if isinstance(self.long_term, str) or not isinstance(self.long_term, Iterable):  # pyright: ignore
            raise OptionError(f"long_term must be numbers such as (1, 2, 4), got {self.long_term!r}.")
        object.__setattr__(self, "long_term", tuple(self.long_term))
        for frames in self.long_term:
            require_int("each of long_term", frames, 1, _FARTHEST)
        if list(self.long_term) != sorted(set(self.long_term)) or self.long_term[:1] != (1,):
            raise OptionError(
                f"long_term must be numbers of frames that grow from 1, such as (1, 2, 4), got "
                f"{self.long_term!r}."
            )
