"""Vectors on a device: the same numbers, and the same runs, as with vectors in NumPy. Here it is the CPU."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lbfgs_style import STOP, Checkpoint, Options, StyleTransfer, networks
from lbfgs_style.graphs.builder import GraphBuilder
from lbfgs_style.objective.engine import Engine
from lbfgs_style.objective.evaluation import Objective
from lbfgs_style.objective.losses.terms import RELIABILITY, TEMPORAL_TARGET, LossTerms
from lbfgs_style.objective.session import Session
from lbfgs_style.optimization import vector_graphs
from lbfgs_style.optimization.device_problem import DeviceProblem
from lbfgs_style.optimization.problem import HostProblem
from lbfgs_style.optimization.variables import VARIABLES
from lbfgs_style.pipeline import scale_run

SIZE = (20, 27)
RNG = np.random.default_rng(3)
KINDS = pytest.mark.parametrize("kind", VARIABLES.values(), ids=VARIABLES)


def pixels(*shape: int) -> np.ndarray:
    return RNG.uniform(0.2, 0.8, shape).astype(np.float32)


def make_objective(network, window_pixels: int | None = None) -> Objective:
    network = networks.load(network)
    engine = Engine(network, device="cpu", threads=1, keep_sessions=False)
    plain = LossTerms(network.content_layers, network.style_layers)
    terms = replace(plain, temporal=True)
    targets = engine.statistics(pixels(3, *SIZE), plain, what="picture")
    targets |= {TEMPORAL_TARGET: pixels(1, 3, *SIZE), RELIABILITY: pixels(1, 1, *SIZE)}
    weights = np.ones(len(terms.names), np.float32)
    return engine.objective(SIZE, terms, targets, weights, window_pixels=window_pixels)


@pytest.fixture
def objective(network) -> Objective:
    return make_objective(network)


def test_arrays_of_a_device_have_parts_and_other_shapes() -> None:
    graph = GraphBuilder()
    graph.output(graph.op("Add", graph.input("x", [2]), graph.input("y", [2])), "sum")
    session = Session(graph.model(), device="cpu")
    table = session.to_device({"t": np.arange(6).reshape(3, 2)})["t"]
    assert (table.nbytes, table.reshape(6).shape, table.rows(1, 3).shape) == (24, (6,), (2, 2))
    np.testing.assert_array_equal(table.rows(1, 3), [[2, 3], [4, 5]])
    sums = session.empty(2, 2)
    for row in range(2):
        inputs = {"x": table.rows(row, row + 1).reshape(2), "y": table.rows(2, 3).reshape(2)}
        session.run_on_device([], {}, inputs, into={"sum": sums.rows(row, row + 1).reshape(2)})
    np.testing.assert_array_equal(sums, [[4, 6], [6, 8]])
    with pytest.raises(ValueError, match="cannot reshape"):
        table.reshape(5)
    with pytest.raises(ValueError, match="rows 2 to 4 of 3"):
        table.rows(2, 4)
    with pytest.raises(ValueError, match="always copied"):
        np.asarray(table, copy=False)


def test_cosines_are_orthonormal() -> None:
    matrix = vector_graphs.cosines(37)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(37), atol=1e-6)


@KINDS
def test_an_evaluation_is_that_of_the_host(objective, kind) -> None:
    variables, image = kind(SIZE), pixels(3, *SIZE)
    host, device = HostProblem(objective, variables), DeviceProblem(objective.on_device, variables)
    at_host, at_device = (problem.evaluate(problem.encode(image)) for problem in (host, device))
    assert at_device.value.loss == pytest.approx(at_host.value.loss, rel=1e-4)
    np.testing.assert_allclose(at_device.value.terms, at_host.value.terms, rtol=1e-4)
    np.testing.assert_allclose(at_device.image, image, atol=1e-5)
    np.testing.assert_allclose(device.decode(at_device.z), image, atol=1e-5)
    gradient = at_device.gradient
    numbers = np.asarray(gradient.vector).ravel() * gradient.largest
    # Rounding turns a ReLU near its kink on or off.
    assert np.linalg.norm(numbers - at_host.gradient) < 1e-2 * np.linalg.norm(at_host.gradient)
    assert gradient.length * gradient.largest == pytest.approx(np.linalg.norm(at_host.gradient), rel=1e-2)


@KINDS
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_noticed(objective, kind, wrong: float) -> None:
    problem, image = DeviceProblem(objective.on_device, kind(SIZE)), pixels(3, *SIZE)
    assert problem.evaluate(problem.encode(image)).is_finite
    z = np.array(problem.encode(image), np.float64)
    z[5] = wrong
    assert not problem.evaluate(problem.vector(z)).is_finite


PHOTO, PAINTING = (pixels(48, 64, 3) for _ in range(2))


@pytest.fixture
def device_runs(monkeypatch: pytest.MonkeyPatch) -> list[DeviceProblem]:
    """Keep vectors on the device in runs on the CPU, too; return the problems that are made."""
    made: list[DeviceProblem] = []

    def make(*arguments: object) -> DeviceProblem:
        made.append(DeviceProblem(*arguments))
        return made[-1]

    monkeypatch.setattr(scale_run, "has_device_vectors", lambda objective: True)
    monkeypatch.setattr(scale_run, "DeviceProblem", make)
    return made


def paint(network, **settings):
    options = Options(size=64, device="cpu", threads=1, **settings)
    return StyleTransfer(network, options=options)


@pytest.mark.parametrize(
    "settings",
    [
        {"iterations": 8},
        {"iterations": 8, "variables": "pixels"},
        {"iterations": 12, "history": 4},
        {"iterations": 8, "style_statistic": "mean-cov"},
    ],
    ids=str,
)
def test_a_run_is_that_of_the_host(network, settings, device_runs, monkeypatch) -> None:
    on_device = paint(network, **settings).run(PHOTO, PAINTING)
    assert device_runs
    monkeypatch.undo()
    on_host = paint(network, **settings).run(PHOTO, PAINTING)
    assert on_device.history[0] == pytest.approx(on_host.history[0], rel=1e-4)
    assert on_device.history[-1] == pytest.approx(on_host.history[-1], rel=0.02)


def test_callbacks_get_images_of_their_own(network, device_runs) -> None:
    seen = []
    result = paint(network, iterations=6).run(PHOTO, PAINTING, on_iterate=seen.append)
    images = [iterate.image() for iterate in seen if iterate.scale == iterate.scales]
    assert len({image.tobytes() for image in images}) == len(images)
    np.testing.assert_allclose(images[-1], result.picture.rgb, atol=1e-5)
    assert device_runs


def test_a_run_is_saved_and_resumed(network, device_runs, tmp_path) -> None:
    path = tmp_path / "run.checkpoint"

    def stop(iterate):
        return STOP if iterate.scale == iterate.scales and iterate.iteration == 3 else None

    job = paint(network, iterations=6)
    first = job.run(PHOTO, PAINTING, on_iterate=stop, checkpoint=Checkpoint(path, every=0))
    again = job.run(PHOTO, PAINTING, checkpoint=Checkpoint(path, resume=True))
    assert again.history[: len(first.history)] == first.history
    assert again.history[-1] < first.history[-1]
    assert device_runs


def test_tiles_are_evaluated_from_the_host(network) -> None:
    assert make_objective(network, window_pixels=400).on_device is None


def test_a_first_order_method_needs_the_host(network, device_runs) -> None:
    paint(network, iterations=2, optimizer="adam").run(PHOTO, PAINTING)
    assert not device_runs


def test_a_kept_part_needs_the_host(network, device_runs) -> None:
    keep = np.zeros(PHOTO.shape[:2], np.float32)
    keep[:20] = 1
    result = paint(network, iterations=2).run(PHOTO, PAINTING, keep=keep)
    assert not device_runs
    np.testing.assert_allclose(result.image[:20], PHOTO[:20], atol=1e-6)
