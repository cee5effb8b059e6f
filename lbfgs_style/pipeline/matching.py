"""The nearest neighbours of a scale: what the features of the image are compared with, beside moments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError
from ..graphs.network_graph import feature_shapes
from ..images import resize, to_chw
from ..networks.network import FeatureNetwork
from ..objective.engine import Engine
from ..objective.losses.neighbours import (
    CONTENT_SHARE,
    Features,
    Places,
    joined,
    places_per_style,
    replaced,
    sample_places,
    search,
)
from ..objective.losses.terms import FeatureTerm, LossTerms, features_name
from .inputs import RunImages
from .plan.scales import Scale, style_size
from .regions import Regions
from .style_statistics import StyleStatistics
from .styles import StylePicture

Array = NDArray[np.float32]

# Most pixels between two positions of a matched layer.
_COARSEST_STRIDE = 8

# Side, in pixels, of an image whose features tell these distances.
_SIDE = 256


def matched_layers(network: FeatureNetwork, terms: LossTerms) -> tuple[str, ...]:
    """Return the style layers that are matched, finest first.

    The two coarsest whose positions are at most 8 pixels apart. The paper, too, leaves out the layers of
    VGG's last block, whose positions are 16 apart; it has all the others. Without one, the finest layer.
    """
    shapes = feature_shapes(network.model, (_SIDE, _SIDE), terms.style_layers)
    finest_first = sorted(terms.style_layers, key=lambda layer: -shapes[layer][1])
    fine = [layer for layer in finest_first if shapes[layer][1] * _COARSEST_STRIDE >= _SIDE]
    return tuple(fine[-2:] or finest_first[:1])


def check_features(terms: LossTerms, styles: Sequence[StylePicture]) -> None:
    """Raise ImageError where neighbours are wanted of statistics, which have no features."""
    measured = [style.image.name for style in styles if isinstance(style.image, StyleStatistics)]
    if terms.matched_layers and measured:
        raise ImageError(
            f"{measured[0]}: holds moments, and style_statistic 'neighbours' needs the style image: give the "
            "image, or take 'moments'."
        )


@dataclass(frozen=True, slots=True, eq=False)
class Matcher:
    """Finds the neighbours of one scale.

    Attributes
    ----------
    engine : Engine
        Evaluates the network; its cancellation ends a search.
    layers : tuple of str
        The layers, finest first.
    content : Features
        Of the content image.
    places : sequence of Places
        Of the styles of each region, or of all styles.
    regions : Regions or None
        The masks that divide the image among styles.
    window_pixels : int or None
        As in `Engine.statistics`.
    """

    engine: Engine
    layers: tuple[str, ...]
    content: Features
    places: Sequence[Places]
    regions: Regions | None
    window_pixels: int | None

    def targets(self, image: Array | None, *, by_layer: bool = False) -> dict[str, Array]:
        """Return `FeatureTerm.target` of each layer for an image [3,H,W], or for the content alone.

        By layer, the features of the image alone are searched for.
        """
        if image is None:
            searched = [(self.content, 1.0)]
        else:
            own = _features(self.engine, image, self.layers, self.window_pixels)
            searched = [(own, 1.0)] if by_layer else [(self.content, CONTENT_SHARE), (own, 1 - CONTENT_SHARE)]
        found: dict[str, Array] = {}
        for group in [(layer,) for layer in self.layers] if by_layer else [self.layers]:
            for layer, features in self._replaced(group, searched).items():
                found[FeatureTerm(layer, "neighbours").target] = features
        return found

    def _replaced(
        self, layers: tuple[str, ...], searched: Sequence[tuple[Features, float]]
    ) -> dict[str, Array]:
        """Return the features of the nearest places, found by some layers together."""
        size = self.content[layers[0]].shape[1], self.content[layers[0]].shape[2]
        owners = None if self.regions is None else _owners(self.regions, size)
        found, first = np.zeros(size, np.int32), 0
        for number, of_region in enumerate(self.places):
            places = {layer: of_region[layer] for layer in layers}
            where = None if owners is None else owners == number
            nearest = search(places, searched, where, self.engine.cancellation.check)
            np.copyto(found, nearest + first, where=True if where is None else where)
            first += len(of_region[layers[0]])
        everywhere = joined(self.places)
        return {layer: replaced(everywhere, layer, found, self.content[layer].shape) for layer in layers}


def _owners(regions: Regions, size: tuple[int, int]) -> NDArray[np.intp]:
    """Return the region [h,w] that each position belongs to."""
    return np.argmax([resize(mask, size) for mask in regions.masks], axis=0)


def matcher_at(
    engine: Engine, terms: LossTerms, images: RunImages, scale: Scale, window_pixels: int | None
) -> Matcher:
    """Measure what the neighbours of a scale are found by.

    Parameters
    ----------
    engine, terms, images, scale, window_pixels
        As in `targets.targets_at`; no style is a `StyleStatistics`.
    """
    layers = terms.matched_layers
    content = _features(engine, to_chw(resize(images.content.rgb, scale.size)), layers, window_pixels)
    regions = images.regions(scale.size)
    groups = [tuple(range(len(images.styles)))] if regions is None else regions.styles
    places: list[Places] = []
    for members in groups:
        styles = [images.styles[index] for index in members]
        counts = places_per_style(content[layers[0]][0].size, [style.weight for style in styles])
        each = [
            _places(engine, terms, style, scale, count, window_pixels)
            for style, count in zip(styles, counts, strict=True)
        ]
        places.append(joined(each))
    return Matcher(engine, layers, content, places, regions, window_pixels)


def _places(
    engine: Engine,
    terms: LossTerms,
    style: StylePicture,
    scale: Scale,
    count: int,
    window_pixels: int | None,
) -> Places:
    """Return places of a style image at the size that it has at a scale."""
    assert not isinstance(style.image, StyleStatistics)
    size = style_size(style.size, style.scale, scale, engine.smallest_side(terms))
    features = _features(engine, to_chw(resize(style.image, size)), terms.matched_layers, window_pixels)
    _, height, width = features[terms.matched_layers[0]].shape
    mask = None if style.style_mask is None else resize(style.style_mask, (height, width))
    return sample_places(features, count, mask)


def _features(
    engine: Engine, image: Array, layers: tuple[str, ...], window_pixels: int | None
) -> dict[str, Array]:
    """Return the features [C,h,w] of layers."""
    measured = engine.statistics(image, LossTerms(layers, ()), what="image", window_pixels=window_pixels)
    return {layer: measured[features_name(layer)][0] for layer in layers}
