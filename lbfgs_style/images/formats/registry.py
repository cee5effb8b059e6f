"""What the first bytes of a picture file say: its format, and the size that it declares.

Looked at before anything is unpacked, because a few bytes can declare gigabytes. Each reader follows the
specification of its format, and where files depart from it, what the decoders behind OpenCV make of them.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

from .. import exif
from . import avif, tiff_declared

Size = tuple[int, int]
"""Height and width."""

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_JPEG_2000_BOX = b"\0\0\0\x0cjP  \r\n\x87\n"
_JPEG_2000_STREAM = b"\xff\x4f\xff\x51"
_HEADER_END = 1 << 16
"""Where a header of text ends at the latest."""

_MOST_MARKERS = 100_000
"""Of a JPEG, before its frame, filling included: a file of nothing else would take minutes."""

_GAP = rb"(?:\s|#[^\n]*\n)+"
_NETPBM = re.compile(rb"P[1-6]" + _GAP + rb"(\d{1,10})" + _GAP + rb"(\d{1,10})")
_PFM = re.compile(rb"P[Ff]\s+(\d{1,10})\s+(\d{1,10})")
_PAM_WIDTH, _PAM_HEIGHT = (re.compile(rb"\n" + side + rb"\s+(\d{1,10})") for side in (b"WIDTH", b"HEIGHT"))
_RADIANCE = re.compile(rb"\n-Y\s+(\d{1,10})\s+\+X\s+(\d{1,10})")


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself.

    Attributes
    ----------
    name : str
        Its format, for messages.
    size : (int, int) or None
        The height and width that it declares, as they are stored; None where they cannot be read. Of several
        pictures in a file the largest.
    """

    name: str
    size: Size | None


def read(data: bytes) -> Header | None:
    """Return what the first bytes of a picture file say; None where its format is none of those we read."""
    for name, begins, size in _FORMATS:
        if begins(data):
            try:
                return Header(name, size(data))
            except struct.error:
                return Header(name, None)
    return None


def foreign(data: bytes) -> str | None:
    """Return why a file that people take for a readable picture cannot be read, with the remedy; or None."""
    if data.startswith(_RAW) or data[6:14] == b"HEAPCCDR" or data[4:12] == b"ftypcrx ":
        return tiff_declared.RAW
    if data[4:8] == b"ftyp" and len(data) >= 16:
        what = "a HEIC picture" if data[8:12] in _HEIC else "a film or another ISO media file"
        return f"{what}, {_CONVERT}"
    text = _text(data)
    start = _PROLOGUE.sub(b"", text, count=1)
    for begins, named in _TEXTS:
        if begins.match(start) or begins.match(text):
            return named
    return next((named for begin, named in _FOREIGN if data.startswith(begin)), None)


def _text(data: bytes) -> bytes:
    """Return the beginning as text of one byte for each letter, in small letters, without leading blanks."""
    begin = data[:_TEXT_LOOKED_AT]
    if begin.startswith((b"\xff\xfe", b"\xfe\xff")):
        begin = begin.decode("utf-16", "ignore").encode()
    elif begin.startswith((b"<\0", b"{\0", b"\0<", b"\0{")):
        begin = begin.replace(b"\0", b"")
    return begin.lstrip(b"\xef\xbb\xbf \t\r\n").lower()


def _png(data: bytes) -> Size:
    width, height = struct.unpack_from(">II", data, 16)
    return height, width


def _jpeg(data: bytes) -> Size | None:
    """Go from marker to marker as libjpeg does, over filling and junk, to the frame header (ITU-T T.81)."""
    place = 2
    for _ in range(_MOST_MARKERS):
        place = data.find(b"\xff", place) + 1
        marker = data[place : place + 1]
        if place == 0 or marker in (b"", b"\xda", b"\xd9"):
            return None
        if marker == b"\xff":  # filling, and the next one may begin the marker
            continue
        place += 1
        if marker in _FRAMES:
            height, width = struct.unpack_from(">HH", data, place + 3)
            return height, width
        if marker not in _ALONE:
            place += struct.unpack_from(">H", data, place)[0]
    return None


