"""Measure a style image: its moments at one size for a run, or at several for `StyleStatistics`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..errors import OptionError
from ..graphs.network_graph import feature_shapes
from ..images import FloatImage, fit, resize, to_chw
from ..objective.engine import Engine
from ..objective.losses.terms import LossTerms
from ..settings.options import StyleStatistic
from .regions import Mask, mask_for_layer
from .style_statistics import StyleStatistics, all_moments

Array = NDArray[np.float32]

# Pixels of the longer side of the largest size by default; larger results use the statistics of this size.
LARGEST = 1024
# Pixels of the longer side of the smallest size: about the coarsest scale of `scales.plan`.
_SMALLEST = 2**6.5


def measuring_sizes(longest: int, largest: int = LARGEST) -> tuple[int, ...]:
    """Return the sizes to measure a style image at.

    Parameters
    ----------
    longest : int
        Longer side of the image in pixels.
    largest : int
        The largest size.

    Returns
    -------
    tuple of int
        Longer sides: 91, 128, 181, 256, … up to the largest, which is no more than `longest`.
    """
    top = min(longest, largest)
    steps = range(int(2 * math.log2(max(top, 1) / _SMALLEST)) + 1) if top > _SMALLEST else range(0)
    return tuple(sorted({*(round(_SMALLEST * 2 ** (step / 2)) for step in steps), top}))


def measure(
    engine: Engine,
    rgb: FloatImage,
    style_mask: Mask | None,
    layers: tuple[str, ...],
    *,
    sizes: Sequence[int] | None,
    name: str,
    network_sha256: str,
    pooling: str,
    smooth_features: bool,
) -> StyleStatistics:
    """Measure a style image at several sizes; see `lbfgs_style.StyleTransfer.measure_style`."""
    full, terms = (rgb.shape[0], rgb.shape[1]), all_moments(layers)
    engine.check_size(full, terms, what="style image")
    if sizes is None:
        # A narrow image is never measured smaller than a run would resize it.
        least = math.ceil(engine.smallest_side(terms) * max(full) / min(full))
        sizes = sorted({max(side, least) for side in measuring_sizes(max(full))})
    for side in sizes:
        if not 1 <= side <= max(full):
            raise OptionError(
                f"Sizes to measure at must lie within the style image's longer side, {max(full)} pixels, "
                f"got {side}."
            )
    return StyleStatistics(
        name=name,
        network=engine.network.name,
        network_sha256=network_sha256,
        pooling=pooling,
        smooth_features=smooth_features,
        layers=layers,
        size=full,
        sides={
            side: moments_at(engine, rgb, style_mask, fit(full, side), layers, statistic=terms.statistic)
            for side in sizes
        },
    )


def moments_at(
    engine: Engine,
    rgb: FloatImage,
    style_mask: Mask | None,
    size: tuple[int, int],
    layers: tuple[str, ...],
    *,
    statistic: StyleStatistic,
    window_pixels: int | None = None,
) -> dict[str, Array]:
    """Measure the moments of a style image at one size, under the names of `LossTerms.moment_names`.

    Parameters
    ----------
    engine : Engine
        Evaluates the network.
    rgb : array, float32, H×W×3
        The style image.
    style_mask : array, float32, H×W, or None
        Weights of the positions in [0,1], as those of a region of a result.
    size : (int, int)
        Height and width to resize the style image to.
    layers : tuple of str
        Style layers.
    statistic
        As in `lbfgs_style.settings.options.Options`.
    window_pixels
        As in `Engine.statistics`.
    """
    terms = LossTerms((), layers, statistic=statistic, regions=0 if style_mask is None else 1)
    masks: dict[str, Array] = {}
    if style_mask is not None:
        shapes = feature_shapes(engine.network.model, size, layers)
        masks = {part.mask: mask_for_layer(style_mask, *shapes[part.layer][1:]) for part in terms.style_parts}
    moments = engine.statistics(
        to_chw(resize(rgb, size)),
        terms,
        what="style image",
        masks=masks,
        window_pixels=window_pixels,
    )
    names = replace(terms, regions=0).moment_names
    return {name: moments[measured] for name, measured in zip(names, terms.moment_names, strict=True)}
