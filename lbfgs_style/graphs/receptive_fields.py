"""Receptive fields of layers: which pixels a feature sees, and the smallest picture that has every layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import GraphError, shown
from .network_graph import IMAGE
from .operator_reach import POINTWISE, described, windows_of

if TYPE_CHECKING:
    import onnx


# Strides of pixels that a picture is taken to have where only the remainder matters: more than any window.
_MANY = 2**16


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


def smallest_side(model: onnx.ModelProto, layers: Sequence[str]) -> int:
    """Return the shortest side, in pixels, that a picture must have for every layer to have a pixel.

    Backwards from one pixel of each layer: a window of k pixels that moves by s needs (n − 1)·s + k pixels,
    less the padding, for n. 16 for relu5_1 of VGG. What sees the whole picture needs no more than it gives.
    """
    needed: dict[str, int] = {}
    for node, inputs, windows in reversed(windows_of(model, layers)):
        least = max(needed.get(name, 1) for name in node.output)
        if windows is not None:
            least = max(window.needed(least) for window in windows)
        for name in inputs:
            needed[name] = max(needed.get(name, 1), least)
    return needed.get(IMAGE, 1)
