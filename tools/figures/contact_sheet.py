"""Pictures side by side in a JPEG file, with a label over each column."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lbfgs_style import images
from lbfgs_style.outputs.contact_sheet import sheet


def contact_sheet(
    path: Path, rows: Sequence[Sequence[np.ndarray]], labels: Sequence[str] = (), *, height: int = 192
) -> None:
    """Write a JPEG sheet of pictures H×W×3 float32 RGB in [0,1], each scaled to `height`."""
    laid_out = sheet(rows, columns=labels, height=height)
    images.write(path, images.from_array(laid_out), quality=88)
