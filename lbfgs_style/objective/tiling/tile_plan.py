"""Exact tiling: which parts of a picture are worked on one after the other, and how far they overlap.

A feature sees the pixels of its receptive field only, and a pixel's gradient comes from the features that see
it only. So a window that reaches far enough beyond a tile gives the tile's features and gradient exactly as
the whole picture would; sums over features (Gram matrices, losses) add up over tiles. Pure functions; the
graphs are in `tiled_graphs`, the loop in `tiled`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from ...graphs.receptive_fields import Field, alignment, halo

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of one axis, start ≤ i < stop."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """Number of pixels."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Tile:
    """A part of a picture and the window that it is computed from.

    Attributes
    ----------
    rows, columns : Span
        The tile. All tiles together are the picture, each pixel once.
    window_rows, window_columns : Span
        The tile and its surroundings, within the picture.
    """

    rows: Span
    columns: Span
    window_rows: Span
    window_columns: Span

    @property
    def window_size(self) -> tuple[int, int]:
        """Height and width of the window."""
        return self.window_rows.length, self.window_columns.length


def plan(
    size: tuple[int, int],
    fields: Sequence[Field],
    most_pixels: int,
    *,
    shifted: tuple[bool, bool] = (False, False),
) -> tuple[Tile, ...]:
    """Cut a picture into tiles whose windows have at most about `most_pixels` pixels.

    Parameters
    ----------
    size : (int, int)
        Height and width of the picture.
    fields : sequence of Field
        Of the layers in use.
    most_pixels : int
        Pixels of a window. A window is never less than three times as long as the halo, though.
    shifted : (bool, bool)
        Whether to cut rows and columns half a tile further on, so that the borders lie where otherwise the
        middles are.

    Returns
    -------
    tuple of Tile
        Row by row. A single one where the picture is small enough.
    """
    height, width = size
    stride, reach = alignment(fields), halo(fields)
    if height * width <= most_pixels:
        return (Tile(Span(0, height), Span(0, width), Span(0, height), Span(0, width)),)
    # Of all cuts the one that computes the fewest pixels: wide strips have halos on two sides only.
    down, across = _cuts(height, stride, reach), _cuts(width, stride, reach)
    cuts = [
        (rows, columns)
        for columns in across
        if (rows := _fewest(down, most_pixels // _longest(columns))) is not None
    ]
    rows, columns = min(cuts, key=lambda cut: _total(cut[0]) * _total(cut[1]), default=(down[-1], across[-1]))
    rows, columns = (
        _shifted(cut, stride, reach) if further else cut
        for cut, further in zip((rows, columns), shifted, strict=True)
    )
    return tuple(Tile(row, column, above, beside) for row, above in rows for column, beside in columns)


_Cut = list[tuple[Span, Span]]
"""The spans of an axis, each with its window."""


def _longest(cut: _Cut) -> int:
    return max(window.length for _, window in cut)


def _total(cut: _Cut) -> int:
    return sum(window.length for _, window in cut)


def _cuts(length: int, stride: int, reach: int) -> list[_Cut]:
    """Cut an axis into one span, into two, and so on until they are about as long as the halo."""
    counts = range(1, -(-length // reach) + 1)
    # With a short halo hundreds of counts come to a few dozen lengths, each a multiple of the stride.
    lengths = dict.fromkeys(-(-length // (count * stride)) * stride for count in counts)
    return [_cut(length, each, stride, reach) for each in lengths]


def _fewest(cuts: Sequence[_Cut], most: int) -> _Cut | None:
    """Return the cut into the fewest spans with windows of at most `most`; None where there is none."""
    return next((cut for cut in cuts if _longest(cut) <= most), None)


def _shifted(cut: _Cut, stride: int, reach: int) -> _Cut:
    each, length = cut[0][0].length, cut[-1][0].stop
    return cut if len(cut) == 1 else _cut(length, each, stride, reach, each // (2 * stride) * stride)


def _cut(length: int, each: int, stride: int, reach: int, first: int = 0) -> _Cut:
    """Cut an axis into spans of length `each`, with windows; the first may end at `first` already.

    Windows are equally long where the picture allows it, so that they share one graph: at the ends they
    reach further than they must.
    """
    starts = [0, *range(first, length, each)] if first else list(range(0, length, each))
    cut: _Cut = []
    for start, stop in pairwise([*starts, length]):
        begin = max(0, min(start - reach, (length - each - 2 * reach) // stride * stride))
        end = min(length, max(stop + reach, begin + each + 2 * reach))
        cut.append((Span(start, stop), Span(begin, end)))
    return cut
