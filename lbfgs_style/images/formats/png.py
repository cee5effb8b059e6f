"""PNG (W3C, Portable Network Graphics, third edition): size, frames, colours, metadata, texts."""

from __future__ import annotations

import logging
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..icc_profile import Formula, Profile
from . import color_codes
from .base import EXIF_HEAD, TEXT_KEYWORD, Capacity, Format, Metadata, Size, starts_with, upright

log = logging.getLogger(__name__)

SIGNATURE = b"\x89PNG\r\n\x1a\n"

# Bytes up to the end of the header chunk, which comes first: length, name, 13 bytes, checksum.
_HEADER_END = len(SIGNATURE) + 25

_XMP_KEYWORD = b"XML:com.adobe.xmp"

# Bytes that a compressed profile may unpack to: a few kilobytes can hold gigabytes.
_PROFILE_BYTES = 1 << 24

# Relative distance of an exponent from 1/2.2 within which libpng, too, takes it for sRGB's.
_SRGB_TOLERANCE = 0.05

# Range of plausible exponents: with others every grey becomes nearly black, or nearly white.
_MIN_EXPONENT, _MAX_EXPONENT = 0.1, 10.0

# Chunks store chromaticities and exponents in units of 1/100,000.
_UNIT = 100_000


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the name and the content of each chunk; a chunk that is cut short has what is left."""
    position = len(SIGNATURE)
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        yield kind, data[position + 8 : position + 8 + length]
        position += 12 + length


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _declared_size(data: bytes) -> Size:
    width, height = struct.unpack_from(">II", data, 16)
    return height, width


def _frame_count(data: bytes) -> int:
    for kind, body in chunks(data):
        if kind == b"acTL":
            return struct.unpack_from(">I", body)[0]
        if kind == b"IDAT":
            break
    return 1


def _has_gray_pixels(data: bytes) -> bool:
    return data[25:26] in (b"\0", b"\4")


def _finish(data: bytes, pixels: NDArray[Any], exif: bytes) -> NDArray[Any]:
    """Add the alpha of a grey image in which one grey means transparent; OpenCV does it for colours."""
    key = next((body for kind, body in chunks(data) if kind == b"tRNS"), b"")
    if pixels.ndim == 2 and len(key) == 2:
        top = np.iinfo(pixels.dtype).max
        clear = pixels == int.from_bytes(key, "big") * top // ((1 << data[24]) - 1)
        pixels = np.stack([pixels] * 3 + [np.where(clear, 0, top).astype(pixels.dtype)], axis=2)
    return upright(pixels, exif)


def _read_metadata(data: bytes, _: bytes) -> Metadata:
    metadata = Metadata()
    for kind, body in chunks(data):
        if kind == b"eXIf":
            metadata = replace(metadata, exif=body.removeprefix(EXIF_HEAD))
        elif kind == b"iCCP" and not metadata.icc:  # only one is allowed, and many would take long to unpack
            with suppress(zlib.error):
                packed = body.partition(b"\0")[2][1:]  # after the name and the method
                profile = zlib.decompressobj().decompress(packed, _PROFILE_BYTES)
                metadata = replace(metadata, icc=profile)
        elif kind == b"iTXt" and body.startswith(_XMP_KEYWORD + b"\0\0"):  # the second zero: not compressed
            metadata = replace(metadata, xmp=body[len(_XMP_KEYWORD) + 3 :].split(b"\0", 2)[-1])
    return metadata


def _write_metadata(encoded: bytes, metadata: Metadata, _size: Size, _alpha: bool) -> bytes:
    parts = [
        (b"iCCP", metadata.icc and b"ICC profile\0\0" + zlib.compress(metadata.icc)),
        (b"eXIf", metadata.exif),
        (b"iTXt", metadata.xmp and _XMP_KEYWORD + bytes(5) + metadata.xmp),
    ]
    return _insert(encoded, b"".join(_chunk(kind, body) for kind, body in parts if body))


def _write_text(data: bytes, text: str) -> bytes:
    """Put a text into an ``iTXt`` chunk with the keyword `TEXT_KEYWORD`."""
    # No compression, no language: flag, method, and two empty strings.
    return _insert(data, _chunk(b"iTXt", TEXT_KEYWORD + bytes(5) + text.encode()))


def _read_text(data: bytes) -> str | None:
    for kind, body in chunks(data):
        if kind == b"iTXt" and body.startswith(TEXT_KEYWORD + b"\0"):
            return body.split(b"\0", 5)[-1].decode(errors="replace")
    return None


def _insert(data: bytes, parts: bytes) -> bytes:
    return data[:_HEADER_END] + parts + data[_HEADER_END:]


def _declared_profile(name: str, data: bytes, metadata: Metadata) -> tuple[Profile | None, Metadata]:
    profile, icc_counts = _color(data, name)
    return profile, metadata if icc_counts else replace(metadata, icc=b"")


def _color(data: bytes, name: str) -> tuple[Profile | None, bool]:
    """Return the profile that the chunks of a PNG define, and whether an embedded ICC profile counts.

    The order of precedence is cICP, iCCP, sRGB, then gAMA and cHRM (PNG, third edition, 4.3 and 11.3.2).

    Parameters
    ----------
    data : bytes
        The file.
    name : str
        What warnings call it, which are logged where a code or an exponent is not applied.

    Returns
    -------
    profile : Profile or None
        None where the image is sRGB, or an ICC profile defines its colours.
    icc_counts : bool
        False where cICP overrules the ICC profile.

    Raises
    ------
    ValueError
        The image has a high dynamic range; the error's text names its transfer function.
    """
    first: dict[bytes, bytes] = {}
    for kind, body in chunks(data):
        if kind == b"IDAT":
            break
        first.setdefault(kind, body)
    code = first.get(b"cICP", b"")
    if len(code) == 4:
        primaries, transfer, matrix, full_range = code
        if transfer in color_codes.HDR:
            raise ValueError(color_codes.HDR[transfer])
        profile = color_codes.by_code(primaries, transfer)
        if profile is not None and matrix == 0 and full_range == 1:
            return profile, False
        log.warning(
            "%s: the colour code %d-%d-%d-%d (cICP) is not known: %s taken in its place",
            *(name, *code, _instead(first)),
        )
    if b"iCCP" in first or b"sRGB" in first:
        return None, True
    exponent = _exponent(first.get(b"gAMA", b""), name)
    return _by_numbers(exponent, first.get(b"cHRM", b"")), True


def _instead(first: dict[bytes, bytes]) -> str:
    """Return what defines the colours in place of an unknown code, as part of a warning."""
    if b"iCCP" in first:
        return "its ICC profile (iCCP) is"
    numbers = [kind.decode() for kind in (b"gAMA", b"cHRM") if kind in first and b"sRGB" not in first]
    return f"{' and '.join(numbers)} {'are' if len(numbers) > 1 else 'is'}" if numbers else "sRGB is"


def _exponent(gamma: bytes, name: str) -> float | None:
    """Return the exponent of a chunk gAMA; None where it is missing or makes no sense."""
    if len(gamma) != 4:
        return None
    exponent = struct.unpack(">I", gamma)[0] / _UNIT
    if _MIN_EXPONENT <= exponent <= _MAX_EXPONENT:
        return exponent
    log.warning(
        "%s: its gamma of %g (gAMA) makes no sense; expected %g to %g: sRGB's curve is taken in its place",
        *(name, exponent, _MIN_EXPONENT, _MAX_EXPONENT),
    )
    return None


def _by_numbers(exponent: float | None, primaries: bytes) -> Profile | None:
    curve = None
    if exponent is not None and abs(exponent * 2.2 - 1) > _SRGB_TOLERANCE:
        curve = Formula(1 / exponent)
    profile = _by_primaries(primaries, curve or color_codes.SRGB_CURVE)
    if profile is not None or curve is None:
        return profile
    return color_codes.by_chromaticities(color_codes.SRGB, curve)


def _by_primaries(primaries: bytes, curve: Formula) -> Profile | None:
    """Return the profile of a chunk cHRM; None where it is missing, or its primaries span no colours."""
    if len(primaries) != 32:
        return None
    white_x, white_y, *rest = (value / _UNIT for value in struct.unpack(">8I", primaries))
    red_x, red_y, green_x, green_y, blue_x, blue_y = rest
    chromaticities = (red_x, red_y, green_x, green_y, blue_x, blue_y, white_x, white_y)
    return color_codes.by_chromaticities(chromaticities, curve)


PNG = Format(
    name="PNG",
    begins=starts_with(SIGNATURE),
    declared_size=_declared_size,
    suffixes=(".png",),
    capacity=Capacity(alpha=True, bits=16, longest=1_000_000),
    frame_count=_frame_count,
    has_gray_pixels=_has_gray_pixels,
    declared_profile=_declared_profile,
    finish=_finish,
    read_metadata=_read_metadata,
    write_metadata=_write_metadata,
    write_text=_write_text,
    read_text=_read_text,
)
