"""Standard streams of the command: made fit for use, and the lines, tables and lists written to them."""

from __future__ import annotations

import io
import logging
import os
import re
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

import typer


def prepare() -> None:
    """Make the standard streams fit for use.

    A stream that was closed before we started leads to nowhere from now on; otherwise the next file to be
    opened would take its place, and what is printed would go there. Letters that the terminal's encoding
    lacks are written as numbers.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115  # for good
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def output_is_closed() -> bool:
    """Tell whether the process was started without a standard output."""
    return sys.__stdout__ is None


def can_draw(stream: TextIO) -> bool:
    """Tell whether a stream is a terminal on which a line can be written over."""
    return stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


def finish_output() -> OSError | None:
    """Write what is left for standard output; where that fails, give it up and return why.

    Python would try once more when the process ends, and fail with a message of its own.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        return error
    return None


def say(text: str) -> None:
    """Write one line on stderr, under the program's name; nobody need be there to read it.

    Names of files may hold anything: line breaks, and codes that a terminal obeys.
    """
    plain = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    with suppress(OSError):
        typer.echo(f"lbfgs-style: {plain}", err=True)


def show_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows on stdout, on a terminal as a table with columns for what they say."""
    if _are_for_people(rows):
        from rich.console import Console
        from rich.table import Table

        table = Table(*heads)
        for row in rows:
            table.add_row(*row)
        Console().print(table)


def show_list(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows on stdout, on a terminal one below the other: for more columns than a screen is wide."""
    if _are_for_people(rows):
        width = max(map(len, heads)) + 2
        for row in rows:
            typer.secho(row[0], bold=True)
            for head, cell in zip(heads[1:], row[1:], strict=True):
                typer.echo(f"  {head:<{width}}{cell}")


def _are_for_people(rows: Sequence[Sequence[str]]) -> bool:
    """Return whether stdout is a terminal; else print each row on a line, for grep and cut."""
    if sys.stdout.isatty():
        return True
    for row in rows:
        typer.echo("\t".join(row))
    return False


log = logging.getLogger(__name__)

_OURS = ("lbfgs-style: ", "lbfgs_style")  # what we say, and what the library logs

# How OpenCV's log begins: level and time, thread, place in its source, function.
_OPENCV = re.compile(r"^\[ *(ERROR|WARN)\S*\] \S+ \S+ \S+ ")

_STDERR = 2

_MOST = 1 << 16


@contextmanager
def heard(name: str) -> Generator[None]:
    """Keep stderr for our own lines while images are read.

    libjpeg reads on where a JPEG is damaged in its middle, and says so there alone: that becomes a warning.
    So does every error that OpenCV logs while it reads an image all the same, whatever the format; its log
    is made to speak for that time.

    Parameters
    ----------
    name : str
        What the warning calls the image.
    """
    try:
        stderr = os.dup(_STDERR)
    except OSError:  # there is none
        yield
        return
    try:
        caught = tempfile.TemporaryFile()  # noqa: SIM115  # closed below
    except OSError:  # there is no place to keep what comes
        os.close(stderr)
        yield
        return
    import cv2

    opencv, well = cv2.utils.logging, False
    level = opencv.setLogLevel(opencv.LOG_LEVEL_WARNING)
    try:
        os.dup2(caught.fileno(), _STDERR)
        yield
        well = True
    finally:
        opencv.setLogLevel(level)
        os.dup2(stderr, _STDERR)
        os.close(stderr)
        with caught:
            caught.seek(0)
            lines = caught.read(_MOST).decode(errors="replace").splitlines()
        _tell(name, [line for line in lines if line.strip()], well=well)


def _tell(name: str, lines: list[str], *, well: bool) -> None:
    told = False
    for line in lines:
        if line.startswith(_OURS):
            sys.stderr.write(line + "\n")
        elif well and not told and _is_damage(line):
            words = _OPENCV.sub("", line)
            log.warning("%s: may be damaged in its middle, and is read as far as it goes (%s)", name, words)
            told = True
        else:
            log.debug("%s: %s", name, line)


def _is_damage(line: str) -> bool:
    """Tell whether a line is about damage: OpenCV's errors, and what libjpeg says, inside a TIFF too."""
    if line.startswith("["):
        return line.startswith("[ERROR") or " JPEGLib: Corrupt" in line
    return not line.startswith("libpng")
