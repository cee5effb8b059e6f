"""Progress of a run on stderr, and the library's log: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

from ..pipeline.results import Iterate
from ..video.frames import Frame
from .streams import can_draw

Show = Callable[[Iterate], None]

# Seconds or iterations after which the time left is shown: the first iterations are at small sizes.
_MEANINGFUL_SECONDS, _MEANINGFUL_ITERATIONS = 2.0, 10


@contextmanager
def show_progress(*, quiet: bool, verbose: bool) -> Generator[Show]:
    """Yield a callback for `StyleTransfer.run` that shows scale, iteration, loss and time left.

    Parameters
    ----------
    quiet : bool
        Show nothing but errors.
    verbose : bool
        Show each iteration with every term of the loss, and what the library logs.
    """
    with show_log(quiet=quiet, verbose=verbose):
        if quiet:
            yield lambda iterate: None
        elif can_draw(sys.stderr):
            with _bar(verbose) as show:
                yield show
        else:
            yield _lines(verbose)


class Series:
    """The progress of several images: one bar for all of them, or lines.

    Attributes
    ----------
    number, count : int
        The current image, from 1, and how many there are.
    label : str
        What the current image is.
    """

    def __init__(self, show: Callable[[float, str], None] | None, lines: Show) -> None:
        self.number, self.count, self.label = 0, 1, ""
        self._show, self._lines, self._started = show, lines, time.monotonic()

    def announce(self, number: int, count: int, label: str) -> None:
        """Begin an image."""
        self.number, self.count, self.label = number, count, label
        if self._show is None:
            self._lines_of(f"lbfgs-style: {number} of {count}: {label}")
        else:
            self._show((number - 1) / count, f"{number} of {count}: {label}")

    def __call__(self, iterate: Iterate) -> None:
        """Show an iteration."""
        if self._show is None:
            self._lines(iterate)
            return
        share = (self.number - 1 + iterate.progress) / self.count
        seconds, left = time.monotonic() - self._started, ""
        if seconds >= _MEANINGFUL_SECONDS:
            left = f"  {_clock(seconds * (1 - share) / share)} left"
        self._show(share, f"{self.number} of {self.count}: {self.label}{left}")

    def _lines_of(self, text: str) -> None:
        if self._lines is not _nothing:
            _print(text)


class FrameProgress:
    """The progress of a video: one bar for all frames, or a line for each.

    Attributes
    ----------
    seconds : float
        Seconds since the first frame began.
    """

    def __init__(self, show: Callable[[float, str], None] | None, *, quiet: bool) -> None:
        self._show, self._quiet = show, quiet
        self._total, self._done, self._started = 0, 0, time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the first frame began."""
        return time.monotonic() - self._started

    def begin(self, total: int) -> None:
        """Begin a clip of which `total` frames are to be painted; 0 where that is not known."""
        self._total, self._done, self._started = total, 0, time.monotonic()

    def __call__(self, iterate: Iterate) -> None:
        """Show an iteration."""
        if self._show is not None and self._total:
            done = self._done + iterate.progress
            self._show(min(1.0, done / self._total), self._describe(done))

    def tell(self, frame: Frame) -> None:
        """Show that a frame is painted."""
        self._done += 1
        if self._show is None and not self._quiet:
            _print(f"lbfgs-style: {self._describe(self._done)}  shot {frame.shot + 1}, {frame.seconds:.1f} s")

    def _describe(self, done: float) -> str:
        if not self._total:
            return f"frame {self._done}"
        text = f"frame {min(int(done) + (done > self._done), self._total)} of {self._total}"
        if done and self.seconds >= _MEANINGFUL_SECONDS and done < self._total:
            text += f"  {_clock(self.seconds * (self._total - done) / done)} left"
        return text


