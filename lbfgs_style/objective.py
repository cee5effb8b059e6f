"""The loss as a function of the picture: f(image) → loss, each term, gradient.

An `Engine` makes the sessions of one network and measures targets; an `Objective` is one problem at one size.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from . import winograd
from .errors import ImageError
from .graphs import feature_shapes, objective_graph, smallest_side, statistics_graph
from .networks import FeatureNetwork
from .options import Convolution, Device
from .session import Session, resolved
from .style_losses import root_of
from .term_names import IMAGE, TermNames, features_name
from .tiled import TileRunner
from .tiled_graphs import assessment_graph, tile_gradient_graph, tile_statistics_graph
from .tiles import plan, receptive_fields

if TYPE_CHECKING:
    import onnx

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """The objective at one picture.

    Attributes
    ----------
    loss : float
        The weighted sum of the terms.
    terms : array, float32, [K]
        Each term without its weight, in the order of `TermNames.names`.
    gradient : array, float32, [3,H,W]
        dL/d image.
    """

    loss: float
    terms: Array
    gradient: Array


class Objective:
    """One problem: targets and weights at one size.

    Parameters
    ----------
    evaluate : function
        Picture [3,H,W], float32 → loss, terms [K], gradient [3,H,W].
    """

    def __init__(self, evaluate: Callable[[Array], tuple[float, Array, Array]]) -> None:
        self._evaluate = evaluate

    def __call__(self, image: NDArray[np.floating]) -> Evaluation:
        """Evaluate at a picture [3,H,W]."""
        return Evaluation(*self._evaluate(np.ascontiguousarray(image, np.float32)))


class Engine:
    """Sessions of one network on one device.

    Parameters
    ----------
    network : FeatureNetwork
        Gives the features.
    device, threads
        As in `lbfgs_style.options.Options`.
    keep : bool
        Keep each session for the next picture of its size, at the price of its memory.
    convolution
        As in `lbfgs_style.options.Options`; without effect on CUDA.
    window_pixels : int or None
        Larger pictures are worked on tile by tile, in windows of about so many pixels; None for never.

    Attributes
    ----------
    provider : str or None
        What the last session runs on; None before the first.
    """

    def __init__(
        self,
        network: FeatureNetwork,
        *,
        device: Device,
        threads: int,
        keep: bool,
        convolution: Convolution = "auto",
        window_pixels: int | None = None,
    ) -> None:
        self.network = network
        self.provider: str | None = None
        self._device: Device = device
        self._threads = threads
        self._choose = winograd.CHOICES[convolution]
        self._window_pixels = window_pixels
        self._transformed: dict[str, Array] = {}
        self._sessions: dict[object, Session] | None = {} if keep else None
        self._lock = threading.Lock()

    def _session(self, key: object, build: Callable[[winograd.Choose | None], onnx.ModelProto]) -> Session:
        with self._lock:
            session = None if self._sessions is None else self._sessions.get(key)
            if session is None:
                self._device = resolved(self._device)
                # CUDA's own library chooses the algorithm for each convolution.
                model = build(None if self._device == "cuda" else self._choose)
                session = Session(
                    model, device=self._device, threads=self._threads, fixed=self._transformed_weights(model)
                )
                if self._sessions is not None:
                    self._sessions[key] = session
            self.provider = session.provider
            return session

    def _transformed_weights(self, model: onnx.ModelProto) -> dict[str, Array]:
        """Return the weights that a graph takes in Winograd's form; all graphs share them."""
        from onnx import numpy_helper

        needed = winograd.kernels(model)
        missing = {kernel: name for name, kernel in needed.items() if name not in self._transformed}
        for tensor in self.network.model.graph.initializer:
            if tensor.name in missing:
                kernel = numpy_helper.to_array(tensor)
                self._transformed[missing[tensor.name]] = winograd.transformed(kernel)
        return {name: self._transformed[name] for name in needed}

    def smallest_side(self, terms: TermNames) -> int:
        """Return the shortest side that a picture must have for these terms."""
        return smallest_side(self.network.model, terms.layers)

    def check_size(self, size: tuple[int, int], terms: TermNames, *, what: str) -> None:
        """Raise ImageError if a picture of `size`, (height, width), is too small for a layer."""
        least = self.smallest_side(terms)
        if min(size) < least:
            raise ImageError(
                f"The {what} is too small for the layers {', '.join(terms.layers)}: expected both sides at "
                f"least {least} pixels, got {size[1]}×{size[0]}; use a larger {what} or size, or shallower "
                "layers."
            )

    def statistics(
        self, image: Array, terms: TermNames, *, what: str, cancel: threading.Event | None = None
    ) -> dict[str, Array]:
        """Measure the targets that a picture sets.

        Parameters
        ----------
        image : array, float32, [3,H,W]
            RGB in [0,1].
        terms : TermNames
            Its content layers give ``features_<layer>``, its style layers ``gram_<layer>`` and, where the
            statistic has one, ``mean_<layer>``.
        what : str
            What error messages call the picture.
        cancel : threading.Event, optional
            As in `Session.run`.

        Raises
        ------
        ImageError
            If the picture is too small for a layer.
        """
        if not terms.layers:
            return {}
        size = (image.shape[1], image.shape[2])
        self.check_size(size, terms, what=what)
        if self._is_tiled(size):
            return self._tiles(size, terms, cancel).targets(image, terms)
        model = self.network.model
        session = self._session(
            ("statistics", size, terms),
            lambda choose: statistics_graph(model, size, terms, choose=choose),
        )
        names = [*map(features_name, terms.content_layers), *terms.style_names]
        values = session.run(names, {IMAGE: np.ascontiguousarray(image[None], np.float32)}, cancel=cancel)
        return dict(zip(names, values, strict=True))

    def objective(
        self,
        size: tuple[int, int],
        terms: TermNames,
        targets: Mapping[str, Array],
        weights: Array,
        cancel: threading.Event | None = None,
    ) -> Objective:
        """Make the problem of one scale.

        Parameters
        ----------
        size : (int, int)
            Height and width.
        terms : TermNames
            The terms, in the order of `weights`.
        targets : mapping of str to array
            The graph's inputs ``features_<layer>``, ``gram_<layer>`` and what else the terms compare.
        weights : array [K]
            Factor of each term.
        cancel : threading.Event, optional
            Once set, an evaluation ends with `lbfgs_style.session.Cancelled`.
        """
        if terms.statistic == "wasserstein":
            targets = {part.root: root_of(targets[part.gram], targets[part.mean]) for part in terms.parts} | {
                **targets
            }
        if self._is_tiled(size):
            runner = self._tiles(size, terms, cancel)
            return Objective(lambda image: runner.evaluate(image, terms, targets, weights))
        model = self.network.model
        session = self._session(
            ("objective", size, terms),
            lambda choose: objective_graph(model, size, terms, choose=choose),
        )
        placed = session.place({**targets, "weights": weights})

        def evaluate(image: Array) -> tuple[float, Array, Array]:
            outputs = ["loss", "terms", "d_image"]
            loss, values, gradient = session.run(outputs, {IMAGE: image[None]}, placed=placed, cancel=cancel)
            return float(loss), values, gradient[0]

        return Objective(evaluate)

    def _is_tiled(self, size: tuple[int, int]) -> bool:
        return self._window_pixels is not None and size[0] * size[1] > self._window_pixels

    def _tiles(self, size: tuple[int, int], terms: TermNames, cancel: threading.Event | None) -> TileRunner:
        assert self._window_pixels is not None
        model = self.network.model
        fields = receptive_fields(model, terms.layers)

        # A runner keeps its few sessions, whatever `keep` says: each evaluation needs them all.
        @cache
        def statistics(window: tuple[int, int]) -> Session:
            return self._session(
                ("tile statistics", window, terms),
                lambda choose: tile_statistics_graph(model, window, terms, fields, choose=choose),
            )

        @cache
        def gradient(window: tuple[int, int]) -> Session:
            return self._session(
                ("tile gradient", window, terms),
                lambda choose: tile_gradient_graph(model, window, terms, choose=choose),
            )

        @cache
        def assessment(whole: tuple[int, int]) -> Session:
            return self._session(
                ("assessment", whole, terms), lambda _: assessment_graph(terms, shapes, whole)
            )

        tiles = plan(size, list(fields.values()), self._window_pixels)
        shapes = feature_shapes(model, size, terms.layers)
        return TileRunner(tiles, fields, shapes, statistics, gradient, assessment, cancel)


def blend_grams(statistics: Sequence[Mapping[str, Array]], shares: Sequence[float]) -> dict[str, Array]:
    """Mix the moments of several styles, in proportion to `shares`.

    Σ_k s_k ‖G − A_k‖² and ‖G − Σ_k s_k A_k‖² (with Σ s_k = 1) differ by a constant only, so one mean target
    does what a loss for each style would. Mixed means and Gram matrices are those of the pictures' features
    thrown together; so covariances must not be mixed instead.
    """
    factors = np.array(shares, np.float64)
    factors = (factors / factors.max() / (factors / factors.max()).sum()).astype(np.float32)
    return {
        name: np.einsum("k,kij->ij", factors, np.stack([each[name] for each in statistics]))
        for name in statistics[0]
    }
