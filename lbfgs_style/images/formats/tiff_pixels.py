"""Decode the pixels of TIFF files in parts that OpenCV reads correctly; check and correct them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ImageFileError
from .. import exif
from . import tiff_declared, tiff_parts
from .base import turned
from .tiff_declared import Declared

log = logging.getLogger(__name__)

# Distance outside [0, 1] that counts as a rounding error, as for arrays.
_TOLERANCE = 1e-6

_DAMAGED = "{name}: damaged: {what}; expected a whole TIFF file: get another copy of it"


def decode(name: str, data: bytes, unpack: Callable[[bytes], NDArray[Any]]) -> NDArray[Any]:
    """Decode the first page of a TIFF file.

    Parameters
    ----------
    name : str
        What messages call the file.
    data : bytes
        The file.
    unpack : function
        Decodes a file with OpenCV, or raises ImageFileError.

    Returns
    -------
    array
        H×W, H×W×3 (BGR) or H×W×4 (BGRA; of grey files with alpha too), upright, black at 0; uint8, uint16,
        or floating point in [0, 1], of LogLuv unclipped. The colours are not multiplied by alpha. A warning
        is logged where a grey file's alpha cannot be read.

    Raises
    ------
    ImageFileError
        The file is camera raw, of samples or a compression that are not read, outside [0, 1], or damaged.
    """
    declared = tiff_declared.read(data)
    if declared is None:
        return unpack(data)
    problem = tiff_declared.problem(data, declared, name)
    if problem is not None:
        raise ImageFileError(f"{name}: {problem}")
    damage = tiff_parts.damage(data, declared)
    if damage is not None:
        raise ImageFileError(_DAMAGED.format(name=name, what=damage))
    planes = [unpack(part) for part in tiff_parts.readable(data, declared)]
    if declared.is_half:
        planes = [plane.view(np.float16) for plane in planes]
    if declared.is_wide_gray:
        planes = list(np.moveaxis(turned(tiff_parts.apart(declared, planes[0]), declared.orientation), 2, 0))
    if len(planes) > 1 and not declared.is_gray:
        planes = [np.stack([planes[i] for i in [2, 1, 0, 3][: len(planes)]], axis=2)]
    problem = tiff_declared.mismatch(declared, planes[0])
    if problem is not None:
        raise ImageFileError(f"{name}: {problem}")
    if planes[0].dtype == np.uint8:
        _require_whole_strips(name, data, declared, unpack)
    if not tiff_declared.is_linear(data):
        planes = [_unit_range(name, plane) for plane in planes]
    if declared.is_gray and declared.samples > 1:
        return _gray(name, declared, planes)
    return _corrected(data, declared, planes[0])


def _gray(name: str, declared: Declared, planes: list[NDArray[Any]]) -> NDArray[Any]:
    """Return grey of several samples with alpha as BGRA of equal colours, without alpha as grey."""
    alpha = declared.alpha
    if len(planes) == 1:  # OpenCV has dropped the others, and inverted 8 bits
        if alpha is not None:
            log.warning("%s: its alpha is not read: save a TIFF with LZW or Deflate, or a PNG", name)
        return planes[0]
    gray = planes[0]
    if declared.photometric == tiff_declared.WHITE_IS_ZERO:
        gray = _inverted(gray)
    if alpha is None:
        return gray
    sample, kind = alpha
    pixels = np.stack([gray] * 3 + [planes[sample]], axis=2)
    return _unmultiply(pixels) if kind == 1 else pixels


def _unit_range(name: str, pixels: NDArray[Any]) -> NDArray[Any]:
    """Clip floating-point samples to [0, 1]; raise ImageFileError beyond rounding errors."""
    if pixels.dtype.kind != "f":
        return pixels
    low, high = float(pixels.min()), float(pixels.max())
    if not np.isfinite([low, high]).all():
        raise ImageFileError(
            f"{name}: contains NaN or infinity in floating-point samples; expected 0 to 1: repair it in an "
            "image editor, or save 8 or 16 bits"
        )
    if low < -_TOLERANCE or high > 1 + _TOLERANCE:
        raise ImageFileError(
            f"{name}: floating-point samples from {low:.7g} to {high:.7g}; expected 0 to 1: clip or rescale "
            "them in an image editor, or save 8 or 16 bits"
        )
    return np.clip(pixels, 0, 1)


def _inverted(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return pixels with black and white exchanged."""
    top = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
    return pixels.dtype.type(top) - pixels


def _require_whole_strips(
    name: str, data: bytes, declared: Declared, unpack: Callable[[bytes], NDArray[Any]]
) -> None:
    for part in tiff_parts.strict(data, declared):
        try:
            unpack(part)
        except ImageFileError as error:
            what = "some of its strips or tiles cannot be unpacked"
            raise ImageFileError(_DAMAGED.format(name=name, what=what)) from error


def _corrected(data: bytes, declared: Declared, pixels: NDArray[Any]) -> NDArray[Any]:
    """Correct what OpenCV and libtiff do to white, depth and alpha."""
    if declared.bits in (10, 12, 14) and pixels.dtype == np.uint16:
        # OpenCV shifts them to the left, which leaves white short of 65535.
        top = (1 << 16) - (1 << 16 - declared.bits)
        pixels = np.rint(pixels * (65535 / top)).astype(np.uint16)
    # libtiff inverts 8 bits, and no others.
    if declared.photometric == tiff_declared.WHITE_IS_ZERO and pixels.dtype != np.uint8:
        pixels = _inverted(pixels)
    if pixels.ndim != 3 or pixels.shape[2] != 4:
        return pixels
    if declared.photometric == exif.CMYK:
        return pixels[..., :3]  # libtiff makes RGBA of it; the alpha is not in the file
    kind = exif.number(data, exif.EXTRA_SAMPLES)
    # libtiff returns 8-bit pixels multiplied by their alpha, whether the file holds them so
    # (ExtraSamples 1) or not (2). Deeper samples come as in the file.
    return _unmultiply(pixels) if kind == 1 or (kind == 2 and pixels.dtype == np.uint8) else pixels


def _unmultiply(pixels: NDArray[Any]) -> NDArray[Any]:
    whole = pixels.dtype.kind == "u"
    top = float(np.iinfo(pixels.dtype).max) if whole else 1.0
    alpha = pixels[..., 3:].astype(np.float32)
    colour = np.minimum(pixels[..., :3] * (top / np.where(alpha > 0, alpha, top)), top)
    return np.concatenate([np.rint(colour) if whole else colour, alpha], axis=2).astype(pixels.dtype)
