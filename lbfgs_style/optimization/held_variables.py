"""Variables that leave a part of an image unchanged: where a mask keeps it, or the large forms of a block."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .variables import Flat, Image, Parametrization


@dataclass(frozen=True, slots=True, eq=False)
class HeldVariables:
    """Variables of an image that is held to another one by a mask k: k ∘ held + (1 − k) ∘ image.

    For the part of the content that a mask keeps, and for the borders of a block.

    Attributes
    ----------
    inner : Parametrization
        Variables of the image.
    held : array [3,H,W]
        What the image is held to.
    opacity : array [H,W]
        k in [0,1].
    """

    inner: Parametrization
    held: Image
    opacity: NDArray[np.float32]

    def decode(self, z: Flat) -> Image:
        """Map variables [n] to an image [3,H,W]."""
        return self.opacity * self.held + (1 - self.opacity) * self.inner.decode(z)

    def encode(self, image: Image) -> Flat:
        """Map an image [3,H,W] to variables [n] that decode to it where k is 0."""
        return self.inner.encode(image)

    def pull_back(self, gradient: Image) -> Flat:
        """Map dL/d image [3,H,W] to dL/dz [n]."""
        return self.inner.pull_back((1 - self.opacity) * gradient)


@dataclass(frozen=True, slots=True, eq=False)
class DetailVariables:
    """Variables of an image whose large forms are those of another one: base + P (image − base).

    P removes the cosines of the DCT-II whose wavelength is longer than the shorter side: in a block, they
    cannot be told from a change of the whole image.

    Attributes
    ----------
    inner : Parametrization
        Variables of the image.
    base : array [3,H,W]
        Image that gives the large forms.
    """

    inner: Parametrization
    base: Image

    def decode(self, z: Flat) -> Image:
        """Map variables [n] to an image [3,H,W]."""
        return self.base + _without_long_waves(self.inner.decode(z) - self.base)

    def encode(self, image: Image) -> Flat:
        """Map an image [3,H,W] to variables [n] that decode to it, except for its large forms."""
        return self.inner.encode(image)

    def pull_back(self, gradient: Image) -> Flat:
        """Map dL/d image [3,H,W] to dL/dz [n]."""
        return self.inner.pull_back(_without_long_waves(gradient))


def _without_long_waves(channels: Image) -> Image:
    """Return [3,H,W] without the cosines of fewer than 1 / min(H, W) cycles per pixel."""
    height, width = channels.shape[1:]
    limit = 1 / min(height, width)
    down, across = _cosines(height, limit), _cosines(width, limit)
    frequency = np.hypot(
        np.arange(len(down))[:, None] / (2 * height), np.arange(len(across))[None, :] / (2 * width)
    )
    coefficients = down @ channels @ across.T
    long = np.where(frequency < limit, coefficients, 0).astype(channels.dtype)
    return channels - down.T @ long @ across


@lru_cache(maxsize=8)
def _cosines(length: int, limit: float) -> NDArray[np.float32]:
    """Return the cosines [k,length] of the orthonormal DCT-II with fewer than `limit` cycles per pixel."""
    number = np.arange(min(length, math.ceil(2 * length * limit)))[:, None]
    cosines = np.cos(np.pi * number * (np.arange(length) + 0.5) / length)
    scaled = (cosines * np.sqrt(np.where(number == 0, 1, 2) / length)).astype(np.float32)
    scaled.setflags(write=False)
    return scaled
