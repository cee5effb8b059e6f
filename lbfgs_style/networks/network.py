"""Load feature networks: from a name (``vgg19``) or the path of an ``.onnx`` file to a `FeatureNetwork`.

Nothing is downloaded here: only `lbfgs_style.networks.pull` does that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import NetworkError, NetworkFileError, shown
from ..graphs.builder import OPSET
from ..graphs.network_graph import fold_constants
from .catalog import find
from .computed_sizes import settle_sizes
from .lowering import lower
from .metadata import Metadata, default_layers, read_metadata, weights_sha256
from .model_checks import check_interface, check_safety, to_opset
from .parse_limits import parse
from .size_checks import check_shapes

if TYPE_CHECKING:
    import onnx

# Largest network file in bytes: larger files are not feature networks.
MAX_BYTES = 1_000_000_000


@dataclass(frozen=True, slots=True)
class FeatureNetwork:
    """A checked feature network.

    Attributes
    ----------
    model : onnx.ModelProto
        Input ``image``: float32 [1, 3, height, width], RGB in [0, 1]. Must not be changed.
    name, source, licence : str
        Short name; where the weights come from; their licence.
    weights_sha256 : str
        Fingerprint of the weights according to the file; `verify` compares it with the weights.
    layers : tuple of str
        Outputs of four dimensions, in the order of the file (shallow to deep).
    style_layers, content_layers : tuple of str
        Layers used where the user chooses none.
    path : Path or None
        The file that it was read from.
    size : (int, int) or None
        Height and width of the only images that it takes; None if it takes any.
    """

    model: onnx.ModelProto = field(repr=False, compare=False)
    name: str
    source: str
    licence: str
    weights_sha256: str
    layers: tuple[str, ...]
    style_layers: tuple[str, ...]
    content_layers: tuple[str, ...]
    path: Path | None = None
    size: tuple[int, int] | None = None


def load(name_or_path: str | Path | FeatureNetwork) -> FeatureNetwork:
    """Find, read and check a network.

    Parameters
    ----------
    name_or_path : str, Path or FeatureNetwork
        As in `find`; a FeatureNetwork is returned unchanged.

    Raises
    ------
    NetworkError
        If the name is unknown, or the file is not a usable feature network (see `from_model`).
    NetworkFileError
        If the file is missing or unreadable.
    """
    if isinstance(name_or_path, FeatureNetwork):
        return name_or_path
    path = find(name_or_path)
    return from_model(read_model(path), path=path)


def read_model(path: Path) -> onnx.ModelProto:
    """Read an ONNX file within limits of size; nothing of it has been checked then.

    Raises
    ------
    NetworkError, NetworkFileError
        It is too large, no ONNX file, missing or unreadable.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise NetworkError(
                f"The network file {str(path)!r} has {size:,} bytes: expected at most {MAX_BYTES:,}."
            )
        data = path.read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise NetworkFileError(f"Cannot read the network file {str(path)!r}: {reason}.") from error
    return parse(data, str(path))


def from_bytes(data: bytes, path: Path) -> FeatureNetwork:
    """Check the bytes of a network's file, which messages call `path`, as `load` does."""
    return from_model(parse(data, str(path)), path=path)


def from_model(model: onnx.ModelProto, *, path: Path | None = None) -> FeatureNetwork:
    """Check a model and read its metadata.

    A model without metadata is named after its file, and gets its `default_layers`. Other opsets are
    converted, Constant nodes become initialisers.

    Parameters
    ----------
    model : onnx.ModelProto
        Input ``image``, float32 [1, 3, height, width] with free height and width; float32 outputs, of
        which those of four dimensions are the layers; no external data; only `model_checks.OPERATORS`.
    path : Path, optional
        The file that it comes from, for messages and the name.

    Raises
    ------
    NetworkError
        If the model or its metadata does not meet this, or the ONNX checker refuses the model.
    """
    label = "model"
    try:
        label = str(path) if path is not None else (model.graph.name[:60] or label)
        check_safety(model, label)
        layers = check_interface(model, label)
        model = settle_sizes(fold_constants(to_opset(lower(model), OPSET, label)))
        stored = read_metadata(model)
        check_shapes(model, layers, label, stored.size if stored else None)
        metadata = stored or _default_metadata(model, path, layers)
    except UnicodeDecodeError as error:
        raise NetworkError(
            f"The network {label!r} holds strings that are not UTF-8: export it again."
        ) from error
    for text in () if stored is None else (stored.name, stored.source, stored.licence, stored.weights_sha256):
        if not text.isprintable():
            raise NetworkError(
                f"The metadata of {label!r} holds {shown(text)}: expected text on one line; pull or "
                "export the network again."
            )
    for layer in (*metadata.style_layers, *metadata.content_layers):
        if layer not in layers:
            raise NetworkError(
                f"The metadata of {label!r} names the layer {shown(layer)}, which is not among its outputs "
                f"of four dimensions ({', '.join(layers)}): pull or export the network again."
            )
    return FeatureNetwork(
        model=model,
        name=metadata.name,
        source=metadata.source,
        licence=metadata.licence,
        weights_sha256=metadata.weights_sha256,
        layers=layers,
        style_layers=metadata.style_layers,
        content_layers=metadata.content_layers,
        path=path,
        size=metadata.size,
    )


def _default_metadata(model: onnx.ModelProto, path: Path | None, layers: tuple[str, ...]) -> Metadata:
    style, content = default_layers(layers)
    return Metadata(
        name=path.stem if path is not None else (model.graph.name or "custom"),
        source=str(path) if path is not None else "",
        licence="unknown",
        weights_sha256=weights_sha256(model),
        style_layers=style,
        content_layers=content,
    )


def verify(network: FeatureNetwork) -> None:
    """Compare the weights of a network with the fingerprint in its metadata.

    Raises
    ------
    NetworkError
        If they differ: the file was damaged or changed.
    """
    actual = weights_sha256(network.model)
    if actual != network.weights_sha256:
        raise NetworkError(
            f"The weights of {network.name!r} were damaged or changed: expected sha256 "
            f"{network.weights_sha256}, got {actual}; pull or export the network again."
        )
