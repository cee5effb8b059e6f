"""Export torchvision's VGG19 (or VGG16) and its gradient as ONNX files, and check them against PyTorch.

::

    python -m tools.export
    python -m tools.export --until relu5_1 --pooling average --output models/vgg19-average.onnx
    python -m tools.export --arch vgg16 --weights my_vgg16.pth

``models/vgg19.onnx`` maps ``image`` (float32 [1,3,H,W], RGB in [0,1]) to every ReLU (``relu1_1`` …).
``models/vgg19_gradient.onnx`` maps ``image`` and a cotangent for each layer (``d_relu1_1`` …) to ``d_image``.
Both are written by lbfgs_style itself, not by torch.onnx: PyTorch gives the weights and the numbers that the
files are checked against. Needs ``pip install 'lbfgs-style[export]'``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lbfgs_style.errors import (
    GraphError,
    NetworkError,
    NetworkFileError,
    OptionError,
    StyleError,
    did_you_mean,
)
from lbfgs_style.networks import vgg
from lbfgs_style.networks.catalog import known
from lbfgs_style.networks.metadata import default_layers
from lbfgs_style.networks.published_weights import vgg_weights
from lbfgs_style.objective.whole_graphs import gradient_graph
from lbfgs_style.system.files import atomic_write

if TYPE_CHECKING:
    import onnx
    from torch import nn

# Folder of the files by default.
MODELS = Path(__file__).resolve().parents[2] / "models"

# Side, in pixels, of the image that is compared with PyTorch.
CHECK_SIZE = 64

# Largest relative differences from PyTorch. Rounding of float32 stays below 1e-5 in the features. In the
# gradient it may switch a ReLU or the choice of a maximum, which weighs up to a few percent in an image this
# small; a wrong graph is off by about 1.
FEATURE_TOLERANCE, GRADIENT_TOLERANCE = 1e-3, 0.1


@dataclass(frozen=True, slots=True)
class Plan:
    """What to export; all choices are checked.

    Attributes
    ----------
    arch, weights, pooling : str
        As in `torchvision_vgg.load_vgg` and `lbfgs_style.networks.vgg.build`.
    layers : tuple of str
        Outputs of the network, shallow to deep.
    cotangents : tuple of str
        Layers whose cotangents the gradient takes.
    network, gradient : Path
        Files to write.
    """

    arch: str
    weights: str
    pooling: str
    layers: tuple[str, ...]
    cotangents: tuple[str, ...]
    network: Path
    gradient: Path


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command's arguments."""
    p = argparse.ArgumentParser(description="Export torchvision's VGG and its gradient as ONNX files.")
    p.add_argument(
        "--weights",
        default="imagenet",
        metavar="imagenet|random|FILE.pth",
        help="torchvision's download (default), fixed random numbers, or a state dict with torchvision's "
        "names, trained as torchvision does (RGB pictures, ImageNet's mean and standard deviation)",
    )
    p.add_argument("--output", type=Path, metavar="FILE.onnx", help="default: models/ARCH.onnx")
    p.add_argument("--arch", default="vgg19", metavar="vgg16|vgg19")
    p.add_argument("--until", metavar="LAYER", help="deepest layer to keep, as in relu5_1; default: the last")
    p.add_argument("--pooling", default="max", metavar="max|average")
    p.add_argument(
        "--layers",
        nargs="+",
        metavar="LAYER",
        help="layers whose cotangents the gradient takes; default: the style and content layers",
    )
    return p


def plan(args: argparse.Namespace) -> Plan:
    """Check the arguments before anything is downloaded or written.

    Raises
    ------
    NetworkError
        If the architecture or a layer is unknown.
    OptionError
        If the pooling or the output's name is not allowed.
    NetworkFileError
        If the output's folder does not exist.
    """
    layers = vgg.relu_names(args.arch)
    if args.until is not None:
        layers = layers[: layers.index(_one_of(args.until, layers, f"{args.arch} has no layer")) + 1]
    _one_of(args.pooling, ("max", "average"), "There is no pooling", OptionError)
    style, content = default_layers(layers)
    chosen = args.layers or (*style, *content)
    for layer in chosen:
        _one_of(layer, layers, "The exported network has no layer")
    network: Path = args.output or MODELS / f"{args.arch}.onnx"
    if network.suffix != ".onnx":
        raise OptionError(f"The output {str(network)!r} must end in .onnx, as in {network.stem}.onnx.")
    if not network.parent.is_dir():
        raise NetworkFileError(f"There is no folder {str(network.parent)!r} to write to: create it first.")
    cotangents = tuple(layer for layer in layers if layer in chosen)
    gradient = network.with_name(f"{network.stem}_gradient.onnx")
    return Plan(args.arch, args.weights, args.pooling, layers, cotangents, network, gradient)


def _one_of(word: str, choices: Sequence[str], complaint: str, error: type[StyleError] = NetworkError) -> str:
    if word not in choices:
        raise error(
            f"{complaint} {word!r}: expected one of {', '.join(choices)}.{did_you_mean(word, choices)}"
        )
    return word


