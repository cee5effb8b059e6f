"""The loss as a function of the picture: f(image) → loss, each term, gradient."""

from __future__ import annotations

from collections.abc import Callable
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
