"""Which positions of its input each operator sees, to compute one position of its output.

Tiles and blocks compute features from a part of the image. That is exact where every operator on the way sees
a window of fixed size at a fixed place, and wrong where one sees the whole image (a mean over height and
width, attention, a transposition). `REACH` declares it for every operator that a network may hold; for some
it depends on the attributes and constant inputs of the node. Pure functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import shown
from .network_graph import IMAGE, needed_nodes

if TYPE_CHECKING:
    import onnx

# Axes of features [1, channels, height, width]: how many, and which ones are spatial.
_RANK = 4
_HEIGHT, _WIDTH = 2, 3

# Exporters write "up to the end" of an axis as one of the largest integers.
_TO_THE_END = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Window:
    """The positions of an input that one position of an output sees, along one axis.

    Output i sees the inputs step·i − front … step·i − front + size − 1. The last output is the last one whose
    window ends within the input, to which `front` and `back` positions were added.

    Attributes
    ----------
    size : int
        Positions that the window spans, 1 or more.
    step : int
        Positions from one window to the next.
    front, back : int
        Positions added at both ends of the input, negative where it is cropped.
    shortest : int
        Length of the shortest input that the operator allows.
    """

    size: int = 1
    step: int = 1
    front: int = 0
    back: int = 0
    shortest: int = 1

    def length(self, inputs: int) -> int:
        """Return the length of the output for an input of length `inputs`."""
        return (inputs + self.front + self.back - self.size) // self.step + 1

    def needed(self, outputs: int) -> int:
        """Return the length of the shortest input that gives an output of length `outputs`."""
        return max(self.shortest, (outputs - 1) * self.step + self.size - self.front - self.back)


Windows = tuple[Window, Window]
"""Windows along height and along width."""

# Windows where a position sees only the same position, in its own channel or in all channels.
POINTWISE: Windows = (Window(), Window())

Constants = Mapping[str, "onnx.TensorProto"]
"""The initialisers of a network by name."""


@dataclass(frozen=True, slots=True)
class _Node:
    """A node of a network, as the rules get it.

    Attributes
    ----------
    proto : onnx.NodeProto
        The node.
    attributes : mapping of str to onnx.AttributeProto
        Its attributes by name.
    depends : frozenset of str
        Tensors that depend on the image.
    constants : Constants
        The initialisers of the network.
    """

    proto: onnx.NodeProto
    attributes: Mapping[str, onnx.AttributeProto]
    depends: frozenset[str]
    constants: Constants

    def integer(self, name: str, default: int) -> int:
        """Return an attribute that is an integer."""
        return self.attributes[name].i if name in self.attributes else default

    def integers(self, name: str, default: Sequence[int]) -> list[int]:
        """Return an attribute that is a list of integers."""
        return list(self.attributes[name].ints) if name in self.attributes else list(default)

    def has_input(self, index: int) -> bool:
        """Return whether the node has an input, which may be left out if it is optional."""
        return index < len(self.proto.input) and bool(self.proto.input[index])

    def constant(self, index: int) -> NDArray[np.generic] | None:
        """Return the value of a constant input; None if it is left out or not constant."""
        from onnx import numpy_helper

        tensor = self.constants.get(self.proto.input[index]) if self.has_input(index) else None
        return None if tensor is None else numpy_helper.to_array(tensor)


def node_reach(node: onnx.NodeProto, depends: frozenset[str], constants: Constants) -> Windows | None:
    """Return the windows through which a node sees its inputs.

    Parameters
    ----------
    node : onnx.NodeProto
        A node whose inputs that depend on the image are features [1, channels, height, width].
    depends : frozenset of str
        Tensors that depend on the image.
    constants : mapping of str to onnx.TensorProto
        The initialisers of the network.

    Returns
    -------
    (Window, Window) or None
        Along height and width; None if it sees the whole image, or if what it sees depends on the position.
    """
    rule = REACH.get(node.op_type)
    if rule is None:
        return None
    return rule(_Node(node, {a.name: a for a in node.attribute}, depends, constants))


# --- rules -----------------------------------------------------------------------------------------------


def _pointwise(node: _Node) -> Windows | None:
    return POINTWISE


def _whole(node: _Node) -> None:
    return None


def _elementwise(node: _Node) -> Windows | None:
    """Accept constant operands that have the same value at all positions."""
    for name in node.proto.input:
        if not name or name in node.depends:
            continue
        tensor = node.constants.get(name)
        if tensor is None or len(tensor.dims) > _RANK or math.prod(tensor.dims[-2:]) != 1:
            return None
    return POINTWISE


def _convolution(node: _Node) -> Windows | None:
    kernel = node.constants.get(node.proto.input[1])
    return None if kernel is None else _windows(node, list(kernel.dims)[2:])


def _pooling(node: _Node) -> Windows | None:
    windows = _windows(node, node.integers("kernel_shape", []))
    if windows is None or not node.integer("ceil_mode", 0):
        return windows
    # Rounded up, the last window may end behind the padding, by less than a step. Frameworks leave it out
    # where it would begin there, which cannot happen to these.
    if any(window.size < window.step + window.back for window in windows):
        return None
    height, width = (replace(window, back=window.back + window.step - 1) for window in windows)
    return height, width


def _windows(node: _Node, sides: Sequence[int]) -> Windows | None:
    auto_pad = node.attributes["auto_pad"].s if "auto_pad" in node.attributes else b"NOTSET"
    if len(sides) != 2 or auto_pad not in (b"NOTSET", b"VALID"):
        return None
    steps, dilations = node.integers("strides", [1, 1]), node.integers("dilations", [1, 1])
    pads = node.integers("pads", [0] * 4) if auto_pad == b"NOTSET" else [0] * 4
    height, width = (
        Window(dilations[i] * (sides[i] - 1) + 1, steps[i], pads[i], pads[i + 2]) for i in range(2)
    )
    return height, width


def _padding(node: _Node) -> Windows | None:
    pads, mode = node.constant(1), node.attributes["mode"].s if "mode" in node.attributes else b"constant"
    if pads is None or node.has_input(3) or pads.size != 2 * _RANK or mode == b"wrap":
        return None
    fronts, backs = pads[:_RANK].tolist(), pads[_RANK:].tolist()
    height, width = (
        Window(
            front=fronts[axis],
            back=backs[axis],
            shortest=1 + (max(0, fronts[axis], backs[axis]) if mode == b"reflect" else 0),
        )
        for axis in (_HEIGHT, _WIDTH)
    )
    return height, width


def _slice(node: _Node) -> Windows | None:
    """Accept crops that cut a fixed length off each end; what other slices see depends on the size."""
    starts, stops = node.constant(1), node.constant(2)
    if starts is None or stops is None or any(node.has_input(i) and node.constant(i) is None for i in (3, 4)):
        return None
    axes, steps = node.constant(3), node.constant(4)
    named = range(len(starts)) if axes is None else (int(axis) % _RANK for axis in axes.tolist())
    by_axis = [Window()] * _RANK
    strides = [1] * len(starts) if steps is None else steps.tolist()
    for axis, start, stop, stride in zip(named, starts.tolist(), stops.tolist(), strides, strict=True):
        if axis in (_HEIGHT, _WIDTH):
            if start < 0 or stride != 1 or 0 <= stop < _TO_THE_END:
                return None
            by_axis[axis] = Window(front=-start, back=min(0, stop))
    return by_axis[_HEIGHT], by_axis[_WIDTH]


def _reduction(node: _Node) -> Windows | None:
    """Accept reductions of channels or of no axis; without a list of axes, all or none are reduced."""
    listed = node.constant(1)
    if listed is None and node.has_input(1):
        return None
    axes = set() if listed is None else {int(axis) % _RANK for axis in listed.tolist()}
    if not axes:
        return POINTWISE if node.integer("noop_with_empty_axes", 0) else None
    return None if axes & {_HEIGHT, _WIDTH} or not node.integer("keepdims", 1) else POINTWISE


def _along_last(node: _Node) -> Windows | None:
    return _along(node.integer("axis", -1))


def _along(axis: int) -> Windows | None:
    return None if axis % _RANK in (_HEIGHT, _WIDTH) else POINTWISE


def _concatenation(node: _Node) -> Windows | None:
    return _elementwise(node) and _along(node.integer("axis", 1))


def _division(node: _Node) -> Windows | None:
    return _along(node.integer("axis", 0))


def _gather(node: _Node) -> Windows | None:
    """Accept a Gather of channels by a list of indices."""
    indices = node.constant(1)
    chooses = indices is not None and indices.ndim == 1 and node.proto.input[0] in node.depends
    return POINTWISE if chooses and node.integer("axis", 0) % _RANK == 1 else None


def _transposition(node: _Node) -> Windows | None:
    return POINTWISE if node.integers("perm", []) == list(range(_RANK)) else None


_Rule = Callable[[_Node], Windows | None]


def _rows(rule: _Rule, operators: str) -> dict[str, _Rule]:
    """Return rows of the table for operators with the same rule."""
    return dict.fromkeys(operators.split(), rule)


# Operator of `networks.model_checks.OPERATORS` → rule that returns the windows of a node.
REACH: dict[str, _Rule] = {
    # Windows.
    "AveragePool": _pooling,
    "LpPool": _pooling,
    "Conv": _convolution,
    "MaxPool": _pooling,
    "Pad": _padding,
    "Slice": _slice,
    # Pointwise, each channel by itself.
    **_rows(_pointwise, "Abs BatchNormalization Cast Clip Dropout Elu Exp HardSigmoid HardSwish Identity"),
    **_rows(_pointwise, "Erf Gelu LeakyRelu Log Mish Neg Relu Selu Sigmoid Softplus Sqrt Tanh"),
    **_rows(_elementwise, "Add Div Max Min Mul PRelu Pow Sub Sum Where"),
    # Pointwise over all channels, depending on the axes.
    "Concat": _concatenation,
    "Gather": _gather,
    "LRN": _pointwise,
    "Split": _division,
    **_rows(_along_last, "LogSoftmax Softmax"),
    "Transpose": _transposition,
    **_rows(_reduction, "ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin ReduceSum ReduceSumSquare"),
    # The whole image: positions are summed, moved or mixed.
    **_rows(_whole, "Constant Flatten Gemm GlobalAveragePool GlobalMaxPool InstanceNormalization MatMul"),
    **_rows(_whole, "Reshape Shape Squeeze Unsqueeze"),
    **_rows(_whole, "ConvTranspose DepthToSpace Einsum Expand GroupNormalization LayerNormalization Resize"),
    **_rows(_whole, "SpaceToDepth Tile"),
}


# --- a network -------------------------------------------------------------------------------------------


def dependent_nodes(model: onnx.ModelProto, layers: Sequence[str]) -> list[tuple[onnx.NodeProto, list[str]]]:
    """Return the nodes that `layers` need and that depend on the image, each with its inputs that do.

    The result of Shape, the lengths of a tensor, does not depend on the content of the image.
    """
    depends = {IMAGE}
    dependent: list[tuple[onnx.NodeProto, list[str]]] = []
    for node in needed_nodes(model, layers):
        inputs = [name for name in node.input if name in depends]
        if inputs and node.op_type != "Shape":
            depends.update(node.output)
            dependent.append((node, inputs))
    return dependent


def network_windows(
    model: onnx.ModelProto, layers: Sequence[str]
) -> list[tuple[onnx.NodeProto, list[str], Windows | None]]:
    """Return the nodes of `dependent_nodes`, each with its inputs and its `node_reach`.

    After a node that sees the whole image, the axes of tensors are unknown: the nodes that follow have no
    windows either.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = dependent_nodes(model, layers)
    depends = frozenset(name for node, inputs in nodes for name in (*inputs, *node.output))
    result: list[tuple[onnx.NodeProto, list[str], Windows | None]] = []
    whole: set[str] = set()
    for node, inputs in nodes:
        windows = None if whole.intersection(inputs) else node_reach(node, depends, constants)
        if windows is None:
            whole.update(node.output)
        result.append((node, inputs, windows))
    return result


def node_label(node: onnx.NodeProto) -> str:
    """Return what messages call a node: its operator and its output."""
    return f"the {node.op_type} node {shown(node.output[0])}"
