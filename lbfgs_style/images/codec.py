"""Bytes of picture files ↔ arrays: decoding and encoding.

Arrays are in RGB order; `lbfgs_style.images` turns them into pictures.
OpenCV warns of damaged files on stderr. How loud it is (``OPENCV_LOG_LEVEL``) is a setting of the whole
process and so belongs to the program, not to this library.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageFileError, OptionError
from ..system.files import atomic_write
from . import exif as tiff_tags
from . import first_frames, metadata
from .formats import avif, bmp, color_codes, png_color, tiff_declared, tiff_pixels
from .icc_profile import Profile
from .input_limits import check_size, header
from .metadata import Metadata
from .resize import memory_errors

log = logging.getLogger(__name__)

# Formats whose numbers are proportional to energy: Radiance by its definition, PFM by custom.
_LINEAR = ("Radiance HDR", "PFM")

_SAMPLE_TYPES = ("uint8", "uint16", "float16", "float32", "float64")


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """A picture file, unpacked.

    Attributes
    ----------
    pixels : array
        H×W, H×W×3 (RGB) or H×W×4 (RGBA), upright; uint8, uint16, or floating point: in [0, 1] from Radiance,
        PFM and TIFF.
    gray : bool
        True for a file of one colour channel, with or without alpha.
    metadata : Metadata
        What the file says beside its pixels.
    profile : Profile or None
        How the pixels become sRGB where no embedded ICC profile says it; None where they are sRGB.
    """

    pixels: NDArray[Any]
    gray: bool
    metadata: Metadata
    profile: Profile | None = None


def decode(data: bytes, name: str, *, max_pixels: int) -> Decoded:
    """Decode the bytes of a picture file.

    Parameters
    ----------
    data : bytes
        A file of a format in `lbfgs_style.images.formats.registry`.
    name, max_pixels
        See `lbfgs_style.images.decode`.

    Raises
    ------
    ImageFileError
        The file is empty, too large, or not a picture of a supported kind.
    """
    if not data:
        raise ImageFileError(f"{name}: the file is empty; expected a picture")
    file_format, size = header(name, data)
    # The declared size is looked at first because a few bytes can unpack to gigabytes.
    check_size(name, *size, max_pixels)
    gray_alpha = file_format == "PNG" and data[25:26] in (b"\0", b"\4")
    if file_format == "TIFF":
        exif = b""
        gray_alpha = tiff_tags.number(data, tiff_tags.PHOTOMETRIC) in (0, 1)
        pixels = tiff_pixels.decode(name, data, lambda part: _unpack(name, part, file_format)[0])
    elif file_format == "BMP" and (masked := _unmask(name, data)) is not None:
        pixels, exif = masked, b""
    else:
        pixels, exif = _unpack(name, data, file_format)
    check_size(name, pixels.shape[0], pixels.shape[1], max_pixels)
    if pixels.dtype.name not in _SAMPLE_TYPES:
        raise ImageFileError(
            f"{name}: {pixels.dtype} samples; expected 8 or 16 bit unsigned or floating point: convert it"
        )
    if pixels.dtype.kind == "f" and np.isnan(pixels).any():
        raise ImageFileError(f"{name}: contains NaN; expected numbers in [0, 1]: repair the picture first")
    about = metadata.read(data, exif)
    profile, about = _declared_colors(name, data, about)
    if profile is None and (file_format in _LINEAR or tiff_declared.is_linear(data)):
        pixels, profile = _clipped_light(name, pixels), color_codes.linear()
    pixels = _finished(name, data, pixels, about.exif)
    if pixels.ndim == 3:
        pixels = pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]
    several = first_frames.told(data, file_format)
    if several is not None:
        log.warning("%s: %s", name, several)
    return Decoded(pixels, gray_alpha or pixels.ndim == 2, about, profile)


def encode(array: NDArray[Any], suffix: str, about: Metadata, *, quality: int, name: str) -> bytes:
    """Encode an array as a picture file.

    Parameters
    ----------
    array : array
        H×W, H×W×3 (RGB) or H×W×4 (RGBA), uint8 or uint16, as the format can hold.
    suffix : str
        The format, one of `lbfgs_style.images.formats.output.OUTPUT_FORMATS`.
    about : Metadata
        What the file is to say beside its pixels.
    quality : int
        1 to 100, for JPEG, WebP and AVIF.
    name : str
        What error messages call the file.

    Raises
    ------
    OptionError
        `quality` is outside 1 to 100.
    ImageFileError
        OpenCV cannot encode the picture.
    """
    import cv2

    if not 1 <= quality <= 100:
        raise OptionError(f"quality must be from 1 to 100, got {quality}")
    flags: list[int] = []  # only those of the format: OpenCV warns of others
    if suffix == ".webp":
        flags = [cv2.IMWRITE_WEBP_QUALITY, quality]
    elif suffix == ".avif":
        flags = [cv2.IMWRITE_AVIF_QUALITY, quality]
        if array.dtype == np.uint16:
            # Its deeper kind of 12 bits is one that fewer programs show.
            flags += [cv2.IMWRITE_AVIF_DEPTH, 10]
            array = np.rint(array * (1023 / 65535)).astype(np.uint16)
    elif suffix in (".jpg", ".jpeg"):
        # Full colour resolution: saturated brush strokes bleed over their edges with the default 4:2:0.
        full_color = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
        flags = [cv2.IMWRITE_JPEG_QUALITY, quality, *full_color]
    bgr = array if array.ndim == 2 else array[..., [2, 1, 0, 3][: array.shape[2]]]
    kinds = (cv2.IMAGE_METADATA_EXIF, cv2.IMAGE_METADATA_ICCP, cv2.IMAGE_METADATA_XMP)
    blobs = (about.exif, about.icc, about.xmp) if suffix == ".avif" else ()
    given = [(kind, np.frombuffer(blob, np.uint8)) for kind, blob in zip(kinds, blobs, strict=False) if blob]
    try:
        with memory_errors():
            if given:
                pairs = [kind for kind, _ in given], [blob for _, blob in given]
                done, encoded = cv2.imencodeWithMetadata(suffix, bgr, *pairs, flags)
            else:
                done, encoded = cv2.imencode(suffix, bgr, flags)
    except cv2.error as error:
        raise ImageFileError(f"{name}: OpenCV cannot encode the picture: {_words(error)}") from error
    if not done:
        raise ImageFileError(f"{name}: OpenCV cannot encode the picture: write a .png, or a smaller picture")
    alpha = array.ndim == 3 and array.shape[2] == 4
    return metadata.embed(encoded.tobytes(), about, (array.shape[0], array.shape[1]), alpha=alpha)


def write_bytes(path: Path, data: bytes) -> None:
    """Put bytes in the place of `path` in one step; where that fails, an existing file is left as it was."""
    try:
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            file.write(data)
    except OSError as error:
        raise ImageFileError(f"{path}: cannot be written: {error.strerror or error}") from error


def upright(pixels: NDArray[Any], exif: bytes) -> NDArray[Any]:
    """Turn H×W or H×W×C pixels as the orientation in an EXIF block asks (CIPA DC-008, tag 0x0112).

    Where it asks for nothing, or is damaged, the pixels come back as they are.
    """
    return tiff_pixels.turned(pixels, tiff_tags.number(exif, tiff_tags.ORIENTATION))


def _unpack(name: str, data: bytes, file_format: str) -> tuple[NDArray[Any], bytes]:
    import cv2

    # UNCHANGED alone keeps alpha and 16 bits, but leaves the orientation to us, TIFF's excepted.
    buffer = np.frombuffer(data, np.uint8)
    try:
        with memory_errors():
            pixels, kinds, blobs = cv2.imdecodeWithMetadata(buffer, flags=cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ImageFileError(f"{name}: OpenCV cannot decode the picture: {_words(error)}") from error
    # OpenCV's type stubs forget that this is how a failure looks.
    if pixels is None:  # pyright: ignore[reportUnnecessaryComparison]
        raise ImageFileError(
            f"{name}: damaged or cut short; expected a whole {file_format} file: get another copy of it"
        )
    pairs = zip(kinds, blobs, strict=True)
    return pixels, next((blob.tobytes() for kind, blob in pairs if kind == cv2.IMAGE_METADATA_EXIF), b"")


def _unmask(name: str, data: bytes) -> NDArray[Any] | None:
    try:
        return bmp.decode(data)
    except ValueError as error:
        raise ImageFileError(f"{name}: {error}; expected a whole BMP file: get another copy of it") from error


def _finished(name: str, data: bytes, pixels: NDArray[Any], exif: bytes) -> NDArray[Any]:
    """Do what OpenCV leaves undone: turn pictures, scale deep AVIF, add alpha."""
    if tiff_tags.is_tiff(data):
        return pixels
    if pixels.ndim == 2:
        pixels = _with_clear_gray(data, pixels)
    if not avif.is_avif(data):
        return upright(pixels, exif)
    found = avif.properties(data)
    if pixels.dtype == np.uint16:
        # Its 10 or 12 bits come as they are.
        top = (1 << found.bits) - 1 if found.bits > 8 else 65535
        pixels = np.rint(np.minimum(pixels, top) * (65535 / top)).astype(np.uint16)
    # An EXIF orientation means nothing here (ISO/IEC 23000-22): the file has properties for it.
    pixels = np.rot90(pixels, found.turns)
    return pixels if found.mirror is None else np.flip(pixels, found.mirror)


def _declared_colors(name: str, data: bytes, about: Metadata) -> tuple[Profile | None, Metadata]:
    """Return the profile that a PNG or AVIF names by code or numbers, and the metadata that still count."""
    profile, transfer = None, ""
    if data.startswith(metadata.PNG_SIGNATURE):
        try:
            profile, icc_counts = png_color.declared(data, name)
        except ValueError as error:
            transfer = str(error)
        else:
            about = about if icc_counts else replace(about, icc=b"")
    elif avif.is_avif(data) and not about.icc:
        found = avif.properties(data)
        transfer = color_codes.HDR.get(found.transfer, "")
        # A file that leaves one of the two open means sRGB by it.
        profile = color_codes.by_code(
            1 if found.primaries == 2 else found.primaries, 13 if found.transfer == 2 else found.transfer
        )
        if profile is None:
            codes = found.primaries, found.transfer
            log.warning("%s: colours of primaries no. %d, transfer no. %d are taken as sRGB", name, *codes)
    if transfer:
        raise ImageFileError(
            f"{name}: a picture of high dynamic range ({transfer}); expected standard dynamic range (SDR): "
            "convert it to sRGB, with tone mapping, first"
        )
    return profile if profile is not None and not profile.is_srgb() else None, about


def _clipped_light(name: str, pixels: NDArray[Any]) -> NDArray[Any]:
    """Clip linear light to [0, 1], and say in one line that it is such and what was lost."""
    outside = float(np.mean((pixels < 0) | (pixels > 1)))
    lost = (
        f"; {outside:.1%} of its values are outside [0, 1] and clipped: lower its exposure in an HDR "
        "editor first"
        if outside
        else ""
    )
    log.warning("%s: linear light, converted to sRGB%s", name, lost)
    return np.clip(pixels, 0, 1)


def _with_clear_gray(data: bytes, pixels: NDArray[Any]) -> NDArray[Any]:
    """Add the alpha of a grey PNG in which one grey stands for transparent; OpenCV does it for colours."""
    key = metadata.png_transparency(data)
    if len(key) != 2:
        return pixels
    top = np.iinfo(pixels.dtype).max
    clear = pixels == int.from_bytes(key, "big") * top // ((1 << data[24]) - 1)
    return np.stack([pixels] * 3 + [np.where(clear, 0, top).astype(pixels.dtype)], axis=2)


def _words(error: Exception) -> str:
    """Return what OpenCV says in one line, without the place in its source."""
    return " ".join(str(getattr(error, "err", "") or error).split())
