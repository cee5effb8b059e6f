"""A text of ours inside the bytes of a PNG or JPEG file, where no viewer shows it and no pixel changes.

PNG: an ``iTXt`` chunk with the keyword ``lbfgs-style`` (W3C, PNG Specification, third edition, 11.3.3.4).
JPEG: comment segments (ISO/IEC 10918-1, B.2.4.5) that begin with ``lbfgs-style`` and a zero byte; a text that
is longer than a segment continues in the next.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

_KEYWORD = b"lbfgs-style"
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_HEADER_ENDS = len(_PNG) + 25  # IHDR: length, type, 13 bytes, checksum
_JPEG = b"\xff\xd8"
_COMMENT, _SCAN = 0xFE, 0xDA
_SEGMENT = 65_533  # what is left of 65,535 when the two bytes of the length itself are counted
_MARK = _KEYWORD + b"\0"


def embed(data: bytes, text: str) -> bytes:
    """Return the bytes of a PNG or JPEG file with `text` in them; those of another format as they are."""
    if data.startswith(_PNG):
        # No compression, no language: flag, method, and two empty strings.
        body = b"iTXt" + _KEYWORD + b"\0" + b"\0\0" + b"\0\0" + text.encode()
        chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        return data[:_PNG_HEADER_ENDS] + chunk + data[_PNG_HEADER_ENDS:]
    if data.startswith(_JPEG):
        encoded, room = text.encode(), _SEGMENT - len(_MARK)
        parts = [_MARK + encoded[start : start + room] for start in range(0, len(encoded), room)]
        segments = b"".join(
            struct.pack(">BBH", 0xFF, _COMMENT, len(part) + 2) + part for part in parts or [_MARK]
        )
        # Behind JFIF's and EXIF's segments, which must come first.
        ends = [end for marker, _, end in _jpeg_segments(data) if 0xE0 <= marker <= 0xEF]
        place = max(ends, default=len(_JPEG))
        return data[:place] + segments + data[place:]
    return data


def extract(data: bytes) -> str | None:
    """Return the text that `embed` put into the bytes of a file, or None where there is none."""
    parts: list[bytes] = []
    if data.startswith(_PNG):
        begins = _KEYWORD + b"\0"
        found = (data[start:end] for kind, start, end in _png_chunks(data) if kind == b"iTXt")
        parts = [body.split(b"\0", 5)[-1] for body in found if body.startswith(begins)][:1]
    elif data.startswith(_JPEG):
        found = (data[start:end] for marker, start, end in _jpeg_segments(data) if marker == _COMMENT)
        parts = [body.removeprefix(_MARK) for body in found if body.startswith(_MARK)]
    return b"".join(parts).decode(errors="replace") if parts else None


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, begin and end of the content of each chunk, as far as the file goes."""
    place = len(_PNG)
    while place + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        yield kind, place + 8, place + 8 + length
        place += 12 + length


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, begin and end of the content of each segment before the pixels."""
    place = len(_JPEG)
    while place + 4 <= len(data):
        before, marker, length = struct.unpack_from(">BBH", data, place)
        if before != 0xFF or marker == _SCAN:
            return
        yield marker, place + 4, place + 2 + length
        place += 2 + length
