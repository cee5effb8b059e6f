"""The form of a graph that onnxruntime runs best on a CPU; what it computes stays the same.

On a CPU, onnxruntime keeps the features of direct convolutions in blocks of channels. An operand that comes
in the plain layout takes the other one, and all that follows, out of the blocks: the cotangents of Gram
matrices and content enter by a pooling over 1×1 windows instead, an operator that it does block. Where
Winograd's form has replaced the direct convolutions, blocks would only cost changes of layout, and all
tensors stay plain.

onnxruntime works backwards from the last output and computes, of the inputs of a node, the one made by the
last node first. In the order of the graph as it was written that is the mask of a ReLU, long before its
gradient is there, and every mask is kept. With the nodes sorted by their depth it is the gradient. Nodes that
it makes itself, those in blocks, count as last of all: so that the cotangents of Gram matrices do not come
first, and wait at the full size of their layers, their small factors wait instead (`GraphBuilder.later`).
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

_BLOCK = 16
"""Channels of a block with AVX-512; other processors have blocks of 8 or 4."""
_FEW = 4
"""Channels that a picture has at most."""


def arrange(b: GraphBuilder, choose: winograd.Choose) -> None:
    """Put a graph into its form for the CPU.

    Parameters
    ----------
    b : GraphBuilder
        Its nodes are replaced.
    choose : function
        Which convolutions are put into Winograd's form, see `winograd.rewrite`.
    """
    replaced = winograd.rewrite(b, choose)
    b.is_plain = replaced and not _has_direct(b)  # onnxruntime is told by the model, see `builder.is_plain`
    if b.is_plain:
        _scatter_few(b)
    else:
        _keep_blocked(b)
    _delay(b)
    b.nodes = _by_depth(b.nodes)


def _has_direct(b: GraphBuilder) -> bool:
    """Return whether a convolution between features is left that Winograd's form has not replaced."""
    kernels = [b.constants.get(node.input[1]) for node in b.nodes if node.op_type == "Conv"]
    return any(kernel is not None and min(kernel.shape[:2]) > _FEW for kernel in kernels)


def _scatter_few(b: GraphBuilder) -> None:
    """Let the gradient for a picture's few channels be multiplied first and then added up: ConvTranspose.

    As a convolution it is a product of those few rows with all patches of the features, 9 times as many
    numbers as the features themselves. In blocks, onnxruntime has better code for it.
    """
    from onnx import helper

    for index, node in enumerate(b.nodes):
        kernel = b.turned.get(node.input[1]) if node.op_type == "Conv" else None
        if kernel is None or not b.constants[kernel].shape[1] <= _FEW < b.constants[kernel].shape[0]:
            continue
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        dilations, sides = attributes["dilations"], attributes["kernel_shape"]
        reach = [d * (side - 1) for d, side in zip(dilations, sides, strict=True)]
        attributes["pads"] = [r - pad for r, pad in zip(reach * 2, attributes["pads"], strict=True)]
        inputs, name = [node.input[0], kernel], node.output[0]
        b.nodes[index] = helper.make_node("ConvTranspose", inputs, [name], name=name, **attributes)


def _delay(b: GraphBuilder) -> None:
    """Let what is large on the way back be made late: it waits for what the way back has come to."""
    b.infer_shapes()
    blocked = blocked_tensors(b)
    cheap = _first_features(b)
    for tensor, awaited in b.later.items():
        way = cheap.get(tensor)
        if way is None and len(b.shape(tensor)) != 2:  # features that cost too much to be made again
            continue
        before = _ancestors(b.nodes, awaited)
        readers = [node for node in b.nodes if tensor in node.input and node.output[0] not in before]
        late = _behind(b, tensor if way is None else way[0].input[0], awaited, awaited in blocked)
        late = late if way is None else _repeated(b, way, late)
        for node in readers:
            names = [late if name == tensor else name for name in node.input]
            node.input[:] = names


def _ancestors(nodes: Sequence[onnx.NodeProto], tensor: str) -> set[str]:
    """Return the tensors that a tensor is made of, and itself; `nodes` in any order."""
    makers = {name: node for node in nodes for name in node.output}
    found, open_ones = {tensor}, [tensor]
    while open_ones:
        node = makers.get(open_ones.pop())
        new = set[str]() if node is None else set(node.input) - found
        found |= new
        open_ones.extend(new)
    return found


def _first_features(b: GraphBuilder) -> dict[str, list[onnx.NodeProto]]:
    """Return what convolutions of a picture's few channels and a ReLU make, with the nodes on the way to it.

    It is larger than all other features and costs next to nothing: made again rather than kept.
    """
    made = {name for node in b.nodes for name in node.output} | b.constants.keys()
    ways: dict[str, list[onnx.NodeProto]] = {
        name: [] for node in b.nodes for name in node.input if name not in made
    }
    found: dict[str, list[onnx.NodeProto]] = {}
    for node in b.nodes:
        if node.input[0] in ways and all(name in b.constants for name in node.input[1:]):
            way = [*ways[node.input[0]], node]
            if node.op_type == "Relu" and any(step.op_type == "Conv" for step in way):
                found[node.output[0]] = way
            elif node.op_type != "Conv" or b.shape(node.input[0])[1] <= _FEW:
                ways[node.output[0]] = way
    return found


