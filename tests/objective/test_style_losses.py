"""Statistics of style: moments and distances against NumPy and SciPy, gradients against differences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator
from scipy.linalg import sqrtm

from lbfgs_style.graphs.builder import GraphBuilder
from lbfgs_style.objective.losses import style, wasserstein
from lbfgs_style.objective.losses.moments import Moments, divide_by_count, moment_sums
from lbfgs_style.objective.losses.terms import LossTerms, StylePart
from lbfgs_style.objective.losses.wasserstein import NOISE, covariance_root
from lbfgs_style.objective.whole_graphs import objective_graph, statistics_graph
from tests.helpers.small_networks import small_vgg

STATISTICS = ("gram", "mean-cov", "moments", "wasserstein")
Sample = tuple[np.ndarray, np.ndarray]


def sample(seed: int, channels: int = 5, count: int = 40) -> np.ndarray:
    """Return correlated features [C,M] with a mean."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(channels, channels)) @ rng.normal(size=(channels, count)) + rng.normal(
        size=(channels, 1)
    )


def moments(f: np.ndarray) -> Sample:
    return f @ f.T / f.shape[1], f.mean(1, keepdims=True)


def evaluate(statistic: str, current: Sample, target: Sample, dtype: type = np.float64) -> list[np.ndarray]:
    """Return the distance and its derivatives by the Gram matrix and the mean."""
    b = GraphBuilder(dtype)
    has_mean = statistic != "gram"

    def declared(name: str) -> Moments:
        channels = len(current[0])
        gram = b.input(f"{name}_gram", [channels] * 2)
        return Moments(gram, b.input(f"{name}_mean", [channels, 1]) if has_mean else None)

    current_inputs, target_inputs = declared("own"), declared("target")
    kind = style.STATISTICS[statistic]
    root = b.input("root", [len(current[0])] * 2) if kind.target_root else None
    distance = kind.distance(b, current_inputs, replace(target_inputs, root=root), None)
    slopes = style.moment_derivatives(b, distance, current_inputs, b.constant(1.0))
    for name, tensor in zip(("value", "d_gram", "d_mean"), (distance.value, *slopes.names), strict=False):
        b.output(tensor, name)
    model = b.model()
    feeds = {"own_gram": current[0], "target_gram": target[0]}
    if has_mean:
        feeds |= {"own_mean": current[1], "target_mean": target[1]}
    if root:
        feeds["root"] = covariance_root(*target)
    feeds = {name: np.asarray(array, dtype) for name, array in feeds.items()}
    if dtype == np.float64:
        return ReferenceEvaluator(model).run(None, feeds)
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, feeds)


def bures(current: Sample, target: Sample) -> float:
    """Return tr(Σ + Τ − 2 (Τ^½ Σ Τ^½)^½) + ‖μ − ν‖², with the noise, relative, by SciPy's matrix roots."""
    noise = NOISE * np.trace(target[0]) / len(target[0]) * np.eye(len(target[0]))
    first, second = (gram - mean @ mean.T + noise for gram, mean in (current, target))
    root = sqrtm(second)
    cross = np.trace(sqrtm(root @ first @ root)).real
    squared = ((current[1] - target[1]) ** 2).sum() + np.trace(first) + np.trace(second) - 2 * cross
    return squared / np.trace(target[0])


def means_and_covariances(current: Sample, target: Sample) -> float:
    first, second = (gram - mean @ mean.T for gram, mean in (current, target))
    means = ((current[1] - target[1]) ** 2).sum() / (target[1] ** 2).sum()
    energy = (second**2).sum() + 1e-4 * (target[0] ** 2).sum()
    return (means + ((first - second) ** 2).sum() / energy) / 2


def gram_means_deviations(current: Sample, target: Sample) -> float:
    floor = 1e-4 * np.diag(target[0])[:, None]
    own, aim = (np.sqrt(np.diag(gram)[:, None] - mean**2 + floor) for gram, mean in (current, target))
    pairs = ((current[0], target[0]), (current[1], target[1]), (own, aim))
    return sum(((value - goal) ** 2).sum() / (goal**2).sum() for value, goal in pairs) / 3


def gram_distance(current: Sample, target: Sample) -> float:
    return ((current[0] - target[0]) ** 2).sum() / (target[0] ** 2).sum()


BY_HAND: dict[str, Callable[[Sample, Sample], float]] = {
    "gram": gram_distance,
    "mean-cov": means_and_covariances,
    "moments": gram_means_deviations,
    "wasserstein": bures,
}


@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_distance_equals_an_independent_formula(statistic: str, dtype: type) -> None:
    current, target = moments(sample(1)), moments(2 * sample(2) + 1)
    value = evaluate(statistic, current, target, dtype)[0]
    assert value.dtype == dtype
    assert float(value) == pytest.approx(BY_HAND[statistic](current, target), rel=1e-6)


def test_wasserstein_of_one_dimension() -> None:
    """(μ − ν)² + (σ − τ)², σ and τ with the noise: by hand, from means 1 and 3, variances 4 and 1."""
    current, target = (np.array([[5.0]]), np.array([[1.0]])), (np.array([[10.0]]), np.array([[3.0]]))
    noise = NOISE * 10
    expected = (4 + (np.sqrt(4 + noise) - np.sqrt(1 + noise)) ** 2) / 10
    assert float(evaluate("wasserstein", current, target)[0]) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_no_distance_from_itself(statistic: str) -> None:
    current = moments(sample(3))
    value, *slopes = evaluate(statistic, current, current)
    assert abs(float(value)) < 1e-7
    assert all(np.abs(slope).max() < 1e-6 for slope in slopes)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_slopes_match_central_differences(statistic: str) -> None:
    current, target = moments(sample(1)), moments(sample(2) + 1)
    _, *slopes = evaluate(statistic, current, target)
    rng = np.random.default_rng(0)
    for index, slope in enumerate(slopes):
        direction = rng.normal(size=slope.shape)
        direction = direction + direction.T if index == 0 else direction
        ends = []
        for sign in (1, -1):
            moved = list(current)
            moved[index] = current[index] + sign * 1e-5 * direction
            ends.append(BY_HAND[statistic](tuple(moved), target))
        assert np.vdot(slope, direction) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-6)


