"""Pictures: arrays in, RGB float32 H×W×3 in [0, 1] inside, the same kind of array out again.

Every image passes through here: its kind is checked, remembered in a `Picture`, and restored at the end.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError
from . import pillow_images
from .formats.base import Metadata
from .resize import FloatImage, resize
from .row_strips import map_rows

_WHOLE_TYPES = (np.uint8, np.uint16)
_FLOAT_TYPES = (np.float16, np.float32, np.float64)
# Distance outside [0, 1] that counts as a rounding error.
_TOLERANCE = 1e-6
# Largest value up to which floating point counts as an overshoot of 1, and not as another scale (0 to 255).
_LEAST_SCALED = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """Pixels together with the kind of array or file that they came from.

    Attributes
    ----------
    rgb : array, float32, H×W×3, C-contiguous
        RGB in [0, 1].
    alpha : array, float32, H×W, or None
        Opacity in [0, 1]; the colours are not multiplied by it.
    gray : bool
        Whether it came as one channel (H×W, H×W×1, or a file or Pillow image of grey, with or without alpha),
        and is returned as such.
    dtype : numpy.dtype
        What it came as: uint8, uint16, float16, float32 or float64.
    keeps_axis : bool
        Whether a grey array came as H×W×1, not as H×W.
    metadata : Metadata
        EXIF, colour profile and XMP of the file that it came from; a written file gets them.
    """

    rgb: FloatImage
    alpha: NDArray[np.float32] | None
    gray: bool
    dtype: np.dtype[Any]
    keeps_axis: bool = False
    metadata: Metadata = field(default_factory=Metadata, repr=False)


ImageLike = NDArray[Any] | Picture | str | Path | pillow_images.PillowImage
"""An image as functions take it: an array, a Picture, the path of a file, or an image of Pillow."""


def from_array(array: NDArray[Any] | pillow_images.PillowImage, *, name: str = "image") -> Picture:
    """Return an array as a picture, or raise ImageError.

    Parameters
    ----------
    array : array
        H×W or H×W×1 (grey), H×W×3 (RGB) or H×W×4 (RGBA); uint8, uint16, or floating point in [0, 1]
        (1e-6 beyond is clipped). Or an image of Pillow, which is converted by its mode: palettes, CMYK,
        YCbCr, HSV and such become RGB, or RGBA where they have transparency; grey stays grey. Its EXIF
        orientation is not applied (a warning says so), nor is its colour profile.
    name : str
        What error messages call it.

    Returns
    -------
    Picture
        A copy: the array may change afterwards.

    Raises
    ------
    ImageError
        The shape, the type or the range is not one of these, or the array is empty, or holds NaN or infinity.
    """
    pillow_gray = False
    if pillow_images.is_pillow(array):
        pillow_gray = pillow_images.is_gray(array)
        array = pillow_images.as_array(array, name)
    array = np.asarray(array)
    _require_shape(array, name)
    unit = _unit_range(array, name)
    alpha = np.ascontiguousarray(unit[..., 3]) if unit.ndim == 3 and unit.shape[2] == 4 else None
    single = unit.ndim == 2 or unit.shape[2] == 1
    rgb = np.repeat(unit.reshape(*unit.shape[:2], 1), 3, axis=2) if single else unit[..., :3]
    return Picture(
        rgb=np.ascontiguousarray(rgb),
        alpha=alpha,
        gray=single or pillow_gray,
        dtype=np.dtype(array.dtype.type),
        keeps_axis=single and unit.ndim == 3,
    )


def to_array(picture: Picture) -> NDArray[Any]:
    """Return a picture as the kind of array that it came from.

    Whole numbers are rounded to the nearest. A grey image gets the luma of its colours,
    Y' = 0.2126 R' + 0.7152 G' + 0.0722 B' (ITU-R BT.709).

    Returns
    -------
    array
        H×W, H×W×1, H×W×3 (RGB) or H×W×4 (RGBA) of `picture.dtype`. Grey with alpha, which only files and
        images of Pillow have, is an H×W×4 whose colours are equal.
    """
    height, width = picture.rgb.shape[:2]
    channels = 4 if picture.alpha is not None else 1 if picture.gray else 3
    array = np.empty((height, width, channels), picture.dtype)

    def fill(start: int, stop: int) -> None:
        # In strips: copies of large images in floating point take much memory.
        rgb, part = picture.rgb[start:stop], array[start:stop]
        colors = luma(rgb)[..., np.newaxis] if picture.gray else rgb
        _store(colors, part[..., : min(3, channels)])
        if picture.alpha is not None:
            _store(picture.alpha[start:stop], part[..., 3])

    for _ in map_rows(fill, height, width):
        pass
    return array[..., 0] if channels == 1 and not picture.keeps_axis else array


def _store(values: NDArray[np.float32], array: NDArray[Any]) -> None:
    """Write values, clipped to [0, 1], into an array in its range, whole numbers rounded to the nearest."""
    if array.dtype.kind == "f":
        np.clip(values, 0, 1, out=array)
        return
    values = np.clip(values, 0, 1)
    values *= np.float32(np.iinfo(array.dtype).max)
    array[...] = np.rint(values, out=values)


def with_rgb(picture: Picture, rgb: FloatImage) -> Picture:
    """Return a picture of the same kind with new pixels.

    Parameters
    ----------
    picture : Picture
        Gives the kind, and the alpha, which is resized where the size differs.
    rgb : array, H×W×3
        RGB; clipped to [0, 1]. An array that is float32, C-contiguous and in range is kept without a copy.

    Raises
    ------
    ImageError
        `rgb` is not H×W×3, or not finite.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.size == 0:
        raise ImageError(f"new pixels have shape {rgb.shape}; expected (height, width, 3)")
    ends = map_rows(lambda a, b: (rgb[a:b].min(), rgb[a:b].max()), rgb.shape[0], rgb.shape[1])
    lows, highs = zip(*ends, strict=True)
    low, high = float(np.min(lows)), float(np.max(highs))
    if not np.isfinite([low, high]).all():
        raise ImageError("new pixels contain NaN or infinity; expected numbers in [0, 1]")
    alpha = picture.alpha
    if alpha is not None:
        alpha = resize(alpha, (rgb.shape[0], rgb.shape[1]))
    pixels = np.ascontiguousarray(rgb, dtype=np.float32)
    if low < 0 or high > 1:
        pixels = np.clip(pixels, 0, 1)
    return replace(picture, rgb=pixels, alpha=alpha)


