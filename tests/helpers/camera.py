"""Metadata as a camera writes them: EXIF by hand, and XMP."""

from __future__ import annotations

import struct

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


def entry(tag: int, kind: int, count: int, value: int, order: str) -> bytes:
    short = kind == 3 and count == 1
    return struct.pack(order + "HHI", tag, kind, count) + struct.pack(
        order + ("HH" if short else "I"), *((value, 0) if short else (value,))
    )


def camera(orientation: int = 6, order: str = ">") -> bytes:
    """An EXIF block: maker, orientation, the photo's size, exposure time, a maker's note, a thumbnail."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    first = 8 + 2 + 3 * 12 + 4
    inner = first + 2 + 4 * 12 + 4
    second = inner + 8 + 10  # behind the exposure time and the maker's note
    thumbnail = second + 2 + 2 * 12 + 4
    block = head + struct.pack(order + "H", 3)
    block += struct.pack(order + "HHI", 271, 2, 4) + b"Ace\0"
    block += entry(274, 3, 1, orientation, order) + entry(34665, 4, 1, first, order)
    block += struct.pack(order + "I", second) + struct.pack(order + "H", 4)
    block += entry(33434, 5, 1, inner, order) + entry(0x927C, 7, 10, inner + 8, order)
    block += entry(0xA002, 3, 1, 4000, order) + entry(0xA003, 4, 1, 3000, order) + struct.pack(order + "I", 0)
    block += struct.pack(order + "II", 1, 250) + b"maker note"
    block += struct.pack(order + "H", 2) + entry(0x0201, 4, 1, thumbnail, order)
    block += entry(0x0202, 4, 1, 9, order) + struct.pack(order + "I", 0)
    return block + b"thumbnail"
