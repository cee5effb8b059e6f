"""Standard streams of the command: made fit for use, and the lines, tables and lists written to them."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
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
