"""Optimising a picture block by block, in sweeps over the whole; see `blocks` for the idea.

Each sweep has its borders where others have the middles of their blocks, and towards a border it leaves more
and more of the picture as it is. Forms larger than a block cannot be painted evenly so: they are left to the
scales before.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
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
from .held_variables import Detail, Held
from .lbfgs import FAR, OnIterate, Outcome, minimize
from .state import BlocksStanding, Done, Standing
from .variables import Parametrization

Cuts = Sequence[Sequence[Tile]]
"""The blocks of each sweep."""

Variables = Callable[[tuple[int, int]], Parametrization]
"""Height and width of a block → its variables."""

_RAMP = 0.25
"""Of a block's length, the part at each border over which it is held less and less."""


def shares(iterations: int) -> list[int]:
    """Divide the iterations that every pixel gets among sweeps; the first ones get what is left over."""
    count = sweeps(iterations)
    return [iterations // count + (sweep < iterations % count) for sweep in range(count)]


def all_iterations(cuts: Cuts, iterations: int, done: Done | None = None) -> int:
    """Return the iterations of all blocks in all sweeps; of those that are done, what they had."""
    counts = [count for _, _, count in _work(cuts, iterations)]
    return sum(counts) if done is None else done.iterations + sum(counts[done.blocks :])


def borders(tile: Tile, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return how much of a block's change is held back, [h,w] in [0,1]: all at borders within the picture."""
    down, across = (_free(span, length) for span, length in zip((tile.rows, tile.columns), size, strict=True))
    return 1 - down[:, None] * across


def _free(span: Span, length: int) -> NDArray[np.float32]:
    """Return a weight for each place of a span: half a cosine wave up from a border, 1 from there on."""
    free = np.ones(span.length, np.float32)
    count = int(_RAMP * span.length)
    ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(count, dtype=np.float32) + 0.5) / max(1, count))
    if span.start > 0:
        free[:count] = ramp
    if span.stop < length:
        free[span.length - count :] = ramp[::-1]
    return free


@contextmanager
def begun_again(
    image: NDArray[np.float32], cuts: Cuts, iterations: int, standing: BlocksStanding | None
) -> Generator[None]:
    """Put the block that was in work into a saved picture [3,H,W] as it was before.

    A run that is cancelled before it goes on there has the picture as it was saved.
    """
    if standing is None:
        yield
        return
    number = 0 if standing.done is None else standing.done.blocks
    tiles, before = [tile for _, tile, _ in _work(cuts, iterations)], standing.before
    if number >= len(tiles) or image[tile_in_image(tiles[number])].shape != before.shape:
        raise CheckpointError("The checkpoint has other blocks than this run: start again without it.")
    if not -FAR < before.min() <= before.max() < FAR:
        raise CheckpointError("The checkpoint has no image: start again without it.")
    place = tile_in_image(tiles[number])
    saved = image[place].copy()
    image[place] = before
    try:
        yield
    except Cancelled:
        image[place] = saved
        raise


