"""The sessions of tiles and blocks, for images of one size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...graphs.network_graph import IMAGE, feature_shapes
from ...graphs.receptive_fields import receptive_fields
from ...system.threads import Cancellation
from ..losses.terms import LossTerms
from ..session import Session
from ..session_cache import BuildGraph, SessionCache
from .block_graph import block_graph
from .stages import Area, Form, locate_block, split_network, surroundings_graph
from .tile_graphs import loss_graph, tile_gradient_graph, tile_statistics_graph
from .tile_plan import Tile

if TYPE_CHECKING:
    import onnx

Array = NDArray[np.float32]


class TileSessions:
    """The sessions of the graphs of tiles; all are kept, because each evaluation needs all of them.

    Parameters
    ----------
    cache : SessionCache
        Builds the sessions.
    cancellation : Cancellation
        Terminates their runs.
    model : onnx.ModelProto
        A feature network.
    terms : LossTerms
        The terms of the loss.
    size : (int, int)
        Height and width of the image.

    Attributes
    ----------
    terms, size
        As given.
    fields : dict of str to Field
        Receptive field of each layer.
    shapes : dict of str to (int, int, int)
        Channels, height and width of each layer's features of the whole image.
    """

    def __init__(
        self,
        cache: SessionCache,
        cancellation: Cancellation,
        model: onnx.ModelProto,
        terms: LossTerms,
        size: tuple[int, int],
    ) -> None:
        self.terms, self.size = terms, size
        self.fields = receptive_fields(model, terms.layers)
        self.shapes = feature_shapes(model, size, terms.layers)
        self._cache, self._cancellation, self._model = cache, cancellation, model
        self._kept: dict[object, Session] = {}

    def statistics(self, window: tuple[int, int]) -> Session:
        """Return the session of `tile_statistics_graph` for a size of windows."""
        return self._session(
            ("tile statistics", window, self.terms),
            lambda rewrite: tile_statistics_graph(
                self._model, window, self.terms, self.fields, rewrite=rewrite
            ),
        ).during(self._cancellation)

    def gradient(self, window: tuple[int, int]) -> Session:
        """Return the session of `tile_gradient_graph` for a size of windows."""
        return self._session(
            ("tile gradient", window, self.terms),
            lambda rewrite: tile_gradient_graph(self._model, window, self.terms, rewrite=rewrite),
        ).during(self._cancellation)

    def loss(self) -> Session:
        """Return the session of `loss_graph`.

        It is never cancelled: its runs take no time, and after a cancelled run the loss of the last image is
        still needed.
        """
        return self._session(
            ("loss of sums", self.size, self.terms),
            lambda _: loss_graph(self.terms, self.shapes, self.size),
        )

    def _session(self, key: object, build: BuildGraph) -> Session:
        if key not in self._kept:
            self._kept[key] = self._cache.session(key, build)
        return self._kept[key]


class BlockSessions:
    """The sessions of the graphs of blocks; the latest one of each kind is kept.

    Blocks have few forms, one after the other, and a session holds the memory of its runs.

    Parameters
    ----------
    cache, cancellation, model, terms, size
        As in `TileSessions`.

    Attributes
    ----------
    stages : tuple of Stage
        The network, see `stages.split_network`.
    """

    def __init__(
        self,
        cache: SessionCache,
        cancellation: Cancellation,
        model: onnx.ModelProto,
        terms: LossTerms,
        size: tuple[int, int],
    ) -> None:
        self.stages = split_network(model, terms.layers)
        sources = (stage.source for stage in self.stages[1:])
        self._shapes = feature_shapes(model, size, (*terms.layers, *sources))
        self._cache, self._cancellation, self._model = cache, cancellation, model
        self._terms, self._size = terms, size
        self._latest: dict[str, tuple[object, Session]] = {}

    def locate(self, tile: Tile) -> Area:
        """Return the position of a block in each stage."""
        return locate_block(self.stages, (tile.rows, tile.columns), self._size, self._shapes)

    def block(self, form: Form) -> Session:
        """Return the session of `block_graph` for a form."""
        return self._session(
            "block",
            (form, self._size, self._terms),
            lambda rewrite: block_graph(
                self._model, self.stages, form, self._terms, self._shapes, self._size, rewrite=rewrite
            ),
        )

    def surroundings(self, window: Array) -> list[Array]:
        """Return the sources of all later stages, computed from a window [1,3,h,w] of the image."""
        size = (window.shape[2], window.shape[3])
        session = self._session(
            "surroundings",
            (size, self._terms),
            lambda rewrite: surroundings_graph(self._model, size, self.stages, rewrite=rewrite),
        )
        values = session.run([stage.source for stage in self.stages[1:]], {IMAGE: window})
        self._cache.release_memory()  # before the evaluations of the block, whose tensors have other sizes
        return values

    def _session(self, kind: str, key: object, build: BuildGraph) -> Session:
        latest = self._latest.get(kind)
        if latest is None or latest[0] != key:
            latest = None
            self._latest.pop(kind, None)
            self._cache.release_memory()
            self._latest[kind] = (key, self._cache.session((kind, key), build))
        return self._latest[kind][1].during(self._cancellation)
