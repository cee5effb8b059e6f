"""Minimise the loss of an image with SciPy's L-BFGS-B or a first-order method.

Byrd, Lu, Nocedal and Zhu, "A Limited Memory Algorithm for Bound Constrained Optimization" (1995), in SciPy's
implementation, without bounds: these cost a Python loop over all variables, and make no sense for variables
other than pixels. A term of the loss keeps the pixels in range instead, see `distances.range_excess`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CheckpointError, OptimizationError
from ..objective.evaluation import Value
from ..system import threads
from ..system.threads import NEVER, Cancellation, Cancelled
from .first_order import Step, is_memory
from .gradient_subspace import Subspace, kept_vectors, restart_directions
from .problem import AnyImage, Coordinates, Point, Problem, Vector
from .state import OptimizerState

if TYPE_CHECKING:
    from scipy.optimize import LbfgsInvHessProduct

# Why a minimisation ended → the explanation for reports.
STOP_REASONS = {
    "iterations": "all iterations are done",
    "converged": "the loss no longer falls",
    "line search": "no step along the search direction lowers the loss any more",
    "callback": "the callback asked to stop",
    "cancelled": "the run was interrupted",
    "non-finite": "the loss or its gradient became infinite or not a number",
}

# The loss at the start is scaled to this value. SciPy compares `ftol` with the decrease of the loss relative
# to max(loss, 1), and `gtol` with the gradient: without a scale, a mean over a million pixels ends at once.
_START = 1e4
_FTOL = 1e-9
_GTOL = 1e-9

# Absolute pixel value that no image reaches: pixels are from 0 to 1.
FAR = 1e4

OTHER_VARIABLES = "The checkpoint has other variables than this run: start again without it."

# SciPy's status of a minimisation: converged, too many evaluations or iterations, abnormal.
_BY_STATUS = {0: "converged", 1: "iterations", 2: "line search"}

# Maximum number of evaluations of a line search.
_LINE_SEARCH = 20

OnIterate = Callable[[int, int, Value, AnyImage], bool]
"""(iteration, evaluations, value, image [3,H,W]) → whether to stop."""


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """The result of a minimisation.

    Attributes
    ----------
    image : array [3,H,W]
        The best image, not clipped.
    start, end : Value
        Values of the first image and of the best one.
    iterations, evaluations : int
        Number of iterations and evaluations.
    reason : str
        Why it ended, a key of `STOP_REASONS`.
    """

    image: NDArray[np.floating]
    start: Value
    end: Value
    iterations: int
    evaluations: int
    reason: str


class _Stop(Exception):
    """Leaves SciPy's loop from a callback or an evaluation."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def minimize(
    problem: Problem,
    image: NDArray[np.floating],
    *,
    iterations: int,
    history: int,
    on_iterate: OnIterate | None = None,
    step: Step | None = None,
    resume: OptimizerState | None = None,
    on_state: Callable[[OptimizerState], None] | None = None,
    cancellation: Cancellation = NEVER,
) -> Outcome:
    """Minimise a loss, starting from an image.

    Parameters
    ----------
    problem : Problem
        The loss as a function of variables; a `HostProblem` if there is a `step`.
    image : array [3,H,W]
        The image to start from.
    iterations : int
        Maximum number of iterations.
    history : int
        Iterations that L-BFGS remembers: after as many it restarts from the current image, with the curvature
        of a few directions.
    on_iterate : callable, optional
        Called after each iteration; stops the minimisation by returning True or, as in SciPy, by raising
        StopIteration.
    step : Step, optional
        The step of a first-order method, see `first_order`, in place of L-BFGS-B.
    resume : OptimizerState, optional
        The state to resume, in place of `image`; its iterations count as iterations of this minimisation.
    on_state : callable, optional
        Called after each iteration, after `on_iterate`, with the state of the minimisation.
    cancellation : Cancellation, optional
        Once requested, no evaluation begins, and no step is computed.

    Returns
    -------
    Outcome
        With the best image so far, also when the minimisation was stopped or cancelled.

    Raises
    ------
    OptimizationError
        If the loss or its gradient is not finite at the first image.
    CheckpointError
        If `resume` has another number of variables, or belongs to another method.
    """
    run = _Minimization(problem, on_iterate, step, on_state, cancellation)
    z = problem.encode(image)
    if resume is not None:
        if resume.z.shape != z.shape or not is_memory(resume.memory, step, z.size, resume.iterations):
            raise CheckpointError(OTHER_VARIABLES)
        z = run.restore(resume)
    try:
        first = run.evaluate(z)
    except Cancelled:
        if resume is None:
            raise
        return run.outcome("cancelled")
    except _Stop as stop:
        raise OptimizationError(
            f"Cannot start: {STOP_REASONS[stop.reason]}; check the weights and the images."
        ) from stop
    if resume is None:
        run.start, run.best, run.best_z = first.value, first.value, z
    left = iterations - run.iterations
    try:
        with threads.single_blas_thread:
            reason = run.minimize(z, left, history) if step is None else run.walk(z, left, step)
    except _Stop as stop:
        reason = stop.reason
    except Cancelled:
        reason = "cancelled"
    return run.outcome(reason)


