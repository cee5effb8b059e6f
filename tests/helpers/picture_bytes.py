"""Picture files written byte by byte, by the specifications of their formats."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np

PNG = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, body: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_header(width: int, height: int, depth: int = 8, color: int = 2, interlace: int = 0) -> bytes:
    """Return the signature and first chunk of a PNG."""
    return PNG + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlace))


def packed(row: np.ndarray, depth: int) -> bytes:
    """Return samples of 1, 2, 4, 8 or 16 bits, the first in the highest bits."""
    if depth == 16:
        return row.astype(">u2").tobytes()
    bits = np.unpackbits(row.astype(np.uint8).reshape(-1, 1), axis=1)[:, 8 - depth :]
    return np.packbits(bits).tobytes()


def png(
    samples: np.ndarray, color: int, depth: int = 8, extra: bytes = b"", *, interlace: bool = False
) -> bytes:
    """Return a PNG without filters; Adam7 where it is to be interlaced."""
    height, width = samples.shape[:2]
    passes = [(0, 0, 1, 1)]
    if interlace:
        passes = [
            (0, 0, 8, 8),
            (0, 4, 8, 8),
            (4, 0, 8, 4),
            (0, 2, 4, 4),
            (2, 0, 4, 2),
            (0, 1, 2, 2),
            (1, 0, 2, 1),
        ]
    rows = b"".join(
        b"\0" + packed(row.reshape(-1), depth)
        for top, left, down, right in passes
        for row in samples[top::down, left::right]
        if row.size
    )
    head = png_header(width, height, depth, color, int(interlace))
    return head + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def directory(order: str, entries: Sequence[tuple[int, int, int, int | bytes]]) -> bytes:
    """Return the head of a TIFF and its tags: tag, type, count, and value, offset, or bytes as they stand."""
    parts = [struct.pack(order + "H", len(entries))]
    for tag, kind, count, value in entries:
        parts.append(struct.pack(order + "HHI", tag, kind, count))
        if isinstance(value, bytes):
            parts.append(value.ljust(4, b"\0")[:4])
        elif kind == 3 and count == 1:
            parts.append(struct.pack(order + "HH", value, 0))
        else:
            parts.append(struct.pack(order + "I", value))
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return head + b"".join(parts) + bytes(4)


def exif(orientation: int, order: str = "<") -> bytes:
    """Return an EXIF block that holds an orientation alone."""
    return directory(order, [(0x0112, 3, 1, orientation)])


def tiff(
    samples: np.ndarray,
    photometric: int = 2,
    more: Sequence[tuple[int, int, int, int]] = (),
    order: str = "<",
    sample_format: int = 1,
) -> bytes:
    """Return an uncompressed TIFF of one strip."""
    samples = samples if samples.ndim == 3 else samples[..., np.newaxis]
    height, width, depth = samples.shape
    bits = samples.dtype.itemsize * 8
    data = samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    count = 11 + len(more)
    end = 8 + 2 + 12 * count + 4
    shorts = struct.pack(f"{order}{2 * depth}H", *([bits] * depth), *([sample_format] * depth))
    per_sample: list[int | bytes] = [end, end + 2 * depth]
    if depth <= 2:  # what fits into the entry stands there
        per_sample = [shorts[: 2 * depth], shorts[2 * depth :]]
    entries: list[tuple[int, int, int, int | bytes]] = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, depth, per_sample[0]),
        (259, 3, 1, 1),
        (262, 3, 1, photometric),
        (273, 4, 1, end + len(shorts)),
        (277, 3, 1, depth),
        (278, 4, 1, height),
        (279, 4, 1, len(data)),
        (284, 3, 1, 1),
        (339, 3, depth, per_sample[1]),
        *more,
    ]
    return directory(order, sorted(entries, key=lambda entry: entry[0])) + shorts + data


def big_tiff(samples: np.ndarray, more: Sequence[tuple[int, int]] = (), order: str = "<") -> bytes:
    """Return an uncompressed RGB or RGBA BigTIFF of 8 bits; `more` are short tags with their values."""
    height, width, depth = samples.shape
    entries = [
        (256, width),
        (257, height),
        (258, 0),
        (259, 1),
        (262, 2),
        (273, 0),
        (277, depth),
        (278, height),
    ]
    entries += [(279, samples.size), *more]
    end = 16 + 8 + 20 * len(entries) + 8
    body = struct.pack(order + "Q", len(entries))
    for tag, value in sorted(entries):
        if tag == 258:
            body += struct.pack(order + "HHQ4H", tag, 3, depth, *[8] * depth, *[0] * (4 - depth))
        elif tag == 273:
            body += struct.pack(order + "HHQQ", tag, 16, 1, end)
        else:
            body += struct.pack(order + "HHQHHI", tag, 3, 1, value, 0, 0)
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HHHQ", 43, 8, 0, 16)
    return head + body + bytes(8) + samples.tobytes()


def bmp(
    rows: Sequence[bytes], width: int, depth: int, colors: bytes = b"", *, top_down: bool = False
) -> bytes:
    """Return an uncompressed BMP; the rows as they are stored."""
    data = b"".join(row + bytes(-len(row) % 4) for row in rows)
    start = 14 + 40 + len(colors)
    height = -len(rows) if top_down else len(rows)
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, depth, 0, len(data), 0, 0, len(colors) // 4, 0)
    return b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + head + colors + data


def gif_frame(indices: np.ndarray, left: int = 0, top: int = 0) -> bytes:
    """Return a frame of a GIF with 128 colors, whose table of words is cleared before its codes grow."""
    height, width = indices.shape
    data = bytearray()
    flat = indices.reshape(-1)
    for start in range(0, flat.size, 100):
        data += bytes([128, *flat[start : start + 100]])
    data += bytes([129])
    blocks = b"".join(
        bytes([len(part)]) + part for part in (data[i : i + 255] for i in range(0, len(data), 255))
    )
    return b"," + struct.pack("<HHHHB", left, top, width, height, 0) + b"\x07" + blocks + b"\0"


def gif(
    palette: np.ndarray, frames: Sequence[bytes], width: int, height: int, *, before: bytes = b""
) -> bytes:
    """Return a GIF of a palette of 128 RGB colors and frames."""
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0xF6, 0, 0)
    return head + palette.astype(np.uint8).tobytes() + before + b"".join(frames) + b";"


def jpeg_segment(marker: int, body: bytes) -> bytes:
    """Return a segment of a JPEG with its length."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def with_segment(jpeg: bytes, marker: int, body: bytes) -> bytes:
    """Return a JPEG with one more segment at its start."""
    return jpeg[:2] + jpeg_segment(marker, body) + jpeg[2:]


def webp_chunk(kind: bytes, body: bytes) -> bytes:
    """Return a chunk of a WebP."""
    return kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def webp_with(
    plain: bytes, size: tuple[int, int], flags: int, *, front: bytes = b"", behind: bytes = b""
) -> bytes:
    """Return the extended form of a plain WebP of that (height, width), with chunks around the picture."""
    sides = b"".join((side - 1).to_bytes(3, "little") for side in (size[1], size[0]))
    body = webp_chunk(b"VP8X", struct.pack("<I", flags) + sides) + front + plain[12:] + behind
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def box(kind: bytes, *parts: bytes) -> bytes:
    """Return a box of an ISO media file."""
    body = b"".join(parts)
    return struct.pack(">I", len(body) + 8) + kind + body
