"""What a run will do, before it does it: scales, tiles, memory and time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...objective.engine import Engine
from ...objective.evaluation import Evaluation
from ...objective.losses.terms import TermNames
from ...objective.memory_costs import Costs
from ...optimization.gradient_subspace import vectors
from ...optimization.lbfgs import minimize
from ...optimization.variables import KINDS, PER_PIXEL
from ...settings.options import Options
from ...system.memory import available_memory
from .memory import Working, arrange, blocks_bytes, too_large
from .scales import Scale

UNKNOWN_MEMORY = 4 * 10**9
"""The budget where the operating system does not tell what is left."""

_SHARE = 0.8
"""Of what is left, the part that a run takes without being told how much it may."""

_TRIAL = 256
"""Side, in pixels, of the picture whose evaluation tells the time of all others."""


@dataclass(frozen=True, slots=True)
class ScalePlan:
    """One scale of a run.

    Attributes
    ----------
    size : (int, int)
        Height and width.
    iterations : int
        The most iterations that every pixel gets.
    working : Working
        Whole, in tiles, or block by block.
    windows : int
        Tiles, or blocks of the first sweep; 1 where the scale is worked on whole.
    seconds : float or None
        The time that is to be expected; None where no evaluation was timed.
    """

    size: tuple[int, int]
    iterations: int
    working: Working
    windows: int
    seconds: float | None


def memory_budget(options: Options) -> int:
    """Return the bytes that a run may take: what was given, or most of what the machine has left."""
    if options.memory is not None:
        return options.memory
    left = available_memory()
    return UNKNOWN_MEMORY if left is None else int(_SHARE * left)


def longest_history(options: Options) -> int:
    """Return how many gradients the optimizer works with at most: 0 for first-order methods."""
    return options.history if options.optimizer == "lbfgs" else 0


def workings(
    engine: Engine, terms: TermNames, options: Options, scales: Sequence[Scale], sources: int
) -> list[Working]:
    """Choose how to work on each scale, see `budget.arrange`.

    Parameters
    ----------
    engine : Engine
        Knows the network.
    terms : TermNames
        The terms of the loss.
    options : Options
        Give the budget and the history.
    scales : sequence of Scale
        The plan of the scales.
    sources : int
        Bytes of the pictures that were read.

    Raises
    ------
    OptionError
        If a scale does not fit into the budget.
    """
    costs = replace(engine.costs(terms, sources), variables=PER_PIXEL[options.variables])
    budget = memory_budget(options)

    def working(scale: Scale) -> Working:
        way = arrange(scale.size, scale.iterations, longest_history(options), costs, budget)
        return _as_cut(way, scale, engine, terms, costs, budget)

    # From the largest on, whose need is the one to tell where the budget is too small.
    return [working(scale) for scale in reversed(scales)][::-1]


def _as_cut(
    way: Working, scale: Scale, engine: Engine, terms: TermNames, costs: Costs, budget: int
) -> Working:
    """Tell the memory of the blocks that there will be: often smaller than what would fit.

    A long picture may be cut into blocks that are larger: then windows shrink until they fit.
    """
    if way.way != "blocks" or way.window_pixels is None:
        return way
    window = way.window_pixels
    while True:
        cuts = engine.cuts(scale.size, terms, window)
        shapes = {(tile.rows.length, tile.columns.length) for tiles in cuts for tile in tiles}
        taken = max(blocks_bytes(scale.size, s, scale.iterations, way.history, costs) for s in shapes)
        if taken <= budget:
            return replace(way, window_pixels=window, bytes=taken)
        if window <= costs.smallest_window:
            raise too_large(scale.size, budget, taken)
        window = max(costs.smallest_window, int(_SHRINK * window))


def planned(
    engine: Engine,
    terms: TermNames,
    scales: Sequence[Scale],
    ways: Sequence[Working],
    options: Options,
    *,
    timed: bool,
) -> tuple[ScalePlan, ...]:
    """Put together what a run will do; with `timed`, after a trial evaluation of a small picture."""
    each = _Trial(engine, terms, options) if timed else None
    found: list[ScalePlan] = []
    for scale, working in zip(scales, ways, strict=True):
        pixels = scale.size[0] * scale.size[1]
        if working.window_pixels is None:
            windows, computed = 1, pixels
        else:
            cuts = engine.cuts(scale.size, terms, working.window_pixels)
            windows = len(cuts[0])
            if working.way == "tiles":
                computed = _TWO_PASSES * sum(tile.window_size[0] * tile.window_size[1] for tile in cuts[0])
            else:  # what surrounds a block is computed once
                computed = pixels
        kept = vectors(scale.iterations, working.history)
        seconds = (
            None if each is None else each.seconds(pixels, computed, working.history, kept) * scale.iterations
        )
        found.append(ScalePlan(scale.size, scale.iterations, working, windows, seconds))
    return tuple(found)


_SHRINK = 0.95
"""Of a window whose blocks do not fit, what is tried next."""

_TWO_PASSES = 1.4
"""An evaluation in tiles beside one of the whole: features are computed in both passes."""

_TIMED = 5
"""Iterations whose median is the time of one."""

_GRADIENTS = 25
"""Between the middle of the first iterations that are timed and that of the last."""

_ITERATIONS = _GRADIENTS + _TIMED + 1

_MORE = 1.3
"""Evaluations beside one for each iteration, each time that L-BFGS begins anew: it knows no step's length."""


