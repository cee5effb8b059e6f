"""Write the nodes of a graph whose features are in blocks of 16 channels.

Convolutions and the gradient of a Gram matrix can add another tensor to their result, and set it to 0 where a
ReLU did. So their nodes are not written in their own step but in that of the sum, or of the gradient of the
ReLU, that is their only reader. In a sum, the gradient of a Gram matrix is written last, see
`Emission._gram_gradient`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..graphs.builder import GraphBuilder
from .library import Library
from .packing import BLOCK, blocks, input_name, packed_shape
from .steps import Step, find_readers, is_scalar
from .writer import Term, Writer

if TYPE_CHECKING:
    import onnx

# Values of the attribute `pooling`, as in source/kernels.hpp.
_POOLINGS = {"MaxPool": 1, "AveragePool": 2}


class Emission(Writer):
    """Replaces the nodes of a graph by those of its steps, in blocks where that is possible.

    Parameters
    ----------
    graph : GraphBuilder
        Its nodes are replaced; gets inputs, constants and shapes.
    steps : sequence of Step
        What the graph computes.
    in_blocks : set of str
        Tensors that their steps compute in blocks.
    library : Library
        Asked for the scratch memory that operators need.
    threads : int
        Threads of the session.
    """

    def __init__(
        self, graph: GraphBuilder, steps: Sequence[Step], in_blocks: set[str], library: Library, threads: int
    ) -> None:
        super().__init__(graph, in_blocks, library, threads)
        self._steps = steps
        self._convolutions: dict[str, onnx.NodeProto] = {}  # result in blocks → its node
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
            "PointPair": self._point_pair,
            "PointPairGradient": self._point_pair_gradient,
            "Pool": self._pool,
            "Reduce": self._reduce,
            "ReluGradient": self._relu_gradient,
            "Slice": self._slice,
        }
        self.graph.nodes = []
        for step in self._steps:
            rules.get(step.kind, self._copy)(step)
        for name in self.graph.outputs:
            self.plain(name)

    def _copy(self, step: Step) -> None:
        """Write a node as it was."""
        node = type(step.node)()
        node.CopyFrom(step.node)
        node.input[:] = [self.plain(name) for name in node.input]
        self.graph.nodes.append(node)

    def _offer(self, tensor: str, terms: list[str | Term]) -> None:
        """Leave a sum to its only reader if that can write it, or write it."""
        match self._readers[tensor]:
            case ["Add" | "ReluGradient"]:
                can_wait = True
            case ["Relu"]:
                can_wait = len(terms) == 1
            case _:
                can_wait = False
        if can_wait:
            self.waiting[tensor] = terms
        else:
            self.names[tensor] = self.sum(terms, "")

    # --- convolutions

    def _kernel(self, step: Step) -> tuple[str, bool]:
        """Return the kernel of a convolution before any flipping, and whether it is flipped."""
        kernel = step.inputs[1]
        return self.graph.flipped.get(kernel, kernel), kernel in self.graph.flipped

    def _bias(self, step: Step) -> str:
        """Return the bias of a convolution, with zeros up to whole blocks; "" without a bias."""
        return self._padded(step.inputs[2]) if len(step.inputs) > 2 else ""

    def _padded(self, bias: str) -> str:
        """Return a bias with zeros up to whole blocks; "" for ""."""

        def padded(values: np.ndarray) -> np.ndarray:
            return np.pad(values, (0, blocks(len(values)) * BLOCK - len(values)))

        return self.constant(bias, "bias", padded) if bias else ""

    def _matrix(self, kernel: str) -> str:
        """Return the kernel of a 1×1 convolution as a matrix [out,in]."""
        return self.constant(kernel, "matrix", lambda k: k.reshape(k.shape[:2]))

    def _convolution(self, step: Step) -> None:
        graph, output = self.graph, step.outputs[0]
        kernel, is_flipped = self._kernel(step)
        name = input_name(graph.original_names.get(kernel, kernel))
        if name not in self._inputs:
            self._inputs.add(graph.input(name, packed_shape(*graph.constants[kernel].shape[:2])))
        shape = self.blocked_shape(output)
        bias = self._bias(step)

        def write(add: str, mask: str, relu: bool) -> str:
            inputs = [self.blocked(step.inputs[0]), name, bias, add, mask]
            result = self.operator("Convolution", inputs, shape, flipped=is_flipped, relu=relu)
            self._convolutions[result] = graph.nodes[-1]
            return result

        self._offer(output, [Term(write, rank=1)])

    def _point_convolution(self, step: Step) -> None:
        kernel, is_flipped = self._kernel(step)
        shape = self.blocked_shape(step.outputs[0])
        matrix = self._matrix(kernel)
        bias = self._bias(step)

        def write(add: str, mask: str, relu: bool) -> str:
            inputs = [self.blocked(step.inputs[0]), matrix, bias, add, mask]
            return self.operator("PointConvolution", inputs, shape, transposed=is_flipped, relu=relu)

        self._offer(step.outputs[0], [Term(write, rank=1)])

    def _point_pair(self, step: Step) -> None:
        x, first, bias, second, after = step.inputs
        parts = [self._matrix(first), self._padded(bias), self._matrix(second), "", self._padded(after)]
        shape = self.blocked_shape(step.outputs[0])

        def write(add: str, mask: str, relu: bool) -> str:
            return self.operator("PointPair", [self.blocked(x), *parts, add, mask], shape, relu=relu)

        self._offer(step.outputs[0], [Term(write, rank=1)])

    def _point_pair_gradient(self, step: Step) -> None:
        x, first, bias, second, cotangent = step.inputs
        parts = [self._matrix(first), self._padded(bias), self._matrix(second)]
        shape = self.blocked_shape(step.outputs[0])

        def write(add: str, mask: str, relu: bool) -> str:
            assert not relu  # nothing but sums and masks reads a gradient
            inputs = [self.late(x), *parts, self.blocked(cotangent), "", add, mask]
            return self.operator("PointPair", inputs, shape)

        self._offer(step.outputs[0], [Term(write, rank=1)])

    def _image_convolution(self, step: Step) -> None:
        shape = self.blocked_shape(step.outputs[0])

        def write(add: str, mask: str, relu: bool) -> str:
            inputs = [self.plain(step.inputs[0]), *step.inputs[1:]]
            result = self.operator("ImageConvolution", inputs, shape, relu=relu)
            self.first[result] = self.graph.nodes[-1]
            return result

        self._offer(step.outputs[0], [Term(write, rank=0, adds=False, masks=frozenset())])

    def _image_gradient(self, step: Step) -> None:
        kernel, _ = self._kernel(step)
        inputs, shape = [self.blocked(step.inputs[0]), kernel], self.graph.shapes[step.outputs[0]]
        self.operator("ImageGradient", inputs, shape, name=step.outputs[0])

    # --- pooling

    def _pool(self, step: Step) -> None:
        x, shape = self.blocked(step.inputs[0]), self.blocked_shape(step.outputs[0])
        pooling = _POOLINGS[step.node.op_type]
        convolution = self._convolutions.pop(x, None)
        if convolution is None:
            self.names[step.outputs[0]] = self.operator("Pool", [x], shape, pooling=pooling)
            return
        from onnx import helper

        pooled = self.graph.unique_name("pooled")
        convolution.output.append(pooled)
        convolution.attribute.append(helper.make_attribute("pooling", pooling))
        self.graph.shapes[pooled] = shape
        self.names[step.outputs[0]] = pooled

    def _pool_gradient(self, step: Step) -> None:
        x = self.late(step.inputs[0])
        shape = self.blocked_shape(step.outputs[0])
        pooling = _POOLINGS[step.kind.removesuffix("Gradient")]

        def write(add: str, mask: str, relu: bool) -> str:
            assert not relu  # nothing but sums and masks reads a gradient
            inputs = [x, self.blocked(step.inputs[1])]
            return self.operator("PoolGradient", inputs, shape, pooling=pooling, relu=bool(mask))

        self._offer(step.outputs[0], [Term(write, rank=0, adds=False, masks=frozenset([x]))])

    # --- moments

    def _gram(self, step: Step) -> None:
        features, mask = step.inputs
        channels = self.graph.shapes[features][1] or 1
        inputs = [self.blocked(features), mask and self.plain(mask)]
        self.operator("Gram", inputs, [channels, channels], name=step.outputs[0], channels=channels)
        for mean in step.outputs[1:]:
            self.graph.nodes[-1].output.append(mean)

    def _gram_gradient(self, step: Step) -> None:
        features, derivative, mean, mask = step.inputs
        x, shape = self.late(features), self.blocked_shape(step.outputs[0])

        def write(add: str, own_mask: str, relu: bool) -> str:
            # onnxruntime runs what is written last first, see `graphs.cpu_layout`. Written here, after the
            # tensor to add, the matrix is computed before that tensor, and so is the Gram matrix that it
            # depends on: the features need not be kept until then.
            matrix = self.plain(derivative)
            transposed = self.graph.op("Transpose", matrix, attributes={"perm": [1, 0]})
            symmetric = self.graph.op("Add", matrix, transposed)
            bias = ""
            if mean:
                channels = self.graph.shape(derivative)[0]
                missing = shape[0] * BLOCK - channels if shape[0] else 0
                bias = self.graph.reshape(self.plain(mean), [channels])
                bias = self.graph.pad(bias, [0], [missing]) if missing else bias
            inputs = [x, symmetric, bias, add, own_mask, mask and self.plain(mask)]
            return self.operator("PointConvolution", inputs, shape, relu=relu)

        self._offer(step.outputs[0], [Term(write, rank=2)])

    # --- elementwise operators, and changes of shape

    def _relu_gradient(self, step: Step) -> None:
        y, cotangent = step.inputs
        self.names[step.outputs[0]] = self.sum(self.terms(cotangent), self.late(y))

    def _elementwise(self, step: Step) -> None:
        graph, node, output = self.graph, step.node, step.outputs[0]
        names = [name for name in step.inputs if name]
        if node.op_type == "Add" and not any(is_scalar(graph, name) for name in names):
            self._offer(output, [term for name in names for term in self.terms(name)])
            return
        if node.op_type == "Identity":
            self.names[output] = self.blocked(names[0])
            return
        if node.op_type == "Relu" and names[0] in self.waiting:
            (term,) = self.waiting.pop(names[0])
            assert isinstance(term, Term)
            self.names[output] = term.write("", "", True)
            return
        inputs = [name if not name or is_scalar(graph, name) else self.blocked(name) for name in step.inputs]
        self.names[output] = self.onnx_operator(node.op_type, inputs, self.blocked_shape(output), node)

    def _slice(self, step: Step) -> None:
        axes = [axis - 1 for axis in self.graph.constants[step.inputs[3]].tolist()]
        inputs = [self.blocked(step.inputs[0]), *step.inputs[1:3], self.integers(axes), *step.inputs[4:]]
        self.names[step.outputs[0]] = self.onnx_operator("Slice", inputs, self.blocked_shape(step.outputs[0]))

    def _pad(self, step: Step) -> None:
        pads = self.graph.constants[step.inputs[1]].tolist()
        inputs = [self.blocked(step.inputs[0]), self.integers([0, *pads[2:4], 0, 0, *pads[6:], 0])]
        self.names[step.outputs[0]] = self.onnx_operator("Pad", inputs, self.blocked_shape(step.outputs[0]))

    def _concat(self, step: Step) -> None:
        shape = self.blocked_shape(step.outputs[0])
        result = self.graph.op("Concat", *map(self.blocked, step.inputs), attributes={"axis": 0})
        self.graph.shapes[result] = shape
        self.names[step.outputs[0]] = result

    def _reduce(self, step: Step) -> None:
        """Reduce the rows of all blocks at once: a long axis, see `distances.sum_all`."""
        count, height, width, _ = self.blocked_shape(step.inputs[0])
        assert count is not None
        assert height is not None
        assert width is not None
        rows = self.graph.reshape(self.blocked(step.inputs[0]), [count * height, width * BLOCK])
        self.graph.shapes[rows] = (count * height, width * BLOCK)
        inputs = [rows, self.integers([-1])]
        self.graph.op(step.node.op_type, *inputs, name=step.outputs[0], attributes={"keepdims": 0})
        self.graph.shapes[step.outputs[0]] = (count * height,)
