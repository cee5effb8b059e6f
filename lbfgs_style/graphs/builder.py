"""Writing ONNX graphs: nodes, constants and the shapes of tensors, without the boilerplate.

A `GraphBuilder` collects nodes; each call returns the name of the tensor that it makes, so that a formula
reads like a formula. Nothing here knows about losses or gradients.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import GraphError

if TYPE_CHECKING:
    import onnx

Shape = tuple[int | None, ...]

# Initialisers up to this many values (shapes, axes, factors) take part in shape inference; weights need not.
_SMALL = 64
# What the tensors of a graph taken over begin with.
_PREFIX = "net."
# What a model says of itself where onnxruntime is to leave all tensors in the plain layout.
_LAYOUT, _PLAIN = "lbfgs_style.graphs.cpu_layout", "plain"


class GraphBuilder:
    """Collects the nodes and constants of a graph.

    Parameters
    ----------
    dtype : numpy dtype, default float32
        Type of floating-point constants. float64 is for checks of gradients by the reference evaluator.

    Attributes
    ----------
    nodes : list of onnx.NodeProto
        In topological order.
    constants : dict of str to ndarray
        Initialisers by name.
    shapes : dict of str to tuple
        Known shapes, with None for a free length.
    turned : dict of str to str
        Constant that is another one's kernel turned around with its channels swapped → that other one.
    later : dict of str to str
        Tensor → another one that its readers had better wait for, but those that lead to it; see `layout`.
    origins : dict of str to str
        Tensor that `extend` renamed → its name in the graph that it was taken from.
    is_plain : bool
        Whether onnxruntime is to leave all tensors in the plain layout; see `layout`.
    """

    def __init__(self, dtype: type[np.floating] = np.float32) -> None:
        self.dtype = np.dtype(dtype)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, NDArray[np.generic]] = {}
        self.shapes: dict[str, Shape] = {}
        self.turned: dict[str, str] = {}
        self.later: dict[str, str] = {}
        self.origins: dict[str, str] = {}
        self.is_plain = False
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[str] = []
        self._counter = 0
        self._taken: set[str] = set()

    def fresh(self, stem: str) -> str:
        """Return a name that no tensor has."""
        while True:
            self._counter += 1
            name = f"{stem}_{self._counter}"
            if name not in self._taken:
                self._taken.add(name)
                return name

    def _claim(self, name: str) -> str:
        """Return a fixed name, or raise GraphError if another tensor has it."""
        if name in self._taken:
            raise GraphError(
                f"The graph needs the name {name!r} for a tensor of its own, but the network has a layer of "
                "that name: rename the layer."
            )
        self._taken.add(name)
        return name

    def input(self, name: str, shape: Sequence[int | str | None]) -> str:
        """Declare an input of the graph: floating point, lengths `shape` (a str names a free one)."""
        self._claim(name)
        self._inputs.append(self._value_info(name, list(shape)))
        self.shapes[name] = tuple(length if isinstance(length, int) else None for length in shape)
        return name

    def output(self, tensor: str, name: str | None = None) -> None:
        """Declare `tensor` an output, under another name if one is given."""
        if name is not None and name != tensor:
            self.op("Identity", tensor, name=self._claim(name))
            tensor = name
        self._outputs.append(tensor)

    def constant(self, value: object, *, name: str | None = None, integer: bool = False) -> str:
        """Add an initialiser; integers (shapes, axes) become int64, everything else the builder's dtype."""
        array = np.asarray(value, dtype=np.int64 if integer else self.dtype)
        name = self.fresh("constant") if name is None else self._claim(name)
        self.constants[name] = array
        self.shapes[name] = array.shape
        return name

    def op(
        self, op_type: str, *inputs: str, name: str | None = None, attributes: Mapping[str, Any] | None = None
    ) -> str:
        """Add a node with one output and return the output's name."""
        from onnx import helper

        output = name or self.fresh(op_type.lower())
        self.nodes.append(
            helper.make_node(op_type, list(inputs), [output], name=output, **(attributes or {}))
        )
        return output

    def reduce(
        self, op_type: str, tensor: str, axes: Sequence[int] | None = None, *, keepdims: bool = False
    ) -> str:
        """Add a ReduceSum, ReduceMean, … over `axes` (all if None)."""
        inputs = (tensor,) if axes is None else (tensor, self.constant(list(axes), integer=True))
        return self.op(op_type, *inputs, attributes={"keepdims": int(keepdims)})

    def reshape(self, tensor: str, shape: Sequence[int]) -> str:
        """Add a Reshape to constant lengths (-1 for what is left)."""
        return self.op("Reshape", tensor, self.constant(list(shape), integer=True))

    def slice(self, tensor: str, axis: int, start: int, stop: int, step: int = 1) -> str:
        """Add a Slice ``[start:stop:step]`` along one axis."""
        bounds = (self.constant([value], integer=True) for value in (start, stop, axis, step))
        return self.op("Slice", tensor, *bounds)

    def pad(self, tensor: str, before: Sequence[int], after: Sequence[int]) -> str:
        """Add zeros around `tensor`; one length for each axis."""
        return self.op("Pad", tensor, self.constant([*before, *after], integer=True))

    def total(self, tensors: Iterable[str]) -> str:
        """Add up tensors of one shape."""
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

        Rewrites edit the nodes of a builder in place, so the given ones are never shared. All tensors get a
        prefix that no name of ours has, for the other graph may call its tensors as it likes.

        Parameters
        ----------
        nodes : iterable of onnx.NodeProto
            In topological order; not changed.
        constants : mapping of str to ndarray
            The initialisers that they read.
        kept : iterable of str
            Tensors that keep their names: inputs that this builder has, and layers.
        """
        same = set(kept)
        prefix = _PREFIX
        while any(name.startswith(prefix) for name in same):
            prefix += "."

        def own(name: str) -> str:
            # An empty name stands for an optional input that is left out.
            return name if name in same or not name else prefix + name

        for node in nodes:
            copy = type(node)()
            copy.CopyFrom(node)
            copy.input[:] = map(own, node.input)
            copy.output[:] = map(own, node.output)
            copy.name = copy.output[0]  # onnxruntime wants the names of nodes to differ, too
            self.nodes.append(copy)
            self._taken.update(copy.output)
            self.origins |= {own(name): name for name in node.output}
        for name, array in constants.items():
            self.constant(array, name=own(name), integer=np.issubdtype(array.dtype, np.integer))
            self.origins[own(name)] = name

    def infer_shapes(self) -> None:
        """Fill `shapes` for all tensors so far; the lengths of weights are used, never their values."""
        from onnx import TensorProto, helper, shape_inference

        kind = helper.np_dtype_to_tensor_dtype(self.dtype)
        small = {n: a for n, a in self.constants.items() if a.size <= _SMALL}
        declared = [
            helper.make_tensor_value_info(
                name, TensorProto.INT64 if array.dtype == np.int64 else kind, list(array.shape)
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
        """Return the lengths of `tensor`, all of them known, or raise GraphError."""
        shape = self.shapes.get(tensor)
        if shape is None:
            self.infer_shapes()
            shape = self.shapes.get(tensor)
        if shape is None or None in shape:
            raise GraphError(
                f"The shape of the tensor {tensor!r} is not known, got {shape}: "
                "build the graph for one picture size."
            )
        return tuple(length for length in shape if length is not None)

    def model(self) -> onnx.ModelProto:
        """Return the graph as a model; constants that no node reads are left out."""
        read = {name for node in self.nodes for name in node.input}
        used = {name: array for name, array in self.constants.items() if name in read}
        if any(name not in self.shapes for name in self._outputs):
            self.infer_shapes()
        outputs = [self._value_info(name, self.shapes.get(name)) for name in self._outputs]
        model = _model(self.nodes, self._inputs, outputs, used)
        if self.is_plain:
            model.metadata_props.add(key=_LAYOUT, value=_PLAIN)
        return model

    def _value_info(self, name: str, shape: Sequence[int | str | None] | None) -> onnx.ValueInfoProto:
        from onnx import helper

        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(self.dtype), shape)


def is_plain(model: onnx.ModelProto) -> bool:
    """Return whether onnxruntime is to leave all tensors of a model in the plain layout."""
    return any(prop.key == _LAYOUT and prop.value == _PLAIN for prop in model.metadata_props)


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


# Pinned: the newest defaults of the onnx package are newer than what onnxruntime loads.
OPSET = 18

IR_VERSION = 10
