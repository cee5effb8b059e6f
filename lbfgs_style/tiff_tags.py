"""Directories of tags, as TIFF files and EXIF blocks hold them: read, changed in place, copied.

An EXIF block is a TIFF file without a picture (TIFF 6.0; CIPA DC-008). Offsets count from its first byte.
What is damaged reads as not there.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

ORIENTATION = 0x0112
EXTRA_SAMPLES = 338
PHOTOMETRIC = 262
CMYK = 5
XMP = 700
ICC = 34675

_EXIF, _GPS, _INTEROP = 34665, 34853, 40965
_DIRECTORIES = (_EXIF, _GPS, _INTEROP)
"""Tags whose value is the place of another directory."""

_WIDTH, _HEIGHT = 0xA002, 0xA003
_THUMBNAIL, _THUMBNAIL_LENGTH = 0x0201, 0x0202
_MAKER_NOTE = 0x927C

# What describes a photo and not how its file is laid out: description, maker, model, resolution, program,
# date, artist, host, rights, and the directories of the camera and of the place.
_DESCRIBING = (270, 271, 272, 282, 283, 296, 305, 306, 315, 316, 33432, _EXIF, _GPS)

# Bytes of one value by its type, and of the parts that the byte order turns round.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_PARTS = _SIZES | {5: 4, 10: 4}
_BYTE, _SHORT, _LONG, _UNDEFINED = 1, 3, 4, 7


@dataclass(frozen=True, slots=True)
class Entry:
    """The value of a tag.

    Attributes
    ----------
    kind : int
        The type of its numbers, 1 to 13.
    data : bytes
        The numbers, little-endian.
    place : int
        Where they stand in the block.
    """

    kind: int
    data: bytes
    place: int = 0

    def number(self) -> int:
        """Return the first number of a whole type."""
        return int.from_bytes(self.data[: _SIZES[self.kind]], "little")


Directory = dict[int, "Entry | Directory"]
"""Tags and their values; those of `_DIRECTORIES` are directories themselves."""


def entry(block: bytes, tag: int) -> Entry | None:
    """Return the value of a tag in the first directory of a TIFF file or EXIF block, if it is there."""
    order = _order(block)
    if order is None:
        return None
    with suppress(struct.error):
        return _entries(block, order, _first(block, order)).get(tag)
    return None


def exif_of(tiff: bytes) -> bytes:
    """Return what a TIFF file says of its photo as an EXIF block; empty if it says nothing.

    Without the maker's note, which holds places in the file that it was written to.
    """
    order = _order(tiff)
    if order is None:
        return b""
    try:
        found = _nested(tiff, order, _first(tiff, order), 0)
    except struct.error:
        return b""
    kept = {tag: value for tag, value in found.items() if tag in _DESCRIBING}
    return b"" if not kept else b"II*\0" + struct.pack("<I", 8) + _packed(kept, 8)


def add(tiff: bytes, exif: bytes, extra: dict[int, bytes]) -> bytes:
    """Return a little-endian TIFF file with the tags of an EXIF block, and others as bytes, added."""
    first = _first(tiff, "<")
    tags: Directory = dict(_entries(tiff, "<", first))
    block = exif_of(exif)
    if block:
        described = _nested(block, "<", 8, 0)
        tags |= {tag: value for tag, value in described.items() if tag not in tags}
    tags |= {tag: Entry(_UNDEFINED if tag == ICC else _BYTE, data) for tag, data in extra.items()}
    place = len(tiff) + len(tiff) % 2
    return tiff[:4] + struct.pack("<I", place) + tiff[8:].ljust(place - 8, b"\0") + _packed(tags, place)


def for_result(exif: bytes, size: tuple[int, int]) -> bytes:
    """Return an EXIF block as it is true for a result: upright, of its size, without the old thumbnail.

    It is changed in place, so that a maker's note stays where it can be read.

    Parameters
    ----------
    exif : bytes
        The block.
    size : (int, int)
        Height and width of the result.
    """
    order = _order(exif)
    if order is None:
        return exif
    block = bytearray(exif)
    with suppress(struct.error):
        first = _first(exif, order)
        entries = _entries(exif, order, first)
        inner = entries.get(_EXIF)
        if inner is not None:
            entries |= _entries(exif, order, inner.number())
        for tag, number in ((ORIENTATION, 1), (_HEIGHT, size[0]), (_WIDTH, size[1])):
            found = entries.get(tag)
            if found is not None and found.kind in (_SHORT, _LONG):
                short = found.kind == _SHORT
                struct.pack_into(
                    order + "HI"[not short], block, found.place, min(number, 65535) if short else number
                )
        _remove_thumbnail(block, order, first)
    return bytes(block)


def _remove_thumbnail(block: bytearray, order: str, first: int) -> None:
    link = first + 2 + 12 * struct.unpack_from(order + "H", block, first)[0]
    (second,) = struct.unpack_from(order + "I", block, link)
    if second == 0:
        return
    tags = _entries(bytes(block), order, second)
    struct.pack_into(order + "I", block, link, 0)
    start, length = tags.get(_THUMBNAIL), tags.get(_THUMBNAIL_LENGTH)
    if start is not None and length is not None:
        place, end = start.number(), min(start.number() + length.number(), len(block))
        block[place:end] = bytes(max(0, end - place))


def _order(block: bytes) -> str | None:
    return {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])


def _first(block: bytes, order: str) -> int:
    return struct.unpack_from(order + "I", block, 4)[0]


def _entries(block: bytes, order: str, place: int) -> dict[int, Entry]:
    (count,) = struct.unpack_from(order + "H", block, place)
    found: dict[int, Entry] = {}
    for at in range(place + 2, place + 2 + 12 * count, 12):
        tag, kind, numbers = struct.unpack_from(order + "HHI", block, at)
        size = _SIZES.get(kind, 0) * numbers
        start = at + 8 if size <= 4 else struct.unpack_from(order + "I", block, at + 8)[0]
        data = block[start : start + size]
        if not size or len(data) < size:
            continue
        part = _PARTS[kind]
        if order == ">" and part > 1:
            data = np.frombuffer(data, f">u{part}").byteswap().tobytes()
        found[tag] = Entry(kind, data, start)
    return found


def _nested(block: bytes, order: str, place: int, depth: int) -> Directory:
    tags: Directory = {}
    for tag, value in _entries(block, order, place).items():
        if tag == _MAKER_NOTE:
            continue
        if tag not in _DIRECTORIES:
            tags[tag] = value
        elif depth < 2:  # first → Exif → Interoperability; a block that points to itself ends here
            tags[tag] = _nested(block, order, value.number(), depth + 1)
    return tags


def _packed(tags: Directory, place: int) -> bytes:
    """Return a directory for that place in a little-endian block, what it points to behind it."""
    entries, behind = b"", b""
    start = place + 2 + 12 * len(tags) + 4
    for tag, value in sorted(tags.items(), key=lambda item: item[0]):
        if isinstance(value, dict):
            entries += struct.pack("<HHII", tag, _LONG, 1, start + len(behind))
            behind += _packed(value, start + len(behind))
            continue
        entries += struct.pack("<HHI", tag, value.kind, len(value.data) // _SIZES[value.kind])
        if len(value.data) <= 4:
            entries += value.data.ljust(4, b"\0")
        else:
            entries += struct.pack("<I", start + len(behind))
            behind += value.data + bytes(len(value.data) % 2)
    return struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0) + behind
