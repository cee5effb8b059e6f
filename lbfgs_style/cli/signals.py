"""Ctrl-C and SIGTERM: the first stops a run with the best image so far, the second ends the process.

A Python handler waits until the main thread returns from C code, which may take seconds. So a thread counts
the signals: Python writes each of them into a socket as it arrives.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

# Exit code after Ctrl-C, as shells expect it, and after SIGTERM.
INTERRUPTED = 130

NOTHING = "stopped before the first iteration: nothing is written"

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

# Seconds within which a run with nothing to save may end by itself.
GRACE_SECONDS = 0.5

# Seconds in which signals count as one: `timeout` and process managers send several at once, to the process
# and to its group.
ONE_SECONDS = 0.5


@contextmanager
def cancelled_by_signals(*, begun: threading.Event | None = None) -> Generator[threading.Event]:
    """Yield an event that Ctrl-C or SIGTERM sets; a second signal, half a second later, ends the process.

    Parameters
    ----------
    begun : threading.Event, optional
        Set by the caller once there is something to save. Before that the first signal ends the process, too,
        if it has not ended by itself within half a second.
    """
    watch = Watch(begun)

    def handle(number: int, frame: FrameType | None) -> None:
        watch.cancel.set()  # at once, before an idle main thread starts another evaluation

    previous: dict[int, Any] = {n: signal.signal(n, handle) for n in _SIGNALS}
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    watcher = threading.Thread(target=watch.run, args=(ours,), name="signals", daemon=True)
    watcher.start()
    try:
        yield watch.cancel
    finally:
        signal.set_wakeup_fd(before)
        for number, handler in previous.items():
            signal.signal(number, handler)
        theirs.close()
        watcher.join()
        ours.close()


class Watch:
    """Counts signals as they arrive, in a thread of its own."""

    def __init__(self, begun: threading.Event | None) -> None:
        self.cancel = threading.Event()
        self._begun = begun

    def run(self, signals: socket.socket) -> None:
        """Handle the signals that arrive at a socket until it is closed."""
        first: float | None = None
        while True:
            try:
                numbers = signals.recv(64)
            except TimeoutError:
                signals.settimeout(None)
                if self._begun is not None and not self._begun.is_set():
                    self.leave(NOTHING)
                continue
            if not numbers:  # closed: the run is over
                return
            if not any(number in _SIGNALS for number in numbers):
                continue
            now = time.monotonic()
            if first is None:
                first = now
                self.cancel.set()
                signals.settimeout(GRACE_SECONDS)
            elif now - first > ONE_SECONDS:
                self.leave()

    def leave(self, message: str = "") -> None:
        """End the process without flushing buffers or waiting for other threads."""
        terminal = sys.__stderr__
        if terminal is not None and terminal.isatty():
            os.write(terminal.fileno(), b"\x1b[?25h")  # the cursor, which a bar hides
        if message:
            print(f"lbfgs-style: {message}", file=sys.stderr, flush=True)
        os._exit(INTERRUPTED)
