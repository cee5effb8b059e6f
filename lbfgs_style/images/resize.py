"""Resize images, and change between the layouts H×W×3 and [3,H,W]."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError
from .row_strips import map_rows

# H×W×3 float32, RGB, in [0, 1].
FloatImage = NDArray[np.float32]

_NO_MEMORY = -4  # cv::Error::StsNoMem


@contextmanager
def memory_errors() -> Generator[None]:
    """Raise MemoryError in place of OpenCV's error for lack of memory."""
    import cv2

    try:
        yield
    except cv2.error as error:
        if error.code == _NO_MEMORY:
            raise MemoryError(str(error)) from error
        raise


def resize(image: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize by area where a side shrinks and by cubic interpolation where it grows.

    Parameters
    ----------
    image : array, float32, H×W or H×W×C
        Values in [0, 1]: an image, an alpha channel or a mask.
    size : tuple of int
        The new (height, width).

    Returns
    -------
    array, float32
        In [0, 1] (the overshoot of the cubic is clipped); `image` itself where it has that size.

    Raises
    ------
    ImageError
        `size` has a side below 1.
    """
    import cv2

    if min(size) < 1:
        raise ImageError(f"cannot resize to {size[0]}×{size[1]}; expected at least 1×1")
    current = (image.shape[0], image.shape[1])
    if size == current:
        return image
    result = image
    smaller = (min(size[0], current[0]), min(size[1], current[1]))
    # Two steps, because OpenCV's area filter turns into a bilinear one as soon as either side grows.
    with memory_errors():
        if smaller != current:
            result = cv2.resize(result, smaller[::-1], interpolation=cv2.INTER_AREA)
        if smaller != size:
            result = cv2.resize(result, size[::-1], interpolation=cv2.INTER_CUBIC)
    result = np.asarray(result, np.float32)
    return np.clip(result, 0, 1, out=result).reshape(*size, *image.shape[2:])


def resize_to_chw(image: FloatImage, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return an image H×W×3 as a copy [3,H,W] of another (height, width), see `resize`.

    Channel by channel: the whole image is in memory only once.
    """
    result = np.empty((3, *size), np.float32)
    for channel, plane in enumerate(result):
        plane[...] = resize(np.ascontiguousarray(image[..., channel]), size)
    return result


def fit(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """Return `size`, (height, width), scaled so that its longer side is `longest` and no side is below 1."""
    if min(size) < 1 or longest < 1:
        raise ImageError(f"cannot fit {size[0]}×{size[1]} to {longest} pixels; expected sizes of at least 1")
    long_side = max(size)
    height, width = (max(1, (2 * side * longest + long_side) // (2 * long_side)) for side in size)
    return height, width


def to_chw(rgb: FloatImage) -> NDArray[np.float32]:
    """Return an image H×W×3 as [3,H,W], the order of networks and of the optimiser."""
    return np.ascontiguousarray(rgb.transpose(2, 0, 1))


def to_hwc(picture: NDArray[np.floating]) -> FloatImage:
    """Return an image [3,H,W] of the optimiser as H×W×3 float32, clipped to [0,1]."""
    import cv2

    _, height, width = picture.shape
    rgb = np.empty((height, width, 3), np.float32)

    def fill(start: int, stop: int) -> None:
        # In strips: the result is the only copy of the whole image.
        strip = picture[:, start:stop].astype(np.float32, copy=False)
        np.clip(cv2.merge(list(strip), rgb[start:stop]), 0, 1, out=rgb[start:stop])

    for _ in map_rows(fill, height, width):
        pass
    return rgb