def _repeated(b: GraphBuilder, way: Sequence[onnx.NodeProto], start: str) -> str:
    """Add nodes that follow on each other once more, from another tensor."""
    for node in way:
        copy = type(node)()
        copy.CopyFrom(node)
        copy.name = copy.output[0] = b.fresh(node.op_type.lower())
        copy.input[0] = start
        b.nodes.append(copy)
        start = copy.output[0]
    return start


def _behind(b: GraphBuilder, tensor: str, awaited: str, is_blocked: bool) -> str:
    """Append one value of `awaited` to `tensor`, and cut it off again."""
    shape = b.shape(tensor)
    if is_blocked:
        # Cutting it would take it all out of the blocks, a pooling that skips all but one does not.
        attributes = {"kernel_shape": [1, 1], "strides": list(b.shape(awaited)[2:])}
        awaited = b.op("MaxPool", awaited, attributes=attributes)
    one = b.slice(b.reshape(awaited, [-1]), 0, 0, 1)
    both = b.op("Concat", b.reshape(tensor, [-1]), one, attributes={"axis": 0})
    return b.reshape(b.slice(both, 0, 0, math.prod(shape)), shape)


def _keep_blocked(b: GraphBuilder) -> None:
    """Let plain cotangents enter the blocked layout where they meet a blocked tensor."""
    b.infer_shapes()
    old, b.nodes = b.nodes, []
    readers = Counter(name for node in old for name in node.input)
    makers: dict[str, onnx.NodeProto] = {}
    blocked: set[str] = set()
    for node in old:
        if node.op_type in ("Add", "Mul"):
            for blocked_one, plain in ((0, 1), (1, 0)):
                if _should_enter(b, node, makers, blocked, node.input[blocked_one], node.input[plain]):
                    node.input[plain] = _entered(b, node.input[plain], makers, readers)
                    blocked.add(node.input[plain])
        if _is_blocked(b, node, blocked):
            blocked.add(node.output[0])
        makers.update(dict.fromkeys(node.output, node))
        b.nodes.append(node)


def _should_enter(
    b: GraphBuilder,
    node: onnx.NodeProto,
    makers: dict[str, onnx.NodeProto],
    blocked: set[str],
    one: str,
    other: str,
) -> bool:
    """Return whether `one` is blocked, and `other` a plain cotangent that meets it."""
    if one not in blocked or other in blocked or other not in makers or b.shape(one) != b.shape(other):
        return False
    # Gradients are added to what a convolution brings down, and multiplied by a mask.
    return makers[one].op_type == {"Add": "Conv", "Mul": "HardSigmoid"}[node.op_type]


def _entered(
    b: GraphBuilder, tensor: str, makers: dict[str, onnx.NodeProto], readers: Mapping[str, int]
) -> str:
    """Return a tensor of the same values that is in blocks.

    Parameters
    ----------
    b : GraphBuilder
        Gets the nodes.
    tensor : str
        A tensor in the plain layout.
    makers : dict of str to onnx.NodeProto
        Tensor → the node that makes it, for all nodes so far.
    readers : mapping of str to int
        Tensor → how many inputs of nodes it is, in the whole graph.
    """
    maker = makers[tensor]
    # Enlarging and adding zeros are blocked as well, and what they enlarge is smaller. A pooling behind zeros
    # would be made one with them, which is an error of onnxruntime's: zeros as wide as its window.
    if maker.op_type not in ("Resize", "Pad") or maker.input[0] not in makers:
        return b.op("MaxPool", tensor, attributes={"kernel_shape": [1, 1]})
    inner = _entered(b, maker.input[0], makers, readers)
    moved = type(maker)()
    moved.CopyFrom(maker)
    moved.input[0] = inner
    if readers[tensor] > 1:  # the others may stand before the new input, and read the old node
        moved.name = moved.output[0] = b.fresh(maker.op_type.lower())
    else:
        b.nodes.remove(maker)
    b.nodes.append(moved)
    return moved.output[0]


def blocked_tensors(b: GraphBuilder) -> set[str]:
    """Return the tensors of a graph with known shapes that onnxruntime keeps in blocks of channels."""
    blocked: set[str] = set()
    for node in () if b.is_plain else b.nodes:
        if _is_blocked(b, node, blocked):
            blocked.add(node.output[0])
    return blocked


def _is_blocked(b: GraphBuilder, node: onnx.NodeProto, blocked: set[str]) -> bool:
    """Return whether onnxruntime leaves the output of a node in blocks."""
    shape = b.shapes.get(node.output[0], ())
    if len(shape) != 4 or (shape[1] or 1) % _BLOCK:
        return False
    match node.op_type:
        case "Conv" | "MaxPool" | "AveragePool":
            return True
        case "Relu" | "HardSigmoid" | "Resize":
            return node.input[0] in blocked
        case "Add" | "Mul":
            # Of constants, one for each channel: it becomes a convolution. One for all does not.
            return all(name in blocked or _is_for_channels(b, name) for name in node.input)
        case _:
            return False


def _is_for_channels(b: GraphBuilder, name: str) -> bool:
    return name in b.constants and b.constants[name].ndim == 3


def _by_depth(nodes: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Sort nodes by the length of the longest way from an input to them."""
    makers = {name: index for index, node in enumerate(nodes) for name in node.output}
    before = {i: [makers[name] for name in node.input if name in makers] for i, node in enumerate(nodes)}
    depth: dict[int, int] = {}
    for index in TopologicalSorter(before).static_order():
        depth[index] = 1 + max((depth[i] for i in before[index]), default=0)
    return [nodes[i] for i in sorted(before, key=depth.__getitem__)]
