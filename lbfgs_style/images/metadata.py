"""What a picture file says beside its pixels: EXIF, colour profile, XMP; read from files and put into them.

Done here byte by byte, because OpenCV reads and writes little of it and different parts in each version. Only
EXIF in AVIF is left to OpenCV. Damaged parts read as not there.
"""

from __future__ import annotations

import logging
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from . import exif as tiff_tags
from .formats import avif

log = logging.getLogger(__name__)

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_EXIF_HEAD = b"Exif\0\0"
_XMP_HEAD = b"http://ns.adobe.com/xap/1.0/\0"
_ICC_HEAD = b"ICC_PROFILE\0"
_XMP_KEYWORD = b"XML:com.adobe.xmp"
_SEGMENT = 65_533
"""The most bytes that a segment of a JPEG holds."""
_PROFILE_LIMIT = 1 << 24
"""The most bytes that a compressed profile may unpack to: a few kilobytes can hold gigabytes."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What travels with a picture from the file it came from to the file it goes to.

    Attributes
    ----------
    exif : bytes
        The EXIF block, from its TIFF header on.
    icc : bytes
        The colour profile.
    xmp : bytes
        The XMP packet.
    """

    exif: bytes = b""
    icc: bytes = b""
    xmp: bytes = b""


def read(data: bytes, exif: bytes = b"") -> Metadata:
    """Return the metadata of a picture file: PNG, JPEG, WebP, TIFF or AVIF; of others none.

    Parameters
    ----------
    data : bytes
        The file.
    exif : bytes
        What OpenCV found; used for AVIF.
    """
    if data.startswith(PNG_SIGNATURE):
        return _read_png(data)
    if data.startswith(b"\xff\xd8"):
        return _read_jpeg(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        found = dict(webp_chunks(data))
        exif = found.get(b"EXIF", b"").removeprefix(_EXIF_HEAD)
        return Metadata(exif, found.get(b"ICCP", b""), found.get(b"XMP ", b""))
    if avif.is_avif(data):
        return Metadata(exif.removeprefix(_EXIF_HEAD), avif.properties(data).icc)
    icc, xmp = (tiff_tags.entry(data, tag) for tag in (tiff_tags.ICC, tiff_tags.XMP))
    return Metadata(tiff_tags.exif_of(data), icc.data if icc else b"", xmp.data if xmp else b"")


def for_result(metadata: Metadata, size: tuple[int, int]) -> Metadata:
    """Return metadata as they are true for a result: upright, of its (height, width), no old thumbnail."""
    upright = re.sub(rb"(tiff:Orientation(?:=[\"']|>))[2-8](?=[\"'<])", rb"\g<1>1", metadata.xmp)
    exif = tiff_tags.for_result(metadata.exif, size)
    if metadata.exif and not exif:
        log.warning("the EXIF of the photo is damaged, and is left out")
    return replace(metadata, exif=exif, xmp=upright)


def embed(encoded: bytes, metadata: Metadata, size: tuple[int, int], *, alpha: bool) -> bytes:
    """Put metadata into an encoded PNG, JPEG, WebP or little-endian TIFF file, which has none yet.

    Parameters
    ----------
    encoded : bytes
        The file; of another format, it comes back as it is.
    metadata : Metadata
        What to put in.
    size : (int, int)
        Height and width of the picture.
    alpha : bool
        Whether it has opacity.
    """
    if metadata == Metadata():
        return encoded
    if encoded.startswith(PNG_SIGNATURE):
        head = len(PNG_SIGNATURE) + 25  # the header chunk comes first
        return encoded[:head] + b"".join(_png_chunks(metadata)) + encoded[head:]
    if encoded.startswith(b"\xff\xd8"):
        place = 2
        while encoded[place : place + 2] == b"\xff\xe0":  # JFIF stays in front
            place += 2 + struct.unpack_from(">H", encoded, place + 2)[0]
        return encoded[:place] + b"".join(_jpeg_segments(metadata)) + encoded[place:]
    if encoded[:4] == b"RIFF":
        return _webp(encoded, metadata, size, alpha)
    if encoded.startswith(b"II*\0"):
        extra = {tiff_tags.ICC: metadata.icc, tiff_tags.XMP: metadata.xmp}
        return tiff_tags.add(encoded, metadata.exif, {tag: value for tag, value in extra.items() if value})
    return encoded


def _read_png(data: bytes) -> Metadata:
    found = Metadata()
    for kind, body in png_parts(data):
        if kind == b"eXIf":
            found = replace(found, exif=body.removeprefix(_EXIF_HEAD))
        elif kind == b"iCCP" and not found.icc:  # one alone is allowed, and many would take long to unpack
            with suppress(zlib.error):
                packed = body.partition(b"\0")[2][1:]  # behind the name and the method
                profile = zlib.decompressobj().decompress(packed, _PROFILE_LIMIT)
                found = replace(found, icc=profile)
        elif kind == b"iTXt" and body.startswith(_XMP_KEYWORD + b"\0\0"):  # the second: not compressed
            found = replace(found, xmp=body[len(_XMP_KEYWORD) + 3 :].split(b"\0", 2)[-1])
    return found


def png_transparency(data: bytes) -> bytes:
    """Return what a PNG says of transparency without an alpha (chunk ``tRNS``); empty of any other file."""
    if not data.startswith(PNG_SIGNATURE):
        return b""
    return next((body for kind, body in png_parts(data) if kind == b"tRNS"), b"")


def png_parts(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the name and the content of each chunk of a PNG; one that is cut short has what is left."""
    place = len(PNG_SIGNATURE)
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        yield kind, data[place + 8 : place + 8 + length]
        place += 12 + length


def _png_chunks(metadata: Metadata) -> Iterator[bytes]:
    parts = [
        (b"iCCP", metadata.icc and b"ICC profile\0\0" + zlib.compress(metadata.icc)),
        (b"eXIf", metadata.exif),
        (b"iTXt", metadata.xmp and _XMP_KEYWORD + bytes(5) + metadata.xmp),
    ]
    for kind, body in parts:
        if body:
            yield struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _read_jpeg(data: bytes) -> Metadata:
    found, profile = Metadata(), dict[int, bytes]()
    place = 2
    while data[place : place + 1] == b"\xff" and place + 4 <= len(data) and data[place + 1] != 0xDA:
        (length,) = struct.unpack_from(">H", data, place + 2)
        marker, body = data[place + 1], data[place + 4 : place + 2 + length]
        if marker == 0xE1 and body.startswith(_EXIF_HEAD):
            found = replace(found, exif=body[len(_EXIF_HEAD) :])
        elif marker == 0xE1 and body.startswith(_XMP_HEAD):
            found = replace(found, xmp=body[len(_XMP_HEAD) :])
        elif marker == 0xE2 and body.startswith(_ICC_HEAD) and len(body) > len(_ICC_HEAD) + 2:
            profile[body[len(_ICC_HEAD)]] = body[len(_ICC_HEAD) + 2 :]
        place += 2 + length
    return replace(found, icc=b"".join(profile[number] for number in sorted(profile)))


def _jpeg_segments(metadata: Metadata) -> Iterator[bytes]:
    room = _SEGMENT - len(_ICC_HEAD) - 2
    pieces = [metadata.icc[at : at + room] for at in range(0, len(metadata.icc), room)]
    parts = [
        (0xE1, "EXIF", metadata.exif and _EXIF_HEAD + metadata.exif),
        (0xE1, "XMP", metadata.xmp and _XMP_HEAD + metadata.xmp),
    ]
    parts += [
        (0xE2, "ICC", _ICC_HEAD + bytes([number, len(pieces)]) + piece)
        for number, piece in enumerate(pieces, 1)
    ]
    for marker, what, body in parts:
        if len(body) > _SEGMENT:
            log.warning("%s of %d bytes is more than a JPEG holds, and is left out", what, len(body))
        elif body:
            yield bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def webp_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the name and the content of each chunk of a WebP; one that is cut short has what is left."""
    place = 12
    while place + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, place)
        yield kind, data[place + 8 : place + 8 + length]
        place += 8 + length + length % 2


def _webp(encoded: bytes, metadata: Metadata, size: tuple[int, int], alpha: bool) -> bytes:
    """Write the extended form: a header that says what there is, and each part in its place."""
    picture = [(kind, body) for kind, body in webp_chunks(encoded) if kind in (b"ALPH", b"VP8 ", b"VP8L")]
    flags = 0x20 * bool(metadata.icc) | 0x10 * alpha | 0x08 * bool(metadata.exif) | 0x04 * bool(metadata.xmp)
    sides = b"".join((side - 1).to_bytes(3, "little") for side in (size[1], size[0]))
    parts = [(b"VP8X", struct.pack("<I", flags) + sides), (b"ICCP", metadata.icc), *picture]
    parts += [(b"EXIF", metadata.exif), (b"XMP ", metadata.xmp)]
    body = b"".join(
        kind + struct.pack("<I", len(part)) + part + bytes(len(part) % 2) for kind, part in parts if part
    )
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body
