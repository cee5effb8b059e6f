"""Nearest neighbours of features: the search against brute force, what it gives each layer, the gradient."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from lbfgs_style.objective.losses import neighbours
from lbfgs_style.objective.losses.terms import LossTerms
from lbfgs_style.objective.whole_graphs import objective_graph, statistics_graph
from tests.helpers.small_networks import small_vgg

FINE, COARSE = "relu1_1", "relu2_1"


def features(seed: int, size: tuple[int, int] = (6, 9)) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    coarse = (size[0] // 2, size[1] // 2)
    return {
        FINE: rng.normal(1, 2, (4, *size)).astype(np.float32),
        COARSE: rng.normal(-1, 5, (3, *coarse)).astype(np.float32),
    }


def columns(each: dict[str, np.ndarray]) -> np.ndarray:
    """Return both layers' features [h·w, 7]: of the coarse layer those that a fine position lies in."""
    height, width = each[FINE].shape[1:]
    rows = np.minimum(np.arange(height) // 2, each[COARSE].shape[1] - 1)
    across = np.minimum(np.arange(width) // 2, each[COARSE].shape[2] - 1)
    enlarged = each[COARSE][:, rows][:, :, across]
    return np.concatenate([each[FINE], enlarged]).reshape(7, -1).T.astype(np.float64)


def by_hand(content: dict[str, np.ndarray], image: dict[str, np.ndarray], style: dict[str, np.ndarray]):
    """Return the places with the highest centred cosine similarity, layers scaled to one energy."""
    places = columns(style)
    scale = np.repeat([1 / np.linalg.norm(places[:, :4]), 1 / np.linalg.norm(places[:, 4:])], [4, 3])
    keys = places * scale
    keys -= keys.mean(0)

    def centred(each):
        means = [each[layer].mean((1, 2)) for layer in (FINE, COARSE)]
        return (columns(each) - np.concatenate(means)) * scale

    wanted = 0.75 * centred(content) + 0.25 * centred(image)
    cosines = wanted @ keys.T / np.linalg.norm(keys, axis=1) / np.linalg.norm(wanted, axis=1, keepdims=True)
    return cosines.argmax(1).reshape(content[FINE].shape[1:])


@pytest.mark.parametrize("size", [(6, 9), (7, 5)])
def test_the_search_finds_the_highest_cosine_similarity(size, monkeypatch):
    monkeypatch.setattr(neighbours, "BLOCK", 200)  # several blocks
    content, image, style = features(0, size), features(1, size), features(2, (8, 7))
    places = neighbours.sample_places(style, 10**6)
    found = neighbours.search(places, [(content, 0.75), (image, 0.25)])
    np.testing.assert_array_equal(found, by_hand(content, image, style))
    where = np.zeros(size, bool)
    where[1:3, 2:4] = True
    some = neighbours.search(places, [(content, 0.75), (image, 0.25)], where)
    np.testing.assert_array_equal(some, np.where(where, found, 0))


def test_the_search_can_be_stopped():
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        neighbours.search(neighbours.sample_places(features(0), 5), [(features(1), 1.0)], check=stop)


def test_a_style_finds_itself():
    style = features(3)
    places = neighbours.sample_places(style, 10**6)
    found = neighbours.search(places, [(style, 1.0)])
    np.testing.assert_array_equal(found, np.arange(54).reshape(6, 9))
    np.testing.assert_array_equal(neighbours.replaced(places, FINE, found, (4, 6, 9))[0], style[FINE])
    np.testing.assert_array_equal(neighbours.replaced(places, COARSE, found, (3, 3, 4))[0], style[COARSE])


def test_a_coarse_position_gets_the_mean_of_its_fine_ones():
    places = {FINE: np.zeros((4, 1), np.float32), COARSE: np.array([[1.0], [2], [3], [10]], np.float32)}
    found = np.array([[0, 1, 3], [2, 3, 3], [0, 0, 0]], np.int32)
    np.testing.assert_array_equal(
        neighbours.replaced(places, COARSE, found, (1, 1, 1)), [[[[np.float32(39 / 9)]]]]
    )
    rounded_up = neighbours.replaced(places, COARSE, found, (1, 2, 2))[0, 0]
    np.testing.assert_array_equal(rounded_up, [[4.0, 10], [1, 1]])


def test_a_mask_leaves_places_out():
    style, mask = features(4), np.zeros((6, 9), np.float32)
    mask[2:4, 5:] = 0.8
    places = neighbours.sample_places(style, 100, mask)
    np.testing.assert_array_equal(places[FINE], style[FINE][:, 2:4, 5:].reshape(4, -1).T)


def test_samples_are_the_same_each_time_and_shared_by_weight():
    style = features(5, (40, 50))
    first, second = (neighbours.sample_places(style, 300) for _ in range(2))
    assert len(first[FINE]) == 300
    np.testing.assert_array_equal(first[COARSE], second[COARSE])
    both = neighbours.joined([first, neighbours.sample_places(features(6), 5)])
    np.testing.assert_array_equal(both[FINE][:300], first[FINE])
    assert len(both[FINE]) == 305
    assert neighbours.places_per_style(100, [3, 1]) == [6144, 2048]
    assert neighbours.places_per_style(2**24, [1, 1]) == [512, 512]


def test_plain_images_have_neighbours_too():
    plain = {layer: np.ones_like(array) for layer, array in features(0).items()}
    places = neighbours.sample_places(plain, 100)
    found = neighbours.search(places, [(plain, 1.0)])
    assert np.isfinite(neighbours.replaced(places, FINE, found, (4, 6, 9))).all()


def test_gradient_matches_central_differences():
    """Beside a content loss of the same layer, with a map that the neighbours do not have."""
    size = (9, 12)
    terms = LossTerms((COARSE,), (FINE,), statistic="neighbours", matched_layers=(FINE, COARSE))
    terms = replace(terms, content_map=True)
    network, rng = small_vgg().model, np.random.default_rng(3)
    graph = objective_graph(network, size, terms, dtype=np.float64)
    shapes = {i.name: [d.dim_value for d in i.type.tensor_type.shape.dim] for i in graph.graph.input}
    feeds = {name: rng.uniform(0.2, 1, shape) for name, shape in shapes.items()}
    evaluator = ReferenceEvaluator(graph)
    loss, values, gradient = evaluator.run(["loss", "terms", "d_image"], feeds)
    assert len(values) == len(terms.names) == 6
    assert float(loss) == pytest.approx(feeds["weights"] @ values)
    for _ in range(3):
        direction = rng.normal(size=gradient.shape)
        ends = [
            float(evaluator.run(["loss"], feeds | {"image": feeds["image"] + sign * 1e-6 * direction})[0])
            for sign in (1, -1)
        ]
        assert np.vdot(gradient, direction) == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5)
    measured = ReferenceEvaluator(statistics_graph(network, size, LossTerms((FINE, COARSE), ())))
    picture = {"image": feeds["image"].astype(np.float32)}
    for value, own, layer in zip(values[1:3], measured.run(None, picture), (FINE, COARSE), strict=True):
        target = feeds[f"neighbours_{layer}"]
        assert value == pytest.approx(((own - target) ** 2).sum() / (target**2).sum(), rel=1e-5)
