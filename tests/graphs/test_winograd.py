"""Winograd's form of convolutions: the algebra in float64, the graph against direct convolutions."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import numpy as np
import onnxruntime
import pytest

from lbfgs_style.graphs import cpu_layout, winograd
from lbfgs_style.graphs.builder import GraphBuilder
from lbfgs_style.objective.losses.terms import LossTerms
from lbfgs_style.objective.whole_graphs import objective_graph, statistics_graph
from tests.helpers.small_networks import small_vgg

TERMS = LossTerms(("relu2_2",), ("relu1_1", "relu2_1", "relu3_1"))


def everywhere(*_: int) -> bool:
    return True


def between_features(inputs: int, outputs: int, *_: int) -> bool:
    return min(inputs, outputs) > 3


def test_one_dimension_by_hand() -> None:
    """y_i = Σ_k g_k d_{i+k}: for g = (1, 2, 3) and d = 1 … 6 it is 14, 20, 26, 32."""
    a_t, g, b_t = winograd.transform_matrices()
    actual = a_t @ ((g @ [1, 2, 3]) * (b_t @ np.arange(1, 7)))
    np.testing.assert_allclose(actual, [14, 20, 26, 32], rtol=1e-13)


def test_a_flipped_kernel_has_the_same_weights() -> None:
    """The weights of (1, 2, 3) give, with the other matrices, (3, 2, 1) ⋆ d: 10, 16, 22, 28."""
    _, g, _ = winograd.transform_matrices()
    a_t, b_t = winograd.flipped_transform_matrices()
    actual = a_t @ ((g @ [1, 2, 3]) * (b_t @ np.arange(1, 7)))
    np.testing.assert_allclose(actual, [10, 16, 22, 28], rtol=1e-13)


@pytest.mark.parametrize("size", [(4, 4), (16, 24), (7, 5), (1, 9), (13, 2)])
@pytest.mark.parametrize("strip_bytes", [1, 6000, 2**26])
@pytest.mark.parametrize("bias", [False, True])
def test_convolution_equals_the_direct_one(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], strip_bytes: int, bias: bool
) -> None:
    monkeypatch.setattr(winograd, "BAND_BYTES", strip_bytes)
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(5, 3, 3, 3)).astype(np.float32)
    image = rng.normal(size=(1, 3, *size)).astype(np.float32)
    results = []
    for rewritten in (False, True):
        b = GraphBuilder()
        b.input("x", (1, 3, *size))
        inputs = ["x", b.constant(kernel, name="k"), *([b.constant(np.arange(5.0))] if bias else [])]
        b.output(b.op("Conv", *inputs, attributes={"pads": [1, 1, 1, 1]}), "y")
        feeds = {"x": image}
        if rewritten:
            winograd.rewrite(b, everywhere)
            assert winograd.kernel_inputs(b.model()) == {"winograd_k": "k"}
            feeds["winograd_k"] = winograd.transform_kernel(kernel)
        session = onnxruntime.InferenceSession(b.model().SerializeToString())
        results.append(session.run(["y"], feeds)[0])
    direct, ours = results
    assert ours.shape == direct.shape
    assert np.linalg.norm(ours - direct) <= 3e-6 * np.linalg.norm(direct)


def test_row_bands_cover_the_picture_once() -> None:
    for height in (1, 4, 30, 64, 65):
        cut = winograd.row_bands(64, 64, height, 12_000)
        assert sum(strip.rows for strip in cut) == -(-height // 4)
        assert cut[0].start == 0
        assert cut[-1].stop == height
        assert all(a.stop - b.start == 2 for a, b in pairwise(cut))
    assert len(winograd.row_bands(64, 64, 64, 12_000)) > 1


def test_only_plain_3x3_convolutions_are_rewritten() -> None:
    b = GraphBuilder()
    x = b.input("x", (1, 2, 8, 8))
    kernel = b.constant(np.ones((2, 2, 3, 3)))
    for attributes in ({"pads": [0, 0, 0, 0]}, {"pads": [1, 1, 1, 1], "strides": [2, 2]}):
        b.output(b.op("Conv", x, kernel, attributes=attributes))
    grouped = b.constant(np.ones((2, 1, 3, 3)))
    b.output(b.op("Conv", x, grouped, attributes={"pads": [1, 1, 1, 1], "group": 2}))
    b.output(b.op("Conv", x, b.constant(np.ones((2, 2, 1, 1)))))
    winograd.rewrite(b, everywhere)
    assert [node.op_type for node in b.nodes] == ["Conv"] * 4


@pytest.mark.parametrize("size", [(16, 24), (13, 19)])
@pytest.mark.parametrize(("rewritten", "count"), [(everywhere, 5), (between_features, 4)])
def test_objective_is_the_same(size: tuple[int, int], rewritten: winograd.Choose, count: int) -> None:
    """Loss, terms and gradient; one array of weights serves both directions."""
    network = small_vgg().model
    initializers = {t.name: onnx_array(t) for t in network.graph.initializer}
    rng = np.random.default_rng(1)
    image, other = rng.uniform(0, 1, (2, 1, 3, *size)).astype(np.float32)
    results = []
    for rewrite in (None, partial(cpu_layout.optimize_for_cpu, choose=rewritten)):
        statistics = statistics_graph(network, size, TERMS, rewrite=rewrite)
        model = objective_graph(network, size, TERMS, rewrite=rewrite)
        weights = {
            name: winograd.transform_kernel(initializers[kernel])
            for name, kernel in winograd.kernel_inputs(model).items()
        }
        assert len(weights) == (0 if rewrite is None else count)
        targets = dict(
            zip(
                [o.name for o in statistics.graph.output],
                run(statistics, {"image": other, **weights}),
                strict=True,
            )
        )
        factors = np.array([0.5, 1, 2, 1, 0.1, 1], np.float32)
        results.append(run(model, {"image": image, "weights": factors, **targets, **weights}))
    for direct, ours in zip(*results, strict=True):
        assert np.linalg.norm(ours - direct) <= 2e-5 * np.linalg.norm(direct)


def onnx_array(tensor: object) -> np.ndarray:
    from onnx import numpy_helper

    return numpy_helper.to_array(tensor)


def run(model: object, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    wanted = {value.name for value in session.get_inputs()}
    return session.run(None, {name: array for name, array in feeds.items() if name in wanted})
