"""Targets and objectives of one network: of whole images, in tiles, and block by block."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError
from ..graphs.network_graph import IMAGE
from ..graphs.receptive_fields import receptive_fields, smallest_side
from ..networks.network import FeatureNetwork
from ..settings.options import Convolution, Device
from ..system.threads import NEVER, Cancellation
from .device_arrays import DeviceInputs
from .evaluation import DeviceObjective, Objective
from .losses.terms import LossTerms, complete_targets, features_name
from .memory_costs import Costs, estimate_costs
from .session import Session
from .session_cache import BuildGraph, SessionCache
from .tiling.blocks import Blocks
from .tiling.sessions import BlockSessions, TileSessions
from .tiling.tile_plan import Tile, plan_tiles
from .tiling.tile_runner import TileRunner
from .whole_graphs import objective_graph, statistics_graph

Array = NDArray[np.float32]


class Engine:
    """Evaluates one network on one device.

    Parameters
    ----------
    network : FeatureNetwork
        Computes the features.
    device, threads
        As in `lbfgs_style.settings.options.Options`.
    keep_sessions : bool
        Keep each session for the next image of its size, at the price of its memory.
    convolution
        As in `lbfgs_style.settings.options.Options`; without effect on CUDA.

    Attributes
    ----------
    network : FeatureNetwork
        As given.
    cancellation : Cancellation
        Ends the work of this engine, see `during`.
    """

    def __init__(
        self,
        network: FeatureNetwork,
        *,
        device: Device,
        threads: int,
        keep_sessions: bool,
        convolution: Convolution = "auto",
    ) -> None:
        self.network = network
        self.cancellation = NEVER
        self.cache = SessionCache(
            network, device=device, threads=threads, convolution=convolution, keep_sessions=keep_sessions
        )

    @property
    def provider(self) -> str | None:
        """onnxruntime's name of what the last session runs on; None before the first."""
        return self.cache.provider

    @property
    def operators(self) -> str | None:
        """Which operators the last session has, see `Session`; None before the first."""
        return self.cache.operators

    def during(self, cancellation: Cancellation) -> Engine:
        """Return this engine for one run, whose cancellation ends its work; both share their sessions."""
        bound = copy(self)
        bound.cancellation = cancellation
        return bound

    def release_memory(self) -> None:
        """Return the memory of finished runs to the system, see `SessionCache.release_memory`."""
        self.cache.release_memory()

    def smallest_side(self, terms: LossTerms) -> int:
        """Return the shortest side, in pixels, that an image must have for these terms."""
        return smallest_side(self.network.model, terms.layers)

    def check_size(self, size: tuple[int, int], terms: LossTerms, *, what: str) -> None:
        """Raise ImageError if an image of `size`, (height, width), is too small, or not the network's size.

        Parameters
        ----------
        size : (int, int)
            Height and width.
        terms : LossTerms
            The terms.
        what : str
            What messages call the image.
        """
        if self.network.size not in (None, size):
            height, width = self.network.size
            raise ImageError(
                f"The network {self.network.name!r} takes images of {width}×{height} pixels alone, got "
                f"{size[1]}×{size[0]} for the {what}: crop the images to that shape, and take --size "
                f"{max(height, width)} --scales single."
            )
        least = self.smallest_side(terms)
        if min(size) < least:
            raise ImageError(
                f"The {what} is too small for the layers {', '.join(terms.layers)}: expected both sides at "
                f"least {least} pixels, got {size[1]}×{size[0]}; use a larger {what} or size, or shallower "
                "layers."
            )

    def estimate_costs(self, terms: LossTerms, sources: int) -> Costs:
        """Estimate what the memory of a run depends on; `sources` are the bytes of the images read."""
        return estimate_costs(self.network.model, terms, self.cache.rewrite, sources)

    def statistics(
        self,
        image: Array,
        terms: LossTerms,
        *,
        what: str,
        masks: Mapping[str, Array] | None = None,
        window_pixels: int | None = None,
    ) -> dict[str, Array]:
        """Measure the targets that an image sets.

        Parameters
        ----------
        image : array, float32, [3,H,W]
            RGB in [0,1].
        terms : LossTerms
            The content layers give ``features_<layer>``, the style layers ``gram_<layer>`` and, if the style
            statistic needs it, ``mean_<layer>``.
        what : str
            What messages call the image.
        masks : mapping of str to array, optional
            ``mask_<layer>_<region>`` [1,1,h,w] of each part, if `terms` have regions.
        window_pixels : int, optional
            A larger image is computed tile by tile, in windows of about this many pixels.

        Raises
        ------
        ImageError
            If the image is too small for a layer.
        """
        if not terms.layers:
            return {}
        size = (image.shape[1], image.shape[2])
        self.check_size(size, terms, what=what)
        if window_pixels is not None and size[0] * size[1] > window_pixels:
            return self.tile_runner(size, terms, window_pixels).measure_targets(image, masks or {})
        model = self.network.model
        session = self._session(
            ("statistics", size, terms),
            lambda rewrite: statistics_graph(model, size, terms, rewrite=rewrite),
        )
        names = [*map(features_name, terms.content_layers), *terms.moment_names]
        inputs = {IMAGE: np.ascontiguousarray(image[None], np.float32), **(masks or {})}
        return dict(zip(names, session.run(names, inputs), strict=True))

    def objective(
        self,
        size: tuple[int, int],
        terms: LossTerms,
        targets: Mapping[str, Array],
        weights: Array,
        *,
        window_pixels: int | None = None,
    ) -> Objective:
        """Make the objective of one scale.

        Parameters
        ----------
        size : (int, int)
            Height and width.
        terms : LossTerms
            The terms of the loss.
        targets : mapping of str to array
            ``features_<layer>``, ``gram_<layer>`` and the other targets that the terms need, and masks.
        weights : array [K]
            Weight of each term, in the order of `LossTerms.names`.
        window_pixels : int, optional
            As in `statistics`.
        """
        targets = complete_targets(targets, terms)
        if window_pixels is not None and size[0] * size[1] > window_pixels:
            runner = self.tile_runner(size, terms, window_pixels)
            inputs = runner.loss_inputs(targets, weights)
            return Objective(lambda image: runner.evaluate(image, inputs))
        self.release_memory()  # of other graphs, whose tensors have other sizes
        model = self.network.model
        session = self._session(
            ("objective", size, terms),
            lambda rewrite: objective_graph(model, size, terms, rewrite=rewrite),
        )
        inputs = session.to_device({**targets, "weights": weights})
        return Objective(partial(_evaluate, session, inputs), DeviceObjective(session, inputs))

    def blocks(
        self,
        image: Array,
        terms: LossTerms,
        targets: Mapping[str, Array],
        weights: Array,
        window_pixels: int,
    ) -> Blocks:
        """Make the objective of one scale, block by block.

        Parameters
        ----------
        image : array, float32, [3,H,W]
            The image to start from; it is changed in place.
        terms, targets, weights, window_pixels
            As in `objective`.
        """
        size = (image.shape[1], image.shape[2])
        targets = complete_targets(targets, terms)
        # By another runner, so that its sessions are freed.
        sums = self.tile_runner(size, terms, window_pixels).sum_tiles(image, targets)
        self.release_memory()
        runner = self.tile_runner(size, terms, window_pixels)
        sessions = BlockSessions(self.cache, self.cancellation, self.network.model, terms, size)
        return Blocks(runner, sessions, image, terms, runner.loss_inputs(targets, weights), sums)

    def plan_cuts(
        self, size: tuple[int, int], terms: LossTerms, window_pixels: int
    ) -> list[tuple[Tile, ...]]:
        """Return four ways to divide an image into blocks: no pixel is near the borders of all of them.

        An image that is divided in one direction only has two ways, each of them twice.
        """
        fields = list(receptive_fields(self.network.model, terms.layers).values())
        shifts = ((False, False), (True, True), (False, True), (True, False))
        return [plan_tiles(size, fields, window_pixels, shifted=shifted) for shifted in shifts]

    def _session(self, key: object, build: BuildGraph) -> Session:
        return self.cache.session(key, build).during(self.cancellation)

    def tile_runner(self, size: tuple[int, int], terms: LossTerms, window_pixels: int) -> TileRunner:
        """Return the evaluation in tiles whose windows have at most `window_pixels` pixels."""
        sessions = TileSessions(self.cache, self.cancellation, self.network.model, terms, size)
        return TileRunner(plan_tiles(size, list(sessions.fields.values()), window_pixels), sessions)


def _evaluate(session: Session, inputs: DeviceInputs, image: Array) -> tuple[float, Array, Array]:
    """Return loss, terms [K] and gradient [3,H,W] of an image [3,H,W] by `objective_graph`."""
    outputs = session.run(["loss", "terms", "d_image"], {IMAGE: image[None]}, on_device=inputs)
    loss, terms, gradient = outputs
    return float(loss), terms, gradient[0]
