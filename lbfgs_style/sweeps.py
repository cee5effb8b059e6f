"""Optimising a picture block by block, in sweeps over the whole; see `blocks` for the idea.

The second sweep has its borders where the first one had the middles of its blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from .blocks import Blocks
from .first_order import Step
from .objective import Evaluation, Objective
from .optimizer import OnIterate, Outcome, minimize
from .parametrization import Parametrization
from .session import Cancelled
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
    variables: Callable[[tuple[int, int]], Parametrization],
    *,
    iterations: int,
    history: int,
    on_iterate: OnIterate,
    make_step: Callable[[], Step | None],
) -> Outcome:
    """Minimise the loss of a picture, one block after the other.

    Parameters
    ----------
    blocks : Blocks
        The picture.
    cuts : sequence of sequence of Tile
        The blocks of each sweep.
    variables : function
        Size of a block → its parametrization.
    iterations : int
        The most that each pixel gets, over all sweeps.
    history, on_iterate
        As in `lbfgs_style.optimizer.minimize`; the callback gets the whole picture, which is in work.
    make_step : function
        Makes the step of a first-order method for a block, or None.

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
    outcomes: list[Outcome] = []
    try:
        for tiles, count in zip(cuts, shares(iterations, len(cuts)), strict=True):
            for tile in tiles if count else ():
                block = blocks.free(tile)
                done = sum(outcome.iterations for outcome in outcomes)
                evaluated = sum(outcome.evaluations for outcome in outcomes)

                def watch(
                    iteration: int,
                    evaluations: int,
                    found: Evaluation,
                    pixels: NDArray[np.floating],
                    done: int = done,
                    evaluated: int = evaluated,
                    inside: NDArray[np.float32] = block.image,
                ) -> bool:
                    inside[...] = pixels  # what the callback sees
                    return on_iterate(done + iteration, evaluated + evaluations, found, blocks.image)

                outcome = minimize(
                    Objective(block.evaluate),
                    variables((tile.rows.length, tile.columns.length)),
                    block.image,
                    iterations=count,
                    history=history,
                    on_iterate=watch,
                    step=make_step(),
                )
                outcomes.append(outcome)
                block.keep(outcome.image)
                if outcome.reason in ("callback", "cancelled", "non-finite"):
                    return _summary(blocks, outcomes, outcome.reason)
    except Cancelled:
        if not outcomes:
            raise
        return _summary(blocks, outcomes, "cancelled")
    return _summary(blocks, outcomes, outcomes[-1].reason)


def _summary(blocks: Blocks, outcomes: Sequence[Outcome], reason: str) -> Outcome:
    return Outcome(
        image=blocks.image,
        start=outcomes[0].start,
        end=outcomes[-1].end,
        iterations=sum(outcome.iterations for outcome in outcomes),
        evaluations=sum(outcome.evaluations for outcome in outcomes),
        reason=reason,
    )
