"""TIFF (TIFF 6.0, BigTIFF): size, pages, metadata.

`tiff_declared` says which files OpenCV reads correctly; `tiff_parts` and `tiff_pixels` decode the others;
`tiff_tiles` writes large images.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, BinaryIO

from numpy.typing import NDArray

from .. import exif as exif_block
from . import tiff_declared, tiff_pixels, tiff_tiles
from .base import TEXT_KEYWORD, Capacity, Format, Metadata, Size, Unpacked, starts_with

# Tag of `Format.write_text`: DNGPrivateData (DNG 1.7), where any program may keep bytes after its name and a
# NUL. libtiff knows it; of a tag that it does not know, OpenCV prints a warning.
_TEXT = 50740

_TEXT_HEAD = TEXT_KEYWORD + b"\0"


def _declared_size(data: bytes) -> Size | None:
    """Return the size of the image, or of its tiles where they are larger: whole tiles are decoded."""
    height, width = (exif_block.number(data, tag) for tag in (exif_block.HEIGHT, exif_block.WIDTH))
    tile_height, tile_width = (
        exif_block.number(data, tag) or 0 for tag in (exif_block.TILE_HEIGHT, exif_block.TILE_WIDTH)
    )
    if height is None or width is None:
        return None
    return max(height, tile_height), max(width, tile_width)


def _decode(name: str, data: bytes, unpack: Callable[[bytes], Unpacked]) -> Unpacked:
    return tiff_pixels.decode(name, data, lambda part: unpack(part)[0]), b""


def _has_gray_pixels(data: bytes) -> bool:
    return exif_block.number(data, exif_block.PHOTOMETRIC) in (0, 1)


def _read_metadata(data: bytes, _: bytes) -> Metadata:
    icc, xmp = (exif_block.entry(data, tag) for tag in (exif_block.ICC, exif_block.XMP))
    return Metadata(exif_block.exif_of(data), icc.data if icc else b"", xmp.data if xmp else b"")


def _write_metadata(encoded: bytes, metadata: Metadata, _size: Size, _alpha: bool) -> bytes:
    """Add tags to a little-endian file, the only kind that OpenCV writes."""
    extra = {exif_block.ICC: metadata.icc, exif_block.XMP: metadata.xmp}
    return exif_block.add(encoded, metadata.exif, {tag: value for tag, value in extra.items() if value})


def _write_text(data: bytes, text: str) -> bytes:
    return exif_block.add(data, b"", {_TEXT: _TEXT_HEAD + text.encode()})


def _read_text(data: bytes) -> str | None:
    value = exif_block.entry(data, _TEXT)
    if value is None or not value.data.startswith(_TEXT_HEAD):
        return None
    return value.data.removeprefix(_TEXT_HEAD).decode(errors="replace")


def _write_tiles(
    file: BinaryIO,
    size: Size,
    rows: Callable[[int, int], NDArray[Any]],
    metadata: Metadata,
    text: str | None,
) -> None:
    more = {} if text is None else {_TEXT: _TEXT_HEAD + text.encode()}
    tiff_tiles.write(file, size, rows, metadata, more)


TIFF = Format(
    name="TIFF",
    begins=starts_with(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    declared_size=_declared_size,
    suffixes=(".tif", ".tiff"),
    capacity=Capacity(alpha=True, bits=16, longest=2**20),
    frame_count=tiff_declared.page_count,
    frames="pages",
    decode=_decode,
    has_gray_pixels=_has_gray_pixels,
    is_linear=tiff_declared.is_linear,
    finish=lambda _data, pixels, _exif: pixels,
    read_metadata=_read_metadata,
    write_metadata=_write_metadata,
    write_tiles=_write_tiles,
    write_text=_write_text,
    read_text=_read_text,
)
