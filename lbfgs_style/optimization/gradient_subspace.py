"""Coordinates of L-BFGS in the span of the gradients: a few variables in place of millions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .problem import ROUNDING, Basis, Coordinates, Vector

if TYPE_CHECKING:
    from scipy.optimize import LbfgsInvHessProduct

# Fraction of the usual inverse curvature below which an inverse curvature is only a rounding error.
_FLATTEST = 1e-6


class Subspace:
    """The affine subspace that L-BFGS can reach from a point, with orthonormal coordinates.

    L-BFGS moves by linear combinations of gradients, and only needs their inner products (Chen, Wang and
    Zhou, "Large-scale L-BFGS using MapReduce", NIPS 2014). So it makes the same steps in coordinates [K] of
    an orthonormal basis of the gradients so far, where vectors have K numbers instead of n: SciPy's part
    costs next to nothing, and an iteration is remembered in 4 n bytes, where SciPy keeps two vectors of 8 n
    bytes.

        z = z₀ + Bᵀ S c,   dL/dc = S B dL/dz,   B Bᵀ = 1

    Each gradient adds a vector to the basis. It is kept if its point is accepted, else that of the next
    gradient replaces it. The scales S, a diagonal matrix, are 1 until `restart`.

    Parameters
    ----------
    origin : Vector
        z₀, whose coordinates are 0.
    basis : Basis
        B, empty; its capacity is K.
    factor : float
        Factor of the loss that is minimised, and so of all coordinates of gradients.

    Attributes
    ----------
    capacity : int
        K.
    """

    def __init__(self, origin: Vector, basis: Basis, factor: float = 1.0) -> None:
        self.capacity = basis.capacity
        self._origin, self._basis, self._factor = origin, basis, factor
        self._scales = np.ones(self.capacity)
        self._kept = 0
        self._is_new = False

    def point(self, coordinates: Coordinates) -> Vector:
        """Map coordinates [K] to the point; those of vectors that were not kept are 0."""
        return self._basis.combine(self._origin, (self._scales * coordinates)[: self._kept])

    def coordinates(self, gradient: Vector) -> Coordinates:
        """Map a gradient to its coordinates [K]; its part outside the basis is the next basis vector."""
        projection = self._basis.project(gradient, self._kept)
        coordinates = np.zeros(self.capacity)
        coordinates[: self._kept] = projection.coordinates
        self._is_new = projection.left > ROUNDING
        if self._is_new:
            coordinates[self._kept] = projection.left
        return self._factor * projection.length * self._scales * coordinates

    def keep_latest(self) -> None:
        """Keep the basis vector of the latest gradient."""
        self._kept += self._is_new

    def restart(
        self, origin: Vector, gradient: Vector, inverse: LbfgsInvHessProduct, directions: int
    ) -> None:
        """Restart from another point, with the curvature of a few directions.

        L-BFGS has found an inverse Hessian γ (1 + Σ_k (λ_k − 1) v_k v_kᵀ) in the coordinates. The v_k whose
        λ_k are farthest from 1 stay in the basis, and their scales √λ_k make the function as curved there as
        it is elsewhere; restarts of Krylov methods keep some eigenvectors in the same way (Morgan, "A
        Restarted GMRES Method Augmented with Eigenvectors", SIAM Journal on Matrix Analysis and Applications,
        1995). All scales share a factor by which SciPy's first step, of length 1, is the one that γ asks for.

        Parameters
        ----------
        origin, gradient : Vector
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
        self._basis.rotate(vectors[:, chosen].T)
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
