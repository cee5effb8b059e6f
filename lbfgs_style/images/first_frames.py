"""How many frames or pages a picture file has: the first of them is the picture that is read."""

from __future__ import annotations

import struct
from contextlib import suppress

from . import metadata
from .formats import avif, tiff_declared


def told(data: bytes, file_format: str) -> str | None:
    """Return in one line that the first of several frames or pages is used; None where there is one.

    Parameters
    ----------
    data : bytes
        The file.
    file_format : str
        Its format, as `lbfgs_style.images.formats.registry` names it.
    """
    count = 1
    with suppress(struct.error, IndexError):  # what is damaged behind the first frame has no count
        count = _COUNTS[file_format](data) if file_format in _COUNTS else 1
    what = (
        "a file of {} pages: the first page"
        if file_format == "TIFF"
        else "an animation of {} frames: the first"
    )
    return None if count < 2 else f"{what.format(count)} is used"


def _gif(data: bytes) -> int:
    """Count image descriptors (GIF89a, 20), from block to block."""
    count, place = 0, 13 + _table(data[10])
    while data[place] in (0x21, 0x2C):
        if data[place] == 0x2C:
            count += 1
            place += 10 + _table(data[place + 9]) + 1
        else:
            place += 2
        while data[place]:
            place += 1 + data[place]
        place += 1
    return count


def _table(flags: int) -> int:
    """Return the bytes of a table of colours by the flags that announce it."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _png(data: bytes) -> int:
    for kind, body in metadata.png_parts(data):
        if kind == b"acTL":
            return struct.unpack_from(">I", body)[0]
        if kind == b"IDAT":
            break
    return 1


def _webp(data: bytes) -> int:
    return sum(kind == b"ANMF" for kind, _ in metadata.webp_chunks(data))


_COUNTS = {
    "GIF": _gif,
    "PNG": _png,
    "WebP": _webp,
    "AVIF": avif.frame_count,
    "TIFF": tiff_declared.page_count,
}
