"""Coordinates of L-BFGS in the span of the gradients: a few variables in place of millions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .variables import Flat

if TYPE_CHECKING:
    from scipy.optimize import LbfgsInvHessProduct

Coordinates = NDArray[np.float64]

# A vector is projected again if the projection leaves less than this fraction of its length. With 0.1 the
# basis is not orthogonal enough: the minimisation of badly scaled functions stops.
_CANCELLED = 0.7

# Fraction of a vector's length below which the rest after a projection is only rounding.
_ROUNDING = 1e-6

# Fraction of the usual inverse curvature below which an inverse curvature is only rounding.
_FLATTEST = 1e-6

# Columns of the basis that are rotated at once, in place.
_COLUMNS = 2**16


class Subspace:
    """The affine subspace that L-BFGS can reach from a point, with orthonormal coordinates.

    L-BFGS moves by linear combinations of gradients, and only needs their inner products (Chen, Wang and
    Zhou, "Large-scale L-BFGS using MapReduce", NIPS 2014). So it makes the same steps in coordinates [K] of
    an orthonormal basis of the gradients so far, where vectors have K numbers instead of n: SciPy's part
    costs next to nothing, and an iteration is remembered in 4 n bytes, where SciPy keeps two vectors of 8 n
    bytes. The basis is that of Gram and Schmidt; where digits cancel, a gradient is projected once more
    (Daniel, Gragg, Kaufman and Stewart, "Reorthogonalization and Stable Algorithms for Updating the
    Gram-Schmidt QR Factorization", Mathematics of Computation, 1976).

        z = z₀ + Bᵀ S c,   dL/dc = S B dL/dz,   B Bᵀ = 1

    Each gradient adds a vector to the basis. It is kept if its point is accepted, else that of the next
    gradient replaces it. The scales S, a diagonal matrix, are 1 until `restart`.

    Parameters
    ----------
    origin : array [n]
        z₀, whose coordinates are 0.
    capacity : int
        K, the number of vectors of the basis at most.
    precision : dtype
        Type of the basis: that of the gradients.

    Attributes
    ----------
    capacity : int
        As given.
    basis : array [K,n]
        Its vectors, of which those that were kept are valid.
    """

    def __init__(self, origin: Flat, capacity: int, precision: np.dtype[np.floating]) -> None:
        self.capacity = capacity
        self._origin = origin
        self.basis = np.empty((capacity, origin.size), precision)  # takes memory when it is written
        self._scales = np.ones(capacity)
        self._kept = 0
        self._is_new = False

    def point(self, coordinates: Coordinates) -> Flat:
        """Map coordinates [K] to the point [n]; those of vectors that were not kept are 0."""
        # A step of the line search may be far too long: then the loss is not finite.
        with np.errstate(over="ignore", invalid="ignore"):
            basis = self.basis[: self._kept]
            return self._origin + (self._scales * coordinates)[: self._kept].astype(basis.dtype) @ basis

    def coordinates(self, gradient: Flat) -> Coordinates:
        """Map a gradient [n] to its coordinates [K]; its part outside the basis is the next basis vector."""
        basis = self.basis[: self._kept]
        coordinates = np.zeros(len(self.basis))
        length = float(np.linalg.norm(gradient))
        self._is_new = length > 0
        if not self._is_new:
            return coordinates
        rest = (gradient / length).astype(basis.dtype)  # a gradient may be too long for float32
        before, left = np.inf, 1.0
        while _ROUNDING < left < _CANCELLED * before:
            projection = basis @ rest
            rest -= projection @ basis
            coordinates[: self._kept] += projection
            before, left = left, float(np.linalg.norm(rest))
        self._is_new = left > _ROUNDING
        if self._is_new:
            np.divide(rest, left, out=self.basis[self._kept])
            coordinates[self._kept] = left
        return self._scales * (length * coordinates)

    def keep_latest(self) -> None:
        """Keep the basis vector of the latest gradient."""
        self._kept += self._is_new

    def restart(self, origin: Flat, gradient: Flat, inverse: LbfgsInvHessProduct, directions: int) -> None:
        """Restart from another point, with the curvature of a few directions.

        L-BFGS has found an inverse Hessian γ (1 + Σ_k (λ_k − 1) v_k v_kᵀ) in the coordinates. The v_k whose
        λ_k are farthest from 1 stay in the basis, and their scales √λ_k make the function as curved there as
        it is elsewhere; restarts of Krylov methods keep some eigenvectors in the same way (Morgan, "A
        Restarted GMRES Method Augmented with Eigenvectors", SIAM Journal on Matrix Analysis and Applications,
        1995). All scales share a factor by which SciPy's first step, of length 1, is the one that γ asks for.

        Parameters
        ----------
        origin, gradient : array [n]
            The point, and the gradient there.
        inverse : scipy.optimize.LbfgsInvHessProduct
            The inverse Hessian that SciPy returned.
        directions : int
            Number of directions whose curvature is kept at most.
        """
        from scipy.optimize import LbfgsInvHessProduct

        if not inverse.n_corrs:  # a single iteration says nothing of the curvature
            self._origin, self._kept, self._scales[:] = origin, 0, 1
            return
        kept, scales = self._kept, self._scales[: self._kept]
        steps, changes = scales * inverse.sk[:, :kept], inverse.yk[:, :kept] / scales
        usual = (steps[-1] @ changes[-1]) / (changes[-1] @ changes[-1])
        root = math.sqrt(usual)
        ratios, vectors = np.linalg.eigh(LbfgsInvHessProduct(steps / root, changes * root).todense())
        ratios = np.maximum(ratios, _FLATTEST)
        chosen = np.argsort(-np.abs(np.log(ratios)))[:directions]
        rotation = vectors[:, chosen].T.astype(self.basis.dtype)
        for first in range(0, origin.size, _COLUMNS):
            part = self.basis[:kept, first : first + _COLUMNS]
            part[: len(chosen)] = rotation @ part
        self._origin, self._kept = origin, len(chosen)
        self._scales[:] = 1
        self._scales[: len(chosen)] = np.sqrt(ratios[chosen])
        self._scales *= usual * float(np.linalg.norm(self.coordinates(gradient)))


def restart_directions(history: int) -> int:
    """Return the number of directions whose curvature a restart of L-BFGS keeps."""
    return history // 2


def kept_vectors(iterations: int, history: int) -> int:
    """Return the number of vectors that L-BFGS keeps at most."""
    return history + restart_directions(history) if iterations > history else iterations


def optimizer_bytes(variables: int, vectors: int) -> int:
    """Return the bytes of an optimiser that keeps `vectors` vectors of `variables` numbers.

    They are float32. About 20 more such vectors are taken by points in float64 (the first, the current and
    the best one), the image, its gradient, and their intermediate results.
    """
    return variables * 4 * (vectors + 20)
