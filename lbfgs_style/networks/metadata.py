"""Metadata of feature networks: their keys in an ONNX file, and the fingerprint of the weights.

A *feature network* is an ONNX model with one input ``image`` (float32, [1, 3, height, width], RGB in [0, 1],
free height and width) and one float32 output for each layer, named as in the literature (``relu1_1`` …
``relu5_4``). Its first nodes apply mean, scale and channel order, so that its users need not know them. Its
``metadata_props`` say where it comes from; only this module knows their keys.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import NetworkError, shown
from ..graphs.network_graph import constant_value

if TYPE_CHECKING:
    import onnx


# Version of the metadata, one of its entries.
FORMAT = "1"

# Largest side, in pixels, of the images of a network of fixed size.
MAX_SIDE = 1024

# Prefix of the keys.
_PREFIX = "lbfgs_style."

# Layers used by default, see `default_layers`.
_STYLE_LAYER = re.compile(r"relu\d+_1")
_CONTENT_LAYERS = ("relu4_2", "relu4_1")


@dataclass(frozen=True, slots=True)
class Metadata:
    """Metadata of a feature network.

    Attributes
    ----------
    name : str
        Short name, as in ``vgg19``.
    source : str
        Where the weights come from, usually a URL.
    licence : str
        The licence of the weights.
    weights_sha256 : str
        `weights_sha256` of the model when it was written, 64 hexadecimal digits.
    style_layers, content_layers : tuple of str
        Layers used where the user chooses none.
    size : (int, int) or None
        Height and width in pixels of the only images that it takes, as for a transformer with an embedding
        for each position; None for a network that takes images of any size.
    """

    name: str
    source: str
    licence: str
    weights_sha256: str
    style_layers: tuple[str, ...]
    content_layers: tuple[str, ...]
    size: tuple[int, int] | None = None


def default_layers(layers: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Choose style and content layers among the outputs of a network.

    Style: every ``relu*_1`` (Gatys et al., CVPR 2016), or all outputs if none has such a name. Content:
    ``relu4_2``, else ``relu4_1``, else the last output.

    Parameters
    ----------
    layers : sequence of str
        Names of the outputs, from shallow to deep; at least one.

    Returns
    -------
    style_layers, content_layers : tuple of str
        Names of the chosen layers.
    """
    style = tuple(layer for layer in layers if _STYLE_LAYER.fullmatch(layer))
    content = next((layer for layer in _CONTENT_LAYERS if layer in layers), layers[-1])
    return style or tuple(layers), (content,)


def weights_sha256(model: onnx.ModelProto) -> str:
    """Return the fingerprint of the weights of a network, which does not depend on the encoding of the file.

    SHA-256 over the floating-point initialisers and constants, in the order of their names (by code point).
    Each one contributes its name in UTF-8, a zero byte, its dimensions in decimal joined by ``x``, a zero
    byte, and its values as little-endian float32 in C order. Integers (shapes, axes) belong to the graph, not
    to the weights, and are left out.

    Parameters
    ----------
    model : onnx.ModelProto
        A model without external data.

    Returns
    -------
    str
        64 lower-case hexadecimal digits.
    """
    from onnx import numpy_helper

    digest = hashlib.sha256()
    folded = (tensor for tensor in map(constant_value, model.graph.node) if tensor is not None)
    for tensor in sorted((*model.graph.initializer, *folded), key=lambda item: item.name):
        array = numpy_helper.to_array(tensor)
        if not np.issubdtype(array.dtype, np.floating):
            continue
        shape = "x".join(str(size) for size in array.shape)
        digest.update(f"{tensor.name}\0{shape}\0".encode())
        digest.update(np.ascontiguousarray(array, dtype="<f4").tobytes())
    return digest.hexdigest()


def describe(
    model: onnx.ModelProto,
    *,
    name: str,
    source: str,
    licence: str,
    style_layers: Sequence[str],
    content_layers: Sequence[str],
    size: tuple[int, int] | None = None,
) -> onnx.ModelProto:
    """Write the metadata of a feature network into `model`, with the fingerprint of its weights.

    Parameters
    ----------
    model : onnx.ModelProto
        Changed in place. Keys of other programs are kept.
    name, source, licence : str
        See `Metadata`.
    style_layers, content_layers : sequence of str
        Layers used where the user chooses none; each must be an output of the model.
    size : (int, int), optional
        See `Metadata`.

    Returns
    -------
    onnx.ModelProto
        The same object.

    Raises
    ------
    NetworkError
        If a layer is not an output of the model.
    """
    outputs = [value.name for value in model.graph.output]
    for layer in (*style_layers, *content_layers):
        if layer not in outputs:
            raise NetworkError(
                f"Cannot describe the network {name!r}: its layer {layer!r} is not among its outputs "
                f"({', '.join(outputs)})."
            )
    entries = {
        "format": FORMAT,
        "name": name,
        "source": source,
        "licence": licence,
        "weights_sha256": weights_sha256(model),
        "style_layers": ",".join(style_layers),
        "content_layers": ",".join(content_layers),
    }
    if size is not None:
        entries["size"] = "x".join(map(str, size))
    foreign = [(prop.key, prop.value) for prop in model.metadata_props if not prop.key.startswith(_PREFIX)]
    del model.metadata_props[:]
    for key, value in [*foreign, *((_PREFIX + key, value) for key, value in entries.items())]:
        prop = model.metadata_props.add()
        prop.key, prop.value = key, value
    return model


def read_metadata(model: onnx.ModelProto) -> Metadata | None:
    """Read the metadata that `describe` wrote, or return None if there is none.

    Raises
    ------
    NetworkError
        If the metadata is of another format, or incomplete.
    """
    props = {
        prop.key.removeprefix(_PREFIX): prop.value
        for prop in model.metadata_props
        if prop.key.startswith(_PREFIX)
    }
    if not props:
        return None
    if props.get("format") != FORMAT:
        raise NetworkError(
            f"The network's metadata has format {props.get('format')!r}, this version reads {FORMAT!r}: "
            "upgrade lbfgs-style, or pull or export the network again."
        )
    try:
        return Metadata(
            name=props["name"],
            source=props["source"],
            licence=props["licence"],
            weights_sha256=props["weights_sha256"],
            style_layers=_split(props["style_layers"]),
            content_layers=_split(props["content_layers"]),
            size=_read_size(props["size"]) if "size" in props else None,
        )
    except KeyError as error:
        raise NetworkError(
            f"The network's metadata lacks {_PREFIX + error.args[0]!r}: pull or export the network again."
        ) from error


def _read_size(text: str) -> tuple[int, int]:
    if (
        not re.fullmatch(r"[1-9][0-9]{0,3}x[1-9][0-9]{0,3}", text)
        or max(map(int, text.split("x"))) > MAX_SIDE
    ):
        raise NetworkError(
            f"The network's metadata has the size {shown(text)}: expected height and width of at most "
            f"{MAX_SIDE} pixels, as in 224x224; pull or export the network again."
        )
    height, width = map(int, text.split("x"))
    return height, width


def _split(names: str) -> tuple[str, ...]:
    return tuple(name for name in names.split(",") if name)
