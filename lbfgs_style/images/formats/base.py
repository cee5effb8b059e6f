"""What an image file format is: the functions and limits that the rest of the package needs of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from .. import exif as exif_block
from ..icc_profile import Profile

# Height and width in pixels.
Size = tuple[int, int]

# The pixels of a file as OpenCV decodes it, in BGR order, and its EXIF block.
Unpacked = tuple[NDArray[Any], bytes]

EXIF_HEAD = b"Exif\0\0"

# What writes an image in tiles, see `Format.write_tiles`.
TileWriter = Callable[[BinaryIO, Size, Callable[[int, int], NDArray[Any]], "Metadata", "str | None"], None]

# Keyword of the text that `Format.write_text` puts into a file.
TEXT_KEYWORD = b"lbfgs-style"


@dataclass(frozen=True, slots=True)
class Metadata:
    """Metadata that an image carries from the file that it was read from to the file that is written.

    Attributes
    ----------
    exif : bytes
        The EXIF block, from its TIFF header on.
    icc : bytes
        The ICC colour profile.
    xmp : bytes
        The XMP packet.
    """

    exif: bytes = b""
    icc: bytes = b""
    xmp: bytes = b""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a written file of a format can hold.

    Attributes
    ----------
    alpha : bool
        Whether it can store alpha.
    bits : int
        Bits per sample that a 16-bit image keeps.
    longest : int
        Pixels of the longest side: a limit of the format in WebP and AVIF, and of the libraries that write
        them in the others.
    gray : bool
        Whether it has images of one channel.
    """

    alpha: bool
    bits: int
    longest: int
    gray: bool = True


def _one_frame(_: bytes) -> int:
    return 1


def _unpacked(_: str, data: bytes, unpack: Callable[[bytes], Unpacked]) -> Unpacked:
    return unpack(data)


def _never(_: bytes) -> bool:
    return False


def _no_metadata(_data: bytes, _exif: bytes) -> Metadata:
    return Metadata()


def _no_profile(_: str, _data: bytes, metadata: Metadata) -> tuple[Profile | None, Metadata]:
    return None, metadata


def _turned(_: bytes, pixels: NDArray[Any], exif: bytes) -> NDArray[Any]:
    return upright(pixels, exif)


def _plain(array: NDArray[Any], _: int) -> tuple[NDArray[Any], list[int]]:
    return array, []


def _nothing_wrong(_: bytes) -> str | None:
    return None


def _unchanged(encoded: bytes, _metadata: Metadata, _size: Size, _alpha: bool) -> bytes:
    return encoded


def _without_text(data: bytes, _: str) -> bytes:
    return data


def _no_text(_: bytes) -> str | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A file format: how it is recognised, read and written; fields left out have defaults that do nothing.

    Attributes
    ----------
    name : str
        Name in messages.
    begins : function
        (data) → whether a file begins as files of the format do.
    declared_size : function
        (data) → the height and width that a file declares, of several images the largest; None where they
        cannot be read. May raise struct.error where the file is cut short.
    suffixes : tuple of str
        Extensions of the files that are written; none where the format is only read.
    capacity : Capacity
        What a written file can hold.
    refusal : function
        (data) → why decoding would take too long, or None.
    frame_count : function
        (data) → the number of frames or pages. May raise struct.error or IndexError.
    frames : str
        What `frame_count` counts: ``frames`` of an animation or ``pages``.
    decode : function
        (name, data, unpack) → pixels in BGR order and the EXIF block; ``unpack(data)`` lets OpenCV decode.
    has_gray_pixels : function
        (data) → whether the file has one colour channel, although more may be decoded.
    is_linear : function
        (data) → whether the samples are proportional to light.
    declared_profile : function
        (name, data, metadata) → the profile that the file declares without an ICC profile, or None for sRGB,
        and the metadata that still count. Raises ValueError, whose text names the transfer function, for a
        high dynamic range.
    finish : function
        (data, pixels, exif) → the pixels, upright and complete, where OpenCV leaves that undone.
    encoder : function
        (array, quality) → the array and OpenCV's flags.
    encodes_metadata : bool
        Whether OpenCV writes the metadata.
    read_metadata : function
        (data, exif) → metadata; `exif` is the block that OpenCV read.
    write_metadata : function
        (encoded, metadata, size, alpha) → the file with metadata in it.
    write_tiles : function or None
        (file, size, rows, metadata, text) → writes an image in tiles into an empty binary file, a band of
        rows at a time, see `tiff_tiles.write`; `text` as for `write_text`, or None.
    write_text, read_text : function
        (data, text) → the file with a text that viewers do not show; (data) → that text or None.
    """

    name: str
    begins: Callable[[bytes], bool]
    declared_size: Callable[[bytes], Size | None]
    suffixes: tuple[str, ...] = ()
    capacity: Capacity = Capacity(alpha=True, bits=16, longest=2**20)
    refusal: Callable[[bytes], str | None] = _nothing_wrong
    frame_count: Callable[[bytes], int] = _one_frame
    frames: str = "frames"
    decode: Callable[[str, bytes, Callable[[bytes], Unpacked]], Unpacked] = _unpacked
    has_gray_pixels: Callable[[bytes], bool] = _never
    is_linear: Callable[[bytes], bool] = _never
    declared_profile: Callable[[str, bytes, Metadata], tuple[Profile | None, Metadata]] = _no_profile
    finish: Callable[[bytes, NDArray[Any], bytes], NDArray[Any]] = _turned
    encoder: Callable[[NDArray[Any], int], tuple[NDArray[Any], list[int]]] = _plain
    encodes_metadata: bool = False
    read_metadata: Callable[[bytes, bytes], Metadata] = _no_metadata
    write_metadata: Callable[[bytes, Metadata, Size, bool], bytes] = _unchanged
    write_tiles: TileWriter | None = None
    write_text: Callable[[bytes, str], bytes] = _without_text
    read_text: Callable[[bytes], str | None] = _no_text


def starts_with(*starts: bytes) -> Callable[[bytes], bool]:
    """Return a function that tells whether a file begins with one of some bytes."""
    return lambda data: data.startswith(starts)


def upright(pixels: NDArray[Any], exif: bytes) -> NDArray[Any]:
    """Turn H×W or H×W×C pixels as the orientation in an EXIF block says (CIPA DC-008, tag 0x0112).

    Pixels come back unchanged where the block says nothing or is damaged.
    """
    return turned(pixels, exif_block.number(exif, exif_block.ORIENTATION))


def turned(pixels: NDArray[Any], orientation: int | None) -> NDArray[Any]:
    """Turn H×W or H×W×C pixels upright by an orientation of 2 to 8 (TIFF 6.0, tag 274)."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def to_16_bits(pixels: NDArray[np.uint16], bits: int) -> NDArray[np.uint16]:
    """Scale samples of fewer bits, which OpenCV does not scale, to 16 bits."""
    top = (1 << bits) - 1 if bits > 8 else 65535
    return np.rint(np.minimum(pixels, top) * (65535 / top)).astype(np.uint16)
