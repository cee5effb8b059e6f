"""What the optimiser's variables mean: a linear map between a flat vector and a picture.

L-BFGS depends on the coordinates it works in. Natural pictures have most of their energy in low frequencies,
and a step that is equally large in every pixel is too timid there; in spectral coordinates, weighted by
1/√frequency, the same loss is reached in fewer evaluations.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Flat = NDArray[np.float64]
Image = NDArray[np.floating]


class Parametrization(Protocol):
    """A linear map z ↦ image [3,H,W] with its inverse and its adjoint."""

    def decode(self, z: Flat) -> Image:
        """Map variables [n] to a picture [3,H,W]."""
        ...

    def encode(self, image: Image) -> Flat:
        """Map a picture [3,H,W] to the variables [n] that decode to it."""
        ...

    def pull_back(self, gradient: Image) -> Flat:
        """Map dL/d image [3,H,W] to dL/dz [n]: the adjoint of `decode`."""
        ...


@dataclass(frozen=True, slots=True)
class Pixels:
    """The variables are the pixels themselves."""

    size: tuple[int, int]

    def decode(self, z: Flat) -> Image:
        """Map variables [n] to a picture [3,H,W]."""
        return z.reshape(3, *self.size)

    def encode(self, image: Image) -> Flat:
        """Map a picture [3,H,W] to the variables [n] that decode to it."""
        return image.astype(np.float64).ravel()

    def pull_back(self, gradient: Image) -> Flat:
        """Map dL/d image [3,H,W] to dL/dz [n]."""
        return gradient.astype(np.float64).ravel()


@dataclass(frozen=True, slots=True)
class Spectral:
    """The variables are weighted coefficients of the orthonormal DCT-II of each channel.

    image = IDCT(s ∘ z) with s(f) = 1 / max(|f|, 1 / max(H, W))^exponent scaled to mean 1, where the
    coefficient (u, v) has the frequency f = (u / 2H, v / 2W) in cycles per pixel. The adjoint is s ∘ DCT, the
    inverse DCT / s. Decorrelating by a spectrum that falls with frequency follows Olah, Mordvintsev and
    Schubert, "Feature Visualization" (Distill, 2017), who use the Fourier transform and exponent 1.
    """

    size: tuple[int, int]
    exponent: float = 0.5

    def decode(self, z: Flat) -> Image:
        """Map variables [n] to a picture [3,H,W]."""
        coefficients = z.reshape(3, *self.size).astype(np.float32) * _spectrum(self.size, self.exponent)
        return _dct(coefficients, inverse=True)

    def encode(self, image: Image) -> Flat:
        """Map a picture [3,H,W] to the variables [n] that decode to it."""
        return (
            (_dct(image.astype(np.float64)) / _spectrum(self.size, self.exponent)).astype(np.float64).ravel()
        )

    def pull_back(self, gradient: Image) -> Flat:
        """Map dL/d image [3,H,W] to dL/dz [n]."""
        return (_dct(gradient) * _spectrum(self.size, self.exponent)).astype(np.float64).ravel()


# One scale of a run asks for the same spectrum twice in each evaluation; two runs may go on side by side.
@lru_cache(maxsize=2)
def _spectrum(size: tuple[int, int], exponent: float) -> NDArray[np.float32]:
    height, width = size
    rows = np.arange(height, dtype=np.float32)[:, None] / (2 * height)
    columns = np.arange(width, dtype=np.float32)[None, :] / (2 * width)
    frequency = np.maximum(np.hypot(rows, columns), 1 / max(height, width))
    spectrum = frequency**-exponent
    scaled = (spectrum / spectrum.mean()).astype(np.float32)
    scaled.setflags(write=False)  # shared by all who ask
    return scaled


def _dct(channels: Image, *, inverse: bool = False) -> Image:
    """Orthonormal DCT-II of each channel [3,H,W], or its inverse, in the precision of the input."""
    from scipy import fft

    transform: Any = fft.idctn if inverse else fft.dctn  # SciPy's annotations know no arrays
    return transform(channels, axes=(1, 2), norm="ortho")
