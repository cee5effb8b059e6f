"""The loss as a function of variables, with the vectors that L-BFGS adds and projects.

`lbfgs` and `gradient_subspace` see vectors only through a `Problem` and its `Basis`, so the vectors may be
arrays of NumPy (`HostProblem`) or lie in the memory of a card (`device_problem.DeviceProblem`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..objective.device_arrays import DeviceArray
from ..objective.evaluation import Evaluation, Value
from .variables import Flat, Image, Parametrization

Vector = Any
"""n numbers in the form in which a problem has them: a `Flat` array or a `DeviceArray` of shape [n]."""

AnyImage = NDArray[np.floating] | DeviceArray
"""An image [3,H,W]; `numpy.asarray` copies it from a device."""

Coordinates = NDArray[np.float64]

# A vector is projected again if the projection leaves less than this fraction of its length. With 0.1 the
# basis is not orthogonal enough: the minimisation of badly scaled functions stops.
_CANCELLED = 0.7

# Fraction of a vector's length below which the rest after a projection is only a rounding error.
ROUNDING = 1e-6

# Columns of the basis that are rotated at once, in place.
_COLUMNS = 2**16


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """A point at which the loss was evaluated.

    Attributes
    ----------
    z : Vector
        Its variables.
    value : Value
        The loss and its terms.
    gradient : Vector
        dL/dz; None if it is not finite.
    image : array or DeviceArray [3,H,W]
        What the variables decode to.
    """

    z: Vector
    value: Value
    gradient: Vector
    image: AnyImage

    @property
    def is_finite(self) -> bool:
        """Whether the loss and its gradient are finite."""
        return self.gradient is not None and math.isfinite(self.value.loss)


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """The part of a gradient within the span of a basis.

    Attributes
    ----------
    length : float
        Length of the gradient.
    coordinates : array [k]
        Of the gradient, divided by its length, in the basis.
    left : float
        Length of the part outside the span, as a fraction; below `ROUNDING` it is only a rounding error.
    """

    length: float
    coordinates: Coordinates
    left: float


class Basis(Protocol):
    """Orthonormal vectors, of which the first `count` are valid.

    Attributes
    ----------
    capacity : int
        Number of vectors at most.
    """

    capacity: int

    def combine(self, origin: Vector, coefficients: Coordinates) -> Vector:
        """Return origin + Σ_k coefficients_k vector_k, for coefficients [count]."""
        ...

    def project(self, gradient: Vector, count: int) -> Projection:
        """Project a gradient; its normalised rest is written behind the valid vectors."""
        ...

    def rotate(self, rotation: NDArray[np.float64]) -> None:
        """Replace the vectors by rotation [m,count] · vectors [count,n], of which m are valid."""
        ...


class Problem(Protocol):
    """The loss as a function of variables z."""

    def encode(self, image: Image) -> Vector:
        """Map an image [3,H,W] to the variables that decode to it."""
        ...

    def decode(self, z: Vector) -> Image:
        """Map variables to an image [3,H,W] in the memory of the CPU."""
        ...

    def vector(self, z: Flat) -> Vector:
        """Convert variables [n] from the form that a checkpoint has."""
        ...

    def evaluate(self, z: Vector) -> Point:
        """Evaluate the loss and its gradient."""
        ...

    def basis(self, capacity: int) -> Basis:
        """Make an empty basis for the gradients."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class HostProblem:
    """A problem whose vectors are arrays of NumPy.

    Attributes
    ----------
    objective : callable
        Image [3,H,W] → `Evaluation`.
    parametrization : Parametrization
        The variables.
    precision : NumPy floating type
        Type of the basis: that of the objective's gradients.
    """

    objective: Callable[[NDArray[np.floating]], Evaluation]
    parametrization: Parametrization
    precision: type[np.floating] = np.float32

    def encode(self, image: Image) -> Flat:
        """Map an image [3,H,W] to the variables [n] that decode to it."""
        return self.parametrization.encode(image)

    def decode(self, z: Flat) -> Image:
        """Map variables [n] to an image [3,H,W]."""
        # A step that is far too long overflows float32: the callers check.
        with np.errstate(over="ignore", invalid="ignore"):
            return self.parametrization.decode(z)

    def vector(self, z: Flat) -> Flat:
        """Return the variables as they are."""
        return z

    def evaluate(self, z: Flat) -> Point:
        """Evaluate the loss and its gradient."""
        image = self.decode(z)
        with np.errstate(over="ignore", invalid="ignore"):
            evaluation = self.objective(image)
        value = Value(evaluation.loss, evaluation.terms)
        is_finite = np.isfinite(evaluation.gradient).all()
        return Point(
            z, value, self.parametrization.pull_back(evaluation.gradient) if is_finite else None, image
        )

    def basis(self, capacity: int) -> HostBasis:
        """Make an empty basis."""
        return HostBasis(capacity, self.precision)


class HostBasis:
    """A basis of Gram and Schmidt in the memory of the CPU.

    Where digits cancel, a gradient is projected once more (Daniel, Gragg, Kaufman and Stewart,
    "Reorthogonalization and Stable Algorithms for Updating the Gram-Schmidt QR Factorization", Mathematics of
    Computation, 1976).

    Parameters
    ----------
    capacity : int
        Number of vectors at most.
    precision : NumPy floating type
        Type of the vectors.

    Attributes
    ----------
    capacity : int
        As given.
    vectors : array [capacity,n]
        Of which the first are valid; [capacity,0] until the first projection.
    """

    def __init__(self, capacity: int, precision: type[np.floating]) -> None:
        self.capacity = capacity
        self.vectors = np.empty((capacity, 0), precision)

    def combine(self, origin: Flat, coefficients: Coordinates) -> Flat:
        """Return origin + Σ_k coefficients_k vector_k."""
        if not coefficients.size:
            return origin
        # A step of the line search may be far too long: then the loss is not finite.
        with np.errstate(over="ignore", invalid="ignore"):
            vectors = self.vectors[: coefficients.size]
            return origin + coefficients.astype(vectors.dtype) @ vectors

    def project(self, gradient: Flat, count: int) -> Projection:
        """Project a gradient; its normalised rest is written behind the valid vectors."""
        if not self.vectors.size:
            self.vectors = np.empty(
                (self.capacity, gradient.size), self.vectors.dtype
            )  # takes memory when written
        vectors, coordinates = self.vectors[:count], np.zeros(count)
        length = float(np.linalg.norm(gradient))
        if length == 0:
            return Projection(length, coordinates, 0.0)
        rest = (gradient / length).astype(vectors.dtype)  # a gradient may be too long for float32
        before, left = np.inf, 1.0
        while ROUNDING < left < _CANCELLED * before:
            projection = vectors @ rest
            rest -= projection @ vectors
            coordinates += projection
            before, left = left, float(np.linalg.norm(rest))
        if left > ROUNDING:
            np.divide(rest, left, out=self.vectors[count])
        return Projection(length, coordinates, left)

    def rotate(self, rotation: NDArray[np.float64]) -> None:
        """Replace the vectors by rotation [m,count] · vectors [count,n]."""
        directions, count = rotation.shape
        turned = rotation.astype(self.vectors.dtype)
        for first in range(0, self.vectors.shape[1], _COLUMNS):
            part = self.vectors[:count, first : first + _COLUMNS]
            part[:directions] = turned @ part
