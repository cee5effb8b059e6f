"""Contact sheets of a bench folder, and sheets for blind judgement."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

from lbfgs_style import images
from lbfgs_style.outputs.contact_sheet import sheet
from tools.looks.painting import Pair


def write_sheet(folder: Path, pairs: Sequence[Pair], sets: Sequence[str], output: Path, height: int) -> None:
    """Write one sheet: a row for each pair, with the photo, the painting and each set's picture."""
    rows = [
        [pair.photo, pair.painting, *(folder / name / f"{pair.name}.png" for name in sets)] for pair in pairs
    ]
    _write(output, rows, ["photo", "painting", *sets], height)


def _write(output: Path, rows: Sequence[Sequence[Path]], labels: Sequence[str], height: int) -> None:
    pictures = [[images.read(file).rgb for file in row] for row in rows]
    images.write(output, images.from_array(sheet(pictures, columns=labels, height=height)))


def write_blind(
    folder: Path, pairs: Sequence[Pair], sets: tuple[str, str], output: Path, height: int, seed: int
) -> None:
    """Write a sheet for each pair, with two sets as A and B in a random order, and their key beside them.

    Parameters
    ----------
    folder, pairs, sets
        What was painted, and the two sets.
    output : path
        Folder for the sheets ``00.png``, …, and for ``key.json``: number → the sets of A and B.
    height : int
        Pixels of the pictures' height.
    seed : int
        Of the order.
    """
    output.mkdir(parents=True, exist_ok=True)
    order, key = random.Random(seed), dict[str, list[str]]()
    for number, pair in enumerate(pairs):
        names = list(sets)
        order.shuffle(names)
        key[f"{number:02}"] = names
        files = [*(folder / name / f"{pair.name}.png" for name in names), pair.photo, pair.painting]
        _write(output / f"{number:02}.png", [files], ["A", "B", "photo", "painting"], height)
    (output / "key.json").write_text(json.dumps(key, indent=1), "utf-8")


def score(key: Path, answers: Path) -> dict[str, int]:
    """Count the votes for each set; ``answers`` has lines ``00 A``, ``01 B`` or ``02 =`` (no preference)."""
    order = json.loads(key.read_text("utf-8"))
    votes = dict.fromkeys([*sorted(order["00"]), "no preference"], 0)
    for line in answers.read_text("utf-8").split("\n"):
        number, _, answer = line.strip().partition(" ")
        if number:
            votes["no preference" if answer == "=" else order[number]["AB".index(answer)]] += 1
    return votes
