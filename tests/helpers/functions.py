"""Functions whose minimum is known, as objectives of the optimiser, some of which become non-finite."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lbfgs_style.objective.evaluation import Evaluation
from lbfgs_style.optimization.lbfgs import Outcome, minimize
from lbfgs_style.optimization.problem import HostProblem
from lbfgs_style.optimization.variables import Pixels

Function = Callable[[np.ndarray], tuple[float, np.ndarray]]


class Counted:
    """A function of a flat vector as an objective over pictures [3,1,n]; records the points."""

    def __init__(self, function: Function, factor: float = 1.0) -> None:
        self.function, self.factor = function, factor
        self.points: list[np.ndarray] = []

    def __call__(self, image: np.ndarray) -> Evaluation:
        self.points.append(np.array(image))
        loss, gradient = self.function(image.ravel())
        gradient = (gradient * self.factor).reshape(image.shape)
        return Evaluation(loss * self.factor, np.zeros(1, np.float32), gradient)


CURVATURES = np.array([1.0, 3.0, 10.0, 0.5, 30.0, 2.0])
MINIMUM = np.array([0.2, 0.4, 0.6, 0.8, 0.1, 0.3])


def quadratic(x: np.ndarray) -> tuple[float, np.ndarray]:
    d = x - MINIMUM
    return float(0.5 * CURVATURES @ d**2), CURVATURES * d


def rosenbrock(x: np.ndarray) -> tuple[float, np.ndarray]:
    """Rosenbrock (1960) in n variables: Σ 100 (x_{i+1} − x_i²)² + (1 − x_i)², zero at (1, …, 1)."""
    a, b = x[:-1], x[1:]
    gradient = np.zeros_like(x)
    gradient[:-1] = -400 * a * (b - a**2) - 2 * (1 - a)
    gradient[1:] += 200 * (b - a**2)
    return float((100 * (b - a**2) ** 2 + (1 - a) ** 2).sum()), gradient


def run(
    objective: Callable[..., Evaluation],
    start: float = 0.9,
    n: int = 2,
    iterations: int = 200,
    **more: object,
) -> Outcome:
    image = np.full((3, 1, n), start)
    problem = HostProblem(objective, Pixels((1, n)), np.float64)
    return minimize(problem, image, iterations=iterations, history=100, **more)


def spoil(after: int, effect: Callable[[Evaluation], Evaluation]) -> Callable[[np.ndarray], Evaluation]:
    """Return an objective: Rosenbrock's function, changed by `effect` after `after` evaluations."""
    inner = Counted(rosenbrock)

    def objective(image: np.ndarray) -> Evaluation:
        evaluation = inner(image)
        return evaluation if len(inner.points) <= after else effect(evaluation)

    return objective


def not_a_number(e: Evaluation) -> Evaluation:
    return Evaluation(float("nan"), e.terms, e.gradient)


def infinite_gradient(e: Evaluation) -> Evaluation:
    return Evaluation(e.loss, e.terms, np.where(np.arange(e.gradient.size) == 3, np.inf, 0.0))
