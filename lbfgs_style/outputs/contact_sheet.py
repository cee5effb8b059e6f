"""Contact sheets: images with a title, a legend and a label for each column, row or image.

OpenCV draws the text. Before version 5 it has ASCII only (later versions have all letters, in a proportional
font), so the labels of this package are ASCII.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..images import FloatImage, fit, resize

_MARGIN, _GAP = 20, 8
_TITLE, _TEXT, _LINE = 0.8, 0.5, 20  # font sizes of OpenCV's putText, and pixels from line to line
_INK, _SOFT = 30, 95  # grey levels of the text: labels and title, legend
_SIDE = 140  # pixels of the widest label of a row, with the gap after it
_INPUT = 96  # height of an image in the legend

Canvas = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Legend:
    """The text and images above the rows of a sheet.

    Attributes
    ----------
    title : str
        Heading, in large letters.
    lines : sequence of str
        Text below; long lines are wrapped.
    inputs : sequence of (image, str)
        Small images to the left of the lines, or above them on a narrow sheet, each with its name.
    """

    title: str
    lines: Sequence[str] = ()
    inputs: Sequence[tuple[FloatImage, str]] = ()


def sheet(
    rows: Sequence[Sequence[FloatImage]],
    *,
    columns: Sequence[str] = (),
    sides: Sequence[str] = (),
    captions: Sequence[Sequence[str]] = (),
    legend: Legend | None = None,
    height: int = 224,
) -> Canvas:
    """Lay images out in rows and columns.

    Parameters
    ----------
    rows : sequence of sequences of array
        H×W×3 float32 RGB in [0,1]; a row may be shorter than the first. Every image is scaled to `height`.
    columns, sides : sequence of str
        A label over each column, and left of each row; long ones are wrapped.
    captions : sequence of sequences of str
        A line above each image; of a caption that is too long, only the first line is shown.
    legend : Legend, optional
        Shown at the top.
    height : int
        Pixels of each image's height.

    Returns
    -------
    array, H×W×3 uint8 RGB
    """
    scaled = [[_to_height(picture, height) for picture in row] for row in rows]
    widths = [
        max(row[i].shape[1] for row in scaled if i < len(row)) for i in range(max(len(row) for row in scaled))
    ]
    side = min(
        _SIDE, max((_width(line) + 2 * _GAP for label in sides for line in label.split("\n")), default=0)
    )
    left = _MARGIN + side
    width = left + sum(widths) + _GAP * (len(widths) - 1) + _MARGIN
    if legend is not None:
        width = max(width, _least_width(legend))
    top = [] if legend is None else [_legend(legend, width)]
    labels = [wrapped(label, w) for label, w in zip(columns, widths, strict=False)]
    head = _LINE * max((len(lines) for lines in labels), default=0)
    above = _LINE if captions else 0
    body = np.full((_MARGIN + head + len(rows) * (above + height + _GAP) + _MARGIN, width, 3), 255, np.uint8)
    starts = [left + sum(widths[:i]) + _GAP * i for i in range(len(widths))]
    for x, w, lines in zip(starts, widths, labels, strict=False):
        for n, line in enumerate(lines):
            _write(body, line, x + (w - _width(line)) // 2, _MARGIN + head - (len(lines) - n - 1) * _LINE - 7)
    for i, row in enumerate(scaled):
        y = _MARGIN + head + i * (above + height + _GAP) + above
        if i < len(sides):
            lines = wrapped(sides[i], side - 2 * _GAP)
            begin = y + (height - _LINE * len(lines)) // 2 + 14
            for n, line in enumerate(lines):
                _write(body, line, _MARGIN, begin + n * _LINE)
        for j, picture in enumerate(row):
            x = starts[j] + (widths[j] - picture.shape[1]) // 2
            body[y : y + height, x : x + picture.shape[1]] = picture
            if captions:
                _write(body, wrapped(captions[i][j], picture.shape[1])[0], x, y - 6)
    return np.concatenate([*top, body])


def wrapped(text: str, width: int) -> list[str]:
    """Break a text into lines of at most `width` pixels, after spaces and commas; long words stay whole."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        lines.append("")
        for word in paragraph.replace(",", ", ").split():
            longer = f"{lines[-1]} {word}".strip()
            if lines[-1] and _width(longer) > width:
                lines.append(word)
            else:
                lines[-1] = longer
    return lines


def jpeg(picture: FloatImage, *, longest: int, quality: int = 90) -> bytes:
    """Return an image H×W×3, RGB in [0,1], as a JPEG of at most `longest` pixels on its longer side."""
    import cv2

    size = (picture.shape[0], picture.shape[1])
    small = resize(picture, fit(size, longest)) if max(size) > longest else picture
    _, encoded = cv2.imencode(".jpg", _to_bytes(small)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return encoded.tobytes()


def _least_width(legend: Legend) -> int:
    """Return the width that a legend's title and images need."""
    pictures = sum(_to_height(picture, _INPUT).shape[1] + _MARGIN for picture, _ in legend.inputs)
    return max(_width(legend.title, _TITLE) + _MARGIN, pictures) + _MARGIN


def _legend(legend: Legend, width: int) -> Canvas:
    height = _INPUT if legend.inputs else 0
    small = [(_to_height(picture, _INPUT), name) for picture, name in legend.inputs]
    room = width - 2 * _MARGIN - sum(picture.shape[1] + _MARGIN for picture, _ in small)
    fits = room >= 320  # else the lines go below the images
    lines = [part for line in legend.lines for part in wrapped(line, room if fits else width - 2 * _MARGIN)]
    text = _LINE * len(lines)
    rest = max(height + _LINE, text) if fits else height + _LINE + text
    canvas = np.full((_MARGIN + 34 + (rest if small or lines else 0), width, 3), 255, np.uint8)
    _write(canvas, legend.title, _MARGIN, _MARGIN + 18, scale=_TITLE)
    x, y = _MARGIN, _MARGIN + 34
    for picture, name in small:
        canvas[y : y + _INPUT, x : x + picture.shape[1]] = picture
        _write(canvas, wrapped(name, picture.shape[1])[0], x, y + _INPUT + 15, ink=_SOFT)
        x += picture.shape[1] + _MARGIN
    x, y = (x, y) if fits else (_MARGIN, y + height + _LINE)
    for n, line in enumerate(lines):
        _write(canvas, line, x, y + 14 + n * _LINE, ink=_SOFT)
    return canvas


def _to_height(picture: FloatImage, height: int) -> Canvas:
    width = max(1, round(picture.shape[1] * height / picture.shape[0]))
    return _to_bytes(resize(picture, (height, width)))


def _to_bytes(picture: FloatImage) -> Canvas:
    return np.rint(picture * 255).astype(np.uint8)


def _write(canvas: Canvas, text: str, x: int, y: int, *, scale: float = _TEXT, ink: int = _INK) -> None:
    import cv2

    cv2.putText(canvas, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, (ink,) * 3, 1, cv2.LINE_AA)


def _width(text: str, scale: float = _TEXT) -> int:
    import cv2

    size: Any = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    return int(size[0][0])
