"""Sizes that a network computes from shapes, replaced by constants where they are the same for any image.

Exporters write a view as Shape, Gather, Div, Concat and Reshape. A size that depends on channels only is the
same for images of any size, but shape inference loses it on the way. It is found here by comparing two
images: one step of shape inference, the integers that follow from it, and the next step. A shuffle of
channels (Reshape, Transpose, Reshape, as in ShuffleNet, Zhang et al., 2018) becomes a Gather of channels,
which sees each position by itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..graphs.builder import IR_VERSION, OPSET
from ..graphs.network_graph import IMAGE, needed_nodes

if TYPE_CHECKING:
    import onnx

Integers = NDArray[Any]
Values = dict[str, Integers]
Shapes = dict[str, tuple[int, ...]]

# Heights and widths in pixels of the images that are compared: without common divisors or remainders.
_SIZES = ((251, 331), (322, 390))

# Operators that sizes are computed with. None of them takes the size of a new tensor from a value.
_ARITHMETIC = frozenset(
    (
        "Add",
        "Cast",
        "Concat",
        "Div",
        "Gather",
        "Mul",
        "Neg",
        "Reshape",
        "Slice",
        "Squeeze",
        "Sub",
        "Unsqueeze",
    )
)

# Most values of a tensor of sizes, and most steps of shape inference: a shuffle takes two.
_MAX_VALUES = 16
_MAX_STEPS = 200


def settle_sizes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model whose sizes are constants where they do not depend on the image's.

    A model without Shape nodes is returned as it is.

    Parameters
    ----------
    model : onnx.ModelProto
        Input ``image`` [1, 3, height, width], of the opset of our graphs, its constants folded. Not changed.
    """
    if not any(node.op_type == "Shape" for node in model.graph.node):
        return model
    (values, shapes), (other_values, other_shapes) = (_evaluate(model, size) for size in _SIZES)
    constants = {
        name: value
        for name, value in values.items()
        if name in other_values and np.array_equal(value, other_values[name])
    }
    return _rewritten(model, constants, (shapes, other_shapes))


def _evaluate(model: onnx.ModelProto, size: tuple[int, int]) -> tuple[Values, Shapes]:
    """Return the integers computed from shapes, and the shapes of tensors, for an image of one size."""
    from onnx import numpy_helper, shape_inference

    probe = type(model)()
    probe.CopyFrom(model)
    graph = probe.graph
    image = next(value for value in graph.input if value.name == IMAGE)
    for dim, length in zip(image.type.tensor_type.shape.dim, (1, 3, *size), strict=True):
        if not dim.dim_value:
            dim.dim_value = length
    for value in graph.output:  # may be declared for another size
        value.type.tensor_type.ClearField("shape")
    known: Values = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in graph.initializer
        if math.prod(tensor.dims) <= _MAX_VALUES
    }
    computed: Values = {}
    shapes: Shapes = {}
    for _ in range(_MAX_STEPS):
        try:
            inferred = shape_inference.infer_shapes(probe, data_prop=True)
        except (shape_inference.InferenceError, RuntimeError, ValueError):
            break  # `size_checks` says what does not fit
        shapes = _shapes(inferred)
        found = _integers(graph, shapes, known)
        if not found:
            break
        known |= found
        computed |= found
        kept = [node for node in graph.node if node.output[0] not in found]
        graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in found.items())
        del graph.node[:], graph.value_info[:]
        graph.node.extend(kept)
    return computed, shapes


def _shapes(model: onnx.ModelProto) -> Shapes:
    """Return the shapes whose lengths are all known."""
    shapes: Shapes = {}
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        tensor = value.type.tensor_type
        dims = tuple(dim.dim_value for dim in tensor.shape.dim)
        if tensor.HasField("shape") and min(dims, default=1) > 0:
            shapes[value.name] = dims
    return shapes


