"""Read whole files within a limit, write files atomically, and tell early why one cannot be written."""

from __future__ import annotations

import errno
import io
import os
import re
import shutil
import stat
import sys
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

# Bytes of the largest file that is read: OpenCV decodes no more in one piece.
MAX_BYTES = 2**31 - 1

# Bytes read from a pipe at most: its length is not known beforehand.
_MAX_PIPE_BYTES = 2**28

# The scheme of a URL, in which `Path` merges the two slashes; a single letter is a drive of Windows.
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):/", re.IGNORECASE)


def not_a_path(path: Path | str) -> str | None:
    """Explain that a URL such as ``https://…`` is not a path, or return None if `path` is one.

    The explanation is to follow the path in a message.
    """
    scheme = _SCHEME.match(str(path))
    if scheme is None or Path(path).exists():
        return None
    if scheme[1].lower() == "file":
        return "an address of a file; expected its path: leave out file://"
    return "a web address; expected a file: download it first"


def read_file(
    path: Path | str, *, most: int | None = None, read_pipe: Callable[[BinaryIO], bytes] | None = None
) -> bytes:
    """Return the bytes of a file.

    Named pipes and devices are refused, since reading them may never end. Pipes that the process was started
    with (``/dev/stdin``, or ``/dev/fd/63`` of a shell's ``<(…)``) are read.

    Parameters
    ----------
    path : path
        The file.
    most : int, optional
        Bytes that it may have at most. By default `MAX_BYTES`, or 256 MiB for a pipe.
    read_pipe : function, optional
        Reads from an open pipe in place of the default, which reads it to its end.

    Raises
    ------
    OSError
        The file is missing or unreadable, is a pipe, a socket or a device, or is larger than `most`.
    """
    path = Path(path)
    try:
        status = path.stat()
    except ValueError:  # a zero byte in the name
        raise OSError(errno.EINVAL, "no file can have this name", str(path)) from None
    except FileNotFoundError as error:
        problem = not_a_path(path)
        raise (FileNotFoundError(errno.ENOENT, problem, str(path)) if problem else error) from error
    is_inherited = stat.S_ISFIFO(status.st_mode) and path.is_absolute() and path.parts[1] in ("dev", "proc")
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode) or is_inherited):
        kind = "a named pipe, a socket or a device; expected a file, or - for standard input"
        raise OSError(errno.EINVAL, f"it is {kind}", str(path))
    if most is None:
        most = min(MAX_BYTES, _MAX_PIPE_BYTES) if is_inherited else MAX_BYTES
    if status.st_size <= most:
        with path.open("rb") as file:
            if is_inherited and read_pipe is not None:
                return read_pipe(file)
            data = first_bytes(file, most + 1)
        if len(data) <= most:
            return data
    raise OSError(errno.EFBIG, f"it has more than {most} bytes: make it smaller first", str(path))


def first_bytes(file: BinaryIO, most: int, *, begin: bytes = b"") -> bytes:
    """Read an open file to its end, or until `begin` and what was read have `most` bytes together.

    Parameters
    ----------
    file : binary file
        Read from its current position.
    most : int
        Length of the result at most.
    begin : bytes
        What was read before; the result begins with it.
    """
    buffer = io.BytesIO()  # its getvalue() does not copy
    length = buffer.write(begin)
    while length < most and (part := file.read(min(1 << 24, most - length))):
        length += buffer.write(part)
    return buffer.getvalue()


@contextmanager
def atomic_write(path: Path | str, *, temporary_name: str | None = None) -> Generator[Path, None, None]:
    """Write a file under a temporary name, then rename it to `path`: readers see the old file or the new one.

    Parameters
    ----------
    path : path
        The file to create or to replace. Where it is a symbolic link, the file that it points to is replaced.
        The new file gets the permissions of the one that it replaces.
    temporary_name : str, optional
        A fixed name in place of a random one: processes that are killed then leave at most one temporary
        file, which the next one overwrites. Only where a single process at a time writes `path`.

    Yields
    ------
    Path
        The temporary file, in the same folder and with the same extension, for the caller to write. It is
        renamed to `path` at the end of the block; if the block raises, it is deleted and `path` is unchanged.

    Raises
    ------
    OSError
        If `path` cannot be replaced, or is a symbolic link that leads back to itself.
    """
    target = _follow_links(Path(path))
    # Not tempfile: it makes files that only their owner can read, and the result would keep that mode.
    temporary = target.with_name(temporary_name or f".{uuid.uuid4().hex}{target.suffix}")
    try:
        yield temporary
        # A new file has no mode to copy; some file systems have no permissions at all.
        with suppress(FileNotFoundError, PermissionError):
            shutil.copymode(target, temporary)
        temporary.replace(target)
    except OSError as error:
        if error.filename is not None and str(error.filename) == str(temporary):
            error.filename, error.filename2 = str(path), None  # the name that the user knows
        raise
    finally:
        temporary.unlink(missing_ok=True)


def why_unwritable(path: Path | str) -> str | None:
    """Explain why no file can be written to `path`, or return None if one can; for a check before a long run.

    Returns
    -------
    str or None
        The reason and the remedy, to follow the name of the file in a message.
    """
    path = Path(path)
    if not_a_path(path):
        return "is an address; expected the name of a file"
    if sys.platform == "win32" and is_reserved(path.name):
        return "is a name that Windows keeps for itself: choose another name"
    if path.is_dir():
        return "is a folder; expected the name of a file"
    try:
        target = _follow_links(path)
    except OSError:
        return "is a symbolic link that leads back to itself: choose another name"
    folder = target.parent
    if not folder.is_dir():
        return f"the folder {folder} does not exist: create it first"
    if not os.access(folder, os.W_OK):
        return f"no permission to write into the folder {folder}: choose another one"
    if target.exists() and not os.access(target, os.W_OK):
        return "the file exists and is write-protected: choose another name"
    return None


def is_utf8(path: Path) -> bool:
    """Return whether the absolute name of a file is UTF-8: on others, OpenCV's readers of films crash."""
    try:
        str(path.resolve()).encode()
    except UnicodeEncodeError:
        return False
    return True


def is_reserved(name: str) -> bool:
    """Return whether Windows takes the name of a file for a device, changes it silently or forbids it.

    What is written to ``NUL.png`` or ``aux.jpg`` is lost there; a colon names a stream within a file; dots
    and spaces at the end are dropped; the other characters of ``<>"|?*`` and control characters are errors.
    """
    stem = name.split(".")[0].rstrip(" ").upper()
    return stem in _DEVICES or name[-1:] in (".", " ") or any(c in '<>:"|?*' or c < " " for c in name)


# File names that stand for devices on Windows, with any extension.
_DEVICES = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"} | {
    f"{port}{digit}" for port in ("COM", "LPT") for digit in "123456789¹²³"
}


def _follow_links(path: Path) -> Path:
    """Return the file that symbolic links lead to; raise OSError if they lead back to themselves."""
    # Python up to 3.12 raises RuntimeError for such a loop, later versions return a link of it.
    try:
        target = path.resolve()
    except RuntimeError:
        target = None
    if target is None or target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    return target
