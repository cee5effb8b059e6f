"""Check the sizes of a network's tensors before anything of it is run.

A padding of two billion pixels, or the outer product of two long vectors, takes a few bytes in a file, and
all memory of the machine when it runs. Shape inference finds the sizes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..errors import NetworkError, shown
from ..graphs.network_graph import IMAGE, needed_nodes
from ..graphs.operator_reach import dependent_nodes
from .model_checks import one_line

if TYPE_CHECKING:
    import onnx

# Side, in pixels, of the image for which the sizes are inferred.
SIDE = 512

# Values that the largest tensor has at most for each pixel of the image; VGG's has 64.
MAX_PER_PIXEL = 4096

# Initialisers of up to this many values (shapes, axes, pads) determine the sizes of other tensors; of larger
# ones (weights) only the shape matters.
_SMALL = 64


def check_shapes(
    model: onnx.ModelProto, layers: Sequence[str], label: str, size: tuple[int, int] | None = None
) -> None:
    """Refuse a network whose layers are not features of the image, or whose tensors would be too large.

    Parameters
    ----------
    model : onnx.ModelProto
        A model that passed `model_checks.check_safety`, its constants folded into initialisers.
    layers : sequence of str
        The outputs that are layers. Nodes that they do not need are never run, and not checked.
    label : str
        What messages call it.
    size : (int, int), optional
        Height and width of the image, where the network takes no other.

    Raises
    ------
    NetworkError
        If a layer is the same for every image, types or shapes contradict each other, a convolution's kernel
        is not constant, a size is unknown, a tensor is too large, or a layer is not float32
        [1, channels, height, width].
    """
    import onnx
    from onnx import shape_inference

    height, width = size or (SIDE, SIDE)
    image = f"an image of {width}×{height} pixels"
    nodes = needed_nodes(model, layers)
    depending = {name for node, _ in dependent_nodes(model, layers) for name in node.output}
    for layer in layers:
        if layer not in depending:
            raise NetworkError(
                f"The layer {shown(layer)} of the network {label!r} is the same for every image: expected "
                "outputs [1, channels, height, width] that depend on 'image'; leave it out."
            )
    try:
        inferred = shape_inference.infer_shapes(
            _skeleton(model, nodes, layers, (height, width)),
            check_type=True,
            strict_mode=True,
            data_prop=True,
        )
    except (shape_inference.InferenceError, RuntimeError, ValueError) as error:
        raise NetworkError(f"The network {label!r} does not fit {image}: {one_line(error)}") from error
    types = {v.name: v.type.tensor_type for v in (*inferred.graph.value_info, *inferred.graph.output)}
    lengths = {name: _lengths(tensor) for name, tensor in types.items()} | {IMAGE: [1, 3, height, width]}
    weights = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    for node in nodes:
        if node.op_type == "Conv":
            _check_convolution(node, lengths.get(node.input[0], []), weights, label, image)
        elif node.op_type == "Reshape":
            before, after = (lengths.get(name, [None]) for name in (node.input[0], node.output[0]))
            _check_reshape(node, before, after, label, image)
    for name in (name for node in nodes for name in node.output if name):
        dims = lengths.get(name, [None])
        sizes = [length for length in dims if length is not None]
        too_large = math.prod(sizes) > MAX_PER_PIXEL * height * width
        if len(sizes) < len(dims) or min(sizes, default=1) < 1 or too_large:
            raise NetworkError(
                f"The tensor {shown(name)} of the network {label!r} has the shape {_format_shape(dims)} for "
                f"{image}: expected one that is known and has at most {MAX_PER_PIXEL:,} numbers for each "
                "pixel."
            )
        dtype = types[name].elem_type
        if name in layers and (dtype != onnx.TensorProto.FLOAT or len(dims) != 4 or dims[0] != 1):
            raise NetworkError(
                f"The output {shown(name)} of the network {label!r} is not as declared: expected float "
                f"[1, channels, height, width], got {onnx.TensorProto.DataType.Name(dtype).lower()} "
                f"{_format_shape(dims)}."
            )


def _check_convolution(
    node: onnx.NodeProto,
    source: Sequence[int | None],
    weights: Mapping[str, Sequence[int]],
    label: str,
    image: str,
) -> None:
    """Refuse kernels that do not fit their input or are not constant, which shape inference accepts."""
    attributes = {attribute.name: attribute for attribute in node.attribute}
    groups = attributes["group"].i if "group" in attributes else 1
    kernel, *bias = [weights.get(name) for name in node.input[1:]]
    if kernel is None:
        raise NetworkError(
            f"The network {label!r} computes the kernel of the Conv node {shown(node.name)} while it runs: "
            "expected a constant kernel."
        )
    if not source or None in source:
        raise NetworkError(
            f"The network {label!r} does not fix the shape of {shown(node.input[0])}, the input of the Conv "
            f"node {shown(node.name)}, for {image}: expected [1, channels, height, width], got "
            f"{_format_shape(source)}."
        )
    fits = len(kernel) == len(source) == 4 and kernel[1] * groups == source[1] and kernel[0] % groups == 0
    fits = fits and all(each is None or list(each) == [kernel[0]] for each in bias)
    sides = list(attributes["kernel_shape"].ints) if "kernel_shape" in attributes else list(kernel[2:])
    if not fits or sides != list(kernel[2:]):
        raise NetworkError(
            f"The weights of the Conv node {shown(node.name)} of the network {label!r} do not fit: got a "
            f"kernel {_format_shape(kernel)} in {groups} groups for {_format_shape(source)}."
        )


def _check_reshape(
    node: onnx.NodeProto, before: Sequence[int | None], after: Sequence[int | None], label: str, image: str
) -> None:
    """Refuse another number of values than before, which shape inference accepts."""
    known = [length for length in (*before, *after) if length is not None]
    if len(known) < len(before) + len(after):
        return
    if math.prod(known[: len(before)]) != math.prod(known[len(before) :]):
        raise NetworkError(
            f"The network {label!r} does not fit {image}: the Reshape node {shown(node.name)} makes "
            f"{_format_shape(after)} of {_format_shape(before)}."
        )


def _lengths(tensor: onnx.TypeProto.Tensor) -> list[int | None]:
    """Return the lengths of an inferred shape, with None for unknown ones."""
    if not tensor.HasField("shape"):
        return [None]
    return [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]


def _format_shape(dims: Sequence[int | None]) -> str:
    return f"[{', '.join('?' if length is None else str(length) for length in dims)}]"


def _skeleton(
    model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto], layers: Sequence[str], size: tuple[int, int]
) -> onnx.ModelProto:
    """Return a model of the nodes for an image of known size, with large weights as inputs without values."""
    from onnx import TensorProto, helper

    read = {name for node in nodes for name in node.input}
    used = [tensor for tensor in model.graph.initializer if tensor.name in read]
    small = [tensor for tensor in used if math.prod(tensor.dims) <= _SMALL]
    inputs = [helper.make_tensor_value_info(IMAGE, TensorProto.FLOAT, [1, 3, *size])]
    inputs += [
        helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        for tensor in used
        if math.prod(tensor.dims) > _SMALL
    ]
    outputs = [helper.make_empty_tensor_value_info(layer) for layer in layers]
    graph = helper.make_graph(nodes, "skeleton", inputs, outputs, small)
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
