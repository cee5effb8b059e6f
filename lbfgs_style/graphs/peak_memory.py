"""Estimate the memory of one run of a graph, by a replay of the order in which onnxruntime computes.

onnxruntime works backwards from the outputs, depth first, and computes, among the inputs of a node, the one
first whose node comes last in the graph; a tensor is freed after its last use. Nodes that onnxruntime inserts
itself, convolutions and poolings on blocks of channels and changes of layout, count as the last.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import cpu_layout
from .builder import GraphBuilder

if TYPE_CHECKING:
    import onnx

# Operators whose output shares the memory of their input.
_VIEWS = {"Reshape", "Identity"}

# Operators that onnxruntime replaces by nodes of its own where they run on blocks of channels.
_REPLACED = {"Conv", "MaxPool", "AveragePool", "Resize"}

# Suffixes of the copies of a tensor in the other layout: no other name contains a zero byte.
_TO_PLAIN, _TO_BLOCKED = "\0plain", "\0blocked"


@dataclass(frozen=True, slots=True)
class _Step:
    """A node as onnxruntime runs it; `is_new` if onnxruntime inserted it."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    is_view: bool = False
    is_new: bool = False


def peak_bytes(graph: GraphBuilder) -> int:
    """Return the most bytes that tensors take at once while a graph of one image size runs.

    The scratch memory of nodes is counted, weights and inputs are not. Where onnxruntime fuses two nodes, the
    tensor between them is counted though it never exists.
    """
    graph.infer_shapes()
    steps = _steps(graph.nodes, cpu_layout.find_channel_blocked(graph))
    order = _depth_first(steps, list(range(len(steps))))
    ranks = [0] * len(steps)
    for position, index in enumerate(order):
        ranks[index] = len(steps) + position if steps[index].is_new else index
    return _peak(graph, [steps[index] for index in _depth_first(steps, ranks)])


def _steps(nodes: Sequence[onnx.NodeProto], blocked: set[str]) -> list[_Step]:
    """Return the nodes with the changes between plain and blocked layout inserted."""
    steps: list[_Step] = []
    converted: set[str] = set()
    computed = {name for node in nodes for name in node.output}
    for node in nodes:
        in_blocks = node.output[0] in blocked
        inputs: list[str] = []
        for name in node.input:
            if name not in computed or (name in blocked) == in_blocks:
                inputs.append(name)
                continue
            other = name + (_TO_BLOCKED if in_blocks else _TO_PLAIN)
            if other not in converted:
                converted.add(other)
                steps.append(_Step((name,), (other,), is_new=True))
            inputs.append(other)
        is_new = in_blocks and node.op_type in _REPLACED
        steps.append(_Step(tuple(inputs), tuple(node.output), node.op_type in _VIEWS, is_new))
    return steps


def _depth_first(steps: Sequence[_Step], ranks: Sequence[int]) -> list[int]:
    """Return the order of computation: the inputs of a node before it, those of the highest rank first."""
    makers = {name: index for index, step in enumerate(steps) for name in step.outputs}
    read = {name for step in steps for name in step.inputs}
    ends = [index for index, step in enumerate(steps) if not read.intersection(step.outputs)]
    order: list[int] = []
    visited: set[int] = set()
    stack = [(index, False) for index in sorted(ends, key=lambda i: ranks[i])]
    while stack:
        index, is_done = stack.pop()
        if is_done:
            order.append(index)
        elif index not in visited:
            visited.add(index)
            stack.append((index, True))
            before = {makers[name] for name in steps[index].inputs if name in makers} - visited
            stack.extend((i, False) for i in sorted(before, key=lambda i: ranks[i]))
    return order


def _peak(graph: GraphBuilder, steps: Sequence[_Step]) -> int:
    """Return the most bytes that are alive at once when the steps run in this order."""
    owner: dict[str, str] = {}  # tensor → the tensor whose memory it shares
    last_use: dict[str, int] = {}
    for index, step in enumerate(steps):
        for name in step.outputs:
            owner[name] = owner.get(step.inputs[0], step.inputs[0]) if step.is_view else name
            last_use[owner[name]] = index
        for name in step.inputs:
            last_use[owner.get(name, name)] = index
    ends: dict[int, list[str]] = {}
    for name, index in last_use.items():
        ends.setdefault(index, []).append(name)
    alive: dict[str, int] = {}
    total = peak = 0
    for index, step in enumerate(steps):
        for name in step.outputs:
            if owner[name] == name:
                alive[name] = _bytes(graph, name)
                total += alive[name]
        peak = max(peak, total + sum(graph.scratch.get(name, 0) for name in step.outputs))
        for name in ends.get(index, []):
            total -= alive.pop(name, 0)
    return peak


def _bytes(graph: GraphBuilder, name: str) -> int:
    shape = graph.shapes.get(name.removesuffix(_TO_PLAIN).removesuffix(_TO_BLOCKED), ())
    return graph.dtype.itemsize * math.prod(length or 1 for length in shape)
