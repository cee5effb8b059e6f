"""Paint pairs of photo and painting with sets of options; what is there already is not painted again.

A folder has ``pairs.csv``, and a subfolder for each set with a PNG for each pair and ``options.toml``.
"""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from lbfgs_style import Options, StyleTransfer, images
from lbfgs_style.settings.options_file import checked_names, with_values

# Keys of a set that are no options.
NETWORK = "network"


@dataclass(frozen=True, slots=True)
class Pair:
    """A photo and a painting."""

    photo: Path
    painting: Path

    @property
    def name(self) -> str:
        """The stem of its pictures."""
        return f"{self.photo.stem}--{self.painting.stem}"


def read_pairs(path: Path) -> list[Pair]:
    """Read lines ``photo,painting``; relative paths start at the file's folder. ``#`` begins a comment."""
    with path.open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.reader(lines) if row and not row[0].startswith("#")]
    return [Pair(*((path.parent / cell.strip()).resolve() for cell in row)) for row in rows]


def write_pairs(path: Path, pairs: Sequence[Pair]) -> None:
    """Write pairs with absolute paths."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([pair.photo, pair.painting] for pair in pairs)


def read_sets(path: Path) -> dict[str, dict[str, object]]:
    """Read sets of options from a TOML file: a table for each, of options and perhaps ``network``."""
    return tomllib.loads(path.read_text("utf-8"))


def options_of(values: dict[str, object], size: int) -> tuple[str, Options]:
    """Return the network and the options of a set, at a size unless it has one, with one thread."""
    rest = {key: value for key, value in values.items() if key not in (NETWORK, "preset")}
    base = Options.preset(str(values.get("preset", "default")))
    named = {"size": size, "threads": 1} | checked_names(rest, source="set")
    return str(values.get(NETWORK, "compact")), with_values(base, named, source="set")


def paint(
    folder: Path, pairs: Sequence[Pair], sets: dict[str, dict[str, object]], size: int, jobs: int
) -> None:
    """Paint what is missing in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_pairs(folder / "pairs.csv", pairs)
    work = []
    for name, values in sets.items():
        options_of(values, size)  # a mistake is reported before the work
        (folder / name).mkdir(exist_ok=True)
        work += [(pair, values, size, folder / name / f"{pair.name}.png") for pair in pairs]
    missing = [each for each in work if not each[-1].exists()]
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        for number, line in enumerate(
            pool.map(_paint_one, *zip(*missing, strict=True)) if missing else [], 1
        ):
            print(f"{number}/{len(missing)} {line}", flush=True)


def _paint_one(pair: Pair, values: dict[str, object], size: int, output: Path) -> str:
    network, options = options_of(values, size)
    result = StyleTransfer(network, options=options).run(images.read(pair.photo), images.read(pair.painting))
    temporary = output.with_suffix(".part.png")
    images.write(temporary, result.picture)
    temporary.replace(output)
    return f"{output.parent.name} {output.stem} {result.seconds:.1f} s"
