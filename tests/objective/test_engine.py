"""The loss as a function of the picture: against the bare graph, targets by hand, sessions kept."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest

from lbfgs_style import ImageError
from lbfgs_style.objective import session_cache
from lbfgs_style.objective.engine import Engine
from lbfgs_style.objective.losses.terms import LossTerms, blend_grams
from lbfgs_style.objective.whole_graphs import objective_graph
from lbfgs_style.system.threads import Cancellation, Cancelled
from tests.helpers.small_networks import small_vgg

TERMS = LossTerms(("relu2_2",), ("relu1_1", "relu2_1", "relu3_1"))
WEIGHTS = np.array([0.5, 1.0, 2.0, 0.25, 0.1, 3.0], np.float32)


def engine(*, keep: bool = False) -> Engine:
    return Engine(small_vgg(), device="cpu", threads=1, keep_sessions=keep)


def picture(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, (3, *size)).astype(np.float32)


@pytest.mark.parametrize("size", [(12, 16), (13, 19), (7, 5)])
def test_an_evaluation_equals_the_bare_graph(size: tuple[int, int]) -> None:
    machine = engine()
    targets = machine.statistics(picture(size, 1), TERMS, what="picture")
    x = picture(size, 2)
    actual = machine.objective(size, TERMS, targets, WEIGHTS)(x.astype(np.float64))
    graph = objective_graph(machine.network.model, size, TERMS)
    bare = onnxruntime.InferenceSession(graph.SerializeToString())
    feeds = {"image": x[None], "weights": WEIGHTS, **targets}
    loss, terms, gradient = bare.run(["loss", "terms", "d_image"], feeds)
    assert type(actual.loss) is float
    assert actual.loss == pytest.approx(float(loss), rel=1e-5)
    np.testing.assert_allclose(actual.terms, terms, rtol=1e-4)
    assert actual.gradient.shape == (3, *size)
    assert np.linalg.norm(actual.gradient - gradient[0]) <= 1e-5 * np.linalg.norm(gradient)
    assert actual.loss == pytest.approx(float(WEIGHTS @ actual.terms), rel=1e-5)


def test_with_its_own_targets_only_the_variation_is_left() -> None:
    machine = engine()
    x = picture((12, 18), 3)
    targets = machine.statistics(x, TERMS, what="picture")
    evaluation = machine.objective((12, 18), TERMS, targets, WEIGHTS)(x)
    terms = dict(zip(TERMS.names, evaluation.terms, strict=True))
    assert terms["content relu2_2"] == pytest.approx(0, abs=1e-10)
    for layer in TERMS.style_layers:
        assert terms[f"style {layer}"] == pytest.approx(0, abs=1e-10)
    steps = (np.diff(x, axis=1) ** 2).sum() + (np.diff(x, axis=2) ** 2).sum()
    assert terms["tv"] == pytest.approx(steps / (12 * 18), rel=1e-5)


def test_statistics_are_features_and_their_gram_matrices() -> None:
    machine = engine()
    x = picture((9, 11))
    network = onnxruntime.InferenceSession(machine.network.model.SerializeToString())
    content, style = network.run(["relu2_2", "relu3_1"], {"image": x[None]})
    statistics = machine.statistics(x, LossTerms(("relu2_2",), ("relu3_1",)), what="picture")
    assert sorted(statistics) == ["features_relu2_2", "gram_relu3_1"]
    np.testing.assert_allclose(statistics["features_relu2_2"], content, rtol=1e-5, atol=1e-6)
    flat = style.reshape(style.shape[1], -1)
    np.testing.assert_allclose(statistics["gram_relu3_1"], flat @ flat.T / flat.shape[1], rtol=1e-4)


def test_no_layers_no_statistics() -> None:
    assert engine().statistics(picture((4, 4)), LossTerms((), ()), what="picture") == {}


def test_blended_gram_by_hand() -> None:
    """(3 · [[1, 0], [0, 2]] + 1 · [[5, 4], [4, 6]]) / 4."""
    first = {"gram_a": np.array([[1, 0], [0, 2]], np.float32), "gram_b": np.array([[8]], np.float32)}
    second = {"gram_a": np.array([[5, 4], [4, 6]], np.float32), "gram_b": np.array([[0]], np.float32)}
    mixed = blend_grams([first, second], [3, 1])
    np.testing.assert_allclose(mixed["gram_a"], [[2, 1], [1, 3]], rtol=1e-6)
    np.testing.assert_allclose(mixed["gram_b"], [[6]], rtol=1e-6)
    assert mixed["gram_a"].dtype == np.float32


@pytest.mark.parametrize("factor", [1e39, 1e-60])
def test_shares_of_any_magnitude(factor: float) -> None:
    first, second = ({"gram_a": np.array([[value]], np.float32)} for value in (4, 8))
    assert blend_grams([first, second], [3 * factor, factor])["gram_a"][0, 0] == pytest.approx(5)


def test_blending_one_style_ignores_its_weight() -> None:
    gram = {"gram_a": np.array([[0.1, 0.3], [0.3, 0.7]], np.float32)}
    np.testing.assert_array_equal(blend_grams([gram], [7.0])["gram_a"], gram["gram_a"])


def test_too_small_a_picture_is_refused() -> None:
    """relu4_1 lies behind three poolings of two: 8 pixels."""
    terms = LossTerms((), ("relu1_1", "relu4_1"))
    assert engine().smallest_side(terms) == 8
    with pytest.raises(ImageError) as e:
        engine().statistics(picture((7, 30)), terms, what="style image")
    message = str(e.value)
    parts = ("style image is too small", "relu4_1", "least 8 pixels", "got 30×7", "larger style image")
    for part in parts:
        assert part in message
    assert "\n" not in message
    assert engine().statistics(picture((8, 8)), terms, what="style image")


@pytest.mark.parametrize("convolution", ["direct", "winograd"])
def test_convolutions_may_take_either_form(convolution: str) -> None:
    """The graph has inputs for transformed weights or not; loss and gradient are the same."""
    machine = Engine(small_vgg(), device="cpu", threads=1, keep_sessions=True, convolution=convolution)
    targets = machine.statistics(picture((13, 19), 1), TERMS, what="picture")
    actual = machine.objective((13, 19), TERMS, targets, WEIGHTS)(picture((13, 19), 2))
    assert len(machine.cache.transformed_kernels) == (5 if convolution == "winograd" else 0)
    direct = engine()
    targets = direct.statistics(picture((13, 19), 1), TERMS, what="picture")
    expected = direct.objective((13, 19), TERMS, targets, WEIGHTS)(picture((13, 19), 2))
    assert actual.loss == pytest.approx(expected.loss, rel=1e-5)
    assert np.linalg.norm(actual.gradient - expected.gradient) <= 2e-5 * np.linalg.norm(expected.gradient)


@pytest.mark.parametrize(("keep", "builds"), [(True, 3), (False, 5)])
def test_sessions_are_kept_on_request(monkeypatch: pytest.MonkeyPatch, keep: bool, builds: int) -> None:
    made: list[dict[str, object]] = []
    original = session_cache.Session

    def counted(*args: object, **settings: object) -> session_cache.Session:
        made.append(settings)
        return original(*args, **settings)

    monkeypatch.setattr(session_cache, "Session", counted)
    machine = engine(keep=keep)
    assert machine.provider is None
    values = []
    for seed in (1, 1):
        targets = machine.statistics(picture((8, 12), seed), TERMS, what="picture")
        values.append(machine.objective((8, 12), TERMS, targets, WEIGHTS)(picture((8, 12), 2)).loss)
    machine.statistics(picture((12, 8)), TERMS, what="picture")  # another size needs another graph
    assert len(made) == builds
    assert made[0]["device"] == "cpu"
    assert made[0]["threads"] == 1
    assert values[0] == values[1]
    assert machine.provider == "CPUExecutionProvider"


def test_kept_sessions_do_not_mix_terms() -> None:
    machine = engine(keep=True)
    x = picture((8, 8))
    first = machine.statistics(x, LossTerms(("relu1_1",), ()), what="picture")
    second = machine.statistics(x, LossTerms(("relu2_1",), ()), what="picture")
    assert (list(first), list(second)) == (["features_relu1_1"], ["features_relu2_1"])


def test_cancel_reaches_statistics_and_evaluations() -> None:
    cancel = threading.Event()
    machine = engine().during(Cancellation(cancel))
    targets = machine.statistics(picture((8, 8)), TERMS, what="picture")
    problem = machine.objective((8, 8), TERMS, targets, WEIGHTS)
    problem(picture((8, 8)))
    cancel.set()
    with pytest.raises(Cancelled):
        problem(picture((8, 8)))
    with pytest.raises(Cancelled):
        machine.statistics(picture((8, 8)), TERMS, what="picture")


def test_the_memory_of_a_frame_counts_what_it_is_held_to() -> None:
    """Three float32 of w and one of c a pixel, and the differences of an evaluation."""
    plain, frame = (engine().estimate_costs(replace(TERMS, temporal=flag), 0) for flag in (False, True))
    assert frame.targets - plain.targets == 16
    assert frame.per_pixel >= plain.per_pixel
