"""Judge options by their pictures: numbers, contact sheets and blind pairs.

    python -m tools.looks paint FOLDER --pairs pairs.csv --sets sets.toml
    python -m tools.looks measure FOLDER
    python -m tools.looks sheet FOLDER -o sheet.png --only 0 3 7
    python -m tools.looks blind FOLDER now average -o blind
    python -m tools.looks score blind/key.json answers.txt

``pairs.csv`` has a photo and a painting in each line, ``sets.toml`` a table of options for each set. What was
painted is kept, so a new set or pair costs only itself.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, fields
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from tools.looks import sheets
from tools.looks.measures import Looks, measure
from tools.looks.painting import Pair, paint, read_pairs, read_sets


def main() -> None:
    """Parse the command line and do one thing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, dest="command")
    one = commands.add_parser("paint", help="paint every pair with every set")
    one.add_argument("folder", type=Path)
    one.add_argument("--pairs", type=Path, required=True)
    one.add_argument("--sets", type=Path, required=True)
    one.add_argument("--size", type=int, default=512)
    one.add_argument("--jobs", type=int, default=2, help="processes, of one thread each")
    one = commands.add_parser("measure", help="print a table of what is measured")
    one.add_argument("folder", type=Path)
    one.add_argument("--sets", nargs="+", help="the first is the base of the ratios")
    one.add_argument("--jobs", type=int, default=2)
    one.add_argument("--each", action="store_true", help="every picture, too")
    one = commands.add_parser("sheet", help="write a contact sheet")
    one.add_argument("folder", type=Path)
    one.add_argument("--sets", nargs="+")
    one.add_argument("--only", type=int, nargs="+", help="numbers of the pairs")
    one.add_argument("--height", type=int, default=256)
    one.add_argument("-o", "--output", type=Path, required=True)
    one = commands.add_parser("blind", help="write a sheet for each pair, with two sets as A and B")
    one.add_argument("folder", type=Path)
    one.add_argument("pair", nargs=2, metavar="SET")
    one.add_argument("--height", type=int, default=420)
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("-o", "--output", type=Path, required=True)
    one = commands.add_parser("score", help="count the votes of blind judgement")
    one.add_argument("key", type=Path)
    one.add_argument("answers", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "paint":
        pairs, sets = read_pairs(arguments.pairs), read_sets(arguments.sets)
        paint(arguments.folder, pairs, sets, arguments.size, arguments.jobs)
    elif arguments.command == "score":
        print(sheets.score(arguments.key, arguments.answers))
    else:
        _show(arguments)


def _show(arguments: argparse.Namespace) -> None:
    folder, pairs = arguments.folder, read_pairs(arguments.folder / "pairs.csv")
    if arguments.command == "blind":
        first, second = arguments.pair
        sheets.write_blind(folder, pairs, (first, second), arguments.output, arguments.height, arguments.seed)
        return
    sets = arguments.sets or sorted(path.name for path in folder.iterdir() if path.is_dir())
    if arguments.command == "sheet":
        chosen = pairs if arguments.only is None else [pairs[number] for number in arguments.only]
        sheets.write_sheet(folder, chosen, sets, arguments.output, arguments.height)
        return
    table = {name: _measured(folder / name, pairs, arguments.jobs) for name in sets}
    _print_table(table, pairs, each=arguments.each)


def _measured(folder: Path, pairs: Sequence[Pair], jobs: int) -> list[Looks]:
    """Return the measures of the pictures of a set; they are kept in ``measures.json``."""
    kept = folder / "measures.json"
    known = json.loads(kept.read_text("utf-8")) if kept.exists() else {}
    missing = [pair for pair in pairs if pair.name not in known]
    if missing:
        files = [folder / f"{pair.name}.png" for pair in missing]
        with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
            for pair, looks in zip(missing, pool.map(measure, missing, files), strict=True):
                known[pair.name] = asdict(looks)
        kept.write_text(json.dumps(known, indent=1), "utf-8")
    return [Looks(**known[pair.name]) for pair in pairs]


def _print_table(table: dict[str, list[Looks]], pairs: Sequence[Pair], *, each: bool) -> None:
    """Print means over the pairs: of the loss geometric, of the rest arithmetic."""
    names = [field.name for field in fields(Looks)]
    print(f"{'':44}" + "".join(f"{name:>10}" for name in names))
    for label, rows in table.items():
        if each:
            for pair, row in zip(pairs, rows, strict=True):
                print(f"{label + ' ' + pair.name:44.44}" + "".join(f"{getattr(row, n):10.3f}" for n in names))
        values = {name: np.array([getattr(row, name) for row in rows]) for name in names}
        means = {name: float(numbers.mean()) for name, numbers in values.items()}
        means["loss"] = float(np.exp(np.log(values["loss"]).mean()))
        print(f"{f'{label}, mean of {len(rows)}':44}" + "".join(f"{means[name]:10.3f}" for name in names))


if __name__ == "__main__":
    main()
