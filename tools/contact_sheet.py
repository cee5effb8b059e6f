"""Pictures side by side on one sheet, with a label over each column."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from lbfgs_style import images

_GAP, _HEADER = 6, 26


def contact_sheet(
    path: Path, rows: Sequence[Sequence[np.ndarray]], labels: Sequence[str] = (), *, height: int = 192
) -> None:
    """Write a JPEG sheet.

    Parameters
    ----------
    path : Path
        The file to write.
    rows : sequence of sequences of array
        H×W×3 float32 RGB in [0,1]; every picture is scaled to `height`.
    labels : sequence of str
        One for each column.
    height : int
        Of each picture, in pixels.
    """
    scaled = [
        [images.resize(p, (height, round(p.shape[1] * height / p.shape[0]))) for p in row] for row in rows
    ]
    widths = [max(row[i].shape[1] for row in scaled) for i in range(len(scaled[0]))]
    top = _HEADER if labels else _GAP
    sheet = np.ones((top + len(rows) * (height + _GAP), _GAP + sum(w + _GAP for w in widths), 3), np.float32)
    for i, row in enumerate(scaled):
        left = _GAP
        for picture, width in zip(row, widths, strict=True):
            x, y = left + (width - picture.shape[1]) // 2, top + i * (height + _GAP)
            sheet[y : y + height, x : x + picture.shape[1]] = picture
            left += width + _GAP
    sheet = np.round(sheet * 255).astype(np.uint8)  # what putText draws on
    left = _GAP
    for label, width in zip(labels, widths, strict=False):
        cv2.putText(sheet, label, (left + 2, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (30,) * 3, 1, cv2.LINE_AA)
        left += width + _GAP
    images.write(path, images.from_array(sheet), quality=88)