def _webp(data: bytes) -> Size | None:
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[place : place + 3], "little") + 1 for place in (24, 27))
        return (height, width) if len(data) >= 30 else None
    if kind == b"VP8L":
        (sides,) = struct.unpack_from("<I", data, 21)
        return (sides >> 14 & 0x3FFF) + 1, (sides & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return height & 0x3FFF, width & 0x3FFF
    return None


def _tiff(data: bytes) -> Size | None:
    """Return the picture's size, or that of its tiles where they are larger: whole tiles are unpacked."""
    sides = [exif.number(data, tag) for tag in (exif.HEIGHT, exif.WIDTH)]
    tiles = [exif.number(data, tag) or 0 for tag in (exif.TILE_HEIGHT, exif.TILE_WIDTH)]
    if sides[0] is None or sides[1] is None:
        return None
    return max(sides[0], tiles[0]), max(sides[1], tiles[1])


def _gif(data: bytes) -> Size:
    width, height = struct.unpack_from("<HH", data, 6)
    return height, width


def _bmp(data: bytes) -> Size:
    (head,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if head == 12 else "<ii", data, 18)
    return abs(height), abs(width)  # of a picture stored from top to bottom the height is negative


def _found(pattern: re.Pattern[bytes], data: bytes, *, from_start: bool = True) -> list[int]:
    head = data[:_HEADER_END]
    match = pattern.match(head) if from_start else pattern.search(head)
    return [] if match is None else [int(group) for group in match.groups()]


def _netpbm(data: bytes) -> Size | None:
    sides = _found(_PFM if data[1:2] in b"Ff" else _NETPBM, data)
    return (sides[1], sides[0]) if sides else None


def _pam(data: bytes) -> Size | None:
    sides = [*_found(_PAM_HEIGHT, data, from_start=False), *_found(_PAM_WIDTH, data, from_start=False)]
    return (sides[0], sides[1]) if len(sides) == 2 else None


def _radiance(data: bytes) -> Size | None:
    sides = _found(_RADIANCE, data, from_start=False)
    return (sides[0], sides[1]) if sides else None


def _jpeg_2000(data: bytes) -> Size | None:
    """Read the first segment of the codestream (ITU-T T.800, A.5.1): the box around it may say otherwise."""
    place = data.find(_JPEG_2000_STREAM)
    if place < 0:
        return None
    right, bottom, left, top = struct.unpack_from(">4I", data, place + 8)
    return bottom - top, right - left


def _sun(data: bytes) -> Size:
    width, height = struct.unpack_from(">II", data, 4)
    return height, width


def _starts(*starts: bytes) -> Callable[[bytes], bool]:
    return lambda data: data.startswith(starts)


_FORMATS: tuple[tuple[str, Callable[[bytes], bool], Callable[[bytes], Size | None]], ...] = (
    ("PNG", _starts(b"\x89PNG\r\n\x1a\n"), _png),
    ("JPEG", _starts(b"\xff\xd8\xff"), _jpeg),
    ("WebP", lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP", _webp),
    ("AVIF", avif.is_avif, lambda data: avif.properties(data).size),
    ("TIFF", _starts(*_TIFF), _tiff),
    ("GIF", _starts(b"GIF87a", b"GIF89a"), _gif),
    ("BMP", _starts(b"BM"), _bmp),
    ("PAM", _starts(b"P7"), _pam),
    ("PNM", lambda data: re.match(rb"P[1-6]\s", data) is not None, _netpbm),
    ("PFM", lambda data: re.match(rb"P[Ff]\s", data) is not None, _netpbm),
    ("Radiance HDR", _starts(b"#?RADIANCE", b"#?RGBE"), _radiance),
    ("JPEG 2000", _starts(_JPEG_2000_BOX, _JPEG_2000_STREAM), _jpeg_2000),
    ("Sun raster", _starts(b"\x59\xa6\x6a\x95"), _sun),
)

READABLE = ", ".join(name for name, _, _ in _FORMATS)
"""The formats, for messages."""

_FRAMES = {bytes([code]) for code in range(0xC0, 0xD0) if code not in (0xC4, 0xC8, 0xCC)}
_ALONE = {bytes([code]) for code in (0x00, 0x01, *range(0xD0, 0xD9))}
"""Markers without a length."""

_CONVERT = "which cannot be read: convert it to PNG or JPEG"
_UNPACK = "which cannot be read: unpack it first"
_DOWNLOADED = (
    ", saved under the name of a picture; expected the picture itself: open its address in a browser, and "
    "save the picture that it shows"
)
_TEXT_LOOKED_AT = 4096
"""Bytes of a file that are looked at as text."""

# What may stand before the first element of a page or drawing: blanks, comments, instructions.
_PROLOGUE = re.compile(rb"(?:\s+|<!--.*?-->|<\?.*?\?>)*", re.DOTALL)
_TEXTS = (
    (re.compile(rb"<(?:!doctype\s+html|html|head|body|title|meta|script)\b"), f"a web page{_DOWNLOADED}"),
    (re.compile(rb"<(?:!doctype\s+svg|svg)\b"), f"an SVG drawing, {_CONVERT}"),
    (re.compile(rb"<(?:!|\?xml)"), f"an XML or HTML document{_DOWNLOADED}"),
    (re.compile(rb"(?:\{\s*[\"}]|\[\s*[\[{\"])"), f"JSON text, perhaps a server's answer{_DOWNLOADED}"),
    (re.compile(rb"%pdf"), f"a PDF document, {_CONVERT}"),
)
_HEIC = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
# Camera raw files that do not begin as TIFF files do: Olympus, Panasonic, Fujifilm, Minolta, Sigma.
_RAW = (b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FUJIFILMCCD-RAW", b"\0MRM", b"FOVb")
_FOREIGN = (
    (b"\xff\x0a", f"a JPEG XL picture, {_CONVERT}"),
    (b"\0\0\0\x0cJXL ", f"a JPEG XL picture, {_CONVERT}"),
    (b"\x76\x2f\x31\x01", f"an OpenEXR picture, {_CONVERT}"),
    (b"8BPS", f"a Photoshop document, {_CONVERT}"),
    (b"\0\0\1\0", f"an icon, {_CONVERT}"),
    (b"PK\3\4", f"a ZIP archive, {_UNPACK}"),
    (b"\x1f\x8b", f"a gzip archive, {_UNPACK}"),
)
