"""Large images a strip at a time.

In float64 a whole one would take much more memory; and strips in threads of their own take less time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

# Pixels of a strip.
STRIP = 1 << 19

# Pixels of a strip where each thread has one; with fewer, threads wait for each other more than they work.
_SHORT = 1 << 18

_THREADS = 4

T = TypeVar("T")


def side_by_side(work: Callable[[int, int], T], height: int, width: int) -> Iterator[T]:
    """Do some work on strips of an image in a few threads; yield what it gives, from top to bottom.

    Parameters
    ----------
    work : function
        Gets the first row of a strip and the one after its last.
    height, width : int
        Of the image.
    """
    rows = max(1, _SHORT // max(width, 1))
    starts = range(0, height, rows)
    if len(starts) < _THREADS:
        yield from (work(start, min(start + rows, height)) for start in starts)
        return
    from concurrent.futures import ThreadPoolExecutor

    def strip(start: int) -> T:
        return work(start, min(start + rows, height))

    with ThreadPoolExecutor(_THREADS) as pool:
        yield from pool.map(strip, starts)


def strips(*pictures: NDArray[np.float32]) -> Iterator[tuple[NDArray[np.float64], ...]]:
    """Yield images of the same size, H×W×C or H×W, as pixels n×C in float64, some of each at a time."""
    flat = [picture.reshape(picture.shape[0] * picture.shape[1], -1) for picture in pictures]
    for start in range(0, len(flat[0]), STRIP):
        yield tuple(pixels[start : start + STRIP].astype(np.float64) for pixels in flat)


def convert(
    function: Callable[..., NDArray[np.floating]], *pictures: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return an image of what a function makes of the pixels n×3 of others, clipped to [0, 1]."""
    result = np.empty((pictures[0].size // 3, 3), np.float32)
    place = 0
    for pixels in strips(*pictures):
        count = len(pixels[0])
        result[place : place + count] = np.clip(function(*pixels), 0, 1)
        place += count
    return result.reshape(pictures[0].shape)
