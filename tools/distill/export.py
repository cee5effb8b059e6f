"""Convert the networks of `tools.distill.model` to feature networks (ONNX)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor

from lbfgs_style import networks
from lbfgs_style.graphs.builder import GraphBuilder
from lbfgs_style.system.files import atomic_write
from tools.distill.model import DEFAULT_STYLE_LAYERS, LAYOUT, STYLE_LAYERS

SOURCE = (
    "Trained by tools.distill from a VGG19 of Wang et al., Collaborative Distillation for "
    "Ultra-Resolution Universal Style Transfer (CVPR 2020)"
)
LICENCE = (
    "MIT; learned from an MIT-licensed network (copyright (c) 2020 Huan Wang), itself distilled from VGG19 "
    "(CC BY 4.0, Visual Geometry Group, University of Oxford)"
)
CONTENT_LAYER = "relu4_1"


class _Writer:
    """Adds convolutions with their weights to a graph of free size."""

    def __init__(self) -> None:
        self.b = GraphBuilder()
        self.b.input("image", [1, 3, "height", "width"])

    def conv(self, x: str, name: str, weight: np.ndarray, bias: np.ndarray, *, pad: int | None = None) -> str:
        size = weight.shape[-1]
        names = [self.b.constant(weight, name=f"{name}.weight"), self.b.constant(bias, name=f"{name}.bias")]
        pads = [size // 2 if pad is None else pad] * 4
        return self.b.op(
            "Conv", x, *names, name=name, attributes={"kernel_shape": [size, size], "pads": pads}
        )

    def relu(self, x: str, name: str) -> str:
        return self.b.op("Relu", x, name=name)

    def pool(self, x: str, kind: str) -> str:
        return self.b.op(kind, x, attributes={"kernel_shape": [2, 2], "strides": [2, 2]})

    def model(self, layers: list[str], *, name: str, source: str, licence: str) -> onnx.ModelProto:
        for layer in layers:
            self.b.output(layer)
        model = self.b.model()
        content = [CONTENT_LAYER]
        return networks.describe(
            model,
            name=name,
            source=source,
            licence=licence,
            style_layers=DEFAULT_STYLE_LAYERS,
            content_layers=content,
        )


POOLS = {"average": "AveragePool", "max": "MaxPool"}


def student_model(state: dict[str, Tensor], pooling: str = "average") -> onnx.ModelProto:
    """Return the student as a feature network.

    Its relu1_1 … relu5_1 are the heads' coordinates; the other layers, relu1_2 … relu4_4, are the trunk's.
    """
    arrays = {key: value.numpy().astype(np.float32) for key, value in state.items()}
    w = _Writer()

    def conv(x: str, key: str, name: str) -> str:
        return w.conv(x, name, arrays[f"{key}.weight"], arrays[f"{key}.bias"])

    x, layers = conv("image", "preprocess", "preprocess"), []
    for block, count in enumerate(LAYOUT):
        if block:
            x = w.pool(x, POOLS[pooling])
        for position in range(count):
            label = f"{block + 1}_{position + 1}"
            x = conv(x, f"blocks.{block}.{position}", f"conv{label}")
            if position:
                x = w.relu(x, f"relu{label}")
            else:
                x = w.relu(x, f"trunk{label}")
                hidden = w.relu(conv(x, f"heads.{block}.0", f"hidden{label}"), f"hidden_relu{label}")
                conv(hidden, f"heads.{block}.1", f"relu{label}")
            layers.append(f"relu{label}")
    return w.model(layers, name="compact", source=SOURCE, licence=LICENCE)


def teacher_model(path: Path, pooling: str = "average") -> onnx.ModelProto:
    """Return the branch teacher as a feature network, for comparison; see `tools.distill.model`."""
    arrays = np.load(path)
    w = _Writer()

    def conv(x: str, name: str) -> str:
        return w.conv(x, name, arrays[f"{name}.weight"], arrays[f"{name}.bias"], pad=0)

    x = conv("image", "conv0")
    for block, count in enumerate(LAYOUT, start=1):
        if block > 1:
            x = w.pool(x, POOLS[pooling])
        for position in range(1, count + 1):
            margin = w.b.constant([0, 0, 1, 1, 0, 0, 1, 1], integer=True)
            x = w.b.op("Pad", x, margin, attributes={"mode": "reflect"})
            x = w.relu(conv(x, f"conv{block}{position}"), f"trunk{block}{position}")
            if position == 1:
                w.relu(conv(x, f"conv{block}1_aux"), f"relu{block}_1")
    return w.model(list(STYLE_LAYERS), name="teacher", source=path.name, licence="see its source")


def export(checkpoint: Path, output: Path) -> onnx.ModelProto:
    """Write the averaged student of a checkpoint to `output`."""
    state = torch.load(checkpoint, weights_only=True, map_location="cpu")
    model = student_model(state["average"], state.get("pooling", "max"))
    networks.from_model(model)  # raises what it would raise for a user
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(output) as temporary:
        temporary.write_bytes(model.SerializeToString())
    return model
