"""Minimise the loss of an image block by block, in sweeps over the whole image; see `tiling.blocks`.

Each sweep has its borders where other sweeps have the middles of their blocks, and towards a border, more and
more of the image is left unchanged. Forms that are larger than a block cannot be painted evenly in this way:
they come from smaller scales.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..errors import CheckpointError
from ..objective.evaluation import Objective, Value
from ..objective.tiling.blocks import Blocks, FreeBlock
from ..objective.tiling.tile_plan import Span, Tile
from ..objective.tiling.tile_runner import tile_in_image
from ..system.threads import NEVER, Cancellation, Cancelled
from .first_order import Step
from .held_variables import DetailVariables, HeldVariables
from .lbfgs import FAR, OnIterate, Outcome, minimize
from .problem import AnyImage, HostProblem
from .state import BlockwiseState, FinishedBlocks, OptimizerState
from .variables import Parametrization

# The blocks of each sweep.
Cuts = Sequence[Sequence[Tile]]

# Maximum number of sweeps, which share the iterations: one for each way to divide the image.
_SWEEPS = 4

# Minimum number of iterations of a sweep: each one starts without curvature.
_MIN_ITERATIONS = 4

# Width of the transition at a block's border, as a fraction of the block's length.
_RAMP = 0.25


def sweep_count(iterations: int) -> int:
    """Return the number of sweeps that share the iterations of a scale."""
    return min(_SWEEPS, max(1, iterations // _MIN_ITERATIONS))


def iterations_per_sweep(iterations: int) -> list[int]:
    """Divide the iterations of each pixel among the sweeps; the first sweeps get the remainder."""
    count = sweep_count(iterations)
    return [iterations // count + (sweep < iterations % count) for sweep in range(count)]


def total_iterations(cuts: Cuts, iterations: int, finished: FinishedBlocks | None = None) -> int:
    """Return the iterations of all blocks in all sweeps; for finished blocks, those that they had."""
    counts = [visit.iterations for visit in _visits(cuts, iterations)]
    return sum(counts) if finished is None else finished.iterations + sum(counts[finished.blocks :])


def border_hold(tile: Tile, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return the opacity [h,w] in [0,1] by which a block is held: 1 at its borders within the image."""
    down, across = (
        _free_weights(span, length) for span, length in zip((tile.rows, tile.columns), size, strict=True)
    )
    return 1 - down[:, None] * across


def _free_weights(span: Span, length: int) -> NDArray[np.float32]:
    """Return a weight for each position of a span: half a cosine wave from a border on, then 1."""
    weights = np.ones(span.length, np.float32)
    count = int(_RAMP * span.length)
    ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(count, dtype=np.float32) + 0.5) / max(1, count))
    if span.start > 0:
        weights[:count] = ramp
    if span.stop < length:
        weights[span.length - count :] = ramp[::-1]
    return weights


@dataclass(frozen=True, slots=True)
class _Visit:
    """The minimisation of one block in one sweep."""

    sweep: int
    tile: Tile
    iterations: int


def _visits(cuts: Cuts, iterations: int) -> list[_Visit]:
    """Return all visits in their order."""
    counts = iterations_per_sweep(iterations)
    return [
        _Visit(sweep, tile, count)
        for sweep, (tiles, count) in enumerate(zip(cuts, counts, strict=False))
        for tile in tiles
    ]


@contextmanager
def restored_block(
    image: NDArray[np.float32], cuts: Cuts, iterations: int, state: BlockwiseState | None
) -> Generator[None]:
    """Restore the current block of a saved image [3,H,W] to its pixels before its minimisation.

    If the run is cancelled within the context, the block gets the pixels back that were saved.

    Raises
    ------
    CheckpointError
        If the block does not belong to this run, or its values are not those of pixels.
    """
    if state is None:
        yield
        return
    number = 0 if state.finished is None else state.finished.blocks
    visits, before = _visits(cuts, iterations), state.before
    if number >= len(visits) or image[tile_in_image(visits[number].tile)].shape != before.shape:
        raise CheckpointError("The checkpoint has other blocks than this run: start again without it.")
    if not -FAR < before.min() <= before.max() < FAR:
        raise CheckpointError("The checkpoint has no image: start again without it.")
    index = tile_in_image(visits[number].tile)
    saved = image[index].copy()
    image[index] = before
    try:
        yield
    except Cancelled:
        image[index] = saved
        raise


@dataclass(frozen=True, slots=True, eq=False)
class BlockSettings:
    """How the blocks of a scale are minimised.

    Attributes
    ----------
    variables : function
        Height and width of a block → its variables.
    iterations : int
        Maximum number of iterations of each pixel, over all sweeps.
    history : int
        As in `lbfgs.minimize`.
    make_step : function
        Makes the step of a first-order method for a block; returns None for L-BFGS.
    opacity : array or None
        [H,W] in [0,1]: how much of the image is held.
    detail : bool
        Leave forms that are larger than a block unchanged: where they are painted already, the loss falls
        faster without them.
    """

    variables: Callable[[tuple[int, int]], Parametrization]
    iterations: int
    history: int
    make_step: Callable[[], Step | None]
    opacity: NDArray[np.float32] | None = None
    detail: bool = False


