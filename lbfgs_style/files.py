"""Files that are written completely or not at all, and what stands in the way of writing one."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path


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


def _resolved(path: Path) -> Path:
    # For a link that leads back to itself, Python raises RuntimeError up to 3.12 and gives the link after.
    try:
        target = path.resolve()
    except RuntimeError:
        target = None
    if target is None or target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    return target
