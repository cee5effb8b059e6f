"""How far each operator sees: which positions of its input one position of its output is made of.

Tiles and blocks compute features from a part of the picture. That is exact where every operator on the way
sees a window of fixed size at a fixed place, and wrong where one sees the whole picture (a mean over height
and width, attention, a transposition). `REACH` declares this for every operator that a network may hold;
what a node sees may depend on its attributes and constant inputs, too. Pure functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import shown
from .network_graph import needed_nodes

if TYPE_CHECKING:
    import onnx

# Axes of features [1, channels, height, width].
_RANK = 4
_HEIGHT, _WIDTH = 2, 3

# Exporters write "up to the end" of an axis as one of the largest integers.
_TO_THE_END = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Window:
    """What one position of an output sees of its input along one axis.

    Output i sees the inputs step·i − front … step·i − front + size − 1; there are outputs as long as the
    window ends within the input, with `front` and `back` positions added to it.

    Attributes
    ----------
    size : int
        Positions that the window spans, 1 or more.
    step : int
        Positions from one window to the next.
    front, back : int
        Positions added at both ends of the input, negative where it is cropped.
    shortest : int
        Length of the shortest input that may be there at all.
    """

    size: int = 1
    step: int = 1
    front: int = 0
    back: int = 0
    shortest: int = 1

    def length(self, inputs: int) -> int:
        """Return the length of the output for an input of a length."""
        return (inputs + self.front + self.back - self.size) // self.step + 1

    def needed(self, outputs: int) -> int:
        """Return the length of the shortest input whose output has a length."""
        return max(self.shortest, (outputs - 1) * self.step + self.size - self.front - self.back)


Windows = tuple[Window, Window]
"""Along height and along width."""

POINTWISE: Windows = (Window(), Window())
"""A position sees its own position, in its own channel or in all of them."""

Constants = Mapping[str, "onnx.TensorProto"]
"""The initialisers of a network by name."""


@dataclass(frozen=True, slots=True)
class _Node:
    """A node, its attributes, the names of inputs that depend on the picture, and the constants."""

    node: onnx.NodeProto
    given: Mapping[str, onnx.AttributeProto]
    depends: frozenset[str]
    constants: Constants

    def integer(self, name: str, default: int) -> int:
        """Return an attribute that is an integer."""
        return self.given[name].i if name in self.given else default

    def integers(self, name: str, default: Sequence[int]) -> list[int]:
        """Return an attribute that is a list of integers."""
        return list(self.given[name].ints) if name in self.given else list(default)

    def has_input(self, index: int) -> bool:
        """Return whether an input is given."""
        return index < len(self.node.input) and bool(self.node.input[index])

    def constant(self, index: int) -> NDArray[np.generic] | None:
        """Return the value of a constant input; None where it is left out or not constant."""
        from onnx import numpy_helper

        tensor = self.constants.get(self.node.input[index]) if self.has_input(index) else None
        return None if tensor is None else numpy_helper.to_array(tensor)


def reach(node: onnx.NodeProto, depends: frozenset[str], constants: Constants) -> Windows | None:
    """Return what one position of a node's output sees of its inputs.

    Parameters
    ----------
    node : onnx.NodeProto
        A node whose inputs that depend on the picture are features [1, channels, height, width].
    depends : frozenset of str
        Tensors that depend on the picture.
    constants : mapping of str to onnx.TensorProto
        The initialisers of the network.

    Returns
    -------
    (Window, Window) or None
        Along height and width; None where it sees the whole picture, or depends on where in it it is.
    """
    rule = REACH.get(node.op_type)
    if rule is None:
        return None
    return rule(_Node(node, {a.name: a for a in node.attribute}, depends, constants))


# --- rules -----------------------------------------------------------------------------------------------


def _pointwise(n: _Node) -> Windows | None:
    return POINTWISE


def _whole(n: _Node) -> None:
    return None


def _elementwise(n: _Node) -> Windows | None:
    """Take positions one by one where every constant that joins is the same at all of them."""
    for name in n.node.input:
        if not name or name in n.depends:
            continue
        tensor = n.constants.get(name)
        if tensor is None or len(tensor.dims) > _RANK or math.prod(tensor.dims[-2:]) != 1:
            return None
    return POINTWISE


def _convolution(n: _Node) -> Windows | None:
    kernel = n.constants.get(n.node.input[1])
    return None if kernel is None else _windows(n, list(kernel.dims)[2:])


def _pooling(n: _Node) -> Windows | None:
    return None if n.integer("ceil_mode", 0) else _windows(n, n.integers("kernel_shape", []))


def _windows(n: _Node, sides: Sequence[int]) -> Windows | None:
    auto_pad = n.given["auto_pad"].s if "auto_pad" in n.given else b"NOTSET"
    if len(sides) != 2 or auto_pad not in (b"NOTSET", b"VALID"):
        return None
    steps, dilations = n.integers("strides", [1, 1]), n.integers("dilations", [1, 1])
    pads = n.integers("pads", [0] * 4) if auto_pad == b"NOTSET" else [0] * 4
    height, width = (
        Window(dilations[i] * (sides[i] - 1) + 1, steps[i], pads[i], pads[i + 2]) for i in range(2)
    )
    return height, width


def _padding(n: _Node) -> Windows | None:
    pads, mode = n.constant(1), n.given["mode"].s if "mode" in n.given else b"constant"
    if pads is None or n.has_input(3) or pads.size != 2 * _RANK or mode == b"wrap":
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


def _slice(n: _Node) -> Windows | None:
    """Take crops that cut as much off each end whatever the size; other parts depend on the size."""
    starts, stops = n.constant(1), n.constant(2)
    if starts is None or stops is None or any(n.has_input(i) and n.constant(i) is None for i in (3, 4)):
        return None
    axes, steps = n.constant(3), n.constant(4)
    named = range(len(starts)) if axes is None else (int(axis) % _RANK for axis in axes.tolist())
    by_axis = [Window()] * _RANK
    strides = [1] * len(starts) if steps is None else steps.tolist()
    for axis, start, stop, stride in zip(named, starts.tolist(), stops.tolist(), strides, strict=True):
        if axis in (_HEIGHT, _WIDTH):
            if start < 0 or stride != 1 or 0 <= stop < _TO_THE_END:
                return None
            by_axis[axis] = Window(front=-start, back=min(0, stop))
    return by_axis[_HEIGHT], by_axis[_WIDTH]


def _reduction(n: _Node) -> Windows | None:
    """Take sums over channels, and those over no axis; without axes given, all are summed over or none."""
    given = n.constant(1)
    if given is None and n.has_input(1):
        return None
    axes = set() if given is None else {int(axis) % _RANK for axis in given.tolist()}
    if not axes:
        return POINTWISE if n.integer("noop_with_empty_axes", 0) else None
    return None if axes & {_HEIGHT, _WIDTH} or not n.integer("keepdims", 1) else POINTWISE


def _along_last(n: _Node) -> Windows | None:
    return _along(n.integer("axis", -1))


def _along(axis: int) -> Windows | None:
    return None if axis % _RANK in (_HEIGHT, _WIDTH) else POINTWISE


def _concatenation(n: _Node) -> Windows | None:
    return _elementwise(n) and _along(n.integer("axis", 1))


def _choice(n: _Node) -> Windows | None:
    """Take a Gather of some channels by a list."""
    indices = n.constant(1)
    chooses = indices is not None and indices.ndim == 1 and n.node.input[0] in n.depends
    return POINTWISE if chooses and n.integer("axis", 0) % _RANK == 1 else None


def _transposition(n: _Node) -> Windows | None:
    return POINTWISE if n.integers("perm", []) == list(range(_RANK)) else None


_Rule = Callable[[_Node], Windows | None]


def _alike(rule: _Rule, operators: str) -> dict[str, _Rule]:
    return dict.fromkeys(operators.split(), rule)


REACH: dict[str, _Rule] = {
    # Windows.
    "AveragePool": _pooling,
    "Conv": _convolution,
    "MaxPool": _pooling,
    "Pad": _padding,
    "Slice": _slice,
    # Each position by itself: its own channel.
    **_alike(_pointwise, "Abs BatchNormalization Cast Clip Dropout Elu Exp HardSigmoid HardSwish Identity"),
    **_alike(_pointwise, "LeakyRelu Log Neg Relu Sigmoid Softplus Sqrt Tanh"),
    **_alike(_elementwise, "Add Div Max Min Mul PRelu Pow Sub Sum"),
    # Each position by itself: all channels, where the axis or the axes say so.
    "Concat": _concatenation,
    "Gather": _choice,
    **_alike(_along_last, "LogSoftmax Softmax"),
    "Transpose": _transposition,
    **_alike(_reduction, "ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin ReduceSum ReduceSumSquare"),
    # The whole picture: positions are summed, moved or mixed.
    **_alike(_whole, "Constant Flatten Gemm GlobalAveragePool GlobalMaxPool InstanceNormalization MatMul"),
    **_alike(_whole, "Reshape Shape Squeeze Unsqueeze"),
}
"""What a position of each operator of `onnx_checks.OPERATORS` sees: a rule that decides by the node."""


# --- a network -------------------------------------------------------------------------------------------


def dependent_nodes(model: onnx.ModelProto, layers: Sequence[str]) -> list[tuple[onnx.NodeProto, list[str]]]:
    """Return the nodes that `layers` need and that depend on the picture, with those of their inputs that do.

    The lengths of a tensor, which Shape gives, do not depend on what is in the picture.
    """
    depends = {"image"}
    found: list[tuple[onnx.NodeProto, list[str]]] = []
    for node in needed_nodes(model, layers):
        inputs = [name for name in node.input if name in depends]
        if inputs and node.op_type != "Shape":
            depends.update(node.output)
            found.append((node, inputs))
    return found


def windows_of(
    model: onnx.ModelProto, layers: Sequence[str]
) -> list[tuple[onnx.NodeProto, list[str], Windows | None]]:
    """Return the nodes of `dependent_nodes`, each with its inputs and its `reach`.

    Behind a node that sees the whole picture, tensors may have any axes: what follows has no windows either.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    found: list[tuple[onnx.NodeProto, list[str], Windows | None]] = []
    whole: set[str] = set()
    nodes = dependent_nodes(model, layers)
    depends = frozenset(name for node, inputs in nodes for name in (*inputs, *node.output))
    for node, inputs in nodes:
        seen = None if whole.intersection(inputs) else reach(node, depends, constants)
        if seen is None:
            whole.update(node.output)
        found.append((node, inputs, seen))
    return found


def described(node: onnx.NodeProto) -> str:
    """Name a node in a message, by its output, which it always has."""
    return f"the {node.op_type} node {shown(node.output[0])}"
