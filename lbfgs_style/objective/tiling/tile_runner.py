"""Targets, loss and gradient of an image, computed tile by tile: the same numbers in bounded memory.

An evaluation makes two passes over the tiles. The first one adds up the sums that the loss depends on:
moments of features, squared distances of features, differences of pixels. The second one computes the
gradient of each tile from the derivatives of the loss with respect to those sums. So features are computed
twice, and again in the halos, which `tile_plan` explains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...graphs.network_graph import IMAGE
from ..losses.terms import (
    REGION_WEIGHTS,
    StylePart,
    content_map_name,
    features_name,
    positions,
)
from .sessions import TileSessions
from .tile_graphs import TILE, scalar_sums
from .tile_plan import Span, Tile

Array = NDArray[np.float32]

Sums = Mapping[str, NDArray[np.float64]]
"""Name of a sum → its value over the whole image, not divided by the number of positions."""

Pixels = Callable[[str], tuple[Span, Span]]
"""Layer, or ``image`` → rows and columns of the image that belong to its window."""


@dataclass(frozen=True, slots=True, eq=False)
class LossInputs:
    """The inputs of a loss that are the same for every image.

    Attributes
    ----------
    targets : mapping of str to array
        Targets and masks of the whole image.
    shared : mapping of str to array
        Inputs of the graphs that do not depend on the window: weights, energies, targets of the style.
    """

    targets: Mapping[str, Array]
    shared: Mapping[str, Array]


class TileRunner:
    """Computes targets, loss and gradient of images of one size.

    Parameters
    ----------
    tiles : sequence of Tile
        The tiles.
    sessions : TileSessions
        Runs their graphs.
    """

    def __init__(self, tiles: Sequence[Tile], sessions: TileSessions) -> None:
        self._tiles, self._sessions = tiles, sessions
        self._terms = sessions.terms

    def measure_targets(self, image: Array, masks: Mapping[str, Array]) -> dict[str, Array]:
        """Return the targets that an image [3,H,W] sets, as `engine.Engine.statistics` does."""
        moments = self._zero_moments()
        features = {
            layer: np.empty((1, *self._sessions.shapes[layer]), np.float32)
            for layer in self._terms.feature_layers
        }
        for tile, sums in self._iter_tile_sums(image, masks):
            for name, total in moments.items():
                total += sums[name]
            for layer, array in features.items():
                array[self._feature_index(layer, tile.rows, tile.columns)] = sums[features_name(layer)]
        targets = {features_name(layer): array for layer, array in features.items()}
        return targets | self._divide_by_count(moments)

    def loss_inputs(self, targets: Mapping[str, Array], weights: Array) -> LossInputs:
        """Prepare targets and the weights of the terms [K] for evaluations."""
        terms = self._terms
        shared = {"weights": np.asarray(weights, np.float32)}
        for term in terms.feature_terms:
            shared[term.energy] = np.array(sum_of_squares(targets[term.target]), np.float32)
        names = [*terms.moment_names, *(part.root for part in terms.style_parts), REGION_WEIGHTS]
        return LossInputs(targets, shared | {name: targets[name] for name in names if name in targets})

    def evaluate(self, image: Array, inputs: LossInputs) -> tuple[float, Array, Array]:
        """Return loss, terms [K] and gradient [3,H,W] of an image [3,H,W]."""
        sums = self.sum_tiles(image, inputs.targets)
        loss, values, derivatives = self.loss_and_derivatives(sums, inputs)
        return loss, values, self.gradient(image, inputs, derivatives)

    def sum_tiles(self, image: Array, targets: Mapping[str, Array]) -> dict[str, NDArray[np.float64]]:
        """Return the sums that the loss depends on, over all positions of an image [3,H,W]."""
        scalars = dict.fromkeys(scalar_sums(self._terms), 0.0)
        moments = self._zero_moments()
        for tile, sums in self._iter_tile_sums(image, targets):
            for name, total in moments.items():
                total += sums[name]
            for term in self._terms.feature_terms:
                index = self._feature_index(term.layer, tile.rows, tile.columns)
                difference = sums[features_name(term.layer)] - targets[term.target][index]
                if self._terms.has_map(term):
                    difference = difference * targets[content_map_name(term.layer)][index]
                scalars[term.distance] += sum_of_squares(difference)
            for name in self._terms.pixel_terms:
                scalars[name] += float(sums[name])
        return {name: np.array(total) for name, total in scalars.items()} | moments

    def loss_of_sums(self, sums: Sums, inputs: LossInputs) -> tuple[float, Array]:
        """Return loss and terms [K] of the sums over an image."""
        return self.loss_and_derivatives(sums, inputs)[:2]

    def window_inputs(self, inputs: LossInputs, pixels: Pixels) -> dict[str, Array]:
        """Cut the window of each layer out of the targets and maps of all terms, and of the masks."""
        windows = self._window_masks(inputs.targets, pixels) | self._window_pixels(inputs.targets, pixels)
        for term in self._terms.feature_terms:
            index = self._feature_index(term.layer, *pixels(term.layer))
            maps = [content_map_name(term.layer)] if self._terms.has_map(term) else []
            for name in (term.target, *maps):
                windows[name] = np.ascontiguousarray(inputs.targets[name][index])
        return windows

    def region_fractions(self, tile: Tile, inputs: LossInputs) -> tuple[float, ...]:
        """Return the fraction of each region that lies in a tile, by its mask at the finest style layer."""
        terms = self._terms
        if not (terms.regions and terms.style_layers):
            return (0.0,) * terms.regions
        finest = min(terms.style_layers, key=lambda layer: self._sessions.fields[layer].stride)
        index = self._feature_index(finest, tile.rows, tile.columns)
        return tuple(float(inputs.targets[part.mask][index].sum()) for part in terms.layer_parts(finest))

    def _iter_tile_sums(
        self, image: Array, targets: Mapping[str, Array]
    ) -> Iterator[tuple[Tile, dict[str, Array]]]:
        """Yield each tile of an image [3,H,W] with the outputs of its `tile_statistics_graph`."""
        terms = self._terms
        names = [*map(features_name, terms.feature_layers), *terms.moment_names, *terms.pixel_terms]
        for tile in self._tiles:
            top, left = tile.window_rows.start, tile.window_columns.start
            corners = [tile.rows.start - top, tile.columns.start - left]
            corners += [tile.rows.stop - top, tile.columns.stop - left]
            feeds = {
                IMAGE: copy_window(image, tile.window_rows, tile.window_columns),
                TILE: np.array(corners, np.float32),
                **self._window_masks(targets, _pixels_of_window(tile)),
                **self._window_pixels(targets, _pixels_of_window(tile)),
            }
            values = self._sessions.statistics(tile.window_size).run(names, feeds)
            yield tile, dict(zip(names, values, strict=True))

    def loss_and_derivatives(self, sums: Sums, inputs: LossInputs) -> tuple[float, Array, dict[str, Array]]:
        """Return loss, terms [K] and ``d_<name>``, the derivative of the loss with respect to each sum."""
        scalars = scalar_sums(self._terms)
        feeds = {f"own_{name}": np.asarray(sums[name], np.float32) for name in scalars}
        feeds |= {f"own_{name}": moments for name, moments in self._divide_by_count(sums).items()}
        names = [f"d_{name}" for name in (*scalars, *self._terms.moment_names)]
        outputs = self._sessions.loss().run(["loss", "terms", *names], {**feeds, **inputs.shared})
        loss, values, *derivatives = outputs
        return float(loss), values, dict(zip(names, derivatives, strict=True))

    def gradient(self, image: Array, inputs: LossInputs, derivatives: Mapping[str, Array]) -> Array:
        """Return the gradient [3,H,W] of the loss from its derivatives by the sums."""
        gradient = np.empty_like(image)
        for tile in self._tiles:
            feeds = {
                IMAGE: copy_window(image, tile.window_rows, tile.window_columns),
                **derivatives,
                **self.window_inputs(inputs, _pixels_of_window(tile)),
            }
            (d_window,) = self._sessions.gradient(tile.window_size).run(["d_image"], feeds)
            index = tile_in_window(tile, tile.window_rows, tile.window_columns)
            gradient[tile_in_image(tile)] = d_window[0][index]
        return gradient

    def _zero_moments(self) -> dict[str, NDArray[np.float64]]:
        channels = {layer: shape[0] for layer, shape in self._sessions.shapes.items()}
        return {name: np.zeros(shape) for name, shape in self._terms.moment_shapes(channels).items()}

    def _divide_by_count(self, moments: Sums) -> dict[str, Array]:
        """Divide sums of moments by the number of positions; with a mask they are means already."""
        divided: dict[str, Array] = {}
        for part in self._terms.style_parts:
            count = positions(self._sessions.shapes[part.layer]) if part.region is None else 1
            for name in self._terms.moments(part).names:
                divided[name] = (moments[name] / count).astype(np.float32)
        return divided

    def _window_masks(self, targets: Mapping[str, Array], pixels: Pixels) -> dict[str, Array]:
        """Cut the window of each layer out of its masks."""

        def window(part: StylePart) -> Array:
            index = self._feature_index(part.layer, *pixels(part.layer))
            return np.ascontiguousarray(targets[part.mask][index])

        return {part.mask: window(part) for part in self._terms.style_parts if part.region is not None}

    def _window_pixels(self, targets: Mapping[str, Array], pixels: Pixels) -> dict[str, Array]:
        """Cut the window out of the targets of the terms that are sums over pixels."""
        rows, columns = pixels(IMAGE)
        return {name: copy_window(targets[name][0], rows, columns) for name in self._terms.pixel_targets}

    def _feature_index(self, layer: str, rows: Span, columns: Span) -> tuple[Any, ...]:
        """Return the index of the features [1,C,h,w] of a layer that belong to these pixels."""
        stride = self._sessions.fields[layer].stride
        return (
            slice(None),
            slice(None),
            slice(rows.start // stride, rows.stop // stride),
            slice(columns.start // stride, columns.stop // stride),
        )


def _pixels_of_window(tile: Tile) -> Pixels:
    """Return the function that maps every layer to the window of a tile."""
    return lambda _: (tile.window_rows, tile.window_columns)


def copy_window(image: Array, rows: Span, columns: Span) -> Array:
    """Return a copy [1,3,h,w] of a window of an image [3,H,W]."""
    return image[None, :, rows.start : rows.stop, columns.start : columns.stop].copy()


def tile_in_image(tile: Tile) -> tuple[slice, slice, slice]:
    """Return the index of a tile in an image [3,H,W]."""
    rows, columns = tile.rows, tile.columns
    return slice(None), slice(rows.start, rows.stop), slice(columns.start, columns.stop)


def tile_in_window(tile: Tile, window_rows: Span, window_columns: Span) -> tuple[slice, slice, slice]:
    """Return the index of a tile in a window [3,h,w] of the image."""
    top, left = window_rows.start, window_columns.start
    rows, columns = tile.rows, tile.columns
    return (
        slice(None),
        slice(rows.start - top, rows.stop - top),
        slice(columns.start - left, columns.stop - left),
    )


def sum_of_squares(values: Array) -> float:
    """Return Σ values² by NumPy's pairwise sums: BLAS's dot product has an error of 1e-3 for 12.6 million."""
    return float(np.square(values).sum(dtype=np.float64))
