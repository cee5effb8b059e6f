"""Our side of every comparison, and the pictures and weights that both sides get; without PyTorch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lbfgs_style import Options, networks
from lbfgs_style.networks import vgg
from lbfgs_style.objective.engine import Engine
from lbfgs_style.objective.evaluation import Objective
from lbfgs_style.objective.losses.terms import LossTerms
from lbfgs_style.settings.options import Convolution, Device

_DEFAULTS = Options()

# Options of a run whose loss PyTorch's side computes, too: Gram matrices, the network's own pooling.
AS_PYTORCH = {"style_statistic": "gram", "pooling": None, "variables": "spectral"}

GATYS_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")

# Term of the loss → its default weight.
WEIGHTS = {
    "content": _DEFAULTS.content_weight,
    "style": _DEFAULTS.style_weight,
    "tv": _DEFAULTS.tv_weight,
    "range": _DEFAULTS.range_weight,
}
# Channels of the blocks of VGG.
WIDTHS = {"1": 64, "2": 128, "3": 256, "4": 512, "5": 512}


def random_vgg19() -> networks.FeatureNetwork:
    """Return VGG19 up to relu5_1 with random weights (He et al. 2015): as large as the real one."""
    rng = np.random.default_rng(0)
    weights, inputs = {}, 3
    for name in vgg.convolution_names("vgg19")[:13]:
        outputs = WIDTHS[name[4]]
        kernel = rng.normal(0, np.sqrt(2 / (9 * inputs)), (outputs, inputs, 3, 3))
        weights[name] = (kernel.astype(np.float32), np.zeros(outputs, np.float32))
        inputs = outputs
    return vgg19_of(weights)


def bench_network(name: str) -> networks.FeatureNetwork:
    """Return VGG19 with random weights, or a network with the style layers of Gatys et al. if it has them.

    So the bundled network is measured at relu1_1 to relu5_1, though its own choice ends at relu4_1.
    """
    if name in ("vgg19", "random-vgg19"):
        return random_vgg19()
    network = networks.load(name)
    has_all = set(GATYS_LAYERS) <= set(network.layers)
    return replace(network, style_layers=GATYS_LAYERS) if has_all else network


def vgg19_of(weights: vgg.Weights, pooling: vgg.Pooling = "max") -> networks.FeatureNetwork:
    """Return VGG19 up to relu5_1 with these weights, with the layers that Gatys et al. use."""
    model = vgg.build(
        "vgg19",
        weights,
        normalization=vgg.TORCHVISION,
        pooling=pooling,
        until="relu5_1",
        name="vgg19",
        source="random",
        licence="none",
    )
    return networks.from_model(model)


def our_objective(
    network: networks.FeatureNetwork,
    content: np.ndarray,
    style: np.ndarray,
    threads: int,
    convolution: Convolution = "auto",
    device: Device = "cpu",
) -> Objective:
    """Return the objective of pictures [1,3,H,W] with the default layers of a network."""
    engine = Engine(network, device=device, threads=threads, keep_sessions=False, convolution=convolution)
    terms = LossTerms(network.content_layers, network.style_layers)
    targets = engine.statistics(content[0], LossTerms(terms.content_layers, ()), what="content")
    targets |= engine.statistics(style[0], LossTerms((), terms.style_layers), what="style")
    content_share = WEIGHTS["content"] / len(terms.content_layers)
    style_share = WEIGHTS["style"] / len(terms.style_layers)
    of_layers = [content_share] * len(terms.content_layers) + [style_share] * len(terms.style_layers)
    weights = np.array([*of_layers, WEIGHTS["tv"], WEIGHTS["range"]], np.float32)
    return engine.objective((content.shape[2], content.shape[3]), terms, targets, weights)


def smooth_pictures(size: int) -> tuple[np.ndarray, ...]:
    """Return random pictures [1,3,size,size] with structure at several scales: photo, painting, current."""
    rng = np.random.default_rng(0)
    pictures = []
    for _ in range(3):
        total = np.zeros((3, size, size))
        for cells in (4, 16, 64, size):
            noise = rng.normal(size=(3, cells, cells))
            total += np.repeat(np.repeat(noise, -(-size // cells), 1), -(-size // cells), 2)[:, :size, :size]
        pictures.append(np.clip(0.5 + total[None] / 8, 0, 1).astype(np.float32))
    return tuple(pictures)
