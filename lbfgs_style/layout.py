"""The form of a graph that onnxruntime runs best on a CPU; what it computes stays the same.

On a CPU, onnxruntime keeps the features of direct convolutions in blocks of channels. An operand that comes
in the plain layout takes the other one, and all that follows, out of the blocks: the cotangents of Gram
matrices and content enter by a pooling over 1×1 windows instead, an operator that it does block.

onnxruntime works backwards from the last output and computes, of the inputs of a node, the one made by the
last node first. In the order of the graph as it was written that is the mask of a ReLU, long before its
gradient is there, and every mask is kept. With the nodes sorted by their depth it is the gradient.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from . import winograd
from .builder import GraphBuilder

if TYPE_CHECKING:
    import onnx

_BLOCK = 16
"""Channels of a block with AVX-512; other processors have blocks of 8 or 4."""


def arrange(b: GraphBuilder, choose: winograd.Choose) -> None:
    """Put a graph into its form for the CPU.

    Parameters
    ----------
    b : GraphBuilder
        Its nodes are replaced.
    choose : function
        Which convolutions are put into Winograd's form, see `winograd.rewrite`.
    """
    winograd.rewrite(b, choose)
    _keep_blocked(b)
    b.nodes = _by_depth(b.nodes)


def _keep_blocked(b: GraphBuilder) -> None:
    """Let plain cotangents enter the blocked layout where they meet a blocked tensor."""
    b.infer_shapes()
    old, b.nodes = b.nodes, []
    makers: dict[str, onnx.NodeProto] = {}
    blocked: set[str] = set()
    for node in old:
        if node.op_type in ("Add", "Mul"):
            for blocked_one, plain in ((0, 1), (1, 0)):
                if _should_enter(b, node, makers, blocked, node.input[blocked_one], node.input[plain]):
                    node.input[plain] = _entered(b, node.input[plain], makers)
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


def _entered(b: GraphBuilder, tensor: str, makers: dict[str, onnx.NodeProto]) -> str:
    maker = makers[tensor]
    # Enlarging and adding zeros are blocked as well, and what they enlarge is smaller. A pooling behind zeros
    # would be made one with them, which is an error of onnxruntime's: zeros as wide as its window.
    if maker.op_type in ("Resize", "Pad") and maker.input[0] in makers:
        maker.input[0] = _entered(b, maker.input[0], makers)
        b.nodes.remove(maker)  # behind its new input
        b.nodes.append(maker)
        return tensor
    return b.op("MaxPool", tensor, attributes={"kernel_shape": [1, 1]})


def blocked_tensors(b: GraphBuilder) -> set[str]:
    """Return the tensors of a graph with known shapes that onnxruntime keeps in blocks of channels."""
    blocked: set[str] = set()
    for node in b.nodes:
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


def _by_depth(nodes: Iterable[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Sort nodes by the length of the longest way from an input to them."""
    depth: dict[str, int] = {}
    listed = list(nodes)
    for node in listed:
        own = 1 + max((depth.get(name, 0) for name in node.input), default=0)
        depth.update(dict.fromkeys(node.output, own))
    return sorted(listed, key=lambda node: depth[node.output[0]])
