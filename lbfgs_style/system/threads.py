"""BLAS, which NumPy and SciPy compute with, beside onnxruntime's threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar


class _OneThread:
    """While any minimisation runs, BLAS has one thread; afterwards as many as before.

    Its threads that wait for work take the cores from onnxruntime's: with them, a run takes up to half as
    long again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._limit: Any = None

    def __enter__(self) -> None:
        from threadpoolctl import threadpool_limits

        import_module("scipy.linalg")  # its BLAS, too: only those are limited that are there
        with self._lock:
            if self._inside == 0:
                self._limit = threadpool_limits(1, user_api="blas")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._limit.restore_original_limits()


one_thread = _OneThread()
"""A context; it may be entered from several threads, and within itself."""


T = TypeVar("T")


def unless_cancelled(work: Callable[[], T], cancel: threading.Event | None) -> T:
    """Do some work in a thread of its own and return what it gives, or what it raises.

    Parameters
    ----------
    work : function
        It is left to end by itself once the run is cancelled, and nobody gets its result.
    cancel : threading.Event or None
        With None the work is done in this thread.

    Raises
    ------
    Cancelled
        As soon as `cancel` is set.
    """
    if cancel is None:
        return work()
    found: list[T] = []
    failures: list[BaseException] = []

    def target() -> None:
        try:
            found.append(work())
        except BaseException as error:  # raised again below, in the caller's thread
            failures.append(error)

    worker = threading.Thread(target=target, name="preparing", daemon=True)
    worker.start()
    while worker.is_alive():
        if cancel.is_set():
            raise Cancelled
        worker.join(0.05)
    if failures:
        raise failures[0]
    return found[0]


class Cancelled(Exception):
    """The run was cancelled by its event; no result."""
