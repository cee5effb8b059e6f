"""Make damaged and odd picture files of every kind, read each, and report the outcome.

``python -m tests.robustness.corpus`` prints a table and ends with 1 where a file was lost: not read right,
not refused in one line that names it, a traceback, a hang or a crash. The files are read by a process of
their own, so that a crash of a decoder is seen; it is given up where a file takes longer than a minute.
Warnings count as errors.

Root may read what nobody else may: as root, the files without permission are read as the user ``nobody``.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lbfgs_style import images
from lbfgs_style.errors import ImageError
from tests.helpers.command import ROOT
from tests.robustness.corpus import damaged, sound
from tests.robustness.corpus.cases import Case

NOBODY = 65534
# Seconds without output of the reader after which reading a file counts as a hang.
HANGS = 60
# The command that reads files in a process of its own; `verdicts` adds the folder and the first number.
READER = (sys.executable, "-W", "error", "-m", "tests.robustness.corpus")
OUTCOMES = ("read", "refused", "lost")
FORMATS = ("png", "jpg", "webp", "avif", "tiff")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of reading a file.

    Attributes
    ----------
    group, name : str
        Of the case.
    outcome : str
        One of `OUTCOMES`: read right, refused with a line that names it, or neither.
    detail : str
        The line, or what went wrong.
    """

    group: str
    name: str
    outcome: str
    detail: str


def corpus() -> list[Case]:
    """Return every case; their names are unique."""
    return [*sound.cases(), *damaged.cases()]


def make(cases: list[Case], folder: Path) -> list[Case]:
    """Create the files, and return those that this system can have."""
    made: list[Case] = []
    for case in cases:
        try:
            case.make(folder)
        except OSError as error:
            print(f"not possible here: {case.name!r}: {error.strerror}", file=sys.stderr)
        else:
            made.append(case)
    return made


def judge(case: Case, path: Path) -> Verdict:
    """Read a file and compare the result with its case."""
    try:
        picture = images.read(path)
        lost = differs(case, images.to_array(picture))
        if case.written and not lost:
            lost = comes_back(picture)
        return Verdict(case.group, case.name, "lost" if lost else "read", lost)
    except ImageError as error:
        line = str(error)
        is_one_line = line.startswith(f"{path}: ") and "\n" not in line.removeprefix(str(path))
        right = case.wants is None and is_one_line and (case.says or "") in line
        return Verdict(case.group, case.name, "refused" if right else "lost", line.removeprefix(f"{path}: "))
    except Exception as error:  # a traceback is what is looked for here
        return Verdict(case.group, case.name, "lost", f"{type(error).__name__}: {error}")


def differs(case: Case, array: np.ndarray) -> str:
    """Return how a picture that was read differs from the expected one, or an empty text."""
    if case.wants is None:
        if case.says is not None:
            return f"read as {array.shape}, expected a refusal: {case.says}"
        return f"of shape {array.shape}" if case.shape and array.shape[:2] != case.shape else ""
    if (array.shape, array.dtype) != (case.wants.shape, case.wants.dtype):
        return f"{array.dtype} {array.shape}, expected {case.wants.dtype} {case.wants.shape}"
    off = float(np.abs(array.astype(float) - case.wants).max())
    return "" if off <= case.off else f"off by {off:g}, expected at most {case.off:g}"


def comes_back(picture: images.Picture) -> str:
    """Return in which formats a picture cannot be written with its metadata and read again."""
    size = picture.rgb.shape
    wrong = [kind for kind in FORMATS if images.decode(images.encode(picture, kind)).rgb.shape != size]
    return f"not written as {', '.join(wrong)}" if wrong else ""


@contextmanager
def without_rights(case: Case) -> Generator[None]:
    """Drop root's rights, for files that have no permission to be read."""
    if case.group != "unreadable" or os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def read_all(folder: Path, first: int, cases: list[Case]) -> None:
    """Judge the files from a number on, a line of JSON for each: the part of the process that may crash."""
    for number in range(first, len(cases)):
        with without_rights(cases[number]):
            verdict = judge(cases[number], folder / cases[number].name)
        print(json.dumps([number, verdict.outcome, verdict.detail]), flush=True)


def verdicts(
    cases: list[Case], folder: Path, everything: list[Case], reader: Sequence[str] = READER
) -> Generator[Verdict]:
    """Have the files read by other processes, one after the other where one dies or hangs.

    The reader numbers the cases as `everything` does; there may be no files for some of them.
    """
    names = {case.name for case in cases}
    number = 0
    while number < len(everything):
        command = [*reader, "--read", str(folder), "--first", str(number)]
        search = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        silent = os.environ | {"OPENCV_LOG_LEVEL": "SILENT", "PYTHONPATH": search}
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=silent
        ) as process:
            for line in lines(process):
                number, outcome, detail = json.loads(line)
                case = everything[number]
                if case.name in names:
                    yield Verdict(case.group, case.name, outcome, detail)
                number += 1
            hung = process.poll() is None and number < len(everything)
            process.kill()
        if number < len(everything):
            case = everything[number]
            detail = "hangs" if hung else f"ends the process with {process.returncode}"
            yield Verdict(case.group, case.name, "lost", detail)
            number += 1


def lines(reader: subprocess.Popen[bytes], patience: float = HANGS) -> Generator[bytes]:
    """Yield the lines that a process prints, until it ends or has been silent for too long."""
    output: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def listen() -> None:
        assert reader.stdout is not None
        while line := reader.stdout.readline():
            output.put(line)
        reader.wait()
        output.put(b"")

    threading.Thread(target=listen, daemon=True).start()
    while True:
        try:
            line = output.get(timeout=patience)
        except queue.Empty:
            return
        if not line:
            return
        yield line


def tried() -> list[Verdict]:
    """Make the corpus in a temporary folder, read it, and return the verdicts."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # for `nobody`
        made = make(corpus(), folder)
        try:
            return list(verdicts(made, folder, corpus()))
        finally:
            if (folder / "door").is_dir():
                (folder / "door").chmod(0o700)


def table(verdicts: list[Verdict]) -> str:
    """Return a table of the outcomes of each group."""
    counts = Counter((verdict.group, verdict.outcome) for verdict in verdicts)
    groups = list(dict.fromkeys(verdict.group for verdict in verdicts))
    rows = [("kind", "files", *OUTCOMES)]
    for group in [*groups, "all"]:
        each = [
            sum(n for (g, o), n in counts.items() if o == out and group in (g, "all")) for out in OUTCOMES
        ]
        rows.append((group, str(sum(each)), *map(str, each)))
    return "\n".join(f"{row[0]:18}" + "".join(f"{cell:>9}" for cell in row[1:]) for row in rows)


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--verbose", action="store_true", help="print every file and the line about it")
    parser.add_argument("--keep", type=Path, help="make the files in this folder and leave them there unread")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.read is not None:
        read_all(arguments.read, arguments.first, corpus())
        return 0
    if arguments.keep is not None:
        arguments.keep.mkdir(parents=True)
        print(f"{arguments.keep}: {len(make(corpus(), arguments.keep))} files")
        return 0
    results = tried()
    for verdict in results:
        if arguments.verbose or verdict.outcome == "lost":
            print(f"{verdict.outcome}: {verdict.group}: {verdict.name!a}: {verdict.detail}")
    print(table(results))
    return int(any(verdict.outcome == "lost" for verdict in results))
