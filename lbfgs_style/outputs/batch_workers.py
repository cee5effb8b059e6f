"""Paint the pictures of a batch in several processes, each with its share of the threads and the memory."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import StyleError
from ..pipeline.plan.run_plan import memory_budget
from ..pipeline.results import STOP, Iterate
from ..pipeline.style_transfer import StyleTransfer
from ..settings.options import Options
from ..system.threads import start_thread
from . import recipes, run_inputs
from .batch_jobs import Job
from .input_files import source_of
from .run_inputs import LoadedFile, RunInputs, StyleInput

# Seconds between two looks at the progress.
_POLL = 0.1

# How often a picture is begun whose process dies.
ATTEMPTS = 2


@dataclass(frozen=True, slots=True)
class Settings:
    """What the pictures of a batch have in common.

    Attributes
    ----------
    network : str
        Name or path.
    options : Options
        Of each picture, with the threads and the memory of one process.
    style_scale : float
        See `lbfgs_style.Style`.
    quality : int
        Of JPEG.
    max_pixels : int
        See `lbfgs_style.images.read`.
    """

    network: str
    options: Options
    style_scale: float
    quality: int
    max_pixels: int


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a job.

    Attributes
    ----------
    job : Job
        The job.
    seconds, loss : float
        Of the run; 0 where there was none.
    error : str
        Why there is no picture; empty where there is one.
    warnings : tuple of str
        What the library logged.
    """

    job: Job
    seconds: float = 0.0
    loss: float = 0.0
    error: str = ""
    warnings: tuple[str, ...] = ()


