"""Formats that are only read: GIF, PNM, PAM, PFM, Radiance HDR, JPEG 2000, Sun raster."""

from __future__ import annotations

import re
import struct

from .base import Format, Size, starts_with

# Bytes within which a header in text form must end.
_HEADER_END = 1 << 16

_GAP = rb"(?:\s|#[^\n]*\n)+"
_NETPBM = re.compile(rb"P[1-6]" + _GAP + rb"(\d{1,10})" + _GAP + rb"(\d{1,10})")
_PFM = re.compile(rb"P[Ff]\s+(\d{1,10})\s+(\d{1,10})")
_PAM_WIDTH, _PAM_HEIGHT = (re.compile(rb"\n" + side + rb"\s+(\d{1,10})") for side in (b"WIDTH", b"HEIGHT"))
_RADIANCE = re.compile(rb"\n-Y\s+(\d{1,10})\s+\+X\s+(\d{1,10})")

_JPEG_2000_BOX = b"\0\0\0\x0cjP  \r\n\x87\n"
_JPEG_2000_STREAM = b"\xff\x4f\xff\x51"


def _gif_size(data: bytes) -> Size:
    width, height = struct.unpack_from("<HH", data, 6)
    return height, width


def _gif_frames(data: bytes) -> int:
    """Count image descriptors (GIF89a, 20), from block to block."""
    count, position = 0, 13 + _color_table_bytes(data[10])
    while data[position] in (0x21, 0x2C):
        if data[position] == 0x2C:
            count += 1
            position += 10 + _color_table_bytes(data[position + 9]) + 1
        else:
            position += 2
        while data[position]:
            position += 1 + data[position]
        position += 1
    return count


def _color_table_bytes(flags: int) -> int:
    """Return the bytes of a colour table by the flags that announce it."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _numbers(pattern: re.Pattern[bytes], data: bytes, *, from_start: bool = True) -> list[int]:
    head = data[:_HEADER_END]
    match = pattern.match(head) if from_start else pattern.search(head)
    return [] if match is None else [int(group) for group in match.groups()]


def _netpbm_size(data: bytes) -> Size | None:
    sides = _numbers(_PFM if data[1:2] in b"Ff" else _NETPBM, data)
    return (sides[1], sides[0]) if sides else None


def _pam_size(data: bytes) -> Size | None:
    sides = [*_numbers(_PAM_HEIGHT, data, from_start=False), *_numbers(_PAM_WIDTH, data, from_start=False)]
    return (sides[0], sides[1]) if len(sides) == 2 else None


def _radiance_size(data: bytes) -> Size | None:
    sides = _numbers(_RADIANCE, data, from_start=False)
    return (sides[0], sides[1]) if sides else None


def _jpeg_2000_size(data: bytes) -> Size | None:
    """Read the first segment of the codestream (ITU-T T.800, A.5.1): the box around it may say otherwise."""
    start = data.find(_JPEG_2000_STREAM)
    if start < 0:
        return None
    right, bottom, left, top = struct.unpack_from(">4I", data, start + 8)
    return bottom - top, right - left


def _sun_size(data: bytes) -> Size:
    width, height = struct.unpack_from(">II", data, 4)
    return height, width


def _always(_: bytes) -> bool:
    return True


GIF = Format(
    name="GIF",
    begins=starts_with(b"GIF87a", b"GIF89a"),
    declared_size=_gif_size,
    frame_count=_gif_frames,
)
PAM = Format(name="PAM", begins=starts_with(b"P7"), declared_size=_pam_size)
PNM = Format(
    name="PNM",
    begins=lambda data: re.match(rb"P[1-6]\s", data) is not None,
    declared_size=_netpbm_size,
)
# The samples of PFM and Radiance are proportional to light: of Radiance by its definition, of PFM by custom.
PFM = Format(
    name="PFM",
    begins=lambda data: re.match(rb"P[Ff]\s", data) is not None,
    declared_size=_netpbm_size,
    is_linear=_always,
)
RADIANCE = Format(
    name="Radiance HDR",
    begins=starts_with(b"#?RADIANCE", b"#?RGBE"),
    declared_size=_radiance_size,
    is_linear=_always,
)
JPEG_2000 = Format(
    name="JPEG 2000",
    begins=starts_with(_JPEG_2000_BOX, _JPEG_2000_STREAM),
    declared_size=_jpeg_2000_size,
)
SUN = Format(name="Sun raster", begins=starts_with(b"\x59\xa6\x6a\x95"), declared_size=_sun_size)
