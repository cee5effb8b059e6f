"""Styles: image, weight, scale and masks, as a user gives them (`Style`) and checked (`StylePicture`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..images import FloatImage, ImageLike
from ..settings.validation import require_positive
from .style_statistics import StyleStatistics


@dataclass(frozen=True, slots=True, eq=False)
class Style:
    """A style image, its weight, its scale and its masks.

    Attributes
    ----------
    image : array, Picture, path or StyleStatistics
        H×W, H×W×3 or H×W×4, RGB, uint8, uint16 or float in [0,1]; or statistics of an image, measured
        before. An image with alpha is measured where it is opaque.
    weight : float
        Share among several styles; larger than 0.
    scale : float
        Size of the strokes: the image's longer side relative to the result's. The image is never enlarged
        above its own size.
    mask : array or Picture, optional
        White where the style goes in the content image, black where not, grey for soft edges: H×W (or the
        kinds of `image`) of any resolution, resized to the content image. Styles without a mask go where no
        mask is white.
    style_mask : array or Picture, optional
        White where the style image is measured, black where not, grey for soft edges: like `mask`, but
        resized to the style image.
    """

    image: ImageLike | StyleStatistics
    weight: float = 1.0
    scale: float = 1.0
    mask: ImageLike | None = None
    style_mask: ImageLike | None = None

    def __post_init__(self) -> None:
        for name in ("weight", "scale"):
            require_positive(f"A style's {name}", getattr(self, name))


@dataclass(frozen=True, slots=True, eq=False)
class StylePicture:
    """A `Style` whose images have been checked.

    Attributes
    ----------
    image : array, float32, H×W×3, or StyleStatistics
        RGB in [0,1], or statistics of one.
    weight, scale : float
        As in `Style`.
    mask : array, float32, H×W, or None
        In [0,1]: where the style goes in the content image.
    style_mask : array, float32, of the image's height and width, or None
        In [0,1]: where the image is measured, its alpha included. None for everywhere.
    """

    image: FloatImage | StyleStatistics
    weight: float = 1.0
    scale: float = 1.0
    mask: NDArray[np.float32] | None = None
    style_mask: NDArray[np.float32] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the style image."""
        image = self.image
        return image.size if isinstance(image, StyleStatistics) else (image.shape[0], image.shape[1])