def minimize_blocks(
    blocks: Blocks,
    cuts: Cuts,
    settings: BlockSettings,
    *,
    on_iterate: OnIterate,
    resume: BlockwiseState | None = None,
    on_state: Callable[[BlockwiseState], None] | None = None,
    cancellation: Cancellation = NEVER,
) -> Outcome:
    """Minimise the loss of an image, one block after the other; return the outcome of the whole image.

    Parameters
    ----------
    blocks : Blocks
        The image.
    cuts : sequence of sequence of Tile
        The blocks of each sweep.
    settings : BlockSettings
        How blocks are minimised.
    on_iterate : callable
        As in `lbfgs.minimize`; gets the whole image, which is changed in place.
    resume : BlockwiseState, optional
        The state to resume; `blocks` has its image, with the current block restored (`restored_block`).
    on_state : callable, optional
        Called after each iteration with the state of the minimisation.
    cancellation : Cancellation, optional
        As in `lbfgs.minimize`.

    Raises
    ------
    OptimizationError
        The loss or its gradient is not finite at the first image.
    Cancelled
        The run was cancelled before the first evaluation.
    """
    finished = None if resume is None else resume.finished
    reasons, sweep = set[str](), -1
    try:
        for visit in _visits(cuts, settings.iterations)[0 if finished is None else finished.blocks :]:
            if visit.sweep != sweep:
                sweep = visit.sweep
                blocks.begin_sweep(None if resume is None else resume.reference)
            value = Value(*blocks.value())
            block = cancellation.run(partial(blocks.free, visit.tile))
            run = _BlockRun(blocks, block, finished, value, on_iterate, on_state, resume)
            outcome = run.minimize(visit, settings, cancellation)
            resume = None  # the following blocks start without a state
            start = value if finished is None else finished.start
            reasons.add(outcome.reason)
            stop = outcome.reason if outcome.reason in ("callback", "cancelled") else None
            if stop is None:
                try:
                    block.commit(outcome.image)
                except Cancelled:
                    stop = "cancelled"
            if stop is not None:
                block.image[...] = outcome.image  # without its sums, which are no longer needed
                finished, reasons = _add_block(finished, outcome, start, run.best), {stop}
                break
            finished = _add_block(finished, outcome, start, Value(*blocks.value()))
    except Cancelled:
        if finished is None or resume is not None:
            raise
        reasons = {"cancelled"}
    assert finished is not None  # there is at least one iteration, and so one block
    return _outcome(blocks.image, finished, reasons)


def _outcome(image: NDArray[np.float32], finished: FinishedBlocks, reasons: set[str]) -> Outcome:
    """Return the outcome of the whole image, by the reasons for which its blocks ended."""
    # If blocks ended for different reasons, the scale counts as one that had all its iterations.
    reason = next(iter(reasons)) if len(reasons) == 1 else "iterations"
    return Outcome(image, finished.start, finished.end, finished.iterations, finished.evaluations, reason)


class _BlockRun:
    """The minimisation of one block, which reports its iterations as iterations of the whole image.

    Parameters
    ----------
    blocks, block
        The image, and its variable block.
    finished : FinishedBlocks or None
        The blocks before this one.
    value : Value
        Value of the image.
    on_iterate, on_state, resume
        As in `minimize_blocks`.

    Attributes
    ----------
    best : Value
        Value of the image with the best pixels of the block so far.
    """

    def __init__(
        self,
        blocks: Blocks,
        block: FreeBlock,
        finished: FinishedBlocks | None,
        value: Value,
        on_iterate: OnIterate,
        on_state: Callable[[BlockwiseState], None] | None,
        resume: BlockwiseState | None,
    ) -> None:
        self.best = value if resume is None else resume.best
        self._lowest = block.loss if resume is None else resume.block.best.loss
        self._before = block.image.copy()
        self._blocks, self._block, self._finished = blocks, block, finished
        self._on_iterate, self._on_state, self._resume = on_iterate, on_state, resume

    def minimize(self, visit: _Visit, settings: BlockSettings, cancellation: Cancellation) -> Outcome:
        """Minimise the loss of the block; the outcome has the block's image and values."""
        resume = self._resume
        return minimize(
            HostProblem(Objective(self._block.evaluate), self._variables(visit.tile, settings)),
            self._before,
            iterations=visit.iterations + (0 if resume is None else resume.relearning_iterations()),
            history=settings.history,
            on_iterate=self._report,
            step=settings.make_step(),
            resume=None if resume is None else resume.block,
            on_state=None if self._on_state is None else self._report_state,
            cancellation=cancellation,
        )

    def _variables(self, tile: Tile, settings: BlockSettings) -> Parametrization:
        """Return the variables of the block, which is held at its borders and by the opacity."""
        variables = settings.variables((tile.rows.length, tile.columns.length))
        if settings.detail:
            variables = DetailVariables(variables, self._before)
        hold = border_hold(tile, (self._blocks.image.shape[1], self._blocks.image.shape[2]))
        if settings.opacity is not None:
            hold = 1 - (1 - hold) * (1 - settings.opacity[tile_in_image(tile)[1:]])
        return HeldVariables(variables, self._before, hold)

    def _report(self, iteration: int, evaluations: int, block_value: Value, pixels: AnyImage) -> bool:
        self._block.image[...] = pixels
        value = Value(*self._block.value())
        if block_value.loss <= self._lowest:
            self.best, self._lowest = value, block_value.loss
        if self._finished is not None:
            iteration += self._finished.iterations
            evaluations += self._finished.evaluations
        return self._on_iterate(iteration, evaluations, value, self._blocks.image)

    def _report_state(self, state: OptimizerState) -> None:
        assert self._on_state is not None
        image, reference = self._blocks.image, self._blocks.reference
        self._on_state(BlockwiseState(image, self._before, reference, self._finished, self.best, state))


def _add_block(finished: FinishedBlocks | None, outcome: Outcome, start: Value, end: Value) -> FinishedBlocks:
    """Return the totals of the finished blocks and one more."""
    totals = (0, 0, 0) if finished is None else (finished.blocks, finished.iterations, finished.evaluations)
    return FinishedBlocks(
        blocks=totals[0] + 1,
        iterations=totals[1] + outcome.iterations,
        evaluations=totals[2] + outcome.evaluations,
        start=start,
        end=end,
    )
