"""The loss as a function of the picture: f(image) → loss, each term, gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """The loss of one picture.

    Attributes
    ----------
    loss : float
        The weighted sum of the terms.
    terms : array, float32, [K]
        Each term without its weight, in the order of `TermNames.names`.
    """

    loss: float
    terms: Array


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation(Value):
    """The objective at one picture: its loss, and the way down.

    Attributes
    ----------
    gradient : array, float32, [3,H,W]
        dL/d image.
    """

    gradient: Array


class Objective:
    """One problem: targets and weights at one size.

    Parameters
    ----------
    evaluate : function
        Picture [3,H,W], float32 → loss, terms [K], gradient [3,H,W].
    """

    def __init__(self, evaluate: Callable[[Array], tuple[float, Array, Array]]) -> None:
        self._evaluate = evaluate

    def __call__(self, image: NDArray[np.floating]) -> Evaluation:
        """Evaluate at a picture [3,H,W]."""
        return Evaluation(*self._evaluate(np.ascontiguousarray(image, np.float32)))


def blend_grams(statistics: Sequence[Mapping[str, Array]], shares: Sequence[float]) -> dict[str, Array]:
    """Mix the moments of several styles, in proportion to `shares`.

    Σ_k s_k ‖G − A_k‖² and ‖G − Σ_k s_k A_k‖² (with Σ s_k = 1) differ by a constant only, so one mean target
    does what a loss for each style would. Mixed means and Gram matrices are those of the pictures' features
    thrown together; so covariances must not be mixed instead.
    """
    factors = np.array(shares, np.float64)
    factors = (factors / factors.max() / (factors / factors.max()).sum()).astype(np.float32)
    return {
        name: np.einsum("k,kij->ij", factors, np.stack([each[name] for each in statistics]))
        for name in statistics[0]
    }
