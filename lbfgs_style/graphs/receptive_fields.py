"""Receptive fields of layers: which pixels a feature sees, and the smallest image that has every layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import GraphError, shown
from .network_graph import IMAGE
from .operator_reach import POINTWISE, network_windows, node_label

if TYPE_CHECKING:
    import onnx

# Length, in largest strides, of the images that `find_misaligned` tries: longer than any window.
_MANY = 2**16


@dataclass(frozen=True, slots=True)
class Field:
    """Receptive field along one axis: feature i sees the pixels stride·i + first … stride·i + last."""

    stride: int = 1
    first: int = 0
    last: int = 0


def receptive_fields(model: onnx.ModelProto, layers: Sequence[str]) -> dict[str, Field]:
    """Return the receptive field of each layer of a feature network.

    Raises
    ------
    GraphError
        If a layer cannot be computed exactly from parts of an image: an operator on the way to it sees the
        whole image, or its size is not that of the image divided by its stride, rounded down. The message
        names the operator.
    """
    fields = trace_fields(model, layers)
    misaligned = find_misaligned(model, layers, fields)
    for layer in layers:
        if layer in misaligned:
            raise _whole_only(
                f"{misaligned[layer]} gives the layer {shown(layer)} another height or width than the "
                "image's divided by its stride"
            )
    return {layer: fields[layer] for layer in layers}


def trace_fields(model: onnx.ModelProto, layers: Sequence[str]) -> dict[str, Field]:
    """Return the receptive field of each tensor on the way to `layers`, including ``image``.

    A field covers what is seen in height and in width.

    Raises
    ------
    GraphError
        If a node sees the whole image, or its stride in height differs from that in width.
    """
    fields: dict[str, Field] = {IMAGE: Field()}
    for node, inputs, windows in network_windows(model, layers):
        if windows is None:
            raise _whole_only(f"{node_label(node)} sees the whole image")
        input_fields = [fields[name] for name in inputs]
        stride, (height, width) = input_fields[0].stride, windows
        if height.step != width.step or any(field.stride != stride for field in input_fields):
            raise _whole_only(f"{node_label(node)} has one stride in height and another in width")
        first = min(field.first for field in input_fields) - stride * max(w.front for w in windows)
        last = max(field.last for field in input_fields)
        last += stride * max(w.size - 1 - w.front for w in windows)
        fields.update(dict.fromkeys(node.output, Field(stride * height.step, first, last)))
    return fields


def pixels_across(model: onnx.ModelProto, layer: str) -> int | None:
    """Return how many pixels a layer sees across, the more of height and width; None for the whole image."""
    try:
        field = trace_fields(model, [layer])[layer]
    except GraphError:
        return None
    return field.last - field.first + 1


def find_misaligned(
    model: onnx.ModelProto, layers: Sequence[str], fields: Mapping[str, Field]
) -> dict[str, str]:
    """Find tensors whose size is not that of the image divided by their stride, rounded down.

    Tiling relies on that size: feature i belongs to the pixels from stride·i on. Sizes grow by one with each
    stride of pixels, so it is enough to try as many consecutive lengths as the largest stride has pixels.

    Parameters
    ----------
    model, layers
        As in `trace_fields`.
    fields : mapping of str to Field
        The result of `trace_fields`.

    Returns
    -------
    dict of str to str
        Tensor → label of the first node on the way to it whose output has another size.
    """
    period = alignment(list(fields.values()))
    image_lengths = list(range(_MANY * period, (_MANY + 1) * period))
    lengths = {IMAGE: [image_lengths, image_lengths]}
    misaligned: dict[str, str] = {}
    for node, inputs, windows in network_windows(model, layers):
        expected = [length // fields[node.output[0]].stride for length in image_lengths]
        before = lengths[inputs[0]]
        after = [
            list(map(window.length, axis)) for window, axis in zip(windows or POINTWISE, before, strict=True)
        ]
        lengths.update(dict.fromkeys(node.output, after))
        if after != [expected, expected] or any(lengths[name] != before for name in inputs):
            earlier = (misaligned[name] for name in inputs if name in misaligned)
            misaligned.update(dict.fromkeys(node.output, next(earlier, node_label(node))))
    return misaligned


def _whole_only(reason: str) -> GraphError:
    return GraphError(f"The network cannot be worked on in parts of an image: {reason}.")


def halo(fields: Sequence[Field]) -> int:
    """Return how far a window must reach beyond its tile for the tile's gradient to be exact, in pixels.

    The gradient of a pixel comes from the features that see it, which see pixels up to the width of the
    receptive field away. Where a network crops or shifts, a feature may not see its own position. The result
    is a multiple of `alignment`, and at least that.
    """
    stride = alignment(fields)
    reach = max(max(field.last - field.first, field.last, -field.first, 1) for field in fields)
    return -(-reach // stride) * stride


def alignment(fields: Sequence[Field]) -> int:
    """Return the number of pixels whose multiples tiles and windows must start at.

    Then their features are at the same positions as the features of the whole image.
    """
    return math.lcm(*(field.stride for field in fields))


def smallest_side(model: onnx.ModelProto, layers: Sequence[str]) -> int:
    """Return the shortest side, in pixels, that an image must have for every layer to have one position.

    Computed backwards from one position of each layer: for n outputs, a window of k positions and step s
    needs (n − 1)·s + k inputs, less the padding. 16 for relu5_1 of VGG. An operator that sees the whole image
    needs no more inputs than outputs.
    """
    needed: dict[str, int] = {}
    for node, inputs, windows in reversed(network_windows(model, layers)):
        least = max(needed.get(name, 1) for name in node.output)
        if windows is not None:
            least = max(window.needed(least) for window in windows)
        for name in inputs:
            needed[name] = max(needed.get(name, 1), least)
    return needed.get(IMAGE, 1)
