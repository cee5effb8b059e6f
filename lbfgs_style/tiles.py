"""Exact tiling: which parts of a picture are worked on one after the other, and how far they overlap.

A feature sees the pixels of its receptive field only, and a pixel's gradient comes from the features that see
it only. So a window that reaches far enough beyond a tile gives the tile's features and gradient exactly as
the whole picture would; sums over features (Gram matrices, losses) add up over tiles. Pure functions; the
graphs are in `tiled_graphs`, the loop in `tiled`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from .errors import GraphError
from .onnx_checks import shown
from .operator_reach import POINTWISE, described, windows_of
from .term_names import IMAGE

if TYPE_CHECKING:
    import onnx


# Strides of pixels that a picture is taken to have where only the remainder matters: more than any window.
_MANY = 2**16


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


@dataclass(frozen=True, slots=True)
class Field:
    """Receptive field: feature i of an axis sees the pixels stride·i + first … stride·i + last."""

    stride: int = 1
    first: int = 0
    last: int = 0


def receptive_fields(model: onnx.ModelProto, layers: Sequence[str]) -> dict[str, Field]:
    """Return the receptive field of each layer of a feature network.

    Raises
    ------
    GraphError
        If a layer cannot be computed exactly from parts of a picture: an operator on the way to it sees the
        whole picture, or its lengths are not those of the picture divided by its stride, rounded down. The
        message names the operator.
    """
    fields = followed(model, layers)
    odd = misfits(model, layers, fields)
    for layer in layers:
        if layer in odd:
            raise _whole_only(
                f"{odd[layer]} gives the layer {shown(layer)} another height or width than the picture's "
                "divided by its stride"
            )
    return {layer: fields[layer] for layer in layers}


def followed(model: onnx.ModelProto, layers: Sequence[str]) -> dict[str, Field]:
    """Return the receptive field of each tensor on the way to `layers`, the picture's own included.

    A field holds what is seen in height and what is seen in width.

    Raises
    ------
    GraphError
        If a node sees the whole picture, or has a stride in height that is not the one in width.
    """
    fields: dict[str, Field] = {IMAGE: Field()}
    for node, inputs, windows in windows_of(model, layers):
        if windows is None:
            raise _whole_only(f"{described(node)} sees the whole picture")
        seen = [fields[name] for name in inputs]
        stride, (height, width) = seen[0].stride, windows
        if height.step != width.step or any(field.stride != stride for field in seen):
            raise _whole_only(f"{described(node)} has one stride in height and another in width")
        first = min(field.first for field in seen) - stride * max(w.front for w in windows)
        last = max(field.last for field in seen) + stride * max(w.size - 1 - w.front for w in windows)
        fields.update(dict.fromkeys(node.output, Field(stride * height.step, first, last)))
    return fields


def misfits(model: onnx.ModelProto, layers: Sequence[str], fields: Mapping[str, Field]) -> dict[str, str]:
    """Return the tensors whose lengths are not the picture's divided by their stride, rounded down.

    Tiles take it for granted that features i·stride … belong to the pixels there. Lengths grow by one with
    each stride of pixels, so it is enough to look at as many lengths as the longest stride has pixels.

    Parameters
    ----------
    model, layers
        As in `followed`.
    fields : mapping of str to Field
        As `followed` gives them.

    Returns
    -------
    dict of str to str
        Tensor → the node, in words, from which on its lengths are others.
    """
    period = alignment(list(fields.values()))
    picture = list(range(_MANY * period, (_MANY + 1) * period))
    lengths = {IMAGE: [picture, picture]}
    found: dict[str, str] = {}
    for node, inputs, windows in windows_of(model, layers):
        expected = [length // fields[node.output[0]].stride for length in picture]
        before = lengths[inputs[0]]
        own = [
            list(map(window.length, axis)) for window, axis in zip(windows or POINTWISE, before, strict=True)
        ]
        lengths.update(dict.fromkeys(node.output, own))
        if own != [expected, expected] or any(lengths[name] != before for name in inputs):
            earlier = (found[name] for name in inputs if name in found)
            found.update(dict.fromkeys(node.output, next(earlier, described(node))))
    return found


def _whole_only(reason: str) -> GraphError:
    return GraphError(f"The network cannot be worked on in parts of a picture: {reason}.")


def halo(fields: Sequence[Field]) -> int:
    """Return how far a window must reach beyond its tile for the tile's gradient to be exact, in pixels.

    A pixel's gradient comes from features that see it, and these see pixels up to the width of the receptive
    field away; where a network crops or shifts, a feature may see other places than its own. Rounded up to a
    multiple of `alignment`, and at least that.
    """
    stride = alignment(fields)
    reach = max(max(field.last - field.first, field.last, -field.first, 1) for field in fields)
    return -(-reach // stride) * stride


def alignment(fields: Sequence[Field]) -> int:
    """Return what tiles and windows must start at a multiple of, for their features to be the picture's."""
    return math.lcm(*(field.stride for field in fields))


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
