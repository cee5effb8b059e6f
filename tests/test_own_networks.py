"""Networks as users bring them: skips, heads, names of any kind, operators at 0, layers without a picture."""

from __future__ import annotations

import numpy as np
import pytest
from own_networks import TERMS, Problem, around, far, network, node, weights

from lbfgs_style import Options, StyleTransfer, networks
from lbfgs_style.pooling import with_pooling
from lbfgs_style.term_names import TermNames


def skip(channels: int, *between) -> networks.FeatureNetwork:
    """z = conv(conv(r) + skip(r)): a plain operand meets what onnxruntime keeps in blocks."""
    constants = {"half": np.array(0.5, np.float32), "p": [0, 0, 1, 1, 0, 0, 1, 1]}
    constants |= {"s": [1, 1], "e": [-1, -1], "x": [2, 3]}
    conv = node("Conv", "r v", "k", pads=[1] * 4)
    return around(conv, *between, node("Add", "k sk", "m"), channels=channels, **constants)


def heads(channels: int, *side) -> networks.FeatureNetwork:
    """Return a network with a third layer y beside z, both made of r."""
    return around(
        *side, node("Identity", "r", "m"), channels=channels, layers=("r", "z", "y"), u=weights(8, 8, 1, 1)
    )


SHAPES = {
    "a scaled skip": lambda: skip(16, node("Mul", "r half", "sk")),
    "a sliced skip": lambda: skip(16, node("Pad", "r p", "pd"), node("Slice", "pd s e x", "sk")),
    "a padded skip that others read": lambda: skip(
        16,
        node("Slice", "r s e x", "inner"),
        node("Pad", "inner p", "sk"),
        node("Relu", "sk", "other"),
        node("Mul", "other half", "unread"),
    ),
    "two heads": lambda: heads(8, node("Conv", "r u", "side"), node("Relu", "side", "y")),
    "branches of strides 2 and 3": lambda: around(
        node("MaxPool", "r", "m", kernel_shape=[2, 2], strides=[2, 2]),
        node("MaxPool", "r", "y", kernel_shape=[3, 3], strides=[3, 3]),
        layers=("r", "z", "y"),
    ),
    "a weight of two convolutions": lambda: around(
        node("Conv", "r v", "k", pads=[1] * 4), node("Relu", "k", "m"), channels=16
    ),
    "a weight in two groupings": lambda: around(
        node("Conv", "r depth", "k", pads=[1] * 4, group=8),
        node("ReduceSum", "k one", "sum"),
        node("Conv", "sum depth", "m", pads=[1] * 4),
        depth=weights(8, 1, 3, 3, seed=3),
        one=[1],
    ),
    "a weight called as a turned one": lambda: around(
        node("Mul", "r v.turned", "m"), **{"v.turned": weights(8, 1, 1, seed=2)}
    ),
    "a tensor called as a turned one": lambda: around(
        node("Relu", "r", "v.turned"), node("Identity", "v.turned", "m")
    ),
}
"""What the graphs made of a network once stumbled over → such a network."""


@pytest.mark.parametrize("convolution", ["direct", "winograd"])
@pytest.mark.parametrize("name", SHAPES)
def test_a_network_of_any_shape_gives_right_numbers(name: str, convolution: str) -> None:
    """Whole, in tiles and in blocks, against float64 and its differences; the network stays as it is."""
    chosen = SHAPES[name]()
    terms = TermNames(("z",), tuple(chosen.layers))
    before = chosen.model.SerializeToString()
    problem = Problem(chosen, (36, 42), terms, convolution)
    loss, gradient, slopes = problem.exact()
    assert_same_slopes(slopes)
    for found in (problem.evaluate(), problem.evaluate(600), problem.blocks(600)):
        assert found[0] == pytest.approx(loss, rel=1e-4)
        assert far(found[1], gradient) < 1e-3
    assert chosen.model.SerializeToString() == before


def assert_same_slopes(slopes: list[tuple[float, float]], rel: float = 1e-5) -> None:
    assert [ours for ours, _ in slopes] == pytest.approx([theirs for _, theirs in slopes], rel=rel, abs=1e-7)


OURS = (
    "loss terms weights shares tile own_share likewise d_image tv range own_tv rest_range constant_1 conv_7 "
    "mul_20 around_m around_image winograd_w winograd_v features_r gram_z d_gram_z mean_r mask_r_0 d_r "
    "distance_z energy_z root_r height width net.a net.r v.turned m_squares m_mean m_positive m_at_zero "
    "tile_mean"
).split()
"""Names of our graphs' tensors, inputs and outputs."""


@pytest.mark.parametrize("pooling", [None, "l2"])
def test_a_network_may_call_its_tensors_as_we_call_ours(pooling: str | None) -> None:
    """As intermediate tensors, as weights and as both: the numbers are those of the same with plain names."""
    found = []
    for names in ([f"x{i}" for i in range(len(OURS))], OURS):
        half = len(names) // 2
        constants = {name: weights(8, 1, 1, seed=i) for i, name in enumerate(names[:half])}
        chain, tensor = [], "r"
        for number, name in enumerate(names[half:]):
            chain.append(node("Add", f"{tensor} {names[number]}", name))
            tensor = name
        pool = node("MaxPool", tensor, "m", kernel_shape=[2, 2], strides=[2, 2])
        chosen = with_pooling(around(*chain, pool, **constants), pooling)
        problem = Problem(chosen, (36, 42))
        found.append([problem.evaluate(), problem.evaluate(600), problem.blocks(600)])
    for plain, ours in zip(*found, strict=True):
        assert plain[0] == ours[0]
        np.testing.assert_array_equal(plain[1], ours[1])


@pytest.mark.parametrize("name", ["loss", "tile", "own_share", "gram_r", "d_r", "around_m", "winograd_v"])
def test_a_layer_that_our_graphs_need_the_name_of_is_refused(name: str) -> None:
    with pytest.raises(networks.NetworkError, match=f"calls a layer '{name}', a name that the graphs"):
        around(node("Relu", "r", "m"), node("Relu", "m", name), layers=("r", "z", name))