def divide(
    options: Options, jobs: int, bytes_of_one: int, *, processes: int | None = None
) -> tuple[int, Options]:
    """Return how many processes to run, and the options of each: its share of threads and memory.

    Each process has one thread: two processes of one thread paint 1.7 times as many pictures as one of two.
    As many as there are cores, but no more than jobs, nor than the memory holds. On a card there is one.

    Parameters
    ----------
    options : Options
        Of the batch.
    jobs : int
        Pictures to paint.
    bytes_of_one : int
        Memory of one run.
    processes : int, optional
        What the user asks for.
    """
    threads = options.threads or os.cpu_count() or 1
    budget = memory_budget(options)
    if processes is None:
        on_card = options.device.startswith("cuda")
        processes = 1 if on_card else min(threads, budget // max(1, bytes_of_one))
    processes = max(1, min(processes, jobs))
    return processes, replace(
        options, threads=max(1, threads // processes), memory=max(budget // processes, bytes_of_one)
    )


def paint(
    jobs: Sequence[Job],
    settings: Settings,
    *,
    processes: int,
    cancel: threading.Event,
    on_progress: Callable[[float], None] = lambda pictures: None,
) -> Iterator[Done]:
    """Yield what becomes of each job, in the order in which they end.

    A job that fails does not end the others, and one whose process dies is begun once more. After a
    cancellation the jobs that run are stopped without a picture, and no further one begins.

    Parameters
    ----------
    jobs : sequence of Job
        The pictures to paint.
    settings : Settings
        What they have in common.
    processes : int
        How many at once.
    cancel : threading.Event
        Ends the batch.
    on_progress : function
        Called from time to time with the number of pictures that are painted, with parts of those that run.
    """
    context = multiprocessing.get_context("spawn")
    stop, shares = context.Event(), context.Array("d", max(1, len(jobs)))
    attempts = dict.fromkeys(range(len(jobs)), 0)
    waiting = list(attempts)
    while waiting and not cancel.is_set():
        with ProcessPoolExecutor(
            processes, context, initializer=_begin, initargs=(settings, stop, shares)
        ) as pool:
            running: dict[Future[Done], int] = {}
            try:
                while (waiting or running) and not cancel.is_set():
                    while waiting and len(running) < processes:
                        number = waiting.pop(0)
                        attempts[number] += 1
                        running[pool.submit(_paint_one, number, jobs[number])] = number
                    ended, _ = wait(running, _POLL, FIRST_COMPLETED)
                    for future in ended:
                        number = running[future]
                        done = future.result()
                        del running[future]
                        shares[number] = 1.0
                        yield done
                    on_progress(sum(shares[:]))
            except BrokenProcessPool:
                for number in running.values():
                    if attempts[number] < ATTEMPTS:
                        waiting.append(number)
                    else:
                        shares[number] = 1.0
                        yield Done(jobs[number], error="its process died: too little memory, perhaps")
            finally:
                if running:
                    stop.set()
                    pool.shutdown(cancel_futures=True)
                    stop.clear()


class Kept(logging.Handler):
    """Keeps the texts that are logged, of one thread or of all, for the process that prints."""

    def __init__(self, thread: int | None = None) -> None:
        super().__init__(logging.WARNING)
        self.thread, self.texts = thread, list[str]()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the text of a record."""
        if self.thread in (None, record.thread):
            self.texts.append(record.getMessage())


def ended(job: Job, kept: Kept, work: Callable[[Job], float]) -> Done:
    """Return what becomes of a job by `work`, which paints it and returns its loss."""
    begun = time.monotonic()
    kept.texts.clear()
    loss, error = 0.0, ""
    try:
        loss = work(job)
    except StyleError as failure:
        error = str(failure)
    except MemoryError:
        error = "not enough memory for an image of this size"
    seconds = 0.0 if error else time.monotonic() - begun
    return Done(job, seconds, loss, error, tuple(kept.texts))


@dataclass(slots=True)
class _Worker:
    """The state of a process of the batch."""

    settings: Settings
    stop: Any
    shares: Any
    transfer: StyleTransfer
    kept: Kept
    style: dict[str, LoadedFile] = field(default_factory=dict[str, LoadedFile])


_worker: list[_Worker] = []


def _end_with_the_parent() -> None:
    """End this process once the one that started it has ended, however that came."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # noqa: TID251  # a process that we started, whose queue nobody reads any more


def _begin(settings: Settings, stop: Any, shares: Any) -> None:
    """Prepare a process; signals are handled by the one that started it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    start_thread(_end_with_the_parent, "parent")
    kept = Kept()
    logger = logging.getLogger("lbfgs_style")
    logger.addHandler(kept)
    logger.propagate = False
    transfer = StyleTransfer(settings.network, options=settings.options, keep_sessions=False)
    _worker[:] = [_Worker(settings, stop, shares, transfer, kept)]


def _paint_one(number: int, job: Job) -> Done:
    """Paint a picture and write it with its recipe."""
    worker = _worker[0]
    return ended(job, worker.kept, lambda each: _run(worker, number, each))


def _run(worker: _Worker, number: int, job: Job) -> float:
    """Paint and write a picture; return its loss."""
    settings = worker.settings
    photo = run_inputs.load_file("content", source_of(job.photo), settings.max_pixels)
    style = StyleInput(_style(worker, job.painting), scale=settings.style_scale)
    loaded = RunInputs(content=photo, styles=(style,), network=settings.network)

    def note(iterate: Iterate) -> object:
        worker.shares[number] = iterate.progress
        return STOP if worker.stop.is_set() else None

    result = run_inputs.run(worker.transfer, loaded, on_iterate=note, cancel=None)
    if result.stop_reason == "callback":
        raise StyleError("stopped")
    sources = loaded.map(lambda _, file: file.source)
    recipes.save(job.output, result, sources, quality=settings.quality)
    return result.scales[-1].loss_end


def _style(worker: _Worker, path: Path) -> LoadedFile:
    """Return a style that was read; the last one is kept, so that it is measured once."""
    source = source_of(path)
    if source.sha256 not in worker.style:
        worker.style.clear()
        worker.style[source.sha256] = run_inputs.load_file("style", source, worker.settings.max_pixels)
    return worker.style[source.sha256]
