"""The L-BFGS-B driver on functions whose minimum is known."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import scipy.optimize
from threadpoolctl import threadpool_info, threadpool_limits

from lbfgs_style import OptimizationError
from lbfgs_style.objective.evaluation import Evaluation
from lbfgs_style.optimization.lbfgs import STOP_REASONS, minimize
from lbfgs_style.optimization.problem import HostProblem
from lbfgs_style.optimization.state import OptimizerState
from lbfgs_style.optimization.variables import Spectral
from lbfgs_style.system.threads import Cancelled
from tests.helpers.command import ROOT
from tests.helpers.functions import (
    MINIMUM,
    Counted,
    infinite_gradient,
    not_a_number,
    quadratic,
    rosenbrock,
    run,
    spoil,
)


def test_quadratic_is_solved() -> None:
    outcome = run(Counted(quadratic))
    np.testing.assert_allclose(outcome.image.ravel(), MINIMUM, atol=1e-6)
    assert outcome.reason == "converged"
    assert outcome.end.loss < 1e-10 < outcome.start.loss


def test_quadratic_is_solved_in_spectral_variables() -> None:
    image = np.full((3, 1, 2), 0.9)
    outcome = minimize(HostProblem(Counted(quadratic), Spectral((1, 2))), image, iterations=200, history=10)
    np.testing.assert_allclose(outcome.image.ravel(), MINIMUM, atol=1e-4)


def test_rosenbrock_is_solved() -> None:
    outcome = run(Counted(rosenbrock), start=-0.5, n=3)
    np.testing.assert_allclose(outcome.image.ravel(), np.ones(9), atol=1e-4)
    assert outcome.reason == "converged"
    assert outcome.iterations > 10


def test_start_at_the_minimum_ends_at_once() -> None:
    outcome = run(Counted(lambda x: (0.0, np.zeros_like(x))))
    assert (outcome.reason, outcome.evaluations, outcome.iterations) == ("converged", 1, 0)
    assert (outcome.image == 0.9).all()


def test_unit_of_the_loss_does_not_matter() -> None:
    """2⁻²⁷ ≈ 7.5e-9, a power of two so that every digit stays; unscaled, such a loss would end at once."""
    large, small = Counted(rosenbrock), Counted(rosenbrock, factor=2.0**-27)
    first, second = run(large, start=-0.5), run(small, start=-0.5)
    assert second.iterations == first.iterations > 10
    np.testing.assert_array_equal(np.stack(small.points), np.stack(large.points))


def test_iterations_are_limited_and_counted() -> None:
    seen: list[int] = []
    objective = Counted(rosenbrock)
    outcome = run(objective, start=-0.5, iterations=7, on_iterate=lambda i, *_: seen.append(i) or False)
    assert outcome.reason == "iterations"
    assert outcome.iterations == 7
    assert seen == [1, 2, 3, 4, 5, 6, 7]
    assert outcome.evaluations == len(objective.points) > 7


def test_no_point_is_evaluated_twice() -> None:
    """The evaluation of the start is passed to SciPy, which does not request it again."""
    objective = Counted(rosenbrock)
    outcome = run(objective, start=-0.5, iterations=20)
    assert outcome.evaluations == len(objective.points)
    assert len({point.tobytes() for point in objective.points}) == len(objective.points)
    assert (objective.points[0] == -0.5).all()


def test_callback_sees_each_iterate_and_stops() -> None:
    seen: list[tuple[int, int, Evaluation, np.ndarray]] = []

    def on_iterate(*record: object) -> bool:
        seen.append(record)
        return len(seen) == 4

    outcome = run(Counted(rosenbrock), start=-0.5, on_iterate=on_iterate)
    assert (outcome.reason, outcome.iterations) == ("callback", 4)
    for _, _, evaluation, picture in seen:  # pictures of their own, not views of SciPy's buffer
        assert rosenbrock(picture.ravel())[0] == pytest.approx(evaluation.loss, rel=1e-12)
    np.testing.assert_array_equal(outcome.image, seen[-1][3])
    assert outcome.end is seen[-1][2]
    assert [evaluations for _, evaluations, _, _ in seen] == sorted({s[1] for s in seen})


def blas_threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_blas_has_one_thread_while_any_minimisation_runs() -> None:
    """The inner run ends before the outer one; only then do the threads come back."""
    with threadpool_limits(3, user_api="blas"):
        before = blas_threads()
        seen: list[set[int]] = []

        def on_iterate(iteration: int, *_: object) -> bool:
            seen.append(blas_threads())
            if iteration == 1:
                run(Counted(rosenbrock), start=-0.5, iterations=2)
                seen.append(blas_threads())
            return iteration == 2

        run(Counted(rosenbrock), start=-0.5, on_iterate=on_iterate)
        assert seen == [{1}] * 3
        assert blas_threads() == before


FIRST = """
import numpy as np
from threadpoolctl import threadpool_info
from lbfgs_style.objective.evaluation import Evaluation
from lbfgs_style.optimization.lbfgs import minimize
from lbfgs_style.optimization.problem import HostProblem
from lbfgs_style.optimization.variables import Pixels

def bowl(x):
    return Evaluation(float((x ** 2).sum()), np.zeros(1), 2 * x)

