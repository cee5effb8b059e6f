"""The variables of the optimiser: linear maps between a flat vector and an image.

L-BFGS depends on the coordinates that it works in. Natural images have most of their energy in low
frequencies, and a step that is equally large in every pixel changes these too little. In spectral
coordinates, weighted by 1/√frequency, the same loss is reached in fewer evaluations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..settings.presets import Variables

Flat = NDArray[np.float64]
Image = NDArray[np.floating]

# Numbers of an image from which on a transform uses threads: for fewer, waking them costs what they save.
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

    image = Cᵀ IDCT(s ∘ z) with s(f) = 1 / max(|f|, 1 / max(H, W))^exponent scaled to a given mean, where the
    coefficient (u, v) has the frequency f = (u / 2H, v / 2W) in cycles per pixel. The adjoint is s ∘ DCT C,
    the inverse DCT C / s. Decorrelation by a spectrum that falls with the frequency, and of colours, follows
    Olah, Mordvintsev and Schubert, "Feature Visualization" (Distill, 2017), who use the Fourier transform and
    exponent 1.

    Attributes
    ----------
    size : (int, int)
        Height and width.
    exponent : float
        Of the weights s, whose mean is 1.
    chroma : Chroma or None
        The weights of chroma; with it C maps RGB to one channel of lightness and two of chroma. Without it C
        is 1, and s the same for all channels.
    """

    size: tuple[int, int]
    exponent: float = 0.5
    chroma: Chroma | None = None

    @property
    def weights(self) -> NDArray[np.float32]:
        """s, [3,H,W] or, where it is the same for all channels, [H,W]."""
        return spectral_weights(self)

    def decode(self, z: Flat) -> Image:
        """Map variables [n] to an image [3,H,W]."""
        channels = _dct(z.reshape(3, *self.size).astype(np.float32) * self.weights, inverse=True)
        return channels if self.chroma is None else _mixed(OPPONENT.T, channels)

    def encode(self, image: Image) -> Flat:
        """Map an image [3,H,W] to the variables [n] that decode to it."""
        channels = image.astype(np.float64)
        if self.chroma is not None:
            channels = _mixed(OPPONENT, channels)
        return (_dct(channels) / self.weights).astype(np.float64).ravel()

    def pull_back(self, gradient: Image) -> Flat:
        """Map dL/d image [3,H,W] to dL/dz [n]."""
        channels = gradient if self.chroma is None else _mixed(OPPONENT, gradient)
        return (_dct(channels) * self.weights).astype(np.float64).ravel()


@dataclass(frozen=True, slots=True)
class Chroma:
    """The weights of the chroma channels of `Spectral`.

    Attributes
    ----------
    exponent : float
        As `Spectral.exponent`, which is that of the lightness.
    mean : float
        Mean of the weights before the limit; that of the lightness is 1.
    limit : float
        Cycles per pixel at which the weights are halved; beyond it their exponent is larger by 4.
    """

    exponent: float
    mean: float
    limit: float


# Orthonormal map [3,3] from RGB to lightness, red-green and blue-yellow (Ohta, Kanade and Sakai, "Color
# Information for Region Segmentation", 1980: nearly the principal components of natural images).
_AXES = np.array([[1, 1, 1], [1, -1, 0], [-1, -1, 2]])
OPPONENT: NDArray[np.float64] = _AXES / np.linalg.norm(_AXES, axis=1, keepdims=True)

# With these weights, L-BFGS hardly changes fine chroma: the specks of colour that a network asks for, and no
# eye does, do not appear. Chosen by `tools.looks` among means of 0.5 to 1.5, exponents of 0.5 to 1, and
# limits of 0.05 to 0.2 and none.
COARSE_CHROMA = Chroma(exponent=0.75, mean=0.5, limit=0.08)


# Where the initial image is noise or another image, fine chroma has to change.
FREE_CHROMA = replace(COARSE_CHROMA, limit=math.inf)


def _decorrelated(size: tuple[int, int]) -> Spectral:
    return Spectral(size, chroma=COARSE_CHROMA)


# The option `variables` → the map for an image of a size that begins as the content image.
VARIABLES: Mapping[Variables, Callable[[tuple[int, int]], Pixels | Spectral]] = {
    "decorrelated": _decorrelated,
    "spectral": Spectral,
    "pixels": Pixels,
}


# Each evaluation of a scale uses the same weights twice; two runs may go on in parallel.
@lru_cache(maxsize=2)
def spectral_weights(variables: Spectral) -> NDArray[np.float32]:
    """Return `Spectral.weights`."""
    weights = _spectrum(variables.size, variables.exponent)
    if variables.chroma is not None:
        chroma = np.float32(variables.chroma.mean) * _spectrum(variables.size, variables.chroma.exponent)
        chroma /= 1 + (_frequencies(variables.size) / np.float32(variables.chroma.limit)) ** 4
        weights = np.stack([weights, chroma, chroma])
    weights.setflags(write=False)  # all callers share the array
    return weights


def _spectrum(size: tuple[int, int], exponent: float) -> NDArray[np.float32]:
    """Return the weights of the cosine coefficients [H,W], frequency**-exponent with mean 1."""
    weights = np.maximum(_frequencies(size), 1 / max(size)) ** -exponent
    return (weights / weights.mean()).astype(np.float32)


def _frequencies(size: tuple[int, int]) -> NDArray[np.float32]:
    """Return the frequencies of the cosine coefficients [H,W] in cycles per pixel."""
    rows, columns = (np.arange(side, dtype=np.float32) / (2 * side) for side in size)
    return np.hypot(rows[:, None], columns[None, :])


def _mixed(matrix: NDArray[np.float64], channels: Image) -> Image:
    """Return matrix [3,3] · channels [3,H,W] in the channels' precision.

    Not by BLAS, whose rounding depends on its threads: a picture is to be the same in every process.
    """
    factors = matrix.astype(channels.dtype)
    mixed = np.empty_like(channels)
    for row, result in zip(factors, mixed, strict=True):
        np.multiply(row[0], channels[0], out=result)
        result += row[1] * channels[1]
        result += row[2] * channels[2]
    return mixed


def _dct(channels: Image, *, inverse: bool = False) -> Image:
    """Return the orthonormal DCT-II of each channel [3,H,W], or its inverse, in the input's precision."""
    from scipy import fft

    transform: Any = fft.idctn if inverse else fft.dctn  # the types of SciPy do not cover arrays
    workers = 1 if channels.size < _LARGE else 3  # one for each channel
    return transform(channels, axes=(1, 2), norm="ortho", workers=workers)
