"""Standard input, output and error of the command, whatever they are connected to."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import TextIO


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
