"""How much memory one run of a graph takes: a replay of the order in which onnxruntime works.

onnxruntime works backwards from the outputs, depth first, and computes, of the inputs of a node, the one
made by the last node first; a tensor is given back after its last use. Nodes that it makes itself when it
puts convolutions and poolings into blocks, and where it changes between the layouts, count as last of all.
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

_VIEWS = {"Reshape", "Identity"}
_REPLACED = {"Conv", "MaxPool", "AveragePool", "Resize"}
# What the copy of a tensor in the other layout is called: no name of a tensor holds a zero byte.
_TO_PLAIN, _TO_BLOCKED = "\0plain", "\0blocked"


@dataclass(frozen=True, slots=True)
class _Step:
    """A node as onnxruntime runs it."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    is_view: bool = False
    is_new: bool = False


def peak_bytes(b: GraphBuilder) -> int:
    """Return the most bytes that tensors take at once while a graph of one picture size runs.

    Weights and inputs are not counted. What onnxruntime fuses is: where it makes one node of two, the
    tensor between them is counted though it never exists.
    """
    b.infer_shapes()
    steps = _steps(b.nodes, cpu_layout.blocked_tensors(b))
    order = _depth_first(steps, list(range(len(steps))))
    ranks = [0] * len(steps)
    for place, index in enumerate(order):
        ranks[index] = len(steps) + place if steps[index].is_new else index
    return _peak(b, [steps[index] for index in _depth_first(steps, ranks)])


def _steps(nodes: Sequence[onnx.NodeProto], blocked: set[str]) -> list[_Step]:
    """Add the changes between plain and blocked layout to the nodes."""
    steps: list[_Step] = []
    changed: set[str] = set()
    made = {name for node in nodes for name in node.output}
    for node in nodes:
        in_blocks = node.output[0] in blocked
        inputs: list[str] = []
        for name in node.input:
            if name not in made or (name in blocked) == in_blocks:
                inputs.append(name)
                continue
            other = name + (_TO_BLOCKED if in_blocks else _TO_PLAIN)
            if other not in changed:
                changed.add(other)
                steps.append(_Step((name,), (other,), is_new=True))
            inputs.append(other)
        is_new = in_blocks and node.op_type in _REPLACED
        steps.append(_Step(tuple(inputs), tuple(node.output), node.op_type in _VIEWS, is_new))
    return steps


def _depth_first(steps: Sequence[_Step], ranks: Sequence[int]) -> list[int]:
    """Return the order of computation: inputs before nodes, those of the highest rank first."""
    makers = {name: index for index, step in enumerate(steps) for name in step.outputs}
    read = {name for step in steps for name in step.inputs}
    ends = [index for index, step in enumerate(steps) if not read.intersection(step.outputs)]
    order: list[int] = []
    seen: set[int] = set()
    stack = [(index, False) for index in sorted(ends, key=lambda i: ranks[i])]
    while stack:
        index, is_done = stack.pop()
        if is_done:
            order.append(index)
        elif index not in seen:
            seen.add(index)
            stack.append((index, True))
            before = {makers[name] for name in steps[index].inputs if name in makers} - seen
            stack.extend((i, False) for i in sorted(before, key=lambda i: ranks[i]))
    return order


def _peak(b: GraphBuilder, steps: Sequence[_Step]) -> int:
    owner: dict[str, str] = {}  # a view → the tensor whose memory it is
    last: dict[str, int] = {}
    for place, step in enumerate(steps):
        for name in step.outputs:
            owner[name] = owner.get(step.inputs[0], step.inputs[0]) if step.is_view else name
            last[owner[name]] = place
        for name in step.inputs:
            last[owner.get(name, name)] = place
    ends: dict[int, list[str]] = {}
    for name, place in last.items():
        ends.setdefault(place, []).append(name)
    alive: dict[str, int] = {}
    total = peak = 0
    for place, step in enumerate(steps):
        for name in step.outputs:
            if owner[name] == name:
                alive[name] = _bytes(b, name)
                total += alive[name]
        peak = max(peak, total)
        for name in ends.get(place, []):
            total -= alive.pop(name, 0)
    return peak


def _bytes(b: GraphBuilder, name: str) -> int:
    shape = b.shapes.get(name.removesuffix(_TO_PLAIN).removesuffix(_TO_BLOCKED), ())
    return b.dtype.itemsize * math.prod(length or 1 for length in shape)
