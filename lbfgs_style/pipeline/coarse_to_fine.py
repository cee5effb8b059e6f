"""Coarse to fine: the loop over the scales that `scales` plans."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ..errors import CheckpointError, ImageError, OptimizationError
from ..graphs.network_graph import feature_shapes
from ..images import FloatImage, Picture, resize, to_chw, to_hwc
from ..objective.engine import Engine
from ..objective.evaluation import Value
from ..objective.losses.terms import SHARES, TermNames, blend_grams, term_weights
from ..optimization.block_sweeps import Cuts, all_iterations, begun_again, minimize_blocks
from ..optimization.first_order import Step, make_step
from ..optimization.held_variables import Held
from ..optimization.lbfgs import FAR, OTHER_VARIABLES, STOP_REASONS, Outcome, minimize
from ..optimization.state import BlocksStanding, Standing
from ..optimization.variables import KINDS, Parametrization
from ..settings.options import Options
from ..system.threads import Cancelled
from .initial_image import Start
from .plan.memory import Working, enough_memory
from .plan.scales import Scale, ScaleResult, plan, result_size, style_size
from .plan.schedule import longest_history, workings
from .regions import Mask, Regions, at_layer, divide, hold, laid_over
from .results import Iterate, IterateCallback, work_done
from .run_log import Course
from .style_measuring import moments_at
from .style_statistics import StyleStatistics
from .styles import StylePicture


@dataclass(slots=True, eq=False)
class CoarseToFine:
    """One run: the loop over the scales of one content picture and its styles.

    Attributes
    ----------
    engine : Engine
        Evaluates the network; its cancellation stops the run.
    options : Options
        The settings.
    terms : TermNames
        The terms of the loss.
    content : Picture
        The photo.
    styles : sequence of StylePicture
        The paintings.
    on_iterate : callable or None
        Gets an `Iterate` after each iteration; stops the run by returning True.
    keep : array or None
        H×W in [0,1]: white where the photo is left alone.
    shown : callable or None
        What callbacks are shown of a picture, see `lbfgs_style.pipeline.inputs.shown`.
    course : Course
        How the run goes; a saved one is taken up there.
    """

    engine: Engine
    options: Options
    terms: TermNames
    content: Picture
    styles: Sequence[StylePicture]
    on_iterate: IterateCallback | None
    keep: Mask | None = None
    shown: Callable[[FloatImage], FloatImage] | None = None
    course: Course = field(default_factory=Course)

    def prepare(self, *, given: bool) -> tuple[tuple[Scale, ...], list[Working]]:
        """Plan the scales, and how each is worked on.

        A picture that is `given` to start from is stretched to the shape of the photo. The scales that
        ``"auto"`` adds would take its detail away, so they are left out.
        """
        self._check_own_sizes()
        size = result_size(self.content, self.options)
        least = self.engine.smallest_side(self.terms)
        self.engine.check_size(size, self.terms, what="content picture")
        wanted = () if self.options.scales == "single" else self.options.scales
        if given and wanted == "auto":
            wanted = ()
        from_noise = self.options.init_noise == 1 or (self.options.init == "noise" and not given)
        scales = plan(size, wanted, self.options.iterations, least, from_noise=from_noise)
        regions = self._regions(size)
        self.terms = replace(self.terms, regions=len(regions.masks) if regions else 0)
        return scales, workings(self.engine, self.terms, self.options, scales, self._source_bytes())

    def run(self, init: FloatImage | None) -> tuple[FloatImage, list[ScaleResult]]:
        """Optimise at each scale; return the picture H×W×3, float32 in [0,1], and how each scale went.

        When the run is cancelled, the picture is the best so far, or the initial one. Raises what
        `lbfgs_style.StyleTransfer.run` says.
        """
        scales, ways = self.prepare(given=init is not None)
        size = scales[-1].size
        tell_of_changes(self.content, size, self.options)
        paintings = [each.painting for each in self.styles]
        pictures = [given for given in paintings if not isinstance(given, StyleStatistics)]
        start = Start(self.options, self.content.rgb, pictures, init)
        picture: NDArray[np.floating] = start.first(scales[0].size)
        history = longest_history(self.options)
        first, ways = self.course.planned(scales, ways, terms=len(self.terms.names), history=history)
        if self.course.saved is not None:
            picture = self._picture_of(self.course.saved.standing, scales[first].size)
        for index, scale in enumerate(scales[first:], first):
            try:
                with enough_memory(scale.size, ways[index].bytes):
                    outcome = self._optimize(index, scales, ways, start.next(picture, scale.size))
            except Cancelled:  # before the first evaluation was done
                self.course.stop_reason = "cancelled"
                break
            except OptimizationError:
                if not self.course.results:
                    raise
                self.course.stop_reason = "non-finite"  # what was painted before is not lost
                tell_of_lost_numbers(index + 1, len(scales), scale.size)
                break
            picture = outcome.image
            self.course.end_scale(scale, outcome, self.terms)
            if outcome.reason == "non-finite":
                tell_of_lost_numbers(index + 1, len(scales), scale.size)
            if outcome.reason in ("callback", "cancelled"):
                break
        self.course.end()
        results = self.course.results
        found = resize(to_hwc(picture), size)
        if self.keep is not None and (not results or results[-1].size != size):  # stopped, then enlarged
            found = laid_over(resize(self.content.rgb, size), self.keep, found)
        return found, results

    def _check_own_sizes(self) -> None:
        """Refuse what enlarging alone would make large enough: there is nothing in it to see."""
        style = TermNames((), self.terms.style_layers)
        content = (self.content.rgb.shape[0], self.content.rgb.shape[1])
        pictures = [("content picture", content, self.terms)]
        pictures += [("style picture", each.size, style) for each in self.styles]
        for what, (height, width), terms in pictures:
            least = self.engine.smallest_side(terms) if terms.layers else 1
            if min(height, width) < least:
                raise ImageError(
                    f"The {what} is too small for the layers {', '.join(terms.layers)}: expected both sides "
                    f"at least {least} pixels, got {width}×{height}; "
                    "take a larger picture or shallower layers."
                )

    def _picture_of(self, standing: Standing | BlocksStanding, size: tuple[int, int]) -> NDArray[np.floating]:
        """Return the best picture [3,H,W] of a saved run, or raise CheckpointError where it has none."""
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                is_image = isinstance(standing, BlocksStanding)
                found = standing.image if is_image else self._held(size).decode(standing.best_z)
        except ValueError as error:
            raise CheckpointError(OTHER_VARIABLES) from error
        if not -FAR < found.min() <= found.max() < FAR:
            raise CheckpointError("The checkpoint has no picture: begin anew without it.")
        return found

    def _optimize(
        self, index: int, scales: tuple[Scale, ...], ways: Sequence[Working], picture: NDArray[np.floating]
    ) -> Outcome:
        scale, way, standing = scales[index], ways[index], self.course.enter(index)
        window, cancellation = way.window_pixels, self.engine.cancellation
        lost = 0 if standing is None else standing.lost()
        targets = cancellation.run(lambda: self._targets(scale, window))
        weights = term_weights(self.options, self.terms)
        cuts: Cuts = []
        if way.way == "blocks" and window is not None:
            cuts = self.engine.cuts(scale.size, self.terms, window)
        before = standing if isinstance(standing, BlocksStanding) else None
        done = None if before is None else before.done
        iterations = lost + (all_iterations(cuts, scale.iterations, done) if cuts else scale.iterations)
        share = 0.0

        def step() -> Step | None:
            return make_step(self.options.optimizer, self.options.learning_rate)

        def on_iterate(iteration: int, evaluations: int, e: Value, current: NDArray[np.floating]) -> bool:
            nonlocal share
            self.course.took(e)
            iterate = Iterate(
                scale=index + 1,
                scales=len(scales),
                size=scale.size,
                iteration=iteration,
                iterations=iterations,
                plan=tuple((s.size, s.iterations + (lost if s is scale and not cuts else 0)) for s in scales),
                evaluations=evaluations,
                loss=e.loss,
                seconds=time.monotonic() - self.course.started,
                _terms=tuple(self.terms.named(e.terms).items()),
                _picture=current,
                _shown=self.shown,
            )
            share = work_done(iterate)
            return self.on_iterate is not None and bool(self.on_iterate(iterate))

        def keep(now: Standing | BlocksStanding) -> None:
            self.course.keep(index, scales, ways, now, share)

        if window is not None and cuts:
            image = np.ascontiguousarray(picture, np.float32)
            if index == 0:
                tell_of_blocks_alone(scale.size)
            opacity = None if self.keep is None else resize(self.keep, scale.size)
            if opacity is not None and before is None:
                hold(to_chw(resize(self.content.rgb, scale.size)), opacity, image)
            with begun_again(image, cuts, scale.iterations, before):
                blocks = cancellation.run(
                    lambda: self.engine.blocks(image, self.terms, targets, weights, window)
                )
                return minimize_blocks(
                    blocks,
                    cuts,
                    self._variables,
                    iterations=scale.iterations,
                    history=way.history,
                    on_iterate=on_iterate,
                    make_step=step,
                    opacity=opacity,
                    detail=index > 0,
                    resume=before,
                    keep=keep,
                    cancellation=cancellation,
                )
        objective = cancellation.run(
            lambda: self.engine.objective(scale.size, self.terms, targets, weights, window_pixels=window)
        )
        return minimize(
            objective,
            self._held(scale.size),
            picture,
            iterations=iterations,
            history=way.history,
            on_iterate=on_iterate,
            step=step(),
            resume=standing if isinstance(standing, Standing) else None,
            keep=keep,
            cancellation=cancellation,
        )

    def _variables(self, size: tuple[int, int]) -> Parametrization:
        """Return what the optimiser moves: a picture or block of a size."""
        return KINDS[self.options.variables if self.options.optimizer == "lbfgs" else "pixels"](size)

    def _held(self, size: tuple[int, int]) -> Parametrization:
        """Return the variables of a scale, without what is kept of the photo."""
        if self.keep is None:
            return self._variables(size)
        photo = to_chw(resize(self.content.rgb, size))
        return Held(self._variables(size), photo, resize(self.keep, size))

    def _regions(self, size: tuple[int, int]) -> Regions | None:
        styles = self.styles
        return divide(size, [each.mask for each in styles], [each.weight for each in styles], self.keep)

    def _source_bytes(self) -> int:
        paintings = (each.painting for each in self.styles)
        read = [each for each in paintings if not isinstance(each, StyleStatistics)]
        of_styles = (mask for each in self.styles for mask in (each.mask, each.style_mask))
        masks = [mask for mask in (self.keep, *of_styles) if mask is not None]
        return sum(each.nbytes for each in (self.content.rgb, *read, *masks))

    def _targets(self, scale: Scale, window: int | None) -> dict[str, NDArray[np.float32]]:
        content_terms = TermNames(self.terms.content_layers, ())
        least = self.engine.smallest_side(self.terms)
        content = to_chw(resize(self.content.rgb, scale.size))
        targets = self.engine.statistics(content, content_terms, what="content picture", window_pixels=window)
        measured = [self._measured(each, scale, least, window) for each in self.styles]
        weights = [each.weight for each in self.styles]
        regions = self._regions(scale.size)
        if regions is None:
            return targets | blend_grams(measured, weights)
        for number, members in enumerate(regions.styles):
            blended = blend_grams([measured[i] for i in members], [weights[i] for i in members])
            targets |= {f"{name}_{number}": moments for name, moments in blended.items()}
        shapes = feature_shapes(self.engine.network.model, scale.size, self.terms.style_layers)
        for part in self.terms.parts:
            assert part.region is not None
            targets[part.mask] = at_layer(regions.masks[part.region], *shapes[part.layer][1:])
        return targets | {SHARES: np.array(regions.shares, np.float32)}

    def _measured(
        self, style: StylePicture, scale: Scale, least: int, window: int | None
    ) -> dict[str, NDArray[np.float32]]:
        size = style_size(style.size, style.scale, scale, least)
        if isinstance(style.painting, StyleStatistics):
            terms = TermNames((), self.terms.style_layers, statistic=self.terms.statistic)
            moments = style.painting.at(max(size))
            return {name: moments[name] for name in terms.style_names}
        return moments_at(
            self.engine,
            style.painting,
            style.style_mask,
            size,
            self.terms.style_layers,
            statistic=self.terms.statistic,
            window_pixels=window,
        )


log = logging.getLogger(__name__)


def tell_of_lost_numbers(number: int, count: int, size: tuple[int, int]) -> None:
    """Log that a scale, `number` of `count`, ended because of a number that is none."""
    where = f"scale {number} of {count} ({size[1]}×{size[0]})"
    log.warning("%s ended early, with the best picture so far: %s", where, STOP_REASONS["non-finite"])


def tell_of_blocks_alone(size: tuple[int, int]) -> None:
    """Log that no smaller scale has painted the large forms, which blocks cannot paint evenly."""
    log.warning(
        "%d×%d is the first scale and painted block by block: large plain areas may show the blocks; let "
        "smaller scales come first (scales auto), or allow more memory.",
        size[1],
        size[0],
    )


def tell_of_changes(content: Picture, size: tuple[int, int], options: Options) -> None:
    """Log what a run changes of a content picture: it is enlarged to `size`, or its result is grey."""
    height, width = content.rgb.shape[:2]
    if size[0] > height:
        log.warning(
            "the content picture of %d×%d pixels is enlarged to %d×%d: --size full (size='full') keeps its "
            "size",
            *(width, height, size[1], size[0]),
        )
    if content.gray and options.preserve_color == "none":
        log.warning(
            "the content picture is grey, and so is the result: transfer --no-keep-gray (keep_gray=False) "
            "paints in colour"
        )
