"""The objective of a picture that is worked on tile by tile: the same loss and gradient, in bounded memory.

Two passes over the tiles. The first adds up what the loss depends on: moments of features, squared distances
of features, variation. The second gives each tile its gradient, through the derivatives of the loss by those
sums. Features are computed twice, and once more in the halos; see `tiles` for these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...graphs.network_graph import IMAGE
from ...graphs.receptive_fields import Field
from ..losses.terms import (
    PIXEL_TERMS,
    SHARES,
    StylePart,
    TermNames,
    distance_name,
    energy_name,
    features_name,
    positions,
)
from ..session import Session
from .tile_graphs import TILE, scalar_sums
from .tile_plan import Span, Tile

Array = NDArray[np.float32]

Pixels = Callable[[str], tuple[Span, Span]]
"""A layer → the rows and columns of the picture that belong to its window."""


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
    assessment : function
        Size of the picture → session of its `assessment_graph`.
    """

    tiles: Sequence[Tile]
    fields: Mapping[str, Field]
    shapes: Mapping[str, tuple[int, int, int]]
    statistics: Callable[[tuple[int, int]], Session]
    gradient: Callable[[tuple[int, int]], Session]
    assessment: Callable[[tuple[int, int]], Session]

    def shares(
        self, image: Array, terms: TermNames, targets: Mapping[str, Array]
    ) -> Iterator[tuple[Tile, dict[str, Array]]]:
        """Yield each tile of a picture [3,H,W] with the outputs of its `tile_statistics_graph`."""
        names = [*map(features_name, terms.content_layers), *terms.style_names, *PIXEL_TERMS]
        for tile in self.tiles:
            top, left = tile.window_rows.start, tile.window_columns.start
            corners = [tile.rows.start - top, tile.columns.start - left]
            corners += [tile.rows.stop - top, tile.columns.stop - left]
            feeds = {
                IMAGE: window_of(image, tile.window_rows, tile.window_columns),
                TILE: np.array(corners, np.float32),
            }
            feeds |= self._masks(_window(tile), terms, targets)
            values = self.statistics(tile.window_size).run(names, feeds)
            yield tile, dict(zip(names, values, strict=True))

    def targets(self, image: Array, terms: TermNames, masks: Mapping[str, Array]) -> dict[str, Array]:
        """Measure the targets that a picture sets, as `engine.Engine.statistics` does."""
        moments = self._zeros(terms)
        features = {layer: np.empty((1, *self.shapes[layer]), np.float32) for layer in terms.content_layers}
        for tile, found in self.shares(image, terms, masks):
            for name, total in moments.items():
                total += found[name]
            for layer, whole in features.items():
                whole[self._places(layer, tile.rows, tile.columns)] = found[features_name(layer)]
        return {features_name(layer): whole for layer, whole in features.items()} | self._divided(
            moments, terms
        )

    def evaluate(
        self, image: Array, terms: TermNames, targets: Mapping[str, Array], weights: Array
    ) -> tuple[float, Array, Array]:
        """Return loss, terms and gradient of `graphs.objective_graph` at a picture [3,H,W]."""
        totals, size = self.totals(image, terms, targets), (image.shape[1], image.shape[2])
        loss, values, slopes = self.assess(totals, terms, self.of_all(terms, targets, weights), size)
        return loss, values, self._gradient(image, terms, targets, slopes)

    def assess(
        self,
        totals: Mapping[str, NDArray[np.float64]],
        terms: TermNames,
        of_all: Mapping[str, Array],
        size: tuple[int, int],
    ) -> tuple[float, Array, dict[str, Array]]:
        """Return loss, terms and ``d_<name>``, dL/d of each sum, of a picture's `totals`.

        `of_all` as the method of that name gives it, `size` the picture's height and width.
        """
        feeds = {f"own_{name}": np.asarray(totals[name], np.float32) for name in scalar_sums(terms)}
        feeds |= {f"own_{name}": moments for name, moments in self._divided(totals, terms).items()}
        slopes = [f"d_{name}" for name in (*scalar_sums(terms), *terms.style_names)]
        loss, values, *found = self.assessment(size).run(["loss", "terms", *slopes], {**feeds, **of_all})
        return float(loss), values, dict(zip(slopes, found, strict=True))

    def totals(
        self, image: Array, terms: TermNames, targets: Mapping[str, Array]
    ) -> dict[str, NDArray[np.float64]]:
        """Add up what the loss depends on, over all positions of a picture [3,H,W]."""
        sums = dict.fromkeys(scalar_sums(terms), 0.0)
        moments = self._zeros(terms)
        for tile, found in self.shares(image, terms, targets):
            for name, total in moments.items():
                total += found[name]
            for layer in terms.content_layers:
                target = targets[features_name(layer)][self._places(layer, tile.rows, tile.columns)]
                difference = found[features_name(layer)] - target
                sums[distance_name(layer)] += _sum_of_squares(difference)
            for name in PIXEL_TERMS:
                sums[name] += float(found[name])
        return {name: np.array(total) for name, total in sums.items()} | moments

    def _zeros(self, terms: TermNames) -> dict[str, NDArray[np.float64]]:
        """Return what the moments of the tiles are added to."""
        channels = {layer: shape[0] for layer, shape in self.shapes.items()}
        return {name: np.zeros(shape) for name, shape in terms.moment_shapes(channels).items()}

    def _divided(self, moments: Mapping[str, NDArray[np.float64]], terms: TermNames) -> dict[str, Array]:
        """Divide sums over positions by their number; those with a mask are means already."""
        found: dict[str, Array] = {}
        for part in terms.parts:
            count = positions(self.shapes[part.layer]) if part.region is None else 1
            for name in terms.moments(part).names:
                found[name] = (moments[name] / count).astype(np.float32)
        return found

    def _masks(self, pixels: Pixels, terms: TermNames, targets: Mapping[str, Array]) -> dict[str, Array]:
        """Cut each layer's window out of its masks."""

        def inside(part: StylePart) -> Array:
            return np.ascontiguousarray(targets[part.mask][self._places(part.layer, *pixels(part.layer))])

        return {part.mask: inside(part) for part in terms.parts if part.region is not None}

    def parts_of_regions(
        self, tile: Tile, terms: TermNames, targets: Mapping[str, Array]
    ) -> tuple[float, ...]:
        """Return how much of each region, from 0 to 1, lies in a tile: by its mask at the finest layer."""
        if not (terms.regions and terms.style_layers):
            return (0.0,) * terms.regions
        finest = min(terms.style_layers, key=lambda layer: self.fields[layer].stride)
        places = self._places(finest, tile.rows, tile.columns)
        return tuple(float(targets[part.mask][places].sum()) for part in terms.parts_of(finest))

    def of_window(self, pixels: Pixels, terms: TermNames, targets: Mapping[str, Array]) -> dict[str, Array]:
        """Cut each layer's window out of the targets and masks that belong to places."""
        found = self._masks(pixels, terms, targets)
        for layer in terms.content_layers:
            places = self._places(layer, *pixels(layer))
            found[features_name(layer)] = np.ascontiguousarray(targets[features_name(layer)][places])
        return found

    def of_all(self, terms: TermNames, targets: Mapping[str, Array], weights: Array) -> dict[str, Array]:
        """Return the inputs of an assessment that are the same for every picture."""
        feeds = {"weights": np.asarray(weights, np.float32)}
        for layer in terms.content_layers:
            target = targets[features_name(layer)]
            feeds[energy_name(layer)] = np.array(_sum_of_squares(target), np.float32)
        names = [*terms.style_names, *(part.root for part in terms.parts), SHARES]
        return feeds | {name: targets[name] for name in names if name in targets}

    def _gradient(
        self, image: Array, terms: TermNames, targets: Mapping[str, Array], slopes: Mapping[str, Array]
    ) -> Array:
        gradient = np.empty_like(image)
        for tile in self.tiles:
            feeds = {
                IMAGE: window_of(image, tile.window_rows, tile.window_columns),
                **slopes,
                **self.of_window(_window(tile), terms, targets),
            }
            session = self.gradient(tile.window_size)
            (found,) = session.run(["d_image"], feeds)
            gradient[of_picture(tile)] = found[0][inside_window(tile, tile.window_rows, tile.window_columns)]
        return gradient

    def _places(self, layer: str, rows: Span, columns: Span) -> tuple[Any, ...]:
        """Return the index of a layer's features [1,C,h,w] that belong to a stretch of the picture."""
        stride = self.fields[layer].stride
        return (
            slice(None),
            slice(None),
            slice(rows.start // stride, rows.stop // stride),
            slice(columns.start // stride, columns.stop // stride),
        )


def _window(tile: Tile) -> Pixels:
    """Return the function that gives each layer the window of a tile."""
    return lambda layer: (tile.window_rows, tile.window_columns)


def window_of(image: Array, rows: Span, columns: Span) -> Array:
    """Return a copy of a window [1,3,h,w] of a picture [3,H,W]."""
    return image[None, :, rows.start : rows.stop, columns.start : columns.stop].copy()


def of_picture(tile: Tile) -> tuple[slice, slice, slice]:
    """Return the index of a tile in a picture [3,H,W]."""
    rows, columns = tile.rows, tile.columns
    return slice(None), slice(rows.start, rows.stop), slice(columns.start, columns.stop)


def inside_window(tile: Tile, window_rows: Span, window_columns: Span) -> tuple[slice, slice, slice]:
    """Return the index of a tile in a window [3,h,w] of the picture."""
    top, left = window_rows.start, window_columns.start
    rows, columns = tile.rows, tile.columns
    return (
        slice(None),
        slice(rows.start - top, rows.stop - top),
        slice(columns.start - left, columns.stop - left),
    )


def _sum_of_squares(values: Array) -> float:
    """Return Σ values², added up pairwise: BLAS's dot product loses 1e-3 of 12.6 million squares."""
    return float(np.square(values).sum(dtype=np.float64))
