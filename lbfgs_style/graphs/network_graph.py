"""Parts of a feature network: the nodes that layers need, constants folded, graphs that begin with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .builder import GraphBuilder

if TYPE_CHECKING:
    import onnx

IMAGE = "image"

Floating = type[np.floating]

# Attributes of Constant that hold plain numbers.
_PLAIN_CONSTANTS = {
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
}


def fold_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """Turn Constant nodes into initialisers, as everything that reads weights expects them.

    Parameters
    ----------
    model : onnx.ModelProto
        Not changed.

    Returns
    -------
    onnx.ModelProto
        A copy, or `model` itself where nothing is to be folded. A Constant that is an output stays.
    """
    import onnx

    outputs = {value.name for value in model.graph.output}
    tensors = [None if outputs & set(node.output) else constant_of(node) for node in model.graph.node]
    if not any(tensor is not None for tensor in tensors):
        return model
    folded = onnx.ModelProto()
    folded.CopyFrom(model)
    del folded.graph.node[:]
    folded.graph.node.extend(
        node for node, tensor in zip(model.graph.node, tensors, strict=True) if tensor is None
    )
    folded.graph.initializer.extend(tensor for tensor in tensors if tensor is not None)
    return folded


def needed_nodes(model: onnx.ModelProto, layers: Sequence[str]) -> list[onnx.NodeProto]:
    """Return the nodes of a network that `layers` depend on, in their order."""
    wanted, nodes = set(layers), []
    for node in reversed(model.graph.node):
        if any(name in wanted for name in node.output):
            wanted.update(node.input)
            nodes.append(node)
    return nodes[::-1]


def constant_of(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """Return the value of a Constant node under the name of its output; None for any other node."""
    import onnx
    from onnx import helper, numpy_helper

    if node.op_type != "Constant" or len(node.attribute) != 1:
        return None
    attribute = node.attribute[0]
    tensor = onnx.TensorProto()
    if attribute.name == "value":
        tensor.CopyFrom(attribute.t)
    elif attribute.name in _PLAIN_CONSTANTS:
        value = helper.get_attribute_value(attribute)
        tensor = numpy_helper.from_array(np.asarray(value, _PLAIN_CONSTANTS[attribute.name]))
    else:  # strings and sparse tensors are no numbers of ours
        return None
    tensor.name = node.output[0]
    return tensor


def layer_shape(b: GraphBuilder, layer: str) -> tuple[int, int, int]:
    """Channels, height and width of a layer's features."""
    _, channels, height, width = b.shape(layer)
    return channels, height, width


def feature_shapes(
    model: onnx.ModelProto, size: tuple[int, int], layers: Sequence[str]
) -> dict[str, tuple[int, int, int]]:
    """Return channels, height and width of the features of each layer of a picture of `size`."""
    b = with_network(model, size, layers)
    return {layer: layer_shape(b, layer) for layer in layers}


def with_network(
    model: onnx.ModelProto,
    size: tuple[int | str, int | str],
    layers: Sequence[str],
    dtype: Floating = np.float32,
) -> GraphBuilder:
    """Start a graph with the part of a network that `layers` need."""
    b = GraphBuilder(dtype)
    b.input(IMAGE, [1, 3, *size])
    extend(b, model, layers)
    b.infer_shapes()
    return b


def extend(b: GraphBuilder, model: onnx.ModelProto, layers: Sequence[str]) -> None:
    """Append copies of the nodes that `layers` need; ``image`` and `layers` keep their names."""
    from onnx import numpy_helper

    nodes = needed_nodes(model, layers)
    read = {name for node in nodes for name in node.input}
    weights = (tensor for tensor in model.graph.initializer if tensor.name in read)
    b.extend(nodes, {tensor.name: numpy_helper.to_array(tensor) for tensor in weights}, (IMAGE, *layers))
