"""NIN as Caffe's users know it, and a small transformer of a fixed size, from PyTorch's exporters."""

from __future__ import annotations

import cv2
import numpy as np
import onnx
import pytest

from lbfgs_style import networks
from lbfgs_style.networks.pooling import with_pooling
from tests.helpers.command import one_error, paint, run
from tests.helpers.torch_networks import exported, gradient_error

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

SIDE = 128
MEAN = (103.939, 116.779, 123.68)
NIN_LAYERS = ("relu0", "relu3", "relu7")


class Nin(torch.nn.Module):
    """Network in Network (Lin, Chen and Yan, 2014): after each convolution, two of 1×1."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        rows = [
            (3, 96, 11, 4, 0, 96),
            (96, 256, 5, 1, 2, 256),
            (256, 384, 3, 1, 1, 384),
            (384, 1024, 3, 1, 1, 1000),
        ]
        self.convolutions = torch.nn.ModuleList()
        for inputs, outputs, side, stride, pad, last in rows:
            self.convolutions += [
                torch.nn.Conv2d(inputs, outputs, side, stride, pad),
                torch.nn.Conv2d(outputs, last if last < 1000 else 1024, 1),
                torch.nn.Conv2d(last if last < 1000 else 1024, last, 1),
            ]
        self.pool = torch.nn.MaxPool2d(3, 2, ceil_mode=True)

    def forward(self, x):
        layers = []
        for index, convolution in enumerate(self.convolutions):
            x = self.pool(x) if index in (3, 6, 9) else x
            x = torch.relu(convolution(x))
            layers += [x] if index in (0, 3, 7) else []
        return (*layers, x)


class Transformer(torch.nn.Module):
    """A vision transformer (Dosovitskiy et al., 2021) of two blocks, with its tokens as maps."""

    def __init__(self, width: int = 48, patch: int = 16) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.side = SIDE // patch
        self.patches = torch.nn.Conv2d(3, width, patch, patch)
        self.first = torch.nn.Parameter(torch.randn(1, 1, width) / 50)
        self.places = torch.nn.Parameter(torch.randn(1, self.side**2 + 1, width) / 50)
        settings = {"dropout": 0.0, "activation": "gelu", "batch_first": True, "norm_first": True}
        self.blocks = torch.nn.ModuleList(
            torch.nn.TransformerEncoderLayer(width, 4, 4 * width, **settings) for _ in range(2)
        )

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.first, x], 1) + self.places
        layers = []
        for block in self.blocks:
            x = block(x)
            layers.append(x[:, 1:].transpose(1, 2).reshape(1, -1, self.side, self.side))
        return tuple(layers)


class Normalized(torch.nn.Module):
    """A module of an image in [0, 1]."""

    def __init__(self, module, *, is_caffe: bool) -> None:
        super().__init__()
        self.module, self.is_caffe = module, is_caffe

    def forward(self, image):
        if self.is_caffe:
            image = 255 * image.flip(1) - torch.tensor(MEAN).reshape(1, 3, 1, 1)
        else:
            image = (image - 0.5) / 0.5
        return self.module(image)


def add(name: str, model: onnx.ModelProto, *options: str) -> networks.FeatureNetwork:
    onnx.save(model, f"{name}.onnx")
    assert run("networks", "add", f"{name}.onnx", "--name", name, "--force", *options) == 0
    return networks.load(name)


@pytest.mark.parametrize(("dynamo", "is_free"), [(False, False), (False, True), (True, False)])
def test_nin_is_added_with_caffes_colours_and_paints(dynamo, is_free, folder) -> None:
    """Two strides are no powers of two, as its first convolution has no padding."""
    nin = Nin().eval()
    model = exported(nin, [*NIN_LAYERS, "last"], SIDE, dynamo=dynamo, is_free=is_free, name="data")
    colours = ("--bgr", "--range", "255", "--mean", ",".join(map(str, MEAN)))
    network = add("nin", model, *colours)
    assert (network.size, network.style_layers[0]) == (None, "relu0")
    assert len(network.style_layers) == 3
    network = add("nin", model, *colours, "--layers", ",".join(NIN_LAYERS), "--content", "relu7")
    assert network.style_layers == NIN_LAYERS
    caffe = Normalized(lambda image: nin(image)[:3], is_caffe=True)
    assert min(gradient_error(network, caffe, NIN_LAYERS, SIDE, seed) for seed in range(3)) < 1e-4
    assert {each.op_type for each in with_pooling(network, "average").model.graph.node} >= {"AveragePool"}
    photo_of(SIDE, 100)
    assert paint("nin", "--size", SIDE, "--iterations", 3) == 0
    assert cv2.imread("out.png").shape == (100, SIDE, 3)


def photo_of(width: int, height: int) -> None:
    """Replace the photo and the painting of the folder by some of another shape."""
    rng = np.random.default_rng(0)
    for name in ("photo.png", "painting.png"):
        cv2.imwrite(name, rng.integers(0, 256, (height, width, 3), np.uint8))


def test_a_transformer_is_added_at_its_size_and_refuses_others(folder, capfd) -> None:
    model = exported(Transformer().eval(), ["b0", "b1"], SIDE, dynamo=True, is_free=False, name="pixels")
    options = ("--mean", "0.5", "--std", "0.5", "--layers", "b0,b1", "--content", "b1")
    network = add("vit", model, *options)
    assert "vit takes images of 128×128 pixels alone" in capfd.readouterr().out
    assert (network.size, network.layers) == ((SIDE, SIDE), ("b0", "b1"))
    module = Normalized(Transformer().eval(), is_caffe=False)
    assert gradient_error(network, module, ["b0", "b1"], SIDE, 0) < 1e-4
    assert run("networks", "info", "vit") == 0
    assert "128×128 pixels alone" in capfd.readouterr().out
    photo_of(SIDE, SIDE)
    assert paint("vit", "--size", SIDE, "--scales", "single", "--iterations", 3) == 0
    assert cv2.imread("out.png").shape == (SIDE, SIDE, 3)
    capfd.readouterr()
    assert paint("vit", "--size", 96, "--scales", "single") == 2
    one_error(capfd, "takes images of 128×128 pixels alone, got 96×96")
    photo_of(SIDE, 100)
    assert paint("vit", "--size", SIDE, "--scales", "single") == 2
    one_error(capfd, "crop the images to that shape")
    assert run("networks", "add", "vit.onnx", "--name", "free") == 2
    one_error(capfd, "no activation .* name layers with --layers")