class _Trial:
    """Seconds of evaluations and of the optimiser, measured on small pictures."""

    def __init__(self, engine: Engine, terms: TermNames, options: Options) -> None:
        side = max(_TRIAL, 2 * engine.smallest_side(terms))
        plain = TermNames(terms.content_layers, terms.style_layers)
        small, large = (_evaluation_seconds(engine, plain, (n, n)) for n in (side // 2, side))
        # A line through both: an evaluation takes some time however small its picture is.
        self._for_pixel = (large - small) / (side**2 - (side // 2) ** 2)
        self._fixed = max(0.0, large - self._for_pixel * side**2)
        self._around, self._for_gradient = _optimizer_seconds((side, side), options)
        self._pixels = side**2

    def seconds(self, pixels: int, computed: float, history: int, kept: int) -> float:
        """Return the time of an iteration over a scale's pixels, of which `computed` are in windows.

        Of a mean iteration: it works with half the gradients that there are in the end, beside what is kept.
        """
        around = (self._around + self._for_gradient * (kept - history / 2)) / self._pixels
        evaluations = 1 + _MORE / history if history else 1
        return evaluations * (self._fixed + self._for_pixel * computed) + around * pixels


def _evaluation_seconds(engine: Engine, terms: TermNames, size: tuple[int, int]) -> float:
    image = np.random.default_rng(0).random((3, *size), np.float32)
    targets = engine.statistics(image, terms, what="trial picture")
    objective = engine.objective(size, terms, targets, np.ones(len(terms.names), np.float32))
    objective(image)
    return min(_timed(lambda: objective(image)) for _ in range(3))


def _optimizer_seconds(size: tuple[int, int], options: Options) -> tuple[float, float]:
    """Time iterations of L-BFGS-B over a bowl, which costs next to nothing: the first, and a gradient's part.

    Steps of first-order methods take less; the difference is small beside their evaluations.
    """
    rng = np.random.default_rng(0)
    image, curvature = rng.random((3, *size), np.float32), rng.uniform(0.01, 1, (3, *size)).astype(np.float32)

    def bowl(x: NDArray[np.floating]) -> Evaluation:
        slope = np.multiply(curvature, x, dtype=np.float32)
        return Evaluation(0.5 * float(np.vdot(slope, x)), np.empty(0, np.float32), slope)

    moments: list[float] = []

    def note(*_: object) -> bool:
        moments.append(time.perf_counter())
        return False

    minimize(
        bowl,
        KINDS[options.variables](size),
        image,
        iterations=_ITERATIONS,
        history=_ITERATIONS,
        on_iterate=note,
    )
    each = np.diff(moments)
    first, last = (float(np.median(part)) for part in (each[:_TIMED], each[-_TIMED:]))
    return first, max(0.0, last - first) / _GRADIENTS


def _timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin
