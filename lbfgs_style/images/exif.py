"""Read, change and copy directories of tags, as TIFF files and EXIF blocks hold them.

An EXIF block is a TIFF file without an image (TIFF 6.0; CIPA DC-008). Offsets count from its first byte.
Counts and offsets of BigTIFF have 64 bits. Damaged parts count as missing.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import product

import numpy as np

WIDTH, HEIGHT = 256, 257
TILE_WIDTH, TILE_HEIGHT = 322, 323
ORIENTATION = 0x0112
EXTRA_SAMPLES = 338
PHOTOMETRIC = 262
CMYK = 5
XMP = 700
ICC = 34675

# Camera raw files have about four inner pages. A damaged count must not cost time.
_SUB_PAGES, _MOST_INNER = 330, 16

_EXIF, _GPS, _INTEROP = 34665, 34853, 40965
# Tags whose value is the offset of another directory.
_DIRECTORIES = (_EXIF, _GPS, _INTEROP)

_WIDTH, _HEIGHT = 0xA002, 0xA003
_THUMBNAIL, _THUMBNAIL_LENGTH = 0x0201, 0x0202
_MAKER_NOTE = 0x927C

# Tags that describe the photograph and not the layout of its file: description, maker, model, resolution,
# program, date, artist, host, rights, and the directories of the camera and of the place.
_DESCRIBING = (270, 271, 272, 282, 283, 296, 305, 306, 315, 316, 33432, _EXIF, _GPS)

# Bytes of one value by its type, and of the numbers in it: a rational has two. 16 to 18 are BigTIFF's.
_SIZES = dict(enumerate((1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4), 1)) | dict.fromkeys((16, 17, 18), 8)
_PARTS = _SIZES | {5: 4, 10: 4}
_BYTE, _SHORT, _LONG, _UNDEFINED, _LONG8 = 1, 3, 4, 7, 16
# Types of unsigned integers; 13 and 18 are offsets of directories.
_WHOLE = (_BYTE, _SHORT, _LONG, 13, _LONG8, 18)


@dataclass(frozen=True, slots=True)
class _Layout:
    """How the numbers of a block are written."""

    order: str
    big: bool = False

    def at(self, block: bytes, fields: str, offset: int) -> tuple[int, ...]:
        """Unpack numbers; O stands for an offset or a count of values, C for a count of tags."""
        if not 0 <= offset <= len(block):  # struct raises other errors for offsets beyond 64 bits
            raise struct.error("outside the block")
        return struct.unpack_from(self.order + self._exact(fields), block, offset)

    def packed(self, fields: str, *numbers: int) -> bytes:
        """Pack numbers by the same letters."""
        return struct.pack(self.order + self._exact(fields), *numbers)

    def _exact(self, fields: str) -> str:
        return fields.replace("O", "Q" if self.big else "I").replace("C", "Q" if self.big else "H")

    @property
    def first(self) -> int:
        """Where the offset of the first directory stands."""
        return 8 if self.big else 4

    @property
    def count_length(self) -> int:
        """Bytes of the count of tags."""
        return 8 if self.big else 2

    @property
    def entry_length(self) -> int:
        """Bytes of a tag and its value, or the offset of it."""
        return 20 if self.big else 12

    @property
    def value_length(self) -> int:
        """Bytes of a value that stands in the directory itself."""
        return 8 if self.big else 4


@dataclass(frozen=True, slots=True)
class Entry:
    """The value of a tag.

    Attributes
    ----------
    kind : int
        The type of its numbers, 1 to 13, and 16 to 18 in BigTIFF.
    data : bytes
        The numbers, little-endian.
    offset : int
        Where they stand in the block.
    """

    kind: int
    data: bytes
    offset: int = 0

    def number(self) -> int:
        """Return the first number of an integer type."""
        return int.from_bytes(self.data[: _SIZES[self.kind]], "little")


def of_numbers(*values: int) -> Entry:
    """Return integers as the value of a tag, in the smallest type of 16, 32 or 64 bits that holds them."""
    most = max(values)
    kind = _SHORT if most < 1 << 16 else _LONG if most < 1 << 32 else _LONG8
    return Entry(kind, np.array(values, f"<u{_SIZES[kind]}").tobytes())


# Tags and their values; those of `_DIRECTORIES` are directories themselves.
Directory = dict[int, "Entry | Directory"]


def entry(block: bytes, tag: int) -> Entry | None:
    """Return the value of a tag in the first directory of a TIFF file or EXIF block, or None."""
    layout = _layout(block)
    if layout is None:
        return None
    with suppress(struct.error):
        return _entries(block, layout, _first(block, layout)).get(tag)
    return None


def number(block: bytes, tag: int) -> int | None:
    """Return the first integer of a tag of the first directory; None if missing or of another type."""
    value = entry(block, tag)
    return value.number() if value is not None and value.kind in _WHOLE else None


def numbers(directory: Directory, tag: int) -> tuple[int, ...] | None:
    """Return the integers of a tag; None where it is missing or of another type."""
    value = directory.get(tag)
    if not isinstance(value, Entry) or value.kind not in _WHOLE:
        return None
    return tuple(np.frombuffer(value.data, f"<u{_SIZES[value.kind]}").tolist())


def pages(block: bytes, most: int = 1000) -> list[Directory]:
    """Return the directories of a TIFF file's pages, at most `most` of them; a damaged one ends the list."""
    layout = _layout(block)
    directories: list[Directory] = []
    with suppress(struct.error):
        offset = 0 if layout is None else _first(block, layout)
        seen: set[int] = set()
        while layout is not None and offset and offset not in seen and len(directories) < most:
            seen.add(offset)
            directories.append(dict(_entries(block, layout, offset)))
            (count,) = layout.at(block, "C", offset)
            (offset,) = layout.at(block, "O", offset + layout.count_length + layout.entry_length * count)
    return directories


def inner_pages(block: bytes, page: Directory) -> list[Directory]:
    """Return the directories that a page of a TIFF file names as its inner ones (tag SubIFDs)."""
    layout = _layout(block)
    directories: list[Directory] = []
    if layout is not None:
        for offset in (numbers(page, _SUB_PAGES) or ())[:_MOST_INNER]:
            with suppress(struct.error):
                directories.append(dict(_entries(block, layout, offset)))
    return directories


def is_tiff(data: bytes) -> bool:
    """Tell whether bytes begin as a TIFF file or EXIF block does."""
    return _layout(data) is not None


def exif_of(tiff: bytes) -> bytes:
    """Return the tags of a TIFF file that describe its image as an EXIF block; empty if there are none.

    Without the maker's note, which holds offsets in the file that it was written to.
    """
    layout = _layout(tiff)
    if layout is None:
        return b""
    try:
        directory = _nested(tiff, layout, _first(tiff, layout), 0)
    except struct.error:
        return b""
    kept = {tag: value for tag, value in directory.items() if tag in _DESCRIBING}
    return b"" if not kept else b"II*\0" + struct.pack("<I", 8) + packed(kept, 8)


def add(tiff: bytes, exif: bytes, extra: Mapping[int, bytes]) -> bytes:
    """Return a little-endian TIFF file, no BigTIFF, with `described` tags of EXIF and `extra` added."""
    layout = _Layout("<")
    first = _first(tiff, layout)
    tags = described(_entries(tiff, layout, first), exif, extra)
    offset = len(tiff) + len(tiff) % 2
    return tiff[:4] + struct.pack("<I", offset) + tiff[8:].ljust(offset - 8, b"\0") + packed(tags, offset)


def described(tags: Mapping[int, Entry], exif: bytes, extra: Mapping[int, bytes]) -> Directory:
    """Return the tags of an image, those of an EXIF block that describe it, and the bytes of `extra`."""
    block, kinds = exif_of(exif), {ICC: _UNDEFINED}
    described = _nested(block, _Layout("<"), 8, 0) if block else {}
    more = {tag: Entry(kinds.get(tag, _BYTE), data) for tag, data in extra.items()}
    return {**described, **tags, **more}


def for_result(exif: bytes, size: tuple[int, int]) -> bytes:
    """Return an EXIF block for a result: upright, of its size, without the old thumbnail.

    It is changed in place, so that a maker's note stays where it can be read. A block whose first directory
    is damaged comes back empty: another program might find an orientation in it.

    Parameters
    ----------
    exif : bytes
        The block.
    size : (int, int)
        Height and width of the result.
    """
    layout = _layout(exif)
    if layout is None or layout.big:
        return b""
    block = bytearray(exif)
    try:
        first = _first(exif, layout)
        directories = [_entries(exif, layout, first)]
    except struct.error:
        return b""
    inner = directories[0].get(_EXIF)
    if inner is not None:
        with suppress(struct.error):
            directories.append(_entries(exif, layout, inner.number()))
    # A tag may stand in both, where it belongs and where it does not.
    corrections = ((_HEIGHT, size[0]), (_WIDTH, size[1]), (ORIENTATION, 1))
    for (tag, correct), entries in product(corrections, directories):
        value = entries.get(tag)
        if value is not None and value.kind in _WHOLE:
            length = _SIZES[value.kind]
            fitting = min(correct, (1 << 8 * length) - 1)
            struct.pack_into(
                layout.order + {1: "B", 2: "H", 4: "I", 8: "Q"}[length], block, value.offset, fitting
            )
    with suppress(struct.error):
        _remove_thumbnail(block, layout, first)
    return bytes(block)


def _remove_thumbnail(block: bytearray, layout: _Layout, first: int) -> None:
    exif = bytes(block)
    link = first + 2 + 12 * layout.at(exif, "C", first)[0]
    (second,) = layout.at(exif, "O", link)
    if second == 0:
        return
    tags = _entries(exif, layout, second)
    struct.pack_into(layout.order + "I", block, link, 0)
    start, length = tags.get(_THUMBNAIL), tags.get(_THUMBNAIL_LENGTH)
    if start is not None and length is not None:
        offset, end = start.number(), min(start.number() + length.number(), len(block))
        block[offset:end] = bytes(max(0, end - offset))


def _layout(block: bytes) -> _Layout | None:
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return None
    if block[2:4] == struct.pack(order + "H", 42):
        return _Layout(order)
    return _Layout(order, big=True) if block[2:4] == struct.pack(order + "H", 43) else None


def _first(block: bytes, layout: _Layout) -> int:
    return layout.at(block, "O", layout.first)[0]


def _entries(block: bytes, layout: _Layout, offset: int) -> dict[int, Entry]:
    (count,) = layout.at(block, "C", offset)
    if count > 0xFFFF:  # more than there are tags
        raise struct.error("more tags than there are")
    entries: dict[int, Entry] = {}
    # Values do not overlap. Where they add up to more than the block, as with thousands of tags that all
    # claim the whole block, the file is an attack on memory.
    room = len(block)
    offset += layout.count_length
    for at in range(offset, offset + layout.entry_length * count, layout.entry_length):
        tag, kind, numbers = layout.at(block, "HHO", at)
        size = _SIZES.get(kind, 0) * numbers
        value = at + layout.entry_length - layout.value_length
        start = value if size <= layout.value_length else layout.at(block, "O", value)[0]
        if not size or start + size > len(block):
            continue
        room -= size
        if room < 0:
            raise struct.error("more values than bytes")
        data = block[start : start + size]
        part = _PARTS[kind]
        if layout.order == ">" and part > 1:
            data = np.frombuffer(data, f">u{part}").byteswap().tobytes()
        entries[tag] = Entry(kind, data, start)
    return entries


def _nested(block: bytes, layout: _Layout, offset: int, depth: int) -> Directory:
    tags: Directory = {}
    for tag, value in _entries(block, layout, offset).items():
        if tag == _MAKER_NOTE:
            continue
        if tag not in _DIRECTORIES:
            tags[tag] = value
        elif depth < 2:  # first → Exif → Interoperability; a block that points to itself ends here
            tags[tag] = _nested(block, layout, value.number(), depth + 1)
    return tags


def packed(tags: Directory, offset: int, *, big: bool = False) -> bytes:
    """Return a directory at an offset of a little-endian file, followed by the values that it points to.

    It is the last of its file; `big`: in the layout of BigTIFF.
    """
    layout = _Layout("<", big)
    entries, behind = bytearray(), bytearray()
    start = offset + layout.count_length + layout.entry_length * len(tags) + layout.value_length
    for tag, value in sorted(tags.items(), key=lambda item: item[0]):
        if isinstance(value, dict):
            kind, count, data = _LONG8 if big else _LONG, 1, layout.packed("O", start + len(behind))
            behind += packed(value, start + len(behind), big=big)
        else:
            kind, count, data = value.kind, len(value.data) // _SIZES[value.kind], value.data
        entries += layout.packed("HHO", tag, kind, count)
        if len(data) <= layout.value_length:
            entries += data.ljust(layout.value_length, b"\0")
        else:
            entries += layout.packed("O", start + len(behind))
            behind += data + bytes(len(data) % 2)
    return layout.packed("C", len(tags)) + entries + layout.packed("O", 0) + behind
