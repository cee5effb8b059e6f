"""Seconds until the command's first iteration, and its size on the disk."""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def startup(arguments: argparse.Namespace) -> dict[str, object]:
    """Time an import, `--version` and the first iteration of a transfer; add up what is installed.

    ``--python`` names the interpreter of another environment to time and to add up, such as one that holds
    the program alone, as its users have it; PyTorch is the one of this environment. The commands start in an
    empty folder, because `python -m` would prefer a checkout in the current one, whose modules may have to be
    compiled each time.
    """
    rounds, python = arguments.rounds, str(Path(arguments.python).absolute())
    command = [python, "-m", "lbfgs_style"]
    data = ROOT / "tests" / "data"
    with tempfile.TemporaryDirectory() as folder:
        transfer = [*command, "transfer", str(data / "coast.jpg"), str(data / "painting.jpg")]
        transfer += ["--size", str(arguments.size), "-o", str(Path(folder) / "out.png")]
        seconds = {
            "python -c pass": _median(rounds, folder, [python, "-c", "pass"]),
            "import lbfgs_style": _median(rounds, folder, [python, "-c", "import lbfgs_style"]),
            "lbfgs-style --version": _median(rounds, folder, [*command, "--version"]),
            f"first iteration at --size {arguments.size}": _first_iteration(rounds, folder, transfer),
        }
    owners = {"lbfgs-style": python, "torch": sys.executable, "torchvision": sys.executable}
    sizes = {f"{name} with what it needs": _installed_in(owner, name) for name, owner in owners.items()}
    return {"title": "start-up and installed size", "seconds": seconds, "MB": sizes}


def _median(rounds: int, folder: str, command: list[str]) -> float:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _first_iteration(rounds: int, folder: str, command: list[str]) -> float:
    """Return the median seconds from the start of a command in a folder to its first line of progress."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            line = process.stderr.readline()
            times.append(time.perf_counter() - start)
            process.kill()
        if "iteration 1/" not in line:
            raise SystemExit(f"expected a line of progress, got {line!r}")
    return statistics.median(times)


def _installed_in(python: str, name: str) -> float:
    """Return `_installed` for the environment of another interpreter."""
    return float(subprocess.run([python, __file__, name], check=True, capture_output=True, text=True).stdout)


def _installed(name: str) -> float:
    """Return the megabytes of the files of a distribution and of its requirements, extras left out."""
    try:
        names = set(_closure(name, set()))
    except metadata.PackageNotFoundError:
        return float("nan")
    files = (file for each in names for file in metadata.files(each) or ())
    paths = {Path(str(file.locate())) for file in files}
    return sum(path.stat().st_size for path in paths if path.is_file()) / 1e6


def _closure(name: str, seen: set[str]) -> Iterator[str]:
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key in seen:
        return
    seen.add(key)
    requirements = metadata.requires(key) or ()
    yield key
    for requirement in requirements:
        text, _, condition = requirement.partition(";")
        if "extra" in condition:
            continue
        needed = re.split(r"[\s<>=!~\[(]", text.strip(), maxsplit=1)[0]
        try:
            yield from _closure(needed, seen)
        except metadata.PackageNotFoundError:
            continue  # for another platform or an older Python


if __name__ == "__main__":
    print(_installed(sys.argv[1]))
