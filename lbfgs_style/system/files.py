"""Files: read where they end, written completely or not at all, and what stands in the way of writing one."""

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

MOST_BYTES = 2**31 - 1
"""The largest file that is read: OpenCV takes no more in one piece."""

_MOST_OF_PIPE = 2**28
"""The most bytes that are read from a pipe, which does not tell what is to come."""


# The scheme of an address, as `Path` has it; a single letter is a drive of Windows.
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):/", re.IGNORECASE)


def not_a_path(path: Path | str) -> str | None:
    """Say that an address such as https://… is no path, to follow it in a message; None for a path."""
    found = _SCHEME.match(str(path))
    if found is None or Path(path).exists():
        return None
    if found[1].lower() == "file":
        return "an address of a file; expected its path: leave out file://"
    return "a web address; expected a file: download it first"


def contents(
    path: Path | str, *, most: int | None = None, read_pipe: Callable[[BinaryIO], bytes] | None = None
) -> bytes:
    """Return the bytes of a file.

    A named pipe may never have a writer and a device no end, so that reading one could take for ever. Pipes
    that the program was started with (``/dev/stdin``, or ``/dev/fd/63`` of a shell's ``<(…)``) are read.

    Parameters
    ----------
    path : path
        The file.
    most : int, optional
        The most bytes that it may have, in place of `MOST_BYTES`, and of 256 MiB through a pipe.
    read_pipe : function, optional
        Reads what comes through a pipe.

    Raises
    ------
    OSError
        The file is missing or unreadable, is a pipe, a socket or a device, or has more bytes.
    """
    path = Path(path)
    try:
        about = path.stat()
    except ValueError:  # a zero byte
        raise OSError(errno.EINVAL, "no file can have this name", str(path)) from None
    except FileNotFoundError as error:
        problem = not_a_path(path)
        raise (FileNotFoundError(errno.ENOENT, problem, str(path)) if problem else error) from error
    ours = stat.S_ISFIFO(about.st_mode) and path.is_absolute() and path.parts[1] in ("dev", "proc")
    if not (stat.S_ISREG(about.st_mode) or stat.S_ISDIR(about.st_mode) or ours):
        what = "a named pipe, a socket or a device; expected a file, or - for standard input"
        raise OSError(errno.EINVAL, f"it is {what}", str(path))
    if most is None:
        most = min(MOST_BYTES, _MOST_OF_PIPE) if ours else MOST_BYTES
    if about.st_size <= most:
        with path.open("rb") as file:
            if ours and read_pipe is not None:
                return read_pipe(file)
            data = first_bytes(file, most + 1)
        if len(data) <= most:
            return data
    raise OSError(errno.EFBIG, f"it has more than {most} bytes: make it smaller first", str(path))


def first_bytes(file: BinaryIO, most: int, *, begin: bytes = b"") -> bytes:
    """Return `begin` and what comes next in an open file, but no more than `most` bytes in all."""
    whole = io.BytesIO()  # which hands its bytes out without a copy
    length = whole.write(begin)
    while length < most and (part := file.read(min(1 << 24, most - length))):
        length += whole.write(part)
    return whole.getvalue()


@contextmanager
def replacing(path: Path | str, *, temporary_name: str | None = None) -> Generator[Path, None, None]:
    """Write a file under a temporary name and put it in the place of `path` only when it is complete.

    Parameters
    ----------
    path : path
        The file to create or to replace. A symbolic link stays one: the file that it points to is replaced.
        A file that is replaced hands its permissions on.
    temporary_name : str, optional
        A fixed name in place of a random one: processes that were killed then leave one such file behind at
        the most, and the next one takes it away. Only for a path that one process at a time writes.

    Yields
    ------
    Path
        A name with the same extension in the same folder, for the caller to write. When the block ends well
        it is renamed to `path` in one step; when it raises, it is removed and `path` is as it was.

    Raises
    ------
    OSError
        If `path` cannot be replaced, or is a symbolic link that leads back to itself.
    """
    target = _resolved(Path(path))
    # Not tempfile: its files are readable by their owner alone, and the result would stay so.
    temporary = target.with_name(temporary_name or f".{uuid.uuid4().hex}{target.suffix}")
    try:
        yield temporary
        # Nothing to hand on from a new file, and no way to on a disk that knows no permissions.
        with suppress(FileNotFoundError, PermissionError):
            shutil.copymode(target, temporary)
        temporary.replace(target)
    except OSError as error:
        if error.filename is not None and str(error.filename) == str(temporary):
            error.filename, error.filename2 = str(path), None  # the name that somebody has asked for
        raise
    finally:
        temporary.unlink(missing_ok=True)


def obstacle(path: Path | str) -> str | None:
    """Find out before a long run what keeps a file from being written to `path`.

    Returns
    -------
    str or None
        What is wrong and how to mend it, to follow the name of the file in a message; None if nothing is.
    """
    path = Path(path)
    if not_a_path(path):
        return "is an address; expected the name of a file"
    if sys.platform == "win32" and is_reserved(path.name):
        return "is a name that Windows keeps for itself: choose another name"
    if path.is_dir():
        return "is a folder; expected the name of a file"
    try:
        target = _resolved(path)
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


def is_reserved(name: str) -> bool:
    """Tell whether Windows would take the name of a file for a device, or change it without saying so.

    What is written to ``NUL.png`` or ``aux.jpg`` is lost there; a colon names a stream within a file, and
    dots and spaces at the end are dropped.
    """
    stem = name.split(".")[0].rstrip(" ").upper()
    return stem in _DEVICES or name[-1:] in (".", " ") or any(c in '<>:"|?*' or c < " " for c in name)


_DEVICES = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"} | {
    f"{port}{digit}" for port in ("COM", "LPT") for digit in "123456789¹²³"
}


def _resolved(path: Path) -> Path:
    # For a link that leads back to itself, Python raises RuntimeError up to 3.12 and gives the link after.
    try:
        target = path.resolve()
    except RuntimeError:
        target = None
    if target is None or target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    return target
