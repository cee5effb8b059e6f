"""Standard streams of the command: prepare them, print lines and tables, capture decoder messages."""

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
    """Prepare the standard streams for use.

    A stream that was closed before the start is replaced by the null device; otherwise the next opened file
    would get its number, and what is printed would go there. Characters that the encoding of the terminal
    lacks are escaped.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115  # stays open
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def output_is_closed() -> bool:
    """Tell whether the process was started without a standard output."""
    return sys.__stdout__ is None


def can_draw(stream: TextIO) -> bool:
    """Tell whether a stream is a terminal whose lines can be overwritten."""
    return stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


def finish_output() -> OSError | None:
    """Flush standard output; where that fails, discard it and return the error.

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


def print_message(text: str) -> None:
    """Print one line on stderr after the program's name; a closed stderr is ignored.

    Names of files may hold anything: line breaks, and codes that a terminal obeys.
    """
    plain = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    with suppress(OSError):
        typer.echo(f"lbfgs-style: {plain}", err=True)


def show_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows on stdout, on a terminal as a table."""
    if _print_plain_rows(rows):
        from rich.console import Console
        from rich.table import Table

        table = Table(*heads)
        for row in rows:
            table.add_row(*row)
        Console().print(table)


def show_list(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows on stdout, on a terminal one field a line: for more columns than a screen is wide."""
    if _print_plain_rows(rows):
        width = max(map(len, heads)) + 2
        for row in rows:
            typer.secho(row[0], bold=True)
            for head, cell in zip(heads[1:], row[1:], strict=True):
                typer.echo(f"  {head:<{width}}{cell}")


def _print_plain_rows(rows: Sequence[Sequence[str]]) -> bool:
    """Print the rows separated by tabs unless stdout is a terminal; return whether it is one."""
    if sys.stdout.isatty():
        return True
    for row in rows:
        typer.echo("\t".join(row))
    return False


log = logging.getLogger(__name__)

_OURS = ("lbfgs-style: ", "lbfgs_style")  # our messages, and the library's log

# Beginning of a line of OpenCV's log: level and time, thread, position in its source, function.
_OPENCV = re.compile(r"^\[ *(ERROR|WARN)\S*\] \S+ \S+ \S+ ")

_STDERR = 2

# Largest number of bytes of the captured messages that are read.
_MOST = 1 << 16


@contextmanager
def capture_decoder_messages(name: str) -> Generator[None]:
    """Capture what decoders write to stderr while images are read, and log what matters of it.

    libjpeg decodes a damaged JPEG as far as possible, and only says so on stderr: that becomes a warning.
    So does every error that OpenCV logs although it returns an image; its log is enabled for that time.
    Only for the command: stderr belongs to the whole process.

    Parameters
    ----------
    name : str
        Name of the image in the warning.
    """
    try:
        stderr = os.dup(_STDERR)
    except OSError:  # stderr is closed
        yield
        return
    try:
        caught = tempfile.TemporaryFile()  # noqa: SIM115  # closed below
    except OSError:  # no temporary folder
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
    warned = False
    for line in lines:
        if line.startswith(_OURS):
            sys.stderr.write(line + "\n")
        elif well and not warned and _is_damage(line):
            words = _OPENCV.sub("", line)
            log.warning("%s: may be damaged; decoded as far as possible (%s)", name, words)
            warned = True
        else:
            log.debug("%s: %s", name, line)


def _is_damage(line: str) -> bool:
    """Tell whether a line reports damage: errors of OpenCV, and libjpeg's messages, inside a TIFF too."""
    if line.startswith("["):
        return line.startswith("[ERROR") or " JPEGLib: Corrupt" in line
    return not line.startswith("libpng")
