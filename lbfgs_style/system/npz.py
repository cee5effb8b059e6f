"""Read untrusted NumPy archives (``.npz``) within a limit of memory, and check the values in them.

A few kilobytes of ZIP can declare, or unpack to, gigabytes, and an array of objects can run any code when it
is unpickled. So the directory and the header of each array are checked first (PKWARE, APPNOTE 6.3.10; NumPy,
"A simple file format for NumPy arrays"), and no more is unpacked than they declare.
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

# Bytes read at once at most. The directory is read in one piece: this is enough for 10,000 arrays.
_PIECE = 2**20

# Types that an array may have: floats, integers, text.
_DTYPES = re.compile(r"[<>|=]?[fiuU]\d{1,9}")

# The largest absolute value of a number in JSON text: it has to fit float32.
_MAX_FLOAT = float(np.finfo(np.float32).max)

# Bytes of the header of an array at most.
_MAX_HEADER = 10_000

# Axes of an array at most.
_MAX_AXES = 8


class TooLarge(ValueError):
    """An archive declares more bytes than it may have."""


def read_arrays(file: BinaryIO, *, most: int, packed: bool) -> dict[str, NDArray[Any]]:
    """Read all arrays of an archive that `numpy.savez` wrote.

    Parameters
    ----------
    file : binary file
        It must be seekable.
    most : int
        Bytes that all arrays may have together.
    packed : bool
        Whether they may be compressed.

    Returns
    -------
    dict of str to array
        Arrays of integers, floats or text by name.

    Raises
    ------
    TooLarge
        The archive declares more than `most` bytes.
    ValueError
        It is damaged or of another kind.
    OSError
        It cannot be read.
    """
    try:
        with zipfile.ZipFile(_BoundedFile(file)) as archive:
            members = archive.infolist()
            total = sum(member.file_size for member in members)
            if total > most:
                raise TooLarge(f"its arrays have {total} bytes; expected at most {most}")
            if len({member.filename for member in members}) < len(members):
                raise ValueError("two arrays have the same name")
            methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) if packed else (zipfile.ZIP_STORED,)
            if any(member.compress_type not in methods for member in members):
                raise ValueError("an unexpected method of compression")
            return {member.filename.removesuffix(".npy"): _read_array(archive, member) for member in members}
    except (
        EOFError,
        KeyError,
        NotImplementedError,  # a method of compression that zipfile does not know
        RuntimeError,  # encrypted with a password
        struct.error,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ValueError(f"no archive of arrays, or damaged: {error}") from error


def read_int(array: NDArray[Any]) -> int:
    """Return the integer in an array of one element, or raise ValueError."""
    if array.dtype.kind not in "iu" or array.size != 1:
        raise ValueError("not an integer")
    return int(array.reshape(()))


def read_text(array: NDArray[Any], longest: int = 256) -> str:
    """Return the text in an array of one element, of at most `longest` characters, or raise ValueError."""
    if array.dtype.kind != "U" or array.size != 1 or array.itemsize > 4 * longest:
        raise ValueError("not text, or too long")
    return str(array.reshape(()))


def check_array(array: NDArray[Any], dtype: Any, *shapes: tuple[int, ...]) -> NDArray[Any]:
    """Return an array if it is finite and has the expected type and shape; otherwise raise ValueError.

    Parameters
    ----------
    array : array
        What was read.
    dtype : dtype
        Expected type.
    *shapes : tuple of int
        Allowed shapes; without any, all shapes are allowed.
    """
    if array.dtype != dtype or (shapes and array.shape not in shapes) or not np.isfinite(array).all():
        raise ValueError("an array of an unexpected type or shape, or with NaN or infinity")
    return array


def check_count(value: object) -> int:
    """Return a value of JSON text that is an integer, 0 or more, or raise ValueError."""
    if type(value) is not int or value < 0:
        raise ValueError("not a count")
    return value


def check_number(value: object) -> float:
    """Return a value of JSON text that is a number within float32's range, or raise ValueError.

    Python's `json` also reads NaN and infinity, which are refused.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _MAX_FLOAT:
        raise ValueError("not a finite number")
    return float(value)


def check_nonnegative(value: object) -> float:
    """Return a value of JSON text that is a number from 0 within float32's range, or raise ValueError."""
    number = check_number(value)
    if number < 0:
        raise ValueError("a negative number")
    return number


class _BoundedFile:
    """A file that refuses reads of more than `_PIECE` bytes, since zipfile reads a directory in one piece."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.tell, self.seekable = file.tell, file.seekable

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_SET and offset < 0:  # the directory claims to begin before the file
            raise zipfile.BadZipFile("the directory is not where it says")
        return self._file.seek(offset, whence)

    def read(self, count: int | None = -1) -> bytes:
        if count is None or count < 0:  # to the end
            position = self.tell()
            count = self.seek(0, io.SEEK_END) - position
            self.seek(position)
        if count > _PIECE:
            raise zipfile.BadZipFile("the directory is too long")
        return self._file.read(count)


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    with archive.open(member) as file:
        dtype, shape, is_fortran, header_bytes = _read_header(file)
        length = dtype.itemsize * math.prod(shape)
        if header_bytes + length != member.file_size:
            raise ValueError("an array has another length than its header says")
        data = np.empty(length, np.uint8)
        offset = 0
        while offset < length:
            piece = file.read(min(_PIECE, length - offset))
            if not piece:
                raise EOFError("cut short")
            data[offset : offset + len(piece)] = np.frombuffer(piece, np.uint8)
            offset += len(piece)
        file.read(1)  # zipfile compares the checksum at the end of the member
    values = np.empty(shape, dtype) if length == 0 else data.view(dtype)
    return values.reshape(shape[::-1]).T if is_fortran else values.reshape(shape)


def _read_header(file: Any) -> tuple[np.dtype[Any], tuple[int, ...], bool, int]:
    """Return dtype, shape, whether the order is Fortran's, and the bytes of the header."""
    start = file.read(8)
    if len(start) < 8 or start[:6] != b"\x93NUMPY" or start[6] not in (1, 2, 3):
        raise ValueError("not an array")
    form = "<H" if start[6] == 1 else "<I"
    size = struct.calcsize(form)
    (length,) = struct.unpack(form, file.read(size))
    if length > _MAX_HEADER:
        raise ValueError("a header that is too long")
    header = file.read(length).decode("latin-1" if start[6] < 3 else "utf-8")
    try:
        fields = ast.literal_eval(header)
        descr, is_fortran, shape = (fields[key] for key in ("descr", "fortran_order", "shape"))
    except (SyntaxError, TypeError, MemoryError) as error:  # MemoryError: too many nested brackets
        raise ValueError("a header that cannot be read") from error
    if not isinstance(descr, str) or not _DTYPES.fullmatch(descr) or not isinstance(is_fortran, bool):
        raise ValueError("an array of neither numbers nor text")
    if not isinstance(shape, tuple) or len(shape) > _MAX_AXES:
        raise ValueError("an invalid shape")
    if any(type(side) is not int or not 0 <= side < 2**40 for side in shape):
        raise ValueError("an invalid shape")
    try:
        return np.dtype(descr), shape, is_fortran, len(start) + size + length
    except TypeError as error:  # such as floats of three bytes
        raise ValueError("an array of an unknown number type") from error
