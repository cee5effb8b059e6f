"""The figures of the README's chapter on robustness are those of the tests and corpora that it names."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import damaged_pictures
import pytest
import test_fuzz_networks
import test_fuzz_pictures
import test_hostile_networks
import test_kills
import test_surroundings

from lbfgs_style.images.formats import registry

ROOT = Path(__file__).parents[1]
CHAPTER = (ROOT / "README.md").read_text("utf-8").split("\n## Robustness\n")[1].split("\n## ")[0]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in CHAPTER.splitlines()
    if re.match(r"\| .* \| [\d,]+ \| 0 \| `", line)
]


def figure(words: str) -> int:
    """Return the number in the one row that begins with some words."""
    ((_, number, *_),) = [row for row in ROWS if row[0].startswith(words)]
    return int(number.replace(",", ""))


def collected(command: str) -> int:
    """Return how many tests a command of the table runs."""
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "pytest"]
    done = subprocess.run(
        [sys.executable, *words[1:], "--collect-only", "-q", "-p", "no:cacheprovider"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return sum("::" in line for line in done.stdout.splitlines())


@pytest.mark.parametrize("words", ["pickles", "tests with pictures"])
def test_as_many_as_the_command_runs(words):
    ((_, _, _, command),) = [row for row in ROWS if row[0].startswith(words)]
    assert figure(words) == collected(command.strip("`"))


def test_every_row_is_looked_at():
    """Those of two more are counted above."""
    expected = {
        "kills (SIGKILL)": test_kills.KILLS,
        "hostile networks": len(test_hostile_networks.CORPUS),
        "damaged `.onnx`": 3 * test_fuzz_networks.LONG * len(test_fuzz_networks.SEEDS),
        "runs at once": test_surroundings.WORKERS * len(test_surroundings.METHODS),
        "processes that pull": test_surroundings.PULLERS,
        "picture files": len(damaged_pictures.corpus()),
        "random damage": len(test_fuzz_pictures.TARGETS) * test_fuzz_pictures.MANY,
    }
    assert {words: figure(words) for words in expected} == expected
    assert len(ROWS) == len(expected) + 2


def test_kinds_and_formats_of_pictures():
    kinds, formats = re.findall(r"damaged or odd: (\d+) kinds, (\d+) formats", CHAPTER)[0]
    assert int(kinds) == len({case.group for case in damaged_pictures.corpus()})
    assert int(formats) == len(registry.READABLE.split(", "))


def test_each_command_runs_something_that_is_there():
    for *_, command in ROWS:
        assert any((ROOT / word).is_file() for word in shlex.split(command.strip("`"))), command
