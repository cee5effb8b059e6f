"""BMP files whose samples are told apart by masks (BITMAPINFOHEADER with BI_BITFIELDS, V2 to V5 headers).

OpenCV takes the fourth byte of every such pixel for opacity, also where no mask says so, and reads no masks
of short headers: red and blue change places.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

_COMPRESSION, _MASKS, _ALPHA_MASK = 30, 54, 66  # places in the file, behind its head of 14 bytes
_BITFIELDS, _ALPHA_BITFIELDS = 3, 6
_WITH_ALPHA = 56  # bytes of the shortest header that has a mask for opacity


def decode(data: bytes) -> NDArray[np.uint8] | None:
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
    found = np.stack([_samples(pixels, mask) for mask in masks], axis=2)
    if alpha and not found[..., 3].any():
        found = found[..., :3]
    return found[::-1] if height > 0 else found


def _samples(pixels: NDArray[np.unsignedinteger], mask: int) -> NDArray[np.uint8]:
    """Return the samples below a mask, from 0 to 255; nothing but 0 below an empty one."""
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
