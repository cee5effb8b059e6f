"""Divide an image into tiles, each with a window from which its features and gradient are exact.

A feature sees only the pixels of its receptive field, and the gradient of a pixel comes only from the
features that see it. So from a window that reaches far enough beyond a tile, the tile's features and gradient
are those of the whole image; sums over features (Gram matrices, losses) add up over tiles. Pure functions;
the graphs are in `tile_graphs`, the loop is in `tile_runner`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from ...graphs.receptive_fields import Field, alignment, halo


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive positions of one axis, start ≤ i < stop."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """Number of positions."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Tile:
    """A part of an image and the window that it is computed from, in pixels.

    Attributes
    ----------
    rows, columns : Span
        The tile. The tiles of an image cover each pixel once.
    window_rows, window_columns : Span
        The tile and its surroundings, within the image.
    """

    rows: Span
    columns: Span
    window_rows: Span
    window_columns: Span

    @property
    def window_size(self) -> tuple[int, int]:
        """Height and width of the window."""
        return self.window_rows.length, self.window_columns.length


# The spans of an axis, each with its window.
_Cut = list[tuple[Span, Span]]


def plan_tiles(
    size: tuple[int, int],
    fields: Sequence[Field],
    max_pixels: int,
    *,
    shifted: tuple[bool, bool] = (False, False),
) -> tuple[Tile, ...]:
    """Divide an image into tiles whose windows have at most about `max_pixels` pixels.

    Parameters
    ----------
    size : (int, int)
        Height and width of the image.
    fields : sequence of Field
        Receptive fields of the layers in use.
    max_pixels : int
        Pixels of a window. Windows are never shorter than three times the halo, though.
    shifted : (bool, bool)
        Whether to shift the borders of rows and columns by half a tile.

    Returns
    -------
    tuple of Tile
        Row by row. A single one if the image is small enough.
    """
    height, width = size
    stride, reach = alignment(fields), halo(fields)
    if height * width <= max_pixels:
        return (Tile(Span(0, height), Span(0, width), Span(0, height), Span(0, width)),)
    # Choose the cut that computes the fewest pixels: wide bands, for instance, have halos on two sides only.
    down, across = _possible_cuts(height, stride, reach), _possible_cuts(width, stride, reach)
    cuts = [
        (rows, columns)
        for columns in across
        if (rows := _coarsest(down, max_pixels // _longest(columns))) is not None
    ]
    rows, columns = min(cuts, key=lambda cut: _total(cut[0]) * _total(cut[1]), default=(down[-1], across[-1]))
    rows, columns = (
        _shift(cut, stride, reach) if is_shifted else cut
        for cut, is_shifted in zip((rows, columns), shifted, strict=True)
    )
    return tuple(
        Tile(row, column, window_rows, window_columns)
        for row, window_rows in rows
        for column, window_columns in columns
    )


def _longest(cut: _Cut) -> int:
    return max(window.length for _, window in cut)


def _total(cut: _Cut) -> int:
    return sum(window.length for _, window in cut)


def _possible_cuts(length: int, stride: int, reach: int) -> list[_Cut]:
    """Cut an axis into one span, into two, and so on, until they are about as long as the halo."""
    counts = range(1, -(-length // reach) + 1)
    # With a short halo, hundreds of counts give only a few dozen lengths, all multiples of the stride.
    lengths = dict.fromkeys(-(-length // (count * stride)) * stride for count in counts)
    return [_cut(length, each, stride, reach) for each in lengths]


def _coarsest(cuts: Sequence[_Cut], limit: int) -> _Cut | None:
    """Return the cut into the fewest spans whose windows have at most `limit` positions, if there is one."""
    return next((cut for cut in cuts if _longest(cut) <= limit), None)


def _shift(cut: _Cut, stride: int, reach: int) -> _Cut:
    """Return a cut whose borders are where the middles of the spans of another cut are."""
    each, length = cut[0][0].length, cut[-1][0].stop
    return cut if len(cut) == 1 else _cut(length, each, stride, reach, each // (2 * stride) * stride)


def _cut(length: int, each: int, stride: int, reach: int, first: int = 0) -> _Cut:
    """Cut an axis into spans of length `each` with windows; the first span has the length `first`, if not 0.

    Where the image is large enough all windows are equally long, so that they share one graph: at the ends
    of the image they reach further than necessary.
    """
    starts = [0, *range(first, length, each)] if first else list(range(0, length, each))
    cut: _Cut = []
    for start, stop in pairwise([*starts, length]):
        begin = max(0, min(start - reach, (length - each - 2 * reach) // stride * stride))
        end = min(length, max(stop + reach, begin + each + 2 * reach))
        cut.append((Span(start, stop), Span(begin, end)))
    return cut
