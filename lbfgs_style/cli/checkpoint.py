"""Checkpoints of the command: where a run is saved, and what is printed about it."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ..errors import OptionError
from ..pipeline.checkpoints.checkpoint import Checkpoint
from .files import STANDARD, Output
from .streams import print_message

# Longest name of a file in bytes, on most file systems.
_LONGEST_NAME = 255

# Expected seconds of a run from which on it is saved without being asked to.
LONG = 180.0

SUFFIX = ".checkpoint"


@dataclass(frozen=True, slots=True)
class SavingParameters:
    """How a run is saved and resumed, as the command line says it."""

    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="Checkpoint file for --resume, deleted at the end of the run.",
            show_default="next to the output, if the run takes over three minutes",
            metavar="FILE",
            rich_help_panel="Saving",
        ),
    ] = None
    checkpoint_every: Annotated[
        float | None,
        typer.Option(
            help="Seconds from one checkpoint to the next; 0 saves after each iteration.",
            show_default="30",
            rich_help_panel="Saving",
        ),
    ] = None
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Resume from the checkpoint, with the same inputs and options.",
            rich_help_panel="Saving",
        ),
    ] = False


def checkpoint_of(
    target: Output, saving: SavingParameters, *, others: Sequence[Path | None], quiet: bool
) -> Checkpoint | None:
    """Return the checkpoint of a run, or None where it cannot be saved and the user did not ask for it.

    Parameters
    ----------
    target : Output
        The image; without `saving.checkpoint` the checkpoint lies next to it.
    saving : SavingParameters
        What the user asked for.
    others : sequence of Path or None
        Files that the checkpoint must not overwrite.
    quiet : bool
        Print nothing.

    Raises
    ------
    CheckpointError, OptionError
        The checkpoint cannot be written there.
    """
    file, every, resume = saving.checkpoint, saving.checkpoint_every, saving.resume
    is_asked = file is not None or every is not None
    if every is not None and not 0 <= every < math.inf:
        raise OptionError(f"--checkpoint-every must be a number of seconds, 0 or more, got {every}.")
    if file is None:
        if target.path == STANDARD:
            if is_asked or resume:
                raise OptionError("The output '-' has no folder for a checkpoint: add --checkpoint FILE.")
            return None
        file = target.path.with_name(target.path.name + SUFFIX)
        if len(os.fsencode(file.name)) > _LONGEST_NAME:
            if is_asked or resume:
                raise OptionError(f"{file}: the name is too long for a file: add --checkpoint FILE.")
            return None
    for other in (target.path, *others):
        if other is not None and other != STANDARD and other.resolve() == file.resolve():
            raise OptionError(f"The checkpoint and {other} are one file: choose another name for one.")

    def announce() -> None:
        if not quiet:
            print_message(
                f"a long run: saved to {file} from time to time; if it is interrupted, --resume continues it"
            )

    after = None if is_asked else LONG
    checkpoint = Checkpoint(file, every=every, resume=resume, after=after, announce=announce)
    is_there = file.exists()
    if quiet or checkpoint.is_in_use():  # reported later, if it matters
        return checkpoint
    if resume:
        print_message(f"resuming from {file}" if is_there else f"{file}: no checkpoint, so this is a new run")
    elif not is_asked and is_there:
        print_message(f"{file} has an unfinished run, which --resume continues: this one is not saved there")
    return checkpoint
