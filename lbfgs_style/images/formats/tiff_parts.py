"""Rewrite the directory of TIFF files over the same data, so that OpenCV decodes them correctly.

OpenCV misreads separate planes, and cannot read 16-bit floating point; it reads a file of one plane, and
half floats declared as 16-bit integers. It drops the alpha of grey images, but reads both as the grey samples
of an image twice as wide. Where a strip of 8-bit samples is damaged it leaves black; declared as 16-bit
samples, the strip is refused.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import exif
from .tiff_declared import DEFLATE, LONGEST, LZW, NONE, OLD_DEFLATE, PACK_BITS, YCBCR, Declared

_Tags = dict[int, Sequence[int] | bytes]

BITS, _PHOTOMETRIC, SAMPLES, PLANAR, SAMPLE_FORMAT = 258, exif.PHOTOMETRIC, 277, 284, 339
COMPRESSION, _FILL_ORDER, _ROWS, PREDICTOR, _JPEG_TABLES = 259, 266, 278, 317, 347
_STRIP_OFFSETS, _STRIP_COUNTS, TILE_OFFSETS, TILE_COUNTS = 273, 279, 324, 325
# Tags that say how samples are laid out and coded; 317 is the predictor.
_LAYOUT = (256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 317, 322, 323, 324, 325, 339)

_WIDTHS = (exif.WIDTH, exif.TILE_WIDTH)

# Bytes of the longest row: OpenCV reads sides of up to 2^20 samples.
_ROW = 1 << 20

# Each byte with its bits in reverse order (FillOrder 2).
_TURNED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def readable(data: bytes, declared: Declared) -> list[bytes]:
    """Return files that OpenCV reads correctly: the file itself, or one grey file for each of its planes.

    For `Declared.is_wide_gray` it is one grey file, not turned upright, whose pixels `apart` splits. Half
    floats (`Declared.is_half`) are decoded from the returned files as uint16, to be viewed as float16.

    Parameters
    ----------
    data : bytes
        A TIFF file for which `tiff_declared.problem` returns None.
    declared : Declared
        What it declares.
    """
    split = declared.planar and declared.samples > 1 and (declared.bits > 8 or declared.is_gray)
    if not split and not declared.is_half and not declared.is_wide_gray:
        return [data]
    tags: _Tags = {tag: values for tag in _LAYOUT if (values := exif.numbers(declared.page, tag)) is not None}
    tags[SAMPLE_FORMAT] = [1 if declared.is_half else declared.sample_format] * declared.samples
    tables = declared.page.get(_JPEG_TABLES)
    if isinstance(tables, exif.Entry):
        tags[_JPEG_TABLES] = tables.data
    if not split and not declared.is_wide_gray:
        return [_with_directory(data, tags)]
    single = {
        BITS: [declared.bits],
        SAMPLES: [1],
        _PHOTOMETRIC: [1],
        PLANAR: [1],
        SAMPLE_FORMAT: tags[SAMPLE_FORMAT][:1],
    }
    if not split:
        wide = {tag: [tags[tag][0] * declared.samples] for tag in _WIDTHS if tag in tags}
        return [_with_directory(data, tags | single | wide | {PREDICTOR: [1], exif.ORIENTATION: [1]})]
    files: list[bytes] = []
    each = _count(declared) // declared.samples
    for plane in range(declared.samples):
        directory = dict(tags) | single
        for tag in (_STRIP_OFFSETS, _STRIP_COUNTS, TILE_OFFSETS, TILE_COUNTS):
            if tag in tags:
                directory[tag] = tags[tag][plane * each : (plane + 1) * each]
        files.append(_with_directory(data, directory))
    return files


def apart(declared: Declared, pixels: NDArray[Any]) -> NDArray[Any]:
    """Split the pixels of a file with `Declared.is_wide_gray` into samples, H×W×C, not turned upright."""
    samples = pixels.reshape(pixels.shape[0], -1, declared.samples)
    if declared.predictor == 2:
        # Samples are differences from the same channel of the pixel to the left, within a strip or tile.
        step = (exif.numbers(declared.page, exif.TILE_WIDTH) or (declared.width,))[0]
        for left in range(0, declared.width, step):
            part = samples[:, left : left + step]
            np.add.accumulate(part, axis=1, dtype=part.dtype, out=part)
    return samples


def damage(data: bytes, declared: Declared) -> str | None:
    """Return a description of the missing or damaged strips of a file; None if there are none.

    Strips of Deflate are decompressed here because zlib's checksums detect every wrong bit.
    """
    expected, there = _count(declared), len(_offsets(declared))
    if there < expected:
        return f"it names {there} strips or tiles of {expected}"
    if declared.compression not in (DEFLATE, OLD_DEFLATE):
        return None
    strips = _strips(declared)
    turned = (exif.numbers(declared.page, _FILL_ORDER) or (1,))[0] == 2
    for number, (offset, count, size) in enumerate(strips, 1):
        packed = data[offset : offset + count]
        try:
            unpacked = zlib.decompressobj().decompress(
                packed.translate(_TURNED if turned else None), size + 1
            )
        except zlib.error:
            unpacked = b""
        if len(unpacked) < size:
            return f"strip or tile {number} of {len(strips)} cannot be unpacked"
    return None


def strict(data: bytes, declared: Declared) -> Iterator[bytes]:
    """Yield files that OpenCV refuses to decode where a strip or tile of `data` is damaged.

    In them each strip is a few rows of grey samples of 16 bits. There are none for Deflate, which `damage`
    checks, nor for CCITT, JPEG and YCbCr, whose strips do not unpack to plain rows of samples.

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
    fill_order = exif.numbers(declared.page, _FILL_ORDER) or (1,)
    for size in sorted({size for _, _, size in strips}):
        same = [(offset, count) for offset, count, unpacked in strips if unpacked == size]
        rows = -(-size // _ROW)
        width = size // (2 * rows)
        if width == 0 or rows * len(same) > LONGEST:
            continue
        tags: _Tags = {exif.WIDTH: [width], exif.HEIGHT: [rows * len(same)], BITS: [16]}
        tags |= {
            COMPRESSION: [declared.compression],
            _PHOTOMETRIC: [1],
            _FILL_ORDER: fill_order,
            SAMPLES: [1],
        }
        tags |= {_ROWS: [rows], PLANAR: [1]}
        tags[_STRIP_OFFSETS] = [offset for offset, _ in same]
        tags[_STRIP_COUNTS] = [count for _, count in same]
        yield _with_directory(data, tags)


def _values(declared: Declared, tag: int) -> tuple[int, ...]:
    return exif.numbers(declared.page, tag) or ()


def _tile(declared: Declared) -> tuple[int, int] | None:
    """Return height and width of the tiles; None (strips) where either is missing, as in libtiff."""
    height, width = (_values(declared, tag) for tag in (exif.TILE_HEIGHT, exif.TILE_WIDTH))
    return (height[0], width[0]) if height and width and height[0] and width[0] else None


def _rows(declared: Declared) -> int:
    """Return the rows of a strip."""
    return min((_values(declared, _ROWS) or (declared.height,))[0], declared.height) or declared.height


def _offsets(declared: Declared) -> tuple[int, ...]:
    # libtiff, too, takes the offsets of tiles from either tag.
    return _values(declared, TILE_OFFSETS) or _values(declared, _STRIP_OFFSETS)


def _count(declared: Declared) -> int:
    """Return the number of strips or tiles of an image of this size, in all planes."""
    tile = _tile(declared)
    if tile is None:
        each = -(-declared.height // _rows(declared))
    else:
        each = -(-declared.height // tile[0]) * -(-declared.width // tile[1])
    return each * (declared.samples if declared.planar else 1)


def _strips(declared: Declared) -> list[tuple[int, int, int]]:
    """Return offset, bytes and unpacked bytes of each strip or tile; empty where they are not known."""
    if declared.photometric == YCBCR:
        return []
    planes = declared.samples if declared.planar else 1
    bits = declared.bits * (1 if declared.planar else declared.samples)
    offsets, expected = _offsets(declared), _count(declared)
    counts = _values(declared, TILE_COUNTS) or _values(declared, _STRIP_COUNTS)
    if len(offsets) < expected or len(counts) < expected:
        return []
    tile = _tile(declared)
    if tile is None:
        rows = _rows(declared)
        heights = [min(rows, declared.height - top) for top in range(0, declared.height, rows)] * planes
        sizes = [height * -(-declared.width * bits // 8) for height in heights]
    else:
        sizes = [tile[0] * -(-tile[1] * bits // 8)] * expected
    if 0 in sizes:
        return []
    return list(zip(offsets, counts, sizes, strict=False))  # files may name more than they have


def _with_directory(data: bytes, tags: _Tags) -> bytes:
    """Return a TIFF file, with 32-bit offsets and in its byte order, whose only page has these tags."""
    order = "<" if data[:2] == b"II" else ">"
    offset = len(data) + len(data) % 2
    entries, behind = struct.pack(order + "H", len(tags)), b""
    start = offset + 2 + 12 * len(tags) + 4
    for tag, values in sorted(tags.items(), key=lambda item: item[0]):
        if isinstance(values, bytes):
            kind, packed = 7, values
        else:
            kind = 3 if max(values, default=0) <= 0xFFFF else 4
            # Offsets beyond 32 bits are damaged: no file that is read is that large.
            packed = struct.pack(
                f"{order}{len(values)}{'H' if kind == 3 else 'I'}", *(min(v, 0xFFFFFFFF) for v in values)
            )
        entries += struct.pack(order + "HHI", tag, kind, len(values))
        if len(packed) <= 4:
            entries += packed.ljust(4, b"\0")
        else:
            entries += struct.pack(order + "I", start + len(behind))
            behind += packed + bytes(len(packed) % 2)
    head = data[:2] + struct.pack(order + "HI", 42, offset)
    return b"".join((head, data[8:], bytes(len(data) % 2), entries, bytes(4), behind))
