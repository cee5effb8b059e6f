"""JPEG (ISO/IEC 10918-1, ITU-T T.81): size, metadata, comments, encoder flags."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from .base import EXIF_HEAD, TEXT_KEYWORD, Capacity, Format, Metadata, Size, starts_with

log = logging.getLogger(__name__)

_START = b"\xff\xd8"
_XMP_HEAD = b"http://ns.adobe.com/xap/1.0/\0"
_ICC_HEAD = b"ICC_PROFILE\0"
_TEXT_HEAD = TEXT_KEYWORD + b"\0"

_COMMENT, _SCAN = 0xFE, 0xDA

# Markers of frame headers (SOF); C4, C8 and CC are Huffman tables, reserved, and arithmetic conditioning.
_FRAMES = {bytes([code]) for code in range(0xC0, 0xD0) if code not in (0xC4, 0xC8, 0xCC)}
# Markers without a length.
_ALONE = {bytes([code]) for code in (0x00, 0x01, *range(0xD0, 0xD9))}

# Markers, fill bytes included, to search for the frame header: a file of nothing else would take minutes.
_MAX_MARKERS = 100_000

# Bytes of a segment's content: 65,535 without the two of the length itself.
_SEGMENT = 65_533

# Segments of an ICC profile at most: they are numbered in one byte.
_MAX_ICC_SEGMENTS = 255

# Most scans of a file that is read: each is a pass over the image, and a progressive JPEG has about ten.
_MAX_SCANS = 500


def _declared_size(data: bytes) -> Size | None:
    """Go from marker to marker as libjpeg does, over fill bytes and junk, to the frame header."""
    position = 2
    for _ in range(_MAX_MARKERS):
        position = data.find(b"\xff", position) + 1
        marker = data[position : position + 1]
        if position == 0 or marker in (b"", b"\xda", b"\xd9"):
            return None
        if marker == b"\xff":  # a fill byte, and the next one may begin the marker
            continue
        position += 1
        if marker in _FRAMES:
            height, width = struct.unpack_from(">HH", data, position + 3)
            return height, width
        if marker not in _ALONE:
            position += struct.unpack_from(">H", data, position)[0]
    return None


def _refusal(data: bytes) -> str | None:
    scans = data.count(b"\xff\xda")
    if scans <= _MAX_SCANS:
        return None
    return (
        f"a JPEG of {scans} scans, which takes very long to decode; expected at most {_MAX_SCANS}: convert "
        "it to PNG"
    )


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, begin and end of the content of each segment before the pixels."""
    position = len(_START)
    while position + 4 <= len(data):
        before, marker, length = struct.unpack_from(">BBH", data, position)
        if before != 0xFF or marker == _SCAN:
            return
        yield marker, position + 4, position + 2 + length
        position += 2 + length


def _read_metadata(data: bytes, _: bytes) -> Metadata:
    metadata, profile = Metadata(), dict[int, bytes]()
    for marker, begin, end in _segments(data):
        body = data[begin:end]
        if marker == 0xE1 and body.startswith(EXIF_HEAD):
            metadata = replace(metadata, exif=body[len(EXIF_HEAD) :])
        elif marker == 0xE1 and body.startswith(_XMP_HEAD):
            metadata = replace(metadata, xmp=body[len(_XMP_HEAD) :])
        elif marker == 0xE2 and body.startswith(_ICC_HEAD) and len(body) > len(_ICC_HEAD) + 2:
            profile[body[len(_ICC_HEAD)]] = body[len(_ICC_HEAD) + 2 :]
    return replace(metadata, icc=b"".join(profile[number] for number in sorted(profile)))


def _write_metadata(encoded: bytes, metadata: Metadata, _size: Size, _alpha: bool) -> bytes:
    position = 2
    while encoded[position : position + 2] == b"\xff\xe0":  # JFIF stays in front
        position += 2 + struct.unpack_from(">H", encoded, position + 2)[0]
    return encoded[:position] + b"".join(_metadata_segments(metadata)) + encoded[position:]


def _metadata_segments(metadata: Metadata) -> Iterator[bytes]:
    room = _SEGMENT - len(_ICC_HEAD) - 2
    pieces = [metadata.icc[at : at + room] for at in range(0, len(metadata.icc), room)]
    if len(pieces) > _MAX_ICC_SEGMENTS:
        log.warning(
            "a colour profile of %d bytes is more than a JPEG holds, and is left out", len(metadata.icc)
        )
        pieces = []
    parts = [
        (0xE1, "EXIF", metadata.exif and EXIF_HEAD + metadata.exif),
        (0xE1, "XMP", metadata.xmp and _XMP_HEAD + metadata.xmp),
        *(
            (0xE2, "ICC", _ICC_HEAD + bytes([number, len(pieces)]) + piece)
            for number, piece in enumerate(pieces, 1)
        ),
    ]
    for marker, kind, body in parts:
        if len(body) > _SEGMENT:
            log.warning("%s of %d bytes is more than a JPEG holds, and is left out", kind, len(body))
        elif body:
            yield _segment(marker, body)


def _write_text(data: bytes, text: str) -> bytes:
    """Put a text into comment segments; each begins with `TEXT_KEYWORD` and a zero byte."""
    encoded, room = text.encode(), _SEGMENT - len(_TEXT_HEAD)
    parts = [encoded[start : start + room] for start in range(0, len(encoded), room)] or [b""]
    # After JFIF's and EXIF's segments, which must come first.
    position = max((end for marker, _, end in _segments(data) if 0xE0 <= marker <= 0xEF), default=2)
    return (
        data[:position] + b"".join(_segment(_COMMENT, _TEXT_HEAD + part) for part in parts) + data[position:]
    )


def _read_text(data: bytes) -> str | None:
    comments = (data[begin:end] for marker, begin, end in _segments(data) if marker == _COMMENT)
    parts = [body.removeprefix(_TEXT_HEAD) for body in comments if body.startswith(_TEXT_HEAD)]
    return b"".join(parts).decode(errors="replace") if parts else None


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def _encoder(array: NDArray[Any], quality: int) -> tuple[NDArray[Any], list[int]]:
    import cv2

    # Full colour resolution: saturated brush strokes bleed over their edges with the default 4:2:0.
    sampling = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return array, [cv2.IMWRITE_JPEG_QUALITY, quality, *sampling]


JPEG = Format(
    name="JPEG",
    begins=starts_with(b"\xff\xd8\xff"),
    declared_size=_declared_size,
    suffixes=(".jpg", ".jpeg"),
    capacity=Capacity(alpha=False, bits=8, longest=65_500),
    refusal=_refusal,
    encoder=_encoder,
    read_metadata=_read_metadata,
    write_metadata=_write_metadata,
    write_text=_write_text,
    read_text=_read_text,
)
