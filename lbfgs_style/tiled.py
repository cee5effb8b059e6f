"""The objective of a picture that is worked on tile by tile: the same loss and gradient, in bounded memory.

Two passes over the tiles. The first adds up what the loss depends on: Gram matrices, squared distances of
features, variation. The second gives each tile its gradient, through the derivatives of the loss by those
sums. Features are computed twice, and once more in the halos; see `tiles` for these.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .graphs import IMAGE, TermNames, features_name, gram_name
from .losses import TINY
from .session import Session
from .tiled_graphs import TILE
from .tiles import Field, Span, Tile

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class TileRunner:
    """How the tiles of pictures of one size are computed.

    Attributes
    ----------
    tiles : sequence of Tile
        The cut.
    fields : mapping of str to Field
        Receptive fields of the layers in use.
    shapes : mapping of str to (int, int, int)
        Channels, height and width of their features of the whole picture.
    statistics, gradient : function
        Size of a window → session of its `tile_statistics_graph`, `tile_gradient_graph`.
    cancel : threading.Event or None
        Once set, a run ends with `lbfgs_style.session.Cancelled`.
    """

    tiles: Sequence[Tile]
    fields: Mapping[str, Field]
    shapes: Mapping[str, tuple[int, int, int]]
    statistics: Callable[[tuple[int, int]], Session]
    gradient: Callable[[tuple[int, int]], Session]
    cancel: threading.Event | None = None

    def shares(self, image: Array, terms: TermNames) -> Iterator[tuple[Tile, dict[str, Array]]]:
        """Yield each tile of a picture [3,H,W] with the outputs of its `tile_statistics_graph`."""
        names = [
            *map(features_name, terms.content_layers),
            *map(gram_name, terms.style_layers),
            "tv",
            "range",
        ]
        for tile in self.tiles:
            top, left = tile.window_rows.start, tile.window_columns.start
            corners = [tile.rows.start - top, tile.columns.start - left]
            corners += [tile.rows.stop - top, tile.columns.stop - left]
            feeds = {IMAGE: _window(image, tile), TILE: np.array(corners, np.float32)}
            values = self.statistics(tile.window_size).run(names, feeds, cancel=self.cancel)
            yield tile, dict(zip(names, values, strict=True))

    def targets(self, image: Array, terms: TermNames) -> dict[str, Array]:
        """Measure the targets that a picture sets, as `objective.Engine.statistics` does."""
        grams = {layer: np.zeros(2 * self.shapes[layer][:1]) for layer in terms.style_layers}
        features = {layer: np.empty((1, *self.shapes[layer]), np.float32) for layer in terms.content_layers}
        for tile, found in self.shares(image, terms):
            for layer, total in grams.items():
                total += found[gram_name(layer)]
            for layer, whole in features.items():
                whole[self._places(layer, tile.rows, tile.columns)] = found[features_name(layer)]
        return {features_name(layer): whole for layer, whole in features.items()} | {
            gram_name(layer): (total / self._count(layer)).astype(np.float32)
            for layer, total in grams.items()
        }

    def evaluate(
        self, image: Array, terms: TermNames, targets: Mapping[str, Array], weights: Array
    ) -> tuple[float, Array, Array]:
        """Return loss, terms and gradient of `graphs.objective_graph` at a picture [3,H,W]."""
        sums, grams = self._sums(image, terms, targets)
        pixels = image.shape[1] * image.shape[2]
        by_name = dict(zip(terms.names, map(float, weights), strict=True))
        values: list[float] = []
        slopes: dict[str, Array] = {}
        for layer in terms.content_layers:
            target = targets[features_name(layer)]
            energy = float(np.vdot(target, target)) + TINY
            values.append(sums[layer] / energy)
            slopes[f"d_content_{layer}"] = np.array(by_name[f"content {layer}"] / energy, np.float32)
        for layer in terms.style_layers:
            target = targets[gram_name(layer)].astype(np.float64)
            difference = grams[layer] / self._count(layer) - target
            energy = float(np.vdot(target, target)) + TINY
            values.append(float(np.vdot(difference, difference)) / energy)
            factor = 2 * by_name[f"style {layer}"] / energy / self._count(layer)
            slopes[f"d_{gram_name(layer)}"] = (factor * difference).astype(np.float32)
        for name in ("tv", "range"):
            values.append(sums[name] / pixels)
            slopes[f"d_{name}"] = np.array(by_name[name] / pixels, np.float32)
        found = np.array(values, np.float32)
        loss = float(np.dot(np.asarray(weights, np.float64), values))
        return loss, found, self._gradient(image, terms, targets, slopes)

    def _sums(
        self, image: Array, terms: TermNames, targets: Mapping[str, Array]
    ) -> tuple[dict[str, float], dict[str, NDArray[np.float64]]]:
        sums = dict.fromkeys((*terms.content_layers, "tv", "range"), 0.0)
        grams = {layer: np.zeros(2 * self.shapes[layer][:1]) for layer in terms.style_layers}
        for tile, found in self.shares(image, terms):
            for layer, total in grams.items():
                total += found[gram_name(layer)]
            for layer in terms.content_layers:
                target = targets[features_name(layer)][self._places(layer, tile.rows, tile.columns)]
                difference = found[features_name(layer)] - target
                sums[layer] += float(np.vdot(difference, difference))
            for name in ("tv", "range"):
                sums[name] += float(found[name])
        return sums, grams

    def _gradient(
        self, image: Array, terms: TermNames, targets: Mapping[str, Array], slopes: Mapping[str, Array]
    ) -> Array:
        gradient = np.empty_like(image)
        for tile in self.tiles:
            feeds = {IMAGE: _window(image, tile), **slopes}
            for layer in terms.content_layers:
                places = self._places(layer, tile.window_rows, tile.window_columns)
                feeds[features_name(layer)] = np.ascontiguousarray(targets[features_name(layer)][places])
            session = self.gradient(tile.window_size)
            (found,) = session.run(["d_image"], feeds, cancel=self.cancel)
            top, left = tile.window_rows.start, tile.window_columns.start
            inside = found[
                0,
                :,
                tile.rows.start - top : tile.rows.stop - top,
                tile.columns.start - left : tile.columns.stop - left,
            ]
            gradient[:, tile.rows.start : tile.rows.stop, tile.columns.start : tile.columns.stop] = inside
        return gradient

    def _count(self, layer: str) -> int:
        _, height, width = self.shapes[layer]
        return height * width

    def _places(self, layer: str, rows: Span, columns: Span) -> tuple[Any, ...]:
        """Return the index of a layer's features [1,C,h,w] that belong to a stretch of the picture."""
        stride = self.fields[layer].stride
        return (
            slice(None),
            slice(None),
            slice(rows.start // stride, rows.stop // stride),
            slice(columns.start // stride, columns.stop // stride),
        )


def _window(image: Array, tile: Tile) -> Array:
    rows, columns = tile.window_rows, tile.window_columns
    return np.ascontiguousarray(image[None, :, rows.start : rows.stop, columns.start : columns.stop])
