"""AVIF (ISO/IEC 23008-12, 23000-22): the properties that OpenCV ignores, frames, encoder flags."""

from __future__ import annotations

import logging
import math
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..icc_profile import Profile
from . import color_codes
from .base import EXIF_HEAD, Capacity, Format, Metadata, to_16_bits

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AvifProperties:
    """Properties of the image.

    Attributes
    ----------
    bits : int
        Bits of each sample: 8, 10 or 12.
    turns : int
        Quarter turns anticlockwise that set the image upright.
    mirror : int or None
        After turning: 0 swaps top and bottom, 1 left and right.
    icc : bytes
        The ICC profile; empty if there is none.
    primaries : int
        Code of the primaries (ITU-T H.273): 1 for sRGB's, 2 for unspecified.
    transfer : int
        Code of the transfer function (ITU-T H.273): 13 for sRGB's, 2 for unspecified.
    size : (int, int) or None
        Height and width before turning; of several images, those of the largest.
    """

    bits: int = 8
    turns: int = 0
    mirror: int | None = None
    icc: bytes = b""
    primaries: int = 2
    transfer: int = 2
    size: tuple[int, int] | None = None


def _begins(data: bytes) -> bool:
    return data[4:8] == b"ftyp" and (b"avif" in data[8:64] or b"avis" in data[8:64])


def properties(data: bytes) -> AvifProperties:
    """Read the properties of an AVIF file; properties that are damaged or missing have their defaults.

    Of several images in the file (its alpha, a thumbnail) the first with a property defines it.
    """
    first: dict[bytes, bytes] = {}
    sizes: list[tuple[int, int]] = []
    with suppress(struct.error):
        meta = next((body for kind, body in _boxes(data) if kind == b"meta"), b"")[4:]
        for kind, body in _boxes(meta):
            if kind == b"iprp":
                for inner, container in _boxes(body):
                    for name, value in _boxes(container) if inner == b"ipco" else ():
                        key = name + value[:4] if name == b"colr" else name
                        first.setdefault(key, value)
                        if name == b"ispe":
                            width, height = struct.unpack_from(">II", value, 4)
                            sizes.append((height, width))
    coding, turn, mirror = (first.get(key, b"") for key in (b"av1C", b"irot", b"imir"))
    deep, deeper = (coding[2] >> 6 & 1, coding[2] >> 5 & 1) if len(coding) > 2 else (0, 0)
    codes = first.get(b"colrnclx", b"")
    return AvifProperties(
        bits=(12 if deeper else 10) if deep else 8,
        turns=turn[0] & 3 if turn else 0,
        mirror=mirror[0] & 1 if mirror else None,
        icc=first.get(b"colrprof", first.get(b"colrrICC", b""))[4:],
        primaries=struct.unpack_from(">H", codes, 4)[0] if len(codes) >= 6 else 2,
        transfer=struct.unpack_from(">H", codes, 6)[0] if len(codes) >= 8 else 2,
        size=max(sizes, key=math.prod, default=None),
    )


def _frame_count(data: bytes) -> int:
    """Return the number of frames of an AVIF file: the most samples of a track, 1 without a track."""
    counts = [1]
    boxes = [data]
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsz"):
        boxes = [body for outer in boxes for name, body in _boxes(outer) if name == kind]
    for sizes in boxes:
        counts += struct.unpack_from(">I", sizes, 8)
    return max(counts)


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the name and the content of each box of a container."""
    start = 0
    while start + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, start)
        head = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, start + 8)
            head = 16
        end = len(data) if size == 0 else start + size
        if end < start + head:
            return
        yield kind, data[start + head : end]
        start = end


def _finish(data: bytes, pixels: NDArray[Any], _: bytes) -> NDArray[Any]:
    """Scale deep samples and turn the image; an EXIF orientation means nothing here (ISO/IEC 23000-22)."""
    image = properties(data)
    if pixels.dtype == np.uint16:
        pixels = to_16_bits(pixels, image.bits)
    pixels = np.rot90(pixels, image.turns)
    return pixels if image.mirror is None else np.flip(pixels, image.mirror)


def _declared_profile(name: str, data: bytes, metadata: Metadata) -> tuple[Profile | None, Metadata]:
    if metadata.icc:
        return None, metadata
    image = properties(data)
    if image.transfer in color_codes.HDR:
        raise ValueError(color_codes.HDR[image.transfer])
    # Unspecified codes (2) are taken as sRGB's.
    primaries = 1 if image.primaries == 2 else image.primaries
    profile = color_codes.by_code(primaries, 13 if image.transfer == 2 else image.transfer)
    if profile is None:
        codes = image.primaries, image.transfer
        log.warning("%s: colours of primaries no. %d, transfer no. %d are taken as sRGB", name, *codes)
    return profile, metadata


def _read_metadata(data: bytes, exif: bytes) -> Metadata:
    return Metadata(exif.removeprefix(EXIF_HEAD), properties(data).icc)


def _encoder(array: NDArray[Any], quality: int) -> tuple[NDArray[Any], list[int]]:
    import cv2

    flags = [cv2.IMWRITE_AVIF_QUALITY, quality]
    if array.dtype == np.uint16:
        # 10 bits, not 12, which fewer programs show.
        flags += [cv2.IMWRITE_AVIF_DEPTH, 10]
        array = np.rint(array * (1023 / 65535)).astype(np.uint16)
    return array, flags


AVIF = Format(
    name="AVIF",
    begins=_begins,
    declared_size=lambda data: properties(data).size,
    suffixes=(".avif",),
    capacity=Capacity(alpha=True, bits=10, longest=65_536),
    frame_count=_frame_count,
    declared_profile=_declared_profile,
    finish=_finish,
    encoder=_encoder,
    encodes_metadata=True,
    read_metadata=_read_metadata,
)
