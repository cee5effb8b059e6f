"""The table of file formats, and the format of a file by its first bytes or by its extension."""

from __future__ import annotations

import struct
from pathlib import Path

from ...errors import ImageFileError, did_you_mean
from ...system.files import why_unwritable
from .avif import AVIF
from .base import Format, Metadata, Size
from .bmp import BMP
from .heic import HEIC
from .jpeg import JPEG
from .plain import GIF, JPEG_2000, PAM, PFM, PNM, RADIANCE, SUN
from .png import PNG
from .tiff import TIFF
from .webp import WEBP

FORMATS = (PNG, JPEG, WEBP, AVIF, HEIC, TIFF, GIF, BMP, PAM, PNM, PFM, RADIANCE, JPEG_2000, SUN)

# Extension → format, for those that are written.
OUTPUT_FORMATS = {suffix: each for each in FORMATS for suffix in each.suffixes}

# Extensions of the images in a folder; files of other names are read, too, by their first bytes.
_READ_ALONE = (".jpe", ".jfif", ".bmp", ".gif", ".ppm", ".pgm", ".pnm", ".jp2", ".heic", ".heif")
INPUT_SUFFIXES = (*OUTPUT_FORMATS, *_READ_ALONE)


def format_of(data: bytes) -> Format | None:
    """Return the format by the first bytes of a file; None where it is not one of `FORMATS`."""
    return next((each for each in FORMATS if each.begins(data)), None)


def declared_size(file_format: Format, data: bytes) -> Size | None:
    """Return the height and width that a file declares; None where they cannot be read."""
    try:
        return file_format.declared_size(data)
    except struct.error:
        return None


def frame_count(file_format: Format, data: bytes) -> int:
    """Return the number of frames or pages of a file; 1 where it is damaged after the first."""
    try:
        return file_format.frame_count(data)
    except (struct.error, IndexError):
        return 1


def read_metadata(data: bytes, exif: bytes = b"") -> Metadata:
    """Return the metadata of a file; damaged parts count as missing.

    Parameters
    ----------
    data : bytes
        The file.
    exif : bytes
        The EXIF block that OpenCV read.
    """
    file_format = format_of(data)
    return Metadata() if file_format is None else file_format.read_metadata(data, exif)


def write_metadata(encoded: bytes, metadata: Metadata, size: Size, *, alpha: bool) -> bytes:
    """Put metadata into an encoded file without metadata; other formats come back unchanged.

    Parameters
    ----------
    encoded : bytes
        The file.
    metadata : Metadata
        What to put in.
    size : (int, int)
        Height and width of the image.
    alpha : bool
        Whether the image has opacity.
    """
    file_format = format_of(encoded)
    if file_format is None or metadata == Metadata():
        return encoded
    return file_format.write_metadata(encoded, metadata, size, alpha)


def write_text(data: bytes, text: str) -> bytes:
    """Put a text, which no viewer shows, into a PNG, JPEG or TIFF; other formats come back unchanged."""
    file_format = format_of(data)
    return data if file_format is None else file_format.write_text(data, text)


def read_text(data: bytes) -> str | None:
    """Return the text that `write_text` put into a file, or None."""
    file_format = format_of(data)
    return None if file_format is None else file_format.read_text(data)


def output_format(path: Path | str) -> Format:
    """Return the format that the extension of `path` names.

    Raises
    ------
    ImageFileError
        The extension is missing or not one of `OUTPUT_FORMATS`.
    """
    suffix = Path(path).suffix.lower()
    if suffix in OUTPUT_FORMATS:
        return OUTPUT_FORMATS[suffix]
    known = ", ".join(OUTPUT_FORMATS)
    if not suffix:
        raise ImageFileError(f"{path}: the output has no extension; expected one of {known}: try {path}.png")
    hint = did_you_mean(suffix, OUTPUT_FORMATS)
    raise ImageFileError(f"{path}: images cannot be written as {suffix!r}; expected one of {known}.{hint}")


def check_output(path: Path | str, size: tuple[int, int] | None = None) -> None:
    """Check before a long run that an image can be written to `path`.

    Parameters
    ----------
    path : path
        File to write.
    size : (int, int), optional
        Height and width of the image, once they are known.

    Raises
    ------
    ImageFileError
        `path` is a folder, its extension is unknown, its folder is missing or not writable, the file exists
        and is write-protected, or the format cannot hold an image of this size.
    """
    path = Path(path)
    if path.is_dir():
        raise ImageFileError(f"{path}: the output is a folder; expected a file name: try {path / 'out.png'}")
    output_format(path)
    problem = why_unwritable(path)
    if problem is not None:
        raise ImageFileError(f"{path}: {problem}")
    if size is not None:
        check_size(path, size)


def check_size(path: Path | str, size: Size) -> None:
    """Raise ImageFileError where the format of `path` cannot hold an image of that (height, width)."""
    longest = output_format(path).capacity.longest
    if max(size) > longest:
        raise ImageFileError(
            f"{path}: an image of {size[1]}×{size[0]} pixels does not fit {Path(path).suffix}; expected "
            f"sides of at most {longest} pixels: write a .png or .tiff, or a smaller image"
        )
