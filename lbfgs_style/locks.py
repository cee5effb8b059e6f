"""One at a time: a lock that processes and threads share by the name of a file.

The operating system holds the lock and gives it back when its owner ends, however it ends: a lock file that
a crash left behind blocks nobody, and no age or process number has to be guessed at.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def locked(path: Path) -> Generator[bool]:
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
    """
    lock_path = path.with_name(path.name + ".lock")
    file = _acquire(lock_path)
    if file is None:
        yield False
        return
    try:
        yield True
    finally:
        # Windows deletes no open file, the others must delete it before anybody else can lock it.
        if sys.platform == "win32":
            file.close()
        with suppress(OSError):
            lock_path.unlink()
        file.close()


def _acquire(lock_path: Path) -> BinaryIO | None:
    while True:
        file = lock_path.open("ab")
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


if sys.platform == "win32":
    import msvcrt

    def _lock(file: BinaryIO) -> bool:
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

else:
    import fcntl

    def _lock(file: BinaryIO) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
