"""The few variables that L-BFGS gets in place of millions: coordinates in the span of the gradients."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .variables import Flat

if TYPE_CHECKING:
    from scipy.optimize import LbfgsInvHessProduct

Coordinates = NDArray[np.float64]

_CANCELLED = 0.7
"""Of a vector's length, below which what is left of it is projected again. With 0.1 it is not orthogonal
enough: badly scaled problems come to a stop."""

_NOTHING = 1e-6
"""Of a vector's length, below which what is left of it is rounding."""


_FLATTEST = 1e-6
"""Of the usual inverse curvature, below which what is found of it is rounding."""

_COLUMNS = 2**16
"""Variables whose part of the basis is turned at a time: it is turned where it lies."""


class Subspace:
    """All points that L-BFGS can reach from a point on, by orthonormal coordinates.

    It moves by sums of gradients, and all it needs of these is their inner products (Chen, Wang and Zhou,
    "Large-scale L-BFGS using MapReduce", NIPS 2014). So it takes the same way in coordinates [K] of an
    orthonormal basis of the gradients so far, where a vector has K numbers and not n: SciPy's part costs next
    to nothing, and an iteration is remembered in 4 n bytes, where SciPy keeps two vectors of 8 n. It is Gram
    and Schmidt's basis; where digits cancel, a gradient is projected once more (Daniel, Gragg, Kaufman and
    Stewart, "Reorthogonalization and Stable Algorithms for Updating the Gram-Schmidt QR Factorization",
    Mathematics of Computation, 1976).

        z = z₀ + Bᵀ S c,   dL/dc = S B dL/dz,   B Bᵀ = 1

    Each gradient brings a vector of its own. It is kept once its point is accepted; that of the next point
    takes its place before. The scales S, a diagonal, are 1 until `renew`.

    Parameters
    ----------
    origin : array [n]
        z₀, whose coordinates are 0.
    most : int
        K: vectors that can be kept.
    precision : dtype
        Of the basis: that of the gradients.

    Attributes
    ----------
    most : int
        K.
    """

    def __init__(self, origin: Flat, most: int, precision: np.dtype[np.floating]) -> None:
        self.most = most
        self._origin = origin
        self.basis = np.empty((most, origin.size), precision)  # takes memory as it is filled
        self._scales = np.ones(most)
        self._kept = 0
        self._is_new = False

    def point(self, coordinates: Coordinates) -> Flat:
        """Map coordinates [K] to the point [n]; those of vectors that were not kept are 0."""
        with np.errstate(over="ignore", invalid="ignore"):  # a step may be far too long: the loss will tell
            basis = self.basis[: self._kept]
            return self._origin + (self._scales * coordinates)[: self._kept].astype(basis.dtype) @ basis

    def coordinates(self, gradient: Flat) -> Coordinates:
        """Map a gradient [n] to its coordinates [K]; what is left of it is the next vector of the basis."""
        basis = self.basis[: self._kept]
        found = np.zeros(len(self.basis))
        length = float(np.linalg.norm(gradient))
        self._is_new = length > 0
        if not self._is_new:
            return found
        rest = (gradient / length).astype(basis.dtype)  # of length 1: a step far too long has a long gradient
        before, left = np.inf, 1.0
        while _NOTHING < left < _CANCELLED * before:
            shares = basis @ rest
            rest -= shares @ basis
            found[: self._kept] += shares
            before, left = left, float(np.linalg.norm(rest))
        self._is_new = left > _NOTHING
        if self._is_new:
            np.divide(rest, left, out=self.basis[self._kept])
            found[self._kept] = left
        return self._scales * (length * found)

    def keep(self) -> None:
        """Keep the vector of the latest gradient."""
        self._kept += self._is_new

    def renew(self, origin: Flat, gradient: Flat, inverse: LbfgsInvHessProduct, most: int) -> None:
        """Begin anew from another point, with the curvature of a few directions.

        L-BFGS has found an inverse Hessian γ (1 + Σ_k (λ_k − 1) v_k v_kᵀ) of the variables. The v_k whose λ_k
        are farthest from 1 stay in the basis, and their scales √λ_k make the function as curved there as it
        is elsewhere: as restarts of Krylov methods keep some eigenvectors (Morgan, "A Restarted GMRES Method
        Augmented with Eigenvectors", SIAM Journal on Matrix Analysis and Applications, 1995). All scales
        share a factor, with which SciPy's first step, of length 1, is the one that γ asks for.

        Parameters
        ----------
        origin, gradient : array [n]
            The point, and the gradient there.
        inverse : scipy.optimize.LbfgsInvHessProduct
            What SciPy has found, in these coordinates.
        most : int
            Directions to carry along.
        """
        from scipy.optimize import LbfgsInvHessProduct

        if not inverse.n_corrs:  # one iteration alone tells nothing
            self._origin, self._kept, self._scales[:] = origin, 0, 1
            return
        kept, scales = self._kept, self._scales[: self._kept]
        steps, changes = scales * inverse.sk[:, :kept], inverse.yk[:, :kept] / scales
        usual = (steps[-1] @ changes[-1]) / (changes[-1] @ changes[-1])
        root = math.sqrt(usual)
        ratios, directions = np.linalg.eigh(LbfgsInvHessProduct(steps / root, changes * root).todense())
        ratios = np.maximum(ratios, _FLATTEST)
        chosen = np.argsort(-np.abs(np.log(ratios)))[:most]
        turn = directions[:, chosen].T.astype(self.basis.dtype)
        for first in range(0, origin.size, _COLUMNS):
            part = self.basis[:kept, first : first + _COLUMNS]
            part[: len(chosen)] = turn @ part
        self._origin, self._kept = origin, len(chosen)
        self._scales[:] = 1
        self._scales[: len(chosen)] = np.sqrt(ratios[chosen])
        self._scales *= usual * float(np.linalg.norm(self.coordinates(gradient)))


def carried(history: int) -> int:
    """Return the number of directions whose curvature a restart of L-BFGS keeps."""
    return history // 2


def vectors(iterations: int, history: int) -> int:
    """Return how many vectors L-BFGS has at most."""
    return history + carried(history) if iterations > history else iterations


def optimizer_bytes(variables: int, kept: int) -> int:
    """Return the bytes of the optimiser with `kept` vectors.

    They are float32. As much as 20 more take the points of float64 where it began, where it is and that was
    best, picture and gradient, and what they become on the way.
    """
    return variables * 4 * (kept + 20)