def luma(rgb: FloatImage) -> NDArray[np.float32]:
    """Return Y' = 0.2126 R' + 0.7152 G' + 0.0722 B' (ITU-R BT.709) of an image H×W×3."""
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    # Written around green, so that the luma of a grey pixel is exactly that grey.
    weighed = green + 0.2126 * (red - green) + 0.0722 * (blue - green)
    return weighed.astype(np.float32, copy=False)


def _require_shape(array: NDArray[Any], name: str) -> None:
    shape = array.shape
    if array.size and (array.ndim == 2 or (array.ndim == 3 and shape[2] in (1, 3, 4))):
        return
    problem = f"{name}: an array of shape {shape}"
    expected = "expected (height, width), or (height, width, channels) with 1, 3 or 4 channels"
    if array.ndim == 0:
        raise ImageError(f"{name}: a single value; {expected}: open image files with images.read")
    if array.size == 0:
        raise ImageError(f"{problem} is empty; {expected}")
    if array.ndim == 3 and shape[0] in (1, 3, 4):
        raise ImageError(f"{problem}; {expected}: move the channels last with array.transpose(1, 2, 0)")
    if array.ndim == 4:
        raise ImageError(f"{problem}; {expected}: pass one image of the batch")
    raise ImageError(f"{problem}; {expected}")


def _unit_range(array: NDArray[Any], name: str) -> NDArray[np.float32]:
    kind = array.dtype.type
    if kind in _WHOLE_TYPES:
        return np.divide(array, np.float32(np.iinfo(kind).max), dtype=np.float32)
    if kind not in _FLOAT_TYPES:
        as_float = array.dtype.kind in "bf"  # bool and longdouble
        remedy = "array.astype(np.float32)" if as_float else "array.astype(np.uint8) if it is 0 to 255"
        raise ImageError(
            f"{name}: {array.dtype} values; expected uint8, uint16 or floating point: try {remedy}"
        )
    low, high = float(array.min()), float(array.max())
    if not np.isfinite([low, high]).all():
        raise ImageError(f"{name}: contains NaN or infinity; expected numbers in [0, 1]")
    if high > _LEAST_SCALED and low >= 0:
        top = 255 if high <= 255 else 65535 if high <= 65535 else high
        raise ImageError(
            f"{name}: values up to {high:g} in a float array; expected [0, 1]: divide by {top:g}"
        )
    if low < -_TOLERANCE or high > 1 + _TOLERANCE:
        raise ImageError(
            f"{name}: values from {low:.7g} to {high:.7g} in a float array; expected [0, 1]: clip them with "
            "np.clip(array, 0, 1), or rescale"
        )
    return np.clip(array, 0, 1).astype(np.float32)


def over_white(picture: Picture) -> Picture:
    """Return a picture without alpha, laid over white."""
    if picture.alpha is None:
        return picture
    opacity = picture.alpha[..., np.newaxis]
    return replace(picture, rgb=picture.rgb * opacity + (1 - opacity), alpha=None)
