"""What a graph computes, in steps that the native operators may do at once.

A step is a node, or several nodes that one operator replaces. The rules and the losses note such nodes as
`graphs.builder.Composite`, with these kinds:

====================== ============================================ =======================
kind                   inputs                                       outputs
====================== ============================================ =======================
ReluGradient           y, its cotangent                             cotangent of x
MaxPoolGradient        x, cotangent of y; windows of 2×2            cotangent of x
AveragePoolGradient    x, cotangent of y; windows of 2×2            cotangent of x
Gram                   features, mask or ""                         Σ w f fᵀ, Σ w f or none
GramGradient           features, D, d or "", mask or ""             cotangent of features
====================== ============================================ =======================
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..graphs.builder import GraphBuilder
from .packing import BLOCK

if TYPE_CHECKING:
    import onnx

# Channels of an image at most; features have more.
IMAGE_CHANNELS = 4

# Elementwise operators that give 0 for zeros: they keep the channels beyond the last at 0.
_ZERO_FOR_ZEROS = {
    *("Abs", "Add", "Elu", "HardSwish", "Identity", "LeakyRelu", "Max", "Min", "Mul", "Neg", "Relu", "Sign"),
    *("Sqrt", "Sub", "Tanh"),
}
_ELEMENTWISE = _ZERO_FOR_ZEROS | {
    *("Clip", "Div", "Exp", "HardSigmoid", "Log", "Pow", "Sigmoid", "Softplus"),
}

# Kinds whose outputs are features in blocks.
_BLOCKED = {
    *("Convolution", "PointConvolution", "ImageConvolution", "Pool", "Elementwise", "Slice", "Pad", "Concat"),
    *("ReluGradient", "MaxPoolGradient", "AveragePoolGradient", "GramGradient"),
}


@dataclass(slots=True)
class Step:
    """One step of a graph.

    Attributes
    ----------
    kind : str
        What an operator on blocks does; empty for a node that stays as it is.
    inputs, outputs : list of str
        Names of tensors; inputs that are left out are empty.
    node : onnx.NodeProto
        The node, the last one if the step replaces several.
    """

    kind: str
    inputs: list[str]
    outputs: list[str]
    node: onnx.NodeProto


def find_steps(graph: GraphBuilder) -> tuple[list[Step], set[str]]:
    """Return the steps that the outputs of a graph need, in topological order, and the tensors in blocks."""
    steps: list[Step] = []
    blocked: set[str] = set()
    for node in graph.nodes:
        composite = graph.composites.get(node.output[0])
        if composite is not None and composite.inputs[0] in blocked:
            step = Step(composite.kind, list(composite.inputs), list(composite.outputs), node)
        else:
            step = Step(_kind(graph, node, blocked), list(node.input), list(node.output), node)
        steps.append(step)
        if step.kind in _BLOCKED:
            blocked.update(step.outputs)
        if step.kind == "Slice":  # its bounds may be inputs of the graph: then no length was inferred
            inferred = graph.shapes.get(step.outputs[0]) or (None,) * 4
            graph.shapes[step.outputs[0]] = (*graph.shapes[step.inputs[0]][:2], *inferred[2:])
    return _needed(steps, graph.outputs), blocked


def _needed(steps: Sequence[Step], outputs: Sequence[str]) -> list[Step]:
    """Return the steps that `outputs` depend on, each once."""
    wanted, needed = set(outputs), list[Step]()
    for step in reversed(steps):
        if wanted.intersection(step.outputs):
            wanted.difference_update(step.outputs)
            wanted.update(step.inputs)
            needed.append(step)
    return needed[::-1]


def find_readers(graph: GraphBuilder, steps: Sequence[Step]) -> defaultdict[str, list[str]]:
    """Return what reads each tensor: "Add" or "Relu" on features, or the kind of the step; outputs as "".

    A sum of features and a ReLU, and the gradient of a ReLU, can be done by the operator that computes what
    they read, if nothing else reads it.
    """
    readers: defaultdict[str, list[str]] = defaultdict(list)
    for step in steps:
        kind = step.kind
        if kind == "Elementwise" and not any(is_scalar(graph, name) for name in step.inputs):
            kind = step.node.op_type
        for name in step.inputs:
            readers[name].append(kind)
    for name in graph.outputs:
        readers[name].append("")
    return readers


def _kind(graph: GraphBuilder, node: onnx.NodeProto, blocked: set[str]) -> str:
    """Return the kind of a single node, empty if it stays as it is."""
    if node.op_type == "Conv":
        return convolution_kind(graph, node)
    first = node.input[0] if node.input else ""
    if node.op_type in _ELEMENTWISE:
        return "Elementwise" if _fits_elementwise(graph, node, blocked) else ""
    if first not in blocked:
        return ""
    if node.op_type in ("MaxPool", "AveragePool"):
        return "Pool" if _is_small_pool(node) else ""
    rule = {"Slice": _fits_slice, "Pad": _fits_pad, "Concat": _fits_concat}.get(node.op_type)
    if rule is not None:
        return node.op_type if rule(graph, node) else ""
    if node.op_type in ("ReduceSum", "ReduceSumSquare", "ReduceL1"):
        return "Reduce" if _fits_reduction(graph, node) else ""
    return ""


def convolution_kind(graph: GraphBuilder, node: onnx.NodeProto) -> str:
    """Return which operator does a Conv node; empty if none."""
    kernel = graph.constants.get(node.input[1])
    if kernel is None or kernel.ndim != 4 or len(graph.shapes.get(node.output[0], ())) != 4:
        return ""
    if len(node.input) > 2 and node.input[2] and node.input[2] not in graph.constants:
        return ""
    values = attributes(node)
    ordinary: Mapping[str, object] = {
        "strides": [1, 1],
        "dilations": [1, 1],
        "group": 1,
        "auto_pad": b"NOTSET",
    }
    if any(values.get(name, value) != value for name, value in ordinary.items()):
        return ""
    outputs, inputs = kernel.shape[:2]
    pads = values.get("pads", [0] * 4)
    if kernel.shape[2:] == (1, 1) and pads == [0] * 4:
        return "PointConvolution" if min(inputs, outputs) > IMAGE_CHANNELS else ""
    if kernel.shape[2:] != (3, 3) or pads != [1] * 4:
        return ""
    if min(inputs, outputs) > IMAGE_CHANNELS:
        return "Convolution"
    is_flipped = node.input[1] in graph.flipped
    if outputs > IMAGE_CHANNELS and not is_flipped:
        return "ImageConvolution"
    return "ImageGradient" if inputs > IMAGE_CHANNELS and is_flipped else ""


def attributes(node: onnx.NodeProto) -> dict[str, object]:
    """Return the attributes of a node by name."""
    from onnx import helper

    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def _fits_elementwise(graph: GraphBuilder, node: onnx.NodeProto, blocked: set[str]) -> bool:
    """Return whether all operands are features of one shape or scalars, at least one in blocks.

    In a last block that is not full, the operator must also leave the channels beyond the last at 0.
    """
    shape = graph.shapes.get(node.output[0], ())
    names = [name for name in node.input if name]
    features = [name for name in names if not is_scalar(graph, name)]
    if len(shape) != 4 or shape[1] is None or not blocked.intersection(features):
        return False
    if any(graph.shapes.get(name) != shape for name in features):
        return False
    if shape[1] % BLOCK == 0:
        return True
    return node.op_type in _ZERO_FOR_ZEROS and (len(features) == len(names) or node.op_type == "Mul")


def is_scalar(graph: GraphBuilder, name: str) -> bool:
    """Return whether a tensor is a single number."""
    return all(length == 1 for length in graph.shapes.get(name, (None,)))


def _is_small_pool(node: onnx.NodeProto) -> bool:
    """Return whether a pooling takes windows of 2×2 that do not overlap, without padding."""
    values = attributes(node)
    ordinary: Mapping[str, object] = {
        "pads": [0] * 4,
        "dilations": [1, 1],
        "auto_pad": b"NOTSET",
        "ceil_mode": 0,
    }
    plain = all(values.get(name, value) == value for name, value in ordinary.items())
    return plain and values.get("kernel_shape") == values.get("strides") == [2, 2] and len(node.output) == 1


def _fits_slice(graph: GraphBuilder, node: onnx.NodeProto) -> bool:
    """Return whether a Slice cuts rows and columns only."""
    axes = graph.constants.get(node.input[3]) if len(node.input) > 3 else None
    return axes is not None and set(axes.tolist()) <= {2, 3}


def _fits_pad(graph: GraphBuilder, node: onnx.NodeProto) -> bool:
    """Return whether a Pad adds rows and columns of zeros only."""
    pads = graph.constants.get(node.input[1])
    is_zero = attributes(node).get("mode", b"constant") == b"constant" and len(node.input) == 2
    return is_zero and pads is not None and pads.size == 8 and not pads[[0, 1, 4, 5]].any()


def _fits_concat(graph: GraphBuilder, node: onnx.NodeProto) -> bool:
    """Return whether a Concat joins whole blocks of channels."""
    channels = [shape[1] if len(shape := graph.shapes.get(name, ())) == 4 else None for name in node.input]
    return attributes(node).get("axis") == 1 and all(n is not None and n % BLOCK == 0 for n in channels)


def _fits_reduction(graph: GraphBuilder, node: onnx.NodeProto) -> bool:
    """Return whether a reduction of the last axis is only read by reductions of everything else."""
    axes = graph.constants.get(node.input[1]) if len(node.input) > 1 else None
    if axes is None or axes.tolist() != [-1] or attributes(node).get("keepdims", 1):
        return False
    if None in graph.shapes.get(node.input[0], (None,)) or node.output[0] in graph.outputs:
        return False
    readers = [other for other in graph.nodes if node.output[0] in other.input]
    return all(
        other.op_type == "ReduceSum" and len(other.input) == 1 and not attributes(other).get("keepdims", 1)
        for other in readers
    )
