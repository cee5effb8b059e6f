"""Check an untrusted ONNX model before anything of it is run.

Operators, kinds of attributes and types of weights are refused unless they are on a list. So a model that
passes consists of plain nodes and of the numbers in its own file. `size_checks` checks the sizes of its
tensors.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from ..errors import NetworkError, shown
from ..graphs.autodiff import RULES
from . import lowering

if TYPE_CHECKING:
    import onnx

_DEFAULT_DOMAINS = ("", "ai.onnx")

# Operators that a network may have: those that can be differentiated, those that are lowered to such, and
# those of constants and computed sizes. None of them runs other graphs, draws random numbers, reads files, or
# makes a tensor of a size that is an attribute.
OPERATORS = frozenset(RULES) | lowering.NAMES | {"Constant", "Shape"}

# Limits: nodes of a graph, characters of a layer's name, axes of a tensor, values of a window attribute,
# groups of channels.
_MAX_NODES = 10_000
_MAX_NAME = 200
_MAX_DIMS = 8
_MAX_WINDOW = 1024
_MAX_GROUPS = 2**16

# Attributes that describe the window of an operator.
_WINDOW_ATTRIBUTES = ("kernel_shape", "strides", "dilations", "pads", "output_padding", "output_shape")

# Names of tensors in the graphs that are made of a network. Only its layers may clash with them: all its
# other tensors get a prefix there, see `GraphBuilder.extend`.
_RESERVED = re.compile(
    "loss|terms|weights|region_weights|tile|own_factor|gradient_factor|d_image|around_image|(?:own_|rest_|d_)*(?:tv|range)"
)
_RESERVED_STEMS = "features|gram|mean|root|mask|distance|energy|d"
_RESERVED_PREFIXES = ("around_", "native_", "winograd_")


def check_safety(model: onnx.ModelProto, label: str) -> None:
    """Refuse a model that uses other files, other operators, or more than plain tensors.

    Parameters
    ----------
    model : onnx.ModelProto
        The model.
    label : str
        What messages call it.

    Raises
    ------
    NetworkError
        For external data (which could read any file), functions, subgraphs, training graphs, sparse or
        string tensors, weights that are missing, of the wrong length or not finite, inputs or outputs
        without a shape, other operators than `OPERATORS` or other domains (which could call custom
        libraries), and for any model that the ONNX checker refuses.
    """
    import onnx

    graph = model.graph
    if not graph.node:
        raise NetworkError(f"{label!r} is not an ONNX model with a graph: expected a feature network.")
    if len(graph.node) > _MAX_NODES:
        raise NetworkError(
            f"The network {label!r} has {len(graph.node):,} nodes: expected at most {_MAX_NODES:,}."
        )
    if model.functions or graph.sparse_initializer or model.training_info:
        raise NetworkError(
            f"The network {label!r} has model-local functions, sparse weights or training graphs: expected "
            "plain nodes and dense weights; export it again without them."
        )
    for node in graph.node:
        _check_node(node, label)
    constants = [a.t for node in graph.node for a in node.attribute if a.type == onnx.AttributeProto.TENSOR]
    for tensor in (*graph.initializer, *constants):
        _check_tensor(tensor, label)
    for value in (*graph.input, *graph.output):
        if value.type.HasField("tensor_type") and not value.type.tensor_type.HasField("shape"):
            raise NetworkError(
                f"The network {label!r} does not declare the shape of {shown(value.name)}: expected "
                "[1, channels, height, width], with lengths or names of free ones; export it again with them."
            )
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, RuntimeError, ValueError) as error:
        raise NetworkError(f"The network {label!r} is not valid ONNX: {one_line(error)}") from error


def one_line(error: Exception) -> str:
    """Return the first line of a library's message, without control characters."""
    lines = str(error).strip().splitlines()
    return shown(lines[0], 200)[1:-1] if lines else "no reason given"


