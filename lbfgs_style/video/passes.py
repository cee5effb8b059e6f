"""The passes of a clip after the first one: back and forth, and from its end into its start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..settings.video_options import VideoOptions

# Frames at the start of a clip that are painted again so that its end leads into them.
_JOINED = 12


@dataclass(frozen=True, slots=True)
class Pass:
    """A pass over frames that were painted before.

    Attributes
    ----------
    name : str
        Name of the pass.
    order : sequence of int
        The frames to paint, in their order.
    holds : sequence of float
        How much each frame is held to what was painted before, c in [0,1].
    before : sequence of int
        Frames that the first one continues, the latest first.
    """

    name: str
    order: Sequence[int]
    holds: Sequence[float]
    before: Sequence[int] = ()


def later_passes(count: int, video: VideoOptions) -> list[Pass]:
    """Return the passes after the first one over a clip of `count` frames.

    At the join of a loop, frames change gradually from a continuation of the last frame to what was there.
    """
    passes: list[Pass] = []
    for number in range(2, video.passes + 1):
        order = range(count) if number % 2 else range(count - 1, -1, -1)
        passes.append(Pass(f"pass {number}", order, [0.0] * count))
    joined = min(_JOINED, count - 1)
    if video.loop and joined > 0:
        holds = [index / joined for index in range(joined)]
        last = [count - back for back in range(1, max(video.long_term) + 1) if count - back >= joined]
        passes.append(Pass("loop", range(joined), holds, last))
    return passes
