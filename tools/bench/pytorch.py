"""The other side of every comparison: the same objective in PyTorch, eager or compiled."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from onnx import NodeProto, numpy_helper
from torch import Tensor
from torch.nn import functional

from lbfgs_style import networks
from tools.bench.ours import WEIGHTS


class TorchNetwork:
    """A feature network's graph in PyTorch: the same operators, the same weights."""

    def __init__(
        self, network: networks.FeatureNetwork, dtype: torch.dtype = torch.float32, device: str = "cpu"
    ) -> None:
        graph = network.model.graph
        self.weights = {
            t.name: torch.tensor(numpy_helper.to_array(t), dtype=dtype, device=device)
            for t in graph.initializer
        }
        self.steps: list[tuple[str, Callable[[dict[str, Tensor]], Tensor]]] = []
        for node in graph.node:
            self.steps.append((node.output[0], self._step(node)))

    def _step(self, node: NodeProto) -> Callable[[dict[str, Tensor]], Tensor]:
        source, *rest = node.input
        attributes = {a.name: list(a.ints) for a in node.attribute}
        if node.op_type == "Conv":
            padding = attributes.get("pads", [0, 0])[:2]
            kernel, bias = (self.weights[name] for name in rest)
            return lambda tensors: functional.conv2d(tensors[source], kernel, bias, padding=padding)
        pools = {"MaxPool": functional.max_pool2d, "AveragePool": functional.avg_pool2d}
        if node.op_type in pools:
            return lambda tensors: pools[node.op_type](tensors[source], 2)
        if node.op_type == "Relu":
            return lambda tensors: functional.relu(tensors[source])
        raise SystemExit(
            f"the PyTorch side has no operator {node.op_type}: expected Conv, Relu, MaxPool or AveragePool"
        )

    def __call__(self, image: Tensor, layers: tuple[str, ...]) -> dict[str, Tensor]:
        """Return the features of `layers` of a picture [1,3,H,W]; deeper ones are not computed."""
        tensors, wanted = {"image": image}, set(layers)
        for name, step in self.steps:
            tensors[name] = step(tensors)
            wanted.discard(name)
            if not wanted:
                break
        return {layer: tensors[layer] for layer in layers}


class TorchObjective:
    """The objective of NumPy pictures [1,3,H,W] in PyTorch, by its autograd.

    Parameters
    ----------
    network : FeatureNetwork
        Gives graph and weights.
    content, style : array [1,3,H,W]
        The images that set the targets.
    dtype : torch.dtype
        Of all tensors.
    compiled : bool
        Compile loss and gradient with ``torch.compile``, in place of eager operators.
    device : str
        PyTorch's name of the device.
    """

    def __init__(
        self,
        network: networks.FeatureNetwork,
        content: np.ndarray,
        style: np.ndarray,
        dtype: torch.dtype = torch.float32,
        *,
        compiled: bool = False,
        device: str = "cpu",
    ) -> None:
        self.network, self.dtype, self.device = TorchNetwork(network, dtype, device), dtype, device
        self.content_layers, self.style_layers = network.content_layers, network.style_layers
        with torch.no_grad():
            self.features = self.network(torch.from_numpy(content).to(device, dtype), self.content_layers)
            tensors = self.network(torch.from_numpy(style).to(device, dtype), self.style_layers)
            self.grams = {layer: self._gram(features) for layer, features in tensors.items()}
        self.function = torch.compile(self.loss) if compiled else self.loss

    @staticmethod
    def _gram(features: Tensor) -> Tensor:
        flat = features.flatten(2)[0]
        return flat @ flat.T / flat.shape[1]

    def loss(self, image: Tensor) -> Tensor:
        """Return the loss of a picture [1,3,H,W]."""
        tensors = self.network(image, tuple(dict.fromkeys((*self.content_layers, *self.style_layers))))
        content = style = torch.zeros((), dtype=self.dtype, device=self.device)
        for layer, goal in self.features.items():
            content = content + (tensors[layer] - goal).square().sum() / goal.square().sum()
        for layer, goal in self.grams.items():
            style = style + (self._gram(tensors[layer]) - goal).square().sum() / goal.square().sum()
        pixels = image.shape[2] * image.shape[3]
        rows, columns = image.diff(dim=2).square().sum(), image.diff(dim=3).square().sum()
        outside = (image - image.clamp(0, 1)).square().sum()
        return (
            WEIGHTS["content"] * content / len(self.features)
            + WEIGHTS["style"] * style / len(self.grams)
            + WEIGHTS["tv"] * (rows + columns) / pixels
            + WEIGHTS["range"] * outside / pixels
        )

    def __call__(self, image: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the loss and its gradient at a picture [1,3,H,W]."""
        x = torch.tensor(image, dtype=self.dtype, device=self.device, requires_grad=True)
        loss = self.function(x)
        (gradient,) = torch.autograd.grad(loss, x)
        return float(loss.detach()), gradient.cpu().numpy()
