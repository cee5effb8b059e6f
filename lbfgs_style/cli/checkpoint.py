"""How the command saves a run on the way, and what it says of that."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

from ..errors import OptionError
from ..pipeline.checkpoints.checkpoint import Checkpoint
from ..system.locks import lock_of
from .files import STANDARD, Output
from .streams import say

_LONGEST_NAME = 255
"""Bytes in the name of a file, on most file systems."""

LONG = 180.0
"""Seconds from which on a run is saved without being asked to."""

SUFFIX = ".checkpoint"


def checkpoint_of(
    target: Output,
    file: Path | None,
    every: float | None,
    *,
    resume: bool,
    others: Sequence[Path | None],
    quiet: bool,
) -> Checkpoint | None:
    """Return where the run is saved, or None where it cannot be and nobody asked.

    Parameters
    ----------
    target : Output
        The picture; without `file` the checkpoint lies beside it.
    file, every
        As in `Checkpoint`, if they were given.
    resume : bool
        Whether to go on from it.
    others : sequence of Path or None
        Files that it must not be.
    quiet : bool
        Say nothing.

    Raises
    ------
    CheckpointError, OptionError
        It cannot be written, or not there.
    """
    is_asked = file is not None or every is not None
    if every is not None and not 0 <= every < math.inf:
        raise OptionError(f"--checkpoint-every must be a number of seconds, 0 or more, got {every}.")
    if file is None:
        if target.path == STANDARD:
            if is_asked or resume:
                raise OptionError("With the output '-' there is no place beside it: add --checkpoint FILE.")
            return None
        file = target.path.with_name(target.path.name + SUFFIX)
        if len(os.fsencode(lock_of(file).name)) > _LONGEST_NAME:
            if is_asked or resume:
                raise OptionError(f"{file}: the name is too long for a file: add --checkpoint FILE.")
            return None
    for other in (target.path, *others):
        if other is not None and other != STANDARD and other.resolve() == file.resolve():
            raise OptionError(f"The checkpoint and {other} are one file: choose another name for one.")

    def announce() -> None:
        if not quiet:
            say(f"a long run: saved to {file} from time to time; if it is cut off, --resume goes on with it")

    after = None if is_asked else LONG
    checkpoint = Checkpoint(file, every=every, resume=resume, after=after, announce=announce)
    is_there = file.exists()
    if quiet or checkpoint.is_in_use():  # told once it matters
        return checkpoint
    if resume:
        say(f"going on from {file}" if is_there else f"{file}: no checkpoint, so this is a new run")
    elif not is_asked and is_there:
        say(f"{file} has an unfinished run, which --resume goes on with: this one is not saved there")
    return checkpoint
