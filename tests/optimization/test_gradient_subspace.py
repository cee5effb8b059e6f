"""L-BFGS in coordinates of the gradients makes the same iterates as in the variables themselves."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import LbfgsInvHessProduct
from scipy.optimize import minimize as scipy_minimize

from lbfgs_style.graphs.builder import GraphBuilder
from lbfgs_style.objective.evaluation import Evaluation
from lbfgs_style.objective.session import Session
from lbfgs_style.optimization import lbfgs
from lbfgs_style.optimization.device_problem import DeviceBasis, DeviceGradient
from lbfgs_style.optimization.gradient_subspace import Subspace
from lbfgs_style.optimization.lbfgs import minimize
from lbfgs_style.optimization.problem import HostBasis, HostProblem
from lbfgs_style.optimization.variables import Spectral

SIZE = (24, 32)
RNG = np.random.default_rng(0)
CURVATURE = (RNG.random((3, *SIZE)) ** 4 * 10 + 0.01).astype(np.float32)
MINIMUM = RNG.random((3, *SIZE)).astype(np.float32)


def valley(image: np.ndarray) -> Evaluation:
    """A quartic function, badly scaled, in the precision of onnxruntime."""
    away = np.asarray(image, np.float32) - MINIMUM
    loss = float((CURVATURE * away**2 / 2 + 0.1 * away**4).sum(dtype=np.float64))
    return Evaluation(loss, np.zeros(1, np.float32), CURVATURE * away + 0.4 * away**3)


def in_all_variables(variables: Spectral, start: np.ndarray, iterations: int) -> tuple[list[float], int]:
    """Return the losses and the number of evaluations of SciPy alone, with all corrections."""
    scale, losses = 1e4 / valley(start).loss, list[float]()

    def loss_and_gradient(z: np.ndarray) -> tuple[float, np.ndarray]:
        evaluation = valley(variables.decode(z))
        return scale * evaluation.loss, scale * variables.pull_back(evaluation.gradient)

    result = scipy_minimize(
        loss_and_gradient,
        variables.encode(start),
        jac=True,
        method="L-BFGS-B",
        callback=lambda intermediate_result: losses.append(intermediate_result.fun / scale),
        options={"maxiter": iterations, "maxcor": iterations, "ftol": 0, "gtol": 0},
    )
    return losses, result.nfev


def test_the_iterates_are_the_same():
    """But for rounding, to which L-BFGS is more sensitive the longer it runs."""
    variables, start = Spectral(SIZE), np.full((3, *SIZE), 0.5)
    expected, evaluations = in_all_variables(variables, start, 40)
    losses: list[float] = []
    outcome = minimize(
        HostProblem(valley, variables),
        start,
        iterations=40,
        history=40,
        on_iterate=lambda i, n, value, picture: losses.append(value.loss) or False,
    )
    assert losses[:15] == pytest.approx(expected[:15], rel=1e-4)
    assert losses[-1] < 0.02 * losses[0]
    assert outcome.evaluations == pytest.approx(evaluations, abs=3)


def test_a_shorter_history_restarts():
    """The loss continues to fall from where it was, and every iteration counts."""
    iterates: list[tuple[int, float]] = []
    outcome = minimize(
        HostProblem(valley, Spectral(SIZE)),
        np.full((3, *SIZE), 0.5),
        iterations=25,
        history=10,
        on_iterate=lambda i, n, value, picture: iterates.append((i, value.loss)) or False,
    )
    losses = [loss for _, loss in iterates]
    assert [i for i, _ in iterates] == list(range(1, 26))
    assert losses == sorted(losses, reverse=True)
    assert (outcome.iterations, outcome.reason) == (25, "iterations")
    longer = losses_of(25, history=25)
    assert losses[:10] == longer[:10]
    assert losses[10:] != pytest.approx(longer[10:], rel=1e-3)


def losses_of(iterations: int, history: int) -> list[float]:
    coordinates: list[float] = []
    minimize(
        HostProblem(valley, Spectral(SIZE)),
        np.full((3, *SIZE), 0.5),
        iterations=iterations,
        history=history,
        on_iterate=lambda i, n, value, picture: coordinates.append(value.loss) or False,
    )
    return coordinates


def test_a_restart_knows_the_curvature(monkeypatch: pytest.MonkeyPatch):
    """With half as many directions it gets about as far as with all, without them it does not."""
    everything, short = losses_of(80, history=80)[-1], losses_of(80, history=20)[-1]
    monkeypatch.setattr(lbfgs, "restart_directions", lambda history: 0)
    forgetful = losses_of(80, history=20)[-1]
    least = 0.9 * everything
    assert short - least < 0.5 * (forgetful - least)


@pytest.mark.parametrize("history", [1, 2, 3])
def test_histories_of_hardly_any_iterations(history: int):
    losses = losses_of(12, history)
    assert len(losses) == 12
    assert losses == sorted(losses, reverse=True)


def test_a_converged_run_does_not_restart():
    def bowl(image: np.ndarray) -> Evaluation:
        away = np.asarray(image, np.float32) - MINIMUM
        return Evaluation(float((away**2).sum(dtype=np.float64)), np.zeros(1, np.float32), 2 * away)

    outcome = minimize(HostProblem(bowl, Spectral(SIZE)), np.zeros((3, *SIZE)), iterations=300, history=40)
    assert outcome.reason == "converged"
    assert outcome.iterations < 40


class HostVectors:
    """Vectors as arrays of NumPy."""

    def basis(self, capacity: int) -> HostBasis:
        return HostBasis(capacity, np.float32)

    def gradient(self, numbers: np.ndarray) -> np.ndarray:
        return numbers

    point = gradient


class DeviceVectors:
    """Vectors in the memory of a device: that of the CPU."""

    def __init__(self) -> None:
        graph = GraphBuilder()
        graph.output(graph.input("x", [1]), "y")
        self.session = Session(graph.model(), device="cpu", threads=1)

    def basis(self, capacity: int) -> DeviceBasis:
        return DeviceBasis(self.session, capacity)

    def gradient(self, numbers: np.ndarray) -> DeviceGradient:
        largest = float(np.abs(numbers).max())
        scaled = numbers / (largest or 1)
        return DeviceGradient(self.point(scaled[None]), float(np.linalg.norm(scaled)), largest)

    def point(self, numbers: np.ndarray):
        return self.session.to_device({"z": numbers})["z"]


@pytest.fixture(params=[HostVectors, DeviceVectors])
def vectors(request: pytest.FixtureRequest) -> HostVectors | DeviceVectors:
    return request.param()


def make_space(vectors: HostVectors | DeviceVectors, length: int, capacity: int) -> Subspace:
    return Subspace(vectors.point(np.zeros(length)), vectors.basis(capacity))


def test_the_first_step_is_that_of_the_inverse_hessian(vectors):
    """By hand: curvature 4 along one direction and 1 along another, γ = 1."""
    first, second = np.linalg.qr(RNG.normal(size=(50, 2)))[0].T
    space = make_space(vectors, 50, 4)
    for gradient in (first, second):
        space.coordinates(vectors.gradient(gradient))
        space.keep_latest()
    steps = np.eye(4)[:2]
    inverse = LbfgsInvHessProduct(steps, steps * [[4.0], [1.0]])
    origin, gradient = RNG.normal(size=(2, 50))
    space.restart(vectors.point(origin), vectors.gradient(gradient), inverse, directions=1)
    coordinates = space.coordinates(vectors.gradient(gradient))
    space.keep_latest()
    newton = gradient - 0.75 * first * (first @ gradient)
    np.testing.assert_allclose(
        np.asarray(space.point(-coordinates / np.linalg.norm(coordinates))) - origin,
        -newton,
        atol=2e-6 * np.linalg.norm(gradient),
    )


def filled(vectors: HostVectors | DeviceVectors, gradients: np.ndarray) -> tuple[Subspace, np.ndarray]:
    """Return a subspace that has kept gradients [k,n], and their coordinates."""
    space = make_space(vectors, gradients.shape[1], len(gradients) + 1)
    coordinates = []
    for gradient in gradients:
        coordinates.append(space.coordinates(vectors.gradient(gradient)))
        space.keep_latest()
    return space, np.array(coordinates)


def test_inner_products_stay_as_they_are(vectors):
    """Of gradients that hardly differ, too: one projection alone leaves them far from orthogonal."""
    gradients = RNG.normal(size=500) + 0.01 * RNG.normal(size=(30, 500))
    space, rows = filled(vectors, gradients)
    np.testing.assert_allclose(rows @ rows.T, gradients @ gradients.T, rtol=1e-5)
    for coordinates, gradient in zip(rows, gradients, strict=True):
        np.testing.assert_allclose(space.point(coordinates), gradient, atol=1e-5)
    basis = np.array([space.point(unit) for unit in np.eye(31)[:30]], np.float64)
    np.testing.assert_allclose(basis @ basis.T, np.eye(30), atol=1e-6)


def test_the_next_point_takes_the_place_of_one_that_was_not_accepted(vectors):
    first, refused, accepted = RNG.normal(size=(3, 50))
    space = make_space(vectors, 50, 2)
    space.coordinates(vectors.gradient(first))
    space.keep_latest()
    space.coordinates(vectors.gradient(refused))
    coordinates = space.coordinates(vectors.gradient(accepted))
    space.keep_latest()
    np.testing.assert_allclose(space.point(coordinates), accepted, atol=1e-5)


def test_a_gradient_in_the_span_adds_no_direction(vectors):
    gradients = RNG.normal(size=(2, 50))
    space, coordinates = filled(vectors, gradients)
    again = space.coordinates(vectors.gradient(gradients.sum(0)))
    space.keep_latest()
    np.testing.assert_allclose(again, coordinates.sum(0), atol=1e-5)
    assert not space.coordinates(vectors.gradient(np.zeros(50))).any()
    assert again[2] == 0


def test_gradients_of_any_length_have_coordinates(vectors):
    """Far out, squares leave the range of float32; close to the end they vanish."""
    gradient = RNG.normal(size=50)
    for length in (1e-30, 1e30):
        space = make_space(vectors, 50, 1)
        np.testing.assert_allclose(
            space.coordinates(vectors.gradient(length * gradient)),
            length * np.linalg.norm(gradient),
            rtol=1e-6,
        )


def test_the_factor_of_the_loss_is_one_of_coordinates():
    gradient = RNG.normal(size=50)
    space = Subspace(np.zeros(50), HostBasis(1, np.float32), factor=3.0)
    assert space.coordinates(gradient) == pytest.approx(3 * np.linalg.norm(gradient))