def build(todo: Plan, source: nn.Module) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """Build the network and its gradient from the weights of torchvision's module."""
    arrays = {name: tensor.numpy() for name, tensor in source.state_dict().items()}
    origin, licence = _origin(todo)
    network = vgg.build(
        todo.arch,
        vgg_weights(todo.arch, arrays, "pth"),
        normalization=vgg.TORCHVISION,
        pooling="average" if todo.pooling == "average" else "max",
        until=todo.layers[-1],
        name=todo.network.stem,
        source=origin,
        licence=licence,
    )
    gradient = gradient_graph(network, todo.cotangents)
    gradient.doc_string = (
        f"Gradient of {todo.network.name}: d_image = sum over layers of (d layer / d image)^T d_layer. "
        f"Weights: {origin} ({licence})."
    )
    return network, gradient


def _origin(todo: Plan) -> tuple[str, str]:
    """Return source and licence of the weights."""
    if todo.weights == "imagenet":
        row = known(todo.arch)
        return row.url or "", row.licence
    if todo.weights == "random":
        return "fixed random numbers", "none needed"
    return Path(todo.weights).name, "unknown"


def compare(todo: Plan, source: nn.Module, network: Path, gradient: Path) -> tuple[float, float]:
    """Run both files on a random picture and compare them with PyTorch.

    Returns
    -------
    features, gradient : float
        ‖ONNX − PyTorch‖ / ‖PyTorch‖, for the features the largest of all layers.
    """
    import onnxruntime
    import torch

    from tools.export.torchvision_vgg import layers_of, normalize, with_pooling

    def run(path: Path, feeds: dict[str, Any]) -> list[Any]:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return list(session.run(None, feeds))

    rng = np.random.default_rng(0)
    picture = rng.random((1, 3, CHECK_SIZE, CHECK_SIZE), dtype=np.float32)
    image = torch.from_numpy(picture).requires_grad_()
    expected = layers_of(with_pooling(source, todo.pooling), normalize(image, todo.arch))
    outputs = run(network, {"image": picture})
    features = max(
        _difference(actual, expected[layer].detach().numpy())
        for layer, actual in zip(todo.layers, outputs, strict=True)
    )
    cotangents = {
        layer: rng.standard_normal(expected[layer].shape, dtype=np.float32) for layer in todo.cotangents
    }
    seeds = [torch.from_numpy(d) for d in cotangents.values()]
    (d_image,) = torch.autograd.grad([expected[layer] for layer in cotangents], image, seeds)
    (actual,) = run(gradient, {"image": picture} | {f"d_{layer}": d for layer, d in cotangents.items()})
    return features, _difference(actual, d_image.numpy())


def _difference(actual: Any, expected: Any) -> float:
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


def export(todo: Plan) -> tuple[float, float]:
    """Write both files, unless they differ from PyTorch, and return the relative differences.

    Raises
    ------
    GraphError
        If they differ from PyTorch by more than rounding explains.
    NetworkFileError
        If they cannot be written.
    """
    source = _load(todo)
    models = build(todo, source)
    try:
        with atomic_write(todo.network) as network, atomic_write(todo.gradient) as gradient:
            for path, model in zip((network, gradient), models, strict=True):
                path.write_bytes(model.SerializeToString())
            features, d_image = compare(todo, source, network, gradient)
            # "not <=" refuses NaN as well.
            if not (features <= FEATURE_TOLERANCE and d_image <= GRADIENT_TOLERANCE):
                raise GraphError(
                    f"The exported graphs differ from PyTorch by {features:.1e} (features, at most "
                    f"{FEATURE_TOLERANCE:.0e}) and {d_image:.1e} (gradient, at most "
                    f"{GRADIENT_TOLERANCE:.0e}): nothing was written."
                )
    except OSError as error:
        raise NetworkFileError(f"Cannot write {str(todo.network)!r}: {error.strerror or error}.") from error
    return features, d_image


def _load(todo: Plan) -> nn.Module:
    try:
        from tools.export.torchvision_vgg import load_vgg

        return load_vgg(todo.arch, todo.weights)
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "torchvision"):
            raise
        raise NetworkError(
            f"The export needs {error.name}, which is not installed: pip install 'lbfgs-style[export]'."
        ) from error


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 2 after one line on the standard error."""
    args = parser().parse_args(argv)
    try:
        todo = plan(args)
        features, gradient = export(todo)
    except StyleError as error:
        print(f"export: {error}", file=sys.stderr)
        return 2
    for path, layers in ((todo.network, todo.layers), (todo.gradient, todo.cotangents)):
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, {' '.join(layers)}")
    size = f"{CHECK_SIZE}×{CHECK_SIZE}"
    print(f"relative difference from PyTorch at {size}: features {features:.1e}, gradient {gradient:.1e}")
    return 0