def _check_node(node: onnx.NodeProto, label: str) -> None:
    import onnx

    if node.domain not in _DEFAULT_DOMAINS or node.op_type not in OPERATORS:
        operator = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        raise NetworkError(
            f"The network {label!r} uses the operator {shown(operator)}: expected standard operators "
            f"for feature networks, which are {', '.join(sorted(OPERATORS))}."
        )
    kinds = onnx.AttributeProto
    plain = (kinds.FLOAT, kinds.INT, kinds.STRING, kinds.FLOATS, kinds.INTS)
    for attribute in node.attribute:
        is_tensor = attribute.type == kinds.TENSOR and node.op_type == "Constant"
        if (attribute.type not in plain and not is_tensor) or attribute.ref_attr_name:
            raise NetworkError(
                f"The attribute {shown(attribute.name)} of a {node.op_type} node of the network {label!r} is "
                "a graph, a sparse tensor or of another kind that is not allowed: expected numbers, strings, "
                "and tensors in Constant nodes."
            )
        if attribute.name in _WINDOW_ATTRIBUTES and node.op_type != "Constant":
            least = 0 if attribute.name in ("pads", "output_padding") else 1
            if len(attribute.ints) > 2 * _MAX_DIMS or not all(
                least <= value <= _MAX_WINDOW for value in attribute.ints
            ):
                raise NetworkError(
                    f"The attribute {attribute.name!r} of a {node.op_type} node of the network {label!r} is "
                    f"out of range: expected numbers from {least} to {_MAX_WINDOW}, got "
                    f"{shown(str(list(attribute.ints[:4])))[1:-1]}."
                )
        if attribute.name in ("group", "num_groups") and not 0 < attribute.i <= _MAX_GROUPS:
            raise NetworkError(
                f"A {node.op_type} node of the network {label!r} has {attribute.i} groups: expected 1 to "
                f"{_MAX_GROUPS}."
            )


def _check_tensor(tensor: onnx.TensorProto, label: str) -> None:
    """Refuse weights that are in another file, of an unexpected type, shape or length, or not finite."""
    import onnx
    from onnx import helper, numpy_helper

    def refuse(problem: str, remedy: str) -> NetworkError:
        return NetworkError(f"The network {label!r} keeps {shown(tensor.name)} {problem}: expected {remedy}.")

    if tensor.external_data or tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise refuse(
            "in another file", "all weights inside the .onnx file; save it again without external data"
        )
    kinds = onnx.TensorProto
    if tensor.data_type not in (
        kinds.FLOAT,
        kinds.DOUBLE,
        kinds.FLOAT16,
        kinds.INT32,
        kinds.INT64,
        kinds.BOOL,
    ):
        names = {number: name.lower() for name, number in kinds.DataType.items()}
        raise refuse(
            f"as {names.get(tensor.data_type, 'an unknown type')}",
            "float, float16, double, int32, int64 or bool",
        )
    dims = list(tensor.dims)
    count = math.prod(dims) if len(dims) <= _MAX_DIMS else -1
    # An empty list of axes makes sense; empty weights do not.
    if min(dims, default=1) < 0 or count < 0 or (count == 0 and tensor.data_type != kinds.INT64):
        raise refuse(
            f"in the shape {shown(str(dims[: _MAX_DIMS + 1]))[1:-1]}", "positive lengths of at most 8 axes"
        )
    size = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type)).itemsize
    if tensor.HasField("raw_data"):
        actual = len(tensor.raw_data) / size
    else:
        actual = len(getattr(tensor, helper.tensor_dtype_to_field(tensor.data_type)))
    if actual != count:
        raise refuse(f"with {actual:g} values for {count:,}", "as many as its shape says; export it again")
    # One bound of a Clip may be infinite.
    if count > 1 and not np.isfinite(numpy_helper.to_array(tensor)).all():
        raise refuse("with values that are infinite or not a number", "finite weights; export it again")