@contextmanager
def show_frames(*, quiet: bool) -> Generator[FrameProgress]:
    """Yield what shows the progress of a video."""
    with show_log(quiet=quiet, verbose=False):
        if not quiet and can_draw(sys.stderr):
            with _drawn() as draw:
                yield FrameProgress(draw, quiet=quiet)
        else:
            yield FrameProgress(None, quiet=quiet)


def _nothing(_: Iterate) -> None:
    """Show nothing."""


@contextmanager
def show_series(*, quiet: bool) -> Generator[Series]:
    """Yield what shows the progress of several images."""
    with show_log(quiet=quiet, verbose=False):
        if quiet:
            yield Series(None, _nothing)
        elif can_draw(sys.stderr):
            with _drawn() as draw:
                yield Series(draw, _nothing)
        else:
            yield Series(None, _lines(verbose=False))


@contextmanager
def show_log(*, quiet: bool, verbose: bool) -> Generator[None]:
    """Write the library's log to stderr: errors, by default warnings too, or everything.

    Within another `show_log` it adds nothing, so that nothing is written twice.
    """
    # Only this package's log: handlers of other packages are theirs to configure.
    logger, handler = logging.getLogger("lbfgs_style"), _Stderr()
    if any(isinstance(other, _Stderr) for other in logger.handlers):
        yield
        return
    handler.setFormatter(_Line())
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.ERROR if quiet else logging.DEBUG if verbose else logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)


def seconds_left(iterate: Iterate) -> float:
    """Return the estimated seconds left, from the time so far."""
    done = iterate.progress
    return iterate.seconds * (1 - done) / done


class _Line(logging.Formatter):
    """Formats a record as a line of the command; records that only --verbose shows name their module."""

    def format(self, record: logging.LogRecord) -> str:
        level = record.levelname.lower()
        where = level if record.levelno >= logging.WARNING else record.name.rpartition(".")[2]
        return f"lbfgs-style: {where}: {record.getMessage()}"


class _Stderr(logging.Handler):
    """Writes each message once to the current stderr, which a progress bar replaces."""

    def __init__(self) -> None:
        super().__init__()
        self._written: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if text not in self._written:
            self._written.add(text)
            _print(text)


def _print(text: str) -> None:
    # stderr may be closed; that must not end the run.
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def _describe(iterate: Iterate, verbose: bool) -> str:
    height, width = iterate.size
    text = (
        f"scale {iterate.scale}/{iterate.scales} {width}×{height}  "
        f"iteration {iterate.iteration}/{iterate.iterations}  loss {iterate.loss:.5g}"
    )
    before = sum(count for _, count in iterate.plan[: iterate.scale - 1])
    if iterate.seconds >= _MEANINGFUL_SECONDS or before + iterate.iteration >= _MEANINGFUL_ITERATIONS:
        text += f"  {_clock(seconds_left(iterate))} left"
    if verbose:
        text += "  " + "  ".join(f"{name} {value:.4g}" for name, value in iterate.terms.items())
    return text


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


def _lines(verbose: bool) -> Show:
    def show(iterate: Iterate) -> None:
        step = max(1, iterate.iterations // 5)
        if verbose or iterate.iteration % step == 0 or iterate.iteration == 1:
            _print(_describe(iterate, verbose))

    return show


@contextmanager
def _drawn() -> Generator[Callable[[float, str], None]]:
    """Yield a function that draws a bar, given the share that is done and a text."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda share, text: bar.update(task, completed=share, description=text)


@contextmanager
def _bar(verbose: bool) -> Generator[Show]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        BarColumn(bar_width=24),  # narrower in a narrow terminal
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("measuring the images", total=1.0)

        def show(iterate: Iterate) -> None:
            bar.update(task, completed=iterate.progress, description=_describe(iterate, verbose=False))
            if verbose:
                # Above the bar, where it stays; the terms are too many for the line of the bar.
                line = _describe(iterate, verbose=True)
                bar.console.print(line, markup=False, highlight=False, soft_wrap=True)

        yield show
