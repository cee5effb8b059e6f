"""The public functions: `transfer` for one picture, `StyleTransfer` for many."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from . import color, images, masks, networks
from .engine import Engine
from .errors import ImageError, NetworkError, OptionError, did_you_mean
from .images import Picture
from .options import Options
from .pooling import with_pooling
from .presets import preset
from .pyramid import CoarseToFine
from .records import IterateCallback, Result, Style, StylePicture
from .term_names import TermNames
from .version import __version__

DEFAULT_NETWORK = "compact"
"""The network that comes with the package."""

OneStyle = NDArray[Any] | Picture | Style
"""What may stand for a style."""

Keep = NDArray[Any] | Picture | Literal["alpha"]
"""What may say where the content picture is left alone."""

_OPENCV = ("opencv-python-headless", "opencv-python")
_PACKAGES = ("numpy", "scipy", "onnx", "onnxruntime", "onnxruntime-gpu", *_OPENCV)


class StyleTransfer:
    """Style transfer that keeps its network and sessions for the next picture.

    May be called from several threads at once.

    Parameters
    ----------
    network : str, Path or FeatureNetwork
        A name (``compact``, ``vgg19``, …), the path of an ``.onnx`` file, or a loaded network.
    options : Options
        The settings of every run.
    keep_sessions : bool
        Keep the graphs made for one size for the next picture of that size, at the price of their memory.

    Raises
    ------
    NetworkError
        If the network is unknown, missing or unfit, or lacks a layer that the options name.
    """

    def __init__(
        self,
        network: str | Path | networks.FeatureNetwork = DEFAULT_NETWORK,
        *,
        options: Options | None = None,
        keep_sessions: bool = True,
    ) -> None:
        self.options = options or Options()
        loaded = network if isinstance(network, networks.FeatureNetwork) else networks.load(network)
        self.network = loaded
        self._terms = TermNames(
            _layers("content", self.options.content_layers or loaded.content_layers, loaded),
            _layers("style", self.options.style_layers or loaded.style_layers, loaded),
            form=preset(self.options.loss).form,
            statistic=self.options.style_statistic,
            tv_power=self.options.tv_power,
        )
        self._engine = Engine(
            with_pooling(loaded, self.options.pooling),
            device=self.options.device,
            threads=self.options.threads,
            keep=keep_sessions,
            convolution=self.options.convolution,
        )

    def run(
        self,
        content: NDArray[Any] | Picture,
        styles: OneStyle | Sequence[OneStyle],
        *,
        init: NDArray[Any] | Picture | None = None,
        keep: Keep | None = None,
        on_iterate: IterateCallback | None = None,
        cancel: threading.Event | None = None,
    ) -> Result:
        """Paint one picture in the style of others.

        Parameters
        ----------
        content : array or Picture
            H×W, H×W×3 or H×W×4, RGB, uint8, uint16 or float in [0,1]. Alpha is kept as it is.
        styles : array, Picture, Style, or sequence of them
            One or more style pictures of any size; several are blended by weight.
        init : array or Picture, optional
            A picture to start from, in place of ``options.init``, such as an earlier result. It is stretched
            to the shape of the content picture; with ``scales="auto"`` the run then has one scale, the
            result's own, because coarser ones would take its detail away.
        keep : array, Picture or "alpha", optional
            White where the content picture is left alone, black where it is painted, grey for soft edges:
            H×W of any resolution, stretched to the content picture. ``"alpha"`` leaves alone what is
            transparent.
        on_iterate : callable, optional
            Gets an `Iterate` after each iteration; stops the run by returning True.
        cancel : threading.Event, optional
            Stops the run within a moment once it is set, from any thread.

        Returns
        -------
        Result
            Also when the run was stopped: with the best picture so far, at the full size.

        Raises
        ------
        ImageError
            If a picture is no picture, or too small for the network.
        SessionError
            If the device is not available or ran out of memory.
        OptimizationError
            If the loss is not finite at the start.
        """
        o, photo, paintings = self.options, _picture(content, "content picture"), _styles(styles)
        seen, painted = color.seen_by_network(
            photo.rgb, [each.rgb for each in paintings], o.preserve_color, o.color_match
        )
        loop = CoarseToFine(
            self._engine,
            o,
            self._terms,
            replace(photo, rgb=seen),
            [replace(each, rgb=rgb) for each, rgb in zip(paintings, painted, strict=True)],
            on_iterate,
            cancel,
            None if keep is None else _keep(keep, photo),
        )
        rgb, scales = loop.run(None if init is None else _picture(init, "init picture").rgb)
        if o.preserve_color == "luminance":
            rgb = color.with_colors_of(rgb, images.resize(photo.rgb, (rgb.shape[0], rgb.shape[1])))
        finished = images.with_rgb(photo, rgb)
        return Result(
            image=images.to_array(finished),
            picture=finished,
            history=tuple(loop.history),
            scales=tuple(scales),
            evaluations=sum(scale.evaluations for scale in scales),
            stop_reason=loop.stop_reason,
            seconds=time.monotonic() - loop.started,
            settings=self._settings(loop, (rgb.shape[0], rgb.shape[1]), init is not None),
        )

    @cached_property
    def _weights_sha256(self) -> str:
        """Of the weights in use: what the file claims may be wrong."""
        return networks.weights_sha256(self.network.model)

    def _settings(self, loop: CoarseToFine, size: tuple[int, int], given: bool) -> dict[str, Any]:
        return {
            "program": f"lbfgs-style {__version__}",
            "options": asdict(self.options) | ({"init": "picture"} if given else {}),
            "style_weights": [style.weight for style in loop.styles],
            "style_scales": [style.scale for style in loop.styles],
            "masks": {
                "styles": [style.mask is not None for style in loop.styles],
                "keep": loop.keep is not None,
            },
            "size": list(size),
            "network": {
                "name": self.network.name,
                "sha256": self._weights_sha256,
                "content_layers": list(self._terms.content_layers),
                "style_layers": list(self._terms.style_layers),
            },
            "provider": self._engine.provider,
            "versions": _versions(),
        }


def transfer(
    content: NDArray[Any] | Picture,
    styles: OneStyle | Sequence[OneStyle],
    *,
    network: str | Path | networks.FeatureNetwork = DEFAULT_NETWORK,
    options: Options | None = None,
    init: NDArray[Any] | Picture | None = None,
    keep: Keep | None = None,
    on_iterate: IterateCallback | None = None,
) -> NDArray[Any]:
    """Paint a picture in the style of others: arrays in, array out.

    Parameters
    ----------
    content : array
        H×W, H×W×3 or H×W×4, RGB (OpenCV's BGR pictures need ``[..., ::-1]``), uint8, uint16 or float in
        [0,1].
    styles : array, Picture, Style, or sequence of them
        One or more style pictures, RGB.
    network, options, init, keep, on_iterate
        See `StyleTransfer` and `StyleTransfer.run`.

    Returns
    -------
    array
        H'×W'×…, of the content's dtype and kind; alpha is kept.

    Raises
    ------
    StyleError
        One of its subclasses, see `StyleTransfer`.
    """
    job = StyleTransfer(network, options=options, keep_sessions=False)
    return job.run(content, styles, init=init, keep=keep, on_iterate=on_iterate).image


def _picture(image: NDArray[Any] | Picture, name: str) -> Picture:
    return image if isinstance(image, Picture) else images.from_array(image, name=name)


def _keep(keep: Keep, content: Picture) -> masks.Mask:
    if not isinstance(keep, str):
        return masks.from_picture(_picture(keep, "keep mask"))
    if keep != "alpha":
        raise OptionError(f"keep must be an array, a Picture or 'alpha', got {keep!r}.")
    if content.alpha is None:
        raise ImageError("The content picture has no alpha that says what to leave alone: give a mask.")
    return 1 - content.alpha


def _styles(styles: OneStyle | Sequence[OneStyle]) -> list[StylePicture]:
    listed = list(styles) if isinstance(styles, Sequence) else [styles]
    if not listed:
        raise OptionError("No style pictures: give at least one.")
    given = [item if isinstance(item, Style) else Style(item) for item in listed]
    return [
        StylePicture(
            _picture(s.image, "style picture").rgb,
            float(s.weight),
            float(s.scale),
            None if s.mask is None else masks.from_picture(_picture(s.mask, "style mask")),
        )
        for s in given
    ]


def _layers(kind: str, wanted: Sequence[str], network: networks.FeatureNetwork) -> tuple[str, ...]:
    for layer in wanted:
        if layer not in network.layers:
            raise NetworkError(
                f"The network {network.name!r} has no layer {layer!r} for {kind}: expected one of "
                f"{', '.join(network.layers)} (the outputs of four dimensions)."
                f"{did_you_mean(layer, network.layers)}"
            )
    return tuple(wanted)


def _versions() -> dict[str, str]:
    from importlib import metadata  # with half of `email`: a fifth of the time this package takes to import

    versions: dict[str, str] = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # onnxruntime and OpenCV go by either name
            continue
    return versions
