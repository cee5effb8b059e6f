"""A sheet of what --smooth-features does: for each network and pair a row, without and with the option.

    python -m tools.figures.smooth_features --networks resnet50 compact --pairs PHOTO:PAINTING

Prints the measures of `tools.looks.measures` for both; `loss` is that of the network ``compact``, whichever
network painted.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import astuple, fields
from pathlib import Path

from lbfgs_style import Options, StyleTransfer, images
from tools.figures.contact_sheet import contact_sheet
from tools.looks.measures import Looks, measure
from tools.looks.painting import Pair

LABELS = ("photo", "painting", "without", "--smooth-features")


def main() -> None:
    """Parse the command line, paint, print the measures and write the sheet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", required=True, help="names or paths, as of --network")
    parser.add_argument("--pairs", nargs="+", required=True, help="PHOTO:PAINTING")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--height", type=int, default=180, help="pixels of the pictures' height on the sheet")
    parser.add_argument("--sheet", type=Path)
    arguments = parser.parse_args()
    rows: list[list[images.FloatImage]] = []
    print(f"{'':40}", *(f"{field.name:>9}" for field in fields(Looks)))
    for network in arguments.networks:
        for text in arguments.pairs:
            pair = Pair(*map(Path, text.split(":")))
            row = [images.read(pair.photo).rgb, images.read(pair.painting).rgb]
            for smooth in (False, True):
                result = paint(network, pair, arguments.size, smooth=smooth)
                row.append(result)
                label = f"{Path(network).stem} {pair.name}{' smooth' if smooth else ''}"
                print(f"{label[:40]:40}", *(f"{value:9.3f}" for value in looks_of(pair, result)))
            rows.append(row)
    if arguments.sheet is not None:
        contact_sheet(arguments.sheet, rows, LABELS, height=arguments.height)


def paint(network: str, pair: Pair, size: int, *, smooth: bool) -> images.FloatImage:
    """Paint a pair with a network."""
    options = Options(size=size, smooth_features=smooth)
    job = StyleTransfer(network, options=options, keep_sessions=False)
    return job.run(pair.photo, pair.painting).picture.rgb


def looks_of(pair: Pair, result: images.FloatImage) -> tuple[float, ...]:
    """Return the measures of a result, as it would be written."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "result.png")
        images.write(file, images.from_array(result))
        return astuple(measure(pair, file))


if __name__ == "__main__":
    main()
