"""Ctrl-C and SIGTERM: the first one stops a run in good order, the second one at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

INTERRUPTED = 130
"""The exit code that shells expect after Ctrl-C."""


@contextmanager
def cancelled_by_signals() -> Generator[threading.Event]:
    """Give an event that Ctrl-C or SIGTERM sets; a second one ends the process at once."""
    cancel = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if cancel.is_set():
            _show_cursor()
            os._exit(INTERRUPTED)
        cancel.set()

    previous: dict[int, Any] = {n: signal.signal(n, handle) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield cancel
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _show_cursor() -> None:
    """Undo what a bar did to the terminal, past all buffers: the process is about to end."""
    terminal = sys.__stderr__
    if terminal is not None and terminal.isatty():
        os.write(terminal.fileno(), b"\x1b[?25h")
