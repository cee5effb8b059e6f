"""TIFF (TIFF 6.0, BigTIFF): size, pages, metadata.

`tiff_declared` says which files OpenCV reads correctly; `tiff_parts` and `tiff_pixels` decode the others.
"""

from __future__ import annotations

from collections.abc import Callable

from .. import exif as exif_block
from . import tiff_declared, tiff_pixels
from .base import Capacity, Format, Metadata, Size, Unpacked, starts_with


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
)
