"""Work that is not waited for once a run is cancelled: building graphs takes seconds and knows no signals."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

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
