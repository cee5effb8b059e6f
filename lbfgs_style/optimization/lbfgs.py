"""SciPy's L-BFGS-B or a first-order method on a picture: scaling, stopping, callbacks, best so far.

Byrd, Lu, Nocedal and Zhu, "A Limited Memory Algorithm for Bound Constrained Optimization" (1995), in SciPy's
implementation, without bounds: they cost a Python loop over all variables and do not fit variables other than
pixels. The loss has a term that holds the pixels in range instead, see `losses.out_of_range`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CheckpointError, OptimizationError
from ..objective.evaluation import Evaluation, Value
from ..system import threads
from ..system.threads import NEVER, Cancellation, Cancelled
from .first_order import Step, is_memory
from .gradient_subspace import Coordinates, Subspace, carried, vectors
from .state import Standing
from .variables import Flat, Image, Parametrization

if TYPE_CHECKING:
    from scipy.optimize import LbfgsInvHessProduct

STOP_REASONS = {
    "iterations": "all iterations are done",
    "converged": "the loss no longer falls",
    "line search": "no step along the search direction lowers the loss any more",
    "callback": "the callback asked to stop",
    "cancelled": "the run was interrupted",
    "non-finite": "the loss or its gradient became infinite or not a number",
}

# SciPy compares `ftol` with the loss's fall relative to max(loss, 1), `gtol` with the gradient itself: scaled
# to this value at the start, a loss over a million pixels does not end at once.
_START = 1e4
_FTOL = 1e-9
_GTOL = 1e-9

FAR = 1e4
"""No picture is there: pixels are from 0 to 1."""

OTHER_VARIABLES = "The checkpoint has other variables than this run: start again without it."

# SciPy's status of a run that ended by itself: converged, too many evaluations or iterations, abnormal.
_BY_STATUS = {0: "converged", 1: "iterations", 2: "line search"}

OnIterate = Callable[[int, int, Value, NDArray[np.floating]], bool]


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """How a minimisation ended.

    Attributes
    ----------
    image : array [3,H,W]
        The best picture, not clipped.
    start, end : Value
        At the first picture and at the best.
    iterations, evaluations : int
        How many were made.
    reason : str
        A key of `STOP_REASONS`.
    """

    image: NDArray[np.floating]
    start: Value
    end: Value
    iterations: int
    evaluations: int
    reason: str


class _Stop(Exception):
    """Leaves SciPy's loop from within a callback or an evaluation."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def minimize(
    objective: Callable[[NDArray[np.floating]], Evaluation],
    parametrization: Parametrization,
    image: NDArray[np.floating],
    *,
    iterations: int,
    history: int,
    on_iterate: OnIterate | None = None,
    step: Step | None = None,
    resume: Standing | None = None,
    keep: Callable[[Standing], None] | None = None,
    cancellation: Cancellation = NEVER,
) -> Outcome:
    """Minimise an objective from a picture on, by SciPy or by steps along the gradient.

    Parameters
    ----------
    objective : callable
        Picture [3,H,W] → `Evaluation`.
    parametrization : Parametrization
        The variables.
    image : array [3,H,W]
        Where to start.
    iterations : int
        The most iterations.
    history : int
        Iterations that L-BFGS remembers: after so many it begins anew from where it is, with the curvature of
        a few directions.
    on_iterate : callable, optional
        Called after each iteration with (iteration, evaluations, evaluation, picture); it stops the run by
        returning True or, as in SciPy, by raising StopIteration.
    step : function, optional
        The step of a first-order method, see `lbfgs_style.optimization.first_order`, in place of L-BFGS-B.
    resume : Standing, optional
        Where to go on from, in place of `image`; its iterations count among `iterations`.
    keep : callable, optional
        Called after each iteration, after `on_iterate`, with where the minimisation stands.
    cancellation : Cancellation, optional
        Once requested, no evaluation begins any more, and no step is computed.

    Returns
    -------
    Outcome
        With the best picture so far, also when the run was stopped or cancelled.

    Raises
    ------
    OptimizationError
        If the loss or its gradient is not finite at the first picture.
    CheckpointError
        If `resume` has another number of variables, or is of another method.
    """
    run = _Run(objective, parametrization, on_iterate, step, keep, cancellation)
    z = parametrization.encode(image)
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
            f"Cannot start: {STOP_REASONS[stop.reason]}; check the weights and the pictures."
        ) from stop
    if resume is None:
        run.start, run.best, run.best_z = first, first, z
    left = iterations - run.iterations
    try:
        with threads.single_blas_thread:
            reason = run.minimize(z, left, history) if step is None else run.walk(z, left, step)
    except _Stop as stop:
        reason = stop.reason
    except Cancelled:
        reason = "cancelled"
    return run.outcome(reason)


