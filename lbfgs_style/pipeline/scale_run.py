"""The optimisation of one scale of a run: of the whole image, or block by block."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..errors import OptimizationError
from ..images import resize, to_chw
from ..objective.engine import Engine
from ..objective.evaluation import Objective, Value
from ..objective.losses.terms import term_weights
from ..optimization.block_sweeps import (
    BlockSettings,
    Cuts,
    minimize_blocks,
    restored_block,
    total_iterations,
)
from ..optimization.device_problem import DeviceProblem, has_device_vectors
from ..optimization.first_order import Step, make_step
from ..optimization.held_variables import HeldVariables
from ..optimization.lbfgs import Outcome, minimize
from ..optimization.problem import AnyImage, HostProblem, Problem
from ..optimization.state import BlockwiseState, OptimizerState
from ..optimization.variables import FREE_CHROMA, VARIABLES, Parametrization, Pixels, Spectral
from ..settings.options import Options
from ..system.threads import Cancelled
from .inputs import RunImages
from .matching import Matcher, matcher_at
from .plan.rounds import plan_rounds, rounds_after
from .plan.run_plan import RunPlan
from .regions import blend_in_place
from .results import STOP, Iterate, IterateCallback
from .run_log import RunLog
from .targets import targets_at

log = logging.getLogger(__name__)


def variables_of(options: Options, images: RunImages, size: tuple[int, int]) -> Parametrization:
    """Return the variables of a scale of (height, width), without the kept part of the content image."""
    variables = _free_variables(options, size)
    if images.keep is None:
        return variables
    content = to_chw(resize(images.content.rgb, size))
    return HeldVariables(variables, content, resize(images.keep, size))


def _free_variables(options: Options, size: tuple[int, int]) -> Parametrization:
    """Return the variables of an image or block of a size."""
    variables = VARIABLES[options.variables if options.optimizer == "lbfgs" else "pixels"](size)
    begins_as_content = options.init == "content" and options.init_noise == 0
    if isinstance(variables, Spectral) and variables.chroma is not None and not begins_as_content:
        return replace(variables, chroma=FREE_CHROMA)
    return variables


@dataclass(slots=True, eq=False)
class ScaleRun:
    """The optimisation of one scale.

    Attributes
    ----------
    engine : Engine
        Evaluates the network; its cancellation stops the run.
    options : Options
        Settings of the run.
    images : RunImages
        Content, styles and masks.
    plan : RunPlan
        Terms, scales and methods.
    index : int
        The scale, 0-based.
    run_log : RunLog
        Notes the iterations and offers them to a checkpoint.
    on_iterate : callable or None
        Gets an `Iterate` after each iteration; stops the run by returning `STOP`.
    """

    engine: Engine
    options: Options
    images: RunImages
    plan: RunPlan
    index: int
    run_log: RunLog
    on_iterate: IterateCallback | None
    _relearning: int = 0  # iterations that a resumed L-BFGS needs in addition
    _iterations: int = 0  # maximum number of iterations
    _is_in_blocks: bool = False
    _before: Outcome | None = None  # the rounds of this scale that are done
    _share: float = 0.0  # share of the run's work that is done

    def optimize(self, initial: Callable[[], NDArray[np.floating]]) -> Outcome:
        """Optimise an image, or resume at the state of a saved run.

        `initial` makes the image [3,H,W] of the scale's size, once the targets are measured: of a large
        image, memory holds one copy at a time.
        """
        scale, method = self.plan.scales[self.index], self.plan.methods[self.index]
        state = self.run_log.start_scale(self.index)
        self._relearning = 0 if state is None else state.relearning_iterations()
        window, cancellation = method.window_pixels, self.engine.cancellation
        targets = cancellation.run(
            lambda: targets_at(self.engine, self.plan.terms, self.images, scale, window)
        )
        weights = self._weights()
        if window is not None:
            self.engine.release_memory()  # of the tiles: the next step takes what is left
        image = initial()
        if self.plan.terms.matched_layers:
            matcher = cancellation.run(
                lambda: matcher_at(self.engine, self.plan.terms, self.images, scale, window)
            )
            if method.kind != "blocks" and self.options.optimizer == "lbfgs":
                return self._optimize_rounds(image, targets, matcher, state)
            targets |= cancellation.run(lambda: matcher.targets(None))
        if method.kind == "blocks" and window is not None:
            before = state if isinstance(state, BlockwiseState) else None
            return self._optimize_blocks(np.ascontiguousarray(image, np.float32), targets, weights, before)
        self._iterations = self._relearning + scale.iterations
        return self._minimize(
            image, targets, self._iterations, state if isinstance(state, OptimizerState) else None
        )

    def _minimize(
        self,
        image: NDArray[np.floating],
        targets: dict[str, NDArray[np.float32]],
        iterations: int,
        state: OptimizerState | None,
    ) -> Outcome:
        """Minimise the loss of whole images, or resume at a state."""
        scale, method = self.plan.scales[self.index], self.plan.methods[self.index]
        weights, window = self._weights(), method.window_pixels
        objective = self.engine.cancellation.run(
            lambda: self.engine.objective(scale.size, self.plan.terms, targets, weights, window_pixels=window)
        )
        return minimize(
            self._problem(objective, scale.size),
            image,
            iterations=iterations,
            history=method.history,
            on_iterate=self._on_iterate,
            step=self._make_step(),
            resume=state,
            on_state=self._offer,
            cancellation=self.engine.cancellation,
        )

    def _optimize_rounds(
        self,
        image: NDArray[np.floating],
        targets: dict[str, NDArray[np.float32]],
        matcher: Matcher,
        state: OptimizerState | BlockwiseState | None,
    ) -> Outcome:
        """Minimise in rounds, for each of which the neighbours of the image are found.

        A resumed round starts from the saved image, whose neighbours are found again.
        """
        scale, before = self.plan.scales[self.index], None
        rounds = plan_rounds(scale.iterations, is_last=self.index == len(self.plan.scales) - 1)
        if isinstance(state, OptimizerState):
            before = Outcome(
                image, state.start, state.best, state.iterations, state.evaluations, "iterations"
            )
            rounds = rounds_after(rounds, state.iterations, relearning=self._relearning)
        self._iterations = self._relearning + scale.iterations
        for each in rounds:
            self._before = before
            try:
                found = self.engine.cancellation.run(partial(matcher.targets, image, by_layer=each.by_layer))
                outcome = self._minimize(image, targets | found, each.iterations, None)
            except (Cancelled, OptimizationError) as error:
                if before is None:
                    raise
                return replace(before, reason="cancelled" if isinstance(error, Cancelled) else "non-finite")
            before = outcome if before is None else _joined(before, outcome)
            image = outcome.image
            if outcome.reason in ("callback", "cancelled", "non-finite"):
                break
        assert before is not None
        return before

    def _optimize_blocks(
        self,
        image: NDArray[np.float32],
        targets: dict[str, NDArray[np.float32]],
        weights: NDArray[np.float32],
        before: BlockwiseState | None,
    ) -> Outcome:
        scale, method = self.plan.scales[self.index], self.plan.methods[self.index]
        window = method.window_pixels or 0
        cuts: Cuts = self.engine.plan_cuts(scale.size, self.plan.terms, window)
        finished = None if before is None else before.finished
        self._is_in_blocks = True
        self._iterations = self._relearning + total_iterations(cuts, scale.iterations, finished)
        if self.index == 0:
            _warn_of_blocks_alone(scale.size)
        opacity = None if self.images.keep is None else resize(self.images.keep, scale.size)
        if opacity is not None and before is None:
            blend_in_place(to_chw(resize(self.images.content.rgb, scale.size)), opacity, image)
        with restored_block(image, cuts, scale.iterations, before):
            blocks = self.engine.cancellation.run(
                lambda: self.engine.blocks(image, self.plan.terms, targets, weights, window)
            )
            settings = BlockSettings(
                variables=lambda size: _free_variables(self.options, size),
                iterations=scale.iterations,
                history=method.history,
                make_step=self._make_step,
                opacity=opacity,
                detail=self.index > 0,
            )
            return minimize_blocks(
                blocks,
                cuts,
                settings,
                on_iterate=self._on_iterate,
                resume=before,
                on_state=self._offer,
                cancellation=self.engine.cancellation,
            )

    def _problem(self, objective: Objective, size: tuple[int, int]) -> Problem:
        """Return what is minimised, with its vectors on the card if there is one and it can have them."""
        variables, on_device = variables_of(self.options, self.images, size), objective.on_device
        if (
            on_device is None
            or not isinstance(variables, Pixels | Spectral)
            or self.options.optimizer != "lbfgs"
            or not has_device_vectors(on_device)
        ):
            return HostProblem(objective, variables)
        return DeviceProblem(on_device, variables)

    def _weights(self) -> NDArray[np.float32]:
        temporal = self.images.temporal
        return term_weights(self.options, self.plan.terms, 0.0 if temporal is None else temporal.weight)

    def _make_step(self) -> Step | None:
        return make_step(self.options.optimizer, self.options.learning_rate)

    def _on_iterate(self, iteration: int, evaluations: int, value: Value, image: AnyImage) -> bool:
        """Note an iteration and call the callback; return True to stop."""
        self.run_log.record(value)
        if self._before is not None:
            iteration += self._before.iterations
            evaluations += self._before.evaluations
        relearning = 0 if self._is_in_blocks else self._relearning
        iterate = Iterate(
            scale=self.index + 1,
            scales=len(self.plan.scales),
            size=self.plan.scales[self.index].size,
            iteration=iteration,
            iterations=self._iterations,
            plan=tuple(
                (scale.size, scale.iterations + (relearning if index == self.index else 0))
                for index, scale in enumerate(self.plan.scales)
            ),
            evaluations=evaluations,
            loss=value.loss,
            seconds=time.monotonic() - self.run_log.started,
            _terms=tuple(self.plan.terms.by_name(value.terms).items()),
            _picture=image,
            _restore_colors=self.images.restore_colors,
        )
        self._share = iterate.progress
        return self.on_iterate is not None and self.on_iterate(iterate) is STOP

    def _offer(self, state: OptimizerState | BlockwiseState) -> None:
        if self._before is not None and isinstance(state, OptimizerState):
            state = replace(
                state,
                start=self._before.start,
                iterations=self._before.iterations + state.iterations,
                evaluations=self._before.evaluations + state.evaluations,
            )
        self.run_log.offer_checkpoint(self.plan, self.index, state, self._share)


def _joined(before: Outcome, outcome: Outcome) -> Outcome:
    """Return the result of one round after others."""
    return replace(
        outcome,
        start=before.start,
        iterations=before.iterations + outcome.iterations,
        evaluations=before.evaluations + outcome.evaluations,
    )


def _warn_of_blocks_alone(size: tuple[int, int]) -> None:
    """Log that blocks start without a coarser scale, so that plain areas may show their borders."""
    log.warning(
        "%d×%d is the first scale and is optimised block by block: plain areas may show block borders; use "
        "--scales auto, or allow more memory with --memory",
        size[1],
        size[0],
    )
