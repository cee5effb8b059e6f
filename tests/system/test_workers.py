"""Threads that are used again."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable

import numpy as np
import pytest

from lbfgs_style.system import workers


def run(work: Callable[[], object]) -> None:
    workers.run(work, watch=lambda: None, stop=lambda: None)


def worker_threads() -> int:
    return sum(thread.name == "worker" for thread in threading.enumerate())


def test_the_same_thread_does_one_work_after_the_other() -> None:
    workers.forget_workers()
    threads: list[int] = []
    for _ in range(3):
        run(lambda: threads.append(threading.get_ident()))
    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()


def test_work_at_the_same_time_has_threads_of_its_own() -> None:
    both = threading.Barrier(2, timeout=10)
    other = threading.Thread(target=run, args=(both.wait,))
    other.start()
    run(both.wait)
    other.join()


def test_while_the_work_goes_on_it_is_watched() -> None:
    go_on = threading.Event()
    workers.run(go_on.wait, watch=go_on.set, stop=lambda: None)
    assert go_on.is_set()


def test_what_the_work_raises_is_raised() -> None:
    def fail() -> None:
        raise ValueError("no")

    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            run(fail)


def test_an_idle_worker_holds_no_data_of_its_last_work() -> None:
    array = np.zeros(10)
    reference = weakref.ref(array)
    run(lambda array=array: array.sum())
    del array
    gc.collect()
    deadline = time.monotonic() + 10
    while reference() is not None and time.monotonic() < deadline:
        time.sleep(0.001)  # the thread is about to wait
    assert reference() is None


def test_an_interrupted_run_ends_before_the_interruption_is_raised() -> None:
    go_on, events = threading.Event(), list[str]()

    def work() -> None:
        go_on.wait(10)
        events.append("ended")

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        workers.run(work, watch=interrupt, stop=go_on.set)
    assert events == ["ended"]
    run(lambda: events.append("next"))
    assert events == ["ended", "next"]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no timers")
def test_interruptions_at_any_moment_lose_no_run_and_no_thread() -> None:
    """Many signals, each at another moment of short runs."""

    class Interrupted(BaseException):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    workers.forget_workers()
    done: list[int] = []
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for number in range(300):
            count, stopped = 0, False
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0002 + number * 3e-6)
                while True:
                    run(lambda: done.append(1))
                    count += 1
            except Interrupted:
                stopped = True
            assert stopped
            assert count <= len(done)
            run(lambda: done.append(-1))
            assert done[-1] == -1  # nothing of the runs before is left
            done.clear()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    gc.collect()
    deadline = time.monotonic() + 10
    while worker_threads() > 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert worker_threads() <= 5


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_starts_threads_of_its_own() -> None:
    run(int)
    if not (child := os.fork()):
        run(int)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
