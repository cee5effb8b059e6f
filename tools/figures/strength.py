"""Does a strength mean the same at every size? Content moved and style left, for each strength and size.

    python -m tools.figures.strength --pairs A.jpg:B.jpg,C.jpg:D.jpg --sheet strength.jpg

For each pair, strength and size, prints the mean relative distances at the end: how far the content's
features moved, and how much of the style's Gram matrices is left. The last column says by how much the
strength at the first size would have to differ to move the content as far as it does at the last.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from lbfgs_style import Options, Result, StyleTransfer, images
from tools.figures.contact_sheet import contact_sheet


def distances(result: Result) -> tuple[float, float]:
    """Return content moved and style left at the end of a run."""
    terms = result.scales[-1].terms_end
    moved, left = (
        float(np.mean([value for name, value in terms.items() if name.startswith(kind)] or [0.0]))
        for kind in ("content", "style")
    )
    return moved, left


def main() -> None:
    """Parse the command line, paint and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", required=True, metavar="A:B,…", help="photo:painting")
    parser.add_argument("--sizes", default="256,512")
    parser.add_argument("--strengths", default="0.1,0.3,0.5,0.7,0.9")
    parser.add_argument("--network", default="compact")
    parser.add_argument("--sheet", type=Path, help="contact sheet to write: a row for each pair and size")
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.sizes.split(",")]
    strengths = [float(strength) for strength in arguments.strengths.split(",")]
    rows = []
    for pair in arguments.pairs.split(","):
        photo, painting = (images.read(path) for path in pair.split(":"))
        print(
            f"{pair}\n{'strength':>8}" + "".join(f"{size:>6}: moved   left" for size in sizes) + "   off by"
        )
        moved = np.zeros((len(sizes), len(strengths)))
        pictures = [[] for _ in sizes]
        lines = []
        for column, strength in enumerate(strengths):
            line = f"{strength:8g}"
            for row, size in enumerate(sizes):
                job = StyleTransfer(arguments.network, options=Options(size=size, strength=strength))
                result = job.run(photo, painting)
                moved[row, column], left = distances(result)
                line += f"{'':>6}  {moved[row, column]:.3f}  {left:.4f}"
                pictures[row].append(result.picture.rgb)
            lines.append(line)
        # Where the curve of the first size reaches what the last size has; np.interp stays inside the curve.
        same = np.interp(moved[-1], moved[0], strengths)
        for line, strength, other in zip(lines, strengths, same, strict=True):
            beyond = not moved[0].min() <= moved[-1, strengths.index(strength)] <= moved[0].max()
            print(f"{line}   {'beyond' if beyond else f'{other - strength:+.3f}'}", flush=True)
        rows += pictures
    if arguments.sheet is not None:
        contact_sheet(arguments.sheet, rows, [f"strength {strength:g}" for strength in strengths], height=224)


if __name__ == "__main__":
    main()
