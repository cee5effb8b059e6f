"""Variables that leave a part of the picture alone: where it is kept, and the long waves of a block."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .variables import Flat, Image, Parametrization


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """Variables of a picture that is held where a mask k is white: k ∘ photo + (1 − k) ∘ image.

    A photo that is to stay, or a block towards its borders.

    Attributes
    ----------
    inner : Parametrization
        Of the image.
    photo : array [3,H,W]
        What stays.
    opacity : array [H,W]
        k in [0,1].
    """

    inner: Parametrization
    photo: Image
    opacity: NDArray[np.float32]

    def decode(self, z: Flat) -> Image:
        """Map variables [n] to a picture [3,H,W]."""
        return self.opacity * self.photo + (1 - self.opacity) * self.inner.decode(z)

    def encode(self, image: Image) -> Flat:
        """Map a picture [3,H,W] to variables [n] that decode to it, but for what stays."""
        return self.inner.encode(image)

    def pull_back(self, gradient: Image) -> Flat:
        """Map dL/d image [3,H,W] to dL/dz [n]."""
        return self.inner.pull_back((1 - self.opacity) * gradient)


@dataclass(frozen=True, slots=True, eq=False)
class Detail:
    """Variables of a picture whose large forms stay: picture + P (image − picture).

    P takes away the cosines of the DCT-II whose wave is longer than the shorter side: what a block cannot
    tell from a change of the whole picture.

    Attributes
    ----------
    inner : Parametrization
        Of the image.
    picture : array [3,H,W]
        What the forms are of.
    """

    inner: Parametrization
    picture: Image

    def decode(self, z: Flat) -> Image:
        """Map variables [n] to a picture [3,H,W]."""
        return self.picture + _without_long_waves(self.inner.decode(z) - self.picture)

    def encode(self, image: Image) -> Flat:
        """Map a picture [3,H,W] to variables [n] that decode to it, but for its large forms."""
        return self.inner.encode(image)

    def pull_back(self, gradient: Image) -> Flat:
        """Map dL/d image [3,H,W] to dL/dz [n]."""
        return self.inner.pull_back(_without_long_waves(gradient))


def _without_long_waves(channels: Image) -> Image:
    """Return [3,H,W] without the cosines of fewer cycles per pixel than 1 / min(H, W)."""
    height, width = channels.shape[1:]
    most = 1 / min(height, width)
    down, across = _waves(height, most), _waves(width, most)
    frequency = np.hypot(
        np.arange(len(down))[:, None] / (2 * height), np.arange(len(across))[None, :] / (2 * width)
    )
    found = down @ channels @ across.T
    return channels - down.T @ np.where(frequency < most, found, 0).astype(channels.dtype) @ across


@lru_cache(maxsize=8)
def _waves(length: int, most: float) -> NDArray[np.float32]:
    """Return the cosines [k,length] of the orthonormal DCT-II with fewer cycles per pixel than `most`."""
    number = np.arange(min(length, math.ceil(2 * length * most)))[:, None]
    cosines = np.cos(np.pi * number * (np.arange(length) + 0.5) / length)
    waves = (cosines * np.sqrt(np.where(number == 0, 1, 2) / length)).astype(np.float32)
    waves.setflags(write=False)
    return waves
