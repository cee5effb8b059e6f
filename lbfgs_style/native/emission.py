"""Write the nodes of a graph whose features are in blocks of 16 channels.

A tensor [1,C,H,W] is kept as [C/16, H, W, 16], with zeros for the channels beyond the last. Steps that have an
operator for blocks get them, all others the plain tensors, and a tensor is converted once where both meet.

Convolutions and the gradient of a Gram matrix can add another tensor to their result, and set it to 0 where a
ReLU did. So their nodes are written late: not in their own step but in that of the sum, or of the gradient of
the ReLU, that is their only reader. In a sum, the gradient of a Gram matrix comes last: only then is it needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..graphs.builder import GraphBuilder
from ..graphs.gradient_rule import step as step_function
from .library import DOMAIN, Library
from .packing import BLOCK, blocks, input_name, packed_shape
from .steps import Step, attributes, find_readers, is_scalar

if TYPE_CHECKING:
    import onnx

# Values of the attribute `pooling`, as in source/kernels.hpp.
_POOLINGS = {"MaxPool": 1, "AveragePool": 2}


@dataclass(frozen=True, slots=True)
class _Term:
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


class Emission:
    """Writes the nodes of a graph anew.

    Parameters
    ----------
    graph : GraphBuilder
        Its nodes are replaced; gets inputs, constants and shapes.
    steps : sequence of Step
        What the graph computes.
    in_blocks : set of str
        Tensors that their steps compute in blocks.
    library : Library
        Tells the scratch memory of operators.
    threads : int
        Threads of the session.
    """

    def __init__(
        self, graph: GraphBuilder, steps: Sequence[Step], in_blocks: set[str], library: Library, threads: int
    ) -> None:
        self._graph = graph
        self._steps = steps
        self._in_blocks = in_blocks
        self._library = library
        self._threads = threads
        self._blocked: dict[str, str] = {}  # tensor → its name in blocks
        self._plain: set[str] = set()  # tensors in blocks that have been converted
        self._waiting: dict[str, list[str | _Term]] = {}  # sum → its summands, to be written by its reader
        self._convolutions: dict[str, onnx.NodeProto] = {}  # result in blocks → its node
        self._constants: dict[tuple[str, str], str] = {}
        self._inputs: set[str] = set()
        self._readers = find_readers(graph, steps)

    def write(self) -> None:
        """Replace the nodes of the graph."""
        rules: dict[str, Callable[[Step], None]] = {
            "AveragePoolGradient": self._pool_gradient,
            "Concat": self._concat,
            "Convolution": self._convolution,
            "Elementwise": self._elementwise,
            "Gram": self._gram,
            "GramGradient": self._gram_gradient,
            "ImageConvolution": self._image_convolution,
            "ImageGradient": self._image_gradient,
            "MaxPoolGradient": self._pool_gradient,
            "Pad": self._pad,
            "PointConvolution": self._point_convolution,
            "Pool": self._pool,
            "Reduce": self._reduce,
            "ReluGradient": self._relu_gradient,
            "Slice": self._slice,
        }
        self._graph.nodes = []
        for step in self._steps:
            rules.get(step.kind, self._copy)(step)
        for name in self._graph.outputs:
            self.plain(name)

    # --- layouts

    def blocked(self, tensor: str) -> str:
        """Return a tensor in blocks, and write what it needs."""
        if tensor in self._waiting:
            self._blocked[tensor] = self._sum(self._waiting.pop(tensor), "")
        if tensor not in self._blocked:
            self._blocked[tensor] = self._op("ToBlocked", [self.plain(tensor)], self._blocked_shape(tensor))
        return self._blocked[tensor]

    def plain(self, tensor: str) -> str:
        """Return a tensor in the plain layout, and write what it needs."""
        if tensor in self._in_blocks and tensor not in self._plain:
            self._plain.add(tensor)
            shape = self._graph.shapes[tensor]
            self._op("ToPlain", [self.blocked(tensor)], shape, name=tensor, channels=shape[1])
        return tensor

    def _blocked_shape(self, tensor: str) -> tuple[int | None, ...]:
        _, channels, height, width = self._graph.shapes[tensor]
        return blocks(channels or 1), height, width, BLOCK

    # --- nodes

    def _op(
        self,
        kind: str,
        inputs: Sequence[str],
        shape: Sequence[int | None],
        *,
        name: str | None = None,
        **values: int | None,
    ) -> str:
        """Append an operator of ours and return its first output."""
        names = list(inputs)
        while names and not names[-1]:
            names.pop()
        settings = {key: value for key, value in values.items() if value}
        result = self._graph.op(
            kind,
            *names,
            name=name or self._graph.unique_name(kind.lower()),
            attributes={"domain": DOMAIN, "threads": self._threads, **settings},
        )
        self._graph.shapes[result] = tuple(shape)
        return result

    def _onnx(
        self,
        op_type: str,
        inputs: Sequence[str],
        shape: Sequence[int | None],
        node: onnx.NodeProto | None = None,
    ) -> str:
        """Append an operator of ONNX, with the attributes of a node."""
        result = self._graph.op(op_type, *inputs, attributes={} if node is None else attributes(node))
        self._graph.shapes[result] = tuple(shape)
        return result

    def _constant(self, source: str, use: str, make: Callable[[np.ndarray], np.ndarray]) -> str:
        """Return a constant made of another one, the same for the same use."""
        if (source, use) not in self._constants:
            self._constants[source, use] = self._graph.constant(make(self._graph.constants[source]))
        return self._constants[source, use]

    def _integers(self, values: Sequence[int]) -> str:
        return self._graph.constant(list(values), integer=True)

    def _copy(self, step: Step) -> None:
        """Write a node as it was."""
        node = type(step.node)()
        node.CopyFrom(step.node)
        node.input[:] = [self.plain(name) for name in node.input]
        self._graph.nodes.append(node)

    # --- sums

    def _offer(self, tensor: str, terms: list[str | _Term]) -> None:
        """Leave a sum to its only reader if that can write it, or write it."""
        match self._readers[tensor]:
            case ["Add" | "ReluGradient"]:
                can_wait = True
            case ["Relu"]:
                can_wait = len(terms) == 1
            case _:
                can_wait = False
        if can_wait:
            self._waiting[tensor] = terms
        else:
            self._blocked[tensor] = self._sum(terms, "")

    def _terms(self, tensor: str) -> list[str | _Term]:
        return self._waiting.pop(tensor) if tensor in self._waiting else [tensor]

    def _sum(self, terms: Sequence[str | _Term], mask: str) -> str:
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
            shape = self._graph.shapes[result]
            factor = step_function(self._graph, mask, at_zero=0)
            self._graph.shapes[factor] = shape
            result = self._onnx("Mul", [factor, result], shape)
        return result

    def _add(self, one: str, other: str) -> str:
        return self._onnx("Add", [one, other], self._graph.shapes[other]) if one else other

    # --- convolutions

    def _kernel(self, step: Step) -> tuple[str, bool]:
        """Return the kernel of a convolution before any flipping, and whether it is flipped."""
        kernel = step.inputs[1]
        return self._graph.flipped.get(kernel, kernel), kernel in self._graph.flipped

    def _bias(self, step: Step) -> str:
        """Return the bias of a convolution, with zeros up to whole blocks; empty if it has none."""
        if len(step.inputs) < 3 or not step.inputs[2]:
            return ""

        def padded(bias: np.ndarray) -> np.ndarray:
            return np.pad(bias, (0, blocks(len(bias)) * BLOCK - len(bias)))

        return self._constant(step.inputs[2], "bias", padded)

    def _convolution(self, step: Step) -> None:
        graph, output = self._graph, step.outputs[0]
        kernel, is_flipped = self._kernel(step)
        name = input_name(graph.original_names.get(kernel, kernel))
        if name not in self._inputs:
            self._inputs.add(graph.input(name, packed_shape(*graph.constants[kernel].shape[:2])))
        shape = self._blocked_shape(output)
        bias = self._bias(step)

        def write(add: str, mask: str, relu: bool) -> str:
            inputs = [self.blocked(step.inputs[0]), name, bias, add, mask]
            result = self._op("Convolution", inputs, shape, flipped=is_flipped, relu=relu)
            self._convolutions[result] = graph.nodes[-1]
            features = graph.shapes[inputs[0]]
            graph.scratch[result] = self._library.convolution_scratch(
                features, shape, is_flipped, self._threads
            )
            return result

        self._offer(output, [_Term(write, rank=1)])

    def _point_convolution(self, step: Step) -> None:
        kernel, is_flipped = self._kernel(step)
        shape = self._blocked_shape(step.outputs[0])
        matrix = self._constant(kernel, "matrix", lambda k: k.reshape(k.shape[:2]))
        bias = self._bias(step)

        def write(add: str, mask: str, relu: bool) -> str:
            inputs = [self.blocked(step.inputs[0]), matrix, bias, add, mask]
            return self._op("PointConvolution", inputs, shape, transposed=is_flipped, relu=relu)

        self._offer(step.outputs[0], [_Term(write, rank=1)])

    def _image_convolution(self, step: Step) -> None:
        shape = self._blocked_shape(step.outputs[0])

        def write(add: str, mask: str, relu: bool) -> str:
            inputs = [self.plain(step.inputs[0]), *step.inputs[1:]]
            return self._op("ImageConvolution", inputs, shape, relu=relu)

        self._offer(step.outputs[0], [_Term(write, rank=0, adds=False, masks=frozenset())])

    def _image_gradient(self, step: Step) -> None:
        kernel, _ = self._kernel(step)
        inputs, shape = [self.blocked(step.inputs[0]), kernel], self._graph.shapes[step.outputs[0]]
        self._op("ImageGradient", inputs, shape, name=step.outputs[0])

    # --- pooling

    def _pool(self, step: Step) -> None:
        x, shape = self.blocked(step.inputs[0]), self._blocked_shape(step.outputs[0])
        pooling = _POOLINGS[step.node.op_type]
        convolution = self._convolutions.pop(x, None)
        if convolution is None:
            self._blocked[step.outputs[0]] = self._op("Pool", [x], shape, pooling=pooling)
            return
        from onnx import helper

        pooled = self._graph.unique_name("pooled")
        convolution.output.append(pooled)
        convolution.attribute.append(helper.make_attribute("pooling", pooling))
        self._graph.shapes[pooled] = shape
        self._blocked[step.outputs[0]] = pooled

    def _pool_gradient(self, step: Step) -> None:
        x, pooled = (self.blocked(name) for name in step.inputs[:2])
        shape = self._blocked_shape(step.outputs[0])
        pooling = _POOLINGS[step.kind.removesuffix("Gradient")]

        def write(add: str, mask: str, relu: bool) -> str:
            inputs = [x, pooled, self.blocked(step.inputs[2])]
            return self._op("PoolGradient", inputs, shape, pooling=pooling, relu=bool(mask))

        self._offer(step.outputs[0], [_Term(write, rank=0, adds=False, masks=frozenset([x]))])

    # --- moments

    def _gram(self, step: Step) -> None:
        features, mask = step.inputs
        channels = self._graph.shapes[features][1] or 1
        inputs = [self.blocked(features), mask and self.plain(mask)]
        product = self._op("Gram", inputs, [channels, channels], name=step.outputs[0], channels=channels)
        for mean in step.outputs[1:]:
            self._graph.nodes[-1].output.append(mean)
        shape = self._graph.shapes[inputs[0]]
        self._graph.scratch[product] = self._library.gram_scratch(shape, channels)

    def _gram_gradient(self, step: Step) -> None:
        features, symmetric, mean, mask = step.inputs
        x, shape = self.blocked(features), self._blocked_shape(step.outputs[0])

        def write(add: str, own_mask: str, relu: bool) -> str:
            bias = ""
            if mean:
                channels = self._graph.shape(symmetric)[0]
                missing = shape[0] * BLOCK - channels if shape[0] else 0
                bias = self._graph.reshape(self.plain(mean), [channels])
                bias = self._graph.pad(bias, [0], [missing]) if missing else bias
            inputs = [x, self.plain(symmetric), bias, add, own_mask, mask and self.plain(mask)]
            return self._op("PointConvolution", inputs, shape, relu=relu)

        self._offer(step.outputs[0], [_Term(write, rank=2)])

    # --- elementwise operators, and changes of shape

    def _relu_gradient(self, step: Step) -> None:
        y, cotangent = step.inputs
        self._blocked[step.outputs[0]] = self._sum(self._terms(cotangent), self.blocked(y))

    def _elementwise(self, step: Step) -> None:
        graph, node, output = self._graph, step.node, step.outputs[0]
        names = [name for name in step.inputs if name]
        if node.op_type == "Add" and not any(is_scalar(graph, name) for name in names):
            self._offer(output, [term for name in names for term in self._terms(name)])
            return
        if node.op_type == "Identity":
            self._blocked[output] = self.blocked(names[0])
            return
        if node.op_type == "Relu" and names[0] in self._waiting:
            (term,) = self._waiting.pop(names[0])
            assert isinstance(term, _Term)
            self._blocked[output] = term.write("", "", True)
            return
        inputs = [name if not name or is_scalar(graph, name) else self.blocked(name) for name in step.inputs]
        self._blocked[output] = self._onnx(node.op_type, inputs, self._blocked_shape(output), node)

    def _slice(self, step: Step) -> None:
        axes = [axis - 1 for axis in self._graph.constants[step.inputs[3]].tolist()]
        inputs = [self.blocked(step.inputs[0]), *step.inputs[1:3], self._integers(axes), *step.inputs[4:]]
        self._blocked[step.outputs[0]] = self._onnx("Slice", inputs, self._blocked_shape(step.outputs[0]))

    def _pad(self, step: Step) -> None:
        pads = self._graph.constants[step.inputs[1]].tolist()
        inputs = [self.blocked(step.inputs[0]), self._integers([0, *pads[2:4], 0, 0, *pads[6:], 0])]
        self._blocked[step.outputs[0]] = self._onnx("Pad", inputs, self._blocked_shape(step.outputs[0]))

    def _concat(self, step: Step) -> None:
        shape = self._blocked_shape(step.outputs[0])
        result = self._graph.op("Concat", *map(self.blocked, step.inputs), attributes={"axis": 0})
        self._graph.shapes[result] = shape
        self._blocked[step.outputs[0]] = result

    def _reduce(self, step: Step) -> None:
        """Reduce the rows of all blocks at once: a long axis, see `losses.distances.sum_all`."""
        count, height, width, _ = self._blocked_shape(step.inputs[0])
        assert count is not None
        assert height is not None
        assert width is not None
        rows = self._graph.reshape(self.blocked(step.inputs[0]), [count * height, width * BLOCK])
        self._graph.shapes[rows] = (count * height, width * BLOCK)
        inputs = [rows, self._integers([-1])]
        self._graph.op(step.node.op_type, *inputs, name=step.outputs[0], attributes={"keepdims": 0})
        self._graph.shapes[step.outputs[0]] = (count * height,)
