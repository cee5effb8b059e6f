"""Find, for each position of an image, the place of the style whose features are nearest to it.

Kolkin, Kucera, Paris, Sýkora, Shechtman and Shakhnarovich, "Neural Neighbor Style Transfer" (2022): each
position's features of several layers, one vector, are replaced by those of the style that have the highest
cosine similarity after each side's mean is subtracted. The replaced features are the targets of a loss, fixed
until the next search. At the end each layer is searched by itself.

Differs from the paper: the targets are a term beside the moments of the style, at the deepest layers alone;
moments paint fine layers as well, and cost nothing to search. The loss is a relative squared distance, so
that the magnitude of features counts, too. The style is not rotated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..evaluation import Array

Features = Mapping[str, Array]
"""Layer → its features [C,h,w]."""

Places = Mapping[str, Array]
"""Layer → its features [n,C] at n places of one or more styles, finest layer first."""

Indices = NDArray[np.int32]

# Share of the content in what is searched for, as in the paper; the rest is the image as painted so far.
CONTENT_SHARE = 0.75

# Most places of a style that are searched, and least; between them as many as keep comparisons below a limit.
_MOST_PLACES, _LEAST_PLACES = 8192, 1024
_COMPARISONS = 2**28

# Comparisons of a block of the search, 4 bytes each.
BLOCK = 2**24

# Added to norms: plain images have features without variance.
_TINY = 1e-8


def positions_of(finest: int, coarser: int, count: int) -> Indices:
    """Return for `count` rows or columns of the finest layer those of a coarser one that they belong to."""
    step = max(1, round(finest / coarser))
    return np.minimum(np.arange(count) // step, coarser - 1).astype(np.int32)


def places_per_style(positions: int, shares: Sequence[float]) -> list[int]:
    """Return how many places of each style are compared with `positions` of an image."""
    total = min(max(_COMPARISONS // positions, _LEAST_PLACES), _MOST_PLACES)
    return [max(1, round(total * share / sum(shares))) for share in shares]


def sample_places(features: Features, count: int, mask: Array | None = None) -> Places:
    """Sample places of a style, the same ones for the same size.

    Parameters
    ----------
    features : Features
        Of the style image, finest layer first.
    count : int
        Most places.
    mask : array [h,w], optional
        At the positions of the finest layer: places where it is above half of its maximum.
    """
    height, width = next(iter(features.values())).shape[1:]
    allowed = np.arange(height * width) if mask is None else np.flatnonzero(mask.ravel() > mask.max() / 2)
    if len(allowed) > count:
        chosen = np.random.default_rng(0).choice(len(allowed), count, replace=False)
        allowed = allowed[np.sort(chosen)]
    rows, columns = np.divmod(allowed, width)
    sampled: dict[str, Array] = {}
    for layer, array in features.items():
        at_rows = positions_of(height, array.shape[1], height)[rows]
        at_columns = positions_of(width, array.shape[2], width)[columns]
        sampled[layer] = np.ascontiguousarray(array[:, at_rows, at_columns].T)
    return sampled


def joined(places: Sequence[Places]) -> Places:
    """Return the places of several styles as those of one."""
    return {layer: np.concatenate([each[layer] for each in places]) for layer in places[0]}


def search(
    places: Places,
    features: Sequence[tuple[Features, float]],
    where: NDArray[np.bool_] | None = None,
    check: Callable[[], None] = lambda: None,
) -> Indices:
    """Return the place [h,w] that is nearest to each position of the finest layer.

    Parameters
    ----------
    places : Places
        The places, of the layers to compare.
    features : sequence of (Features, share)
        What is searched for is the sum of these, each less its mean and times its share.
    where : array [h,w], optional
        The positions to search for; the others get 0.
    check : function
        Called between blocks of the search; it may raise.
    """
    layers = list(places)
    scales = {layer: 1 / (float(np.linalg.norm(places[layer])) + _TINY) for layer in layers}
    keys = np.concatenate([places[layer] * scales[layer] for layer in layers], axis=1)
    keys -= keys.mean(0)
    keys /= np.linalg.norm(keys, axis=1, keepdims=True) + _TINY
    height, width = features[0][0][layers[0]].shape[1:]
    means = [{layer: each[layer].mean((1, 2)) for layer in layers} for each, _ in features]
    found = np.zeros(height * width, np.int32)
    wanted = np.arange(height * width) if where is None else np.flatnonzero(where)
    step = max(1, BLOCK // len(keys))
    for start in range(0, len(wanted), step):
        check()
        chosen = wanted[start : start + step]
        rows, columns = np.divmod(chosen, width)
        parts: list[Array] = []
        for layer in layers:
            _, h, w = features[0][0][layer].shape
            at = positions_of(height, h, height)[rows], positions_of(width, w, width)[columns]
            part = np.zeros((len(chosen), len(features[0][0][layer])), np.float32)
            for (each, share), mean in zip(features, means, strict=True):
                part += np.float32(share * scales[layer]) * (each[layer][:, *at].T - mean[layer])
            parts.append(part)
        # The norm of what is searched for does not change which place is nearest.
        found[chosen] = (np.concatenate(parts, axis=1) @ keys.T).argmax(1)
    return found.reshape(height, width)


def replaced(places: Places, layer: str, found: Indices, shape: tuple[int, ...]) -> Array:
    """Return the features [1,C,h,w] of a layer at the places found.

    A position of a layer coarser than `found` gets the mean over the positions that belong to it.
    """
    _, height, width = shape
    steps = [max(1, round(finest / own)) for finest, own in zip(found.shape, (height, width), strict=True)]
    total = np.zeros((height, width, places[layer].shape[1]), np.float32)
    for row, column in np.ndindex(*steps):
        rows = np.minimum(np.arange(height) * steps[0] + row, found.shape[0] - 1)
        columns = np.minimum(np.arange(width) * steps[1] + column, found.shape[1] - 1)
        total += places[layer][found[np.ix_(rows, columns)]]
    total /= math.prod(steps)
    return np.ascontiguousarray(total.transpose(2, 0, 1))[None]
