"""Runs of the command that are killed at random moments: the files are whole, and the runs resume."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import statistics
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lbfgs_style import images
from lbfgs_style.pipeline.checkpoints import snapshot
from tests.helpers.command import DATA, start

KILLS = 30

# Enough iterations for the end to depend little on the way: after 20 at the last scale, runs differ by 3 %.
SIZE = ("--size", 96, "--scales", 64, "--iterations", "60,40", "--threads", 1, "--device", "cpu")


@dataclass
class Tally:
    """Counts of the outcomes of kills.

    `saving` and `writing` count those that came while a checkpoint or the output was being written: they left
    a temporary file.
    """

    kills: int = 0
    before_the_first: int = 0
    saving: int = 0
    writing: int = 0
    ratios: list[float] = field(default_factory=list)  # final loss / that of an uninterrupted run

    def __str__(self) -> str:
        return (
            f"{self.kills} kills, {self.saving} of them while a checkpoint was written, {self.writing} while "
            f"the output was, {self.before_the_first} before the first checkpoint: every output and "
            "checkpoint whole, every run resumed, its final loss relative to an uninterrupted run's "
            f"{100 * (statistics.median(self.ratios) - 1):+.2f} % (median)"
        )


def arguments(output: Path, *more: object) -> list[object]:
    command = ["transfer", DATA / "coast.jpg", DATA / "painting.jpg", "-o", output, *SIZE]
    return [*command, "--report", output.with_suffix(".json"), "--checkpoint-every", 0, *more]


def finish(output: Path, *more: object) -> dict[str, Any]:
    """Run the command to its end and return its report."""
    process = start(*arguments(output, *more))
    out, err = process.communicate(timeout=300)
    assert (process.returncode, out) == (0, ""), err
    report = json.loads(output.with_suffix(".json").read_text("utf-8"))
    assert len(report["history"]) == sum(scale["iterations"] for scale in report["scales"])
    return report


def wait_for(process: subprocess.Popen[str], path: Path) -> None:
    """Return once a file is there, or the process has ended."""
    while process.poll() is None and not path.exists():
        pass  # a save takes milliseconds: a pause would miss it


def kill_one(folder: Path, seconds: float, *, saving: bool, tally: Tally, expected: float) -> None:
    """Kill a run, check what is left, then resume it.

    Parameters
    ----------
    folder : Path
        Empty.
    seconds : float
        When to kill it, after its start.
    saving : bool
        Kill it at the first save that comes so many seconds after the first of all.
    tally : Tally
        Counts what happened.
    expected : float
        The loss of an uninterrupted run.
    """
    output = folder / "out.png"
    shutil.copy(folder.parent / "old.png", output)
    old = output.read_bytes()
    checkpoint = folder / "out.png.checkpoint"
    temporary = snapshot.temporary_of(checkpoint)
    process = start(*arguments(output))
    try:
        if saving:
            wait_for(process, checkpoint)
        time.sleep(seconds)
        if saving:
            wait_for(process, temporary)
    finally:
        process.kill()
        process.communicate()
    tally.kills += 1
    tally.saving += temporary.exists()
    tally.writing += any(path.suffix == ".png" for path in folder.glob(".*"))
    # The output is the old one or the new one, complete.
    if output.read_bytes() != old:
        assert images.read(output).rgb.shape == (72, 96, 3)
    is_saved = checkpoint.exists()
    if is_saved:
        snapshot.read(checkpoint)
    else:
        tally.before_the_first += 1
    report = finish(output, "--resume")
    assert report["resumed"] == is_saved
    tally.ratios.append(report["scales"][-1]["loss_end"] / expected)
    assert images.read(output).rgb.shape == (72, 96, 3)
    assert not checkpoint.exists()
    assert not temporary.exists()


def kill(folder: Path, count: int, seed: int = 0) -> Tally:
    """Kill runs at `count` random moments, every second one while it saves."""
    tally, moments = Tally(), random.Random(seed)
    images.write(folder / "old.png", images.read(DATA / "coast.jpg"))
    whole = folder / "whole.png"
    begin = time.monotonic()
    expected = finish(whole)["scales"][-1]["loss_end"]
    length = time.monotonic() - begin
    for number in range(count):
        each = folder / str(number)
        each.mkdir()
        saving = number % 2 == 0
        seconds = moments.uniform(0, 0.3 if saving else 1.0) * length
        kill_one(each, seconds, saving=saving, tally=tally, expected=expected)
        with contextlib.suppress(OSError):
            shutil.rmtree(each)
    return tally


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
def test_killed_runs_resume(tmp_path):
    """Two of the thirty."""
    kill(tmp_path, 2)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
def test_thirty_kills(tmp_path):
    """Printed with ``python -m pytest -m slow tests/robustness/test_kills.py -s``."""
    tally = kill(tmp_path, KILLS)
    print(f"\n{tally}")  # noqa: T201  # what it was run for
    assert tally.kills == KILLS
    assert tally.saving >= 5
