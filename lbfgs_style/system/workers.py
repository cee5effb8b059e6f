"""Threads that are used again: they do one piece of work after the other, and wait in between.

The system tends to run a thread on the core where it ran before, whose cache still has its data. A new thread
for each evaluation of a small image took up to two milliseconds more.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

from .threads import start_thread


class Worker:
    """A thread that waits for work."""

    def __init__(self) -> None:
        self._work: Callable[[], object] | None = None
        self._failure: Exception | None = None
        self._is_begun = False
        self._begin, self._end = (
            threading.Lock(),
            threading.Lock(),
        )  # released when there is work, and its end
        self._begin.acquire()
        self._end.acquire()
        start_thread(self._loop, "worker")

    @property
    def is_idle(self) -> bool:
        """Whether no work is under way, and `wait` has returned True for the last piece."""
        return not self._is_begun and self._work is None

    def _loop(self) -> None:
        while True:
            self._begin.acquire()
            work, self._work = self._work, None
            assert work is not None
            try:
                work()
            except Exception as error:  # the caller gets it from `wait`
                self._failure = error
            del work  # it may hold large arrays
            self._end.release()

    def start(self, work: Callable[[], object]) -> None:
        """Start a piece of work; `wait` has to return True before the next one."""
        self._work = work
        self._begin.release()
        self._is_begun = True

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the end of the work that was started, if any, and return whether it has ended.

        Parameters
        ----------
        seconds : float, optional
            How long to wait at most; without it, until the end.

        Raises
        ------
        Exception
            What the work has raised.
        """
        if not self._is_begun:
            return True
        if not self._end.acquire(timeout=-1 if seconds is None else seconds):
            return False
        self._is_begun = False
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        return True


_idle: list[Worker] = []


def forget_workers() -> None:
    """Forget the idle workers: in a forked process they do not exist."""
    _idle.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget_workers)


@contextmanager
def borrowed_worker() -> Generator[Worker]:
    """Lend an idle worker, or a new one, which is idle again when the context ends.

    Raises
    ------
    SessionError
        There is no idle one, and the system allows no further thread.
    """
    try:
        worker = _idle.pop()
    except IndexError:
        worker = Worker()
    try:
        yield worker
    finally:
        if worker.is_idle:  # or an interruption came while work was started: then nobody gets it
            _idle.append(worker)
