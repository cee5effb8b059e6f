"""What a run is made of, read: pictures, statistics and masks together with the files they came from."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Literal

from ..images import Picture
from ..pipeline.checkpoints.checkpoint import Checkpoint
from ..pipeline.plan.schedule import ScalePlan
from ..pipeline.results import IterateCallback, Result
from ..pipeline.style_statistics import StyleStatistics
from ..pipeline.style_transfer import StyleTransfer
from ..pipeline.styles import Style
from .input_files import Inputs


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """The inputs of a run.

    Attributes
    ----------
    inputs : Inputs
        The files and their fingerprints.
    content : Picture
        The photo.
    styles, style_masks, painting_masks : tuple
        What was read of each.
    style_weights, style_scales : tuple of float
        As in `lbfgs_style.pipeline.styles.Style`.
    keep : Picture, "alpha" or None
        Where the photo is left alone.
    init : Picture or None
        What it starts from.
    """

    inputs: Inputs
    content: Picture
    styles: tuple[Picture | StyleStatistics, ...]
    style_weights: tuple[float, ...]
    style_scales: tuple[float, ...]
    style_masks: tuple[Picture | None, ...]
    painting_masks: tuple[Picture | None, ...]
    keep: Picture | Literal["alpha"] | None
    init: Picture | None

    @property
    def shown(self) -> tuple[Picture | StyleStatistics, ...]:
        """What was read of each file, in the order of `Inputs.sources`."""
        masks = (mask for mask in (*self.style_masks, *self.painting_masks) if mask is not None)
        keep = () if self.keep is None or isinstance(self.keep, str) else (self.keep,)
        return (self.content, *self.styles, *masks, *keep, *(() if self.init is None else (self.init,)))

    def paint(
        self,
        job: StyleTransfer,
        *,
        on_iterate: IterateCallback | None,
        cancel: threading.Event | None,
        checkpoint: Checkpoint | None = None,
    ) -> Result:
        """Paint; see `lbfgs_style.StyleTransfer.run`."""
        return job.run(
            self.content,
            self._styles,
            init=self.init,
            keep=self.keep,
            on_iterate=on_iterate,
            cancel=cancel,
            checkpoint=checkpoint,
        )

    def plan(self, job: StyleTransfer) -> tuple[ScalePlan, ...]:
        """Say what painting would take; see `lbfgs_style.StyleTransfer.plan`."""
        return job.plan(self.content, self._styles, init=self.init, keep=self.keep)

    @property
    def _styles(self) -> list[Style]:
        columns = (self.styles, self.style_weights, self.style_scales, self.style_masks, self.painting_masks)
        return [Style(*values) for values in zip(*columns, strict=True)]
