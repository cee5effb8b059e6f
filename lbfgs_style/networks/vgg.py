"""Build VGG16 and VGG19 (Simonyan and Zisserman, ICLR 2015) as ONNX feature networks, from arrays.

The nodes: a 1×1 ``Conv`` named ``preprocess`` that applies mean, scale and channel order; then for each layer
a 3×3 ``Conv`` (``conv1_1`` …, with zero padding 1) and a ``Relu`` (``relu1_1`` …), and a 2×2 pool of stride 2
(``pool1`` …) between the blocks. The output of every ReLU is an output of the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import NetworkError, did_you_mean
from ..graphs.builder import IR_VERSION, OPSET
from .metadata import default_layers, describe

if TYPE_CHECKING:
    import onnx

Array = NDArray[np.float32]
Weights = Mapping[str, tuple[Array, Array]]
Pooling = Literal["max", "average"]

# Architecture → number of convolutions in each of the five blocks.
LAYOUTS: dict[str, tuple[int, ...]] = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
_POOLS = {"max": "MaxPool", "average": "AveragePool"}


@dataclass(frozen=True, slots=True)
class Normalization:
    """The input that weights were trained with: ``y[k] = (peak · x[order[k]] − mean[k]) / std[k]``.

    Attributes
    ----------
    name : str
        The framework of the training.
    order : {"RGB", "BGR"}
        Order of the channels of y; x is RGB in [0, 1].
    peak : float
        Value of a white pixel before the mean is subtracted: 1 or 255.
    mean, std : tuple of float
        One for each channel, in `order`.
    """

    name: str
    order: Literal["RGB", "BGR"]
    peak: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def kernel(self) -> Array:
        """Return the 1×1 kernel, float32 [3, 3, 1, 1], with outputs in `order` and inputs in RGB."""
        kernel = np.zeros((3, 3, 1, 1), np.float32)
        for channel, letter in enumerate(self.order):
            kernel[channel, "RGB".index(letter), 0, 0] = self.peak / self.std[channel]
        return kernel

    def bias(self) -> Array:
        """Return the bias of the 1×1 convolution, float32 [3], in `order`."""
        return np.array([-mean / std for mean, std in zip(self.mean, self.std, strict=True)], np.float32)


TORCHVISION = Normalization("torchvision", "RGB", 1.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CAFFE = Normalization("caffe", "BGR", 255.0, (103.939, 116.779, 123.68), (1.0, 1.0, 1.0))


def convolution_names(arch: str) -> tuple[str, ...]:
    """Return ``conv1_1`` … in order for ``vgg16`` or ``vgg19``.

    Raises
    ------
    NetworkError
        If `arch` is neither.
    """
    if arch not in LAYOUTS:
        raise NetworkError(
            f"Unknown architecture {arch!r}: expected one of {', '.join(LAYOUTS)}."
            f"{did_you_mean(arch, LAYOUTS)}"
        )
    return tuple(
        f"conv{block}_{layer}"
        for block, count in enumerate(LAYOUTS[arch], start=1)
        for layer in range(1, count + 1)
    )


def relu_names(arch: str) -> tuple[str, ...]:
    """Return the names of the outputs, ``relu1_1`` … in order, for ``vgg16`` or ``vgg19``."""
    return tuple(name.replace("conv", "relu") for name in convolution_names(arch))


def build(
    arch: str,
    weights: Weights,
    *,
    normalization: Normalization,
    pooling: Pooling = "max",
    until: str | None = None,
    name: str,
    source: str,
    licence: str,
) -> onnx.ModelProto:
    """Build a feature network from the weights of its convolutions.

    Parameters
    ----------
    arch : {"vgg16", "vgg19"}
        Number of convolutions in each block; their channels are those of `weights`.
    weights : mapping of str to (kernel, bias)
        For each ``conv…`` a kernel, float32 [out, in, 3, 3] (of a correlation), and a bias, float32 [out].
    normalization : Normalization
        The input that the weights were trained with, usually `TORCHVISION` or `CAFFE`.
    pooling : {"max", "average"}
        Gatys et al. replace max by average pooling. An odd last row or column is dropped, as in PyTorch.
    until : str, optional
        Deepest layer to keep, as in ``relu5_1``; by default all layers.
    name, source, licence : str
        Metadata, see `lbfgs_style.networks.metadata.Metadata`.

    Returns
    -------
    onnx.ModelProto
        A feature network: input ``image``, float32 [1, 3, height, width], RGB in [0, 1]; an output for each
        ReLU.

    Raises
    ------
    NetworkError
        If an argument is unknown, or a weight is missing or of the wrong shape.
    """
    from onnx import TensorProto, helper

    convolutions = _convolutions_until(arch, until)
    if pooling not in _POOLS:
        raise NetworkError(f"Unknown pooling {pooling!r}: expected {' or '.join(map(repr, _POOLS))}.")
    arrays: dict[str, Array] = {
        "preprocess.weight": normalization.kernel(),
        "preprocess.bias": normalization.bias(),
    }
    nodes = [convolution("image", "preprocess", 1)]
    outputs: list[onnx.ValueInfoProto] = []
    last, channels, block = "preprocess", 3, "1"
    for conv in convolutions:
        if conv[4] != block:
            pool = f"pool{block}"
            nodes.append(
                helper.make_node(_POOLS[pooling], [last], [pool], pool, kernel_shape=[2, 2], strides=[2, 2])
            )
            last, block = pool, conv[4]
        kernel, bias = _checked_weights(weights, conv, channels)
        arrays[f"{conv}.weight"], arrays[f"{conv}.bias"] = kernel, bias
        relu, channels = conv.replace("conv", "relu"), kernel.shape[0]
        nodes += [convolution(last, conv, 3), helper.make_node("Relu", [conv], [relu], relu)]
        outputs.append(helper.make_tensor_value_info(relu, TensorProto.FLOAT, _shape(channels, block)))
        last = relu
    model = feature_model(arch, nodes, outputs, arrays)
    style, content = default_layers([output.name for output in outputs])
    return describe(
        model, name=name, source=source, licence=licence, style_layers=style, content_layers=content
    )


def feature_model(
    name: str, nodes: list[onnx.NodeProto], outputs: list[onnx.ValueInfoProto], arrays: Mapping[str, Array]
) -> onnx.ModelProto:
    """Return the model of nodes that lead from ``image`` to some outputs."""
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, _shape(3, "1"))],
        outputs,
        [numpy_helper.from_array(array, key) for key, array in arrays.items()],
    )
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="lbfgs_style",
    )


def convolution(source: str, name: str, side: int) -> onnx.NodeProto:
    """Return a convolution that keeps the size, with the weights ``NAME.weight`` and ``NAME.bias``."""
    from onnx import helper

    inputs = [source, f"{name}.weight", f"{name}.bias"]
    pads = [side // 2] * 4
    return helper.make_node("Conv", inputs, [name], name, kernel_shape=[side, side], pads=pads)


def _shape(channels: int, block: str) -> list[int | str]:
    # Each pool halves the sizes, so each block has its own names of lengths; block 1 has those of the image.
    suffix = "" if block == "1" else f"_{block}"
    return [1, channels, f"height{suffix}", f"width{suffix}"]


def _convolutions_until(arch: str, until: str | None) -> tuple[str, ...]:
    convolutions, relus = convolution_names(arch), relu_names(arch)
    if until is None:
        return convolutions
    if until not in relus:
        raise NetworkError(
            f"{arch} has no layer {until!r}: expected one of {relus[0]} … {relus[-1]}."
            f"{did_you_mean(until, relus)}"
        )
    return convolutions[: relus.index(until) + 1]


def _checked_weights(weights: Weights, conv: str, channels: int) -> tuple[Array, Array]:
    if conv not in weights:
        raise NetworkError(f"The weights of {conv!r} are missing: got {', '.join(weights) or 'none'}.")
    kernel, bias = (np.ascontiguousarray(array, dtype=np.float32) for array in weights[conv])
    expected = f"expected a kernel [out, {channels}, 3, 3] and a bias [out]"
    if kernel.ndim != 4 or kernel.shape[1:] != (channels, 3, 3) or bias.shape != kernel.shape[:1]:
        raise NetworkError(
            f"The weights of {conv!r} do not fit: {expected}, "
            f"got {list(kernel.shape)} and {list(bias.shape)}."
        )
    return kernel, bias
