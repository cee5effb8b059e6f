"""Sessions of one network: targets, objectives of whole pictures, of tiles, and of blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError
from ..graphs.network_graph import IMAGE, feature_shapes
from ..graphs.receptive_fields import receptive_fields, smallest_side
from ..networks.network import FeatureNetwork
from ..settings.options import Convolution, Device
from ..system.threads import NEVER, Cancellation
from .evaluation import Objective
from .losses.terms import TermNames, features_name
from .losses.wasserstein import with_roots
from .memory_costs import Costs, costs_of
from .session import Session
from .session_cache import BuildGraph, SessionCache
from .tiling.block_graph import block_graph
from .tiling.blocks import Blocks
from .tiling.stages import Area, Form, area, stages, surroundings_graph
from .tiling.tile_graphs import assessment_graph, tile_gradient_graph, tile_statistics_graph
from .tiling.tile_plan import Tile, plan
from .tiling.tile_runner import TileRunner
from .whole_graphs import objective_graph, statistics_graph

Array = NDArray[np.float32]


class Engine:
    """Sessions of one network on one device.

    Parameters
    ----------
    network : FeatureNetwork
        Gives the features.
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
        Ends the engine's work, see `during`.
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
        self._cache = SessionCache(
            network, device=device, threads=threads, convolution=convolution, keep_sessions=keep_sessions
        )

    @property
    def provider(self) -> str | None:
        """onnxruntime's name of what the last session runs on; None before the first."""
        return self._cache.provider

    def during(self, cancellation: Cancellation) -> Engine:
        """Return this engine for one run, whose cancellation ends its work; both share their sessions."""
        bound = copy(self)
        bound.cancellation = cancellation
        return bound

    def release_memory(self) -> None:
        """Return the memory of finished runs to the system, see `SessionCache.release_memory`."""
        self._cache.release_memory()

    def _session(self, key: object, build: BuildGraph) -> Session:
        return self._cache.session(key, build).during(self.cancellation)

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
        self,
        image: Array,
        terms: TermNames,
        *,
        what: str,
        masks: Mapping[str, Array] | None = None,
        window_pixels: int | None = None,
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
        masks : mapping of str to array, optional
            ``mask_<layer>_<region>`` [1,1,h,w] of each part, where `terms` have regions.
        window_pixels : int, optional
            A larger picture is worked on tile by tile, in windows of about so many pixels.

        Raises
        ------
        ImageError
            If the picture is too small for a layer.
        """
        if not terms.layers:
            return {}
        size = (image.shape[1], image.shape[2])
        self.check_size(size, terms, what=what)
        if window_pixels is not None and size[0] * size[1] > window_pixels:
            return self._tiles(size, terms, window_pixels).targets(image, terms, masks or {})
        model = self.network.model
        session = self._session(
            ("statistics", size, terms),
            lambda choose: statistics_graph(model, size, terms, choose=choose),
        )
        names = [*map(features_name, terms.content_layers), *terms.style_names]
        inputs = {IMAGE: np.ascontiguousarray(image[None], np.float32), **(masks or {})}
        values = session.run(names, inputs)
        return dict(zip(names, values, strict=True))

    def objective(
        self,
        size: tuple[int, int],
        terms: TermNames,
        targets: Mapping[str, Array],
        weights: Array,
        *,
        window_pixels: int | None = None,
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
        window_pixels : int, optional
            As in `statistics`.
        """
        targets = with_roots(targets, terms)
        if window_pixels is not None and size[0] * size[1] > window_pixels:
            runner = self._tiles(size, terms, window_pixels)
            return Objective(lambda image: runner.evaluate(image, terms, targets, weights))
        self.release_memory()  # pieces of memory that suit other graphs
        model = self.network.model
        session = self._session(
            ("objective", size, terms),
            lambda choose: objective_graph(model, size, terms, choose=choose),
        )
        placed = session.to_device({**targets, "weights": weights})

        def evaluate(image: Array) -> tuple[float, Array, Array]:
            outputs = ["loss", "terms", "d_image"]
            loss, values, gradient = session.run(outputs, {IMAGE: image[None]}, on_device=placed)
            return float(loss), values, gradient[0]

        return Objective(evaluate)

    def blocks(
        self,
        image: Array,
        terms: TermNames,
        targets: Mapping[str, Array],
        weights: Array,
        window_pixels: int,
    ) -> Blocks:
        """Make the problem of one scale, block by block.

        Parameters
        ----------
        image : array, float32, [3,H,W]
            Where to start; it is changed in place.
        terms, targets, weights, window_pixels
            As in `objective`.
        """
        size, model = (image.shape[1], image.shape[2]), self.network.model
        targets = with_roots(targets, terms)
        # The sessions of the sums go with their runner.
        totals = self._tiles(size, terms, window_pixels).totals(image, terms, targets)
        self.release_memory()  # pieces of memory that suit other graphs
        parts = stages(model, terms.layers)
        shapes = feature_shapes(model, size, (*terms.layers, *(part.source for part in parts[1:])))

        def place(tile: Tile) -> Area:
            return area(parts, (tile.rows, tile.columns), size, shapes)

        @lru_cache(maxsize=1)  # forms are few, and a session holds the memory of its runs
        def session(form: Form) -> Session:
            self.release_memory()
            return self._session(
                ("block", form, size, terms),
                lambda choose: block_graph(model, parts, form, terms, shapes, size, choose=choose),
            )

        @lru_cache(maxsize=1)
        def around(window: tuple[int, int]) -> Session:
            self.release_memory()
            return self._session(
                ("surroundings", window, terms),
                lambda choose: surroundings_graph(model, window, parts, choose=choose),
            )

        def surroundings(window: Array, sources: Sequence[str]) -> list[Array]:
            session = around((window.shape[2], window.shape[3]))
            found = session.run(sources, {IMAGE: window})
            self.release_memory()  # before the block's own evaluations, which need pieces of other sizes
            return found

        runner = self._tiles(size, terms, window_pixels)
        return Blocks(runner, place, session, surroundings, image, terms, targets, weights, totals)

    def cuts(self, size: tuple[int, int], terms: TermNames, window_pixels: int) -> list[tuple[Tile, ...]]:
        """Return four ways to cut a picture into blocks: no place is near the borders of all of them.

        A picture that is cut in one direction alone has two, each of them twice.
        """
        fields = list(receptive_fields(self.network.model, terms.layers).values())
        shifts = ((False, False), (True, True), (False, True), (True, False))
        return [plan(size, fields, window_pixels, shifted=shifted) for shifted in shifts]

    def costs(self, terms: TermNames, sources: int) -> Costs:
        """Return what the memory of a run depends on, see `costs.costs_of`."""
        return costs_of(self.network.model, terms, self._cache.choose, sources)

    def _tiles(self, size: tuple[int, int], terms: TermNames, window_pixels: int) -> TileRunner:
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
            # Never cancelled: it takes no time, and the loss of the last image must be known at the end.
            return self._cache.session(
                ("assessment", whole, terms), lambda _: assessment_graph(terms, shapes, whole)
            )

        tiles = plan(size, list(fields.values()), window_pixels)
        shapes = feature_shapes(model, size, terms.layers)
        return TileRunner(tiles, fields, shapes, statistics, gradient, assessment)
