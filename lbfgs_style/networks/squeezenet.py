"""Build SqueezeNet 1.1 (Iandola et al., 2016) as an ONNX feature network, from torchvision's arrays.

The nodes: a 1×1 ``Conv`` named ``preprocess`` that applies mean and scale; a 3×3 convolution of stride 2 and
its ReLU, ``relu1``; then eight fires. A fire convolves 1×1 to few channels, ``NAME_squeeze``, and these by
1×1 and 3×3 in parallel; the concatenation of both, after a ReLU, has its name, ``fire2`` … ``fire9``. Three
3×3 max pools of stride 2 round sizes up. ``relu1`` and the fires are the outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import NetworkError
from .metadata import describe
from .vgg import TORCHVISION, convolution, feature_model

if TYPE_CHECKING:
    import onnx

Array = NDArray[np.float32]

# Name of the architecture in the catalog.
ARCH = "squeezenet1_1"

# Fire → index of its module among torchvision's `features`.
FIRES = {"fire2": 3, "fire3": 4, "fire4": 6, "fire5": 7, "fire6": 9, "fire7": 10, "fire8": 11, "fire9": 12}

# Fires whose input is pooled.
_POOLED = ("fire2", "fire4", "fire6")

# The layers of Stanford's course CS231n, which transfers styles with this network.
_STYLE = ("relu1", "fire3", "fire4", "fire5")
_CONTENT = ("fire2",)


def build(arrays: Mapping[str, Array], *, name: str, source: str, licence: str) -> onnx.ModelProto:
    """Build the feature network of torchvision's weights.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        ``features.0.weight`` … float32, kernels [out, in, height, width].
    name, source, licence : str
        Metadata, see `lbfgs_style.networks.metadata.Metadata`.

    Returns
    -------
    onnx.ModelProto
        Input ``image``, float32 [1, 3, height, width], RGB in [0, 1].

    Raises
    ------
    NetworkError
        If an array is missing or of the wrong shape.
    """
    from onnx import TensorProto, helper

    weights = {"preprocess.weight": TORCHVISION.kernel(), "preprocess.bias": TORCHVISION.bias()}
    outputs: list[onnx.ValueInfoProto] = []

    def put(node: str, module: str, channels: int, side: int) -> int:
        """Add the weights of a convolution; return its number of channels."""
        kernel, bias = _weights(arrays, f"features.{module}", channels, side)
        weights[f"{node}.weight"], weights[f"{node}.bias"] = kernel, bias
        return kernel.shape[0]

    def activate(tensor: str, layer: str, channels: int) -> None:
        nodes.append(helper.make_node("Relu", [tensor], [layer], layer))
        shape = [1, channels, f"height_{layer}", f"width_{layer}"]
        outputs.append(helper.make_tensor_value_info(layer, TensorProto.FLOAT, shape))

    channels = put("conv1", "0", 3, 3)
    inputs = ["preprocess", "conv1.weight", "conv1.bias"]
    nodes = [
        convolution("image", "preprocess", 1),
        helper.make_node("Conv", inputs, ["conv1"], "conv1", kernel_shape=[3, 3], strides=[2, 2]),
    ]
    activate("conv1", "relu1", channels)
    last = "relu1"
    for fire, module in FIRES.items():
        if fire in _POOLED:
            pool = f"{fire}_pool"
            nodes.append(
                helper.make_node(
                    "MaxPool", [last], [pool], pool, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1
                )
            )
            last = pool
        squeeze, squeezed, one, three = (f"{fire}_{part}" for part in ("squeeze", "squeezed", "1x1", "3x3"))
        narrow = put(squeeze, f"{module}.squeeze", channels, 1)
        channels = put(one, f"{module}.expand1x1", narrow, 1) + put(three, f"{module}.expand3x3", narrow, 3)
        nodes += [
            convolution(last, squeeze, 1),
            helper.make_node("Relu", [squeeze], [squeezed], squeezed),
            convolution(squeezed, one, 1),
            convolution(squeezed, three, 3),
            helper.make_node("Concat", [one, three], [f"{fire}_expand"], f"{fire}_expand", axis=1),
        ]
        activate(f"{fire}_expand", fire, channels)
        last = fire
    model = feature_model(ARCH, nodes, outputs, weights)
    return describe(
        model, name=name, source=source, licence=licence, style_layers=_STYLE, content_layers=_CONTENT
    )


def _weights(arrays: Mapping[str, Array], module: str, channels: int, side: int) -> tuple[Array, Array]:
    """Return kernel [out, channels, side, side] and bias [out] of a module."""
    kernel, bias = (arrays.get(f"{module}.{kind}") for kind in ("weight", "bias"))
    fits = kernel is not None and kernel.ndim == 4 and kernel.shape[1:] == (channels, side, side)
    if kernel is None or bias is None or not fits or bias.shape != kernel.shape[:1]:
        shapes = ["none" if array is None else str(list(array.shape)) for array in (kernel, bias)]
        raise NetworkError(
            f"The weights of {module!r} do not fit {ARCH}: expected a kernel [out, {channels}, {side}, "
            f"{side}] and a bias [out], got {' and '.join(shapes)}."
        )
    return kernel, bias
