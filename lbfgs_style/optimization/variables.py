"""What the optimiser's variables mean: a linear map between a flat vector and a picture.

L-BFGS depends on the coordinates it works in. Natural pictures have most of their energy in low frequencies,
and a step that is equally large in every pixel is too timid there; in spectral coordinates, weighted by
1/√frequency, the same loss is reached in fewer evaluations.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Flat = NDArray[np.float64]
Image = NDArray[np.floating]

COARSEST = 8
"""Shorter side, in pixels, of the last level of a Laplacian pyramid at least."""


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
        coefficients = z.reshape(3, *self.size).astype(np.float32) * spectrum(self.size, self.exponent)
        return _dct(coefficients, inverse=True)

    def encode(self, image: Image) -> Flat:
        """Map a picture [3,H,W] to the variables [n] that decode to it."""
        return (
            (_dct(image.astype(np.float64)) / spectrum(self.size, self.exponent)).astype(np.float64).ravel()
        )

    def pull_back(self, gradient: Image) -> Flat:
        """Map dL/d image [3,H,W] to dL/dz [n]."""
        return (_dct(gradient) * spectrum(self.size, self.exponent)).astype(np.float64).ravel()


@dataclass(frozen=True, slots=True)
class Laplacian:
    """The variables are the levels of a Laplacian pyramid, each half as large as the one before.

    image = z₀ + ↑(z₁ + ↑(z₂ + …)), ↑ bilinear enlargement, down to a shorter side of `COARSEST` (Burt and
    Adelson, "The Laplacian Pyramid as a Compact Image Code", 1983; as variables of style transfer: Kolkin,
    Salavon and Shakhnarovich, "Style Transfer by Relaxed Optimal Transport and Self-Similarity", CVPR 2019).
    There are more variables than pixels, by a third.
    """

    size: tuple[int, int]

    def decode(self, z: Flat) -> Image:
        """Map variables [n] to a picture [3,H,W]."""
        *finer, picture = self._levels(z)
        for level in reversed(finer):
            picture = level + _enlarged(picture, (level.shape[1], level.shape[2]))
        return picture

    def encode(self, image: Image) -> Flat:
        """Map a picture [3,H,W] to the variables [n] of its pyramid; they decode to it."""
        levels: list[Flat] = []
        picture = image.astype(np.float64)
        for size, smaller in pairwise(self._sizes()):
            rows, columns = (bilinear_matrix(n, m) for n, m in zip(size, smaller, strict=True))
            weights = rows.sum(0)[:, None] * columns.sum(0)
            coarse = _reduced(picture, smaller) / weights
            levels.append(picture - _enlarged(coarse, size))
            picture = coarse
        return np.concatenate([level.ravel() for level in (*levels, picture)])

    def pull_back(self, gradient: Image) -> Flat:
        """Map dL/d image [3,H,W] to dL/dz [n]: each level gets the gradient, reduced to its size."""
        levels = [gradient.astype(np.float64)]
        for size in self._sizes()[1:]:
            levels.append(_reduced(levels[-1], size))
        return np.concatenate([level.ravel() for level in levels])

    def _sizes(self) -> list[tuple[int, int]]:
        sizes = [self.size]
        while min(sizes[-1]) >= 2 * COARSEST:
            sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
        return sizes

    def _levels(self, z: Flat) -> list[Flat]:
        sizes = self._sizes()
        ends = np.cumsum([3 * height * width for height, width in sizes])
        parts = np.split(z, ends[:-1])
        return [part.reshape(3, *size) for part, size in zip(parts, sizes, strict=True)]


def _enlarged(channels: Flat, size: tuple[int, int]) -> Flat:
    """Enlarge [3,h,w] to [3,H,W], bilinear."""
    rows, columns = (bilinear_matrix(n, m) for n, m in zip(size, channels.shape[1:], strict=True))
    return rows @ channels @ columns.T


def _reduced(channels: Flat, size: tuple[int, int]) -> Flat:
    """Reduce [3,H,W] to [3,h,w]: the adjoint of `_enlarged`."""
    rows, columns = (bilinear_matrix(n, m) for n, m in zip(channels.shape[1:], size, strict=True))
    return rows.T @ channels @ columns


@lru_cache(maxsize=64)
def bilinear_matrix(large: int, small: int) -> NDArray[np.float64]:
    """Return the matrix [large,small] of linear interpolation between the centres of pixels."""
    places = np.clip((np.arange(large) + 0.5) * small / large - 0.5, 0, small - 1)
    matrix = np.maximum(0, 1 - np.abs(places[:, None] - np.arange(small)))
    matrix.setflags(write=False)
    return matrix


# One scale of a run asks for the same spectrum twice in each evaluation; two runs may go on side by side.
@lru_cache(maxsize=2)
def spectrum(size: tuple[int, int], exponent: float) -> NDArray[np.float32]:
    """Return the weights of the cosine coefficients [H,W], frequency**-exponent with mean 1."""
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
    return transform(channels, axes=(1, 2), norm="ortho", workers=3)  # one for each channel


KINDS: dict[str, type[Pixels] | type[Spectral] | type[Laplacian]] = {
    "spectral": Spectral,
    "pixels": Pixels,
    "laplacian": Laplacian,
}
"""What `lbfgs_style.settings.options.Options.variables` may name."""

PER_PIXEL = {"spectral": 3, "pixels": 3, "laplacian": 4}
"""Variables for each pixel of a large picture."""
