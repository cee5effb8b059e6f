"""The fused graph: formulas by hand, gradients against central differences and between runtimes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator

from lbfgs_style.graphs.builder import GraphBuilder
from lbfgs_style.graphs.receptive_fields import smallest_side
from lbfgs_style.objective.losses import distances
from lbfgs_style.objective.losses.moments import divide_by_count, moment_sums
from lbfgs_style.objective.losses.terms import RELIABILITY, TEMPORAL_TARGET, LossTerms
from lbfgs_style.objective.whole_graphs import gradient_graph, objective_graph, statistics_graph
from lbfgs_style.settings.loss_forms import Variation
from tests.helpers.small_networks import small_vgg

TERMS = LossTerms(("relu2_2",), ("relu1_1", "relu2_1", "relu3_1"))
SIZE = (13, 18)


def evaluate(make, feeds: dict[str, np.ndarray]) -> np.ndarray:
    """Run a formula of `losses` in float64."""
    b = GraphBuilder(np.float64)
    for name, array in feeds.items():
        b.input(name, array.shape)
    b.output(make(b, *feeds), "y")
    return ReferenceEvaluator(b.model()).run(["y"], feeds)[0]


def gram(b: GraphBuilder, features: str) -> str:
    _, channels, height, width = b.shape(features)
    return divide_by_count(b, moment_sums(b, features, channels, mean=False), height * width).gram


def test_gram_matrix_of_ones_is_one() -> None:
    np.testing.assert_allclose(evaluate(gram, {"f": np.ones((1, 3, 4, 5))}), np.ones((3, 3)))


def test_gram_matrix_by_hand() -> None:
    features = np.array([[1.0, 2, 3, 4], [0, 1, 0, -1]]).reshape(1, 2, 2, 2)
    np.testing.assert_allclose(evaluate(gram, {"f": features}), [[7.5, -0.5], [-0.5, 0.5]])


def test_relative_distance_by_hand() -> None:
    feeds = {"a": np.array([1.0, 2, 3]), "t": np.array([1.0, 0, 2])}
    assert evaluate(distances.relative_distance, feeds) == pytest.approx((4 + 1) / 5)


def variation(image: np.ndarray, power: float, *, joint: bool = False) -> float:
    form, size = Variation(joint=joint), image.shape[2:]
    return evaluate(lambda b, x: distances.total_variation(b, x, power, form, size), {"x": image}) * form.at(
        power, size[0] * size[1]
    )


def test_total_variation_of_a_checkerboard() -> None:
    """Every one of the 2·4·3 inner differences is 1 in each channel; 16 pixels."""
    board = np.indices((4, 4)).sum(0) % 2 * np.ones((1, 3, 1, 1))
    for power in (1.0, 1.25, 2.0):
        assert variation(board, power) == pytest.approx(3 * 24 / 16)


def test_total_variation_by_hand() -> None:
    image = np.zeros((1, 3, 1, 3))
    image[0, 0, 0] = [0, 0.5, 0.25]
    expected = {2.0: 0.25 + 0.0625, 1.0: 0.75, 1.25: 0.5**1.25 + 0.25**1.25}
    for power, total in expected.items():
        assert variation(image, power) == pytest.approx(total / 3)


def test_single_pixel_has_no_variation() -> None:
    for joint in (False, True):
        assert variation(np.full((1, 3, 1, 1), 0.3), 2.0, joint=joint) == 0


def test_joint_variation_by_hand() -> None:
    """Only the first pixel has neighbours below (0.5 − 0.1) and beside (0.4 − 0.1)."""
    image = np.zeros((1, 3, 2, 2))
    image[0, 0] = [[0.1, 0.4], [0.5, 0.9]]
    assert variation(image, 1.25, joint=True) == pytest.approx((0.16 + 0.09) ** 1.25 / 4)
    assert variation(image, 1.0, joint=True) == pytest.approx(0.25 / 4)
    assert variation(image[:, :, :1], 1.25, joint=True) == 0


def test_out_of_range_by_hand() -> None:
    """One value is 0.5 above 1, one 0.2 below 0: (0.25 + 0.04); the border itself is inside."""
    image = np.array([[[[1.5, 0.0]], [[-0.2, 1.0]], [[0.3, 0.9]]]])
    assert evaluate(distances.range_excess, {"x": image}) == pytest.approx(0.29)


def test_temporal_change_by_hand() -> None:
    """One pixel counts whole, one a quarter and one not at all."""
    w = np.array([0.5, 0.5, 0.5]) * np.ones((1, 3, 1, 1))
    x = w + np.array([0.1, 0.2, 0.4])
    feeds = {"x": x, "w": w, "c": np.array([1, 0.25, 0]).reshape(1, 1, 1, 3)}
    assert evaluate(distances.temporal_change, feeds) == pytest.approx(3 * (0.01 + 0.01))


def problem(
    pooling: str, dtype: type, size: tuple[int, int] = SIZE, terms: LossTerms = TERMS
) -> tuple[object, dict[str, np.ndarray]]:
    """Build an objective and the inputs for it: random picture, targets of two other random pictures."""
    network = small_vgg(pooling=pooling)
    model = objective_graph(network.model, size, terms, dtype=dtype)
    rng = np.random.default_rng(3)
    feeds = {
        "image": rng.uniform(-0.2, 1.2, (1, 3, *size)),
        "weights": np.array([0.3, 1.0, 0.5, 2.0, 0.7, 0.4]),
    }
    other = statistics_graph(network.model, size, TERMS)
    picture = rng.uniform(0, 1, (1, 3, *size)).astype(np.float32)
    outputs = [value.name for value in other.graph.output]
    values = onnxruntime.InferenceSession(other.SerializeToString()).run(outputs, {"image": picture})
    feeds.update(dict(zip(outputs, values, strict=True)))
    if terms.temporal:
        feeds |= {TEMPORAL_TARGET: picture, RELIABILITY: picture[:, 2:]}
        feeds["weights"] = np.append(feeds["weights"], 1.5)
    return model, {name: np.asarray(array, dtype) for name, array in feeds.items()}


@pytest.mark.parametrize("pooling", ["max", "average"])
@pytest.mark.parametrize("only", [0, 1, 4, 5, 6, None])
def test_gradient_matches_central_differences(pooling: str, only: int | None) -> None:
    """Content alone, style alone, total variation, range, change from frame to frame, and all together."""
    model, feeds = problem(pooling, np.float64, (9, 12), replace(TERMS, temporal=True))
    if only is not None:
        feeds["weights"] = np.where(np.arange(7) == only, feeds["weights"], 0)
    evaluator = ReferenceEvaluator(model)
    with np.errstate(over="ignore"):
        gradient = evaluator.run(["d_image"], feeds)[0]
    rng = np.random.default_rng(5)
    for _ in range(4):
        direction = rng.normal(size=gradient.shape)
        ends = []
        for sign in (1, -1):
            moved = feeds | {"image": feeds["image"] + sign * 1e-6 * direction}
            with np.errstate(over="ignore"):
                ends.append(float(evaluator.run(["loss"], moved)[0]))
        slope = (ends[0] - ends[1]) / 2e-6
        assert np.vdot(gradient, direction) == pytest.approx(slope, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("pooling", ["max", "average"])
@pytest.mark.parametrize("size", [SIZE, (16, 32), (7, 5)])
def test_onnxruntime_agrees_with_the_reference(pooling: str, size: tuple[int, int]) -> None:
    exact, feeds = problem(pooling, np.float64, size)
    model, single = problem(pooling, np.float32, size)
    outputs = ["loss", "terms", "d_image"]
    with np.errstate(over="ignore"):
        expected = ReferenceEvaluator(exact).run(outputs, feeds)
    actual = onnxruntime.InferenceSession(model.SerializeToString()).run(outputs, single)
    for a, b in zip(actual, expected, strict=True):
        assert np.linalg.norm(a - b) <= 2e-5 * np.linalg.norm(b)


def test_loss_is_the_weighted_sum_of_the_terms() -> None:
    model, feeds = problem("max", np.float64)
    loss, terms = ReferenceEvaluator(model).run(["loss", "terms"], feeds)
    assert loss == pytest.approx(feeds["weights"] @ terms)
    image = feeds["image"]
    variation = (np.diff(image, axis=2) ** 2).sum() + (np.diff(image, axis=3) ** 2).sum()
    assert terms[-2] == pytest.approx(variation / (SIZE[0] * SIZE[1]))


def test_constant_picture_has_a_symmetric_gradient() -> None:
    """In a constant picture all maxima tie; a rule that picked one of them would break the symmetry."""
    network = small_vgg()
    kernel_names = [t for t in network.model.graph.initializer if t.dims[2:] == [3, 3]]
    symmetric = type(network.model)()
    symmetric.CopyFrom(network.model)
    from onnx import numpy_helper

    for tensor in symmetric.graph.initializer:
        if tensor.name in {t.name for t in kernel_names}:
            kernel = numpy_helper.to_array(tensor)
            even = (kernel + kernel[..., ::-1, :] + kernel[..., ::-1] + kernel[..., ::-1, ::-1]) / 4
            tensor.CopyFrom(numpy_helper.from_array(even, tensor.name))
    model = objective_graph(symmetric, (16, 16), TERMS, dtype=np.float64)
    _, feeds = problem("max", np.float64, (16, 16))
    feeds["image"] = np.full((1, 3, 16, 16), 0.6)
    for layer in TERMS.content_layers:
        feeds[f"features_{layer}"] = np.ones_like(feeds[f"features_{layer}"])
    with np.errstate(over="ignore"):
        gradient = ReferenceEvaluator(model).run(["d_image"], feeds)[0]
    turned = gradient[..., ::-1, ::-1]
    assert np.linalg.norm(gradient - turned) <= 1e-5 * np.linalg.norm(gradient)
    assert np.abs(gradient).max() > 0


def test_deeper_layers_are_cut_away() -> None:
    model = objective_graph(small_vgg().model, SIZE, LossTerms((), ("relu1_1",)))
    assert [node.name for node in model.graph.node if node.op_type == "Conv"][0:2] == [
        "net.preprocess",
        "net.conv1_1",
    ]
    assert not any("conv1_2" in tensor.name for tensor in model.graph.initializer)


def test_smallest_side_counts_windows_strides_and_padding() -> None:
    """By hand: one value after an unpadded 3×3 needs 3, before 2×2 pooling 6, before a padded 5×5 6."""
    b = GraphBuilder()
    x = b.input("image", [1, 3, "height", "width"])
    first = b.constant(np.ones((2, 3, 5, 5)))
    x = b.op("Conv", x, first, name="relu1_1", attributes={"pads": [2, 2, 2, 2]})
    x = b.op("MaxPool", x, attributes={"kernel_shape": [2, 2], "strides": [2, 2]})
    x = b.op("Conv", x, b.constant(np.ones((2, 2, 3, 3))), name="relu2_1")
    x = b.op("Pad", x, b.constant([0, 0, 1, 1, 0, 0, 1, 1], integer=True))
    x = b.op("MaxPool", x, name="relu3_1", attributes={"kernel_shape": [3, 3], "strides": [2, 2]})
    b.output("relu3_1")
    sides = [smallest_side(b.model(), [layer]) for layer in ("relu1_1", "relu2_1", "relu3_1")]
    assert sides == [1, 6, 6]


@pytest.mark.parametrize("size", [(12, 20), (11, 15)])
def test_gradient_graph_takes_any_size(size: tuple[int, int]) -> None:
    """With the cotangents of content losses it gives the objective's gradient."""
    network = small_vgg()
    terms = LossTerms(("relu1_2", "relu3_1"), ())
    session = onnxruntime.InferenceSession(gradient_graph(network.model, terms.layers).SerializeToString())
    features = onnxruntime.InferenceSession(network.model.SerializeToString())
    objective = onnxruntime.InferenceSession(objective_graph(network.model, size, terms).SerializeToString())
    rng = np.random.default_rng(0)
    image, other = rng.uniform(0, 1, (2, 1, 3, *size)).astype(np.float32)
    ours, targets = (features.run(list(terms.layers), {"image": x}) for x in (image, other))
    pairs = list(zip(terms.layers, ours, targets, strict=True))
    feeds = {f"features_{layer}": target for layer, _, target in pairs}
    weights = np.array([1, 1, 0, 0], np.float32)
    expected = objective.run(["d_image"], {"image": image, "weights": weights, **feeds})[0]
    cotangents = {f"d_{layer}": 2 * (f - p) / np.vdot(p, p) for layer, f, p in pairs}
    actual = session.run(["d_image"], {"image": image, **cotangents})[0]
    assert np.linalg.norm(actual - expected) <= 1e-5 * np.linalg.norm(expected)
