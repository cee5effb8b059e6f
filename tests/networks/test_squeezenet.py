"""SqueezeNet 1.1 out of a file of torchvision's names and shapes: features, gradient, a picture."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from lbfgs_style import Options, StyleTransfer, networks
from lbfgs_style.errors import GraphError, NetworkError
from lbfgs_style.networks import catalog, squeezenet
from lbfgs_style.networks.pull import pull
from lbfgs_style.objective.gradient_check import check_gradient
from lbfgs_style.objective.losses.terms import LossTerms
from tests.helpers.own_networks import Problem, around, far, node
from tests.helpers.vgg_weights import legacy_pth

SIDE = 128
# torchvision's table of the version 1.1: channels that a fire squeezes to, and of each half of its result.
WIDTHS = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))


def published_arrays() -> dict[str, np.ndarray]:
    """Return random weights with torchvision's names and shapes."""
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}

    def put(module: str, outputs: int, inputs: int, side: int) -> None:
        scale = np.sqrt(2 / (inputs * side**2))
        arrays[f"{module}.weight"] = rng.normal(0, scale, (outputs, inputs, side, side)).astype(np.float32)
        arrays[f"{module}.bias"] = rng.normal(0, 0.1, outputs).astype(np.float32)

    put("features.0", 64, 3, 3)
    channels = 64
    for index, (narrow, wide) in zip(squeezenet.FIRES.values(), WIDTHS, strict=True):
        put(f"features.{index}.squeeze", narrow, channels, 1)
        put(f"features.{index}.expand1x1", wide, narrow, 1)
        put(f"features.{index}.expand3x3", wide, narrow, 3)
        channels = 2 * wide
    put("classifier.1", 1000, 512, 1)
    return arrays


ARRAYS = published_arrays()


@pytest.fixture(scope="module")
def network() -> networks.FeatureNetwork:
    model = squeezenet.build(ARRAYS, name="squeezenet", source="test", licence="none")
    return networks.from_model(model)


def test_the_arrays_are_those_of_the_published_network() -> None:
    assert (len(ARRAYS), sum(array.size for array in ARRAYS.values())) == (52, 1_235_496)


def test_the_layers_have_the_sizes_of_the_literature(network) -> None:
    image = np.random.default_rng(1).random((1, 3, 64, 97)).astype(np.float32)
    values = ReferenceEvaluator(network.model).run(None, {"image": image})
    shapes = dict(zip(network.layers, (value.shape[1:] for value in values), strict=True))
    assert list(shapes) == ["relu1", *squeezenet.FIRES]
    assert shapes["relu1"] == (64, 31, 48)
    assert shapes["fire2"] == shapes["fire3"] == (128, 15, 24)
    assert shapes["fire4"] == shapes["fire5"] == (256, 7, 12)
    assert (shapes["fire6"], shapes["fire9"]) == ((384, 3, 6), (512, 3, 6))


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
def test_the_features_are_torchvisions(network) -> None:
    torch = pytest.importorskip("torch")
    if find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    from tools.export.torchvision_vgg import import_models

    theirs = import_models().squeezenet1_1(weights=None).eval()
    theirs.load_state_dict({name: torch.from_numpy(array) for name, array in ARRAYS.items()})
    image = np.random.default_rng(2).random((1, 3, 66, 71)).astype(np.float32)
    mean, std = (np.float32(v).reshape(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    expected, x = {}, torch.from_numpy((image - mean) / std)
    names = {1: "relu1"} | {index: fire for fire, index in squeezenet.FIRES.items()}
    with torch.no_grad():
        for index, module in enumerate(theirs.features):
            x = module(x)
            if index in names:
                expected[names[index]] = x.numpy().copy()
    values = ReferenceEvaluator(network.model).run(None, {"image": image})
    for layer, value in zip(network.layers, values, strict=True):
        np.testing.assert_allclose(value, expected[layer], rtol=1e-3, atol=1e-4 * expected[layer].max())


def test_the_gradient_is_that_of_central_differences(network) -> None:
    assert check_gradient(network) < 0.05


@pytest.mark.parametrize("format", ["legacy", "zip"])
def test_pull_makes_it_of_a_file_of_either_format(format, site, tmp_path, monkeypatch) -> None:
    if format == "zip":
        torch = pytest.importorskip("torch")
        torch.save(
            {name: torch.from_numpy(array) for name, array in ARRAYS.items()}, tmp_path / "weights.pth"
        )
        data = (tmp_path / "weights.pth").read_bytes()
    else:
        data = legacy_pth(ARRAYS)
    site.files["/squeezenet.pth"] = data
    monkeypatch.setenv("LBFGS_STYLE_CACHE", str(tmp_path / "cache"))
    row = replace(
        networks.known("squeezenet"),
        url=f"{site.url}/squeezenet.pth",
        size=len(data),
        known_hash="sha256:" + hashlib.sha256(data).hexdigest(),
    )
    others = (each for each in catalog.KNOWN if each.name != row.name)
    monkeypatch.setattr(catalog, "KNOWN", (*others, row))
    pulled = networks.load(pull("squeezenet"))
    networks.verify(pulled)
    assert (pulled.name, pulled.style_layers, pulled.content_layers) == (
        "squeezenet",
        ("relu1", "fire3", "fire4", "fire5"),
        ("fire2",),
    )
    stored = {tensor.name: np.frombuffer(tensor.raw_data, "<f4") for tensor in pulled.model.graph.initializer}
    np.testing.assert_array_equal(stored["fire9_3x3.weight"], ARRAYS["features.12.expand3x3.weight"].ravel())


@pytest.mark.parametrize("changed", [None, (64, 3, 5, 5), (64,)])
def test_weights_of_another_network_are_refused_by_name(changed) -> None:
    arrays = dict(ARRAYS)
    del arrays["features.0.weight"]
    if changed is not None:
        arrays["features.0.weight"] = np.ones(changed, np.float32)
    with pytest.raises(NetworkError, match=r"'features\.0' do not fit squeezenet1_1: expected a kernel"):
        squeezenet.build(arrays, name="s", source="", licence="")


@pytest.mark.parametrize("pooling", ["max", "average"])
def test_a_picture_is_painted(network, pooling) -> None:
    photo = np.random.default_rng(1).random((SIDE, SIDE, 3)).astype(np.float32)
    options = Options(size=SIDE, scales="single", iterations=3, pooling=pooling)
    result = StyleTransfer(network, options=options).run(photo, photo[::-1])
    assert np.isfinite(result.image).all()
    assert result.history[-1] < result.history[0]


def test_tiles_are_refused_by_name(network) -> None:
    """The first convolution has no padding, so layers are shorter than the image divided by their stride."""
    problem = Problem(network, (SIDE, SIDE), LossTerms(("fire2",), ("relu1", "fire3")))
    with pytest.raises(
        GraphError, match=r"the Conv node 'conv1' gives the layer '\w+' another height or width"
    ):
        problem.evaluate(SIDE**2 // 2)


def test_poolings_that_are_rounded_up_are_exact_in_tiles_and_blocks() -> None:
    pool = node("MaxPool", "r", "m", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    for size in ((40, 53), (41, 48)):
        problem = Problem(around(pool), size)
        loss, gradient = problem.evaluate()
        for value, slope in (problem.evaluate(700), problem.blocks(700)):
            assert value == pytest.approx(loss, rel=1e-4)
            assert far(slope, gradient) < 1e-3
    pooled = node("AveragePool", "r", "m", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
    with pytest.raises(GraphError, match="the AveragePool node 'm'"):
        Problem(around(pooled), (41, 48)).evaluate(700)
