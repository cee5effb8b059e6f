"""Write tiled BigTIFF (TIFF 6.0, section 15; offsets of 64 bits), band by band.

The samples of the whole image are never in memory: rows are converted as they are written. Tiles are
compressed by Deflate after horizontal differencing (predictor 2), which every reader of tiles knows.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from .. import exif
from .base import Metadata, Size
from .tiff_declared import BLACK_IS_ZERO, DEFLATE, RGB
from .tiff_parts import (
    BITS,
    COMPRESSION,
    PLANAR,
    PREDICTOR,
    SAMPLE_FORMAT,
    SAMPLES,
    TILE_COUNTS,
    TILE_OFFSETS,
)

# Pixels of a side of a tile.
TILE = 256

# zlib's level: 9 takes three times as long for 1 % less.
_LEVEL = 6

_THREADS = 4

# Bytes of the header: byte order, version, bytes of an offset, and the offset of the directory.
_HEADER = 16

_DIFFERENCES, _CONTIGUOUS, _UNSIGNED, _PLAIN_ALPHA = 2, 1, 1, 2


def write(
    file: BinaryIO,
    size: Size,
    rows: Callable[[int, int], NDArray[Any]],
    metadata: Metadata,
    more: dict[int, bytes],
) -> None:
    """Write an image.

    Parameters
    ----------
    file : binary file
        Empty; it must be able to seek.
    size : (int, int)
        Height and width.
    rows : function
        (first row, row after the last) → these rows, h×W, h×W×3 (RGB) or h×W×4 (RGBA, the colours not
        multiplied by alpha), uint8 or uint16.
    metadata : Metadata
        EXIF, ICC profile and XMP.
    more : dict
        Further tags, of bytes.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    height, width = size
    offsets: list[int] = []
    counts: list[int] = []
    file.write(bytes(_HEADER))
    at, band = _HEADER, np.empty(0)
    with ThreadPoolExecutor(_THREADS) as pool:
        for top in range(0, height, TILE):
            band = rows(top, min(top + TILE, height))
            for packed in pool.map(partial(_packed, band), range(0, width, TILE)):
                offsets.append(at)
                counts.append(len(packed))
                at += file.write(packed)
    at += file.write(bytes(-at % 8))
    tags = _tags(size, band, offsets, counts)
    blobs = {exif.ICC: metadata.icc, exif.XMP: metadata.xmp, **more}
    tags = exif.described(tags, metadata.exif, {tag: blob for tag, blob in blobs.items() if blob})
    file.write(exif.packed(tags, at, big=True))
    file.seek(0)
    file.write(b"II" + struct.pack("<HHHQ", 43, 8, 0, at))


def _packed(band: NDArray[Any], left: int) -> bytes:
    """Return the compressed tile of a band from a column on, filled up with its last pixels."""
    tile = band[:, left : left + TILE]
    missing = [(0, TILE - length) for length in tile.shape[:2]]
    tile = np.pad(tile, [*missing, *[(0, 0)] * (tile.ndim - 2)], mode="edge")
    tile[:, 1:] = np.diff(tile, axis=1)  # modulo 2^8 or 2^16
    return zlib.compress(tile.astype(tile.dtype.newbyteorder("<"), copy=False).tobytes(), _LEVEL)


def _tags(size: Size, band: NDArray[Any], offsets: list[int], counts: list[int]) -> dict[int, exif.Entry]:
    """Return the tags of an image of such rows and of these tiles."""
    samples = 1 if band.ndim == 2 else band.shape[2]
    values = {
        exif.WIDTH: [size[1]],
        exif.HEIGHT: [size[0]],
        BITS: [8 * band.dtype.itemsize] * samples,
        COMPRESSION: [DEFLATE],
        exif.PHOTOMETRIC: [BLACK_IS_ZERO if samples == 1 else RGB],
        SAMPLES: [samples],
        PLANAR: [_CONTIGUOUS],
        PREDICTOR: [_DIFFERENCES],
        exif.TILE_WIDTH: [TILE],
        exif.TILE_HEIGHT: [TILE],
        TILE_OFFSETS: offsets,
        TILE_COUNTS: counts,
        SAMPLE_FORMAT: [_UNSIGNED] * samples,
    }
    if samples == 4:
        values[exif.EXTRA_SAMPLES] = [_PLAIN_ALPHA]
    return {tag: exif.of_numbers(*numbers) for tag, numbers in values.items()}
