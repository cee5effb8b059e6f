"""Render the two sample pictures, a photograph-like coast and an oil painting, from nothing but seeded noise.

Usage: ``python tools/make_samples.py [--output tests/data] [--size 512]``. They are ours from the first
pixel, so that they can be bundled, shown and changed under the project's own licence.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from samples_coast import render_coast
from samples_painting import render_painting

MAX_BYTES = 200_000
SAMPLES = {"coast.jpg": render_coast, "painting.jpg": render_painting}


def encode_jpeg(image: np.ndarray, max_bytes: int = MAX_BYTES) -> bytes:
    """Encode a picture at the best JPEG quality that keeps within `max_bytes`.

    Parameters
    ----------
    image : ndarray, uint8, [H, W, 3], RGB
        The picture.
    max_bytes : int
        The most that the file may hold.

    Raises
    ------
    ValueError
        Even quality 50 takes more.
    """
    bgr = np.ascontiguousarray(image[..., ::-1])
    for quality in range(95, 49, -1):
        options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
        data = cv2.imencode(".jpg", bgr, options)[1].tobytes()
        if len(data) <= max_bytes:
            return data
    raise ValueError(
        f"JPEG of at most {max_bytes} bytes, got {len(data)} at quality 50: choose a smaller --size"
    )


def main() -> None:
    """Write both pictures into the chosen folder."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    default = Path(__file__).resolve().parent.parent / "tests" / "data"
    parser.add_argument("--output", type=Path, default=default, help="folder for the pictures")
    parser.add_argument("--size", type=int, default=512, help="width in pixels")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    for name, render in SAMPLES.items():
        image = render(options.size)
        data = encode_jpeg(image)
        (options.output / name).write_bytes(data)
        print(f"{options.output / name}: {image.shape[1]}×{image.shape[0]}, {len(data) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
