"""Append nodes to a graph whose features are in blocks of 16 channels.

A tensor [1,C,H,W] is kept as [C/16, H, W, 16], with zeros for the channels beyond the last. Steps that have
an operator for blocks get them, all others the plain tensors, and a tensor is converted once where both meet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..graphs.builder import GraphBuilder
from ..graphs.gradient_rule import step as step_function
from .library import DOMAIN, Library
from .packing import BLOCK, blocks
from .steps import attributes

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True, slots=True)
class Term:
    """A summand whose node is not written yet.

    Attributes
    ----------
    write : function
        (tensor to add or "", mask or "", whether a ReLU follows) → the result; all in blocks.
    rank : int
        Terms of a sum are written in this order.
    adds : bool
        Whether a tensor may be added.
    masks : frozenset of str or None
        The masks that may be given, in blocks; None for any.
    """

    write: Callable[[str, str, bool], str]
    rank: int
    adds: bool = True
    masks: frozenset[str] | None = None


class Writer:
    """Appends nodes, and knows the names of tensors in both layouts.

    Parameters
    ----------
    graph : GraphBuilder
        Gets nodes, constants and shapes.
    in_blocks : set of str
        Tensors that are computed in blocks.
    library : Library
        Asked for the scratch memory that operators need.
    threads : int
        Threads of the session.
    """

    def __init__(self, graph: GraphBuilder, in_blocks: set[str], library: Library, threads: int) -> None:
        self.graph = graph
        self.library = library
        self.threads = threads
        self._in_blocks = in_blocks
        self.names: dict[str, str] = {}  # tensor → its name in blocks
        self.waiting: dict[str, list[str | Term]] = {}  # sum → its summands, to be written by its reader
        self.first: dict[str, onnx.NodeProto] = {}  # first features of the image, in blocks → their node
        self._copies: dict[str, str] = {}  # first features → the same, computed again
        self._plain: set[str] = set()  # tensors in blocks that have been converted
        self._constants: dict[tuple[str, str], str] = {}

    # --- layouts

    def blocked(self, tensor: str) -> str:
        """Return a tensor in blocks, and write what it needs."""
        if tensor in self.waiting:
            self.names[tensor] = self.sum(self.waiting.pop(tensor), "")
        if tensor not in self.names:
            self.names[tensor] = self.operator("ToBlocked", [self.plain(tensor)], self.blocked_shape(tensor))
        return self.names[tensor]

    def late(self, tensor: str) -> str:
        """Return a tensor in blocks for the gradient, which needs it long after it was computed.

        The first features of an image are larger than all others and cost next to nothing: they are computed
        again in place of being kept. The copy stands early among the nodes, right before the original:
        onnxruntime runs early nodes as late as their readers allow, see `graphs.cpu_layout`.
        """
        name = self.blocked(tensor)
        if name in self.first and name not in self._copies:
            node = self.first[name]
            copy = type(node)()
            copy.CopyFrom(node)
            copy.name = copy.output[0] = self.graph.unique_name(node.op_type.lower())
            self.graph.nodes.insert(self.graph.nodes.index(node), copy)
            self.graph.shapes[copy.name] = self.graph.shapes[name]
            self._copies[name] = copy.name
        return self._copies.get(name, name)

    def plain(self, tensor: str) -> str:
        """Return a tensor in the plain layout, and write what it needs."""
        if tensor in self._in_blocks and tensor not in self._plain:
            self._plain.add(tensor)
            shape = self.graph.shapes[tensor]
            self.operator("ToPlain", [self.blocked(tensor)], shape, name=tensor, channels=shape[1])
        return tensor

    def blocked_shape(self, tensor: str) -> tuple[int | None, ...]:
        """Return the shape of a tensor in blocks."""
        _, channels, height, width = self.graph.shapes[tensor]
        return blocks(channels or 1), height, width, BLOCK

    # --- nodes

    def operator(
        self,
        kind: str,
        inputs: Sequence[str],
        shape: Sequence[int | None],
        *,
        name: str | None = None,
        **values: int | None,
    ) -> str:
        """Append a native operator and return its first output.

        Attributes that are 0 or None, and inputs left out at the end, are not written.
        """
        names = list(inputs)
        while names and not names[-1]:
            names.pop()
        settings = {key: value for key, value in values.items() if value}
        result = self.graph.op(
            kind,
            *names,
            name=name or self.graph.unique_name(kind.lower()),
            attributes={"domain": DOMAIN, "threads": self.threads, **settings},
        )
        self.graph.shapes[result] = tuple(shape)
        self.graph.scratch[result] = self._scratch_bytes(kind, names, shape, bool(settings.get("flipped")))
        return result

    def _scratch_bytes(
        self, kind: str, names: Sequence[str], shape: Sequence[int | None], is_flipped: bool
    ) -> int:
        """Return the bytes of scratch memory of an operator; 0 where a length is unknown, in a tile."""
        inputs, *size = self.graph.shapes[names[0]][:3]
        if kind == "ImageConvolution":
            inputs, size = 1, self.graph.shapes[names[0]][2:]
        outputs, hidden = shape[0], 0
        if kind == "PointPair":
            hidden = blocks(self.graph.shape(names[1])[0])
            outputs = blocks(self.graph.shape(names[3])[0])
        if inputs is None or outputs is None or size[0] is None or size[1] is None:
            return 0
        return self.library.scratch_bytes(
            kind,
            inputs,
            outputs,
            (size[0], size[1]),
            hidden=hidden,
            is_flipped=is_flipped,
            threads=self.threads,
        )

    def onnx_operator(
        self,
        op_type: str,
        inputs: Sequence[str],
        shape: Sequence[int | None],
        node: onnx.NodeProto | None = None,
    ) -> str:
        """Append an operator of ONNX, with the attributes of a node."""
        result = self.graph.op(op_type, *inputs, attributes={} if node is None else attributes(node))
        self.graph.shapes[result] = tuple(shape)
        return result

    def constant(self, source: str, use: str, make: Callable[[np.ndarray], np.ndarray]) -> str:
        """Return a constant made of another one; a second call for the same `use` returns the same."""
        if (source, use) not in self._constants:
            self._constants[source, use] = self.graph.constant(make(self.graph.constants[source]))
        return self._constants[source, use]

    def integers(self, values: Sequence[int]) -> str:
        """Return a constant of integers."""
        return self.graph.constant(list(values), integer=True)

    # --- sums

    def terms(self, tensor: str) -> list[str | Term]:
        """Return the summands of a tensor: itself, unless it is a sum that waits to be written."""
        return self.waiting.pop(tensor) if tensor in self.waiting else [tensor]

    def sum(self, terms: Sequence[str | Term], mask: str) -> str:
        """Write a sum, 0 where the mask is not positive."""
        result = ""
        for name in terms:
            if isinstance(name, str):
                result = self._add(result, self.blocked(name))
        unwritten = sorted((t for t in terms if not isinstance(t, str)), key=lambda t: t.rank)
        for term in unwritten:
            is_last = term is unwritten[-1] and (term.adds or not result)
            given = mask if is_last and (term.masks is None or mask in term.masks) else ""
            if term.adds:
                result = term.write(result, given, False)
            else:
                result = self._add(result, term.write("", given, False))
            mask = "" if given else mask
        if mask:
            shape = self.graph.shapes[result]
            factor = step_function(self.graph, mask, at_zero=0)
            self.graph.shapes[factor] = shape
            result = self.onnx_operator("Mul", [factor, result], shape)
        return result

    def _add(self, one: str, other: str) -> str:
        return self.onnx_operator("Add", [one, other], self.graph.shapes[other]) if one else other
