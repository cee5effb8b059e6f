"""The method of a scale within a memory budget: whole, in tiles, or block by block. Pure functions.

Three things grow with an image: the features of an evaluation, which tiles bound; the vectors of L-BFGS,
which a shorter history or blocks bound; and the image and its targets themselves.
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
from ...optimization.block_sweeps import sweep_count
from ...optimization.gradient_subspace import kept_vectors, optimizer_bytes
from ...optimization.variables import PER_PIXEL
from ...system.byte_sizes import format_bytes

# Bytes of the process before it has an image: Python, NumPy, SciPy, OpenCV, onnxruntime, typer.
PROCESS = 235 * 10**6

# Copies of the weights: the network as it was read, and those of the sessions, in either form of convolution.
WEIGHT_COPIES = 5

# Bytes of onnxruntime's allocator for each byte of tensors.
ARENA = 1.3

# The same where sessions of different shapes, of tiles or blocks, alternate: freed memory may not fit the
# next.
TURNS_ARENA = 1.7

# Minimum number of gradients that L-BFGS keeps. With fewer it needs more iterations, and takes longer than
# tiles or blocks.
SHORTEST_HISTORY = 20

# Bytes per pixel of a scale besides the optimiser's: image, content, gradient.
_BYTES_PER_PIXEL = 36

# Bytes per pixel of a scale that is optimised block by block: the image, and that of the scale before.
_BYTES_PER_PIXEL_IN_BLOCKS = 16

# The same, without an evaluation, where such an image is enlarged, or becomes the result.
_BYTES_PER_PIXEL_AT_ENDS = 25

# Share of the halo that counts as memory on each side of a block. Later stages and what surrounds the block
# see all of the halo, but with few of the features, or without the backward pass.
_HALO_SHARE = 0.75

# Multiple of the smallest window: below, halos take more than half of it, and blocks are better, since they
# compute features once in each evaluation and not twice.
_TILES_WINDOW = 4.5

# Pixels of a block's window; larger ones bring little.
_LARGEST_BLOCK = 2**22

# Fraction of the expected memory that the error message recommends for --memory.
_RECOMMENDED = 0.6

MethodKind = Literal["whole", "tiles", "blocks"]


@dataclass(frozen=True, slots=True)
class ScaleMethod:
    """How a scale is optimised.

    Attributes
    ----------
    kind : {"whole", "tiles", "blocks"}
        The whole image at once; evaluations tile by tile; or the optimiser block by block, too.
    window_pixels : int or None
        Pixels of the window of a tile or block.
    history : int
        Gradients that L-BFGS keeps; after as many iterations it restarts. 0 for other methods.
    bytes : int
        Memory of the process to expect.
    """

    kind: MethodKind
    window_pixels: int | None
    history: int
    bytes: int


def choose_method(
    size: tuple[int, int], iterations: int, history: int, costs: Costs, budget: int
) -> ScaleMethod:
    """Choose the method of a scale.

    Parameters
    ----------
    size : (int, int)
        Height and width.
    iterations : int
        Maximum number of iterations; L-BFGS keeps no more gradients than that.
    history : int
        Gradients to keep; fewer where memory is short. 0 for first-order methods.
    costs : Costs
        Memory of network, terms and images.
    budget : int
        Bytes that the process may take.

    Raises
    ------
    OptionError
        No method fits.
    """
    pixels = size[0] * size[1]
    wanted = min(history, iterations)
    short = min(wanted, SHORTEST_HISTORY)
    fixed = _fixed_bytes(pixels, costs, _BYTES_PER_PIXEL)

    def without_evaluation(m: int) -> int:
        return fixed + optimizer_bytes(PER_PIXEL * pixels, kept_vectors(iterations, m))

    def whole(m: int) -> int:
        return without_evaluation(m) + int(ARENA * costs.per_pixel * pixels)

    for m in range(wanted, short - 1, -1):
        if whole(m) <= budget:
            return ScaleMethod("whole", None, m, whole(m))
    if costs.obstacle:
        raise too_large(size, budget, whole(short), costs.obstacle)
    least = min(pixels, costs.smallest_window)
    base, window = without_evaluation(short), TURNS_ARENA * costs.per_pixel
    most = int((budget - base) / window)
    if most >= _TILES_WINDOW * costs.smallest_window:
        return ScaleMethod("tiles", most, short, base + int(window * most))

    def blocks(most: int) -> int:
        return blocks_bytes(size, _block_size(most, size, costs.halo), iterations, for_sweep, costs)

    for_sweep = min(short, _longest_visit(iterations))
    most = bisect_right(range(min(pixels, _LARGEST_BLOCK) + 1), budget, key=blocks) - 1
    if most >= least:
        return ScaleMethod("blocks", most, for_sweep, blocks(most))
    raise too_large(size, budget, blocks(least))


def too_large(size: tuple[int, int], budget: int, least: int, why: str = "") -> OptionError:
    """Return the error for a scale that needs `least` bytes, more than the budget; `why` is a sentence."""
    message = (
        f"An image of {size[1]}×{size[0]} pixels does not fit into {format_bytes(budget)} of memory: "
        f"expected at least {format_bytes(least)}; allow more with --memory, or choose a smaller size. {why}"
    )
    return OptionError(message.rstrip())


def blocks_bytes(
    size: tuple[int, int], block: tuple[int, int], iterations: int, history: int, costs: Costs
) -> int:
    """Return the bytes of a process that optimises a scale in blocks of at most this height and width."""
    pixels = size[0] * size[1]
    base = _fixed_bytes(pixels, costs, _BYTES_PER_PIXEL_IN_BLOCKS)
    reach = 2 * _HALO_SHARE * costs.halo
    height, width = (min(whole, side + reach) for side, whole in zip(block, size, strict=True))
    evaluation = int(TURNS_ARENA * costs.per_pixel * height * width)
    kept = kept_vectors(_longest_visit(iterations), history)
    working = evaluation + optimizer_bytes(PER_PIXEL * block[0] * block[1], kept)
    return max(base + working, _fixed_bytes(pixels, costs, _BYTES_PER_PIXEL_AT_ENDS))


def _longest_visit(iterations: int) -> int:
    """Return the most iterations of a block in a sweep."""
    return -(-iterations // sweep_count(iterations))


def _fixed_bytes(pixels: int, costs: Costs, per_pixel: int) -> int:
    """Return the bytes that do not depend on the method, with `per_pixel` for each pixel of the image."""
    weights = WEIGHT_COPIES * costs.weights
    return PROCESS + weights + costs.sources + int((per_pixel + costs.targets) * pixels)


def _block_size(window: int, size: tuple[int, int], halo: int) -> tuple[int, int]:
    """Return height and width of the block in a window; it has no halo where the image ends."""
    short = min(*size, math.sqrt(window))
    long = min(max(size), window / max(1, short))
    sides = (short, long) if size[0] <= size[1] else (long, short)
    height, width = (
        int(side if side >= whole else max(0, side - 2 * halo))
        for side, whole in zip(sides, size, strict=True)
    )
    return height, width


@contextmanager
def enough_memory(size: tuple[int, int], expected: int) -> Generator[None]:
    """Turn a MemoryError into a message with a remedy.

    Parameters
    ----------
    size : (int, int)
        Height and width of the scale.
    expected : int
        Bytes that the plan expected.

    Raises
    ------
    MemoryShortage
        In place of MemoryError.
    """
    try:
        yield
    except MemoryError as error:
        less = format_bytes(_RECOMMENDED * expected).replace(" ", "")
        raise MemoryShortage(
            f"Not enough memory for {size[1]}×{size[0]} pixels, which should take {format_bytes(expected)}: "
            f"ask for less with --memory {less} (memory={int(_RECOMMENDED * expected)} in Python), or choose "
            "a smaller size."
        ) from error
