"""The public functions: `transfer` for one picture, `StyleTransfer` for many."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from . import images, networks
from .errors import NetworkError, OptionError, did_you_mean
from .graphs import TermNames
from .images import FloatImage, Picture
from .objective import Engine
from .options import Options
from .pyramid import CoarseToFine
from .records import IterateCallback, Result, Style
from .style_statistics import StyleStatistics, measure
from .version import __version__

DEFAULT_NETWORK = "compact"
"""The network that comes with the package."""

OneStyle = NDArray[Any] | Picture | StyleStatistics | Style
"""What may stand for a style."""

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
        content = _layers("content", self.options.content_layers or loaded.content_layers, loaded)
        style = _layers("style", self.options.style_layers or loaded.style_layers, loaded)
        # What has no weight is not worked out.
        self._terms = TermNames(
            content if self.options.balance[0] else (), style if self.options.balance[1] else ()
        )
        self._engine = Engine(
            loaded,
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
        on_iterate: IterateCallback | None = None,
        cancel: threading.Event | None = None,
    ) -> Result:
        """Paint one picture in the style of others.

        Parameters
        ----------
        content : array or Picture
            H×W, H×W×3 or H×W×4, RGB, uint8, uint16 or float in [0,1]. Alpha is kept as it is.
        styles : array, Picture, StyleStatistics, Style, or sequence of them
            One or more style pictures of any size, or what `measure_style` told of them; several are blended
            by weight.
        init : array or Picture, optional
            A picture to start from, in place of ``options.init``, such as an earlier result. It is stretched
            to the shape of the content picture; with ``scales="auto"`` the run then has one scale, the
            result's own, because coarser ones would take its detail away.
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
        loop = CoarseToFine(
            self._engine,
            self.options,
            self._terms,
            _picture(content, "content picture"),
            self._styles(styles),
            on_iterate,
            cancel,
        )
        rgb, scales = loop.run(None if init is None else _picture(init, "init picture").rgb)
        finished = images.with_rgb(loop.content, rgb)
        return Result(
            image=images.to_array(finished),
            picture=finished,
            history=tuple(loop.history),
            term_history=loop.histories(),
            scales=tuple(scales),
            evaluations=sum(scale.evaluations for scale in scales),
            stop_reason=loop.stop_reason,
            seconds=time.monotonic() - loop.started,
            settings=self._settings(loop, (rgb.shape[0], rgb.shape[1]), init is not None),
        )

    def measure_style(
        self, style: NDArray[Any] | Picture, *, sizes: Sequence[int] | None = None, name: str = "statistics"
    ) -> StyleStatistics:
        """Measure a painting once, to use it again without its file.

        Parameters
        ----------
        style : array or Picture
            The painting, RGB.
        sizes : sequence of int, optional
            Longer sides to measure at, none above the painting's own; otherwise as
            `lbfgs_style.style_statistics.ladder` says.
        name : str
            What messages call the statistics.

        Raises
        ------
        ImageError
            If the painting is too small for the network.
        OptionError
            If a size is out of range.
        """
        return measure(
            self._engine,
            _picture(style, "style picture").rgb,
            self._terms.style_layers,
            sizes=sizes,
            name=name,
            network_sha256=self.weights_sha256,
        )

    def _styles(
        self, given: OneStyle | Sequence[OneStyle]
    ) -> list[tuple[FloatImage | StyleStatistics, float]]:
        listed = list(given) if isinstance(given, Sequence) else [given]
        if not listed:
            raise OptionError("No style pictures: give at least one.")
        styles = [item if isinstance(item, Style) else Style(item) for item in listed]
        return [(self._style(style.image), float(style.weight)) for style in styles]

    def _style(self, given: NDArray[Any] | Picture | StyleStatistics) -> FloatImage | StyleStatistics:
        if not isinstance(given, StyleStatistics):
            return _picture(given, "style picture").rgb
        given.check(self.network.name, self.weights_sha256, self._terms.style_layers)
        return given

    @cached_property
    def weights_sha256(self) -> str:
        """Fingerprint of the weights in use: what the file claims may be wrong."""
        return networks.weights_sha256(self.network.model)

    def _settings(self, loop: CoarseToFine, size: tuple[int, int], given: bool) -> dict[str, Any]:
        return {
            "program": f"lbfgs-style {__version__}",
            "options": asdict(self.options) | ({"init": "picture"} if given else {}),
            "style_weights": [weight for _, weight in loop.styles],
            "size": list(size),
            "network": {
                "name": self.network.name,
                "sha256": self.weights_sha256,
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
    on_iterate: IterateCallback | None = None,
) -> NDArray[Any]:
    """Paint a picture in the style of others: arrays in, array out.

    Parameters
    ----------
    content : array
        H×W, H×W×3 or H×W×4, RGB (OpenCV's BGR pictures need ``[..., ::-1]``), uint8, uint16 or float in
        [0,1].
    styles : array, Picture, StyleStatistics, Style, or sequence of them
        One or more style pictures, RGB, or what was measured of them.
    network, options, init, on_iterate
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
    return job.run(content, styles, init=init, on_iterate=on_iterate).image


def _picture(image: NDArray[Any] | Picture, name: str) -> Picture:
    return image if isinstance(image, Picture) else images.from_array(image, name=name)


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
