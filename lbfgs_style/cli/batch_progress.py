"""The progress of a batch: a bar on a terminal, lines elsewhere, nothing but failures with --quiet."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from ..outputs.batch_workers import Done
from .streams import can_draw, print_message

log = logging.getLogger(__name__)


class BatchProgress:
    """Shows the progress of a batch; this base class shows only failures."""

    def __init__(self, count: int) -> None:
        self.count, self.started = count, time.monotonic()

    def update(self, pictures: float) -> None:
        """Show how many pictures are painted, with parts of those that run."""

    def tell(self, done: Done, number: int) -> None:
        """Show what became of a job."""
        for text in done.warnings:
            log.warning("%s: %s", done.job.output.name, text)
        if done.error:
            log.error("%s: %s", done.job.output.name, done.error)

    def left(self, pictures: float) -> str:
        """Return the time left, once enough is known."""
        seconds = time.monotonic() - self.started
        if pictures < 0.1:
            return ""
        minutes, rest = divmod(round(seconds * (self.count - pictures) / pictures), 60)
        return f"{minutes}:{rest:02d} left"


class _Lines(BatchProgress):
    """Shows a line for each picture."""

    def tell(self, done: Done, number: int) -> None:
        """Show what became of a job."""
        super().tell(done, number)
        if not done.error:
            print_message(f"{number}/{self.count} {done.job.output} in {done.seconds:.1f} s")


class _Bar(_Lines):
    """Shows a bar of all pictures."""

    def __init__(self, count: int, bar: Callable[[float, str], None]) -> None:
        super().__init__(count)
        self.bar = bar

    def update(self, pictures: float) -> None:
        """Show how many pictures are painted, with parts of those that run."""
        self.bar(pictures, f"{int(pictures)} of {self.count} pictures  {self.left(pictures)}")


@contextmanager
def show_batch(count: int, *, quiet: bool) -> Generator[BatchProgress]:
    """Yield what shows the progress: nothing, a bar on a terminal, or lines."""
    if quiet or not can_draw(sys.stderr):
        yield BatchProgress(count) if quiet else _Lines(count)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"{count} pictures", total=count)
        yield _Bar(count, lambda done, text: bar.update(task, completed=done, description=text))
