"""Threads: cancel work that takes long, and keep BLAS to one thread while onnxruntime computes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar

from ..errors import SessionError

T = TypeVar("T")

# Seconds between two checks of the event while work runs in a thread.
_POLL = 0.05


def start_thread(target: Callable[[], None], name: str) -> threading.Thread:
    """Start a thread that does not keep the process alive.

    Raises
    ------
    SessionError
        The system allows no further thread.
    """
    thread = threading.Thread(target=target, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:  # a limit on threads or memory
        raise SessionError(
            "The system starts no more threads: end other programs, or raise the limit of processes or of "
            "memory."
        ) from error
    return thread


class Cancelled(Exception):
    """The run was cancelled by its event; there is no result."""


class Cancellation:
    """A request to end a run early, which another thread or a signal handler makes by setting an event.

    Parameters
    ----------
    event : threading.Event, optional
        Set to cancel. Without it nothing is ever cancelled.
    """

    def __init__(self, event: threading.Event | None = None) -> None:
        self._event = event

    @property
    def is_requested(self) -> bool:
        """Whether the event has been set."""
        return self._event is not None and self._event.is_set()

    def check(self) -> None:
        """Raise `Cancelled` if the event has been set."""
        if self.is_requested:
            raise Cancelled

    def run(self, work: Callable[[], T]) -> T:
        """Call `work`, which cannot be interrupted, and return its result or raise its exception.

        It is called in a separate thread. When the run is cancelled, that thread is abandoned: it continues
        until `work` returns, and the result is dropped. Without an event `work` is called in this thread.

        Raises
        ------
        Cancelled
            As soon as the event is set.
        """
        if self._event is None:
            return work()
        results: list[T] = []
        failures: list[BaseException] = []

        def target() -> None:
            try:
                results.append(work())
            except BaseException as error:  # raised again below, in the caller's thread
                failures.append(error)

        worker = start_thread(target, "preparing")
        while worker.is_alive():
            self.check()
            worker.join(_POLL)
        if failures:
            raise failures[0]
        return results[0]


# A cancellation that is never requested, for callers without an event.
NEVER = Cancellation()


class _SingleBlasThread:
    """A context in which the BLAS libraries of NumPy and SciPy use one thread.

    BLAS threads that wait for work keep the cores busy that onnxruntime's threads need: with them, a run
    takes up to half as long again. The context may be nested and entered from several threads; the limit is
    lifted when the last of them leaves.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._limit: Any = None

    def __enter__(self) -> None:
        from threadpoolctl import threadpool_limits

        import_module("scipy.linalg")  # loads SciPy's own BLAS: libraries loaded later are not limited
        with self._lock:
            if self._depth == 0:
                self._limit = threadpool_limits(1, user_api="blas")
            self._depth += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth == 0:
                self._limit.restore_original_limits()


single_blas_thread = _SingleBlasThread()
