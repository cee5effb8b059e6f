"""What a run will do, before it does it: scales, tiles, memory and time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .budget import Costs, Working, arrange, blocks_bytes, too_large
from .engine import Engine
from .options import Options
from .parametrization import KINDS
from .resources import available_memory
from .scales import Scale
from .term_names import TermNames

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
    costs = engine.costs(terms, sources)
    budget = memory_budget(options)
    ways = [arrange(s.size, s.iterations, options.history, costs, budget) for s in scales]
    return [_as_cut(way, s, engine, terms, costs, budget) for way, s in zip(ways, scales, strict=True)]


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
        inner = max(tile.rows.length * tile.columns.length for tiles in cuts for tile in tiles)
        taken = blocks_bytes(scale.size, inner, scale.iterations, way.history, costs)
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
        seconds = None if each is None else each.seconds(pixels, computed) * scale.iterations
        found.append(ScalePlan(scale.size, scale.iterations, working, windows, seconds))
    return tuple(found)


_SHRINK = 0.95
"""Of a window whose blocks do not fit, what is tried next."""

_TWO_PASSES = 1.4
"""An evaluation in tiles beside one of the whole: features are computed in both passes."""

_EVALUATIONS = 1.05
"""Evaluations for each iteration: the line search seldom needs a second one."""


class _Trial:
    """Seconds of an evaluation and of the optimiser, for each pixel, measured on a small picture."""

    def __init__(self, engine: Engine, terms: TermNames, options: Options) -> None:
        side = max(_TRIAL, 2 * engine.smallest_side(terms))
        size, plain = (side, side), TermNames(terms.content_layers, terms.style_layers)
        image = np.random.default_rng(0).random((3, *size), np.float32)
        targets = engine.statistics(image, plain, what="trial picture")
        objective = engine.objective(size, plain, targets, np.ones(len(plain.names), np.float32))
        objective(image)
        self._evaluation = min(_timed(lambda: objective(image)) for _ in range(3)) / side**2
        variables = KINDS[options.variables](size)
        z = variables.encode(image)

        def around() -> None:
            variables.pull_back(variables.decode(z))
            for _ in range(2 * options.history):  # as many products of vectors as L-BFGS has corrections
                np.dot(z, z)

        self._around = min(_timed(around) for _ in range(3)) / side**2

    def seconds(self, pixels: int, computed: float) -> float:
        """Return the time of an iteration over a scale's pixels, of which `computed` are in windows."""
        return _EVALUATIONS * (self._evaluation * computed + self._around * pixels)


def _timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin
