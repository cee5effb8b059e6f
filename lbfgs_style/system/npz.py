"""NumPy archives (``.npz``) of strangers: what they hold is known before memory is taken for it.

A few kilobytes of ZIP can declare, or unpack to, gigabytes, and an array of objects can run what it likes
when it is read. So the directory and the header of each array are looked at first (PKWARE, APPNOTE 6.3.10;
NumPy, "A simple file format for NumPy arrays"), and no more is unpacked than they say.
"""

from __future__ import annotations

import ast
import io
import math
import re
import struct
import zipfile
import zlib
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

_PIECE = 2**20
"""The most bytes of an archive that are read at a time; the directory, of 10,000 arrays at least, is one."""

_KINDS = re.compile(r"[<>|=]?[fiuU]\d{1,9}")
"""Numbers and texts."""

_LARGEST = float(np.finfo(np.float32).max)
"""Of numbers in a text: they have to fit arrays of float32."""

_LONGEST_HEADER = 10_000
_MOST_DIMENSIONS = 8


class TooLarge(ValueError):
    """An archive declares more than it may have."""


def read_arrays(file: BinaryIO, *, most: int, packed: bool) -> dict[str, NDArray[Any]]:
    """Read all arrays of an archive, as `numpy.savez` writes it.

    Parameters
    ----------
    file : binary file
        It must be able to seek.
    most : int
        The most bytes that all arrays may have together.
    packed : bool
        Whether they may be compressed.

    Returns
    -------
    dict of str to array
        Whole numbers, floating point, or text.

    Raises
    ------
    TooLarge
        It declares more than `most` bytes.
    ValueError
        It is damaged or of another kind.
    OSError
        It cannot be read.
    """
    try:
        with zipfile.ZipFile(_InPieces(file)) as archive:
            members = archive.infolist()
            total = sum(member.file_size for member in members)
            if total > most:
                raise TooLarge(f"its arrays have {total} bytes; expected at most {most}")
            if len({member.filename for member in members}) < len(members):
                raise ValueError("two arrays have one name")
            ways = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) if packed else (zipfile.ZIP_STORED,)
            if any(member.compress_type not in ways for member in members):
                raise ValueError("packed in another way")
            return {member.filename.removesuffix(".npy"): _array(archive, member) for member in members}
    except (
        EOFError,
        KeyError,
        NotImplementedError,  # a way of packing that zipfile does not know
        RuntimeError,  # a password
        struct.error,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ValueError(f"no archive of arrays, or damaged: {error}") from error


def whole(array: NDArray[Any]) -> int:
    """Return the whole number that an array has, or raise ValueError."""
    if array.dtype.kind not in "iu" or array.size != 1:
        raise ValueError("not a whole number")
    return int(array.reshape(()))


def text(array: NDArray[Any], longest: int = 256) -> str:
    """Return the text that an array has, of at most so many letters, or raise ValueError."""
    if array.dtype.kind != "U" or array.size != 1 or array.itemsize > 4 * longest:
        raise ValueError("not a text")
    return str(array.reshape(()))


def numbers(array: NDArray[Any], kind: Any, *shapes: tuple[int, ...]) -> NDArray[Any]:
    """Return an array of finite numbers, of one of the shapes if some are given, or raise ValueError."""
    if array.dtype != kind or (shapes and array.shape not in shapes) or not np.isfinite(array).all():
        raise ValueError("other numbers than were expected")
    return array


def count(told: object) -> int:
    """Return a number of things that a text of JSON has, or raise ValueError."""
    if type(told) is not int or told < 0:
        raise ValueError("not a number of things")
    return told


def number(told: object) -> float:
    """Return a number of a text of JSON, which Python lets be infinite or none, or raise ValueError."""
    if not isinstance(told, int | float) or not abs(told) <= _LARGEST:
        raise ValueError("not a finite number")
    return float(told)


def amount(told: object) -> float:
    """Return a number of a text of JSON that is not below zero, or raise ValueError."""
    found = number(told)
    if found < 0:
        raise ValueError("less than nothing")
    return found


class _InPieces:
    """A file that gives no more than a piece at a time: zipfile reads directories of any length at once."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.tell, self.seekable = file.tell, file.seekable

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_SET and place < 0:  # a directory that says it began before the file
            raise zipfile.BadZipFile("the directory is not where it says")
        return self._file.seek(place, whence)

    def read(self, count: int | None = -1) -> bytes:
        if count is None or count < 0:  # to the end
            here = self.tell()
            count = self.seek(0, io.SEEK_END) - here
            self.seek(here)
        if count > _PIECE:
            raise zipfile.BadZipFile("the directory is too long")
        return self._file.read(count)


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    with archive.open(member) as file:
        dtype, shape, in_columns, begin = _header(file)
        length = dtype.itemsize * math.prod(shape)
        if begin + length != member.file_size:
            raise ValueError("an array has another length than its header says")
        data = np.empty(length, np.uint8)
        place = 0
        while place < length:
            piece = file.read(min(_PIECE, length - place))
            if not piece:
                raise EOFError("cut short")
            data[place : place + len(piece)] = np.frombuffer(piece, np.uint8)
            place += len(piece)
        file.read(1)  # the checksum is compared at the end
    values = np.empty(shape, dtype) if length == 0 else data.view(dtype)
    return values.reshape(shape[::-1]).T if in_columns else values.reshape(shape)


def _header(file: Any) -> tuple[np.dtype[Any], tuple[int, ...], bool, int]:
    """Return dtype, shape, whether columns come first, and how many bytes that took."""
    start = file.read(8)
    if len(start) < 8 or start[:6] != b"\x93NUMPY" or start[6] not in (1, 2, 3):
        raise ValueError("not an array")
    form = "<H" if start[6] == 1 else "<I"
    size = struct.calcsize(form)
    (length,) = struct.unpack(form, file.read(size))
    if length > _LONGEST_HEADER:
        raise ValueError("a header that is too long")
    header = file.read(length).decode("latin-1" if start[6] < 3 else "utf-8")
    try:
        told = ast.literal_eval(header)
        descr, in_columns, shape = (told[key] for key in ("descr", "fortran_order", "shape"))
    except (SyntaxError, TypeError, MemoryError) as error:  # the last one for brackets within brackets
        raise ValueError("a header that cannot be read") from error
    if not isinstance(descr, str) or not _KINDS.fullmatch(descr) or not isinstance(in_columns, bool):
        raise ValueError("an array of neither numbers nor text")
    if not isinstance(shape, tuple) or len(shape) > _MOST_DIMENSIONS:
        raise ValueError("a shape that is none")
    if any(type(side) is not int or not 0 <= side < 2**40 for side in shape):
        raise ValueError("a shape that is none")
    try:
        return np.dtype(descr), shape, in_columns, len(start) + size + length
    except TypeError as error:  # floating point of three bytes
        raise ValueError("an array of unknown numbers") from error
