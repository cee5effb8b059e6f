"""Signals that come while the main thread is busy, and work that is not waited for."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from lbfgs_style import __main__
from lbfgs_style.cli import app, signals
from lbfgs_style.system.threads import Cancellation, Cancelled
from tests.helpers.command import enter, start


def handles(process, number):
    """Whether a process has a handler of its own for a signal."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc whether the command is ready")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_command_that_reads_ends_at_once(tmp_path, monkeypatch, number):
    """It waits in C for the photo, which never comes."""
    enter(tmp_path, monkeypatch)
    reading, writing = os.pipe()
    process = start("transfer", "-", "painting.png", "-o", "out.png", stdin=reading)
    try:
        until = time.monotonic() + 60
        while not handles(process, signal.SIGTERM) and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
        os.close(reading)
        os.close(writing)
    assert (process.returncode, out) == (130, "")
    assert err == "lbfgs-style: stopped before the first iteration: nothing is written\n"
    assert not Path("out.png").exists()


def test_before_the_command_there_is_no_traceback(monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(app, "main", interrupted)
    monkeypatch.setattr(sys, "argv", ["lbfgs-style", "presets"])
    with pytest.raises(SystemExit) as e:
        __main__.main()
    assert e.value.code == 130


class Left(Exception):
    """Raised where the process would end."""


@pytest.fixture
def codes(monkeypatch):
    """Record exit codes instead of ending the process."""
    codes = []

    def leave(code):
        codes.append(code)
        raise Left

    monkeypatch.setattr(signals.os, "_exit", leave)
    return codes


def watched(begun, *sent):
    """Send signals to the watch, as Python's wakeup descriptor does, and return its event."""
    watch = signals.Watch(begun)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for number in sent:
            theirs.send(bytes([number]))
        theirs.shutdown(socket.SHUT_WR)
        watch.run(ours)
    return watch.cancel


def test_the_watch_sees_the_first_signal(codes):
    assert watched(threading.Event(), signal.SIGTERM).is_set()
    assert codes == []


@pytest.mark.parametrize("apart", [True, False])
def test_the_watch_leaves_at_the_second(codes, monkeypatch, apart):
    """Two at once count as one: `timeout` sends SIGTERM to the process and to its group."""
    monkeypatch.setattr(signals, "ONE_SECONDS", 0.0 if apart else 1000.0)
    watch = signals.Watch(threading.Event())
    ours, theirs = socket.socketpair()
    with ours, theirs:
        reader = threading.Thread(target=lambda: ended.append(run_watch(watch, ours)))
        ended: list[bool] = []
        reader.start()
        theirs.send(bytes([signal.SIGTERM, signal.SIGTERM]))
        assert watch.cancel.wait(60)
        theirs.send(bytes([signal.SIGINT]))
        theirs.shutdown(socket.SHUT_WR)
        reader.join(60)
    assert ended == [apart]
    assert codes == ([130] if apart else [])


def run_watch(watch, ours):
    """Return whether the watch ends the process."""
    try:
        watch.run(ours)
    except Left:
        return True
    return False


@pytest.mark.skipif(os.name != "posix", reason="terminals of POSIX")
def test_a_terminal_gets_its_cursor_back(codes, monkeypatch):
    """A bar hides it (DECTCEM, the private mode 25 of ECMA-48's CSI)."""
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as terminal, os.fdopen(ours, "rb", 0) as screen:
        monkeypatch.setattr(sys, "__stderr__", terminal)
        with pytest.raises(Left):
            signals.Watch(None).leave()
        assert screen.read(6) == b"\x1b[?25h"


def test_other_signals_do_not_count(codes):
    assert not watched(None, 28, 28, 28).is_set()  # SIGWINCH
    assert codes == []


@pytest.mark.parametrize("has_begun", [False, True])
def test_a_command_with_nothing_to_save_is_not_waited_for(codes, capfd, monkeypatch, has_begun):
    monkeypatch.setattr(signals, "GRACE_SECONDS", 0.01)
    begun, watch = threading.Event(), None
    if has_begun:
        begun.set()
    watch = signals.Watch(begun)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(bytes([signal.SIGINT]))
        if has_begun:
            threading.Timer(0.2, theirs.close).start()
            watch.run(ours)
        else:
            with pytest.raises(Left):
                watch.run(ours)
    assert codes == ([] if has_begun else [130])
    assert capfd.readouterr().err == ("" if has_begun else f"lbfgs-style: {signals.NOTHING}\n")


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="handlers are its")
def test_signal_handlers_are_restored_afterwards():
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    before = signal.set_wakeup_fd(theirs.fileno())
    try:
        with ours, theirs:
            with signals.cancelled_by_signals() as cancel:
                assert signal.getsignal(signal.SIGINT) != handlers[0]
                signal.raise_signal(signal.SIGTERM)
                assert cancel.wait(60)
            assert signal.set_wakeup_fd(before) == theirs.fileno()
    finally:
        signal.set_wakeup_fd(before)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert [thread for thread in threading.enumerate() if thread.name == "signals"] == []


# Work that is not waited for


@pytest.mark.parametrize("cancel", [None, threading.Event()])
def test_the_work_returns_or_raises_as_without_cancellation(cancel):
    assert Cancellation(cancel).run(lambda: 7) == 7
    with pytest.raises(KeyError, match="missing"):
        Cancellation(cancel).run(lambda: {}["missing"])


def test_cancelled_work_is_not_waited_for():
    cancel, end = threading.Event(), threading.Event()
    threading.Timer(0.05, cancel.set).start()
    with pytest.raises(Cancelled):
        Cancellation(cancel).run(lambda: end.wait(60))
    (left,) = [thread for thread in threading.enumerate() if thread.name == "preparing"]
    assert left.daemon  # or the process would wait for it
    end.set()
