"""Parts of a feature network: the nodes that layers need, folded constants, graphs that begin with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .builder import GraphBuilder

if TYPE_CHECKING:
    import onnx

# Input of every feature network, and of every graph that is made of one.
IMAGE = "image"

Floating = type[np.floating]

Shapes = Mapping[str, tuple[int, int, int]]
"""Tensor → channels, height and width of the features [1,C,h,w] of a whole image."""

# Attributes of a Constant node that hold numbers → their type.
_NUMBER_ATTRIBUTES = {
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
}


def fold_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """Make the constants of a network initialisers, the only form of weights that the rest reads.

    Constant nodes become initialisers; nodes that read a weight through Identity, as exporters write weights
    of equal value, read the weight itself.

    Parameters
    ----------
    model : onnx.ModelProto
        Not changed.

    Returns
    -------
    onnx.ModelProto
        A copy, or `model` itself if it has no such node. Nodes that compute an output are kept.
    """
    import onnx

    outputs = {value.name for value in model.graph.output}
    weights = {tensor.name for tensor in model.graph.initializer}
    constants: list[onnx.TensorProto] = []
    copies: dict[str, str] = {}  # output of an Identity → the weight
    kept: list[onnx.NodeProto] = []
    for node in model.graph.node:
        tensor = None if outputs & set(node.output) else constant_value(node)
        if tensor is not None:
            constants.append(tensor)
            weights.add(tensor.name)
        elif (
            node.op_type == "Identity"
            and node.input[0] in weights | copies.keys()
            and not (outputs & set(node.output))
        ):
            copies[node.output[0]] = copies.get(node.input[0], node.input[0])
        else:
            kept.append(node)
    if len(kept) == len(model.graph.node):
        return model
    folded = onnx.ModelProto()
    folded.CopyFrom(model)
    del folded.graph.node[:]
    for node in kept:
        copy = folded.graph.node.add()
        copy.CopyFrom(node)
        copy.input[:] = [copies.get(name, name) for name in node.input]
    folded.graph.initializer.extend(constants)
    return folded


def constant_value(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """Return the value of a Constant node, named as its output; None for any other node."""
    import onnx
    from onnx import helper, numpy_helper

    if node.op_type != "Constant" or len(node.attribute) != 1:
        return None
    attribute = node.attribute[0]
    tensor = onnx.TensorProto()
    if attribute.name == "value":
        tensor.CopyFrom(attribute.t)
    elif attribute.name in _NUMBER_ATTRIBUTES:
        value = helper.get_attribute_value(attribute)
        tensor = numpy_helper.from_array(np.asarray(value, _NUMBER_ATTRIBUTES[attribute.name]))
    else:  # strings and sparse tensors, which no network here may have
        return None
    tensor.name = node.output[0]
    return tensor


def needed_nodes(model: onnx.ModelProto, layers: Sequence[str]) -> list[onnx.NodeProto]:
    """Return the nodes of a network that `layers` depend on, in topological order."""
    wanted, nodes = set(layers), []
    for node in reversed(model.graph.node):
        if any(name in wanted for name in node.output):
            wanted.update(node.input)
            nodes.append(node)
    return nodes[::-1]


def with_network(
    model: onnx.ModelProto,
    size: tuple[int | str, int | str],
    layers: Sequence[str],
    dtype: Floating = np.float32,
) -> GraphBuilder:
    """Begin a graph with the input ``image`` and the part of a network that `layers` need.

    Parameters
    ----------
    model : onnx.ModelProto
        A feature network.
    size : (int or str, int or str)
        Height and width of the image; a str names a free length.
    layers : sequence of str
        Layers, which keep their names.
    dtype : numpy floating type
        Type of the tensors.
    """
    graph = GraphBuilder(dtype)
    graph.input(IMAGE, [1, 3, *size])
    append_network(graph, model, layers)
    graph.infer_shapes()
    return graph


def append_network(graph: GraphBuilder, model: onnx.ModelProto, layers: Sequence[str]) -> None:
    """Append copies of the nodes that `layers` need; ``image`` and `layers` keep their names."""
    from onnx import numpy_helper

    nodes = needed_nodes(model, layers)
    read = {name for node in nodes for name in node.input}
    weights = (tensor for tensor in model.graph.initializer if tensor.name in read)
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in weights}
    graph.extend(nodes, arrays, (IMAGE, *layers))


def layer_shape(graph: GraphBuilder, layer: str) -> tuple[int, int, int]:
    """Return channels, height and width of the features of a layer."""
    _, channels, height, width = graph.shape(layer)
    return channels, height, width


def feature_shapes(
    model: onnx.ModelProto, size: tuple[int, int], layers: Sequence[str]
) -> dict[str, tuple[int, int, int]]:
    """Return channels, height and width of the features of each layer, for an image of `size`."""
    graph = with_network(model, size, layers)
    return {layer: layer_shape(graph, layer) for layer in layers}
