"""Bytes of picture files before anything is unpacked: read to their end, if there is one, and looked at."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import BinaryIO

from ..errors import ImageFileError, did_you_mean
from ..system.files import MAX_BYTES, first_bytes, not_a_path, read_file
from .formats import registry
from .formats.registry import Header, Size

MAX_PIXELS = 2**28
"""The largest height × width that is read, unless more is asked for: 16,384 × 16,384."""

_LONGEST = 2**20
"""The longest side that OpenCV reads."""
_MOST_SCANS = 500
"""A JPEG in progressive form has about ten; each is a pass over the whole picture."""

_BEGINNING = 2**20
"""Bytes of a pipe that are looked at before more is read."""
_ROOM = 2**28
"""Bytes that may come through a pipe beside the pixels: metadata, other frames."""
_PIXEL = 32
"""The most bytes of a pixel: four numbers of 64 bits."""


def read_bytes(path: Path, *, max_pixels: int = MAX_PIXELS) -> bytes:
    """Return the bytes of a picture file, or raise ImageFileError; `max_pixels` as in `read_pipe`."""
    try:
        if path.is_dir():
            raise ImageFileError(f"{path}: is a folder; expected a picture file")
        return read_file(path, read_pipe=lambda file: read_pipe(file, str(path), max_pixels=max_pixels))
    except FileNotFoundError as error:
        problem = not_a_path(path)
        if problem:
            address = str(path).replace(":/", "://", 1)  # Path makes one of two slashes
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
    """Return the bytes of a picture file that come through a pipe, which may have no end.

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
        It begins as no picture does, declares too many pixels, or does not end.
    """
    data = first_bytes(file, _BEGINNING)
    if len(data) < _BEGINNING:
        return data
    size = known_header(name, data).size
    if size is not None:
        check_size(name, *size, max_pixels)
    most = min(_ROOM + _PIXEL * (max_pixels if size is None else size[0] * size[1]), MAX_BYTES)
    data = first_bytes(file, most + 1, begin=data)
    if len(data) > most:
        told = "" if size is None else f" for a picture of {size[1]}×{size[0]}"
        raise ImageFileError(
            f"{name}: more than {most} bytes come through this pipe{told}; expected the end of a picture: "
            "name a file in its place"
        )
    return data


def header(name: str, data: bytes) -> tuple[str, Size]:
    """Return the format of a file, and the height and width that it declares, or raise ImageFileError."""
    found = known_header(name, data)
    if found.size is None:
        raise ImageFileError(
            f"{name}: the header is damaged or cut short; expected a whole {found.name} file: get another "
            "copy of it"
        )
    scans = data.count(b"\xff\xda") if found.name == "JPEG" else 0
    if scans > _MOST_SCANS:
        raise ImageFileError(
            f"{name}: a JPEG of {scans} scans, which takes very long to unpack; expected at most "
            f"{_MOST_SCANS}: convert it to PNG"
        )
    return found.name, found.size


def known_header(name: str, data: bytes) -> Header:
    """Return what the first bytes of a file say, or raise ImageFileError where they are no picture's."""
    found = registry.read(data)
    if found is not None:
        return found
    foreign = registry.foreign(data)
    if foreign is not None:
        raise ImageFileError(f"{name}: {foreign}")
    raise ImageFileError(
        f"{name}: damaged, cut short, or of a format that cannot be read; expected one of "
        f"{registry.READABLE}: convert it to PNG or JPEG"
    )


def check_size(name: str, height: int, width: int, max_pixels: int) -> None:
    """Raise ImageFileError where a picture is larger than `max_pixels`, or than OpenCV reads."""
    if height * width > max_pixels:
        raise ImageFileError(
            f"{name}: {width}×{height} pixels; expected at most {max_pixels} in all: make it smaller first, "
            "or raise the limit (--max-pixels, or max_pixels in Python)"
        )
    if max(height, width) > _LONGEST:
        raise ImageFileError(
            f"{name}: {width}×{height} pixels; expected sides of at most {_LONGEST}: make it smaller first"
        )
