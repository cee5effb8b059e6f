"""Paint every photo in the style of every painting with the defaults, and put the results on one sheet.

    python -m tools.figures.gallery --photos a.jpg,b.jpg --paintings c.jpg,d.jpg --sheet gallery.jpg

Prints the seconds of each picture, each run by the command in a process of its own, as a user would. With
``--second-row="--iterations 400"`` every photo has a second row, painted with those options.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

from lbfgs_style import images
from tools.figures.contact_sheet import contact_sheet


def paint(photo: Path, painting: Path, output: Path, options: list[str]) -> float:
    """Run the command on one pair and return its wall time in seconds."""
    command = [sys.executable, "-m", "lbfgs_style", "transfer", str(photo), str(painting), "-o", str(output)]
    start = time.perf_counter()
    subprocess.run([*command, "--quiet", *options], check=True)
    return time.perf_counter() - start


def main() -> None:
    """Parse the command line and paint."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", required=True, metavar="A,B,…")
    parser.add_argument("--paintings", required=True, metavar="A,B,…")
    parser.add_argument("--sheet", type=Path, help="contact sheet to write, results only")
    parser.add_argument("--folder", type=Path, help="where to keep the full pictures")
    parser.add_argument("--height", type=int, default=224, help="of each picture on the sheet")
    parser.add_argument("--second-row", type=shlex.split, help="options of a second row for each photo")
    parser.add_argument("options", nargs="*", help="after --: options for every run")
    arguments = parser.parse_args()
    photos, paintings = (
        [Path(p) for p in text.split(",")] for text in (arguments.photos, arguments.paintings)
    )
    ways = [arguments.options] + ([arguments.second_row] if arguments.second_row else [])
    rows, by_row = [], []
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for photo, (number, options) in product(photos, enumerate(ways)):
            row, seconds = [], []
            for painting in paintings:
                output = folder / f"{photo.stem}-{painting.stem}{f'-{number}' if number else ''}.png"
                seconds.append(paint(photo, painting, output, options))
                line = f"{photo.stem:24} {painting.stem:24} {seconds[-1]:6.1f} s"
                print(line, *options, flush=True)
                row.append(images.read(output).rgb)
            rows.append(row)
            by_row.append(seconds)
    for number, options in enumerate(ways):
        each = [s for row in range(number, len(rows), len(ways)) for s in by_row[row]]
        print(f"mean {sum(each) / len(each):.1f} s", *options)
    if arguments.sheet is not None:
        contact_sheet(arguments.sheet, rows, height=arguments.height)


if __name__ == "__main__":
    main()
