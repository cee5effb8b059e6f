"""TIFF files with a directory of our own over the same data, which make OpenCV decode what it would not.

OpenCV reads planes one behind the other as three small copies, and 16-bit floating point not at all; each
plane by itself, and half floats as whole numbers of 16 bits, it reads right. In 8 bits it paints black where
a strip is damaged; the same strip as samples of 16 bits it refuses.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence

from . import tiff_tags
from .tiff_declared import DEFLATE, LZW, NONE, OLD_DEFLATE, PACK_BITS, YCBCR, Declared

_Tags = dict[int, Sequence[int] | bytes]

_BITS, _PHOTOMETRIC, _SAMPLES, _PLANAR, _FORMAT = 258, tiff_tags.PHOTOMETRIC, 277, 284, 339
_COMPRESSION, _FILL_ORDER, _ROWS, _JPEG_TABLES = 259, 266, 278, 347
_STRIP_OFFSETS, _STRIP_COUNTS, _TILE_OFFSETS, _TILE_COUNTS = 273, 279, 324, 325
# Tags that say how samples are laid out and coded; 317 is the predictor.
_LAYOUT = (256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 317, 322, 323, 324, 325, 339)

_ROW = 1 << 20
"""Bytes of a row at most: OpenCV reads sides of up to 2^20 samples."""

_LONGEST = 1 << 20
"""Samples of the longest side that OpenCV reads."""


def readable(data: bytes, declared: Declared) -> list[bytes]:
    """Return files that OpenCV reads right: the file itself, or one grey file for each of its planes.

    Half floats (`Declared.is_half`) come out of the returned files as uint16, to be viewed as float16.

    Parameters
    ----------
    data : bytes
        A TIFF file that `tiff_declared.problem` has nothing against.
    declared : Declared
        What it declares.
    """
    split = declared.planar and declared.samples > 1 and declared.bits > 8
    if not split and not declared.is_half:
        return [data]
    tags: _Tags = {
        tag: values for tag in _LAYOUT if (values := tiff_tags.numbers(declared.page, tag)) is not None
    }
    tags[_FORMAT] = [1 if declared.is_half else declared.sample_format] * declared.samples
    tables = declared.page.get(_JPEG_TABLES)
    if isinstance(tables, tiff_tags.Entry):
        tags[_JPEG_TABLES] = tables.data
    if not split:
        return [_with_directory(data, tags)]
    single = {
        _BITS: [declared.bits],
        _SAMPLES: [1],
        _PHOTOMETRIC: [1],
        _PLANAR: [1],
        _FORMAT: tags[_FORMAT][:1],
    }
    files: list[bytes] = []
    for plane in range(declared.samples):
        own = dict(tags) | single
        for tag in (_STRIP_OFFSETS, _STRIP_COUNTS, _TILE_OFFSETS, _TILE_COUNTS):
            if tag in tags:
                each = len(tags[tag]) // declared.samples
                own[tag] = tags[tag][plane * each : (plane + 1) * each]
        files.append(_with_directory(data, own))
    return files


def damage(data: bytes, declared: Declared) -> str | None:
    """Return which strip of a Deflate-compressed file is damaged, in words; None where all are sound.

    Strips are unpacked here because zlib's checksums tell of every wrong bit.
    """
    if declared.compression not in (DEFLATE, OLD_DEFLATE):
        return None
    strips = _strips(declared)
    for number, (offset, count, size) in enumerate(strips, 1):
        try:
            unpacked = zlib.decompressobj().decompress(data[offset : offset + count], size + 1)
        except zlib.error:
            unpacked = b""
        if len(unpacked) < size:
            return f"strip or tile {number} of {len(strips)} cannot be unpacked"
    return None


def strict(data: bytes, declared: Declared) -> Iterator[bytes]:
    """Yield files that OpenCV refuses to decode where a strip or tile of `data` is damaged.

    In them each strip is a few rows of grey samples of 16 bits. Of CCITT, JPEG and subsampled YCbCr there are
    none: their decoders do not unpack bytes as such.

    Parameters
    ----------
    data : bytes
        A TIFF file.
    declared : Declared
        What it declares.
    """
    if declared.compression not in (NONE, LZW, PACK_BITS):
        return
    strips = _strips(declared)
    fill_order = tiff_tags.numbers(declared.page, _FILL_ORDER) or (1,)
    for size in sorted({size for _, _, size in strips}):
        same = [(offset, count) for offset, count, own in strips if own == size]
        rows = -(-size // _ROW)
        width = size // (2 * rows)
        if width == 0 or rows * len(same) > _LONGEST:
            continue
        tags: _Tags = {tiff_tags.WIDTH: [width], tiff_tags.HEIGHT: [rows * len(same)], _BITS: [16]}
        tags |= {
            _COMPRESSION: [declared.compression],
            _PHOTOMETRIC: [1],
            _FILL_ORDER: fill_order,
            _SAMPLES: [1],
        }
        tags |= {_ROWS: [rows], _PLANAR: [1]}
        tags[_STRIP_OFFSETS] = [offset for offset, _ in same]
        tags[_STRIP_COUNTS] = [count for _, count in same]
        yield _with_directory(data, tags)


def _strips(declared: Declared) -> list[tuple[int, int, int]]:
    """Return offset, bytes and unpacked bytes of each strip or tile; none where the file does not tell."""
    if declared.photometric == YCBCR:
        return []
    planes = declared.samples if declared.planar else 1
    bits = declared.bits * (1 if declared.planar else declared.samples)

    def values(tag: int) -> tuple[int, ...]:
        return tiff_tags.numbers(declared.page, tag) or ()

    if values(_TILE_OFFSETS):
        offsets, counts = values(_TILE_OFFSETS), values(_TILE_COUNTS)
        width, height = (values(tag) or (0,) for tag in (tiff_tags.TILE_WIDTH, tiff_tags.TILE_HEIGHT))
        sizes = [height[0] * -(-width[0] * bits // 8)] * len(offsets)
    else:
        offsets, counts = values(_STRIP_OFFSETS), values(_STRIP_COUNTS)
        rows = min((values(_ROWS) or (declared.height,))[0], declared.height) or declared.height
        heights = [min(rows, declared.height - top) for top in range(0, declared.height, rows)] * planes
        sizes = [height * -(-declared.width * bits // 8) for height in heights]
    if not len(offsets) == len(counts) == len(sizes) or 0 in sizes:
        return []
    return list(zip(offsets, counts, sizes, strict=True))


def _with_directory(data: bytes, tags: _Tags) -> bytes:
    """Return a TIFF file, of 32-bit places and in its byte order, whose only page has these tags."""
    order = "<" if data[:2] == b"II" else ">"
    place = len(data) + len(data) % 2
    entries, behind = struct.pack(order + "H", len(tags)), b""
    start = place + 2 + 12 * len(tags) + 4
    for tag, values in sorted(tags.items(), key=lambda item: item[0]):
        if isinstance(values, bytes):
            kind, packed = 7, values
        else:
            kind = 3 if max(values, default=0) <= 0xFFFF else 4
            # No file that is read has places beyond 32 bits: one that names such a place is damaged.
            packed = struct.pack(
                f"{order}{len(values)}{'H' if kind == 3 else 'I'}", *(min(v, 0xFFFFFFFF) for v in values)
            )
        entries += struct.pack(order + "HHI", tag, kind, len(values))
        if len(packed) <= 4:
            entries += packed.ljust(4, b"\0")
        else:
            entries += struct.pack(order + "I", start + len(behind))
            behind += packed + bytes(len(packed) % 2)
    head = data[:2] + struct.pack(order + "HI", 42, place)
    return b"".join((head, data[8:], bytes(len(data) % 2), entries, bytes(4), behind))
