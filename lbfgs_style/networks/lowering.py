"""Operators that the opset of our graphs lacks, or defines otherwise, written as operators that it has.

ONNX's version converter cannot turn them into older ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx


class _Writer:
    """Collects the nodes and constants that take the place of one node.

    Attributes
    ----------
    nodes : list of onnx.NodeProto
        In topological order.
    constants : list of onnx.TensorProto
        Their initialisers.
    """

    def __init__(self, node: onnx.NodeProto, float_type: type[np.floating]) -> None:
        self._node, self._type = node, float_type
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def attribute(self, name: str, default: Any) -> Any:
        """Return an attribute of the node."""
        from onnx import helper

        found = [each for each in self._node.attribute if each.name == name]
        return helper.get_attribute_value(found[0]) if found else default

    def constant(self, value: Any, dtype: type[np.generic] | None = None) -> str:
        """Add an initialiser, of the type of the features unless another is given."""
        from onnx import numpy_helper

        name = f"{self._node.output[0]}/constant_{len(self.constants)}"
        array: NDArray[Any] = np.asarray(value, dtype or self._type)
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def op(self, op_type: str, *inputs: str, last: bool = False, **attributes: Any) -> str:
        """Append a node; the `last` one computes the output of the node that is replaced."""
        from onnx import helper

        output = self._node.output[0]
        name = output if last else f"{output}/{op_type.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, list(inputs), [name], name=name, **attributes))
        return name


def _gelu(write: _Writer, x: str) -> None:
    """Write y = x Φ(x), or its approximation by tanh (Hendrycks and Gimpel, 2016)."""
    if write.attribute("approximate", b"none") == b"tanh":
        cube = write.op("Mul", write.op("Mul", x, x), x)
        inner = write.op("Add", x, write.op("Mul", cube, write.constant(0.044715)))
        bend = write.op("Tanh", write.op("Mul", inner, write.constant(math.sqrt(2 / math.pi))))
    else:
        bend = write.op("Erf", write.op("Mul", x, write.constant(math.sqrt(0.5))))
    share = write.op("Mul", write.op("Add", bend, write.constant(1.0)), write.constant(0.5))
    write.op("Mul", x, share, last=True)


def _group_normalization(write: _Writer, x: str, scale: str, offset: str) -> None:
    """Write the normalization of groups of channels as that of single channels of another shape."""
    groups = write.attribute("num_groups", 1)
    shape = write.op("Shape", x)
    grouped = write.op("Reshape", x, write.constant([0, groups, -1], np.int64))
    ones, zeros = write.constant(np.ones(groups)), write.constant(np.zeros(groups))
    epsilon = write.attribute("epsilon", 1e-5)
    normal = write.op("InstanceNormalization", grouped, ones, zeros, epsilon=epsilon)
    column = write.constant([-1, 1, 1], np.int64)
    scaled = write.op("Mul", write.op("Reshape", normal, shape), write.op("Reshape", scale, column))
    write.op("Add", scaled, write.op("Reshape", offset, column), last=True)


def _global_max_pool(write: _Writer, x: str) -> None:
    """Write the maximum over height and width."""
    write.op("ReduceMax", x, write.constant([2, 3], np.int64), keepdims=1, last=True)


# Operator → the opset since which it is replaced, and what writes it.
_LOWERED: dict[str, tuple[int, Callable[..., None]]] = {
    "Gelu": (20, _gelu),
    "GlobalMaxPool": (22, _global_max_pool),
    "GroupNormalization": (21, _group_normalization),
}

# Operators that networks may have and our graphs do not.
NAMES = frozenset({"Gelu", "GroupNormalization"})


def lower(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model with the operators of `_LOWERED` replaced; the model itself if it does not use them."""
    from onnx import TensorProto

    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)

    def is_lowered(node: onnx.NodeProto) -> bool:
        return node.op_type in _LOWERED and opset >= _LOWERED[node.op_type][0]

    if not any(map(is_lowered, model.graph.node)):
        return model
    is_double = any(tensor.data_type == TensorProto.DOUBLE for tensor in model.graph.initializer)
    lowered = type(model)()
    lowered.CopyFrom(model)
    del lowered.graph.node[:]
    for node in model.graph.node:
        if not is_lowered(node):
            lowered.graph.node.append(node)
            continue
        write = _Writer(node, np.float64 if is_double else np.float32)
        _LOWERED[node.op_type][1](write, *filter(None, node.input))
        lowered.graph.node.extend(write.nodes)
        lowered.graph.initializer.extend(write.constants)
    return lowered
