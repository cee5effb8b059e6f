"""Masks: which style goes where, and where the photo is left alone. Pure functions.

A mask is H×W in [0,1], of any resolution: it is stretched to the picture, and by area to each layer of the
network, so that its edges may be soft. See `style_losses` for the guided Gram matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError
from ..images import Picture, resize, to_array

Mask = NDArray[np.float32]
"""H×W float32 in [0,1]."""

# Pixels: an area below a thousandth of one is nothing.
NOTHING = 1e-3

_ROWS = 256
"""At a time: pictures that are painted in blocks leave no memory for another."""


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """A picture divided among styles.

    Attributes
    ----------
    masks : tuple of array
        H×W each, of the size of the picture.
    styles : tuple of tuple of int
        Which styles each region takes; those that have no mask of their own share one.
    shares : tuple of float
        How much the style loss of each region counts: its part of the picture's area, times the weight of
        its style relative to the others. So a pixel feels the same whatever the size of its region, and a
        white mask is as good as none.
    """

    masks: tuple[Mask, ...]
    styles: tuple[tuple[int, ...], ...]
    shares: tuple[float, ...]


def from_picture(picture: Picture) -> Mask:
    """Return the luma of a picture as a mask; what is transparent is black."""
    gray = to_array(replace(picture, gray=True, keeps_axis=False, alpha=None, dtype=np.dtype(np.float32)))
    return gray if picture.alpha is None else gray * picture.alpha


def divide(
    size: tuple[int, int], masks: Sequence[Mask | None], weights: Sequence[float], keep: Mask | None
) -> Regions | None:
    """Divide a picture among styles.

    Parameters
    ----------
    size : (int, int)
        Height and width of the picture.
    masks : sequence of array or None
        White where each style goes. A style without a mask goes where no other style's is white.
    weights : sequence of float
        Of each style.
    keep : array or None
        White where the photo is left alone: no style goes there.

    Returns
    -------
    Regions or None
        None where there are no masks at all.

    Raises
    ------
    ImageError
        If nothing of the picture is left for a style.
    """
    if keep is None and all(mask is None for mask in masks):
        return None
    free = np.ones(size, np.float32) if keep is None else 1 - resize(keep, size)
    own = [(index, resize(mask, size)) for index, mask in enumerate(masks) if mask is not None]
    found: list[tuple[tuple[int, ...], Mask]] = [((index,), mask * free) for index, mask in own]
    others = tuple(index for index, mask in enumerate(masks) if mask is None)
    if others:
        taken = np.sum([mask for _, mask in own], axis=0) if own else np.float32(0)
        found.append((others, (np.clip(1 - taken, 0, 1) * free).astype(np.float32)))
    if free.sum() < NOTHING:
        raise ImageError(
            "Nothing of the picture is left to paint: expected a keep mask that is black somewhere, got one "
            "that is white all over; mend it, or leave it out."
        )
    for members, mask in found:
        if mask.sum() < NOTHING:
            styles = " and ".join(str(index + 1) for index in members)
            got = (
                "masks of the others that are white there" if members == others else "one that is black there"
            )
            raise ImageError(
                f"Nothing of the picture is left for style {styles}: expected a mask that is white "
                f"somewhere, where the photo is not kept, got {got}; mend the masks."
            )
    areas = [float(mask.mean()) for _, mask in found]
    # The mean weight of a shared region; scaled, so that weights of any magnitude may be summed.
    means = [np.mean([weights[index] for index in members]) / max(weights) for members, _ in found]
    scale = sum(areas) / sum(area * mean for area, mean in zip(areas, means, strict=True))
    shares = tuple(float(area * mean * scale) for area, mean in zip(areas, means, strict=True))
    return Regions(tuple(mask for _, mask in found), tuple(members for members, _ in found), shares)


def at_layer(mask: Mask, height: int, width: int) -> NDArray[np.float32]:
    """Return a mask at the positions of a layer, [1,1,h,w], with a sum of 1."""
    small = resize(mask, (height, width)).astype(np.float64)
    return (small / small.sum()).astype(np.float32)[None, None]


def hold(photo: NDArray[np.float32], opacity: Mask, picture: NDArray[np.float32]) -> None:
    """Lay a photo [3,H,W] over a picture [3,H,W], in place, where a mask of their size is white."""
    for top in range(0, len(opacity), _ROWS):
        rows = slice(top, top + _ROWS)
        picture[:, rows] = opacity[rows] * photo[:, rows] + (1 - opacity[rows]) * picture[:, rows]


def laid_over(photo: NDArray[np.float32], keep: Mask, picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Lay the photo over a picture, both H×W×3, where a mask of any size is white."""
    opacity = resize(keep, (photo.shape[0], photo.shape[1]))[..., np.newaxis]
    return (opacity * photo + (1 - opacity) * picture).astype(np.float32)
