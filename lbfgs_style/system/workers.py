"""Threads that do one piece of work after the other, and wait in between.

A processor runs a thread where it ran before, with its data still in the cache. A new thread for each
evaluation of a small image took up to two milliseconds more.

An interruption (Ctrl-C) may come between any two steps of the caller. So what matters is done by single
operations: a task is in the queue or not, it is finished or not, and waiting for it may be repeated.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable

from .threads import start_thread

# Seconds between two calls of `watch` while work goes on.
_POLL = 0.05


class _Task:
    """A piece of work, and whether it is finished."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work: Callable[[], object] | None = work
        self._ended = threading.Lock()  # held until the work has ended
        self._ended.acquire()
        self.failure: BaseException | None = None
        self.is_finished = False

    def do(self) -> None:
        work, self._work = self._work, None
        assert work is not None
        try:
            work()
        except BaseException as error:  # raised again by `run`
            self.failure = error
        del work  # it may hold large arrays
        self.is_finished = True
        self._ended.release()

    def wait(self) -> bool:
        """Wait for a moment, and return whether the work is finished."""
        if not self.is_finished:
            self._ended.acquire(timeout=_POLL)
        return self.is_finished


_Tasks = queue.SimpleQueue["_Task | None"]


class _Worker:
    """A thread that waits for tasks; it ends when nothing refers to its worker any more."""

    def __init__(self) -> None:
        self.tasks: _Tasks = queue.SimpleQueue()
        tasks = self.tasks  # the thread must not refer to the worker
        start_thread(lambda: _work_off(tasks), "worker")

    def __del__(self) -> None:
        if hasattr(self, "tasks"):
            self.tasks.put(None)


def _work_off(tasks: _Tasks) -> None:
    while (task := tasks.get()) is not None:
        task.do()
        del task


_idle: list[_Worker] = []


def forget_workers() -> None:
    """Forget the idle workers: in a forked process their threads do not exist."""
    _idle.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget_workers)


def run(work: Callable[[], object], *, watch: Callable[[], None], stop: Callable[[], None]) -> None:
    """Have a worker do some work, and raise what it raises.

    Parameters
    ----------
    work : callable
        The work.
    watch : callable
        Called every few tens of milliseconds while the work goes on.
    stop : callable
        Called when the caller is interrupted, or `watch` raises: ends the work early. The exception is raised
        again once the work has ended.

    Raises
    ------
    SessionError
        No worker is idle, and the system allows no further thread.
    """
    try:
        worker = _idle.pop()
    except IndexError:
        worker = _Worker()
    task = _Task(work)
    try:
        worker.tasks.put(task)
        while not task.wait():
            watch()
    except BaseException:
        stop()
        # Whether the task was queued is not known; what is queued behind it comes after it.
        last = _Task(lambda: None)
        worker.tasks.put(last)
        while not last.wait():
            pass
        _idle.append(worker)
        raise
    _idle.append(worker)
    if task.failure is not None:
        raise task.failure
