"""Pixels of TIFF files: decoded in parts that OpenCV reads right, checked, and mended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import tiff_declared, tiff_parts, tiff_tags
from .errors import ImageFileError
from .tiff_declared import Declared

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
        H×W, H×W×3 (BGR) or H×W×4 (BGRA), upright, black at 0; uint8, uint16, or floating point as the file
        has it. The colours are not multiplied by alpha.

    Raises
    ------
    ImageFileError
        The file is camera raw, of samples or a compression that are not read, or damaged.
    """
    declared = tiff_declared.read(data)
    if declared is None:
        return unpack(data)
    problem = tiff_declared.problem(data, declared, name)
    if problem is not None:
        raise ImageFileError(f"{name}: {problem}")
    injury = tiff_parts.damage(data, declared)
    if injury is not None:
        raise ImageFileError(_DAMAGED.format(name=name, what=injury))
    planes = [unpack(part) for part in tiff_parts.readable(data, declared)]
    pixels = planes[0]
    if len(planes) > 1:
        pixels = np.stack([planes[i] for i in [2, 1, 0, 3][: len(planes)]], axis=2)
    if declared.is_half:
        pixels = pixels.view(np.float16)
    problem = tiff_declared.mismatch(declared, pixels)
    if problem is not None:
        raise ImageFileError(f"{name}: {problem}")
    if pixels.dtype == np.uint8:
        _require_whole_strips(name, data, declared, unpack)
    return _mended(data, declared, pixels)


def _require_whole_strips(
    name: str, data: bytes, declared: Declared, unpack: Callable[[bytes], NDArray[Any]]
) -> None:
    for part in tiff_parts.strict(data, declared):
        try:
            unpack(part)
        except ImageFileError as error:
            what = "some of its strips or tiles cannot be unpacked"
            raise ImageFileError(_DAMAGED.format(name=name, what=what)) from error


def _mended(data: bytes, declared: Declared, pixels: NDArray[Any]) -> NDArray[Any]:
    if declared.bits in (10, 12, 14) and pixels.dtype == np.uint16:
        # OpenCV shifts them to the left, which leaves white short of 65535.
        top = (1 << 16) - (1 << 16 - declared.bits)
        pixels = np.rint(pixels * (65535 / top)).astype(np.uint16)
    # libtiff turns 8 bits round, and no others.
    if declared.photometric == tiff_declared.WHITE_IS_ZERO and pixels.dtype != np.uint8:
        pixels = (65535 if pixels.dtype == np.uint16 else pixels.dtype.type(1)) - pixels
    if pixels.ndim != 3 or pixels.shape[2] != 4:
        return pixels
    if declared.photometric == tiff_tags.CMYK:
        return pixels[..., :3]  # libtiff makes RGB of it, and an alpha that nobody asked for
    kind = tiff_tags.number(data, tiff_tags.EXTRA_SAMPLES)
    # libtiff hands 8-bit pixels over multiplied by their alpha, whether the file holds them so
    # (ExtraSamples 1) or not (2). Deeper ones come as they are in the file.
    return _unmultiply(pixels) if kind == 1 or (kind == 2 and pixels.dtype == np.uint8) else pixels


def _unmultiply(pixels: NDArray[Any]) -> NDArray[Any]:
    whole = pixels.dtype.kind == "u"
    top = float(np.iinfo(pixels.dtype).max) if whole else 1.0
    alpha = pixels[..., 3:].astype(np.float32)
    colour = np.minimum(pixels[..., :3] * (top / np.where(alpha > 0, alpha, top)), top)
    return np.concatenate([np.rint(colour) if whole else colour, alpha], axis=2).astype(pixels.dtype)