class _Minimization:
    """The state of one minimisation, and its steps."""

    def __init__(
        self,
        problem: Problem,
        on_iterate: OnIterate | None,
        step: Step | None,
        on_state: Callable[[OptimizerState], None] | None,
        cancellation: Cancellation,
    ) -> None:
        self.problem, self.on_iterate = problem, on_iterate
        self.step, self.on_state, self.cancellation = step, on_state, cancellation
        self.iterations = self.evaluations = 0
        self.start: Value
        self.best: Value
        self.best_z: Vector
        self._latest: Point
        self._scale = 1.0

    def restore(self, state: OptimizerState) -> Vector:
        """Take over a state and return its variables."""
        self.start, self.best = state.start, state.best
        self.best_z = self.problem.vector(np.asarray(state.best_z))
        self.iterations, self.evaluations = state.iterations, state.evaluations
        if self.step is not None:
            self.step.memory = dict(state.memory)
        return self.problem.vector(np.asarray(state.z))

    def outcome(self, reason: str) -> Outcome:
        best = self.problem.decode(self.best_z)
        return Outcome(best, self.start, self.best, self.iterations, self.evaluations, reason)

    def evaluate(self, z: Vector) -> Point:
        """Evaluate the loss at variables, or raise `_Stop` if it is not finite."""
        self.cancellation.check()  # before decoding, which takes time, too
        point = self.problem.evaluate(z)
        self.evaluations += 1
        if not point.is_finite:
            raise _Stop("non-finite")
        self._latest = point
        return point

    def minimize(self, z: Vector, iterations: int, history: int) -> str:
        """Minimise with L-BFGS from the variables of the latest evaluation on; return the stop reason."""
        self._scale = _START / max(self.start.loss, 1e-30)
        basis = self.problem.basis(kept_vectors(iterations, history) + 1)
        space = Subspace(z, basis, self._scale)
        reason, inverse = "iterations", None
        while iterations > 0 and reason == "iterations":
            if inverse is not None:
                at = self._latest
                space.restart(at.z, at.gradient, inverse, restart_directions(history))
            reason, inverse = self._descend(space, min(iterations, history))
            iterations -= history
        return reason

    def _descend(self, space: Subspace, iterations: int) -> tuple[str, LbfgsInvHessProduct]:
        """Run SciPy from the point of the latest evaluation on; return stop reason and inverse Hessian."""
        from scipy.optimize import minimize as scipy_minimize

        first = self._scaled(self._latest, space)
        space.keep_latest()
        result = scipy_minimize(
            partial(self._loss_and_gradient, space, [first]),
            np.zeros(space.capacity),
            jac=True,
            method="L-BFGS-B",
            callback=partial(self._after_iteration, space),
            options={
                "maxiter": iterations,
                "maxfun": (_LINE_SEARCH + 1) * (iterations + 1),  # never reached
                "maxcor": iterations,
                "ftol": _FTOL,
                "gtol": _GTOL,
            },
        )
        return _BY_STATUS[int(result.status)], result.hess_inv

    def walk(self, z: Vector, iterations: int, step: Step) -> str:
        """Make steps of a first-order method; return the stop reason."""
        for _ in range(iterations):
            z = step(z, self._latest.gradient)
            self.evaluate(z)
            self._accept()
        return "iterations"

    def _loss_and_gradient(
        self, space: Subspace, known: list[tuple[float, Coordinates]], coordinates: Coordinates
    ) -> tuple[float, Coordinates]:
        if known:  # SciPy begins at the point of the latest evaluation
            return known.pop()
        z = space.point(coordinates)
        try:
            return self._scaled(self.evaluate(z), space)
        except _Stop:
            # Where rounding hides every decrease, SciPy finally tries steps of any length.
            if not np.abs(self.problem.decode(z)).max() <= FAR:
                raise _Stop("line search") from None
            raise

    def _scaled(self, point: Point, space: Subspace) -> tuple[float, Coordinates]:
        return point.value.loss * self._scale, space.coordinates(point.gradient)

    def _after_iteration(self, space: Subspace, _: Any) -> None:
        space.keep_latest()
        self._accept()

    def _accept(self) -> None:
        """End an iteration at the point of the latest evaluation, where each line search ends, too."""
        self.iterations += 1
        accepted, value = self._latest, self._latest.value
        # A first-order step may raise the loss, and on a device whose sums change from run to run L-BFGS may
        # accept a step that does not lower it.
        if value.loss <= self.best.loss:
            self.best, self.best_z = value, accepted.z
        wants_to_stop = False
        if self.on_iterate is not None:
            try:
                wants_to_stop = self.on_iterate(self.iterations, self.evaluations, value, accepted.image)
            except StopIteration:
                wants_to_stop = True
        if self.on_state is not None:
            self.on_state(self._state())
        if wants_to_stop:
            raise _Stop("callback")
        self.cancellation.check()  # or SciPy would compute the next step first

    def _state(self) -> OptimizerState:
        memory = {} if self.step is None else self.step.memory
        z, best_z = self._latest.z, self.best_z
        return OptimizerState(z, best_z, self.start, self.best, self.iterations, self.evaluations, memory)
