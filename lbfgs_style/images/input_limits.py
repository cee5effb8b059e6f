"""Read the bytes of files and pipes within limits, and check headers before anything is decoded."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import BinaryIO

from ..errors import ImageFileError, did_you_mean
from ..system.files import MAX_BYTES, first_bytes, not_a_path, read_file
from .formats import foreign
from .formats.base import Format, Size
from .formats.registry import FORMATS, declared_size, format_of

# Pixels of the largest image that is read by default: 16,384 × 16,384.
MAX_PIXELS = 2**28

# Pixels of the longest side that OpenCV reads.
_LONGEST = 2**20

# Bytes at the beginning of a pipe that are read and checked before the rest.
BEGINNING_BYTES = 2**20

# Bytes that may come through a pipe in addition to the pixels: metadata, other frames.
EXTRA_BYTES = 2**28

# Bytes of the largest pixel: four numbers of 64 bits.
_BYTES_PER_PIXEL = 32


def read_bytes(path: Path, *, max_pixels: int = MAX_PIXELS) -> bytes:
    """Return the bytes of an image file, or raise ImageFileError; `max_pixels` as in `read_pipe`."""
    try:
        if path.is_dir():
            raise ImageFileError(f"{path}: is a folder; expected an image file")
        return read_file(path, read_pipe=lambda file: read_pipe(file, str(path), max_pixels=max_pixels))
    except FileNotFoundError as error:
        problem = not_a_path(path)
        if problem:
            address = str(path).replace(":/", "://", 1)  # Path merges the two slashes
            raise ImageFileError(f"{address}: {problem}") from error
        count = len(glob.glob(str(path)))  # noqa: PTH207  # Path.glob takes no absolute pattern
        if count:
            files = "one file matches" if count == 1 else f"{count} files match"
            raise ImageFileError(
                f"{path}: no such file: a pattern that the shell has not expanded, which {files}; expected "
                "the name of a file: leave out the quotes around it, or write the name"
            ) from error
        if not path.parent.is_dir():
            raise ImageFileError(f"{path}: not found: the folder {path.parent} does not exist") from error
        listable = os.access(path.parent, os.R_OK)
        hint = did_you_mean(path.name, [entry.name for entry in path.parent.iterdir()] if listable else [])
        raise ImageFileError(f"{path}: no such file.{hint}") from error
    except ImageFileError:
        raise
    except OSError as error:
        raise ImageFileError(f"{path}: cannot be read: {error.strerror or error}") from error


def read_pipe(file: BinaryIO, name: str, *, max_pixels: int) -> bytes:
    """Return the bytes of an image file that come through a pipe, which may have no end.

    Parameters
    ----------
    file : binary file
        The pipe. At most 256 MiB and 32 bytes for each pixel are read from it: of the pixels that the
        beginning declares, or of `max_pixels` where it does not tell.
    name, max_pixels
        See `lbfgs_style.images.decode`.

    Raises
    ------
    ImageFileError
        It does not begin as an image file, declares too many pixels, or does not end.
    """
    data = first_bytes(file, BEGINNING_BYTES)
    if len(data) < BEGINNING_BYTES:
        return data
    size = declared_size(known_format(name, data), data)
    if size is not None:
        check_size(name, *size, max_pixels)
    most = min(
        EXTRA_BYTES + _BYTES_PER_PIXEL * (max_pixels if size is None else size[0] * size[1]), MAX_BYTES
    )
    data = first_bytes(file, most + 1, begin=data)
    if len(data) > most:
        declared = "" if size is None else f" for an image of {size[1]}×{size[0]}"
        raise ImageFileError(
            f"{name}: more than {most} bytes come through this pipe{declared}; expected the end of an image: "
            "name a file in its place"
        )
    return data


def header(name: str, data: bytes) -> tuple[Format, Size]:
    """Return the format of a file, and the height and width that it declares, or raise ImageFileError."""
    file_format = known_format(name, data)
    size = declared_size(file_format, data)
    if size is None:
        raise ImageFileError(
            f"{name}: the header is damaged or cut short; expected a whole {file_format.name} file: get "
            "another copy of it"
        )
    refusal = file_format.refusal(data)
    if refusal is not None:
        raise ImageFileError(f"{name}: {refusal}")
    return file_format, size


def known_format(name: str, data: bytes) -> Format:
    """Return the format by the first bytes of a file, or raise ImageFileError where it cannot be read."""
    file_format = format_of(data)
    if file_format is not None:
        return file_format
    description = foreign.describe(data)
    if description is not None:
        raise ImageFileError(f"{name}: {description}")
    raise ImageFileError(
        f"{name}: damaged, cut short, or of a format that cannot be read; expected one of "
        f"{', '.join(each.name for each in FORMATS)}: convert it to PNG or JPEG"
    )


def check_size(name: str, height: int, width: int, max_pixels: int) -> None:
    """Raise ImageFileError where an image is larger than `max_pixels`, or than OpenCV reads."""
    if height * width > max_pixels:
        raise ImageFileError(
            f"{name}: {width}×{height} pixels; expected at most {max_pixels} in all: make it smaller first, "
            "or raise the limit (--max-pixels, or max_pixels in Python)"
        )
    if max(height, width) > _LONGEST:
        raise ImageFileError(
            f"{name}: {width}×{height} pixels; expected sides of at most {_LONGEST}: make it smaller first"
        )
