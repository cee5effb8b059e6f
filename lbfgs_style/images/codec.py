"""Bytes of image files ↔ arrays: decoding and encoding with OpenCV.

Arrays are in RGB order; `lbfgs_style.images.files` turns them into images. OpenCV warns of damaged files on
stderr. How much it writes (``OPENCV_LOG_LEVEL``) is a setting of the whole process and so belongs to the
program, not to this library.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageFileError, OptionError
from ..system.files import atomic_write
from .formats import color_codes
from .formats.base import Format, Metadata, Unpacked
from .formats.registry import OUTPUT_FORMATS, frame_count
from .icc_profile import Profile
from .input_limits import check_size, header
from .resize import memory_errors

log = logging.getLogger(__name__)

_SAMPLE_TYPES = ("uint8", "uint16", "float16", "float32", "float64")


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """The content of an image file.

    Attributes
    ----------
    pixels : array
        H×W, H×W×3 (RGB) or H×W×4 (RGBA), upright; uint8, uint16, or floating point: in [0, 1] from Radiance,
        PFM and TIFF.
    gray : bool
        True for a file of one colour channel, with or without alpha.
    metadata : Metadata
        EXIF, ICC profile and XMP.
    profile : Profile or None
        Colours that the file declares without an ICC profile (by code, gamma, or as linear light); None
        where they are sRGB or an ICC profile defines them.
    """

    pixels: NDArray[Any]
    gray: bool
    metadata: Metadata
    profile: Profile | None = None


def decode(data: bytes, name: str, *, max_pixels: int) -> Decoded:
    """Decode the bytes of an image file.

    Parameters
    ----------
    data : bytes
        A file of a format in `lbfgs_style.images.formats.registry`.
    name, max_pixels
        See `lbfgs_style.images.decode`.

    Raises
    ------
    ImageFileError
        The file is empty, too large, or not an image of a supported kind.
    """
    if not data:
        raise ImageFileError(f"{name}: the file is empty; expected an image")
    file_format, size = header(name, data)
    # The declared size is checked first because a few bytes can decode to gigabytes.
    check_size(name, *size, max_pixels)
    pixels, exif = file_format.decode(name, data, lambda part: _unpack(name, part, file_format))
    check_size(name, pixels.shape[0], pixels.shape[1], max_pixels)
    if pixels.dtype.name not in _SAMPLE_TYPES:
        raise ImageFileError(
            f"{name}: {pixels.dtype} samples; expected 8 or 16 bit unsigned or floating point: convert it"
        )
    if pixels.dtype.kind == "f" and np.isnan(pixels).any():
        raise ImageFileError(f"{name}: contains NaN; expected numbers in [0, 1]: repair the image first")
    metadata = file_format.read_metadata(data, exif)
    profile, metadata = _declared_profile(file_format, name, data, metadata)
    if profile is None and file_format.is_linear(data):
        pixels, profile = _clipped_light(name, pixels), color_codes.linear()
    pixels = file_format.finish(data, pixels, metadata.exif)
    if pixels.ndim == 3:
        pixels = _with_red_and_blue_swapped(pixels)
    _warn_of_frames(file_format, name, data)
    return Decoded(pixels, file_format.has_gray_pixels(data) or pixels.ndim == 2, metadata, profile)


def encode(array: NDArray[Any], suffix: str, metadata: Metadata, *, quality: int, name: str) -> bytes:
    """Encode an array as an image file.

    Parameters
    ----------
    array : array
        H×W, H×W×3 (RGB) or H×W×4 (RGBA), uint8 or uint16, as the format can hold.
    suffix : str
        Extension, a key of `lbfgs_style.images.formats.registry.OUTPUT_FORMATS`.
    metadata : Metadata
        EXIF, ICC profile and XMP of the file.
    quality : int
        1 to 100, for JPEG, WebP and AVIF.
    name : str
        What error messages call the file.

    Raises
    ------
    OptionError
        `quality` is outside 1 to 100.
    ImageFileError
        OpenCV cannot encode the image.
    """
    import cv2

    if not 1 <= quality <= 100:
        raise OptionError(f"quality must be from 1 to 100, got {quality}")
    file_format = OUTPUT_FORMATS[suffix]
    array, flags = file_format.encoder(array, quality)
    bgr = array if array.ndim == 2 else _with_red_and_blue_swapped(array)
    kinds = (cv2.IMAGE_METADATA_EXIF, cv2.IMAGE_METADATA_ICCP, cv2.IMAGE_METADATA_XMP)
    blobs = (metadata.exif, metadata.icc, metadata.xmp) if file_format.encodes_metadata else ()
    pairs = [(kind, np.frombuffer(blob, np.uint8)) for kind, blob in zip(kinds, blobs, strict=False) if blob]
    try:
        with memory_errors():
            if pairs:
                separate = [kind for kind, _ in pairs], [blob for _, blob in pairs]
                done, encoded = cv2.imencodeWithMetadata(suffix, bgr, *separate, flags)
            else:
                done, encoded = cv2.imencode(suffix, bgr, flags)
    except cv2.error as error:
        raise ImageFileError(f"{name}: OpenCV cannot encode the image: {_one_line(error)}") from error
    if not done:
        raise ImageFileError(f"{name}: OpenCV cannot encode the image: write a .png, or a smaller image")
    if metadata == Metadata():
        return encoded.tobytes()
    alpha = array.ndim == 3 and array.shape[2] == 4
    size = (array.shape[0], array.shape[1])
    return file_format.write_metadata(encoded.tobytes(), metadata, size, alpha)


def write_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file atomically, or raise ImageFileError and leave an existing file as it was."""
    try:
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            write(file)
    except OSError as error:
        raise ImageFileError(f"{path}: cannot be written: {error.strerror or error}") from error


