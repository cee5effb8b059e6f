"""Make a feature network of our form out of a classification network as it is published.

Its input may have any name, be of fixed or free size, NCHW or NHWC, and expect colours that were normalized
outside. The adapted network takes ``image``, RGB in [0, 1], normalizes inside, has layers as outputs, and no
head.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import NetworkError, did_you_mean, shown
from ..graphs.builder import OPSET
from ..graphs.network_graph import IMAGE, fold_constants, needed_nodes
from ..graphs.operator_reach import dependent_nodes
from ..graphs.receptive_fields import pixels_across
from .computed_sizes import settle_sizes
from .lowering import lower
from .metadata import MAX_SIDE, describe
from .model_checks import check_safety, one_line, to_opset
from .size_checks import check_shapes

if TYPE_CHECKING:
    import onnx

# Side in pixels of the image for which the sizes of layers are inferred.
SIDE = 256

# Operators whose outputs count as activations; Mul, because x · sigmoid(x) is one, too.
_ACTIVATIONS = frozenset(
    ("Clip", "Elu", "HardSwish", "LeakyRelu", "Mish", "Mul", "PRelu", "Relu", "Selu", "Tanh")
)

# Strides of the style layers that are suggested, as in VGG: one activation of each.
_STYLE_STRIDES = (1, 2, 4, 8, 16)

# Prefix of the names of the tensors that prepare the image.
_PREFIX = "adapted_input"

# Stride of the content layer that is suggested, as that of VGG's relu4_2.
_CONTENT_STRIDE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Colours:
    """What a network's input expects: (value · range − mean) / std of each channel, RGB or BGR.

    Attributes
    ----------
    mean, std : (float, float, float)
        In the order of the network's channels, in the unit of `range`.
    range : float
        The value of white, 1 or 255.
    is_bgr : bool
        The channels are blue, green, red.
    """

    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    range: float = 1.0
    is_bgr: bool = False


@dataclass(frozen=True, slots=True)
class Layer:
    """A tensor of features.

    Attributes
    ----------
    name : str
        Name of the tensor.
    operator : str
        Operator that computes it.
    channels : int
        Number of channels.
    stride : float
        Pixels of the image from one position to the next.
    """

    name: str
    operator: str
    channels: int
    stride: float


def adapt(
    model: onnx.ModelProto,
    colours: Colours,
    *,
    name: str,
    source: str,
    licence: str = "unknown",
    layers: Sequence[str] = (),
    content: str | None = None,
) -> onnx.ModelProto:
    """Return a feature network made of a classification network.

    Parameters
    ----------
    model : onnx.ModelProto
        Not changed.
    colours : Colours
        What its input expects.
    name, source, licence : str
        For the metadata.
    layers : sequence of str
        Style layers; without them one activation of each size is chosen.
    content : str, optional
        Content layer; without it an activation in the middle.

    Raises
    ------
    NetworkError
        The model is not safe, its input is not an image, or a layer is not there.
    """
    body = _checked(model, name)
    text = {"name": name, "source": source, "licence": licence}
    try:
        return _adapted(body, colours, text, layers, content, None)
    except NetworkError:
        size = _declared_size(body)
        if size is None:
            raise
    # It takes images of its own size only.
    return _adapted(body, colours, text, layers, content, size)


def _adapted(
    body: onnx.ModelProto,
    colours: Colours,
    text: dict[str, str],
    layers: Sequence[str],
    content: str | None,
    size: tuple[int, int] | None,
) -> onnx.ModelProto:
    """Return the feature network of images of one size, or of any."""
    label = text["name"]
    adapted = settle_sizes(_with_input(body, colours, size or ("height", "width"), label))
    found = list_layers(adapted, label, size or (SIDE, SIDE))
    if layers and content:
        style, chosen = tuple(layers), content
    else:
        style, chosen = suggest(found)
        style, chosen = tuple(layers) or style, content or chosen
    known = [layer.name for layer in found]
    for layer in (*style, chosen):
        if layer not in known:
            raise NetworkError(
                f"The network {label!r} has no layer {layer!r} of four dimensions."
                f"{did_you_mean(layer, known)} `lbfgs-style networks info FILE.onnx` lists them; `networks "
                "add` without --layers chooses some."
            )
    wanted = sorted({*style, chosen}, key=known.index)
    _keep_layers(adapted, wanted, {layer.name: layer.channels for layer in found})
    for dim, name in zip(_image_dims(adapted)[2:], ("height", "width"), strict=True):
        dim.dim_param = name
    check_shapes(adapted, wanted, label, size)
    return describe(
        adapted,
        **text,
        style_layers=tuple(layer for layer in wanted if layer in style),
        content_layers=(chosen,),
        size=size,
    )


def offered_layers(model: onnx.ModelProto, label: str) -> dict[Layer, int | None]:
    """Return what `adapt` takes as layers of a classification network → pixels that it sees across.

    Any tensor of features: activations, and the convolutions, normalizations and sums that precede them. None
    stands for the whole image.

    Parameters
    ----------
    model : onnx.ModelProto
        Not changed.
    label : str
        What messages call it.

    Raises
    ------
    NetworkError
        The model is not safe, or its input is not an image.
    """
    body = _checked(model, label)
    try:
        return _offered(body, (SIDE, SIDE), label)
    except NetworkError:
        size = _declared_size(body)
        if size is None:
            raise
    return _offered(body, size, label)


def _offered(body: onnx.ModelProto, size: tuple[int, int], label: str) -> dict[Layer, int | None]:
    sized = settle_sizes(_with_input(body, Colours(), size, label))
    return {layer: pixels_across(sized, layer.name) for layer in list_layers(sized, label, size)}


def _checked(model: onnx.ModelProto, label: str) -> onnx.ModelProto:
    """Return a model, once it is known to be safe, in our opset and with folded constants."""
    check_safety(model, label)
    return fold_constants(to_opset(lower(model), OPSET, label))


def _image_dims(model: onnx.ModelProto) -> Sequence[onnx.TensorShapeProto.Dimension]:
    """Return the dimensions of the input ``image``."""
    image = next(value for value in model.graph.input if value.name == IMAGE)
    return list(image.type.tensor_type.shape.dim)


def _declared_size(model: onnx.ModelProto) -> tuple[int, int] | None:
    """Return the height and width that a published network declares for its input, if any."""
    weights = {tensor.name for tensor in model.graph.initializer}
    image = next(value for value in model.graph.input if value.name not in weights)
    dims = [dim.dim_value for dim in image.type.tensor_type.shape.dim]
    if len(dims) != 4:
        return None
    height, width = dims[1:3] if _is_last(dims) else dims[2:4]
    return (height, width) if 0 < min(height, width) <= max(height, width) <= MAX_SIDE else None


def _is_last(dims: Sequence[int]) -> bool:
    """Return whether an image of these dimensions has its channels last."""
    return len(dims) == 4 and dims[3] == 3 and dims[1] != 3


def list_layers(model: onnx.ModelProto, label: str, size: tuple[int, int] = (SIDE, SIDE)) -> list[Layer]:
    """Return the tensors [1, channels, height, width] that depend on the image, from shallow to deep.

    Parameters
    ----------
    model : onnx.ModelProto
        With an input ``image``, [1, 3, height, width].
    label : str
        What messages call it.
    size : (int, int), optional
        Height and width of the image for which the sizes of layers are inferred.
    """
    from onnx import shape_inference

    sized = type(model)()
    sized.CopyFrom(model)
    for dim, length in zip(_image_dims(sized)[2:], size, strict=True):
        dim.dim_value = length
    for value in sized.graph.output:  # declared for the size that it was exported with
        value.type.tensor_type.ClearField("shape")
    try:
        inferred = shape_inference.infer_shapes(sized, data_prop=True)
    except (shape_inference.InferenceError, RuntimeError, ValueError) as error:
        raise NetworkError(f"The sizes in the network {label!r} are unknown: {one_line(error)}.") from error
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*inferred.graph.value_info, *inferred.graph.output)
    }
    layers: list[Layer] = []
    made = [node.output[0] for node in inferred.graph.node]
    for node, _ in dependent_nodes(inferred, made):
        shape = shapes.get(node.output[0], [])
        is_scaling = node.op_type == "Mul" and not all(len(shapes.get(name, [])) == 4 for name in node.input)
        if node.output[0].startswith(_PREFIX) or is_scaling:
            continue
        if len(shape) == 4 and min(shape) > 0 and shape[0] == 1 and min(shape[2:]) > 1:
            layers.append(Layer(node.output[0], node.op_type, shape[1], size[0] / shape[2]))
    return layers


def suggest(layers: Sequence[Layer]) -> tuple[tuple[str, ...], str]:
    """Choose style layers and a content layer.

    Strides count as the nearest power of two: convolutions without padding make them a little longer. Style:
    the first activation of each stride of 1, 2, 4, 8 and 16, as VGG's relu1_1 to relu5_1. Content: the
    middle one of the activations of stride 8, or else of the largest stride below it, as VGG's relu4_2.

    Raises
    ------
    NetworkError
        There is no activation.
    """
    steps = [
        (layer, 2 ** round(math.log2(layer.stride))) for layer in layers if layer.operator in _ACTIVATIONS
    ]
    style = [next((layer.name for layer, step in steps if step == s), None) for s in _STYLE_STRIDES]
    strides = [s for _, s in steps if s <= _CONTENT_STRIDE]
    if not strides:
        raise NetworkError("no activation [1, channels, height, width] was found: name layers with --layers.")
    deep = [layer.name for layer, step in steps if step == max(strides)]
    return tuple(name for name in style if name is not None), deep[len(deep) // 2]


def _with_input(
    model: onnx.ModelProto, colours: Colours, size: Sequence[int | str], label: str
) -> onnx.ModelProto:
    """Return a copy whose input is ``image``, [1, 3, height, width] of a size, RGB in [0, 1]."""
    from onnx import TensorProto, helper, numpy_helper

    adapted = type(model)()
    adapted.CopyFrom(model)
    graph = adapted.graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    if len(inputs) != 1:
        raise NetworkError(
            f"The network {label!r} must have one input, an image, got "
            f"{', '.join(shown(value.name) for value in inputs[:4]) or 'none'}."
        )
    dims = [dim.dim_value for dim in inputs[0].type.tensor_type.shape.dim]
    is_last = _is_last(dims)
    if len(dims) != 4 or (dims[1] != 3 and not is_last):
        raise NetworkError(
            f"The input {shown(inputs[0].name)} of the network {label!r} must be an image of three channels, "
            f"[N, 3, height, width] or [N, height, width, 3], got {dims}."
        )
    original, prefix = inputs[0].name, _PREFIX
    factors = colours.range / np.array(colours.std, np.float64)
    offsets = -np.array(colours.mean, np.float64) / np.array(colours.std, np.float64)
    constants = {
        f"{prefix}/channels": np.array([2, 1, 0] if colours.is_bgr else [0, 1, 2], np.int64),
        f"{prefix}/factors": factors.astype(np.float32).reshape(1, 3, 1, 1),
        f"{prefix}/offsets": offsets.astype(np.float32).reshape(1, 3, 1, 1),
    }
    nodes = [
        helper.make_node("Gather", [IMAGE, f"{prefix}/channels"], [f"{prefix}/ordered"], axis=1),
        helper.make_node("Mul", [f"{prefix}/ordered", f"{prefix}/factors"], [f"{prefix}/scaled"]),
        helper.make_node("Add", [f"{prefix}/scaled", f"{prefix}/offsets"], [f"{prefix}/normalized"]),
    ]
    normalized = f"{prefix}/normalized"
    if is_last:
        nodes.append(helper.make_node("Transpose", [normalized], [f"{prefix}/last"], perm=[0, 2, 3, 1]))
    rest = [_renamed(node, original, f"{prefix}/last" if is_last else normalized) for node in graph.node]
    if is_last:  # what turns the image back, as tf2onnx begins, is left out with the turn
        for node in rest:
            turns_back = node.op_type == "Transpose" and list(node.input) == [f"{prefix}/last"]
            if turns_back and list(node.attribute[0].ints) == [0, 3, 1, 2]:
                node.op_type = "Identity"
                del node.attribute[:]
                node.input[0] = normalized
    del graph.node[:], graph.input[:], graph.value_info[:]
    for node in (*nodes, *rest):
        node.name = node.output[0]
        graph.node.append(node)
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    graph.input.append(helper.make_tensor_value_info(IMAGE, TensorProto.FLOAT, [1, 3, *size]))
    return adapted


def _renamed(node: onnx.NodeProto, old: str, new: str) -> onnx.NodeProto:
    copy = type(node)()
    copy.CopyFrom(node)
    copy.input[:] = [new if name == old else name for name in node.input]
    return copy


def _keep_layers(model: onnx.ModelProto, layers: Sequence[str], channels: dict[str, int]) -> None:
    """Make layers the outputs, and remove the nodes and weights that they do not need."""
    from onnx import TensorProto, helper

    graph = model.graph
    kept = needed_nodes(model, layers)
    read = {name for node in kept for name in node.input}
    weights = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.node[:], graph.initializer[:], graph.output[:]
    graph.node.extend(kept)
    graph.initializer.extend(weights)
    for layer in layers:
        shape = [1, channels[layer], f"height_{layer}", f"width_{layer}"]
        graph.output.append(helper.make_tensor_value_info(layer, TensorProto.FLOAT, shape))