def check_interface(model: onnx.ModelProto, label: str) -> tuple[str, ...]:
    """Check input and outputs of a feature network and return the names of its layers.

    Parameters
    ----------
    model : onnx.ModelProto
        A model that passed `check_safety`.
    label : str
        What messages call it.

    Returns
    -------
    tuple of str
        The layers: the outputs of four dimensions, in the order of the file. Others, such as the logits of a
        classifier, have no positions.

    Raises
    ------
    NetworkError
        If the input is not ``image``, float32 [1, 3, height, width] with free height and width; if an output
        is not computed or not float32, or none has four dimensions; if a layer's name cannot be printed, or
        is reserved.
    """
    import onnx

    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    if [value.name for value in inputs] != ["image"]:
        raise NetworkError(
            f"The network {label!r} must have one input named 'image' (float32 [1, 3, height, width]), got "
            f"{', '.join(shown(value.name) for value in inputs[:4]) or 'none'}."
        )
    tensor = inputs[0].type.tensor_type
    dims = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
    fits = len(dims) == 4 and dims[0] in (1, None) and dims[1:] == [3, None, None]
    if tensor.elem_type != onnx.TensorProto.FLOAT or not fits:
        shape = ", ".join("free" if size is None else str(size) for size in dims[:_MAX_DIMS])
        kinds = {number: name.lower() for name, number in onnx.TensorProto.DataType.items()}
        raise NetworkError(
            f"The input 'image' of the network {label!r} must be float [1, 3, free, free] (height and width "
            f"as dynamic axes), got {kinds.get(tensor.elem_type, 'an unknown type')} [{shape}]."
        )
    made = {name for node in model.graph.node for name in node.output}
    outputs = tuple(value.name for value in model.graph.output)
    for value in model.graph.output:
        if value.name not in made or value.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
            raise NetworkError(
                f"The output {shown(value.name)} of the network {label!r} must be a float32 tensor computed "
                "by a node."
            )
    if not outputs or len(set(outputs)) != len(outputs):
        raise NetworkError(
            f"The network {label!r} must have outputs with distinct names, got "
            f"{', '.join(map(shown, outputs[:4])) or 'none'}."
        )
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in model.graph.output}
    layers = tuple(name for name in outputs if ranks[name] == 4)
    if not layers:
        raise NetworkError(
            f"The network {label!r} has no layers: expected outputs [1, channels, height, width], got "
            f"{', '.join(f'{shown(name)} of {rank} dimensions' for name, rank in ranks.items())}."
        )
    _check_names(layers, made | constants, label)
    return layers


def _check_names(layers: tuple[str, ...], tensors: Iterable[str], label: str) -> None:
    for layer in layers:
        if not layer.isprintable() or layer.strip() != layer or not 0 < len(layer) <= _MAX_NAME:
            raise NetworkError(
                f"The network {label!r} calls a layer {shown(layer)}: expected a name of 1 to {_MAX_NAME} "
                "characters that can be printed and typed."
            )
    ends = "|".join(map(re.escape, layers))
    of_layers = re.compile(rf"(?:[a-z]+_)*(?:{_RESERVED_STEMS})_(?:{ends})(?:_\d+)?")
    of_tensors = {prefix + name for prefix in _RESERVED_PREFIXES for name in tensors}
    for layer in layers:
        if _RESERVED.fullmatch(layer) or of_layers.fullmatch(layer) or layer in of_tensors:
            raise NetworkError(
                f"The network {label!r} calls a layer {shown(layer)}, a name that the graphs made of it "
                "need: expected another one; rename it."
            )


def to_opset(model: onnx.ModelProto, opset: int, label: str) -> onnx.ModelProto:
    """Convert a model to an opset of the default domain; return the model itself if it has that opset.

    Raises
    ------
    NetworkError
        If the version converter of ONNX fails.
    """
    versions = [entry.version for entry in model.opset_import if entry.domain in _DEFAULT_DOMAINS]
    if versions == [opset]:
        return model
    from onnx import shape_inference, version_converter

    failures = (RuntimeError, ValueError, version_converter.ConvertError, shape_inference.InferenceError)
    try:
        if len(versions) != 1:  # the domain has two names, which may have different versions
            raise ValueError("expected one version")
        converted = version_converter.convert_version(model, opset)
    except failures as error:
        raise NetworkError(
            f"The network {label!r} uses opset {versions[:4]} and cannot be converted to {opset}: export it "
            f"with opset {opset}."
        ) from error
    del converted.metadata_props[:]
    converted.metadata_props.extend(model.metadata_props)
    return converted
