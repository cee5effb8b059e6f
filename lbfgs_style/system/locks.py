"""One at a time: a lock that processes and threads share by the name of a file.

The operating system holds the lock and gives it back when its owner ends, however it ends: a lock file that
a crash left behind blocks nobody, and no age or process number has to be guessed at.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import cache
from io import FileIO
from pathlib import Path

_held: dict[FileIO, Path] = {}
"""The lock files that this process holds."""


@contextmanager
def wait_for_lock(path: Path, *, on_wait: Callable[[], object], poll: float = 0.1) -> Generator[None]:
    """Hold the lock of `path`, and wait for it as long as another process or thread has it.

    Parameters
    ----------
    path : Path
        As in `try_lock`.
    on_wait : callable
        Called once, before waiting.
    poll : float
        Seconds between two looks.

    Raises
    ------
    OSError
        If the lock file cannot be created.
    """
    told = False
    while True:
        with try_lock(path) as ours:
            if ours:
                yield
                return
        if not told:
            told = True
            on_wait()
        time.sleep(poll)


@contextmanager
def try_lock(path: Path) -> Generator[bool]:
    """Hold the lock of `path`, without waiting for it.

    Parameters
    ----------
    path : Path
        What is locked. The lock itself is a file beside it with ``.lock`` added to its name, which is gone
        afterwards.

    Yields
    ------
    bool
        Whether we have it; False while another process or thread does.

    Raises
    ------
    OSError
        If the lock file cannot be created.

    Notes
    -----
    A disk that knows no locks, as some in a network, gives them to everybody. A lock stays with the process
    that took it: one that is forked from it has none.
    """
    lock_path = lock_of(path)
    file = _acquire(lock_path)
    if file is None:
        yield False
        return
    _part_at_forks()
    _held[file] = lock_path
    try:
        yield True
    finally:
        if _held.pop(file, None) is not None:
            # Windows deletes no open file, the others must delete it before anybody else can lock it.
            if sys.platform == "win32":
                file.close()
            with suppress(OSError):
                lock_path.unlink()
            file.close()


def is_locked(path: Path) -> bool:
    """Tell whether another process or thread has the lock of `path`, without leaving anything behind.

    Raises
    ------
    OSError
        As in `try_lock`.
    """
    if not lock_of(path).exists():
        return False
    with try_lock(path) as ours:
        return not ours


def remove_all() -> None:
    """Delete the files of all locks that this process holds, for an end that unwinds nothing."""
    for lock_path in list(_held.values()):
        with suppress(OSError):
            lock_path.unlink()


def lock_of(path: Path) -> Path:
    """Return the file that stands for the lock of `path`."""
    return path.with_name(path.name + ".lock")


@cache
def _part_at_forks() -> None:
    """Close the locks of a process in those that are forked from it, which would hold them, too."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_part)


def _part() -> None:
    for file in _held:
        file.close()
    _held.clear()


def _acquire(lock_path: Path) -> FileIO | None:
    while True:
        file = _opened(lock_path)
        try:
            if not _lock(file):
                file.close()
                return None
            if os.path.samestat(os.fstat(file.fileno()), lock_path.stat()):
                return file
        except FileNotFoundError:
            pass
        except BaseException:
            file.close()
            raise
        # Its owner deleted it between our opening and our locking it: ours has no name any more.
        file.close()


def _opened(lock_path: Path) -> FileIO:
    # On Windows a file that another process has open lasts for a moment after it was deleted.
    for _ in range(50 if sys.platform == "win32" else 0):
        try:
            return lock_path.open("ab", buffering=0)
        except PermissionError:
            time.sleep(0.01)
    return lock_path.open("ab", buffering=0)


if sys.platform == "win32":
    import msvcrt

    def _lock(file: FileIO) -> bool:
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

else:
    import errno
    import fcntl

    _NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)

    def _lock(file: FileIO) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        return True
