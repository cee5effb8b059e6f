"""Pixel by pixel in float64, a strip at a time: a whole photo at once would take much more memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

STRIP = 1 << 19
"""Pixels at a time."""


def strips(*pictures: NDArray[np.float32]) -> Iterator[tuple[NDArray[np.float64], ...]]:
    """Yield pictures of the same size, H×W×C or H×W, as pixels n×C in float64, some of each at a time."""
    flat = [picture.reshape(picture.shape[0] * picture.shape[1], -1) for picture in pictures]
    for start in range(0, len(flat[0]), STRIP):
        yield tuple(pixels[start : start + STRIP].astype(np.float64) for pixels in flat)


def convert(
    function: Callable[..., NDArray[np.floating]], *pictures: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return a picture of what a function makes of the pixels n×3 of others, clipped to [0, 1]."""
    result = np.empty((pictures[0].size // 3, 3), np.float32)
    place = 0
    for pixels in strips(*pictures):
        count = len(pixels[0])
        result[place : place + count] = np.clip(function(*pixels), 0, 1)
        place += count
    return result.reshape(pictures[0].shape)
