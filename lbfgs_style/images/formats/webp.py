"""WebP (RIFF container of VP8 and VP8L, Google): size, frames, metadata, encoder flags."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray

from .base import EXIF_HEAD, Capacity, Format, Metadata, Size


def _begins(data: bytes) -> bool:
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def _declared_size(data: bytes) -> Size | None:
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[start : start + 3], "little") + 1 for start in (24, 27))
        return (height, width) if len(data) >= 30 else None
    if kind == b"VP8L":
        (sides,) = struct.unpack_from("<I", data, 21)
        return (sides >> 14 & 0x3FFF) + 1, (sides & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return height & 0x3FFF, width & 0x3FFF
    return None


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the name and the content of each chunk; a chunk that is cut short has what is left."""
    position = 12
    while position + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, position)
        yield kind, data[position + 8 : position + 8 + length]
        position += 8 + length + length % 2


def _frame_count(data: bytes) -> int:
    return max(1, sum(kind == b"ANMF" for kind, _ in _chunks(data)))


def _read_metadata(data: bytes, _: bytes) -> Metadata:
    chunks = dict(_chunks(data))
    exif = chunks.get(b"EXIF", b"").removeprefix(EXIF_HEAD)
    return Metadata(exif, chunks.get(b"ICCP", b""), chunks.get(b"XMP ", b""))


def _write_metadata(encoded: bytes, metadata: Metadata, size: Size, alpha: bool) -> bytes:
    """Write the extended form: a VP8X header that lists the parts, and the parts in the order it requires."""
    pixels = [(kind, body) for kind, body in _chunks(encoded) if kind in (b"ALPH", b"VP8 ", b"VP8L")]
    flags = 0x20 * bool(metadata.icc) | 0x10 * alpha | 0x08 * bool(metadata.exif) | 0x04 * bool(metadata.xmp)
    sides = b"".join((side - 1).to_bytes(3, "little") for side in (size[1], size[0]))
    parts = [(b"VP8X", struct.pack("<I", flags) + sides), (b"ICCP", metadata.icc), *pixels]
    parts += [(b"EXIF", metadata.exif), (b"XMP ", metadata.xmp)]
    body = b"".join(
        kind + struct.pack("<I", len(part)) + part + bytes(len(part) % 2) for kind, part in parts if part
    )
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def _encoder(array: NDArray[Any], quality: int) -> tuple[NDArray[Any], list[int]]:
    import cv2

    return array, [cv2.IMWRITE_WEBP_QUALITY, quality]


WEBP = Format(
    name="WebP",
    begins=_begins,
    declared_size=_declared_size,
    suffixes=(".webp",),
    capacity=Capacity(alpha=True, bits=8, longest=16_383, gray=False),
    frame_count=_frame_count,
    encoder=_encoder,
    read_metadata=_read_metadata,
    write_metadata=_write_metadata,
)
