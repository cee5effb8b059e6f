"""What a differentiation rule gets, and helpers that several rules share.

The rules are in `rules_elementwise` and `rules_windowed`; `autodiff` walks the graph and applies them.
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

# Least divisors, so that 0 / 0 becomes 0: the smallest normal float32, and a norm whose square is about that.
LEAST, LEAST_NORM = 1.2e-38, 1.1e-19

# Slope of the HardSigmoid that serves as a step function: nearly the largest float32.
_STEEP = 3e38


@dataclass(frozen=True, slots=True)
class RuleContext:
    """One node to differentiate: what a rule gets.

    Attributes
    ----------
    graph : GraphBuilder
        Has the node; gets the nodes that the rule appends.
    node : onnx.NodeProto
        The node.
    g : str
        Cotangent of the node's output; of several, of the first that has one.
    active : tuple of bool
        For each input, whether its cotangent is needed.
    cotangents : tuple of (str or None)
        Cotangent of each output, for a node that has several; None for outputs that nothing depends on.
    """

    graph: GraphBuilder
    node: onnx.NodeProto
    g: str
    active: tuple[bool, ...]
    cotangents: tuple[str | None, ...] = ()

    @property
    def x(self) -> str:
        """The first input."""
        return self.node.input[0]

    @property
    def y(self) -> str:
        """The output."""
        return self.node.output[0]

    def attribute(self, name: str, default: object) -> object:
        """Return an attribute of the node, or `default` if the node does not have it."""
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
        """Return the value of a constant input, or None if the node does not have that input.

        Raises
        ------
        GraphError
            If the input is not constant.
        """
        if index >= len(self.node.input) or not self.node.input[index]:
            return None
        name = self.node.input[index]
        if name not in self.graph.constants:
            raise self.refuse(f"its input {name!r} is not a constant")
        return self.graph.constants[name]

    def refuse(self, reason: str) -> GraphError:
        """Return the error for a node that the rule does not cover."""
        return GraphError(f"Cannot differentiate {self.graph.label(self.node)}: {reason}.")


def number(rule: RuleContext, name: str, default: float) -> float:
    """Return an attribute of the node that is a number."""
    value = rule.attribute(name, default)
    assert isinstance(value, int | float)
    return float(value)


def step(graph: GraphBuilder, tensor: str, *, at_zero: int) -> str:
    """Append nodes for the step function: 1 where `tensor` is positive, 0 where negative, else `at_zero`.

    It is ``HardSigmoid(alpha=3e38)``, which gives exactly 0 or 1 (except for denormals). Unlike comparisons,
    that operator keeps onnxruntime's blocked memory layout.
    """
    return graph.op("HardSigmoid", tensor, attributes={"alpha": _STEEP, "beta": float(at_zero)})


def unbroadcast(graph: GraphBuilder, cotangent: str, tensor: str, result: str) -> str:
    """Append nodes that sum a cotangent over the axes along which `tensor` was broadcast.

    The cotangent has the shape of `result`, the sum that of `tensor`.
    """
    if graph.shapes.get(tensor) == graph.shapes.get(result) is not None:
        return cotangent
    small, large = graph.shape(tensor), graph.shape(result)
    padded = (1,) * (len(large) - len(small)) + small
    axes = [axis for axis, (a, c) in enumerate(zip(padded, large, strict=True)) if a != c]
    summed = graph.reduce("ReduceSum", cotangent, axes, keepdims=True) if axes else cotangent
    return summed if padded == small else graph.reshape(summed, small)
