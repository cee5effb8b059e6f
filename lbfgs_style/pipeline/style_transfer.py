"""The public entry points: `transfer` for one image, `StyleTransfer` for many."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import fields, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .. import networks
from ..errors import ImageError, OptionError, did_you_mean
from ..images import ImageLike, Picture
from ..images.hidden_pixels import fill_hidden
from ..networks.pooling import pooling_of, with_pooling
from ..networks.smoothing import with_smoothing
from ..objective.engine import Engine
from ..objective.losses.terms import LossTerms
from ..settings.options import Options
from ..settings.presets import preset
from ..system.threads import NEVER, Cancellation
from . import inputs
from .checkpoints.checkpoint import Checkpoint
from .coarse_to_fine import CoarseToFine, warn_of_changes
from .fingerprints import fingerprint_run
from .inputs import FaceMask, Keep, OneStyle
from .matching import check_features, matched_layers
from .plan.schedule import ScalePlan, describe_scales
from .recipe_document import name_inputs
from .results import IterateCallback, Result
from .run_result import RunFacts, finished_result
from .style_measuring import measure
from .style_statistics import StyleStatistics
from .styles import StylePicture

# The network that comes with the package.
DEFAULT_NETWORK = "compact"


class StyleTransfer:
    """Style transfer that keeps its network and sessions for the next image.

    May be called from several threads at once.

    Parameters
    ----------
    network : str, Path or FeatureNetwork
        A name (``compact``, ``vgg19``, …), the path of an ``.onnx`` file, or a loaded network.
    options : Options
        The settings of every run.
    keep_sessions : bool
        Keep the sessions of one size for the next image of that size; they take memory.

    Attributes
    ----------
    network, options, terms, engine
        As given; the terms of the loss, without masks; what evaluates the network.

    Raises
    ------
    NetworkError
        The network is unknown, missing or unfit, or lacks a layer that the options name.
    """

    def __init__(
        self,
        network: str | Path | networks.FeatureNetwork = DEFAULT_NETWORK,
        *,
        options: Options | None = None,
        keep_sessions: bool = True,
    ) -> None:
        if isinstance(network, Options):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise OptionError("network must be a name, a path or a network: give options=Options(…) by name.")
        if not isinstance(options, Options | None):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise OptionError(f"options must be lbfgs_style.Options(…), got {type(options).__name__}.")
        self.options = options or Options()
        self.network = loaded = networks.load(network)
        self._network_name = str(network) if isinstance(network, str | Path) else loaded.name
        content = inputs.layers_of("content", self.options, loaded)
        style = inputs.layers_of("style", self.options, loaded)
        # Terms without a weight are not evaluated.
        self.terms = LossTerms(
            content if self.options.balance[0] else (),
            style if self.options.balance[1] else (),
            form=preset(self.options.loss).form,
            statistic=self.options.statistic,
            tv_power=self.options.tv_power,
        )
        if self.terms.kind.matches:
            self.terms = replace(self.terms, matched_layers=matched_layers(loaded, self.terms))
        smoothed = self.terms.layers if self.options.smooth_features else ()
        self.engine = Engine(
            with_smoothing(with_pooling(loaded, self.options.pooling), smoothed),
            device=self.options.device,
            threads=self.options.threads,
            keep_sessions=keep_sessions,
            convolution=self.options.convolution,
        )

    def run(
        self,
        content: ImageLike,
        styles: OneStyle | Sequence[OneStyle],
        *,
        init: ImageLike | None = None,
        preview: ImageLike | None = None,
        keep: Keep | None = None,
        content_map: ImageLike | None = None,
        face_mask: FaceMask | None = None,
        on_iterate: IterateCallback | None = None,
        cancel: threading.Event | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Result:
        """Paint one image in the style of others.

        Parameters
        ----------
        content : array, Picture, path or image of Pillow
            H×W, H×W×3 or H×W×4, RGB, uint8, uint16 or float in [0,1]. Alpha is kept as it is.
        styles : array, Picture, path, StyleStatistics, Style, or sequence of them
            One or more style images, or statistics of them; several are blended by weight.
        init : array or Picture, optional
            Initial image in place of ``options.init``, stretched to the shape of the content image. With
            ``scales="auto"`` the run has one scale, its own: coarser ones would take its detail away.
        preview : array or Picture, optional
            An earlier, smaller result: the run continues from it at the scales above its size.
        keep : array, Picture or "alpha", optional
            White where the content image is kept, black where it is painted, grey for soft edges: H×W of any
            resolution, stretched to it. ``"alpha"`` keeps what is transparent.
        content_map : array or Picture, optional
            How much the content image holds, place by place: H×W of any resolution, stretched to it. A value
            v in [0,1] multiplies the content loss by 4 v²: middle grey holds as without a map, white four
            times as much, black not at all.
        face_mask : array, Picture or "find", optional
            White where faces are, which are held four times as much, whatever the content map says; H×W
            likewise. ``"find"`` finds them with the detector ``yunet``.
        on_iterate : callable, optional
            Gets an `Iterate` after each iteration; stops the run by `lbfgs_style.STOP` or StopIteration.
        cancel : threading.Event, optional
            Stops the run within a moment once it is set.
        checkpoint : Checkpoint, optional
            Saves the run from time to time and when it is stopped, or resumes it; see `Checkpoint.discard`.

        Returns
        -------
        Result
            Of a stopped run with the best image so far, at the full size.

        Raises
        ------
        ImageError
            An image is not valid, or too small for the network.
        CheckpointError
            The saved run is damaged, has other inputs or options, or is in use by another run.
        SessionError
            The device is not available or ran out of memory.
        OptimizationError
            The loss is not finite at the start.
        """
        cancellation = Cancellation(cancel)
        checked = self.check_styles(styles)
        held = (content_map, face_mask)
        picture, run = self.prepare(content, checked, keep, held, on_iterate, cancellation)
        initial = None if init is None else inputs.check_image(init, "initial image")
        before = inputs.check_preview(preview, initial)
        with checkpoint or nullcontext():
            if checkpoint is not None:
                given = (picture, run.images, checked, initial, before)
                identity = partial(fingerprint_run, self.options, self.weights_sha256, *given)
                run.log.resume(checkpoint, identity, cancellation)
            rgb, plan = run.run(*(None if image is None else image.rgb for image in (initial, before)))
        others = {"keep_mask": keep, "content_map": content_map, "face_mask": face_mask}
        names = name_inputs(
            self._network_name, content, inputs.list_styles(styles), **others, init=init, preview=preview
        )
        return finished_result(run, plan.terms, rgb, picture, self._facts, names)

    def plan(
        self,
        content: ImageLike,
        styles: OneStyle | Sequence[OneStyle],
        *,
        init: ImageLike | None = None,
        preview: ImageLike | None = None,
        keep: Keep | None = None,
        content_map: ImageLike | None = None,
        face_mask: FaceMask | None = None,
        timed: bool = True,
    ) -> tuple[ScalePlan, ...]:
        """Return what `run` would do: scales, tiles or blocks, memory and time.

        Parameters
        ----------
        content, styles, init, preview, keep, content_map, face_mask
            As in `run`.
        timed : bool
            Tell the time, after trial evaluations of a small image.

        Raises
        ------
        ImageError
            An image is not valid, or too small for the network.
        OptionError
            A scale does not fit into the memory.
        SessionError
            The device is not available.
        """
        _, run = self.prepare(content, self.check_styles(styles), keep, (content_map, face_mask))
        before = inputs.check_preview(preview, None)
        plan = run.plan(has_initial_image=init is not None, preview=None if before is None else before.rgb)
        warn_of_changes(run.images.content, plan.scales[-1].size, self.options)
        scales = describe_scales(self.engine, plan, self.options, timed=timed)
        self.engine.release_memory()
        return scales

    def check_styles(self, styles: OneStyle | Sequence[OneStyle]) -> list[StylePicture]:
        """Return one style or several, checked, also for this network and these options."""
        checked = inputs.check_styles(inputs.list_styles(styles))
        check_features(self.terms, checked)
        for image in (style.image for style in checked):
            if isinstance(image, StyleStatistics):
                image.check(
                    self.network.name,
                    self.weights_sha256,
                    self._pooling,
                    self.options.smooth_features,
                    self.terms.style_layers,
                )
        return checked

    def prepare(
        self,
        content: ImageLike,
        checked: Sequence[StylePicture],
        keep: Keep | None,
        held: tuple[ImageLike | None, FaceMask | None],
        on_iterate: IterateCallback | None = None,
        cancellation: Cancellation = NEVER,
    ) -> tuple[Picture, CoarseToFine]:
        """Return the content, checked, and the loop over the scales; `held` are content map and face mask."""
        picture = inputs.check_content(content, self.options)
        filled = replace(picture, rgb=fill_hidden(picture.rgb, picture.alpha))
        kept = inputs.check_keep_mask(keep, picture)
        run_images = inputs.as_network_sees(
            filled, checked, kept, inputs.check_content_map(*held, filled), self.options
        )
        engine = self.engine.during(cancellation)
        return picture, CoarseToFine(engine, self.options, self.terms, run_images, on_iterate)

    def measure_style(
        self,
        style: ImageLike,
        *,
        style_mask: ImageLike | None = None,
        sizes: Sequence[int] | None = None,
        name: str = "statistics",
    ) -> StyleStatistics:
        """Measure a style image once, to use it again without its file.

        Parameters
        ----------
        style : array or Picture
            The style image, RGB; with alpha it is measured where it is opaque.
        style_mask : array or Picture, optional
            White where it is measured, see `Style`.
        sizes : sequence of int, optional
            Longer sides to measure at, none above that of the image; by default those of
            `lbfgs_style.pipeline.style_measuring.measuring_sizes`.
        name : str
            Name of the statistics in messages.

        Raises
        ------
        ImageError
            The style image is too small for the network.
        OptionError
            A size is out of range.
        """
        image, mask = inputs.check_style_image(style, style_mask)
        if isinstance(image, StyleStatistics):
            raise ImageError(f"{image.name}: expected an image to measure, got statistics of one.")
        return measure(
            self.engine,
            image,
            mask,
            self.terms.style_layers,
            sizes=sizes,
            name=name,
            network_sha256=self.weights_sha256,
            pooling=self._pooling,
            smooth_features=self.options.smooth_features,
        )

    @property
    def _facts(self) -> RunFacts:
        """What the results of this job are made with."""
        return RunFacts(self.options, self.network.name, self.weights_sha256, self.terms, self.engine)

    @property
    def _pooling(self) -> str:
        return pooling_of(self.network, self.options.pooling)

    @cached_property
    def weights_sha256(self) -> str:
        """Fingerprint of the weights in use; the one in the file may be wrong."""
        return networks.weights_sha256(self.network.model)


def transfer(
    content: ImageLike,
    styles: OneStyle | Sequence[OneStyle],
    *,
    network: str | Path | networks.FeatureNetwork = DEFAULT_NETWORK,
    options: Options | None = None,
    init: ImageLike | None = None,
    keep: Keep | None = None,
    content_map: ImageLike | None = None,
    face_mask: FaceMask | None = None,
    on_iterate: IterateCallback | None = None,
    cancel: threading.Event | None = None,
    **changes: Any,
) -> NDArray[Any]:
    """Paint an image in the style of others: arrays or files in, array out.

    Parameters
    ----------
    content : array, Picture, path or image of Pillow
        H×W, H×W×3 or H×W×4, RGB (OpenCV's BGR images need ``[..., ::-1]``), uint8, uint16 or float in
        [0,1].
    styles : array, Picture, path, StyleStatistics, Style, or sequence of them
        One or more style images, RGB, or statistics of them.
    network, options, init, keep, content_map, face_mask, on_iterate, cancel
        See `StyleTransfer` and `StyleTransfer.run`.
    **changes
        Fields of `Options` in place of those of `options`: ``transfer(photo, painting, size=768)``.

    Returns
    -------
    array
        H'×W'×…, of the content's dtype and kind; alpha is kept.

    Raises
    ------
    StyleError
        One of its subclasses, see `StyleTransfer`.
    """
    known = [field.name for field in fields(Options)]
    for name in changes:
        if name not in known:
            raise OptionError(f"transfer has no option {name!r}.{did_you_mean(name, known)}")
    chosen = replace(options or Options(), **changes)
    job = StyleTransfer(network, options=chosen, keep_sessions=False)
    return job.run(
        content,
        styles,
        init=init,
        keep=keep,
        content_map=content_map,
        face_mask=face_mask,
        on_iterate=on_iterate,
        cancel=cancel,
    ).image
