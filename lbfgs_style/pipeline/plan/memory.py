"""How a scale is worked on within a budget of memory: whole, in tiles, or block by block. Pure functions.

Three things grow with a picture: the features of an evaluation, which tiles bound; the vectors of L-BFGS,
which a shorter history or blocks bound; and the picture and its targets themselves.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from ...errors import MemoryShortage, OptionError
from ...objective.memory_costs import Costs
from ...optimization.block_sweeps import sweeps
from ...optimization.gradient_subspace import optimizer_bytes, vectors
from ...system.byte_sizes import format_bytes

PROCESS = 235 * 10**6
"""Bytes of the process before it has a picture: Python, NumPy, SciPy, OpenCV, onnxruntime, typer."""

WEIGHT_COPIES = 5
"""The network as it was read, and what sessions make of its weights, in either form of convolution."""

ARENA = 1.3
"""What onnxruntime's allocator takes for each byte of tensors."""

SHORTEST_HISTORY = 20
"""L-BFGS that begins anew more often takes more iterations; below that, tiles and blocks are better."""

TURNS_ARENA = 1.7
"""The same where sessions of other shapes take turns, of tiles or of blocks: what one leaves may not fit the
other."""

_PICTURE = 36
"""Bytes for each pixel of a scale beside the optimiser's: the picture, the photo, the gradient."""

_AROUND = 0.5
"""Of a halo, by which a block's evaluation reaches out on each side as far as memory goes: the later stages
and what surrounds the block see all of the halo, but with little of the features, or without the way back."""

_PICTURE_IN_BLOCKS = 22
"""Bytes for each pixel of a scale that is worked on block by block: the picture, and where it started."""

_TILES_WINDOW = 4.5
"""Times the smallest window: below that, halos take more than half of it, and blocks are the better way,
since they compute features once in each evaluation and not twice."""

_LARGEST_BLOCK = 2**22
"""Pixels of a block's window; larger ones bring little."""


Way = Literal["whole", "tiles", "blocks"]


@dataclass(frozen=True, slots=True)
class Working:
    """How a scale is worked on.

    Attributes
    ----------
    way : {"whole", "tiles", "blocks"}
        All at once; evaluations tile by tile; or the optimiser block by block, too.
    window_pixels : int or None
        Pixels of a window of tiles or blocks.
    history : int
        Gradients that L-BFGS works with; after so many iterations it begins anew. 0 for other methods.
    bytes : int
        The memory of the process that is to be expected.
    """

    way: Way
    window_pixels: int | None
    history: int
    bytes: int


def arrange(size: tuple[int, int], iterations: int, history: int, costs: Costs, budget: int) -> Working:
    """Choose how to work on a scale.

    Parameters
    ----------
    size : (int, int)
        Height and width.
    iterations : int
        The most iterations; L-BFGS works with no more gradients than that.
    history : int
        Gradients that are wanted; fewer where memory is short. First-order methods work with none: 0.
    costs : Costs
        Of network, terms and pictures.
    budget : int
        Bytes that the process may take.

    Raises
    ------
    OptionError
        If nothing fits.
    """
    pixels = size[0] * size[1]
    wanted = min(history, iterations)
    short = min(wanted, SHORTEST_HISTORY)
    held = _held(pixels, costs, _PICTURE)

    def besides(m: int) -> int:
        return held + optimizer_bytes(costs.variables * pixels, vectors(iterations, m))

    def whole(m: int) -> int:
        return besides(m) + int(ARENA * costs.per_pixel * pixels)

    for m in range(wanted, short - 1, -1):
        if whole(m) <= budget:
            return Working("whole", None, m, whole(m))
    if costs.obstacle:
        raise too_large(size, budget, whole(short), costs.obstacle)
    least = min(pixels, costs.smallest_window)
    fixed, window = besides(short), TURNS_ARENA * costs.per_pixel
    most = int((budget - fixed) / window)
    if most >= _TILES_WINDOW * costs.smallest_window:
        return Working("tiles", most, short, fixed + int(window * most))

    def blocks(most: int) -> int:
        return blocks_bytes(size, _inner(most, size, costs.halo), iterations, for_sweep, costs)

    for_sweep = min(short, _longest_visit(iterations))
    most = bisect_right(range(min(pixels, _LARGEST_BLOCK) + 1), budget, key=blocks) - 1
    if most >= least:
        return Working("blocks", most, for_sweep, blocks(most))
    raise too_large(size, budget, blocks(least))


def too_large(size: tuple[int, int], budget: int, least: int, why: str = "") -> OptionError:
    """Return the error for a scale that takes `least` bytes, more than the budget; `why` is a sentence."""
    message = (
        f"A picture of {size[1]}×{size[0]} pixels does not fit into {format_bytes(budget)} of memory: "
        f"expected at least {format_bytes(least)}; allow more with --memory, or choose a smaller size. {why}"
    )
    return OptionError(message.rstrip())


def blocks_bytes(
    size: tuple[int, int], block: tuple[int, int], iterations: int, history: int, costs: Costs
) -> int:
    """Return the bytes of the process that works on a scale in blocks of at most this height and width."""
    beside = _held(size[0] * size[1], costs, _PICTURE_IN_BLOCKS)
    reach = 2 * _AROUND * costs.halo
    height, width = (min(whole, side + reach) for side, whole in zip(block, size, strict=True))
    evaluation = int(TURNS_ARENA * costs.per_pixel * height * width)
    kept = vectors(_longest_visit(iterations), history)
    return beside + evaluation + optimizer_bytes(costs.variables * block[0] * block[1], kept)


def _longest_visit(iterations: int) -> int:
    """Return the iterations of a block in a sweep, at the most."""
    return -(-iterations // sweeps(iterations))


def _held(pixels: int, costs: Costs, each: int) -> int:
    """Return the bytes that do not depend on the way, with so many for each pixel of the picture."""
    weights = WEIGHT_COPIES * costs.weights
    return PROCESS + weights + costs.sources + int((each + costs.targets) * pixels)


def _inner(window: int, size: tuple[int, int], halo: int) -> tuple[int, int]:
    """Return height and width of a block in a window of so many pixels: no halo where the picture ends."""
    short = min(*size, math.sqrt(window))
    long = min(max(size), window / max(1, short))
    sides = (short, long) if size[0] <= size[1] else (long, short)
    height, width = (
        int(side if side >= whole else max(0, side - 2 * halo))
        for side, whole in zip(sides, size, strict=True)
    )
    return height, width


_LESS = 0.6
"""Share of what was too much that is recommended."""


@contextmanager
def enough_memory(size: tuple[int, int], expected: int) -> Generator[None]:
    """Say what to do where the system gives less memory than was planned for.

    Parameters
    ----------
    size : (int, int)
        Height and width in work.
    expected : int
        Bytes that the process was expected to take.

    Raises
    ------
    MemoryShortage
        In place of MemoryError.
    """
    try:
        yield
    except MemoryError as error:
        less = format_bytes(_LESS * expected).replace(" ", "")
        raise MemoryShortage(
            f"Not enough memory for {size[1]}×{size[0]} pixels, which were to take {format_bytes(expected)}: "
            f"ask for less with --memory {less} (memory={int(_LESS * expected)} in Python), or choose a "
            "smaller size."
        ) from error
