"""Paint a clip frame by frame: each starts from the one before, moved along the flow, and is held to it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from ..images import FloatImage, ImageLike, Picture, from_array, resize, to_chw, to_hwc, with_rgb
from ..images.color_preservation import in_gray
from ..pipeline.coarse_to_fine import CoarseToFine
from ..pipeline.initial_image import InitialImage
from ..pipeline.inputs import FaceMask, Keep, RunImages, TemporalTarget, with_next_content
from ..pipeline.plan.run_plan import RunPlan
from ..pipeline.results import IterateCallback
from ..pipeline.style_transfer import StyleTransfer
from ..pipeline.styles import StylePicture
from ..settings.options import Options
from ..settings.video_options import VideoOptions
from ..system.threads import Cancellation
from .drift import NO_GAIN, Anchor, Gain, contrast, expected_sharpness, sharpness
from .flow import Mask, fill_holes, find_strokes, fuse, warp
from .frames import ContentFrame, ContentFrames, Frame, VideoState
from .passes import Pass

# Share of new pixels from which they are painted at coarser scales first.
_NEW = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class Earlier:
    """What an earlier pass has painted of a frame, and how much the frame is held to it, c in [0,1]."""

    picture: Picture
    hold: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class _Painted:
    """A frame in the colours of the network, H×W×3, and as a picture; how its run ended, if it had one."""

    rgb: FloatImage
    picture: Picture
    stop_reason: str = ""
    evaluations: int = 0
    loss: float = math.nan
    gain: Gain = NO_GAIN


def short_options(options: Options, video: VideoOptions) -> Options:
    """Return the options of the frames that continue others: they start near their end.

    Most of their iterations are at the largest scale; the others are for what is new.
    """
    return replace(options, iterations=video.frame_iterations, fast=False, init_noise=0.0)


class ClipPainter:
    """Paints a clip in passes, each of which can be resumed; made by `VideoTransfer.clip`.

    Parameters
    ----------
    job : StyleTransfer
        Has the network and the settings of a frame.
    video : VideoOptions
        How frames are held together.
    styles : sequence of StylePicture
        The styles, checked.
    keep, held
        Mask of the kept part; content map and mask of faces.
    on_iterate : callable or None
        As for `VideoTransfer.run`.
    cancellation : Cancellation
        Ends the clip.
    """

    def __init__(
        self,
        job: StyleTransfer,
        video: VideoOptions,
        styles: Sequence[StylePicture],
        keep: Keep | None,
        held: tuple[ImageLike | None, FaceMask | None],
        on_iterate: IterateCallback | None,
        cancellation: Cancellation,
    ) -> None:
        self._job, self._video, self._styles, self._keep, self._held = job, video, styles, keep, held
        self._on_iterate, self._cancellation = on_iterate, cancellation
        self._short = replace(short_options(job.options, video), scales="single")
        self._images: RunImages
        self._coarser: tuple[int, ...] = ()
        self._plans: dict[tuple[int, ...], RunPlan] = {}

    @property
    def is_cancelled(self) -> bool:
        """Whether the clip is to end early."""
        return self._cancellation.is_requested

    def paint(
        self,
        frames: Iterable[ImageLike],
        *,
        earlier: Iterable[Earlier] | None = None,
        resume: VideoState | None = None,
    ) -> Iterator[Frame]:
        """Yield the painted frames of one pass.

        Parameters
        ----------
        frames : iterable
            As for `VideoTransfer.run`.
        earlier : iterable of Earlier, optional
            What an earlier pass has painted. The first frame of a shot is left as it is there.
        resume : VideoState, optional
            The state after a frame; `frames` and `earlier` then start with the frame that follows it.
        """
        state = resume
        if state is not None:
            self._begin_images(state.first)
        history = () if state is None else state.contents
        contents = ContentFrames(frames, self._job.options, self._video.long_term, history)
        before = None if earlier is None else iter(earlier)
        for content in _ahead(contents.next):
            started = time.monotonic()
            own = None if before is None else next(before)
            if state is None or not content.motions:
                painted = self._begin_shot(content, own)
            else:
                painted = self._continue_shot(content, state, own)
            if painted.stop_reason == "cancelled":
                return
            state = _next_state(content, painted, state, max(self._video.long_term))
            yield Frame(
                number=state.number - 1,
                shot=state.shot,
                picture=painted.picture,
                reliable=content.reliable,
                evaluations=painted.evaluations,
                loss=painted.loss,
                seconds=time.monotonic() - started,
                state=state,
            )
            if painted.stop_reason == "callback":
                return

    def repaint(
        self,
        each: Pass,
        contents: Sequence[Picture],
        results: Sequence[Picture],
        resume: VideoState | None = None,
    ) -> Iterator[Frame]:
        """Yield the frames of a later pass, numbered in its order.

        Parameters
        ----------
        each : Pass
            The pass.
        contents, results : sequence of Picture
            All content frames, and what was painted of them; each is read when it is needed.
        resume : VideoState, optional
            The state after a frame of this pass.
        """
        if resume is None and each.before:
            resume = self._state_before(each, contents, results)
        first = 0 if resume is None else resume.number
        order, holds = each.order[first:], each.holds[first:]
        earlier = (Earlier(results[i], hold) for i, hold in zip(order, holds, strict=True))
        return self.paint((contents[i] for i in order), earlier=earlier, resume=resume)

    def _state_before(
        self, each: Pass, contents: Sequence[Picture], results: Sequence[Picture]
    ) -> VideoState:
        """Return the state from which a pass starts whose first frame continues other frames."""
        painted = tuple(self._as_network_sees(results[i]) for i in each.before)
        size = (painted[0].shape[0], painted[0].shape[1])
        small = tuple(resize(contents[i].rgb, size) for i in each.before)
        anchor = Anchor.of(painted[0], small[0])
        return VideoState(0, 0, small[0], anchor, NO_GAIN, small, painted)

    def _begin_images(self, small: FloatImage) -> None:
        """Prepare the images of a shot, by its first content frame at the size of the result."""
        _, run = self._job.prepare(from_array(small), self._styles, self._keep, self._held)
        self._images, self._plans = run.images, {}
        self._coarser = tuple(scale.longest for scale in run.plan(has_initial_image=False).scales[:-1])

    def _begin_shot(self, content: ContentFrame, own: Earlier | None) -> _Painted:
        """Paint the first frame of a shot like a single image, or leave it as an earlier pass painted it."""
        self._begin_images(content.small)
        if own is not None:
            return _Painted(self._as_network_sees(own.picture), own.picture)
        _, run = self._job.prepare(
            content.picture, self._styles, self._keep, self._held, self._on_iterate, self._cancellation
        )
        rgb, _ = run.run(None)
        return _painted(content, run, rgb)

    def _continue_shot(self, content: ContentFrame, state: VideoState, own: Earlier | None) -> _Painted:
        """Paint a frame from those before it."""
        pairs = zip(content.back, content.motions, strict=True)
        images = [warp(state.results[frames - 1], motion.flow) for frames, motion in pairs]
        visible = [motion.visible for motion in content.motions]
        reliable = np.asarray(sum(motion.reliable for motion in content.motions), np.float32)
        wanted, tones = expected_sharpness(state.anchor, sharpness(content.small)), state.anchor.contrast
        earlier = None if own is None else self._as_network_sees(own.picture)
        if own is not None and earlier is not None:
            wanted, tones = sharpness(earlier), contrast(earlier)
            hold = np.float32(own.hold)
            visible = [(1 - hold) * each for each in visible] + [np.full_like(reliable, hold)]
            reliable = (1 - hold) * reliable + hold
            images.append(earlier)
        fused, seen = fuse(images, visible)
        small = replace(content.picture, rgb=content.small, alpha=None)
        frame = with_next_content(self._images, small, self._job.options)
        before = state.results[0], self._in_network_colors(state.contents[0])
        strokes = find_strokes(*before, content.motions[0].flow)
        whole = fill_holes(fused, frame.content.rgb, seen, strokes)
        target = state.gain.corrected(whole, wanted, tones)
        init = target
        if earlier is not None:
            known = reliable[..., np.newaxis]
            init = np.asarray((earlier + known * target) / (1 + known), np.float32)
        frame = replace(frame, temporal=TemporalTarget(target, reliable, self._video.temporal))
        # An earlier pass has painted what is new.
        new = np.clip(1 - seen, 0, 1) if earlier is None else np.zeros_like(seen)
        start, evaluations = self._with_new_parts(frame, init, new)
        run, rgb = self._run(frame, start)
        painted = _painted(content, run, rgb)
        gain = state.gain.after(init, rgb)
        return replace(painted, evaluations=painted.evaluations + evaluations, gain=gain)

    def _with_new_parts(self, frame: RunImages, init: FloatImage, new: Mask) -> tuple[FloatImage, int]:
        """Paint what is new, in [0,1] of H×W, at the coarser scales of an image.

        A few iterations at the size of the result change little more than details.

        Returns
        -------
        init : array, float32, H×W×3
            The initial image with these parts.
        evaluations : int
            How many there were.
        """
        if not self._coarser or new.mean() < _NEW:
            return init, 0
        run, coarse = self._run(frame, init, self._coarser)
        initial = InitialImage(self._short, frame.content.rgb, (), init)
        enlarged = to_hwc(initial.next(to_chw(coarse), (init.shape[0], init.shape[1])))
        mixed = np.asarray(init + new[..., np.newaxis] * (enlarged - init), np.float32)
        return mixed, _evaluations(run)

    def _run(
        self, frame: RunImages, init: FloatImage, coarser: tuple[int, ...] = ()
    ) -> tuple[CoarseToFine, FloatImage]:
        """Optimise a frame at the size of the result, or only at coarser scales."""
        options = replace(self._short, size=coarser[-1], scales=coarser) if coarser else self._short
        engine = self._job.engine.during(self._cancellation)
        run = CoarseToFine(engine, options, self._job.terms, frame, None if coarser else self._on_iterate)
        rgb, self._plans[coarser] = run.run(init, plan=self._plans.get(coarser))
        return run, rgb

    def _as_network_sees(self, picture: Picture) -> FloatImage:
        """Return what was painted in the colours of the network."""
        return self._in_network_colors(picture.rgb)

    def _in_network_colors(self, rgb: FloatImage) -> FloatImage:
        return in_gray(rgb) if self._job.options.preserve_color == "luminance" else rgb


def _painted(content: ContentFrame, run: CoarseToFine, rgb: FloatImage) -> _Painted:
    """Return the result of a run."""
    restore, scales = run.images.restore_colors, run.log.results
    return _Painted(
        rgb=rgb,
        picture=with_rgb(content.picture, rgb if restore is None else restore(rgb)),
        stop_reason=run.log.stop_reason,
        evaluations=_evaluations(run),
        loss=scales[-1].loss_end if scales else math.nan,
    )


def _evaluations(run: CoarseToFine) -> int:
    return sum(each.evaluations for each in run.log.results)


def _next_state(
    content: ContentFrame, painted: _Painted, state: VideoState | None, longest: int
) -> VideoState:
    """Return the state after a frame."""
    number, shot = (0, -1) if state is None else (state.number, state.shot)
    if state is None or not content.motions:
        anchor = Anchor.of(painted.rgb, content.small)
        return VideoState(
            number + 1, shot + 1, content.small, anchor, NO_GAIN, (content.small,), (painted.rgb,)
        )
    return replace(
        state,
        number=number + 1,
        gain=painted.gain,
        contents=(content.small, *state.contents)[:longest],
        results=(painted.rgb, *state.results)[:longest],
    )


def _ahead(make: Callable[[], ContentFrame | None]) -> Iterator[ContentFrame]:
    """Yield what a function returns until it returns None; the next value is made while one is in use."""
    with ThreadPoolExecutor(1, "flow") as executor:
        coming = executor.submit(make)
        while (content := coming.result()) is not None:
            coming = executor.submit(make)
            yield content
