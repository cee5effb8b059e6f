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
_LONGEST = 0xFFFF
"""Bytes of a stored block."""


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

    def packed(start: int, stop: int) -> tuple[NDArray[np.uint8], bytes]:
        samples = rows(start, stop).reshape(stop - start, -1)
        data = samples.astype(samples.dtype.newbyteorder(">"), copy=False).view(np.uint8)
        lines = np.empty((stop - start, 1 + data.shape[1]), np.uint8)
        lines[:, 0], lines[:, 1:] = 0, data  # no filter
        return lines, _stored(lines.reshape(-1))

    checksum = 1
    for lines, chunk in side_by_side(packed, height, width):
        checksum = zlib.adler32(lines.data, checksum)
        yield chunk
    yield _chunk(b"IDAT", b"\x03\x00" + struct.pack(">I", checksum))  # an empty block is the last
    yield end


def _stored(data: NDArray[np.uint8]) -> bytes:
    """Return chunks with bytes [n] as blocks that are stored as they are, none of them the stream's last.

    zlib makes such blocks as well, but copies each byte several times, and people wait.
    """
    edge = len(data) // _LONGEST * _LONGEST
    chunks: list[bytes] = []
    for part, length in ((data[:edge], _LONGEST), (data[edge:], len(data) - edge)):
        if part.size:
            head = struct.pack("<BHH", 0, length, length ^ _LONGEST)
            blocks = np.empty((part.size // length, len(head) + length), np.uint8)
            blocks[:, : len(head)] = np.frombuffer(head, np.uint8)
            blocks[:, len(head) :] = part.reshape(-1, length)
            chunks.append(_chunk(b"IDAT", blocks.reshape(-1).data))
    return b"".join(chunks) if len(chunks) > 1 else chunks[0]


def _chunk(kind: bytes, body: bytes | memoryview) -> bytes:
    checksum = zlib.crc32(body, zlib.crc32(kind))
    return b"".join((struct.pack(">I", len(body)), kind, body, struct.pack(">I", checksum)))
