"""Read published VGG weights into the arrays that `lbfgs_style.networks.vgg.build` expects.

torchvision publishes PyTorch's legacy format (see `torch_pickle`), Keras publishes HDF5.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import NetworkError, NetworkFileError
from .vgg import LAYOUTS, convolution_names

Array = NDArray[np.float32]

# Largest size of all weights, in bytes and as a multiple of their file. Trained weights can hardly be
# compressed: data that unpacks to much more than its file is something else.
_MAX_BYTES = 2_000_000_000
_MAX_RATIO = 16


def require_h5py() -> Any:
    """Import h5py and return it.

    Raises
    ------
    NetworkError
        If it is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise NetworkError(
            "The original VGG weights are HDF5 files, which need h5py: install it with "
            "`pip install 'lbfgs-style[caffe]'`."
        ) from error
    return h5py


def read_keras_h5(path: Path) -> dict[str, Array]:
    """Read all floating-point datasets of an HDF5 file.

    Parameters
    ----------
    path : Path
        A weights file of Keras.

    Returns
    -------
    dict of str to ndarray
        Path inside the file, such as ``block1_conv1/block1_conv1_W_1:0``, → float32 array.

    Raises
    ------
    NetworkError
        If h5py is missing, the file is damaged, or a dataset lies in another file.
    NetworkFileError
        If it cannot be read.
    """
    h5py = require_h5py()
    label = str(path)
    try:
        # h5py raises the same error for a missing and for a damaged file, so the file is opened here first.
        with path.open("rb"):
            limit = min(_MAX_BYTES, _MAX_RATIO * path.stat().st_size)
    except OSError as error:
        raise NetworkFileError(f"Cannot read the weights {label!r}: {error.strerror or error}.") from error
    items: dict[str, Any] = {}
    arrays: dict[str, Array] = {}
    total = 0
    try:
        with h5py.File(path, "r") as file:
            file.visititems(items.__setitem__)
            for name, item in items.items():
                if not isinstance(item, h5py.Dataset) or item.dtype.kind != "f":
                    continue
                if item.is_virtual or item.external:
                    raise NetworkError(
                        f"The weights {label!r} keep {name!r} in another file: expected one file."
                    )
                total += item.nbytes
                if total > limit:
                    raise NetworkError(
                        f"The weights {label!r} unpack to more than {_MAX_BYTES:,} bytes, or {_MAX_RATIO} "
                        "times their file: not a VGG."
                    )
                arrays[name] = np.asarray(item, dtype=np.float32)
    except NetworkError:
        raise
    except (OSError, RuntimeError, LookupError, ValueError, TypeError) as error:
        raise NetworkError(
            f"{label!r} is not an HDF5 file, or is damaged: delete it and download it again."
        ) from error
    return arrays


def vgg_weights(
    arch: str, arrays: Mapping[str, Array], layout: Literal["pth", "h5"]
) -> dict[str, tuple[Array, Array]]:
    """Find kernel and bias of each convolution of a VGG among the arrays of a published file.

    Parameters
    ----------
    arch : {"vgg16", "vgg19"}
        The network.
    arrays : mapping of str to ndarray
        The result of `read_pth` or `read_keras_h5`.
    layout : {"pth", "h5"}
        torchvision's (``features.0.weight``, kernels [out, in, height, width]) or Keras' names
        (``block1_conv1/…``, kernels [height, width, in, out]).

    Returns
    -------
    dict of str to (kernel, bias)
        ``conv1_1`` … → float32 arrays [out, in, 3, 3] and [out].

    Raises
    ------
    NetworkError
        If a convolution is missing or ambiguous.
    """
    pick = _pick_torchvision if layout == "pth" else _pick_keras
    weights: dict[str, tuple[Array, Array]] = {}
    for name in convolution_names(arch):
        kernel_and_bias = pick(arch, arrays, name)
        if kernel_and_bias is None:
            raise NetworkError(
                f"The weights have no kernel and bias for {name!r} of {arch}: expected a file of that "
                f"network, got {len(arrays)} arrays ({', '.join(list(arrays)[:3])} …)."
            )
        weights[name] = kernel_and_bias
    return weights


def _pick_torchvision(arch: str, arrays: Mapping[str, Array], name: str) -> tuple[Array, Array] | None:
    block, layer = int(name[4]), int(name[6:])
    # torchvision numbers all modules: a convolution, its ReLU and a pooling count one each.
    index = sum(2 * count + 1 for count in LAYOUTS[arch][: block - 1]) + 2 * (layer - 1)
    kernel, bias = arrays.get(f"features.{index}.weight"), arrays.get(f"features.{index}.bias")
    return None if kernel is None or bias is None else (kernel, bias)


def _pick_keras(_arch: str, arrays: Mapping[str, Array], name: str) -> tuple[Array, Array] | None:
    group = f"block{name[4]}_conv{name[6:]}"
    members = [array for path, array in arrays.items() if group in path.split("/")]
    # The names in a group differ between versions of Keras, the dimensions do not.
    kernels = [array for array in members if array.ndim == 4]
    biases = [array for array in members if array.ndim == 1]
    if len(kernels) != 1 or len(biases) != 1:
        return None
    return np.ascontiguousarray(kernels[0].transpose(3, 2, 0, 1)), biases[0]
