"""One sheet of what the options do: the same photo and paintings under a dozen of them.

python -m tools.figures.showcase PHOTO PAINTING PAINTING2 --sheet models/showcase.jpg
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from lbfgs_style import Options, Style, StyleTransfer, images
from lbfgs_style.outputs.contact_sheet import sheet


def main() -> None:
    """Parse the command line, paint and write the sheet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photo")
    parser.add_argument("painting")
    parser.add_argument("other")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--sheet", type=Path, required=True)
    arguments = parser.parse_args()
    photo, one, two = (images.read(p) for p in (arguments.photo, arguments.painting, arguments.other))
    height, width = photo.rgb.shape[:2]
    ramp = np.clip(np.linspace(2, -1, width), 0, 1).astype(np.float32)
    left = np.tile(ramp, (height, 1))
    base = Options(size=arguments.size)
    masked = [Style(one, mask=left), Style(two, mask=1 - left)]
    runs = {
        "default": (base, one),
        "--strength 0.2": (replace(base, strength=0.2), one),
        "--strength 0.8": (replace(base, strength=0.8), one),
        "--style-scale 0.4": (base, Style(one, scale=0.4)),
        "two styles": (base, [Style(one), Style(two)]),
        "--style-mask, one each side": (base, masked),
        "--style-layers relu1_1,relu2_1": (replace(base, style_layers=("relu1_1", "relu2_1")), one),
        "--preserve-color luminance": (replace(base, preserve_color="luminance"), one),
        "--preserve-color match": (replace(base, preserve_color="match"), one),
        "--style-statistic wasserstein": (replace(base, style_statistic="wasserstein"), one),
        "--pooling max": (replace(base, pooling="max"), one),
        "--init noise": (replace(base, init="noise"), one),
    }
    pictures = []
    for name, (options, styles) in runs.items():
        begin = time.perf_counter()
        pictures.append(StyleTransfer(options=options).run(photo, styles).picture.rgb)
        print(f"{name:34} {time.perf_counter() - begin:6.1f} s", flush=True)
    rows = [pictures[i : i + 4] for i in range(0, len(pictures), 4)]
    names = list(runs)
    captions = [names[i : i + 4] for i in range(0, len(names), 4)]
    laid_out = sheet(rows, captions=captions, height=180)
    images.write(arguments.sheet, images.from_array(laid_out), quality=85)


if __name__ == "__main__":
    main()
