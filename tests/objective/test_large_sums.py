"""Sums over tens of millions of numbers, against float64: onnxruntime's own lose up to 3 % in float32."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lbfgs_style.graphs.builder import GraphBuilder
from lbfgs_style.objective.losses import distances
from lbfgs_style.objective.losses.moments import moment_sums
from lbfgs_style.objective.session import Session
from lbfgs_style.objective.tiling.tile_runner import sum_of_squares

SIDE = 4096


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """Values from −0.2 to 1.2, [1,3,4096,4096]."""
    return np.random.default_rng(0).random((1, 3, SIDE, SIDE), dtype=np.float32) * 1.4 - 0.2


def evaluate(image: np.ndarray, make: Callable[[GraphBuilder, str], list[str]]) -> list[np.ndarray]:
    b = GraphBuilder()
    names = make(b, b.input("x", image.shape))
    for number, name in enumerate(names):
        b.output(name, f"out_{number}")
    outputs = [f"out_{number}" for number in range(len(names))]
    return Session(b.model(), device="cpu", threads=2).run(outputs, {"x": image})


def total(planes: np.ndarray, value: Callable[[np.ndarray], np.ndarray]) -> float:
    """Return the sum of `value` over planes [N,h,w], in float64."""
    return sum(float(value(plane.astype(np.float64)).sum()) for plane in planes)


@pytest.mark.parametrize(
    ("make", "value"),
    [
        (lambda b, x: distances.sum_all(b, "ReduceSumSquare", x), np.square),
        (lambda b, x: distances.differences(b, x, 2, 2.0), lambda p: np.diff(p, axis=0) ** 2),
        (lambda b, x: distances.differences(b, x, 3, 1.0), lambda p: abs(np.diff(p, axis=1))),
        (lambda b, x: distances.differences(b, x, 3, 1.5), lambda p: abs(np.diff(p, axis=1)) ** 1.5),
        (distances.range_excess, lambda p: np.maximum(p - 1, 0) ** 2 + np.maximum(-p, 0) ** 2),
    ],
    ids=["squares", "tv 2", "tv 1", "tv 1.5", "range"],
)
def test_sums_over_pixels(image, make, value):
    (actual,) = evaluate(image, lambda b, x: [make(b, x)])
    assert float(actual) == pytest.approx(total(image[0], value), rel=1e-5)


def test_moments(image):
    """G and μ of 6.3 million positions, whose features are squared: all positive, as after a ReLU."""
    features = image.reshape(1, 8, SIDE * 3 // 8, SIDE) ** 2

    def make(b: GraphBuilder, x: str) -> list[str]:
        moments = moment_sums(b, x, 8, mean=True)
        return [moments.gram, *filter(None, [moments.mean])]

    gram, mean = evaluate(features, make)
    rows = features[0].transpose(1, 0, 2)
    expected = sum((row.astype(np.float64) @ row.T.astype(np.float64) for row in rows), np.zeros((8, 8)))
    assert np.linalg.norm(gram - expected) < 5e-7 * np.linalg.norm(expected)
    np.testing.assert_allclose(mean[:, 0], features[0].sum(axis=(1, 2), dtype=np.float64), rtol=1e-6)


def test_squares_of_tiles(image):
    assert sum_of_squares(image) == pytest.approx(total(image[0], np.square), rel=1e-6)
