"""Sizes that a network computes from shapes: constants where they do not depend on the image."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator

from lbfgs_style import networks
from lbfgs_style.errors import NetworkError
from lbfgs_style.networks import adapt
from lbfgs_style.networks.computed_sizes import settle_sizes
from lbfgs_style.objective.gradient_check import check_gradient
from tests.helpers.own_networks import Problem, far, model, node, weights

OPERATORS = {"Conv", "Relu", "Gather", "Slice"}


def length(axis: int) -> list[onnx.NodeProto]:
    """Return nodes that compute the length ``n<axis>`` [1] of r, as PyTorch's exporter writes them."""
    return [
        node("Shape", "r", f"shape{axis}"),
        node("Gather", f"shape{axis} i{axis}", f"gathered{axis}", axis=0),
        node("Unsqueeze", f"gathered{axis} zero", f"n{axis}"),
    ]


def shuffling(groups: int = 2, *, perm: tuple[int, ...] = (0, 2, 1, 3, 4)) -> onnx.ModelProto:
    """Return the network r = relu(conv(image)), z = the first half of r's shuffled channels, convolved."""
    nodes = [
        node("Conv", "image w", "a", pads=[1] * 4),
        node("Relu", "a", "r"),
        *(each for axis in range(4) for each in length(axis)),
        node("Div", "n1 groups", "each_"),
        node("Cast", "each_", "each", to=TensorProto.INT64),
        node("Concat", "n0 groups each n2 n3", "split", axis=0),
        node("Reshape", "r split", "s"),
        node("Transpose", "s", "t", perm=list(perm)),
        node("Concat", "n0 n1 n2 n3", "whole", axis=0),
        node("Reshape", "t whole", "m"),
        node("Div", "n1 two", "half"),
        node("Slice", "m zero half one", "h"),
        node("Conv", "h v", "z", pads=[1] * 4),
    ]
    constants = {
        "w": weights(8, 3, 3, 3),
        "v": weights(8, 4, 3, 3, seed=1),
        **{f"i{axis}": np.int64(axis) for axis in range(4)},
        **{"zero": [0], "one": [1], "two": [2], "groups": [groups]},
    }
    return model(
        nodes, {k: np.asarray(v, np.int64) if k[0] == "i" else v for k, v in constants.items()}, ["r", "z"]
    )


@pytest.mark.parametrize("groups", [2, 4])
def test_a_shuffle_of_channels_is_a_gather_for_images_of_any_size(groups) -> None:
    before = shuffling(groups)
    after = settle_sizes(before)
    assert {each.op_type for each in after.graph.node} == OPERATORS
    for size in ((9, 14), (40, 31)):
        image = {"image": np.random.default_rng(0).random((1, 3, *size)).astype(np.float32)}
        expected, actual = (ReferenceEvaluator(each).run(["z"], image)[0] for each in (before, after))
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_such_a_network_is_exact_in_tiles() -> None:
    network = networks.from_model(shuffling())
    assert check_gradient(network) < 0.05
    problem = Problem(network, (48, 40))
    loss, gradient = problem.evaluate()
    for value, slope in (problem.evaluate(600), problem.blocks(600)):
        assert value == pytest.approx(loss, rel=1e-4)
        assert far(slope, gradient) < 1e-3


def test_networks_add_takes_it_with_colours_of_its_own() -> None:
    colours = adapt.Colours(mean=(0.5,) * 3, std=(0.2,) * 3)
    adapted = networks.from_model(
        adapt.adapt(shuffling(), colours, name="shuffling", source="x", layers=("r",), content="z")
    )
    assert {each.op_type for each in adapted.model.graph.node} == {*OPERATORS, "Mul", "Add"}


def test_what_depends_on_the_size_of_the_image_stays() -> None:
    """Another order of the axes is no shuffle."""
    before = shuffling(perm=(0, 1, 2, 4, 3))
    after = settle_sizes(before)
    assert {"Shape", "Reshape", "Transpose"} < {each.op_type for each in after.graph.node}
    assert "Div" not in {each.op_type for each in after.graph.node}
    for size in ((9, 14), (40, 31)):
        image = {"image": np.random.default_rng(0).random((1, 3, *size)).astype(np.float32)}
        expected, actual = (ReferenceEvaluator(each).run(["z"], image)[0] for each in (before, after))
        np.testing.assert_array_equal(actual, expected)


def test_a_network_without_shapes_is_the_same_object() -> None:
    plain = model([node("Relu", "image", "r")], {}, ["r"])
    assert settle_sizes(plain) is plain


def test_a_division_by_zero_is_left_as_it_is() -> None:
    divided = shuffling(groups=0)
    assert "Div" in {each.op_type for each in settle_sizes(divided).graph.node}
    with pytest.raises(NetworkError):
        networks.from_model(divided)


def test_a_shuffle_that_does_not_fit_the_channels_is_left_as_it_is() -> None:
    original = shuffling()
    division = next(each for each in original.graph.node if each.op_type == "Div")
    division.input[0] = "n2"  # half the height in place of half the channels
    assert "Transpose" in {each.op_type for each in settle_sizes(original).graph.node}
