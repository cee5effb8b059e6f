"""The plan of the scales, coarse to fine: pure functions.

Large structures form at small sizes, where an evaluation is cheap and the network sees much of the image
at once; the largest scale only adds detail (Gatys et al., "Controlling Perceptual Factors in Neural Style
Transfer", CVPR 2017, sec. 6).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ...errors import OptionError
from ...images import Picture, fit
from ...settings.options import Options


@dataclass(frozen=True, slots=True)
class Schedule:
    """Scales and iterations of a run for which the user chooses none.

    Attributes
    ----------
    coarsest : int
        Pixels, roughly, of the longer side of the first scale: halving stops between 0.7 and 1.4 times that.
    iterations : tuple of int
        Of the largest scale, of the one before, and so on; the last number holds for all others.
    first : int
        Least iterations of the first scale.
    """

    coarsest: int
    iterations: tuple[int, ...]
    first: int = 1


AUTO = Schedule(128, (40, 40, 80, 150))

# At about 256 px the forms of the content are larger than the strokes of the style.
FROM_NOISE = Schedule(256, (60, 200), first=300)

# Of the schedules that take about half the time of `AUTO` at 512 px, one that ends low: over eight pairs at
# 1.56 times the loss of `AUTO`.
DRAFT = Schedule(256, (11, 36), first=36)


@dataclass(frozen=True, slots=True)
class Scale:
    """A scale of a run.

    Attributes
    ----------
    size : (int, int)
        Height and width of the image.
    iterations : int
        Maximum number of iterations.
    """

    size: tuple[int, int]
    iterations: int

    @property
    def longest(self) -> int:
        """Longer side in pixels."""
        return max(self.size)


def result_size(content: Picture, options: Options) -> tuple[int, int]:
    """Return height and width of the result for a content image."""
    size = (content.rgb.shape[0], content.rgb.shape[1])
    return size if options.size == "full" else fit(size, options.size)


def plan(
    size: tuple[int, int],
    scales: Sequence[int] | Literal["auto"],
    iterations: int | Sequence[int] | None,
    smallest_side: int,
    schedule: Schedule = AUTO,
) -> tuple[Scale, ...]:
    """Plan the scales of an image.

    Parameters
    ----------
    size : (int, int)
        Height and width of the result.
    scales : sequence of int or "auto"
        Longer sides, coarse to fine; those not below the result's are left out, the result's is added.
        ``"auto"`` halves the result's down to about the coarsest of the schedule.
    iterations : int, sequence of int or None
        For every scale, for each one, or as in the schedule.
    smallest_side : int
        Shortest side that the network can work on; coarser scales are left out.
    schedule : Schedule
        What "auto" and None mean.

    Returns
    -------
    tuple of Scale
        Coarse to fine; the last one has `size`.

    Raises
    ------
    OptionError
        If `iterations` are not as many as the scales.
    """
    longest = max(size)
    if scales == "auto":
        wanted: list[int] = []
        side = longest / 2
        while side >= 0.7 * schedule.coarsest:
            wanted.insert(0, round(side))
            side /= 2
    else:
        wanted = [side for side in scales if side < longest]
    sizes = [fit(size, side) for side in wanted]
    sizes = [*(s for s in sizes if min(s) >= smallest_side), size]
    return tuple(Scale(s, n) for s, n in zip(sizes, _counts(iterations, len(sizes), schedule), strict=True))


def style_size(size: tuple[int, int], factor: float, scale: Scale, smallest_side: int) -> tuple[int, int]:
    """Return the size of a style image at a scale: as long as the result, times `factor`.

    Never above its own `size` (height, width). A narrow image is made longer where its shorter side would be
    below `smallest_side`.
    """
    least = math.ceil(smallest_side * max(size) / min(size))
    return fit(size, min(max(round(scale.longest * factor), least), max(size)))


def _counts(iterations: int | Sequence[int] | None, scales: int, schedule: Schedule) -> list[int]:
    if iterations is None:
        table = schedule.iterations
        counts = [table[min(i, len(table) - 1)] for i in reversed(range(scales))]
        return [max(counts[0], schedule.first), *counts[1:]]
    if isinstance(iterations, int):
        return [iterations] * scales
    if len(iterations) != scales:
        raise OptionError(
            f"iterations must be one number or one for each of the {scales} scales, "
            f"got {len(iterations)} numbers."
        )
    return list(iterations)


@dataclass(frozen=True, slots=True)
class ScaleResult:
    """The result of one scale.

    Attributes
    ----------
    size : (int, int)
        Height and width.
    iterations, evaluations : int
        Iterations and evaluations that were made.
    seconds : float
        Wall time, with targets and building of graphs.
    loss_start, loss_end : float
        Loss of the first and of the best image.
    terms_start, terms_end : mapping of str to float
        Terms of these images, without their weights.
    stop_reason : str
        Why it ended, a key of `lbfgs_style.optimization.lbfgs.STOP_REASONS`.
    """

    size: tuple[int, int]
    iterations: int
    evaluations: int
    seconds: float
    loss_start: float
    loss_end: float
    terms_start: Mapping[str, float]
    terms_end: Mapping[str, float]
    stop_reason: str