def note(*_):
    print({p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"})
    return True

minimize(HostProblem(bowl, Pixels((4, 4))), np.ones((3, 4, 4)), iterations=2, history=2, on_iterate=note)
"""


def test_blas_has_one_thread_in_the_first_run_of_a_process_too() -> None:
    """Its libraries are loaded before they are limited."""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "3", "PYTHONPATH": str(ROOT)}
    settings = {"capture_output": True, "text": True, "check": True, "env": environment}
    assert subprocess.run([sys.executable, "-c", FIRST], **settings).stdout.strip() == "{1}"


def test_callback_may_stop_as_scipy_has_it() -> None:
    def on_iterate(iteration: int, *_: object) -> bool:
        if iteration == 3:
            raise StopIteration
        return False

    outcome = run(Counted(rosenbrock), start=-0.5, on_iterate=on_iterate)
    assert (outcome.reason, outcome.iterations) == ("callback", 3)


def cancelled(_: Evaluation) -> Evaluation:
    raise Cancelled


@pytest.mark.parametrize(
    ("effect", "reason"),
    [(cancelled, "cancelled"), (not_a_number, "non-finite"), (infinite_gradient, "non-finite")],
)
def test_interruption_returns_the_best_so_far(effect: Callable[..., Evaluation], reason: str) -> None:
    accepted: list[float] = []
    outcome = run(
        spoil(9, effect), start=-0.5, on_iterate=lambda i, n, e, p: accepted.append(e.loss) or False
    )
    assert outcome.reason == reason
    assert len(accepted) == outcome.iterations > 3
    assert outcome.end.loss == min(accepted) < outcome.start.loss
    assert rosenbrock(outcome.image.ravel())[0] == pytest.approx(outcome.end.loss, rel=1e-12)


def test_interruption_before_the_first_iterate_returns_the_start() -> None:
    outcome = run(spoil(1, cancelled), start=-0.5)
    assert (outcome.reason, outcome.iterations) == ("cancelled", 0)
    assert (outcome.image == -0.5).all()
    assert outcome.end is outcome.start


def test_interruption_before_anything_is_known_has_no_outcome() -> None:
    with pytest.raises(Cancelled):
        run(spoil(0, cancelled))


def test_a_run_resumed_after_its_last_iteration_ends_at_once() -> None:
    """SciPy itself would make one more iteration for a limit of 0."""
    kept: list[OptimizerState] = []
    first = run(Counted(rosenbrock), start=-0.5, iterations=7, on_state=kept.append)
    again = run(Counted(rosenbrock), iterations=7, resume=kept[-1])
    assert (again.reason, again.iterations) == ("iterations", 7)
    np.testing.assert_array_equal(again.image, first.image)


def test_the_best_is_kept_and_continued_from() -> None:
    """Steps of the wrong sign: each is worse than the start, which stays the best in a resumed run."""
    kept: list[OptimizerState] = []
    climb = lambda x, gradient: x + 1e-4 * gradient  # noqa: E731
    climb.memory = {}
    run(Counted(quadratic), iterations=3, step=climb, on_state=kept.append)
    assert [state.iterations for state in kept] == [1, 2, 3]
    for state in kept:
        assert (state.best_z == 0.9).all()
        assert (state.z != state.best_z).any()
    again = run(Counted(quadratic), start=0.1, iterations=5, step=climb, resume=kept[-1])
    assert again.iterations == 5
    assert (again.image == 0.9).all()
    assert again.end.loss == again.start.loss == kept[0].start.loss


def test_line_searches_do_not_use_up_the_evaluations(monkeypatch: pytest.MonkeyPatch) -> None:
    """SciPy ends at 15,000 otherwise; a search takes 20 at the most (its option maxls)."""
    captured: dict[str, int] = {}

    def note(*args: object, options: dict[str, int], **more: object) -> object:
        captured.update(options)
        raise Cancelled

    monkeypatch.setattr(scipy.optimize, "minimize", note)
    assert run(Counted(rosenbrock), iterations=5000).reason == "cancelled"
    assert "maxls" not in captured
    assert captured["maxfun"] >= 20 * captured["maxiter"]


@pytest.mark.parametrize("effect", [not_a_number, infinite_gradient])
def test_non_finite_start_is_an_error(effect: Callable[..., Evaluation]) -> None:
    with pytest.raises(OptimizationError, match=r"Cannot start: .*check the weights and the images") as e:
        run(spoil(0, effect))
    assert "\n" not in str(e.value)


def test_best_is_the_lowest_accepted_loss() -> None:
    """Where sums differ from run to run, an accepted step may raise the loss; the lowest one counts."""
    rng = np.random.default_rng(5)
    raised = 0
    for _ in range(10):
        accepted: list[tuple[float, np.ndarray]] = []

        def noisy(x: np.ndarray) -> tuple[float, np.ndarray]:
            loss, gradient = quadratic(x)
            noise = 1 + 0.1 * rng.normal(size=gradient.size + 1)
            return (loss + 1) * noise[0], gradient * noise[1:]

        outcome = run(
            Counted(noisy), iterations=30, on_iterate=lambda i, n, e, p, a=accepted: a.append((e.loss, p))
        )
        loss, picture = min(accepted, key=lambda item: item[0])
        best = (
            (loss, picture) if loss <= outcome.start.loss else (outcome.start.loss, np.full((3, 1, 2), 0.9))
        )
        assert outcome.end.loss == best[0]
        np.testing.assert_array_equal(outcome.image, best[1])
        raised += accepted[-1][0] > loss
    assert raised  # or the test would prove nothing


def test_hopeless_line_search_ends_with_its_reason() -> None:
    """With a gradient of the wrong sign, no step lowers the loss."""
    outcome = run(Counted(lambda x: (quadratic(x)[0], -quadratic(x)[1])))
    assert outcome.reason == "line search"
    assert (outcome.image == 0.9).all()
    assert outcome.reason in STOP_REASONS
