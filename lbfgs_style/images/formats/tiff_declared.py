"""The samples that a TIFF file declares, and which declarations OpenCV decodes correctly.

OpenCV decodes several kinds of TIFF wrongly without an error: separate planes of 16 bits, a compression that
it lacks, the small preview of a camera raw file. A file that declares such samples (TIFF 6.0; DNG 1.7) is
therefore refused before it is decoded, and decoded pixels are compared with the declaration afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from numpy.typing import NDArray

from .. import exif

# Why a camera raw file is refused, with the remedy.
RAW = "camera raw: develop it first (darktable, RawTherapee, or the camera's program) and save a PNG or TIFF"

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, YCBCR, LAB, LOG_LUV = 0, 1, 2, 3, 6, 8, 32845
NONE, LZW, DEFLATE, OLD_DEFLATE, PACK_BITS = 1, 5, 8, 32946, 32773

# Tags beyond those of `exif`; _KIND is NewSubfileType.
_KIND, _BITS, _COMPRESSION, _SAMPLES, _PLANAR, _FORMAT, _DNG = 254, 258, 259, 277, 284, 339, 50706
_PREDICTOR = 317

# Predictor 3: bytes of floating-point samples, grouped by significance, as differences from their left ones.
_OF_FLOATS = 3

# Bits of NewSubfileType: a reduced copy of another page; a transparency mask.
_REDUCED, _MASK = 1, 4

# Samples of the longest side that OpenCV reads.
LONGEST = 1 << 20

# Samples of the largest image that OpenCV reads.
_MOST = 1 << 30

_SENSOR = (32803, 34892)  # PhotometricInterpretation: colour filter array, linear raw

_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3

# Compressions that OpenCV's libtiff decodes: none, CCITT (2, 3, 4, 32771), LZW, JPEG, Deflate, PackBits,
# and SGI's logarithms of light.
_DECODED = {NONE, 2, 3, 4, 32771, LZW, 7, DEFLATE, OLD_DEFLATE, PACK_BITS, 34676, 34677}
_NAMES = {
    6: "old JPEG",
    32809: "ThunderScan",
    34661: "JBIG",
    34712: "JPEG 2000",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    34887: "LERC",
    34925: "LZMA",
    34926: "ZSTD",
    34927: "WebP",
    50000: "ZSTD",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}
_COLOURS = {
    4: "a transparency mask",
    exif.CMYK: "CMYK",
    PALETTE: "a palette",
    YCBCR: "YCbCr",
    LAB: "CIELab",
    9: "ICCLab",
    10: "ITULab",
    32844: "LogL",
    LOG_LUV: "LogLuv",
}

# Extensions of camera raw files, which begin as TIFF files do.
_RAW_EXTENSIONS = {
    *(".3fr", ".arw", ".cap", ".cr2", ".dcr", ".dng", ".erf", ".fff", ".gpr", ".iiq", ".kdc", ".mef"),
    *(".mos", ".nef", ".nrw", ".pef", ".raw", ".rwl", ".sr2", ".srf", ".srw"),
}


@dataclass(frozen=True, slots=True)
class Declared:
    """What the first page of a TIFF file declares.

    Attributes
    ----------
    page : Directory
        Its tags.
    height, width : int
        Pixels as they are stored, before the orientation is applied.
    samples : int
        Samples per pixel, alpha among them.
    bits : int
        Bits per sample.
    sample_format : int
        1 unsigned, 2 signed, 3 floating point.
    compression, photometric : int
        Codes of TIFF 6.0, tags 259 and 262.
    planar : bool
        Whether the samples are stored in separate planes.
    predictor : int
        1 no predictor, 2 differences of whole numbers, 3 of floating point; 1 for compressions without one.
    orientation : int
        1 to 8.
    """

    page: exif.Directory
    height: int
    width: int
    samples: int
    bits: int
    sample_format: int
    compression: int
    photometric: int
    planar: bool
    predictor: int
    orientation: int

    @property
    def is_gray(self) -> bool:
        """Tell whether the colour is one sample, black or white at 0."""
        return self.photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO)

    @property
    def is_half(self) -> bool:
        """Tell whether the samples are floating point of 16 bits."""
        return self.sample_format == _FLOAT and self.bits == 16

    @property
    def is_wide_gray(self) -> bool:
        """Tell whether grey with extra samples can be decoded as grey of `samples` times the width."""
        wide = max(self.width, (exif.numbers(self.page, exif.TILE_WIDTH) or (0,))[0]) * self.samples
        return (
            self.is_gray
            and self.samples > 1
            and not self.planar
            and self.bits in (8, 16, 32, 64)
            and self.compression in (NONE, LZW, DEFLATE, OLD_DEFLATE, PACK_BITS)
            and self.predictor != _OF_FLOATS
            and wide <= LONGEST
            and wide * self.height <= _MOST
        )

    @property
    def alpha(self) -> tuple[int, int] | None:
        """Return the index of the alpha of a grey file, and its kind (1 premultiplied, 2 not), or None."""
        extra = exif.numbers(self.page, exif.EXTRA_SAMPLES) or ()
        kinds = ((number, kind) for number, kind in enumerate(extra[: self.samples - 1], 1) if kind in (1, 2))
        return next(kinds, None) if self.is_gray else None


def read(data: bytes) -> Declared | None:
    """Return what a TIFF file declares; None where it has no first page, or not the size of one."""
    pages = exif.pages(data, most=1)
    page = pages[0] if pages else {}

    def first(tag: int, default: int) -> int:
        return (exif.numbers(page, tag) or (default,))[0]

    height, width = first(exif.HEIGHT, 0), first(exif.WIDTH, 0)
    if not height or not width:
        return None
    bits = exif.numbers(page, _BITS) or (1,)
    compression = first(_COMPRESSION, NONE)
    return Declared(
        page=page,
        height=height,
        width=width,
        samples=first(_SAMPLES, 1),
        bits=bits[0] if len(set(bits)) == 1 else 0,
        sample_format=first(_FORMAT, _UNSIGNED),
        compression=compression,
        photometric=first(exif.PHOTOMETRIC, -1),
        planar=first(_PLANAR, 1) == 2,
        predictor=first(_PREDICTOR, 1) if compression in (LZW, DEFLATE, OLD_DEFLATE) else 1,
        orientation=first(exif.ORIENTATION, 1),
    )


def problem(data: bytes, declared: Declared, name: str) -> str | None:
    """Return why a TIFF file cannot be read correctly, with the remedy, in one line; None where it can.

    Parameters
    ----------
    data : bytes
        The file.
    declared : Declared
        What its first page declares.
    name : str
        The file's name; its extension identifies camera raw files that do not declare that they are raw.
    """
    if _is_raw(data, declared, name):
        return RAW
    if _is_reduced_copy(data, declared):
        return (
            "its first page declares itself a reduced copy of another (NewSubfileType 1); expected the "
            "image itself: save that as PNG or TIFF"
        )
    remedy = "convert it to PNG, or to TIFF with LZW or Deflate"
    if declared.compression not in _DECODED:
        known = _NAMES.get(declared.compression)
        called = f"{known} compression" if known else f"compression no. {declared.compression}"
        return f"a TIFF with {called}; expected none, LZW, Deflate, PackBits, JPEG or CCITT: {remedy}"
    if not 1 <= declared.samples <= 4:
        return f"a TIFF of {declared.samples} channels; expected 1 to 4: keep its red, green and blue alone"
    if declared.is_half and declared.predictor == _OF_FLOATS:
        return (
            "a TIFF of 16-bit floating point with predictor 3; expected predictor 1 or 2: save it without a "
            "predictor, or as floating point of 32 bits"
        )
    expected = _expected(declared)
    return f"a TIFF of {_spelled(declared)}; expected {expected}: {remedy}" if expected else None


def mismatch(declared: Declared, pixels: NDArray[Any]) -> str | None:
    """Return how decoded pixels differ from what the file declares, in one line; None where they agree.

    Parameters
    ----------
    declared : Declared
        What the file declares.
    pixels : array
        H×W or H×W×C, turned by the orientation or not.
    """
    size = (declared.height, declared.width)
    came, channels = pixels.shape[:2], 1 if pixels.ndim == 2 else pixels.shape[2]
    depth = 8 * pixels.dtype.itemsize
    expected_depth = max(8, declared.bits if declared.bits not in (10, 12, 14) else 16)
    if declared.photometric in (LOG_LUV, 32844):
        expected_depth = depth
    expected = 1 if declared.is_gray else max(3, declared.samples)
    if came in (size, size[::-1]) and (depth, channels) == (expected_depth, expected):
        return None
    return (
        f"declares {size[1]}×{size[0]} pixels of {expected} channels and {expected_depth} bits, and was "
        f"decoded as {came[1]}×{came[0]}, {channels} and {depth}: convert it to PNG"
    )


def page_count(data: bytes) -> int:
    """Return the number of pages that are images, without reduced copies and masks."""
    kinds = [(exif.numbers(page, _KIND) or (0,))[0] for page in exif.pages(data)]
    return sum(not kind & (_REDUCED | _MASK) for kind in kinds)


def is_linear(data: bytes) -> bool:
    """Tell whether a TIFF file holds logarithms of light, which OpenCV turns into linear light."""
    return exif.number(data, exif.PHOTOMETRIC) == LOG_LUV


def _is_raw(data: bytes, declared: Declared, name: str) -> bool:
    if data[8:10] == b"CR" or declared.photometric in _SENSOR or _DNG in declared.page:
        return True
    inner = exif.inner_pages(data, declared.page)
    photometric = [(exif.numbers(page, exif.PHOTOMETRIC) or (-1,))[0] for page in inner]
    return any(kind in _SENSOR for kind in photometric) or PurePath(name).suffix.lower() in _RAW_EXTENSIONS


def _is_reduced_copy(data: bytes, declared: Declared) -> bool:
    """Tell whether the first page is a copy of another; a page that is alone is the image."""
    if not (exif.numbers(declared.page, _KIND) or (0,))[0] & _REDUCED:
        return False
    others = [*exif.pages(data)[1:], *exif.inner_pages(data, declared.page)]
    return any(not (exif.numbers(page, _KIND) or (0,))[0] & (_REDUCED | _MASK) for page in others)


def _expected(declared: Declared) -> str | None:
    """Return what is expected in place of samples that are not read; None where they are read."""
    bits, kind = declared.bits, declared.photometric
    if kind not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB):
        # libtiff converts these to RGB, from these bit depths only.
        allowed = {PALETTE: (4, 8), exif.CMYK: (8,), YCBCR: (8,), LAB: (8,), LOG_LUV: (16,)}.get(kind)
        if allowed is None:
            return "grey, RGB, a palette, CMYK, YCbCr or CIELab"
        return None if bits in allowed else f"{' or '.join(map(str, allowed))} bits"
    if declared.sample_format == _FLOAT:
        if bits not in (16, 32, 64):
            return "floating point of 16, 32 or 64 bits"
    elif declared.sample_format not in (_UNSIGNED, _SIGNED):
        return "unsigned or floating-point samples"
    elif bits not in ((1, 8, 10, 12, 14, 16, 32, 64) if declared.is_gray else (8, 10, 12, 14, 16, 32, 64)):
        return "8 or 16 bits"
    if declared.is_wide_gray or (declared.is_gray and declared.planar):
        return None
    counts = (1,) if declared.is_gray and bits > 8 else (1, 2) if declared.is_gray else (3, 4)
    if declared.samples in counts:
        return None
    return "1 channel" if counts == (1,) else f"{' or '.join(map(str, counts))} channels"


def _spelled(declared: Declared) -> str:
    format_name = {_FLOAT: "floating-point", _SIGNED: "signed", 4: "undefined", 5: "complex", 6: "complex"}
    bits = f"{declared.bits}-bit" if declared.bits else "unequally deep"
    kind = format_name.get(declared.sample_format, "")
    colour = "grey" if declared.is_gray else "RGB" if declared.photometric == RGB else ""
    unknown = (
        "no PhotometricInterpretation"
        if declared.photometric < 0
        else f"PhotometricInterpretation {declared.photometric}"
    )
    colour = colour or _COLOURS.get(declared.photometric, unknown)
    channels = "1 channel" if declared.samples == 1 else f"{declared.samples} channels"
    return " ".join(word for word in (bits, kind, f"samples ({colour}, {channels})") if word)
