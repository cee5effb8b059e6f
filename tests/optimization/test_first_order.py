"""Steps of Adam and SGD by hand, and the driver's promises when they move the pixels."""

from __future__ import annotations

import numpy as np
import pytest

from lbfgs_style import Options, StyleTransfer
from lbfgs_style.objective.evaluation import Evaluation
from lbfgs_style.optimization.first_order import Adam, Sgd, make_step
from lbfgs_style.optimization.lbfgs import minimize
from lbfgs_style.optimization.problem import HostProblem
from lbfgs_style.optimization.variables import Pixels
from lbfgs_style.system.threads import Cancelled
from tests.helpers.small_networks import small_vgg

AIM = np.linspace(0.2, 0.8, 6).reshape(3, 1, 2)


def bowl(image: np.ndarray) -> Evaluation:
    return Evaluation(float(((image - AIM) ** 2).sum()), np.zeros(1, np.float32), 2 * (image - AIM))


def test_steps_of_sgd_by_hand() -> None:
    """Rate 0.5, times 0.96^(1/100) at the second step."""
    step = Sgd(0.5)
    x, gradient = np.array([1.0, 2.0]), np.array([2.0, -4.0])
    x = step(x, gradient)
    np.testing.assert_allclose(x, [0, 4])
    np.testing.assert_allclose(step(x, gradient), [-(0.96**0.01), 4 + 2 * 0.96**0.01])


def test_steps_of_adam_by_hand() -> None:
    """Written out from TensorFlow's update: alpha_t m / (√v + ε), then tf.clip_by_value."""
    step = Adam(0.02)
    x, gradients = np.array([0.5, 0.999, 0.3]), ([3.0, -2.0, 0.0], [1.0, -2.0, 0.5])
    m = v = np.zeros(3)
    expected = x
    for t, gradient in enumerate(map(np.array, gradients), 1):
        m, v = 0.99 * m + 0.01 * gradient, 0.999 * v + 0.001 * gradient**2
        alpha = 0.02 * np.sqrt(1 - 0.999**t) / (1 - 0.99**t)
        expected = np.clip(expected - alpha * m / (np.sqrt(v) + 0.1), 0, 1)
        x = step(x, gradient)
    np.testing.assert_allclose(x, expected, rtol=1e-12)
    assert x[1] == 1  # clipped


def test_the_rates_of_the_sources() -> None:
    assert make_step("lbfgs", None) is None
    moved = make_step("sgd", None)(np.zeros(1), np.array([-1.0]))
    assert moved == pytest.approx(100 / 255**2)
    moved = make_step("sgd", 3.0)(np.zeros(1), np.array([-1.0]))
    assert moved == pytest.approx(3)


def run(name: str, rate: float, iterations: int = 50, objective=bowl, **more):
    step = make_step(name, rate)
    return minimize(
        HostProblem(objective, Pixels((1, 2)), np.float64),
        np.full((3, 1, 2), 0.9),
        iterations=iterations,
        history=1,
        step=step,
        **more,
    )


@pytest.mark.parametrize(("name", "rate", "count"), [("sgd", 0.2, 60), ("adam", 0.02, 1500)])
def test_a_bowl_is_descended(name: str, rate: float, count: int) -> None:
    seen: list[tuple[int, int]] = []
    outcome = run(name, rate, count, on_iterate=lambda i, n, e, p: seen.append((i, n)) or False)
    np.testing.assert_allclose(outcome.image, AIM, atol=1e-3)
    assert (outcome.reason, outcome.iterations, outcome.evaluations) == ("iterations", count, count + 1)
    assert seen == [(i, i + 1) for i in range(1, count + 1)]


def test_the_best_is_returned_though_steps_overshoot() -> None:
    outcome = run("sgd", 1.1, 20)
    assert (outcome.image == 0.9).all()
    assert outcome.end is outcome.start


def test_the_callback_stops() -> None:
    outcome = run("adam", 0.02, on_iterate=lambda i, n, e, p: i == 3)
    assert (outcome.reason, outcome.iterations) == ("callback", 3)
    assert outcome.end.loss < outcome.start.loss


def test_interruption_returns_the_best_so_far() -> None:
    count = 0

    def objective(image: np.ndarray) -> Evaluation:
        nonlocal count
        count += 1
        if count > 5:
            raise Cancelled
        return bowl(image)

    outcome = run("sgd", 0.1, objective=objective)
    assert (outcome.reason, outcome.iterations) == ("cancelled", 4)
    assert outcome.end.loss < outcome.start.loss


def test_divergence_ends_with_its_reason() -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        outcome = run("sgd", 1e200)
    assert outcome.reason == "non-finite"
    assert (outcome.image == 0.9).all()


@pytest.mark.parametrize(("name", "rate"), [("adam", None), ("sgd", 0.1)])
def test_a_run_uses_it(name: str, rate: float | None) -> None:
    """Whatever the variables of L-BFGS are."""
    photo, painting = np.random.default_rng(2).uniform(0.2, 0.8, (2, 24, 24, 3))
    options = Options(size=24, iterations=8, device="cpu", threads=1, optimizer=name, learning_rate=rate)
    result = StyleTransfer(small_vgg(), options=options).run(photo, painting)
    (scale,) = result.scales
    assert scale.evaluations == 9
    assert scale.loss_end < scale.loss_start
