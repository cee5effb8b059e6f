"""What a differentiation rule works with: the node, the cotangent of its output, and two common moves.

The rules are in `rules_algebra` and `rules_spatial`; `autodiff` walks the graph and applies them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import GraphError
from .builder import GraphBuilder

if TYPE_CHECKING:
    import onnx

_STEEP = 3e38  # a HardSigmoid of this slope is a step function


@dataclass(frozen=True, slots=True)
class Backward:
    """What a rule works with.

    Attributes
    ----------
    b : GraphBuilder
        Where the rule adds its nodes.
    node : onnx.NodeProto
        The node to differentiate.
    g : str
        Cotangent of the node's output.
    active : tuple of bool
        For each input, whether its cotangent is wanted.
    """

    b: GraphBuilder
    node: onnx.NodeProto
    g: str
    active: tuple[bool, ...]

    @property
    def x(self) -> str:
        """First input."""
        return self.node.input[0]

    @property
    def y(self) -> str:
        """Output."""
        return self.node.output[0]

    def attribute(self, name: str, default: object) -> object:
        """Return an attribute of the node, or what ONNX takes when it is not given."""
        from onnx import helper

        for attribute in self.node.attribute:
            if attribute.name == name:
                return helper.get_attribute_value(attribute)
        return default

    def integers(self, name: str, default: Sequence[int]) -> list[int]:
        """Return an attribute that is a list of integers."""
        value = self.attribute(name, default)
        assert isinstance(value, Sequence)
        return [int(v) for v in value]

    def constant_input(self, index: int) -> np.ndarray | None:
        """Return the value of a constant input, or None when the node has no such input."""
        if index >= len(self.node.input) or not self.node.input[index]:
            return None
        name = self.node.input[index]
        if name not in self.b.constants:
            raise self.refuse(f"its input {name!r} is not a constant")
        return self.b.constants[name]

    def refuse(self, why: str) -> GraphError:
        """Return the error for a form of an operator that no rule covers."""
        return GraphError(f"Cannot differentiate {described(self.b, self.node)}: {why}.")


def described(b: GraphBuilder, node: onnx.NodeProto) -> str:
    """Name a node in a message, by what the user's own network calls its output."""
    output = node.output[0]
    return f"the {node.op_type} node {b.origins.get(output, output)!r}"


def step(b: GraphBuilder, tensor: str, *, at_zero: int) -> str:
    """Return 1 where `tensor` is positive, 0 where it is negative, `at_zero` where it is 0.

    By ``HardSigmoid(alpha=3e38)``, exactly 0 or 1 (denormals apart): onnxruntime keeps its blocked memory
    layout through that operator, unlike through a comparison.
    """
    return b.op("HardSigmoid", tensor, attributes={"alpha": _STEEP, "beta": float(at_zero)})


def unbroadcast(b: GraphBuilder, cotangent: str, tensor: str, result: str) -> str:
    """Sum a cotangent of the shape of `result` over the axes along which `tensor` was broadcast."""
    if b.shapes.get(tensor) == b.shapes.get(result) is not None:
        return cotangent
    small, large = b.shape(tensor), b.shape(result)
    padded = (1,) * (len(large) - len(small)) + small
    axes = [axis for axis, (a, c) in enumerate(zip(padded, large, strict=True)) if a != c]
    summed = b.reduce("ReduceSum", cotangent, axes, keepdims=True) if axes else cotangent
    return summed if padded == small else b.reshape(summed, small)
