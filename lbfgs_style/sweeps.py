"""Optimising a picture block by block, in sweeps over the whole; see `blocks` for the idea.

The second sweep has its borders where the first one had the middles of its blocks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from .blocks import Blocks
from .first_order import Step
from .objective import Evaluation, Objective
from .optimizer import OnIterate, Outcome, minimize
from .parametrization import Parametrization
from .session import Cancelled
from .standing import BlocksStanding, Done, Standing
from .tiles import Tile

Cuts = Sequence[Sequence[Tile]]
"""The blocks of each sweep."""


def shares(iterations: int, sweeps: int) -> list[int]:
    """Divide the iterations that every pixel gets among sweeps; the first ones get what is left over."""
    return [iterations // sweeps + (sweep < iterations % sweeps) for sweep in range(sweeps)]


def all_iterations(cuts: Cuts, iterations: int) -> int:
    """Return the iterations of all blocks in all sweeps."""
    return sum(len(tiles) * count for tiles, count in zip(cuts, shares(iterations, len(cuts)), strict=True))


def minimize_blocks(
    blocks: Blocks,
    cuts: Cuts,
    variables: Callable[[Tile], Parametrization],
    *,
    iterations: int,
    history: int,
    on_iterate: OnIterate,
    make_step: Callable[[], Step | None],
    resume: BlocksStanding | None = None,
    keep: Callable[[BlocksStanding], None] | None = None,
    cancel: threading.Event | None = None,
) -> Outcome:
    """Minimise the loss of a picture, one block after the other.

    Parameters
    ----------
    blocks : Blocks
        The picture.
    cuts : sequence of sequence of Tile
        The blocks of each sweep.
    variables : function
        A block → its parametrization.
    iterations : int
        The most that each pixel gets, over all sweeps.
    history, on_iterate
        As in `lbfgs_style.optimizer.minimize`; the callback gets the whole picture, which is in work.
    make_step : function
        Makes the step of a first-order method for a block, or None.
    resume : BlocksStanding, optional
        Where to go on from; `blocks` has its picture.
    keep : callable, optional
        Called after each iteration with where the optimisation stands.
    cancel : threading.Event, optional
        As in `lbfgs_style.optimizer.minimize`.

    Returns
    -------
    Outcome
        Of the whole picture, also when the run was stopped.

    Raises
    ------
    OptimizationError
        If the loss or its gradient is not finite at the first picture.
    Cancelled
        If the run was cancelled before the first evaluation.
    """
    done = None if resume is None else resume.done
    reason = "iterations"
    try:
        for number, (tile, count) in enumerate(_work(cuts, iterations)):
            if number < (0 if done is None else done.blocks):
                continue
            block = blocks.free(tile)
            standing = None if resume is None else resume.block
            resume = None  # the blocks after that one begin anew
            before = (0, 0) if done is None else (done.iterations, done.evaluations)

            def watch(
                iteration: int,
                evaluations: int,
                found: Evaluation,
                pixels: NDArray[np.floating],
                before: tuple[int, int] = before,
                inside: NDArray[np.float32] = block.image,
            ) -> bool:
                inside[...] = pixels  # what the callback sees
                return on_iterate(before[0] + iteration, before[1] + evaluations, found, blocks.image)

            def keep_block(standing: Standing, done: Done | None = done) -> None:
                if keep is not None:
                    keep(BlocksStanding(blocks.image, done, standing))

            outcome = minimize(
                Objective(block.evaluate),
                variables(tile),
                block.image,
                iterations=count + (0 if standing is None else standing.lost(history)),
                history=history,
                on_iterate=watch,
                step=make_step(),
                resume=standing,
                keep=keep_block,
                cancel=cancel,
            )
            reason = outcome.reason
            done = _added(done, outcome)
            block.keep(outcome.image)
            if reason in ("callback", "cancelled", "non-finite"):
                break
    except Cancelled:
        if done is None:
            raise
        reason = "cancelled"
    assert done is not None  # a scale has at least one iteration, and so one block
    return Outcome(blocks.image, done.start, done.end, done.iterations, done.evaluations, reason)


def _work(cuts: Cuts, iterations: int) -> Iterator[tuple[Tile, int]]:
    """Yield each block of each sweep with its iterations."""
    for tiles, count in zip(cuts, shares(iterations, len(cuts)), strict=True):
        for tile in tiles if count else ():
            yield tile, count


def _added(done: Done | None, outcome: Outcome) -> Done:
    if done is None:
        return Done(1, outcome.iterations, outcome.evaluations, outcome.start, outcome.end)
    return Done(
        blocks=done.blocks + 1,
        iterations=done.iterations + outcome.iterations,
        evaluations=done.evaluations + outcome.evaluations,
        start=done.start,
        end=outcome.end,
    )
