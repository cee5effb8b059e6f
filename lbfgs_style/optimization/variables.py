"""The variables of the optimiser: linear maps between a flat vector and an image.

L-BFGS depends on the coordinates that it works in. Natural images have most of their energy in low
frequencies, and a step that is equally large in every pixel changes these too little. In spectral
coordinates, weighted by 1/√frequency, the same loss is reached in fewer evaluations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..settings.presets import Variables

Flat = NDArray[np.float64]
Image = NDArray[np.floating]

# Numbers of an image from which a transform has threads: for fewer, waking them takes as long as they save.
_LARGE = 2**20

# Variables for each pixel: one for each channel.
PER_PIXEL = 3


class Parametrization(Protocol):
    """A linear map z ↦ image [3,H,W] with its inverse and its adjoint."""

    def decode(self, z: Flat) -> Image:
        """Map variables [n] to an image [3,H,W]."""
        ...

    def encode(self, image: Image) -> Flat:
        """Map an image [3,H,W] to the variables [n] that decode to it."""
        ...

    def pull_back(self, gradient: Image) -> Flat:
        """Map dL/d image [3,H,W] to dL/dz [n]: the adjoint of `decode`."""
        ...


@dataclass(frozen=True, slots=True)
class Pixels:
    """The variables are the pixels of an image of `size`, (height, width)."""

    size: tuple[int, int]

    def decode(self, z: Flat) -> Image:
        """Map variables [n] to an image [3,H,W]."""
        return z.reshape(3, *self.size)

    def encode(self, image: Image) -> Flat:
        """Map an image [3,H,W] to the variables [n] that decode to it."""
        return image.astype(np.float64).ravel()

    def pull_back(self, gradient: Image) -> Flat:
        """Map dL/d image [3,H,W] to dL/dz [n]."""
        return gradient.astype(np.float64).ravel()


@dataclass(frozen=True, slots=True)
class Spectral:
    """The variables are weighted coefficients of the orthonormal DCT-II of each channel.

    image = IDCT(s ∘ z) with s(f) = 1 / max(|f|, 1 / max(H, W))^exponent scaled to mean 1, where the
    coefficient (u, v) has the frequency f = (u / 2H, v / 2W) in cycles per pixel. The adjoint is s ∘ DCT, the
    inverse DCT / s. Decorrelation by a spectrum that falls with the frequency follows Olah, Mordvintsev and
    Schubert, "Feature Visualization" (Distill, 2017), who use the Fourier transform and exponent 1.
    """

    size: tuple[int, int]
    exponent: float = 0.5

    def decode(self, z: Flat) -> Image:
        """Map variables [n] to an image [3,H,W]."""
        coefficients = z.reshape(3, *self.size).astype(np.float32) * spectrum(self.size, self.exponent)
        return _dct(coefficients, inverse=True)

    def encode(self, image: Image) -> Flat:
        """Map an image [3,H,W] to the variables [n] that decode to it."""
        coefficients = _dct(image.astype(np.float64)) / spectrum(self.size, self.exponent)
        return coefficients.astype(np.float64).ravel()

    def pull_back(self, gradient: Image) -> Flat:
        """Map dL/d image [3,H,W] to dL/dz [n]."""
        return (_dct(gradient) * spectrum(self.size, self.exponent)).astype(np.float64).ravel()


# The option `variables` → the map for an image of a size.
VARIABLES: Mapping[Variables, type[Pixels] | type[Spectral]] = {"spectral": Spectral, "pixels": Pixels}


# Each evaluation of a scale uses the same spectrum twice; two runs may go on in parallel.
@lru_cache(maxsize=2)
def spectrum(size: tuple[int, int], exponent: float) -> NDArray[np.float32]:
    """Return the weights of the cosine coefficients [H,W], frequency**-exponent with mean 1."""
    height, width = size
    rows = np.arange(height, dtype=np.float32)[:, None] / (2 * height)
    columns = np.arange(width, dtype=np.float32)[None, :] / (2 * width)
    frequency = np.maximum(np.hypot(rows, columns), 1 / max(height, width))
    weights = frequency**-exponent
    scaled = (weights / weights.mean()).astype(np.float32)
    scaled.setflags(write=False)  # all callers share the array
    return scaled


def _dct(channels: Image, *, inverse: bool = False) -> Image:
    """Return the orthonormal DCT-II of each channel [3,H,W], or its inverse, in the input's precision."""
    from scipy import fft

    transform: Any = fft.idctn if inverse else fft.dctn  # the types of SciPy do not cover arrays
    workers = 1 if channels.size < _LARGE else 3  # one for each channel
    return transform(channels, axes=(1, 2), norm="ortho", workers=workers)
