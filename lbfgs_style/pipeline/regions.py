"""Regions: which style goes where, and where the content image is kept. Pure functions.

A mask is H×W in [0,1], of any resolution: it is resized to the image, and by area to each layer of the
network, so that its edges may be soft. `lbfgs_style.objective.losses.moments` has the guided Gram matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError
from ..images import FloatImage, Picture, resize, to_array

# H×W float32 in [0,1].
Mask = NDArray[np.float32]

# Sum of a mask's values, in pixels, below which the mask counts as empty.
MIN_AREA = 1e-3

# Weight of the content loss where a content map is white.
MOST_CONTENT = 4

# Rows that are blended at a time: images that are optimised in blocks leave no memory for another image.
_ROWS = 256


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """An image divided among styles.

    Attributes
    ----------
    masks : tuple of array
        H×W each, of the size of the image.
    styles : tuple of tuple of int
        Indices of the styles of each region; styles without a mask share one region.
    shares : tuple of float
        Weight of each region's style loss: its part of the image's area, times the weight of its style
        relative to the others. So a pixel counts the same whatever the size of its region, and a white mask
        equals no mask.
    """

    masks: tuple[Mask, ...]
    styles: tuple[tuple[int, ...], ...]
    shares: tuple[float, ...]


def mask_of(picture: Picture) -> Mask:
    """Return the luma of an image as a mask; transparent pixels are 0."""
    gray = to_array(replace(picture, gray=True, keeps_axis=False, alpha=None, dtype=np.dtype(np.float32)))
    return gray if picture.alpha is None else gray * picture.alpha


def content_weights(picture: Picture) -> Mask:
    """Return the weight of the content loss at each pixel of a map, divided by `MOST_CONTENT`.

    The weight is 4 v² for a luma v, so 1 for a middle grey. Transparent pixels have the weight 1.
    """
    gray = to_array(replace(picture, gray=True, keeps_axis=False, alpha=None, dtype=np.dtype(np.float32)))
    squares, even = gray**2, np.float32(1 / MOST_CONTENT)
    return squares if picture.alpha is None else even + picture.alpha * (squares - even)


def with_faces(weights: Mask | None, faces: Mask) -> Mask:
    """Return weights of the content loss, divided by `MOST_CONTENT`, that are at their most at faces."""
    weights = np.full((1, 1), 1 / MOST_CONTENT, np.float32) if weights is None else weights
    weights = resize(weights, (faces.shape[0], faces.shape[1]))
    return (weights + faces * (1 - weights)).astype(np.float32)


def content_map_for_layer(weights: Mask, height: int, width: int) -> NDArray[np.float32]:
    """Return the roots of the content's weights at the positions of a layer, [1,1,h,w]."""
    return np.sqrt(MOST_CONTENT * resize(weights, (height, width)), dtype=np.float32)[None, None]


def divide_among_styles(
    size: tuple[int, int], masks: Sequence[Mask | None], weights: Sequence[float], keep: Mask | None
) -> Regions | None:
    """Divide an image among styles.

    Parameters
    ----------
    size : (int, int)
        Height and width of the image.
    masks : sequence of array or None
        1 where each style goes. A style without a mask goes where no other style's mask is 1.
    weights : sequence of float
        Weight of each style.
    keep : array or None
        1 where the content image is kept: no style goes there.

    Returns
    -------
    Regions or None
        None where there are no masks at all.

    Raises
    ------
    ImageError
        Nothing of the image is left for a style.
    """
    if keep is None and all(mask is None for mask in masks):
        return None
    free = np.ones(size, np.float32) if keep is None else 1 - resize(keep, size)
    masked = [(index, resize(mask, size)) for index, mask in enumerate(masks) if mask is not None]
    regions: list[tuple[tuple[int, ...], Mask]] = [((index,), mask * free) for index, mask in masked]
    others = tuple(index for index, mask in enumerate(masks) if mask is None)
    if others:
        taken = np.sum([mask for _, mask in masked], axis=0) if masked else np.float32(0)
        regions.append((others, (np.clip(1 - taken, 0, 1) * free).astype(np.float32)))
    if free.sum() < MIN_AREA:
        raise ImageError(
            "Nothing of the image is left to paint: expected a keep mask that is black somewhere, got one "
            "that is white all over; edit it, or leave it out."
        )
    for members, mask in regions:
        if mask.sum() < MIN_AREA:
            styles = " and ".join(str(index + 1) for index in members)
            got = (
                "masks of the others that are white there" if members == others else "one that is black there"
            )
            raise ImageError(
                f"Nothing of the image is left for style {styles}: expected a mask that is white "
                f"somewhere, where the content is not kept, got {got}; edit the masks."
            )
    areas = [float(mask.mean()) for _, mask in regions]
    # The mean weight of a shared region; scaled, so that weights of any magnitude may be summed.
    means = [np.mean([weights[index] for index in members]) / max(weights) for members, _ in regions]
    scale = sum(areas) / sum(area * mean for area, mean in zip(areas, means, strict=True))
    shares = tuple(float(area * mean * scale) for area, mean in zip(areas, means, strict=True))
    return Regions(tuple(mask for _, mask in regions), tuple(members for members, _ in regions), shares)


def mask_for_layer(mask: Mask, height: int, width: int) -> NDArray[np.float32]:
    """Return a mask at the positions of a layer, [1,1,h,w], with a sum of 1."""
    small = resize(mask, (height, width)).astype(np.float64)
    return (small / small.sum()).astype(np.float32)[None, None]


def blend_in_place(content: NDArray[np.float32], opacity: Mask, image: NDArray[np.float32]) -> None:
    """Blend the content [3,H,W] over an image [3,H,W], in place, by a mask of their size."""
    for top in range(0, len(opacity), _ROWS):
        rows = slice(top, top + _ROWS)
        image[:, rows] = opacity[rows] * content[:, rows] + (1 - opacity[rows]) * image[:, rows]


def blend(content: FloatImage, keep: Mask, image: FloatImage) -> FloatImage:
    """Return the content blended over an image, both H×W×3, by a mask of any size."""
    opacity = resize(keep, (content.shape[0], content.shape[1]))[..., np.newaxis]
    return (opacity * content + (1 - opacity) * image).astype(np.float32)