@pytest.mark.parametrize("channels", [6, 96])
def test_wasserstein_where_covariances_have_no_inverse(channels: int) -> None:
    """Fewer positions than channels, spectra over six decades, in float32 as it runs."""
    rng = np.random.default_rng(5)
    spread = np.logspace(0, -3, channels)[:, None]
    current, target = (moments(np.abs(rng.normal(size=(channels, channels // 2))) * spread) for _ in range(2))
    value, d_gram, _ = evaluate("wasserstein", current, target, np.float32)
    assert float(value) == pytest.approx(bures(current, target), rel=1e-4)
    exact = evaluate("wasserstein", current, target)[1]
    assert np.linalg.norm(d_gram - exact) <= 1e-3 * np.linalg.norm(exact)


def test_square_roots_of_hard_matrices() -> None:
    """Eigenvalues over twelve decades; the residual of A^½ A^½ − A is that of rounding."""
    rng = np.random.default_rng(6)
    vectors, _ = np.linalg.qr(rng.normal(size=(20, 20)))
    matrix = (vectors * np.logspace(3, -9, 20)) @ vectors.T
    b = GraphBuilder(np.float64)
    for name, tensor in zip(
        ("root", "inverse"),
        wasserstein.square_roots(b, b.input("a", [20, 20]), b.constant(np.eye(20))),
        strict=True,
    ):
        b.output(tensor, name)
    root, inverse = ReferenceEvaluator(b.model()).run(None, {"a": matrix})
    assert np.linalg.norm(root @ root - matrix) < 1e-9 * np.linalg.norm(matrix)
    exact = (vectors / np.sqrt(np.logspace(3, -9, 20))) @ vectors.T
    assert np.linalg.norm(inverse - exact) < 1e-3 * np.linalg.norm(exact)
    assert len(wasserstein.newton_schulz_scales()) == 22


def test_moments_with_and_without_a_mask() -> None:
    """Features (1, 2) and (3, 4) at two positions; the mask has 3/4 and 1/4."""
    feeds = {
        "f": np.array([[1.0, 3], [2, 4]]).reshape(1, 2, 1, 2),
        "w": np.array([0.75, 0.25]).reshape(1, 1, 1, 2),
    }
    b = GraphBuilder(np.float64)
    for name, array in feeds.items():
        b.input(name, array.shape)
    plain = divide_by_count(b, moment_sums(b, "f", 2, mean=True), 2)
    masked = moment_sums(b, "f", 2, mean=True, mask="w")
    for tensor in (*plain.names, *masked.names):
        b.output(tensor)
    gram, mean, guided, guided_mean = ReferenceEvaluator(b.model()).run(None, feeds)
    np.testing.assert_allclose(gram, [[5, 7], [7, 10]])
    np.testing.assert_allclose(mean, [[2], [3]])
    np.testing.assert_allclose(guided, [[0.75 + 2.25, 1.5 + 3], [1.5 + 3, 3 + 4]])
    np.testing.assert_allclose(guided_mean, [[1.5], [2.5]])


@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize("regions", [0, 2])
def test_gradient_of_the_picture_matches_central_differences(statistic: str, regions: int) -> None:
    """Through the network, style alone, with masks and without."""
    size = (9, 12)
    terms = LossTerms((), ("relu1_1", "relu2_1"), statistic=statistic, regions=regions)
    network = small_vgg().model
    rng = np.random.default_rng(3)
    feeds = {"image": rng.uniform(0, 1, (1, 3, *size)), "weights": np.array([1.0, 0.5, 0, 0])}
    plain = LossTerms((), terms.style_layers, statistic=statistic)
    statistics = ReferenceEvaluator(statistics_graph(network, size, plain))
    for part in terms.style_parts:
        picture = {"image": rng.uniform(0, 1, (1, 3, *size)).astype(np.float32)}
        source, names = StylePart(part.layer), terms.moments(part).names
        measured = statistics.run(list(plain.moments(source).names), picture)
        feeds |= {name: array.astype(np.float64) for name, array in zip(names, measured, strict=True)}
        if statistic == "wasserstein":
            feeds[part.root] = covariance_root(feeds[part.gram], feeds[part.mean]).astype(np.float64)
        if regions:
            scale = 1 if part.layer == "relu1_1" else 2
            mask = rng.uniform(0, 1, (1, 1, size[0] // scale, size[1] // scale))
            feeds |= {part.mask: mask / mask.sum(), "region_weights": np.array([0.7, 0.2])}
    evaluator = ReferenceEvaluator(objective_graph(network, size, terms, dtype=np.float64))
    with np.errstate(over="ignore"):
        gradient = evaluator.run(["d_image"], feeds)[0]
        for _ in range(3):
            direction = rng.normal(size=gradient.shape)
            ends = [
                float(evaluator.run(["loss"], feeds | {"image": feeds["image"] + sign * 1e-6 * direction})[0])
                for sign in (1, -1)
            ]
            assert np.vdot(gradient, direction) == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5)
