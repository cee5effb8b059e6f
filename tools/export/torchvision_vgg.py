"""torchvision's VGG16 and VGG19 without their classifiers, with published, random or a user's own weights.

torchvision from PyPI is built for CUDA. With a CPU build of PyTorch its compiled operators cannot be loaded.
torchvision tolerates that, but its import then fails at the first operator that it refers to ("operator
torchvision::nms does not exist"). No VGG needs these operators: `import_models` declares them, without any
code behind them, and imports again.
"""

from __future__ import annotations

import pickle
import re
import struct
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from lbfgs_style.errors import NetworkError, NetworkFileError, OptionError
from lbfgs_style.networks.vgg import LAYOUTS, convolution_names

# Seed of the random weights.
SEED = 0

# Name of a pooling → its module.
POOLS = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}

# Operators that the import refers to → their signatures.
_BOXES = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_DECLARATIONS = {"torchvision::nms": _BOXES, "torchvision::qnms": _BOXES}
_MISSING = re.compile(r"operator (torchvision::\w+) does not exist")

# Everything that torch.load raises for a file that is damaged or no weights.
_GARBLED = (AttributeError, EOFError, LookupError, RuntimeError, TypeError, ValueError)
_UNREADABLE = (*_GARBLED, pickle.UnpicklingError, struct.error)


def import_models() -> ModuleType:
    """Import ``torchvision.models``, with or without torchvision's compiled operators.

    Raises
    ------
    ImportError
        If torchvision is not installed.
    RuntimeError
        If its import fails for another reason than a missing operator of `_DECLARATIONS`.
    """
    try:
        from torchvision import models
    except RuntimeError as error:
        missing = _MISSING.fullmatch(str(error))
        if missing is None or missing[1] not in _DECLARATIONS:
            raise
        # Declared only now: where the compiled operators do load, a second declaration would be an error. A
        # call of one raises PyTorch's NotImplementedError, which names it.
        for name, schema in _DECLARATIONS.items():
            torch.library.define(name, schema)
        from torchvision import models
    return models


def load_vgg(arch: str, weights: str) -> nn.Module:
    """Load a VGG for evaluation; its classifier (85 % of the weights) is left out.

    Parameters
    ----------
    arch : {"vgg16", "vgg19"}
        Which network.
    weights : str
        ``imagenet``: downloaded by torchvision, hash verified. ``random``: He et al., "Delving Deep into
        Rectifiers" (ICCV 2015), always the same numbers: activations keep their size through all layers.
        Anything else is the path of a ``.pth`` file: a state dict with torchvision's names.

    Returns
    -------
    nn.Module
        torchvision's ``VGG``; ``features`` maps images [N,3,H,W], normalised as in `normalize`.

    Raises
    ------
    NetworkError
        If `arch` is unknown, or the weights are damaged or of another network.
    NetworkFileError
        If they cannot be downloaded or read.
    """
    convolution_names(arch)  # refuses an unknown architecture
    models = import_models()
    # On the meta device, which has no memory: else all 140 million weights would be initialised first.
    with torch.device("meta"):
        vgg = models.get_model(arch, weights=None, init_weights=False)
    vgg.classifier = nn.Sequential()
    vgg.to_empty(device="cpu").eval()
    if weights == "random":
        _randomize(vgg)
    elif weights == "imagenet":
        _fill(vgg, _download(models, arch), f"The weights of torchvision's {arch}")
    else:
        _fill(vgg, _read(Path(weights)), f"The weights {weights!r}")
    return vgg


def with_pooling(vgg: nn.Module, pooling: str) -> nn.Sequential:
    """Return the features of a VGG with each of its pools replaced by ``max`` or ``average`` pooling.

    Raises
    ------
    OptionError
        If `pooling` is neither.
    """
    if pooling not in POOLS:
        raise OptionError(f"Unknown pooling {pooling!r}: expected {' or '.join(map(repr, POOLS))}.")
    modules = (POOLS[pooling](2) if isinstance(module, nn.MaxPool2d) else module for module in vgg.features)
    return nn.Sequential(*modules)


def normalize(image: Tensor, arch: str) -> Tensor:
    """Map RGB images [N,3,H,W] in [0,1] to what torchvision's weights expect: (x − mean) / std."""
    preset = import_models().get_model_weights(arch).IMAGENET1K_V1.transforms()
    mean, std = (torch.tensor(values)[:, None, None] for values in (preset.mean, preset.std))
    return (image - mean) / std


def layers_of(features: nn.Sequential, x: Tensor) -> dict[str, Tensor]:
    """Run normalised images through `features` and return every ReLU as ``relu1_1`` … in order."""
    outputs: dict[str, Tensor] = {}
    block, layer = 1, 0
    for module in features:
        x = module(x)
        if isinstance(module, nn.ReLU):
            layer += 1
            outputs[f"relu{block}_{layer}"] = x
        elif not isinstance(module, nn.Conv2d):
            block, layer = block + 1, 0
    return outputs


def _randomize(vgg: nn.Module) -> None:
    generator = torch.Generator().manual_seed(SEED)
    for module in vgg.features:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            # Not zero, so that a misplaced bias shows.
            nn.init.normal_(module.bias, std=0.1, generator=generator)


def _download(models: ModuleType, arch: str) -> Mapping[str, Any]:
    published = models.get_model_weights(arch).IMAGENET1K_V1
    try:
        return published.get_state_dict(progress=True, check_hash=True)
    except (OSError, HTTPException) as error:
        raise NetworkFileError(
            f"Cannot download {published.url} ({_one_line(error)}): try again, or get the file by other "
            "means and give its path as the weights."
        ) from error
    except _UNREADABLE as error:
        raise NetworkError(
            f"The download of {published.url} is damaged ({_one_line(error)}): delete it and try again."
        ) from error


def _read(path: Path) -> Any:
    try:
        return torch.load(path.expanduser(), map_location="cpu", weights_only=True)
    except OSError as error:
        raise NetworkFileError(
            f"Cannot read the weights {str(path)!r} ({error.strerror or type(error).__name__}): "
            "expected 'imagenet', 'random' or the path of a .pth file."
        ) from error
    except _UNREADABLE as error:
        raise NetworkError(
            f"{str(path)!r} is not a PyTorch state dict, or is damaged ({type(error).__name__}): expected a "
            ".pth file of tensors, as torch.save(vgg.state_dict()) writes it."
        ) from error


def _fill(vgg: nn.Module, weights: Any, label: str) -> None:
    """Copy the tensors of `weights` into `vgg`; the classifier's, if any, are ignored."""
    tensors: dict[Any, Any] = dict(weights) if isinstance(weights, Mapping) else {}
    wanted = vgg.state_dict()
    for name, tensor in wanted.items():
        candidate = tensors.get(name)
        if (
            not isinstance(candidate, Tensor)
            or candidate.shape != tensor.shape
            or not candidate.is_floating_point()
        ):
            got = list(candidate.shape) if isinstance(candidate, Tensor) else "nothing usable"
            raise NetworkError(
                f"{label} do not fit: expected {name!r} of shape {list(tensor.shape)}, got {got}; "
                f"give a state dict of the same architecture ({' or '.join(LAYOUTS)})."
            )
    vgg.load_state_dict({name: tensors[name] for name in wanted})


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
