"""The examples of the README: one photo under six commands, and a strip of photo, painting and result.

    python -m tools.figures.examples PHOTO --scream A --starry B --hat C --cliffs D --wheat E

The paintings, all of them in the public domain, are not part of the repository: The Scream (Munch, 1893), The
Starry Night (van Gogh, 1889), Woman with a Hat (Matisse, 1905), The Cliffs at Étretat (Monet, 1885) and
Wheat Field with Cypresses (van Gogh, 1889).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from lbfgs_style import images

# Name of the picture → the paintings, and the options beside them.
EXAMPLES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "bold": (("scream",), ("--look", "bold")),
    "watercolour": (("cliffs",), ("--look", "watercolour")),
    "colours": (("starry",), ("--preserve-color", "luminance")),
    "strokes": (("hat",), ("--style-scale", "2")),
    "blend": (("starry", "scream"), ("--style-blend", "2,1")),
    "neighbours": (("wheat",), ("--style-statistic", "neighbours")),
}

PAINTINGS = ("scream", "starry", "hat", "cliffs", "wheat")

# Longer side of the pictures in the README, and height of the strip, in pixels.
_SIDE, _STRIP = 320, 260


def main() -> None:
    """Parse the command line and paint."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photo", type=Path)
    for name in PAINTINGS:
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--folder", type=Path, default=Path("models/examples"))
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for name, (paintings, options) in EXAMPLES.items():
            files = [getattr(arguments, painting) for painting in paintings]
            picture = _painted(arguments.photo, files, options, Path(scratch))
            small = images.resize(picture, images.fit(picture.shape[:2], _SIDE))
            images.write(arguments.folder / f"{name}.jpg", small, quality=88)
        result = _painted(arguments.photo, [arguments.scream], (), Path(scratch))
    parts = [images.read(arguments.photo).rgb, images.read(arguments.scream).rgb, result]
    sizes = [(_STRIP, round(part.shape[1] * _STRIP / part.shape[0])) for part in parts]
    strip = np.hstack([images.resize(part, size) for part, size in zip(parts, sizes, strict=True)])
    images.write(arguments.folder / "before_after.jpg", strip, quality=90)


def _painted(photo: Path, paintings: list[Path], options: tuple[str, ...], folder: Path) -> images.FloatImage:
    """Paint with the command, as a user does."""
    output = folder / "out.png"
    command = [
        sys.executable,
        "-m",
        "lbfgs_style",
        "transfer",
        photo,
        *paintings,
        "-o",
        output,
        "-q",
        *options,
    ]
    subprocess.run([str(part) for part in command], check=True)
    return images.read(output).rgb


if __name__ == "__main__":
    main()
