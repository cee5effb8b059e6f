"""The weights of the native convolutions: Winograd's transform of a kernel, in panels of 16 outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..graphs import winograd

if TYPE_CHECKING:
    import onnx

Array = NDArray[np.float32]

# Channels of a block, as in source/kernels.hpp.
BLOCK = 16

# Values of a transformed tile, 6 × 6.
POINTS = 36

# Prefix of the inputs of a graph that take packed kernels.
_PREFIX = "native_"


def blocks(channels: int) -> int:
    """Return the number of blocks that a number of channels takes."""
    return -(-channels // BLOCK)


def input_name(kernel: str) -> str:
    """Return the name of the input that takes a kernel of the network, packed."""
    return _PREFIX + kernel


def packed_shape(outputs: int, inputs: int) -> tuple[int, int, int, int]:
    """Return the shape of a packed kernel with these numbers of channels."""
    return POINTS, blocks(outputs), blocks(inputs) * BLOCK, BLOCK


def kernel_inputs(model: onnx.ModelProto) -> dict[str, str]:
    """Return the inputs of a graph that take packed kernels → the names of these kernels."""
    names = (value.name for value in model.graph.input)
    return {name: name.removeprefix(_PREFIX) for name in names if name.startswith(_PREFIX)}


def pack_kernel(kernel: Array) -> Array:
    """Return a kernel, float32 [out,in,3,3], transformed and packed: float32 [36, out/16, in, 16].

    Channels are rounded up to blocks of 16, with zeros. One packed kernel serves a convolution and its
    gradient.
    """
    outputs, inputs = kernel.shape[:2]
    _, panels, rows, _ = packed_shape(outputs, inputs)
    padded = np.zeros((panels, BLOCK, rows, 9), np.float32)
    padded.reshape(panels * BLOCK, rows, 9)[:outputs, :inputs] = kernel.reshape(outputs, inputs, 9)
    taps = np.ascontiguousarray(padded.transpose(3, 0, 2, 1)).reshape(9, -1)
    return (winograd.kernel_transform() @ taps).reshape(packed_shape(outputs, inputs))