def _with_red_and_blue_swapped(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return RGB for BGR, or BGR for RGB, C-contiguous: of another layout OpenCV would make a copy."""
    return np.take(pixels, [2, 1, 0, 3][: pixels.shape[2]], axis=2)


def _unpack(name: str, data: bytes, file_format: Format) -> Unpacked:
    import cv2

    # Only UNCHANGED keeps alpha and 16 bits; with it OpenCV applies no orientation but that of TIFF.
    buffer = np.frombuffer(data, np.uint8)
    try:
        with memory_errors():
            pixels, kinds, blobs = cv2.imdecodeWithMetadata(buffer, flags=cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ImageFileError(f"{name}: OpenCV cannot decode the image: {_one_line(error)}") from error
    # OpenCV returns None on failure, which its type stubs do not say.
    if pixels is None:  # pyright: ignore[reportUnnecessaryComparison]
        raise ImageFileError(
            f"{name}: damaged or cut short; expected a whole {file_format.name} file: get another copy of it"
        )
    pairs = zip(kinds, blobs, strict=True)
    return pixels, next((blob.tobytes() for kind, blob in pairs if kind == cv2.IMAGE_METADATA_EXIF), b"")


def _declared_profile(
    file_format: Format, name: str, data: bytes, metadata: Metadata
) -> tuple[Profile | None, Metadata]:
    """Return the profile that a file declares without ICC, and the metadata that remain valid."""
    try:
        profile, metadata = file_format.declared_profile(name, data, metadata)
    except ValueError as error:
        raise ImageFileError(
            f"{name}: an image of high dynamic range ({error}); expected standard dynamic range (SDR): "
            "convert it to sRGB, with tone mapping, first"
        ) from error
    return None if profile is not None and profile.is_srgb() else profile, metadata


def _warn_of_frames(file_format: Format, name: str, data: bytes) -> None:
    """Log that only the first of several frames or pages is used."""
    count = frame_count(file_format, data)
    if count > 1 and file_format.frames == "pages":
        log.warning("%s: a file of %d pages: the first page is used", name, count)
    elif count > 1:
        log.warning("%s: an animation of %d frames: the first is used", name, count)


def _clipped_light(name: str, pixels: NDArray[Any]) -> NDArray[Any]:
    """Clip linear light to [0, 1], and log that it is linear and how much was lost."""
    outside = float(np.mean((pixels < 0) | (pixels > 1)))
    lost = (
        f"; {outside:.1%} of its values are outside [0, 1] and clipped: lower its exposure in an HDR "
        "editor first"
        if outside
        else ""
    )
    log.warning("%s: linear light, converted to sRGB%s", name, lost)
    return np.clip(pixels, 0, 1)


def _one_line(error: Exception) -> str:
    """Return OpenCV's message in one line, without the position in its source."""
    return " ".join(str(getattr(error, "err", "") or error).split())
