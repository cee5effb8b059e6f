"""What an AVIF file says beside its pixels and OpenCV passes over (ISO/IEC 23008-12, 23000-22)."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AvifProperties:
    """Properties of the picture.

    Attributes
    ----------
    bits : int
        Of each sample: 8, 10 or 12.
    turns : int
        Quarter turns anticlockwise that set the picture upright.
    mirror : int or None
        After turning: 0 swaps top and bottom, 1 left and right.
    icc : bytes
        The colour profile; empty if there is none.
    primaries : int
        The code of the primaries where they are given by a code (ITU-T H.273): 1 are sRGB's, 2 unspecified.
    transfer : int
        The code of the transfer function: 13 is sRGB's, 2 unspecified.
    size : (int, int) or None
        Height and width before turning: of several pictures those of the largest.
    """

    bits: int = 8
    turns: int = 0
    mirror: int | None = None
    icc: bytes = b""
    primaries: int = 2
    transfer: int = 2
    size: tuple[int, int] | None = None


def is_avif(data: bytes) -> bool:
    """Tell whether a file begins as AVIF does."""
    return data[4:8] == b"ftyp" and (b"avif" in data[8:64] or b"avis" in data[8:64])


def properties(data: bytes) -> AvifProperties:
    """Read the properties of an AVIF file; what is damaged or not there has its default.

    Of several pictures in the file (its alpha, a thumbnail) the first with a property speaks for all.
    """
    found: dict[bytes, bytes] = {}
    sizes: list[tuple[int, int]] = []
    with suppress(struct.error):
        meta = next((body for kind, body in _boxes(data) if kind == b"meta"), b"")[4:]
        for kind, body in _boxes(meta):
            if kind == b"iprp":
                for inner, container in _boxes(body):
                    for name, value in _boxes(container) if inner == b"ipco" else ():
                        key = name + value[:4] if name == b"colr" else name
                        found.setdefault(key, value)
                        if name == b"ispe":
                            width, height = struct.unpack_from(">II", value, 4)
                            sizes.append((height, width))
    coding, turn, mirror = (found.get(key, b"") for key in (b"av1C", b"irot", b"imir"))
    deep, deeper = (coding[2] >> 6 & 1, coding[2] >> 5 & 1) if len(coding) > 2 else (0, 0)
    codes = found.get(b"colrnclx", b"")
    return AvifProperties(
        bits=(12 if deeper else 10) if deep else 8,
        turns=turn[0] & 3 if turn else 0,
        mirror=mirror[0] & 1 if mirror else None,
        icc=found.get(b"colrprof", found.get(b"colrrICC", b""))[4:],
        primaries=struct.unpack_from(">H", codes, 4)[0] if len(codes) >= 6 else 2,
        transfer=struct.unpack_from(">H", codes, 6)[0] if len(codes) >= 8 else 2,
        size=max(sizes, key=math.prod, default=None),
    )


def frame_count(data: bytes) -> int:
    """Return the number of frames of an AVIF file: the most samples of a track, 1 where there is none."""
    counts = [1]
    place = [data]
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsz"):
        place = [body for outer in place for name, body in _boxes(outer) if name == kind]
    for sizes in place:
        counts += struct.unpack_from(">I", sizes, 8)
    return max(counts)


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 0
    while place + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        head = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, place + 8)
            head = 16
        end = len(data) if size == 0 else place + size
        if end < place + head:
            return
        yield kind, data[place + head : end]
        place = end
