"""Coarse to fine: the loop over the scales that `scales` plans."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .errors import ImageError
from .graphs import TermNames
from .images import FloatImage, Picture, fit, resize, to_chw, to_hwc
from .objective import Engine, Evaluation, blend_grams
from .optimizer import Outcome, minimize
from .options import Options
from .parametrization import KINDS
from .records import Iterate, IterateCallback, ScaleResult
from .scales import Scale, plan, result_size
from .session import Cancelled
from .starts import start
from .style_statistics import StyleStatistics


@dataclass(slots=True, eq=False)
class CoarseToFine:
    """One run: the loop over the scales of one content picture and its styles.

    Attributes
    ----------
    engine : Engine
        Evaluates the network.
    options : Options
        The settings.
    terms : TermNames
        The terms of the loss.
    content : Picture
        The photo.
    styles : sequence of (array or StyleStatistics, float)
        H×W×3 float32 RGB in [0,1], or what was measured of one; and the share of each.
    on_iterate : callable or None
        Gets an `Iterate` after each iteration; stops the run by returning True.
    cancel : threading.Event or None
        Stops the run once it is set.
    """

    engine: Engine
    options: Options
    terms: TermNames
    content: Picture
    styles: Sequence[tuple[FloatImage | StyleStatistics, float]]
    on_iterate: IterateCallback | None
    cancel: threading.Event | None
    started: float = field(default_factory=time.monotonic)
    history: list[float] = field(default_factory=list[float])
    term_history: list[NDArray[np.float32]] = field(default_factory=list[NDArray[np.float32]])
    stop_reason: str = ""

    def run(self, init: FloatImage | None) -> tuple[FloatImage, list[ScaleResult]]:
        """Optimise at each scale; return the picture H×W×3, float32 in [0,1], and how each scale went.

        A picture to start from, `init`, is stretched to the shape of the photo. The scales that ``"auto"``
        adds would take its detail away, so they are left out.

        When the run is cancelled, the picture is the best so far, or the initial one. Raises what
        `lbfgs_style.StyleTransfer.run` says.
        """
        self._check_own_sizes()
        size = result_size(self.content, self.options)
        least = self.engine.smallest_side(self.terms)
        self.engine.check_size(size, self.terms, what="content picture")
        wanted = () if init is not None and self.options.scales == "auto" else self.options.scales
        scales = plan(size, wanted, self.options.iterations, least)
        paintings = [style for style, _ in self.styles if not isinstance(style, StyleStatistics)]
        picture: NDArray[np.floating] = start(self.options, self.content.rgb, paintings, init, scales[0].size)
        results: list[ScaleResult] = []
        for index, scale in enumerate(scales):
            began = time.monotonic()
            try:
                outcome = self._optimize(index, scales, _resized(picture, scale.size))
            except Cancelled:  # before the first evaluation was done
                self.stop_reason = "cancelled"
                break
            self.stop_reason = outcome.reason
            picture = outcome.image
            results.append(self._summary(scale, outcome, time.monotonic() - began))
            if outcome.reason in ("callback", "cancelled"):
                break
        return resize(to_hwc(picture), size), results

    def _check_own_sizes(self) -> None:
        """Refuse what enlarging alone would make large enough: there is nothing in it to see."""
        style = TermNames((), self.terms.style_layers)
        pictures = [("content picture", _own_size(self.content.rgb), self.terms)]
        pictures += [("style picture", _own_size(given), style) for given, _ in self.styles]
        for what, (height, width), terms in pictures:
            least = self.engine.smallest_side(terms) if terms.layers else 1
            if min(height, width) < least:
                raise ImageError(
                    f"The {what} is too small for the layers {', '.join(terms.layers)}: expected both sides "
                    f"at least {least} pixels, got {width}×{height}; "
                    "take a larger picture or shallower layers."
                )

    def _optimize(self, index: int, scales: Sequence[Scale], picture: NDArray[np.floating]) -> Outcome:
        scale = scales[index]
        objective = self.engine.objective(
            scale.size, self.terms, self._targets(scale), self._weights(), self.cancel
        )
        variables = KINDS[self.options.variables](scale.size)

        def on_iterate(
            iteration: int, evaluations: int, e: Evaluation, current: NDArray[np.floating]
        ) -> bool:
            self.history.append(e.loss)
            self.term_history.append(e.terms)
            if self.on_iterate is None:
                return False
            iterate = Iterate(
                scale=index + 1,
                scales=len(scales),
                size=scale.size,
                iteration=iteration,
                iterations=scale.iterations,
                plan=tuple((s.size, s.iterations) for s in scales),
                evaluations=evaluations,
                loss=e.loss,
                seconds=time.monotonic() - self.started,
                _terms=tuple(self._named(e).items()),
                _picture=current,
            )
            return bool(self.on_iterate(iterate))

        return minimize(
            objective,
            variables,
            picture,
            iterations=scale.iterations,
            history=self.options.history,
            on_iterate=on_iterate,
        )

    def _targets(self, scale: Scale) -> dict[str, NDArray[np.float32]]:
        content_terms = TermNames(self.terms.content_layers, ())
        least = self.engine.smallest_side(self.terms)
        content = to_chw(resize(self.content.rgb, scale.size))
        targets = self.engine.statistics(content, content_terms, what="content picture", cancel=self.cancel)
        measured = [self._measured(style, scale, least) for style, _ in self.styles]
        return targets | blend_grams(measured, [weight for _, weight in self.styles])

    def _measured(
        self, style: FloatImage | StyleStatistics, scale: Scale, least: int
    ) -> dict[str, NDArray[np.float32]]:
        size = _style_size(_own_size(style), scale, least)
        if isinstance(style, StyleStatistics):
            return style.at(max(size))
        terms = TermNames((), self.terms.style_layers)
        picture = to_chw(resize(style, size))
        return self.engine.statistics(picture, terms, what="style picture", cancel=self.cancel)

    def _weights(self) -> NDArray[np.float32]:
        content, style = self.terms.content_layers, self.terms.style_layers
        alpha, beta = self.options.balance
        each = [alpha / len(content) for _ in content] + [beta / len(style) for _ in style]
        return np.array([*each, self.options.tv_weight, self.options.range_weight], np.float32)

    def histories(self) -> dict[str, tuple[float, ...]]:
        """Return each term without its weight, after each iteration over all scales."""
        columns = np.array(self.term_history).reshape(-1, len(self.terms.names)).T
        return {name: tuple(map(float, c)) for name, c in zip(self.terms.names, columns, strict=True)}

    def _named(self, evaluation: Evaluation) -> dict[str, float]:
        return dict(zip(self.terms.names, map(float, evaluation.terms), strict=True))

    def _summary(self, scale: Scale, outcome: Outcome, seconds: float) -> ScaleResult:
        return ScaleResult(
            size=scale.size,
            iterations=outcome.iterations,
            evaluations=outcome.evaluations,
            seconds=seconds,
            loss_start=outcome.start.loss,
            loss_end=outcome.end.loss,
            terms_start=self._named(outcome.start),
            terms_end=self._named(outcome.end),
            stop_reason=outcome.reason,
        )


def _own_size(style: FloatImage | StyleStatistics) -> tuple[int, int]:
    return style.size if isinstance(style, StyleStatistics) else (style.shape[0], style.shape[1])


def _style_size(own: tuple[int, int], scale: Scale, smallest_side: int) -> tuple[int, int]:
    """Size of a style picture at a scale: as long as the result, never above its own.

    A narrow one is made longer than that where its shorter side would be too short for the network.
    """
    least = math.ceil(smallest_side * max(own) / min(own))
    return fit(own, min(max(scale.longest, least), max(own)))


def _resized(picture: NDArray[np.floating], size: tuple[int, int]) -> NDArray[np.floating]:
    if picture.shape[1:] == size:
        return picture
    return to_chw(resize(to_hwc(picture), size))
