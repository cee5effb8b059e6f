"""BMP: size, and files whose samples are separated by masks (BI_BITFIELDS, V2 to V5 headers).

OpenCV takes the fourth byte of every 32-bit pixel of these for opacity, even where no mask says so, and
ignores the masks of short headers, which swaps red and blue.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ...errors import ImageFileError
from .base import Format, Size, Unpacked, starts_with

# Offsets in the file, in bytes.
_MASKS, _ALPHA_MASK = 54, 66

# Values of the compression field.
_BITFIELDS, _ALPHA_BITFIELDS = 3, 6

# Bytes of the shortest header that has a mask for opacity.
_WITH_ALPHA = 56


def decode_masks(data: bytes) -> NDArray[np.uint8] | None:
    """Decode a BMP file with masks.

    Parameters
    ----------
    data : bytes
        The file.

    Returns
    -------
    array or None
        H×W×3 (BGR) or H×W×4 (BGRA), upright, uint8; None where the file has no masks. Opacity that is 0
        everywhere counts as none, as in browsers.

    Raises
    ------
    ValueError
        The file is cut short, or its masks have gaps; the text says which.
    """
    try:
        (start,) = struct.unpack_from("<I", data, 10)
        head, width, height, _, bits, compression = struct.unpack_from("<IiiHHI", data, 14)
        if head < 40 or bits not in (16, 32) or compression not in (_BITFIELDS, _ALPHA_BITFIELDS):
            return None
        red, green, blue = struct.unpack_from("<3I", data, _MASKS)
        has_alpha = head >= _WITH_ALPHA or compression == _ALPHA_BITFIELDS
        (alpha,) = struct.unpack_from("<I", data, _ALPHA_MASK) if has_alpha else (0,)
        if width <= 0 or height == 0:
            raise ValueError("no pixels")
        stride = -(-width * bits // 32) * 4
        rows = np.frombuffer(data, np.uint8, stride * abs(height), start).reshape(abs(height), stride)
    except (struct.error, ValueError) as error:
        raise ValueError("damaged or cut short") from error
    pixels = rows.view(np.dtype(f"<u{bits // 8}"))[:, :width]
    masks = [blue, green, red] + [alpha] * (alpha != 0)
    samples = np.stack([_samples(pixels, mask) for mask in masks], axis=2)
    if alpha and not samples[..., 3].any():
        samples = samples[..., :3]
    return samples[::-1] if height > 0 else samples


def _samples(pixels: NDArray[np.unsignedinteger], mask: int) -> NDArray[np.uint8]:
    """Return the samples that a mask selects, scaled to 0 to 255; 0 everywhere for an empty mask."""
    if mask == 0:
        return np.zeros(pixels.shape, np.uint8)
    shift = (mask & -mask).bit_length() - 1
    top = mask >> shift
    if mask >> 8 * pixels.itemsize:
        raise ValueError(
            f"damaged: colour mask {mask:#x} is wider than a pixel of {8 * pixels.itemsize} bits"
        )
    if top & (top + 1):
        raise ValueError(f"damaged: colour mask {mask:#x} has gaps")
    samples = (pixels & pixels.dtype.type(mask)) >> pixels.dtype.type(shift)
    return np.rint(samples * np.float32(255 / top)).astype(np.uint8)


def _decode(name: str, data: bytes, unpack: Callable[[bytes], Unpacked]) -> Unpacked:
    try:
        pixels = decode_masks(data)
    except ValueError as error:
        raise ImageFileError(f"{name}: {error}; expected a whole BMP file: get another copy of it") from error
    return unpack(data) if pixels is None else (pixels, b"")


def _declared_size(data: bytes) -> Size:
    (head,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if head == 12 else "<ii", data, 18)
    return abs(height), abs(width)  # the height of an image that is stored from top to bottom is negative


BMP = Format(name="BMP", begins=starts_with(b"BM"), declared_size=_declared_size, decode=_decode)
