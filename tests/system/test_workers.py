"""Threads that are used again."""

from __future__ import annotations

import gc
import os
import threading
import weakref

import numpy as np
import pytest

from lbfgs_style.system.workers import borrowed_worker, forget_workers


def test_the_same_thread_does_one_work_after_the_other() -> None:
    forget_workers()
    threads: list[int] = []
    for _ in range(3):
        with borrowed_worker() as worker:
            worker.start(lambda: threads.append(threading.get_ident()))
            assert worker.wait()
    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()


def test_work_at_the_same_time_has_threads_of_its_own() -> None:
    both = threading.Barrier(2, timeout=10)
    with borrowed_worker() as one, borrowed_worker() as other:
        for worker in (one, other):
            worker.start(both.wait)
        assert one.wait()
        assert other.wait()


def test_waiting_may_end_before_the_work() -> None:
    go_on = threading.Event()
    with borrowed_worker() as worker:
        worker.start(go_on.wait)
        assert not worker.wait(0.01)
        assert not worker.is_idle
        go_on.set()
        assert worker.wait()
        assert worker.is_idle
        assert worker.wait()  # there is nothing to wait for


def test_what_the_work_raises_is_raised_by_waiting() -> None:
    def fail() -> None:
        raise ValueError("no")

    for _ in range(2):
        with borrowed_worker() as worker:
            worker.start(fail)
            with pytest.raises(ValueError, match="no"):
                worker.wait()


def test_an_idle_worker_holds_no_data_of_its_last_work() -> None:
    array = np.zeros(10)
    reference = weakref.ref(array)
    with borrowed_worker() as worker:
        worker.start(lambda array=array: array.sum())
        assert worker.wait()
    del array
    gc.collect()
    assert reference() is None


def test_a_worker_that_is_busy_is_not_lent_again() -> None:
    """As after an interruption while the work was started."""
    forget_workers()
    go_on = threading.Event()
    with borrowed_worker() as busy:
        busy.start(go_on.wait)
    with borrowed_worker() as other:
        assert other is not busy
    go_on.set()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_starts_threads_of_its_own() -> None:
    with borrowed_worker() as worker:
        worker.start(int)
        assert worker.wait()
    if not (child := os.fork()):
        with borrowed_worker() as worker:
            worker.start(int)
            os._exit(0 if worker.wait(10) else 1)
    assert os.waitpid(child, 0)[1] == 0
