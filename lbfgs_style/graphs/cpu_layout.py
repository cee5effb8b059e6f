"""Rewrite a graph into the form that onnxruntime runs best on a CPU; what it computes stays the same.

Layout. On a CPU, onnxruntime keeps the features of direct convolutions in blocks of channels (NCHWc). An
operand in the plain layout (NCHW) takes the other operand, and all nodes that follow, out of the blocks. So
the cotangents of Gram matrices and content enter by a pooling over 1×1 windows, an operator that onnxruntime
does run on blocks. Where Winograd's form has replaced all direct convolutions, blocks would only cost changes
of layout, and all tensors stay plain.

Order. onnxruntime works backwards from the last output, and computes, among the inputs of a node, the one
first whose node comes last in the graph. In the order in which `autodiff` appends nodes that is the mask of a
ReLU, long before it is needed, and all masks are kept in memory. With the nodes sorted by depth it is the
gradient. Nodes that onnxruntime inserts itself, those on blocks, count as the last. So that the cotangents of
Gram matrices are not computed first, and do not wait at the full size of their layers, their small factors
are made to wait instead (`GraphBuilder.wait_for`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING

from . import winograd
from .builder import GraphBuilder

if TYPE_CHECKING:
    import onnx

# Channels of a block with AVX-512; blocks of other processors, 8 or 4, divide it.
_BLOCK = 16

# Channels that an image has at most; features have more.
_IMAGE_CHANNELS = 4


def optimize_for_cpu(graph: GraphBuilder, choose: winograd.Choose) -> None:
    """Rewrite the nodes of a graph for the CPU.

    Parameters
    ----------
    graph : GraphBuilder
        Its nodes are replaced.
    choose : function
        Which convolutions take Winograd's form, see `winograd.rewrite`.
    """
    is_replaced = winograd.rewrite(graph, choose)
    graph.is_plain = is_replaced and not has_direct_convolution(graph)
    if graph.is_plain:
        scatter_image_gradient(graph)
    else:
        _keep_blocked(graph)
    delay_readers(graph)
    graph.nodes = _sort_by_depth(graph.nodes)


def has_direct_convolution(graph: GraphBuilder) -> bool:
    """Return whether a direct convolution between features is left."""
    kernels = [graph.constants.get(node.input[1]) for node in graph.nodes if node.op_type == "Conv"]
    return any(kernel is not None and min(kernel.shape[:2]) > _IMAGE_CHANNELS for kernel in kernels)


def scatter_image_gradient(graph: GraphBuilder) -> None:
    """Replace the convolution that gives the gradient of an image by a ConvTranspose.

    As a convolution with few outputs it multiplies all patches of the features, 9 times as many numbers as
    the features, by few rows. ConvTranspose multiplies the features first and adds up the products. (On
    blocks onnxruntime has better code for the convolution.)
    """
    from onnx import helper

    for index, node in enumerate(graph.nodes):
        kernel = graph.flipped.get(node.input[1]) if node.op_type == "Conv" else None
        if kernel is None:
            continue
        outputs, inputs = graph.constants[kernel].shape[:2]
        if not inputs <= _IMAGE_CHANNELS < outputs:
            continue
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        dilations, sides = attributes["dilations"], attributes["kernel_shape"]
        reach = [d * (side - 1) for d, side in zip(dilations, sides, strict=True)]
        attributes["pads"] = [r - pad for r, pad in zip(reach * 2, attributes["pads"], strict=True)]
        name = node.output[0]
        graph.nodes[index] = helper.make_node(
            "ConvTranspose", [node.input[0], kernel], [name], name=name, **attributes
        )


def delay_readers(graph: GraphBuilder) -> None:
    """Make readers of large tensors depend on the tensors that they should wait for (`wait_for`)."""
    graph.infer_shapes()
    blocked = find_channel_blocked(graph)
    first_features = _first_features(graph)
    for tensor, awaited in graph.wait_for.items():
        chain = first_features.get(tensor)
        if chain is None and len(graph.shape(tensor)) != 2:  # features that are expensive to recompute
            continue
        ancestors = _ancestors(graph.nodes, awaited)
        readers = [node for node in graph.nodes if tensor in node.input and node.output[0] not in ancestors]
        source = tensor if chain is None else chain[0].input[0]
        late = _depending_on(graph, source, awaited, awaited in blocked)
        if chain is not None:
            late = _append_copy(graph, chain, late)
        for node in readers:
            node.input[:] = [late if name == tensor else name for name in node.input]


def _ancestors(nodes: Sequence[onnx.NodeProto], tensor: str) -> set[str]:
    """Return a tensor and all tensors that it is computed from; `nodes` in any order."""
    makers = {name: node for node in nodes for name in node.output}
    ancestors, stack = {tensor}, [tensor]
    while stack:
        node = makers.get(stack.pop())
        new = set[str]() if node is None else set(node.input) - ancestors
        ancestors |= new
        stack.extend(new)
    return ancestors


def _first_features(graph: GraphBuilder) -> dict[str, list[onnx.NodeProto]]:
    """Return the first features of an image, each with the chain of nodes that computes it.

    They come from convolutions of the few channels of an image, and a ReLU. They are larger than all other
    features and cost next to nothing: computing them again saves the memory of keeping them. Not where others
    read a tensor between: onnxruntime would fuse the nodes of the copy, but not those of the original, and by
    the difference in rounding the gradient of a maximum would not find it.
    """
    readers = Counter(name for node in graph.nodes for name in node.input)
    computed = {name for node in graph.nodes for name in node.output} | graph.constants.keys()
    chains: dict[str, list[onnx.NodeProto]] = {
        name: [] for node in graph.nodes for name in node.input if name not in computed
    }
    features: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.nodes:
        if node.input[0] in chains and all(name in graph.constants for name in node.input[1:]):
            chain = [*chains[node.input[0]], node]
            if readers[node.input[0]] > 1 and any(each.op_type == "Conv" for each in chain[:-1]):
                continue
            if node.op_type == "Relu" and any(each.op_type == "Conv" for each in chain):
                features[node.output[0]] = chain
            elif node.op_type != "Conv" or graph.shape(node.input[0])[1] <= _IMAGE_CHANNELS:
                chains[node.output[0]] = chain
    return features


def _append_copy(graph: GraphBuilder, chain: Sequence[onnx.NodeProto], start: str) -> str:
    """Append a copy of a chain of nodes that begins at the tensor `start`."""
    for node in chain:
        copy = type(node)()
        copy.CopyFrom(node)
        copy.name = copy.output[0] = graph.unique_name(node.op_type.lower())
        copy.input[0] = start
        graph.nodes.append(copy)
        start = copy.output[0]
    return start


def _depending_on(graph: GraphBuilder, tensor: str, awaited: str, is_blocked: bool) -> str:
    """Append a copy of `tensor` that depends on `awaited`: one value of it is appended and cut off again."""
    shape = graph.shape(tensor)
    if is_blocked:
        # A Slice would convert all of `awaited` to the plain layout; a pooling leaves one value to convert.
        attributes = {"kernel_shape": [1, 1], "strides": list(graph.shape(awaited)[2:])}
        awaited = graph.op("MaxPool", awaited, attributes=attributes)
    one = graph.slice(graph.reshape(awaited, [-1]), 0, 0, 1)
    both = graph.op("Concat", graph.reshape(tensor, [-1]), one, attributes={"axis": 0})
    return graph.reshape(graph.slice(both, 0, 0, math.prod(shape)), shape)


def _keep_blocked(graph: GraphBuilder) -> None:
    """Convert plain cotangents to the blocked layout where they meet a blocked tensor."""
    graph.infer_shapes()
    old, graph.nodes = graph.nodes, []
    readers = Counter(name for node in old for name in node.input)
    makers: dict[str, onnx.NodeProto] = {}
    blocked: set[str] = set()
    for node in old:
        if node.op_type in ("Add", "Mul"):
            for one, other in ((0, 1), (1, 0)):
                if _should_convert(graph, node, makers, blocked, node.input[one], node.input[other]):
                    node.input[other] = _to_blocked(graph, node.input[other], makers, readers)
                    blocked.add(node.input[other])
        if _is_blocked(graph, node, blocked):
            blocked.add(node.output[0])
        makers.update(dict.fromkeys(node.output, node))
        graph.nodes.append(node)


def _should_convert(
    graph: GraphBuilder,
    node: onnx.NodeProto,
    makers: dict[str, onnx.NodeProto],
    blocked: set[str],
    one: str,
    other: str,
) -> bool:
    """Return whether `one` is blocked, and `other` a plain cotangent that meets it in `node`."""
    if (
        one not in blocked
        or other in blocked
        or other not in makers
        or graph.shape(one) != graph.shape(other)
    ):
        return False
    # A cotangent is added to the result of a convolution, and multiplied by the mask of a ReLU.
    return makers[one].op_type == {"Add": "Conv", "Mul": "HardSigmoid"}[node.op_type]


def _to_blocked(
    graph: GraphBuilder, tensor: str, makers: dict[str, onnx.NodeProto], readers: Mapping[str, int]
) -> str:
    """Append nodes that convert a tensor to the blocked layout, and return the converted tensor.

    Parameters
    ----------
    graph : GraphBuilder
        Gets the nodes.
    tensor : str
        A tensor in the plain layout.
    makers : dict of str to onnx.NodeProto
        Tensor → the node that computes it, for all nodes so far.
    readers : mapping of str to int
        Tensor → how many inputs of nodes it is, in the whole graph.
    """
    maker = makers[tensor]
    # Resize and Pad run on blocks, too, and their inputs are smaller: convert those. A pooling after a Pad
    # must be avoided: onnxruntime would fuse the two, and refuse a padding as wide as the window.
    if maker.op_type not in ("Resize", "Pad") or maker.input[0] not in makers:
        return graph.op("MaxPool", tensor, attributes={"kernel_shape": [1, 1]})
    inner = _to_blocked(graph, maker.input[0], makers, readers)
    moved = type(maker)()
    moved.CopyFrom(maker)
    moved.input[0] = inner
    if readers[tensor] > 1:  # other readers may precede the new input, so the old node stays for them
        moved.name = moved.output[0] = graph.unique_name(maker.op_type.lower())
    else:
        graph.nodes.remove(maker)
    graph.nodes.append(moved)
    return moved.output[0]


def find_channel_blocked(graph: GraphBuilder) -> set[str]:
    """Return the tensors that onnxruntime keeps in blocks of channels; all shapes must be known."""
    blocked: set[str] = set()
    for node in () if graph.is_plain else graph.nodes:
        if _is_blocked(graph, node, blocked):
            blocked.add(node.output[0])
    return blocked


def _is_blocked(graph: GraphBuilder, node: onnx.NodeProto, blocked: set[str]) -> bool:
    """Return whether onnxruntime leaves the output of a node in blocks of channels."""
    shape = graph.shapes.get(node.output[0], ())
    if len(shape) != 4 or (shape[1] or 1) % _BLOCK:
        return False
    match node.op_type:
        case "Conv" | "MaxPool" | "AveragePool":
            return True
        case "Relu" | "HardSigmoid" | "Resize":
            return node.input[0] in blocked
        case "Add" | "Mul":
            # A constant for each channel becomes a convolution; one for all channels does not.
            return all(name in blocked or _is_per_channel(graph, name) for name in node.input)
        case _:
            return False


def _is_per_channel(graph: GraphBuilder, name: str) -> bool:
    return name in graph.constants and graph.constants[name].ndim == 3


def _sort_by_depth(nodes: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Sort nodes by the length of the longest path from an input of the graph to them."""
    makers = {name: index for index, node in enumerate(nodes) for name in node.output}
    before = {i: [makers[name] for name in node.input if name in makers] for i, node in enumerate(nodes)}
    depth: dict[int, int] = {}
    for index in TopologicalSorter(before).static_order():
        depth[index] = 1 + max((depth[i] for i in before[index]), default=0)
    return [nodes[i] for i in sorted(before, key=depth.__getitem__)]
