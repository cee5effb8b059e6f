"""Pooling in place of a network's own, against NumPy and against networks built with it."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator

from lbfgs_style import Options, StyleTransfer, networks
from lbfgs_style.errors import NetworkError
from lbfgs_style.graphs.autodiff import gradients
from lbfgs_style.graphs.builder import GraphBuilder
from lbfgs_style.graphs.network_graph import with_network
from lbfgs_style.graphs.receptive_fields import receptive_fields, smallest_side
from lbfgs_style.networks.pooling import with_pooling
from tests.helpers.small_networks import small_vgg

LAYERS = ("relu2_1", "relu3_1")


def features(network: networks.FeatureNetwork, image: np.ndarray) -> list[np.ndarray]:
    b = with_network(network.model, image.shape[2:], LAYERS)
    for layer in LAYERS:
        b.output(layer)
    return ReferenceEvaluator(b.model()).run(LAYERS, {"image": image})


@pytest.mark.parametrize(("built", "pooling"), [("max", "average"), ("average", "max"), ("max", None)])
def test_replaced_pooling_equals_a_network_built_with_it(built: str, pooling: str | None) -> None:
    image = np.random.default_rng(0).uniform(0, 1, (1, 3, 13, 18)).astype(np.float32)
    actual = features(with_pooling(small_vgg(pooling=built), pooling), image)
    for ours, expected in zip(actual, features(small_vgg(pooling=pooling or built), image), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-6)


def one_pool() -> networks.FeatureNetwork:
    b = GraphBuilder()
    b.op(
        "MaxPool",
        b.input("image", [1, 3, "h", "w"]),
        name="pool1",
        attributes={"kernel_shape": [2, 2], "strides": [2, 2]},
    )
    b.output("pool1")
    model = b.model()
    return networks.FeatureNetwork(model, "p", "", "", "", ("pool1",), ("pool1",), ("pool1",))


@pytest.mark.parametrize(
    ("pooling", "expected"), [("max", 4.0), ("average", 2.5), ("l2", np.sqrt((1 + 4 + 9 + 16) / 4))]
)
def test_a_window_by_hand(pooling: str, expected: float) -> None:
    image = np.tile(np.array([[1.0, 2], [3, 4]], np.float32), (1, 3, 1, 1))
    actual = ReferenceEvaluator(with_pooling(one_pool(), pooling).model).run(None, {"image": image})[0]
    np.testing.assert_allclose(actual, np.full((1, 3, 1, 1), expected), rtol=1e-6)


def test_l2_has_a_finite_slope_everywhere() -> None:
    """x / (4 y) at any x, 0 where a window is all zero, and in the odd last row and column."""
    rng = np.random.default_rng(1)
    image = rng.normal(size=(1, 3, 5, 7)) * np.array([0, 1, 1e-9]).reshape(1, 3, 1, 1)
    b = with_network(with_pooling(one_pool(), "l2").model, (5, 7), ["pool1"], np.float64)
    b.output(gradients(b, {"pool1": b.constant(np.ones((1, 3, 2, 3)))}, ["image"])["image"], "d")
    gradient = ReferenceEvaluator(b.model()).run(None, {"image": image})[0]
    windows = image[0, 1, :4, :6].reshape(2, 2, 3, 2)
    means = np.sqrt((windows**2).mean((1, 3), keepdims=True))
    np.testing.assert_allclose(gradient[0, 1, :4, :6], (windows / means / 4).reshape(4, 6), rtol=1e-6)
    assert (gradient[0, 0] == 0).all()
    assert np.abs(gradient).max() <= 0.5
    assert (gradient[..., 4, :] == 0).all()


def test_sizes_and_receptive_fields_stay() -> None:
    plain, l2 = small_vgg(), with_pooling(small_vgg(), "l2")
    assert smallest_side(l2.model, LAYERS) == smallest_side(plain.model, LAYERS) == 4
    assert receptive_fields(l2.model, LAYERS) == receptive_fields(plain.model, LAYERS)


@pytest.mark.parametrize("pooling", ["max", "average", "l2"])
def test_a_run_uses_it(pooling: str) -> None:
    """The report's fingerprint is that of the network's own weights."""
    photo, painting = np.random.default_rng(2).uniform(0, 1, (2, 24, 24, 3))
    network = small_vgg()
    before = network.model.SerializeToString()
    options = Options(size=24, iterations=3, device="cpu", threads=1, pooling=pooling)
    result = StyleTransfer(network, options=options).run(photo, painting)
    assert result.scales[-1].loss_end < result.scales[-1].loss_start
    assert network.model.SerializeToString() == before
    assert result.settings["network"]["sha256"] == networks.weights_sha256(network.model)
    plain = StyleTransfer(network, options=Options(size=24, iterations=3, device="cpu", threads=1))
    is_same = plain.run(photo, painting).history == result.history
    assert is_same == (pooling == "average")


def test_dilations_of_one_are_left_out_and_others_refused() -> None:
    """PyTorch writes dilations into every MaxPool."""
    network = small_vgg()
    for node in network.model.graph.node:
        if node.op_type == "MaxPool":
            node.attribute.append(helper.make_attribute("dilations", [1, 1]))
    changed = with_pooling(network, "average")
    assert {a.name for n in changed.model.graph.node if n.op_type == "AveragePool" for a in n.attribute} <= {
        *("kernel_shape", "strides", "pads", "auto_pad", "ceil_mode")
    }
    for node in network.model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "MaxPool" and attribute.name == "dilations":
                attribute.ints[:] = [2, 2]
    with pytest.raises(NetworkError, match="has dilations, with which there is no l2 pooling"):
        with_pooling(network, "l2")
