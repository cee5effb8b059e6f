"""BLAS, which NumPy and SciPy compute with, beside onnxruntime's threads."""

from __future__ import annotations

import threading
from importlib import import_module
from typing import Any


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
