"""PNG without compression, by strips in threads, for people who wait.

W3C, Portable Network Graphics, third edition: the pixels are a stream of zlib (RFC 1950), here of blocks that
are stored as they are (RFC 1951, 3.2.4). Each strip is a chunk of its own.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .strips import side_by_side

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOURS = {1: 0, 3: 2, 4: 6}
"""Samples of a pixel → the code of the colour type: grey, RGB, RGBA."""


def bare(height: int, width: int, sample: NDArray[Any]) -> bytes:
    """Return a PNG file without pixels, for metadata to be put into.

    Parameters
    ----------
    height, width : int
        Of the picture.
    sample : array
        Some rows of it.
    """
    colour = _COLOURS[1 if sample.ndim == 2 else sample.shape[2]]
    depth = 8 * sample.dtype.itemsize
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IEND", b"")


def pieces(file: bytes, rows: Callable[[int, int], NDArray[Any]], height: int, width: int) -> Iterator[bytes]:
    """Yield a PNG file piece by piece.

    Parameters
    ----------
    file : bytes
        What `bare` made.
    rows : function
        Gets the first row and the one after the last; gives n×W, n×W×3 (RGB) or n×W×4 (RGBA) of uint8 or
        uint16. Called from several threads at once.
    height, width : int
        Of the picture.
    """
    end = file[-12:]
    yield file[:-12]
    yield _chunk(b"IDAT", b"\x78\x01")  # a stream of zlib, with the least compression

    def packed(start: int, stop: int) -> tuple[bytes, bytes]:
        samples = rows(start, stop).reshape(stop - start, -1)
        data = samples.astype(samples.dtype.newbyteorder(">"), copy=False).view(np.uint8)
        lines = np.empty((stop - start, 1 + data.shape[1]), np.uint8)
        lines[:, 0], lines[:, 1:] = 0, data  # no filter
        raw = lines.tobytes()
        stored = zlib.compressobj(0, zlib.DEFLATED, -15)
        return raw, _chunk(b"IDAT", stored.compress(raw) + stored.flush(zlib.Z_FULL_FLUSH))

    checksum = 1
    for raw, chunk in side_by_side(packed, height, width):
        checksum = zlib.adler32(raw, checksum)
        yield chunk
    yield _chunk(b"IDAT", b"\x03\x00" + struct.pack(">I", checksum))  # an empty block is the last
    yield end


def _chunk(kind: bytes, body: bytes) -> bytes:
    checksum = zlib.crc32(body, zlib.crc32(kind))
    return b"".join((struct.pack(">I", len(body)), kind, body, struct.pack(">I", checksum)))
