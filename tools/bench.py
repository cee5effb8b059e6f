"""Side-by-side measurements; every figure in the README names the command of this file that printed it.

    python tools/bench.py evaluate --size 512

Needs the extra `export` (PyTorch, torchvision) for the other side. Run it on a quiet machine: both sides are
timed in turn within one run, and medians and ratios are what to quote.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torchvision_vgg import load_vgg

from lbfgs_style import networks, vgg
from lbfgs_style.graphs import TermNames
from lbfgs_style.objective import Engine, Objective

STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
CONTENT_LAYER = "relu4_2"
WEIGHTS = {"content": 0.05, "style": 3.0, "tv": 1e-3, "range": 10.0}


class TorchObjective:
    """The same objective in PyTorch, eager autograd: relative losses of the same VGG19 at the same layers."""

    def __init__(self, features: nn.Sequential, content: Tensor, style: Tensor) -> None:
        self.layers = nn.ModuleList(nn.ReLU() if isinstance(m, nn.ReLU) else m for m in features)
        self.names = vgg.relu_names("vgg19")
        self.deepest = max(self.names.index(layer) for layer in (*STYLE_LAYERS, CONTENT_LAYER))
        mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        self.mean, self.std = mean, std
        with torch.no_grad():
            self.content = self._features(content)[CONTENT_LAYER]
            grams = self._features(style)
            self.grams = {layer: self._gram(grams[layer]) for layer in STYLE_LAYERS}

    def _features(self, image: Tensor) -> dict[str, Tensor]:
        x, found, index = (image - self.mean) / self.std, {}, 0
        for layer in self.layers:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                found[self.names[index]] = x
                if index == self.deepest:
                    break
                index += 1
        return found

    @staticmethod
    def _gram(features: Tensor) -> Tensor:
        flat = features.flatten(2)[0]
        return flat @ flat.T / flat.shape[1]

    def __call__(self, image: Tensor) -> tuple[float, Tensor]:
        """Return the loss and its gradient at a picture [1,3,H,W]."""
        image = image.detach().requires_grad_(True)
        features = self._features(image)
        content = (features[CONTENT_LAYER] - self.content).square().sum() / self.content.square().sum()
        style = torch.zeros(())
        for layer, goal in self.grams.items():
            difference = (self._gram(features[layer]) - goal).square().sum()
            style = style + difference / goal.square().sum() / len(self.grams)
        rows, columns = image.diff(dim=2).square().sum(), image.diff(dim=3).square().sum()
        variation = (rows + columns) / (image.shape[2] * image.shape[3])
        outside = (image - image.clamp(0, 1)).square().sum() / (image.shape[2] * image.shape[3])
        loss = WEIGHTS["content"] * content + WEIGHTS["style"] * style
        loss = loss + WEIGHTS["tv"] * variation + WEIGHTS["range"] * outside
        (gradient,) = torch.autograd.grad(loss, image)
        return float(loss.detach()), gradient


def our_network(features: nn.Sequential) -> networks.FeatureNetwork:
    """Return the same VGG19 as one of our feature networks."""
    convolutions = [m for m in features if isinstance(m, nn.Conv2d)]
    weights = {
        name: (m.weight.detach().numpy(), m.bias.detach().numpy())
        for name, m in zip(vgg.convolution_names("vgg19"), convolutions, strict=True)
    }
    model = vgg.build(
        "vgg19",
        weights,
        normalization=vgg.TORCHVISION,
        until="relu5_1",
        name="vgg19",
        source="random",
        licence="none",
    )
    return networks.from_model(model)


def our_objective(
    network: networks.FeatureNetwork, content: np.ndarray, style: np.ndarray, threads: int
) -> Objective:
    """Return the objective of pictures [1,3,H,W] with the default layers of a network."""
    engine = Engine(network, device="cpu", threads=threads, keep=False)
    terms = TermNames(network.content_layers, network.style_layers)
    targets = engine.statistics(content[0], TermNames(terms.content_layers, ()), what="content")
    targets |= engine.statistics(style[0], TermNames((), terms.style_layers), what="style")
    share = WEIGHTS["style"] / len(terms.style_layers)
    regular = (WEIGHTS["tv"], WEIGHTS["range"])
    weights = np.array([WEIGHTS["content"], *[share] * len(terms.style_layers), *regular], np.float32)
    return engine.objective((content.shape[2], content.shape[3]), terms, targets, weights)


def timed_in_turn(sides: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median seconds of each side, the sides taking turns; the first round is a warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, side in sides.items():
            start = time.perf_counter()
            side()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


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


def evaluate(arguments: argparse.Namespace) -> None:
    """Time one evaluation of loss and gradient: PyTorch, ours with the same VGG19, ours with `compact`."""
    torch.set_num_threads(arguments.threads)
    features = load_vgg("vgg19", "random").features.requires_grad_(False)
    content, style, current = smooth_pictures(arguments.size)
    theirs = TorchObjective(features, torch.from_numpy(content), torch.from_numpy(style))
    ours = our_objective(our_network(features), content, style, arguments.threads)
    compact = our_objective(networks.load("compact"), content, style, arguments.threads)
    loss, gradient = theirs(torch.from_numpy(current))
    found = ours(current[0])
    difference = np.linalg.norm(found.gradient - gradient[0].numpy()) / np.linalg.norm(gradient.numpy())
    seconds = timed_in_turn(
        {
            "vgg19 PyTorch": lambda: theirs(torch.from_numpy(current)),
            "vgg19 ours": lambda: ours(current[0]),
            "compact ours": lambda: compact(current[0]),
        },
        arguments.rounds,
    )
    result = {
        "size": arguments.size,
        "threads": arguments.threads,
        "machine": platform.processor() or platform.machine(),
        "seconds": seconds,
        "ratios": {
            "vgg19 PyTorch / vgg19 ours": seconds["vgg19 PyTorch"] / seconds["vgg19 ours"],
            "vgg19 ours / compact ours": seconds["vgg19 ours"] / seconds["compact ours"],
        },
        "relative difference of losses": abs(found.loss - loss) / loss,
        "relative difference of gradients": float(difference),
    }
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    print(
        f"one evaluation (loss and gradient) at {arguments.size}×{arguments.size}, "
        f"{arguments.threads} threads, median of {arguments.rounds}"
    )
    for name, value in seconds.items():
        print(f"  {name:34} {value:9.3f} s")
    for name, value in result["ratios"].items():
        print(f"  {name:34} {value:9.2f} ×")
    for name in ("relative difference of losses", "relative difference of gradients"):
        print(f"  {name:34} {result[name]:9.1e}")


def main() -> None:
    """Parse the command line and run one measurement."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    measurements = parser.add_subparsers(required=True)
    one = measurements.add_parser("evaluate", help=evaluate.__doc__)
    one.add_argument("--size", type=int, default=512)
    one.add_argument("--rounds", type=int, default=5)
    one.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    one.add_argument("--json", action="store_true", help="for programs")
    one.set_defaults(run=evaluate)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
