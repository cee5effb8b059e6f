"""How a run goes: its losses, its finished scales, and what is saved of it on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CheckpointError
from ..objective.evaluation import Value
from ..objective.losses.terms import TermNames
from ..optimization.lbfgs import Outcome
from ..optimization.state import BlocksStanding, Standing
from ..system.threads import Cancellation
from .checkpoints.checkpoint import Checkpoint
from .checkpoints.snapshot import Snapshot
from .plan.memory import Working
from .plan.scales import Scale, ScaleResult


@dataclass(slots=True, eq=False)
class Course:
    """A run so far.

    Attributes
    ----------
    started : float
        When it began, by `time.monotonic`; the time before it was cut off counts.
    history : list of float
        The loss after each iteration, over all scales.
    term_history : list of array
        Each term without its weight, likewise.
    results : list of ScaleResult
        The scales that are done.
    stop_reason : str
        Why the last one ended.
    resumed : int
        How often the run was gone on with.
    checkpoint : Checkpoint or None
        Where it is saved.
    saved : Snapshot or None
        Where to go on from.
    """

    started: float = field(default_factory=time.monotonic)
    history: list[float] = field(default_factory=list[float])
    term_history: list[NDArray[np.float32]] = field(default_factory=list[NDArray[np.float32]])
    results: list[ScaleResult] = field(default_factory=list[ScaleResult])
    stop_reason: str = ""
    resumed: int = 0
    checkpoint: Checkpoint | None = None
    saved: Snapshot | None = None
    _began: float = 0.0

    def go_on(
        self,
        checkpoint: Checkpoint,
        identity: Callable[[], Mapping[str, Any]],
        cancellation: Cancellation,
    ) -> None:
        """Save the run to a checkpoint, and take up what it has, see `Checkpoint.begin`."""
        self.checkpoint, self.saved = checkpoint, checkpoint.begin(identity, cancellation)
        if self.saved is not None:
            self.started = time.monotonic() - self.saved.seconds
            self.history, self.term_history = list(self.saved.history), list(self.saved.term_history)
            self.results, self.resumed = list(self.saved.results), self.saved.resumed + 1

    def planned(
        self, scales: tuple[Scale, ...], ways: list[Working], *, terms: int, history: int
    ) -> tuple[int, list[Working]]:
        """Return the scale to begin with, from 0, and how each is worked on: as it was, in a saved run.

        Raises CheckpointError where that run has other scales, or had not so many terms, or a longer history.
        """
        if self.saved is None:
            return 0, ways
        if self.saved.scales != scales:
            raise CheckpointError("The checkpoint has other scales than this run: begin anew without it.")
        known = {values.size for values in self.term_history}
        if known != {terms} or any(not min(1, history) <= way.history <= history for way in self.saved.ways):
            raise CheckpointError(
                "The checkpoint has other terms or another history than this run: begin anew without it."
            )
        return self.saved.scale, list(self.saved.ways)

    def enter(self, index: int) -> Standing | BlocksStanding | None:
        """Begin with a scale; return where the optimiser goes on from."""
        is_saved = self.saved is not None and self.saved.scale == index
        self._began = time.monotonic()
        if self.saved is None or not is_saved:
            return None
        self._began -= self.saved.scale_seconds
        return self.saved.standing

    def took(self, value: Value) -> None:
        """Note an iteration."""
        self.history.append(value.loss)
        self.term_history.append(value.terms)

    def keep(
        self,
        index: int,
        scales: tuple[Scale, ...],
        ways: Sequence[Working],
        standing: Standing | BlocksStanding,
        share: float,
    ) -> None:
        """Save the run after an iteration, if it is time to; `share` of its work is done."""
        if self.checkpoint is None:
            return
        now = time.monotonic()
        snapshot = Snapshot(
            scale=index,
            scales=scales,
            ways=tuple(ways),
            seconds=now - self.started,
            scale_seconds=now - self._began,
            history=self.history,
            term_history=self.term_history,
            results=tuple(self.results),
            resumed=self.resumed,
            standing=standing,
        )
        self.checkpoint.offer(snapshot, share)

    def end_scale(self, scale: Scale, outcome: Outcome, terms: TermNames) -> None:
        """Note how a scale went."""
        self.stop_reason = outcome.reason
        self.results.append(
            ScaleResult(
                size=scale.size,
                iterations=outcome.iterations,
                evaluations=outcome.evaluations,
                seconds=time.monotonic() - self._began,
                loss_start=outcome.start.loss,
                loss_end=outcome.end.loss,
                terms_start=terms.named(outcome.start.terms),
                terms_end=terms.named(outcome.end.terms),
                stop_reason=outcome.reason,
            )
        )

    def end(self) -> None:
        """Save a run that was stopped as it is."""
        if self.checkpoint is not None and self.stop_reason == "callback":
            self.checkpoint.save_latest()
        if self.checkpoint is not None and self.stop_reason == "cancelled":
            self.checkpoint.save_cancelled()

    def histories(self, terms: TermNames) -> dict[str, tuple[float, ...]]:
        """Return each term without its weight, after each iteration over all scales."""
        columns = np.array(self.term_history).reshape(-1, len(terms.names)).T
        return {name: tuple(map(float, c)) for name, c in zip(terms.names, columns, strict=True)}
