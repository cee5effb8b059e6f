"""Locks between processes and threads, each for one path.

The lock of a path is an empty file in the cache folder, named by a hash of the path, so that nothing is left
next to the user's files. The operating system releases the lock when the process that holds it ends, however
it ends; the file stays, and blocks nobody.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .cache import cache_folder

# Error codes of file systems without locks, as some network disks are.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


@contextmanager
def wait_for_lock(path: Path, *, on_wait: Callable[[], object], poll: float = 0.1) -> Generator[None]:
    """Hold the lock of `path`, after waiting for it as long as another process or thread has it.

    Parameters
    ----------
    path : Path
        As in `try_lock`.
    on_wait : callable
        Called once, before waiting.
    poll : float
        Seconds between two attempts.

    Raises
    ------
    OSError
        If the lock file cannot be created.
    """
    is_waiting = False
    while True:
        with try_lock(path) as is_ours:
            if is_ours:
                yield
                return
        if not is_waiting:
            is_waiting = True
            on_wait()
        time.sleep(poll)


@contextmanager
def try_lock(path: Path) -> Generator[bool]:
    """Hold the lock of `path` if it is free.

    Parameters
    ----------
    path : Path
        What is locked; it need not exist. A symbolic link has the lock of the file that it points to.

    Yields
    ------
    bool
        Whether the lock is held; False while another process or thread has it.

    Raises
    ------
    OSError
        If the lock file cannot be created.

    Notes
    -----
    On a file system without locks every caller gets the lock. A forked process does not hold the locks of its
    parent. Only processes with the same cache folder share locks.
    """
    from filelock import FileLock, Timeout  # 30 ms that most commands do not need

    lock_file = _lock_file(path)
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        try:
            held.enter_context(FileLock(lock_file, timeout=0, thread_local=False))
            is_ours = True
        except Timeout:
            is_ours = False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            is_ours = True
        yield is_ours


def is_locked(path: Path) -> bool:
    """Return whether another process or thread has the lock of `path`; no lock file is created.

    Raises
    ------
    OSError
        As in `try_lock`.
    """
    if not _lock_file(path).exists():
        return False
    with try_lock(path) as is_ours:
        return not is_ours


def _lock_file(path: Path) -> Path:
    """Return the lock file of a path: in the cache folder, or next to the path if the cache is read-only."""
    target = os.path.normcase(path.resolve())
    name = hashlib.sha256(os.fsencode(target)).hexdigest()[:32] + ".lock"
    folder = cache_folder() / "locks"
    existing = next((f for f in (folder, *folder.parents) if f.exists()), None)
    if existing is not None and existing.is_dir() and os.access(existing, os.W_OK):
        return folder / name
    return Path(target).with_name(f".{name}")
