"""The forecast of a run: tiles, memory and time of each scale."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...graphs.network_graph import feature_shapes
from ...objective.engine import Engine
from ...objective.evaluation import Evaluation
from ...objective.losses.neighbours import places_per_style
from ...objective.losses.terms import LossTerms
from ...objective.tiling.tile_plan import Tile
from ...optimization.block_sweeps import sweep_count
from ...optimization.gradient_subspace import kept_vectors
from ...optimization.held_variables import DetailVariables, HeldVariables
from ...optimization.lbfgs import minimize
from ...optimization.problem import HostProblem
from ...optimization.variables import VARIABLES
from ...settings.options import Options
from .memory import ScaleMethod
from .rounds import plan_rounds
from .run_plan import RunPlan

# Pixels of the side of the image whose evaluation is timed.
_TRIAL_SIDE = 256

# Seconds for which an evaluation is repeated: other programs take the processor for a part of them.
_TRIAL_SECONDS = 0.5

# Seconds of an evaluation below which an image of twice the side is timed: what fits into the caches of the
# processor takes a quarter less a pixel than what does not.
_QUICK_SECONDS = 0.2

# Factor of an evaluation in tiles over one of the whole image: features are computed in both passes.
_TWO_PASSES = 1.4

# Share of the halo's pixels that counts in an evaluation of a block: later stages see more of it than the
# first.
_HALO_SHARE = 0.6

# Evaluations that a block takes besides one an iteration: its surroundings and its first value, and the
# first line search; and how many of these L-BFGS asks for.
_VISIT_EVALUATIONS, _VISIT_STEPS = 3.3, 1.2

# Evaluations of the image that the targets of a scale take, and those and the sums of one that is optimised
# block by block.
_MEASURING_EVALUATIONS, _BLOCK_MEASURING_EVALUATIONS = 0.5, 0.8

# Iterations whose median is the time of one.
_TIMED = 5

# Iterations between the middle of the first that are timed and the middle of the last.
_GRADIENTS = 25

_ITERATIONS = _GRADIENTS + _TIMED + 1

# Numbers of a search for neighbours that is timed: positions, places, and numbers that are compared.
_TRIAL_SEARCH = (2048, 2048, 128)


@dataclass(frozen=True, slots=True)
class ScalePlan:
    """The forecast of one scale.

    Attributes
    ----------
    size : (int, int)
        Height and width.
    iterations : int
        Maximum number of iterations for every pixel.
    method : ScaleMethod
        Whole, in tiles, or block by block.
    windows : int
        Tiles, or blocks of the first sweep; 1 for a whole image.
    seconds : float or None
        Time to expect; None where no evaluation was timed.
    """

    size: tuple[int, int]
    iterations: int
    method: ScaleMethod
    windows: int
    seconds: float | None


def describe_scales(engine: Engine, plan: RunPlan, options: Options, *, timed: bool) -> tuple[ScalePlan, ...]:
    """Return the forecast of each scale of a plan; with `timed`, after trial evaluations of a small image."""
    trial = _Trial(engine, plan.terms, options, plan.methods) if timed else None
    last = plan.scales[-1]
    forecasts: list[ScalePlan] = []
    for scale, method in zip(plan.scales, plan.methods, strict=True):
        pixels = scale.size[0] * scale.size[1]
        windows, computed = 1, float(pixels)
        evaluations = _evaluations(scale.iterations, method)
        if method.window_pixels is not None:
            cuts = engine.plan_cuts(scale.size, plan.terms, method.window_pixels)
            windows = len(cuts[0])
            if method.kind == "tiles":
                computed = _TWO_PASSES * _window_pixels(cuts[0])
            else:
                sweeps = cuts[: sweep_count(scale.iterations)]
                halos = sum(_window_pixels(tiles) - pixels for tiles in sweeps) / len(sweeps)
                computed = pixels + _HALO_SHARE * halos
        kept = kept_vectors(scale.iterations, method.history)
        seconds = None
        if trial is not None:
            seconds = evaluations * trial.evaluation_seconds(computed, windows)
            seconds += _steps(scale.iterations, method) * trial.optimizer_seconds(pixels, method, kept)
            if plan.terms.matched_layers:
                rounds = (
                    1
                    if method.kind == "blocks"
                    else len(plan_rounds(scale.iterations, is_last=scale is last))
                )
                seconds += rounds * trial.search_seconds(scale.size)
        forecasts.append(ScalePlan(scale.size, scale.iterations, method, windows, seconds))
    return tuple(forecasts)


def _window_pixels(tiles: Sequence[Tile]) -> int:
    """Return the pixels of all windows together."""
    return sum(tile.window_size[0] * tile.window_size[1] for tile in tiles)


class _Trial:
    """Seconds of evaluations and of the optimiser, measured on small images."""

    def __init__(
        self, engine: Engine, terms: LossTerms, options: Options, methods: Sequence[ScaleMethod]
    ) -> None:
        side = max(_TRIAL_SIDE, 2 * engine.smallest_side(terms))
        plain = LossTerms(terms.content_layers, terms.style_layers)
        small, large = (_evaluation_seconds(engine, plain, (n, n)) for n in (side // 2, side))
        if large < _QUICK_SECONDS:
            side *= 2
            small, large = large, _evaluation_seconds(engine, plain, (side, side))
        # A line through both: an evaluation takes some time however small its image is.
        self._per_pixel = (large - small) / (side**2 - (side // 2) ** 2)
        self._fixed = max(0.0, large - self._per_pixel * side**2)
        self._optimizer = {
            is_block: _optimizer_seconds((side, side), options, is_block=is_block)
            for is_block in {method.kind == "blocks" for method in methods}
        }
        self._pixels = side**2
        self._engine, self._matched = engine, terms.matched_layers

    def search_seconds(self, size: tuple[int, int]) -> float:
        """Return the time of a search for the neighbours of an image."""
        shapes = feature_shapes(self._engine.network.model, size, self._matched)
        _, height, width = shapes[self._matched[0]]
        compared = height * width * sum(places_per_style(height * width, [1.0]))
        numbers = sum(channels for channels, _, _ in shapes.values())
        return _search_seconds() * compared * numbers / math.prod(_TRIAL_SEARCH)

    def evaluation_seconds(self, computed: float, windows: int) -> float:
        """Return the time of an evaluation of an image in windows, which have `computed` pixels together."""
        return windows * self._fixed + self._per_pixel * computed

    def optimizer_seconds(self, pixels: int, method: ScaleMethod, kept: int) -> float:
        """Return the time of an iteration over some pixels without its evaluation.

        Between restarts the number of kept vectors grows from `kept` − `history` to `kept`; the time is that
        of the mean.
        """
        first, per_gradient = self._optimizer[method.kind == "blocks"]
        return (first + per_gradient * (kept - method.history / 2)) / self._pixels * pixels


def _evaluations(iterations: int, method: ScaleMethod) -> float:
    """Return the evaluations of the whole image that a scale takes."""
    if method.kind == "blocks":
        return iterations + sweep_count(iterations) * _VISIT_EVALUATIONS + _BLOCK_MEASURING_EVALUATIONS
    return _steps(iterations, method) + _MEASURING_EVALUATIONS


def _steps(iterations: int, method: ScaleMethod) -> float:
    """Return the evaluations that the optimiser asks for.

    One is that of the start, and the first line search of L-BFGS after a restart takes two steps.
    """
    if method.kind == "blocks":
        return iterations + sweep_count(iterations) * _VISIT_STEPS
    return 1 + iterations + (math.ceil(iterations / method.history) if method.history else 0)


def _search_seconds() -> float:
    """Time the comparison of `_TRIAL_SEARCH`."""
    positions, places, numbers = _TRIAL_SEARCH
    rng = np.random.default_rng(0)
    searched, keys = (rng.random((count, numbers), np.float32) for count in (positions, places))
    return _least_seconds(lambda: (searched @ keys.T).argmax(1))


def _evaluation_seconds(engine: Engine, terms: LossTerms, size: tuple[int, int]) -> float:
    image = np.random.default_rng(0).random((3, *size), np.float32)
    targets = engine.statistics(image, terms, what="trial image")
    objective = engine.objective(size, terms, targets, np.ones(len(terms.names), np.float32))
    objective(image)
    return _least_seconds(lambda: objective(image))


def _optimizer_seconds(size: tuple[int, int], options: Options, *, is_block: bool) -> tuple[float, float]:
    """Time iterations of L-BFGS-B on a quadratic, which costs almost nothing to evaluate.

    Steps of first-order methods take less; the difference is small against their evaluations.

    Returns
    -------
    first, per_gradient : float
        Seconds of the first iteration, and of each gradient that a later one works with.
    """
    rng = np.random.default_rng(0)
    image, curvature = rng.random((3, *size), np.float32), rng.uniform(0.01, 1, (3, *size)).astype(np.float32)

    def quadratic(x: NDArray[np.floating]) -> Evaluation:
        gradient = np.multiply(curvature, x, dtype=np.float32)
        return Evaluation(0.5 * float(np.vdot(gradient, x)), np.empty(0, np.float32), gradient)

    times: list[float] = []

    def note(*_: object) -> bool:
        times.append(time.perf_counter())
        return False

    variables = VARIABLES[options.variables](size)
    if is_block:
        variables = HeldVariables(DetailVariables(variables, image), image, np.zeros(size, np.float32))
    minimize(
        HostProblem(quadratic, variables),
        image,
        iterations=_ITERATIONS,
        history=_ITERATIONS,
        on_iterate=note,
    )
    seconds = np.diff(times)
    first, last = (float(np.median(part)) for part in (seconds[:_TIMED], seconds[-_TIMED:]))
    return first, max(0.0, last - first) / _GRADIENTS


def _least_seconds(work: Callable[[], object]) -> float:
    """Return the least time that some work takes, of `_TRIAL_SECONDS` or three times."""
    times = list[float]()
    while len(times) < 3 or sum(times) < _TRIAL_SECONDS:
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times)