def minimize_blocks(
    blocks: Blocks,
    cuts: Cuts,
    variables: Variables,
    *,
    iterations: int,
    history: int,
    on_iterate: OnIterate,
    make_step: Callable[[], Step | None],
    opacity: NDArray[np.float32] | None = None,
    detail: bool = False,
    resume: BlocksStanding | None = None,
    keep: Callable[[BlocksStanding], None] | None = None,
    cancellation: Cancellation = NEVER,
) -> Outcome:
    """Minimise the loss of a picture, one block after the other.

    Parameters
    ----------
    blocks : Blocks
        The picture.
    cuts : sequence of sequence of Tile
        The blocks of each sweep.
    variables : Variables
        Makes the variables of a block.
    iterations : int
        The most that each pixel gets, over all sweeps.
    history, on_iterate
        As in `lbfgs.minimize`; the callback gets the whole picture, which is in work.
    make_step : function
        Makes the step of a first-order method for a block, or None.
    opacity : array, optional
        [H,W] in [0,1]: how much of the picture is held.
    detail : bool
        Leave forms that are larger than a block as they are: where they are painted already, the loss
        falls faster without them.
    resume : BlocksStanding, optional
        Where to go on from; `blocks` has its picture, `begun_again`.
    keep : callable, optional
        Called after each iteration with where the optimisation stands.
    cancellation : Cancellation, optional
        As in `lbfgs.minimize`.

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
    reasons, current = set[str](), -1
    size = (blocks.image.shape[1], blocks.image.shape[2])
    try:
        for number, (sweep, tile, count) in enumerate(_work(cuts, iterations)):
            if number < (0 if done is None else done.blocks):
                continue
            if sweep != current:
                current = sweep
                blocks.begin_sweep(None if resume is None else resume.reference)
            now = Value(*blocks.value())
            start = now if done is None else done.start
            standing = None if resume is None else resume.block
            block = cancellation.run(partial(blocks.free, tile))
            free = variables((tile.rows.length, tile.columns.length))
            held = borders(tile, size)
            if opacity is not None:
                held = 1 - (1 - held) * (1 - opacity[tile_in_image(tile)[1:]])
            if resume is None:
                visit = _Visit(blocks, block, done, now, block.loss)
            else:
                visit = _Visit(blocks, block, done, resume.best, resume.block.best.loss)
            resume = None  # the blocks after that one begin anew
            outcome = minimize(
                Objective(visit.block.evaluate),
                Held(Detail(free, visit.before) if detail else free, visit.before, held),
                visit.before,
                iterations=count + (0 if standing is None else standing.lost()),
                history=history,
                on_iterate=partial(visit.watch, on_iterate),
                step=make_step(),
                resume=standing,
                keep=None if keep is None else partial(visit.keep, keep),
                cancellation=cancellation,
            )
            reasons.add(outcome.reason)
            end = outcome.reason if outcome.reason in ("callback", "cancelled") else None
            if end is None:
                try:
                    visit.block.commit(outcome.image)
                except Cancelled:
                    end = "cancelled"
            if end is not None:
                visit.block.image[...] = outcome.image  # the sums are not needed any more
                done, reasons = _added(done, outcome, start, visit.best), {end}
                break
            done = _added(done, outcome, start, Value(*blocks.value()))
    except Cancelled:
        if done is None or resume is not None:
            raise
        reasons = {"cancelled"}
    # Blocks may end for different reasons: then the scale had the iterations that it was to have.
    reason = reasons.pop() if len(reasons) == 1 else "iterations"
    assert done is not None  # a scale has at least one iteration, and so one block
    return Outcome(blocks.image, done.start, done.end, done.iterations, done.evaluations, reason)


class _Visit:
    """The minimisation of one block, as those who look on see it: in the whole picture, with its loss."""

    def __init__(
        self, blocks: Blocks, block: FreeBlock, done: Done | None, best: Value, lowest: float
    ) -> None:
        """Begin with the `best` value of the picture so far, and the `lowest` loss of the block."""
        self.block, self.best, self.before = block, best, block.image.copy()
        self._blocks, self._done, self._lowest = blocks, done, lowest

    def watch(
        self,
        on_iterate: OnIterate,
        iteration: int,
        evaluations: int,
        supposed: Value,
        pixels: NDArray[np.floating],
    ) -> bool:
        self.block.image[...] = pixels
        value = Value(*self.block.value())
        if supposed.loss <= self._lowest:
            self.best, self._lowest = value, supposed.loss
        done = self._done
        iterations, made = (0, 0) if done is None else (done.iterations, done.evaluations)
        return on_iterate(iterations + iteration, made + evaluations, value, self._blocks.image)

    def keep(self, keep: Callable[[BlocksStanding], None], standing: Standing) -> None:
        blocks = self._blocks
        keep(BlocksStanding(blocks.image, self.before, blocks.reference, self._done, self.best, standing))


def _work(cuts: Cuts, iterations: int) -> Iterator[tuple[int, Tile, int]]:
    """Yield each block with its sweep before and its iterations behind it."""
    for sweep, (tiles, count) in enumerate(zip(cuts, shares(iterations), strict=False)):
        for tile in tiles:
            yield sweep, tile, count


def _added(done: Done | None, outcome: Outcome, start: Value, end: Value) -> Done:
    blocks, iterations, evaluations = (
        (0, 0, 0) if done is None else (done.blocks, done.iterations, done.evaluations)
    )
    return Done(
        blocks=blocks + 1,
        iterations=iterations + outcome.iterations,
        evaluations=evaluations + outcome.evaluations,
        start=start,
        end=end,
    )


_SWEEPS = 4
"""Over all blocks, one for each way to cut the picture; they share the iterations."""

_SHORTEST_SWEEP = 4
"""Iterations of a sweep at least: each begins without curvature."""


def sweeps(iterations: int) -> int:
    """Return how many sweeps over all blocks share the iterations."""
    return min(_SWEEPS, max(1, iterations // _SHORTEST_SWEEP))
