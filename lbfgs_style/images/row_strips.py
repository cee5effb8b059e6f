"""Process large images in strips of rows.

A whole image in float64 would take much more memory, and several threads process strips faster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

# Pixels of a strip of `strips`, which is in float64.
STRIP = 1 << 19

# Pixels of a strip of `map_rows`; with fewer, threads wait for each other more than they work.
SHORT_STRIP = 1 << 18

_THREADS = 4

T = TypeVar("T")


def map_rows(work: Callable[[int, int], T], height: int, width: int) -> Iterator[T]:
    """Call a function on strips of an image in a few threads; yield its results from top to bottom.

    Parameters
    ----------
    work : function
        (first row, row after the last) → result of the strip.
    height, width : int
        Size of the image.
    """
    rows = max(1, SHORT_STRIP // max(width, 1))
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
    """Yield strips of images of the same size, H×W×C or H×W, as pixels n×C in float64."""
    flat = [picture.reshape(picture.shape[0] * picture.shape[1], -1) for picture in pictures]
    for start in range(0, len(flat[0]), STRIP):
        yield tuple(pixels[start : start + STRIP].astype(np.float64) for pixels in flat)


def map_pixels(
    function: Callable[..., NDArray[np.floating]], *pictures: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return an image whose pixels a function computes from the pixels n×3 of others, clipped to [0, 1]."""
    result = np.empty((pictures[0].size // 3, 3), np.float32)
    start = 0
    for pixels in strips(*pictures):
        count = len(pixels[0])
        result[start : start + count] = np.clip(function(*pixels), 0, 1)
        start += count
    return result.reshape(pictures[0].shape)
