"""Styles: an image, its weight, scale and masks, as a user gives them (`Style`) and checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..images import FloatImage, Picture
from ..settings.validation import require_positive
from .style_statistics import StyleStatistics


@dataclass(frozen=True, slots=True, eq=False)
class Style:
    """A style picture, its share, its scale and where it goes.

    Attributes
    ----------
    image : array, Picture or StyleStatistics
        H×W, H×W×3 or H×W×4, RGB, uint8, uint16 or float in [0,1]; or what was measured of a painting before.
        A painting with alpha is measured where it is opaque.
    weight : float
        Its share among several styles; larger than 0.
    scale : float
        Size of its strokes: its longer side relative to the result's. It is never enlarged above its own
        size.
    mask : array or Picture, optional
        White where this style goes in the content picture, black where not, grey for soft edges: H×W (or
        what `image` may be) of any resolution, stretched to the content picture. Styles without a mask go
        where no mask is white.
    style_mask : array or Picture, optional
        White where the painting is measured, black where not, grey for soft edges: like `mask`, but stretched
        to the painting.
    """

    image: NDArray[Any] | Picture | StyleStatistics
    weight: float = 1.0
    scale: float = 1.0
    mask: NDArray[Any] | Picture | None = None
    style_mask: NDArray[Any] | Picture | None = None

    def __post_init__(self) -> None:
        for name in ("weight", "scale"):
            require_positive(f"A style's {name}", getattr(self, name))


@dataclass(frozen=True, slots=True, eq=False)
class StylePicture:
    """A `Style` whose pictures have been checked.

    Attributes
    ----------
    painting : array, float32, H×W×3, or StyleStatistics
        RGB in [0,1], or what was measured of one.
    weight, scale : float
        As in `Style`.
    mask : array, float32, H×W, or None
        In [0,1]: where it goes in the content picture.
    style_mask : array, float32, of the painting's height and width, or None
        In [0,1]: where the painting is measured, its alpha included. None for everywhere.
    """

    painting: FloatImage | StyleStatistics
    weight: float = 1.0
    scale: float = 1.0
    mask: NDArray[np.float32] | None = None
    style_mask: NDArray[np.float32] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the painting."""
        given = self.painting
        return given.size if isinstance(given, StyleStatistics) else (given.shape[0], given.shape[1])
