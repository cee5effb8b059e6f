"""The log of a run: its losses, its finished scales, and what a checkpoint gets of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CheckpointError
from ..objective.evaluation import Value
from ..objective.losses.terms import LossTerms
from ..optimization.lbfgs import Outcome
from ..optimization.state import BlockwiseState, OptimizerState
from ..system.threads import Cancellation
from .checkpoints.checkpoint import Checkpoint
from .checkpoints.snapshot import Snapshot
from .plan.run_plan import RunPlan
from .plan.scales import Scale, ScaleResult


@dataclass(slots=True, eq=False)
class RunLog:
    """What a run has done so far.

    Attributes
    ----------
    started : float
        Start of the run by `time.monotonic`; of a resumed run so that the time before counts.
    history : list of float
        The loss after each iteration, over all scales.
    term_history : list of array
        Each term without its weight, after each iteration.
    results : list of ScaleResult
        The finished scales.
    stop_reason : str
        Why the last scale ended.
    resumed : int
        How many times the run was resumed.
    checkpoint : Checkpoint or None
        Where the run is saved.
    saved : Snapshot or None
        The saved run that is resumed.
    """

    started: float = field(default_factory=time.monotonic)
    history: list[float] = field(default_factory=list[float])
    term_history: list[NDArray[np.float32]] = field(default_factory=list[NDArray[np.float32]])
    results: list[ScaleResult] = field(default_factory=list[ScaleResult])
    stop_reason: str = ""
    resumed: int = 0
    checkpoint: Checkpoint | None = None
    saved: Snapshot | None = None
    _scale_started: float = 0.0

    def resume(
        self,
        checkpoint: Checkpoint,
        fingerprints: Callable[[], Mapping[str, Any]],
        cancellation: Cancellation,
    ) -> None:
        """Save to a checkpoint from now on, and resume the run that it has, see `Checkpoint.begin`."""
        self.checkpoint, self.saved = checkpoint, checkpoint.begin(fingerprints, cancellation)
        if self.saved is not None:
            self.started = time.monotonic() - self.saved.seconds
            self.history, self.term_history = list(self.saved.history), list(self.saved.term_history)
            self.results, self.resumed = list(self.saved.results), self.saved.resumed + 1

    def resume_plan(self, plan: RunPlan, *, history: int) -> tuple[int, RunPlan]:
        """Return the index of the first scale to optimise, and the plan with the methods of the saved run.

        Raises
        ------
        CheckpointError
            The saved run has other scales, other terms or a longer history than `history`.
        """
        if self.saved is None:
            return 0, plan
        if self.saved.scales != plan.scales:
            raise CheckpointError("The checkpoint has other scales than this run: start again without it.")
        sizes = {values.size for values in self.term_history}
        if sizes != {len(plan.terms.names)} or any(
            not min(1, history) <= method.history <= history for method in self.saved.methods
        ):
            raise CheckpointError(
                "The checkpoint has other terms or another history than this run: start again without it."
            )
        return self.saved.scale, replace(plan, methods=self.saved.methods)

    def start_scale(self, index: int) -> OptimizerState | BlockwiseState | None:
        """Start a scale; return the state of the optimiser where a saved run is resumed in it."""
        self._scale_started = time.monotonic()
        if self.saved is None or self.saved.scale != index:
            return None
        self._scale_started -= self.saved.scale_seconds
        return self.saved.state

    def record(self, value: Value) -> None:
        """Add an iteration."""
        self.history.append(value.loss)
        self.term_history.append(value.terms)

    def offer_checkpoint(
        self, plan: RunPlan, index: int, state: OptimizerState | BlockwiseState, share: float
    ) -> None:
        """Offer the run after an iteration to the checkpoint; `share` of the work is done."""
        if self.checkpoint is None:
            return
        now = time.monotonic()
        snapshot = Snapshot(
            scale=index,
            scales=plan.scales,
            methods=plan.methods,
            seconds=now - self.started,
            scale_seconds=now - self._scale_started,
            history=self.history,
            term_history=self.term_history,
            results=tuple(self.results),
            resumed=self.resumed,
            state=state,
        )
        self.checkpoint.offer(snapshot, share)

    def finish_scale(self, scale: Scale, outcome: Outcome, terms: LossTerms) -> None:
        """Add the result of a scale."""
        self.stop_reason = outcome.reason
        self.results.append(
            ScaleResult(
                size=scale.size,
                iterations=outcome.iterations,
                evaluations=outcome.evaluations,
                seconds=time.monotonic() - self._scale_started,
                loss_start=outcome.start.loss,
                loss_end=outcome.end.loss,
                terms_start=terms.by_name(outcome.start.terms),
                terms_end=terms.by_name(outcome.end.terms),
                stop_reason=outcome.reason,
            )
        )

    def finish(self) -> None:
        """Save a run that was stopped as it is, and free the images of saved runs: the result needs room."""
        self.saved = None
        if self.checkpoint is None:
            return
        if self.stop_reason == "callback":
            self.checkpoint.save_latest()
        if self.stop_reason == "cancelled":
            self.checkpoint.save_cancelled()
        self.checkpoint.forget()

    def term_curves(self, terms: LossTerms) -> dict[str, tuple[float, ...]]:
        """Return each term without its weight, after each iteration over all scales."""
        columns = np.array(self.term_history).reshape(-1, len(terms.names)).T
        return {name: tuple(map(float, c)) for name, c in zip(terms.names, columns, strict=True)}