def _integers(graph: onnx.GraphProto, shapes: Shapes, known: Mapping[str, Integers]) -> Values:
    """Return the integers that follow from shapes and from those that are known."""
    found: Values = {}
    for node in graph.node:
        if node.op_type == "Shape" and node.input[0] in shapes:
            lengths = np.array(shapes[node.input[0]], np.int64)
            bounds = {attribute.name: attribute.i for attribute in node.attribute}
            found[node.output[0]] = lengths[bounds.get("start", 0) : bounds.get("end")]
        elif node.op_type in _ARITHMETIC and len(node.output) == 1:
            inputs = [found.get(name, known.get(name)) for name in node.input]
            small = [value for value in inputs if value is not None and value.dtype.kind in "iu"]
            if len(small) == len(inputs):
                value = _result(node, small)
                if value is not None and value.size <= _MAX_VALUES:
                    found[node.output[0]] = value
    return found


def _result(node: onnx.NodeProto, inputs: list[Integers]) -> Integers | None:
    """Return the integers that a node computes, by ONNX's reference evaluator."""
    from onnx import TensorProto, helper
    from onnx.reference import ReferenceEvaluator

    names = [f"x{i}" for i in range(len(inputs))]
    copy = helper.make_node(node.op_type, names, ["y"])
    copy.attribute.extend(node.attribute)
    declared = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in zip(names, inputs, strict=True)
    ]
    result = helper.make_tensor_value_info("y", TensorProto.INT64, None)
    graph = helper.make_graph([copy], "sizes", declared, [result])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    if node.op_type == "Div" and not inputs[1].all():
        return None
    try:
        (value,) = ReferenceEvaluator(model).run(None, dict(zip(names, inputs, strict=True)))
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError):
        return None
    array = np.asarray(value)
    return array if array.dtype.kind in "iu" else None


def _rewritten(
    model: onnx.ModelProto, constants: Mapping[str, Integers], shapes: tuple[Shapes, Shapes]
) -> onnx.ModelProto:
    """Return a copy with constants in place of the nodes that compute them, and shuffles as Gather."""
    from onnx import helper, numpy_helper

    settled = type(model)()
    settled.CopyFrom(model)
    graph = settled.graph
    makers = {name: node for node in graph.node for name in node.output}
    outputs = {value.name for value in graph.output}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        order = _shuffle(node, makers, shapes)
        if order is not None:
            source = makers[makers[node.input[0]].input[0]].input[0]
            name = f"{node.output[0]}/order"
            graph.initializer.append(numpy_helper.from_array(order, name))
            nodes.append(helper.make_node("Gather", [source, name], list(node.output), node.name, axis=1))
        elif node.output[0] not in constants or node.output[0] in outputs:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    kept = needed_nodes(settled, list(outputs))
    del graph.node[:]
    graph.node.extend(kept)
    read = {name for node in kept for name in node.input}
    graph.initializer.extend(
        numpy_helper.from_array(value, name) for name, value in constants.items() if name in read
    )
    return settled


def _shuffle(
    node: onnx.NodeProto, makers: Mapping[str, onnx.NodeProto], shapes: tuple[Shapes, Shapes]
) -> NDArray[np.int64] | None:
    """Return the order of channels that Reshape, Transpose and this Reshape make, if they are a shuffle."""
    transpose = makers.get(node.input[0]) if node.op_type == "Reshape" else None
    split = makers.get(transpose.input[0]) if transpose and transpose.op_type == "Transpose" else None
    if transpose is None or split is None or split.op_type != "Reshape":
        return None
    orders: list[NDArray[np.int64]] = []
    for each in shapes:
        whole, groups = each.get(split.input[0], ()), each.get(split.output[0], ())
        moved = list(transpose.attribute[0].ints) == [0, 2, 1, 3, 4] if transpose.attribute else False
        if len(whole) != 4 or each.get(node.output[0]) != whole or not moved:
            return None
        if len(groups) != 5 or groups[0] != whole[0] or groups[3:] != whole[2:]:
            return None
        if math.prod(groups[1:3]) != whole[1]:  # a Reshape that does not fit, which `size_checks` refuses
            return None
        orders.append(np.arange(whole[1], dtype=np.int64).reshape(groups[1:3]).T.ravel())
    return orders[0] if np.array_equal(orders[0], orders[1]) else None
