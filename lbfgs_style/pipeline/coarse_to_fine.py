"""The loop over the scales of a run, coarse to fine."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..errors import CheckpointError, OptimizationError
from ..images import FloatImage, Picture, fit, resize, to_chw, to_hwc
from ..objective.engine import Engine
from ..objective.losses.terms import LossTerms
from ..optimization.lbfgs import FAR, OTHER_VARIABLES, STOP_REASONS
from ..optimization.state import BlockwiseState, OptimizerState
from ..settings.options import Options
from ..system.threads import Cancelled
from .initial_image import InitialImage
from .inputs import RunImages
from .plan.memory import enough_memory
from .plan.run_plan import RunPlan, longest_history, plan_run
from .regions import blend
from .results import IterateCallback
from .run_log import RunLog
from .scale_run import ScaleRun, variables_of
from .style_statistics import StyleStatistics

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class CoarseToFine:
    """A run: the loop over the scales of one content image and its styles.

    Attributes
    ----------
    engine : Engine
        Evaluates the network; its cancellation stops the run.
    options : Options
        Settings of the run.
    terms : LossTerms
        The loss terms, without regions.
    images : RunImages
        Content, styles and masks.
    on_iterate : callable or None
        Gets an `Iterate` after each iteration; stops the run by returning `STOP`.
    log : RunLog
        Losses and finished scales; a resumed run starts with those of the saved one.
    """

    engine: Engine
    options: Options
    terms: LossTerms
    images: RunImages
    on_iterate: IterateCallback | None
    log: RunLog = field(default_factory=RunLog)

    def plan(self, *, has_initial_image: bool, preview: FloatImage | None = None) -> RunPlan:
        """Plan the run, see `plan_run`."""
        return plan_run(
            self.engine,
            self.options,
            self.terms,
            self.images,
            has_initial_image=has_initial_image,
            preview=preview,
        )

    def run(
        self, init: FloatImage | None, preview: FloatImage | None = None, *, plan: RunPlan | None = None
    ) -> tuple[FloatImage, RunPlan]:
        """Optimise at each scale; return the image H×W×3, float32 in [0,1], and the plan of the run.

        A preview, H×W×3, is taken as the result of the scales up to its size. A `plan` is that of an earlier
        run with images of the same sizes.

        When the run is cancelled, the image is the best so far, or the initial one. `log` has the results of
        the scales. Raises what `lbfgs_style.StyleTransfer.run` says.
        """
        plan = plan or self.plan(has_initial_image=init is not None, preview=preview)
        size = plan.scales[-1].size
        warn_of_changes(self.images.content, size, self.options)
        initial = InitialImage(self.options, self.images.content.rgb, _style_images(self.images), init)
        image: NDArray[np.floating]
        if preview is None:
            image = initial.first(plan.scales[0].size)
        else:
            image = to_chw(resize(preview, fit(size, max(preview.shape[:2]))))
        first, plan = self.log.resume_plan(plan, history=longest_history(self.options))
        if self.log.saved is not None:
            image = self._saved_image(self.log.saved.state, plan.scales[first].size)
        for index in range(first, len(plan.scales)):
            scale = plan.scales[index]
            scale_run = ScaleRun(
                self.engine, self.options, self.images, plan, index, self.log, self.on_iterate
            )
            try:
                with enough_memory(scale.size, plan.methods[index].bytes):
                    outcome = scale_run.optimize(partial(initial.next, image, scale.size))
            except Cancelled:  # before the first evaluation was done
                self.log.stop_reason = "cancelled"
                break
            except OptimizationError:
                if not self.log.results:
                    raise
                self.log.stop_reason = "non-finite"  # the scales before are not lost
                _warn_of_nan(index + 1, plan)
                break
            image = outcome.image
            self.log.finish_scale(scale, outcome, plan.terms)
            if outcome.reason == "non-finite":
                _warn_of_nan(index + 1, plan)
            if outcome.reason in ("callback", "cancelled"):
                break
        self.log.finish()
        # After a cancelled run the caller waits, and the next run returns the memory, if there is enough.
        if self.log.stop_reason != "cancelled" or plan.methods[-1].window_pixels is not None:
            self.engine.release_memory()
        return self._finished(to_hwc(image), size), plan

    def _finished(self, rgb: FloatImage, size: tuple[int, int]) -> FloatImage:
        """Return an image at the size of the result, with the kept part of the content image."""
        results, result = self.log.results, resize(rgb, size)
        if self.images.keep is not None and (not results or results[-1].size != size):  # stopped early
            content = resize(self.images.content.rgb, size)
            return blend(content, self.images.keep, result)
        return result

    def _saved_image(
        self, state: OptimizerState | BlockwiseState, size: tuple[int, int]
    ) -> NDArray[np.floating]:
        """Return the best image [3,H,W] of a saved run, or raise CheckpointError if it is not valid."""
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                if isinstance(state, BlockwiseState):
                    image: NDArray[np.floating] = state.image
                else:
                    image = variables_of(self.options, self.images, size).decode(np.asarray(state.best_z))
        except ValueError as error:
            raise CheckpointError(OTHER_VARIABLES) from error
        if not -FAR < image.min() <= image.max() < FAR:
            raise CheckpointError("The checkpoint has no image: start again without it.")
        return image


def _style_images(images: RunImages) -> Sequence[FloatImage]:
    return [style.image for style in images.styles if not isinstance(style.image, StyleStatistics)]


def _warn_of_nan(number: int, plan: RunPlan) -> None:
    """Log that scale `number` (1-based) ended early because of a NaN or infinity."""
    height, width = plan.scales[number - 1].size
    log.warning(
        "scale %d of %d (%d×%d) ended early, with the best image so far: %s",
        *(number, len(plan.scales), width, height, STOP_REASONS["non-finite"]),
    )


def warn_of_changes(content: Picture, size: tuple[int, int], options: Options) -> None:
    """Log that the content image is enlarged to `size`, or that the result is grey."""
    height, width = content.rgb.shape[:2]
    if size[0] > height:
        log.warning(
            "the content image of %d×%d pixels is enlarged to %d×%d: --size full (size='full') keeps its "
            "size",
            *(width, height, size[1], size[0]),
        )
    if content.gray and options.preserve_color == "none":
        log.warning(
            "the content image is grey, and so is the result: --no-keep-gray (keep_gray=False) paints in "
            "colour"
        )