class _Run:
    """State of one minimisation."""

    def __init__(
        self,
        objective: Callable[..., Evaluation],
        parametrization: Parametrization,
        on_iterate: OnIterate | None,
        step: Step | None,
        keep: Callable[[Standing], None] | None,
        cancellation: Cancellation,
    ) -> None:
        self.objective, self.parametrization, self.on_iterate = objective, parametrization, on_iterate
        self.step, self.keep, self.cancellation = step, keep, cancellation
        self.iterations = self.evaluations = 0
        self.start: Value
        self.best: Value
        self.best_z: Flat
        self._latest: Evaluation
        self._z: Flat
        self._picture: Image
        self._scale = 1.0

    def restore(self, standing: Standing) -> Flat:
        self.start, self.best, self.best_z = standing.start, standing.best, standing.best_z
        self.iterations, self.evaluations = standing.iterations, standing.evaluations
        if self.step is not None:
            self.step.memory = dict(standing.memory)
        return standing.z

    def outcome(self, reason: str) -> Outcome:
        best = self.parametrization.decode(self.best_z)
        return Outcome(best, self.start, self.best, self.iterations, self.evaluations, reason)

    def evaluate(self, z: Flat) -> Evaluation:
        self.cancellation.check()  # before the picture is made, which takes its time, too
        # A step that is far too long leaves the range of float32; what comes of it is looked at below.
        with np.errstate(over="ignore", invalid="ignore"):
            picture = self.parametrization.decode(z)
            evaluation = self.objective(picture)
        self.evaluations += 1
        if not math.isfinite(evaluation.loss) or not np.isfinite(evaluation.gradient).all():
            raise _Stop("non-finite")
        self._latest, self._z, self._picture = evaluation, z, picture
        return evaluation

    def minimize(self, z: Flat, iterations: int, history: int) -> str:
        self._scale = _START / max(self.start.loss, 1e-30)
        space = Subspace(z, vectors(iterations, history) + 1, self._latest.gradient.dtype)
        reason, inverse = "iterations", None
        while iterations > 0 and reason == "iterations":
            if inverse is not None:
                space.renew(self._z, self._gradient(self._latest), inverse, carried(history))
            reason, inverse = self._descend(space, min(iterations, history))
            iterations -= history
        return reason

    def _descend(self, space: Subspace, iterations: int) -> tuple[str, LbfgsInvHessProduct]:
        """Let SciPy make so many iterations from the point of the latest evaluation on."""
        from scipy.optimize import minimize as scipy_minimize

        first = self._scaled(self._latest, space)
        space.keep()
        result = scipy_minimize(
            partial(self._loss_and_gradient, space, [first]),
            np.zeros(space.most),
            jac=True,
            method="L-BFGS-B",
            callback=partial(self._after_iteration, space),
            options={
                "maxiter": iterations,
                "maxfun": 21 * iterations + 21,  # more than the line searches can use up (20 each)
                "maxcor": iterations,
                "ftol": _FTOL,
                "gtol": _GTOL,
            },
        )
        return _BY_STATUS[int(result.status)], result.hess_inv

    def walk(self, z: Flat, iterations: int, step: Step) -> str:
        for _ in range(iterations):
            z = step(z, self.parametrization.pull_back(self._latest.gradient))
            self.evaluate(z)
            self._accept()
        return "iterations"

    def _loss_and_gradient(
        self, space: Subspace, known: list[tuple[float, Coordinates]], at: Coordinates
    ) -> tuple[float, Coordinates]:
        if known:  # SciPy begins where `evaluate` has been
            return known.pop()
        z = space.point(at)
        try:
            return self._scaled(self.evaluate(z), space)
        except _Stop:
            # Where rounding hides every fall, SciPy tries steps of any length in the end.
            if not np.abs(self.parametrization.decode(z)).max() <= FAR:
                raise _Stop("line search") from None
            raise

    def _scaled(self, evaluation: Evaluation, space: Subspace) -> tuple[float, Coordinates]:
        return evaluation.loss * self._scale, space.coordinates(self._gradient(evaluation))

    def _gradient(self, evaluation: Evaluation) -> Flat:
        gradient = self.parametrization.pull_back(evaluation.gradient)
        gradient *= self._scale
        return gradient

    def _after_iteration(self, space: Subspace, _: Any) -> None:
        space.keep()
        self._accept()

    def _accept(self) -> None:
        """End an iteration at the point of the latest evaluation, where each line search ends, too."""
        self.iterations += 1
        accepted = self._latest
        # A first-order step may raise the loss, and a device whose sums change from run to run may
        # accept a step that does not lower it.
        if accepted.loss <= self.best.loss:
            self.best, self.best_z = accepted, self._z
        wants_to_stop = False
        if self.on_iterate is not None:
            try:
                wants_to_stop = self.on_iterate(self.iterations, self.evaluations, accepted, self._picture)
            except StopIteration:
                wants_to_stop = True
        if self.keep is not None:
            self.keep(self._standing(self._z))
        if wants_to_stop:
            raise _Stop("callback")
        self.cancellation.check()  # SciPy would work out the next step first

    def _standing(self, z: Flat) -> Standing:
        memory = {} if self.step is None else self.step.memory
        start, best = (Value(at.loss, at.terms) for at in (self.start, self.best))  # without the gradients
        return Standing(z, self.best_z, start, best, self.iterations, self.evaluations, memory)
