"""Targets of a scale: features of the content, moments of the styles, masks of the regions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..graphs.network_graph import feature_shapes
from ..images import resize, resize_to_chw
from ..objective.engine import Engine
from ..objective.losses.terms import (
    REGION_WEIGHTS,
    RELIABILITY,
    TEMPORAL_TARGET,
    LossTerms,
    blend_grams,
    content_map_name,
)
from .inputs import RunImages
from .plan.scales import Scale, style_size
from .regions import content_map_for_layer, mask_for_layer
from .style_measuring import moments_at
from .style_statistics import StyleStatistics
from .styles import StylePicture

Array = NDArray[np.float32]


def targets_at(
    engine: Engine, terms: LossTerms, images: RunImages, scale: Scale, window_pixels: int | None
) -> dict[str, Array]:
    """Return the targets of the loss at a scale, by the names of the graph's inputs.

    Parameters
    ----------
    engine : Engine
        Evaluates the network.
    terms : LossTerms
        The loss terms, with the regions of the run.
    images : RunImages
        Content, styles and masks.
    scale : Scale
        Gives the size of the content image.
    window_pixels : int or None
        As in `Engine.statistics`.
    """
    targets = engine.statistics(
        resize_to_chw(images.content.rgb, scale.size),
        LossTerms(terms.content_layers, ()),
        what="content image",
        window_pixels=window_pixels,
    )
    if images.content_map is not None:
        shapes = feature_shapes(engine.network.model, scale.size, terms.content_layers)
        for layer in terms.content_layers:
            roots = content_map_for_layer(images.content_map, *shapes[layer][1:])
            targets[content_map_name(layer)] = roots
    if images.temporal is not None:
        targets |= {
            TEMPORAL_TARGET: resize_to_chw(images.temporal.image, scale.size)[None],
            RELIABILITY: resize(images.temporal.reliability, scale.size)[None, None],
        }
    moments = [_moments(engine, terms, style, scale, window_pixels) for style in images.styles]
    weights = [style.weight for style in images.styles]
    regions = images.regions(scale.size)
    if regions is None:
        return targets | blend_grams(moments, weights)
    for number, members in enumerate(regions.styles):
        blended = blend_grams([moments[i] for i in members], [weights[i] for i in members])
        targets |= {f"{name}_{number}": values for name, values in blended.items()}
    shapes = feature_shapes(engine.network.model, scale.size, terms.style_layers)
    for part in terms.style_parts:
        assert part.region is not None
        targets[part.mask] = mask_for_layer(regions.masks[part.region], *shapes[part.layer][1:])
    return targets | {REGION_WEIGHTS: np.array(regions.shares, np.float32)}


def _moments(
    engine: Engine, terms: LossTerms, style: StylePicture, scale: Scale, window_pixels: int | None
) -> dict[str, Array]:
    """Return the moments of one style at a scale, measured or from its statistics."""
    size = style_size(style.size, style.scale, scale, engine.smallest_side(terms))
    if isinstance(style.image, StyleStatistics):
        style_terms = LossTerms((), terms.style_layers, statistic=terms.statistic)
        moments = style.image.at(max(size))
        return {name: moments[name] for name in style_terms.moment_names}
    kept = engine.cache.moments_of(style.image) if style.style_mask is None else {}
    key = (size, terms.style_layers, terms.statistic, window_pixels)
    if key not in kept:
        kept[key] = moments_at(
            engine,
            style.image,
            style.style_mask,
            size,
            terms.style_layers,
            statistic=terms.statistic,
            window_pixels=window_pixels,
        )
    return kept[key]
