"""Build ONNX graphs: nodes, constants and the shapes of tensors, without the boilerplate.

A `GraphBuilder` collects nodes. Each call returns the name of the tensor that its node computes, so that
formulas can be nested. Nothing here knows about losses or gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import GraphError

if TYPE_CHECKING:
    import onnx

Shape = tuple[int | None, ...]

# Operator set and format version of all graphs. Pinned: the defaults of the newest onnx package are newer
# than what onnxruntime loads.
OPSET = 18
IR_VERSION = 10

# Initialisers of up to this many values (shapes, axes, factors) take part in shape inference with their
# values, larger ones (weights) with their shape alone.
_SMALL = 64

# Prefix of tensors that are copied from another graph.
_PREFIX = "net."

# Metadata entry of a model whose tensors onnxruntime is to leave in the plain layout.
_LAYOUT_KEY, _PLAIN = "lbfgs_style.graphs.cpu_layout", "plain"


@dataclass(frozen=True, slots=True)
class Composite:
    """What several nodes compute together, for processors that have one operator for it.

    Attributes
    ----------
    kind : str
        Name of the computation, which its writer and a rewrite of the graph share.
    inputs : tuple of str
        The tensors it depends on; an empty name stands for an optional one that is left out.
    outputs : tuple of str
        The tensors it computes.
    """

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class GraphBuilder:
    """Collects the nodes and constants of a graph.

    Parameters
    ----------
    dtype : numpy dtype, default float32
        Type of floating-point tensors. float64 is for gradient checks with ONNX's reference evaluator.

    Attributes
    ----------
    nodes : list of onnx.NodeProto
        In topological order.
    constants : dict of str to ndarray
        Initialisers by name.
    shapes : dict of str to tuple
        Known shapes, with None for a length that is free.
    flipped : dict of str to str
        Flipped kernel, with inputs and outputs swapped → the kernel that it was made of.
    wait_for : dict of str to str
        Tensor → another tensor that should be computed before the nodes that read the first one, except
        where it depends on them. Only a hint, see `cpu_layout`.
    composites : dict of str to Composite
        Tensor → what its nodes compute together, where that is known, see `native.steps`.
    scratch : dict of str to int
        Tensor → bytes of memory that the node which computes it needs while it runs.
    original_names : dict of str to str
        Tensor that `extend` copied → its name in the original graph.
    is_plain : bool
        Whether onnxruntime is to leave all tensors in the plain layout, see `cpu_layout`.
    """

    def __init__(self, dtype: type[np.floating] = np.float32) -> None:
        self.dtype = np.dtype(dtype)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, NDArray[np.generic]] = {}
        self.shapes: dict[str, Shape] = {}
        self.flipped: dict[str, str] = {}
        self.wait_for: dict[str, str] = {}
        self.composites: dict[str, Composite] = {}
        self.scratch: dict[str, int] = {}
        self.original_names: dict[str, str] = {}
        self.is_plain = False
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[str] = []
        self._counter = 0
        self._taken: set[str] = set()

    @property
    def outputs(self) -> Sequence[str]:
        """The outputs of the graph."""
        return self._outputs

    def composite(self, kind: str, inputs: Sequence[str | None], outputs: Sequence[str | None]) -> None:
        """Note what the nodes that compute `outputs` from `inputs` do together."""
        names = tuple(name for name in outputs if name is not None)
        whole = Composite(kind, tuple(name or "" for name in inputs), names)
        self.composites |= dict.fromkeys(names, whole)

    def unique_name(self, stem: str) -> str:
        """Return a name that no tensor has, and reserve it."""
        while True:
            self._counter += 1
            name = f"{stem}_{self._counter}"
            if name not in self._taken:
                self._taken.add(name)
                return name

    def _claim(self, name: str) -> str:
        """Reserve `name` and return it, or raise GraphError if another tensor has it."""
        if name in self._taken:
            raise GraphError(
                f"The graph needs the name {name!r} for a tensor of its own, but the network has a layer of "
                "that name: rename the layer."
            )
        self._taken.add(name)
        return name

    def input(self, name: str, shape: Sequence[int | str | None]) -> str:
        """Declare an input of the graph, of `dtype`; in `shape` a str names a free length."""
        self._claim(name)
        self._inputs.append(self._value_info(name, list(shape)))
        self.shapes[name] = tuple(length if isinstance(length, int) else None for length in shape)
        return name

    def output(self, tensor: str, name: str | None = None) -> None:
        """Declare `tensor` an output of the graph, under another name if `name` is not None."""
        if name is not None and name != tensor:
            self.op("Identity", tensor, name=self._claim(name))
            tensor = name
        self._outputs.append(tensor)

    def constant(self, value: object, *, name: str | None = None, integer: bool = False) -> str:
        """Add an initialiser, of int64 if `integer` is true, else of the builder's dtype."""
        array = np.asarray(value, dtype=np.int64 if integer else self.dtype)
        name = self.unique_name("constant") if name is None else self._claim(name)
        self.constants[name] = array
        self.shapes[name] = array.shape
        return name

    def op(
        self, op_type: str, *inputs: str, name: str | None = None, attributes: Mapping[str, Any] | None = None
    ) -> str:
        """Append a node with one output and return the name of the output."""
        from onnx import helper

        output = name or self.unique_name(op_type.lower())
        self.nodes.append(
            helper.make_node(op_type, list(inputs), [output], name=output, **(attributes or {}))
        )
        return output

    def reduce(
        self, op_type: str, tensor: str, axes: Sequence[int] | None = None, *, keepdims: bool = False
    ) -> str:
        """Append a ReduceSum, ReduceMean, … over `axes`, or over all axes if None."""
        inputs = (tensor,) if axes is None else (tensor, self.constant(list(axes), integer=True))
        return self.op(op_type, *inputs, attributes={"keepdims": int(keepdims)})

    def reshape(self, tensor: str, shape: Sequence[int]) -> str:
        """Append a Reshape to constant lengths; -1 stands for the length that follows from the others."""
        return self.op("Reshape", tensor, self.constant(list(shape), integer=True))

    def slice(self, tensor: str, axis: int, start: int, stop: int, step: int = 1) -> str:
        """Append a Slice ``[start:stop:step]`` along one axis."""
        bounds = (self.constant([value], integer=True) for value in (start, stop, axis, step))
        return self.op("Slice", tensor, *bounds)

    def pad(self, tensor: str, before: Sequence[int], after: Sequence[int]) -> str:
        """Append a Pad with zeros; `before` and `after` have one length for each axis."""
        return self.op("Pad", tensor, self.constant([*before, *after], integer=True))

    def total(self, tensors: Iterable[str]) -> str:
        """Append nodes for the sum of tensors of one shape."""
        names = list(tensors)
        result = names[0]
        for tensor in names[1:]:
            result = self.op("Add", result, tensor)
        return result

    def extend(
        self,
        nodes: Iterable[onnx.NodeProto],
        constants: Mapping[str, NDArray[np.generic]],
        kept: Iterable[str],
    ) -> None:
        """Append copies of the nodes and constants of another graph.

        The copies can be edited in place. Their tensors get a prefix, so that no name in the other graph can
        clash with one in this graph.

        Parameters
        ----------
        nodes : iterable of onnx.NodeProto
            In topological order; not changed.
        constants : mapping of str to ndarray
            The initialisers that the nodes read.
        kept : iterable of str
            Tensors that keep their names: inputs of this builder, and layers.
        """
        same = set(kept)
        prefix = _PREFIX
        while any(name.startswith(prefix) for name in same):
            prefix += "."

        def prefixed(name: str) -> str:
            # An empty name stands for an optional input that is left out.
            return name if name in same or not name else prefix + name

        scales: set[str] = set()
        for node in nodes:
            if node.op_type == "Resize":
                scales.update(node.input[1:3])
            copy = type(node)()
            copy.CopyFrom(node)
            copy.input[:] = map(prefixed, node.input)
            copy.output[:] = map(prefixed, node.output)
            copy.name = copy.output[0]  # onnxruntime requires unique names of nodes, too
            self.nodes.append(copy)
            self._taken.update(copy.output)
            self.original_names |= {prefixed(name): name for name in node.output}
        for name, array in constants.items():
            new = self.constant(array, name=prefixed(name), integer=np.issubdtype(array.dtype, np.integer))
            if array.dtype == np.bool_ or name in scales:  # a condition of Where; Resize takes float32 alone
                self.constants[new] = np.asarray(array)
            self.original_names[prefixed(name)] = name

    def label(self, node: onnx.NodeProto) -> str:
        """Return what messages call a node: its operator, and its output's name in the original graph."""
        output = node.output[0]
        return f"the {node.op_type} node {self.original_names.get(output, output)!r}"

    def infer_shapes(self) -> None:
        """Infer the shapes of all tensors so far, from the shapes of weights but not from their values."""
        from onnx import helper, shape_inference

        small = {n: a for n, a in self.constants.items() if a.size <= _SMALL}
        declared = [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(array.dtype), list(array.shape)
            )
            for name, array in self.constants.items()
            if name not in small
        ]
        skeleton = _model(self.nodes, [*self._inputs, *declared], [], small)
        inferred = shape_inference.infer_shapes(skeleton, strict_mode=True, data_prop=True)
        for value in inferred.graph.value_info:
            dims = value.type.tensor_type.shape.dim
            self.shapes[value.name] = tuple(d.dim_value if d.HasField("dim_value") else None for d in dims)

    def shape(self, tensor: str) -> tuple[int, ...]:
        """Return the shape of `tensor`, or raise GraphError if a length is unknown."""
        shape = self.shapes.get(tensor)
        if shape is None:
            self.infer_shapes()
            shape = self.shapes.get(tensor)
        if shape is None or None in shape:
            raise GraphError(
                f"The shape of the tensor {tensor!r} is not known, got {shape}: "
                "build the graph for one image size."
            )
        return tuple(length for length in shape if length is not None)

    def model(self) -> onnx.ModelProto:
        """Return the graph as a model, without the constants that no node reads."""
        read = {name for node in self.nodes for name in node.input}
        used = {name: array for name, array in self.constants.items() if name in read}
        if any(name not in self.shapes for name in self._outputs):
            self.infer_shapes()
        outputs = [self._value_info(name, self.shapes.get(name)) for name in self._outputs]
        model = _model(self.nodes, self._inputs, outputs, used)
        if self.is_plain:
            model.metadata_props.add(key=_LAYOUT_KEY, value=_PLAIN)
        return model

    def _value_info(self, name: str, shape: Sequence[int | str | None] | None) -> onnx.ValueInfoProto:
        from onnx import helper

        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(self.dtype), shape)


Rewrite = Callable[[GraphBuilder], None]
"""Rewrites a finished graph into the form that a processor runs best."""


def is_plain(model: onnx.ModelProto) -> bool:
    """Return whether onnxruntime is to leave all tensors of a model in the plain layout."""
    return any(prop.key == _LAYOUT_KEY and prop.value == _PLAIN for prop in model.metadata_props)


def _model(
    nodes: Iterable[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    constants: Mapping[str, NDArray[np.generic]],
) -> onnx.ModelProto:
    from onnx import helper, numpy_helper

    initializers = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(list(nodes), "lbfgs_style", list(inputs), list(outputs), initializers)
    domains = {"": OPSET, **{node.domain: 1 for node in graph.node if node.domain}}
    opsets = [helper.make_opsetid(domain, version) for domain, version in domains.items()]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
