"""Modules of PyTorch as ONNX networks, and the distance of our gradient to autograd's."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime

from lbfgs_style.graphs.autodiff import gradients
from lbfgs_style.graphs.network_graph import IMAGE, with_network
from lbfgs_style.networks.network import FeatureNetwork


def exported(
    module, outputs: Sequence[str], side: int, *, dynamo: bool, is_free: bool = True, name: str = "image"
) -> onnx.ModelProto:
    """Return what one of PyTorch's two exporters writes, of free or of fixed height and width."""
    import torch

    image = torch.rand(1, 3, side, side)
    names = {"input_names": [name], "output_names": list(outputs)}
    if dynamo:
        free = torch.export.Dim.DYNAMIC
        shapes = {"dynamic_shapes": ({2: free, 3: free},)} if is_free else {}
        program = torch.onnx.export(
            module, (image,), dynamo=True, opset_version=18, verbose=False, **shapes, **names
        )
        return program.model_proto
    file = io.BytesIO()
    axes = {each: {2: f"{each}_h", 3: f"{each}_w"} for each in (name, *outputs)} if is_free else {}
    torch.onnx.export(module, image, file, dynamo=False, opset_version=17, dynamic_axes=axes, **names)
    return onnx.load_from_string(file.getvalue())


def gradient_error(network: FeatureNetwork, module, outputs: Sequence[str], side: int, seed: int) -> float:
    """Return the distance to autograd's gradient of Σ c·layers, relative to its norm."""
    import torch

    graph = with_network(network.model, (side, side), outputs)
    seeds = {name: graph.input(f"d_{name}", list(graph.shape(name))) for name in outputs}
    graph.output(gradients(graph, seeds, [IMAGE])[IMAGE], "d_image")
    session = onnxruntime.InferenceSession(graph.model().SerializeToString())
    rng = np.random.default_rng(seed)
    image = torch.from_numpy(rng.random((1, 3, side, side), np.float32)).requires_grad_()
    layers = module(image)
    factors = [rng.normal(size=tuple(layer.shape)).astype(np.float32) for layer in layers]
    sum((layer * torch.from_numpy(c)).sum() for layer, c in zip(layers, factors, strict=True)).backward()
    inputs = {f"d_{name}": c for name, c in zip(outputs, factors, strict=True)}
    actual = session.run(None, {"image": image.detach().numpy(), **inputs})[0]
    expected = image.grad.numpy()
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))
