"""Bytes of picture files ↔ arrays: decoding, encoding, and what each format can hold.

Arrays are in RGB order; `lbfgs_style.images` turns them into pictures.
OpenCV warns of damaged files on stderr. How loud it is (``OPENCV_LOG_LEVEL``) is a setting of the whole
process and so belongs to the program, not to this library.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .embedding import embed
from .errors import ImageFileError, OptionError, did_you_mean
from .files import obstacle, replacing

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SAMPLE_TYPES = ("uint8", "uint16", "float32", "float64")


@dataclass(frozen=True, slots=True)
class FileFormat:
    """What a format that we write can hold.

    Attributes
    ----------
    alpha, sixteen_bit : bool
        Whether it has opacity, and samples of 16 bits.
    longest : int
        The longest side in pixels: of WebP by its definition, of the others by the libraries that write them.
    """

    alpha: bool
    sixteen_bit: bool
    longest: int


OUTPUT_FORMATS = {
    ".png": FileFormat(alpha=True, sixteen_bit=True, longest=1_000_000),
    ".jpg": FileFormat(alpha=False, sixteen_bit=False, longest=65_500),
    ".jpeg": FileFormat(alpha=False, sixteen_bit=False, longest=65_500),
    ".webp": FileFormat(alpha=True, sixteen_bit=False, longest=16_383),
    ".tif": FileFormat(alpha=True, sixteen_bit=True, longest=2**20),
    ".tiff": FileFormat(alpha=True, sixteen_bit=True, longest=2**20),
}


def output_format(path: Path | str) -> FileFormat:
    """Return what the format that `path` names by its extension can hold.

    Raises
    ------
    ImageFileError
        The extension is missing or none of `OUTPUT_FORMATS`.
    """
    suffix = Path(path).suffix.lower()
    if suffix in OUTPUT_FORMATS:
        return OUTPUT_FORMATS[suffix]
    known = ", ".join(OUTPUT_FORMATS)
    if not suffix:
        raise ImageFileError(f"{path}: the output has no extension; expected one of {known}: try {path}.png")
    hint = did_you_mean(suffix, OUTPUT_FORMATS)
    raise ImageFileError(f"{path}: pictures cannot be written as {suffix!r}; expected one of {known}.{hint}")


def check_output(path: Path | str, size: tuple[int, int] | None = None) -> None:
    """Find out before a long run whether a picture can be written to `path`.

    Parameters
    ----------
    path : path
        Where it is to be written.
    size : (int, int), optional
        Its height and width, once they are known.

    Raises
    ------
    ImageFileError
        `path` is a folder, its extension is unknown, its folder is missing or not writable, the file is there
        and write-protected, or the format cannot hold a picture of this size.
    """
    path = Path(path)
    if path.is_dir():
        raise ImageFileError(f"{path}: the output is a folder; expected a file name: try {path / 'out.png'}")
    holds = output_format(path)
    problem = obstacle(path)
    if problem is not None:
        raise ImageFileError(f"{path}: {problem}")
    if size is not None and max(size) > holds.longest:
        raise ImageFileError(
            f"{path}: a picture of {size[0]}×{size[1]} pixels does not fit {path.suffix}; expected sides of "
            f"at most {holds.longest} pixels: write a .png or .tiff, or a smaller picture"
        )


def load(path: Path | str, *, max_pixels: int) -> tuple[NDArray[Any], bool]:
    """Read and decode a picture file.

    Parameters
    ----------
    path : path
        A file of any format that OpenCV reads.
    max_pixels : int
        The largest height × width accepted.

    Returns
    -------
    pixels : array
        H×W, H×W×3 (RGB) or H×W×4 (RGBA), upright; uint8, uint16 or floating point. Floating point is clipped
        to [0, 1].
    grey : bool
        True for a file of one colour channel, with or without alpha.

    Raises
    ------
    ImageFileError
        The file is missing, unreadable, empty, too large, or not a picture of a supported kind.
    """
    path = Path(path)
    data = _read_bytes(path)
    grey_alpha = False
    if data.startswith(_PNG_SIGNATURE) and len(data) >= 26:
        # The declared size is looked at first because a few kilobytes can unpack to gigabytes.
        width, height = struct.unpack_from(">II", data, 16)
        _check_size(path, height, width, max_pixels)
        grey_alpha = data[25] == 4
    pixels = _decode(path, data)
    _check_size(path, pixels.shape[0], pixels.shape[1], max_pixels)
    if pixels.dtype.name not in _SAMPLE_TYPES:
        raise ImageFileError(
            f"{path}: {pixels.dtype} samples; expected 8 or 16 bit unsigned or floating point: convert it"
        )
    if pixels.dtype.kind == "f":
        if np.isnan(pixels).any():
            raise ImageFileError(
                f"{path}: contains NaN; expected numbers in [0, 1]: repair the picture first"
            )
        pixels = np.clip(pixels, 0, 1)
    if _is_premultiplied(data, pixels):
        pixels = _unmultiply(pixels)
    if pixels.ndim == 3:
        pixels = pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]
    return pixels, grey_alpha or pixels.ndim == 2


def store(path: Path | str, array: NDArray[Any], *, quality: int, recipe: str | None = None) -> None:
    """Encode an array and put it in the place of `path` in one step.

    Parameters
    ----------
    path : path
        Where to write; its extension chooses the format.
    array : array
        H×W, H×W×3 (RGB) or H×W×4 (RGBA), uint8 or uint16, as the format can hold.
    quality : int
        1 to 100, for JPEG and WebP.
    recipe : str, optional
        A text to keep inside the file, see `lbfgs_style.embedding`; TIFF and WebP hold none.

    Raises
    ------
    OptionError
        `quality` is outside 1 to 100.
    ImageFileError
        The picture cannot be encoded or the file cannot be written. An existing file is then left as it was.
    """
    import cv2

    path = Path(path)
    check_output(path, (array.shape[0], array.shape[1]))
    if not 1 <= quality <= 100:
        raise OptionError(f"quality must be from 1 to 100, got {quality}")
    flags: list[int] = []  # only those of the format: OpenCV warns of others
    suffix = path.suffix.lower()
    if suffix == ".webp":
        flags = [cv2.IMWRITE_WEBP_QUALITY, quality]
    elif suffix in (".jpg", ".jpeg"):
        # Full colour resolution: saturated brush strokes bleed over their edges with the default 4:2:0.
        full_color = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
        flags = [cv2.IMWRITE_JPEG_QUALITY, quality, *full_color]
    bgr = array if array.ndim == 2 else array[..., [2, 1, 0, 3][: array.shape[2]]]
    try:
        done, encoded = cv2.imencode(suffix, bgr, flags)
    except cv2.error as error:
        raise ImageFileError(f"{path}: OpenCV cannot encode the picture: {_first_line(error)}") from error
    if not done:
        raise ImageFileError(f"{path}: OpenCV cannot encode the picture: write a .png, or a smaller picture")
    data = encoded.tobytes() if recipe is None else embed(encoded.tobytes(), recipe)
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise ImageFileError(f"{path}: cannot be written: {error.strerror or error}") from error


def upright(pixels: NDArray[Any], exif: bytes) -> NDArray[Any]:
    """Turn H×W or H×W×C pixels as the orientation in an EXIF block asks (CIPA DC-008, tag 0x0112).

    A block is laid out like a TIFF file; in a JPEG six bytes go before that. Where it asks for nothing, or is
    damaged, the pixels come back as they are.
    """
    orientation = _directory_value(exif.removeprefix(b"Exif\0\0"), 0x0112)
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def _read_bytes(path: Path) -> bytes:
    if path.is_dir():
        raise ImageFileError(f"{path}: is a folder; expected a picture file")
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        if not path.parent.is_dir():
            raise ImageFileError(f"{path}: not found: the folder {path.parent} does not exist") from error
        listable = os.access(path.parent, os.R_OK)
        hint = did_you_mean(path.name, [entry.name for entry in path.parent.iterdir()] if listable else [])
        raise ImageFileError(f"{path}: no such file.{hint}") from error
    except OSError as error:
        raise ImageFileError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not data:
        raise ImageFileError(f"{path}: the file is empty; expected a picture")
    return data


def _decode(path: Path, data: bytes) -> NDArray[Any]:
    import cv2

    # UNCHANGED alone keeps alpha and 16 bits, but leaves the EXIF orientation to us. TIFF is the exception:
    # OpenCV turns it always, and reports no EXIF for it.
    buffer = np.frombuffer(data, np.uint8)
    try:
        pixels, kinds, blobs = cv2.imdecodeWithMetadata(buffer, flags=cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ImageFileError(f"{path}: OpenCV cannot decode the picture: {_first_line(error)}") from error
    # OpenCV's type stubs forget that this is how a failure looks.
    if pixels is None:  # pyright: ignore[reportUnnecessaryComparison]
        raise ImageFileError(
            f"{path}: damaged, cut short, or of a format that OpenCV does not read: try PNG or JPEG"
        )
    for kind, blob in zip(kinds, blobs, strict=True):
        if kind == cv2.IMAGE_METADATA_EXIF:
            return upright(pixels, blob.tobytes())
    return pixels


def _directory_value(tiff: bytes, wanted: int) -> int | None:
    """Return the 16-bit value of a tag in the first directory of a TIFF or EXIF block, if it is there."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return None
    with suppress(struct.error):
        (directory,) = struct.unpack_from(order + "I", tiff, 4)
        (entries,) = struct.unpack_from(order + "H", tiff, directory)
        for entry in range(entries):
            tag, _, _, value = struct.unpack_from(order + "HHIH", tiff, directory + 2 + 12 * entry)
            if tag == wanted:
                return value
    return None


def _is_premultiplied(data: bytes, pixels: NDArray[Any]) -> bool:
    # libtiff hands 8-bit pixels over multiplied by their alpha, whether the file holds them so
    # (ExtraSamples 1) or not (2). Deeper ones come as they are in the file.
    if pixels.ndim != 3 or pixels.shape[2] != 4:
        return False
    extra_samples = _directory_value(data, 338)
    return extra_samples == 1 or (extra_samples == 2 and pixels.dtype == np.uint8)


def _unmultiply(pixels: NDArray[Any]) -> NDArray[Any]:
    whole = pixels.dtype.kind == "u"
    top = float(np.iinfo(pixels.dtype).max) if whole else 1.0
    alpha = pixels[..., 3:].astype(np.float32)
    colour = np.minimum(pixels[..., :3] * (top / np.where(alpha > 0, alpha, top)), top)
    return np.concatenate([np.rint(colour) if whole else colour, alpha], axis=2).astype(pixels.dtype)


def _check_size(path: Path, height: int, width: int, max_pixels: int) -> None:
    if height * width > max_pixels:
        raise ImageFileError(
            f"{path}: {height}×{width} pixels; expected at most {max_pixels} in all: make it smaller first"
        )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
