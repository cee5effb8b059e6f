"""Checks on an ONNX model that comes from anywhere, before anything of it is run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .errors import NetworkError

if TYPE_CHECKING:
    import onnx

_DEFAULT_DOMAINS = ("", "ai.onnx")


def check_safety(model: onnx.ModelProto, label: str) -> None:
    """Refuse a model that reaches beyond its own file or beyond the standard operators.

    Parameters
    ----------
    model : onnx.ModelProto
        The model.
    label : str
        What to call it in a message.

    Raises
    ------
    NetworkError
        For external data (which could read any file), sparse weights, model-local functions, other
        operator domains (which could call custom libraries), and whatever the ONNX checker refuses.
    """
    import onnx

    if not model.graph.node:
        raise NetworkError(f"{label!r} is not an ONNX model with a graph: expected a feature network.")
    if model.functions or model.graph.sparse_initializer:
        raise NetworkError(
            f"The network {label!r} has model-local functions or sparse weights: expected plain nodes and "
            "dense weights; export it again without them."
        )
    for graph in _graphs(model.graph):
        for tensor in _tensors(graph):
            if tensor.external_data or tensor.data_location == onnx.TensorProto.EXTERNAL:
                raise NetworkError(
                    f"The network {label!r} keeps {tensor.name!r} in another file: expected all weights "
                    "inside the .onnx file; save it again without external data."
                )
        for node in graph.node:
            if node.domain not in _DEFAULT_DOMAINS:
                raise NetworkError(
                    f"The network {label!r} uses {node.domain}.{node.op_type}: expected standard ONNX "
                    "operators only."
                )
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:
        reason = str(error).strip().splitlines()
        raise NetworkError(
            f"The network {label!r} is not valid ONNX: {reason[0] if reason else 'no reason given'}"
        ) from error


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node:
                    yield from _graphs(inner)


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def check_interface(model: onnx.ModelProto, label: str) -> tuple[str, ...]:
    """Check input and outputs of a feature network and return the names of its layers.

    Parameters
    ----------
    model : onnx.ModelProto
        A model that passed `check_safety`.
    label : str
        What to call it in a message.

    Returns
    -------
    tuple of str
        The layers: the outputs of four dimensions, in the order of the file. Others (the logits of a
        classifier) have no positions to compare, and are left out.

    Raises
    ------
    NetworkError
        If the input is not ``image``, float32 [1, 3, height, width] with free height and width, an output
        is missing or not float32, or none has four dimensions.
    """
    import onnx

    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    if [value.name for value in inputs] != ["image"]:
        raise NetworkError(
            f"The network {label!r} must have one input named 'image' (float32 [1, 3, height, width]), got "
            f"{', '.join(repr(value.name) for value in inputs) or 'none'}."
        )
    tensor = inputs[0].type.tensor_type
    dims = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
    fits = len(dims) == 4 and dims[0] in (1, None) and dims[1:] == [3, None, None]
    if tensor.elem_type != onnx.TensorProto.FLOAT or not fits:
        shape = ", ".join("free" if size is None else str(size) for size in dims)
        kind = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
        raise NetworkError(
            f"The input 'image' of the network {label!r} must be float [1, 3, free, free] (height and width "
            f"as dynamic axes), got {kind} [{shape}]."
        )
    made = {name for node in model.graph.node for name in node.output}
    outputs = tuple(value.name for value in model.graph.output)
    for value in model.graph.output:
        if value.name not in made or value.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
            raise NetworkError(
                f"The output {value.name!r} of the network {label!r} must be a float32 tensor made by a node."
            )
    if not outputs or len(set(outputs)) != len(outputs):
        raise NetworkError(f"The network {label!r} must have outputs with distinct names, got {outputs}.")
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in model.graph.output}
    layers = tuple(name for name in outputs if ranks[name] == 4)
    if not layers:
        raise NetworkError(
            f"The network {label!r} has no layers: expected outputs [1, channels, height, width], got "
            f"{', '.join(f'{name!r} of {rank} dimensions' for name, rank in ranks.items())}."
        )
    return layers


def to_opset(model: onnx.ModelProto, opset: int, label: str) -> onnx.ModelProto:
    """Return the model in another opset of the default domain: itself where it has that one already.

    Raises
    ------
    NetworkError
        If the ONNX version converter cannot do it.
    """
    versions = [entry.version for entry in model.opset_import if entry.domain in _DEFAULT_DOMAINS]
    if versions == [opset]:
        return model
    from onnx import version_converter

    try:
        converted = version_converter.convert_version(model, opset)
    except (RuntimeError, ValueError) as error:
        raise NetworkError(
            f"The network {label!r} uses opset {versions} and cannot be converted to {opset}: export it "
            f"with opset {opset}."
        ) from error
    del converted.metadata_props[:]
    converted.metadata_props.extend(model.metadata_props)
    return converted
