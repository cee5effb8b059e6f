"""The loss as a function of the image: its value, its terms, its gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """The loss of one image.

    Attributes
    ----------
    loss : float
        The weighted sum of the terms.
    terms : array, float32, [K]
        Each term without its weight, in the order of `LossTerms.names`.
    """

    loss: float
    terms: Array


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation(Value):
    """The loss of one image and its gradient.

    Attributes
    ----------
    gradient : array, float32, [3,H,W]
        dL/d image.
    """

    gradient: Array


class Objective:
    """The loss as a function of an image, with fixed targets and weights.

    Parameters
    ----------
    evaluate : function
        Image [3,H,W], float32 and C-contiguous → loss, terms [K], gradient [3,H,W].
    """

    def __init__(self, evaluate: Callable[[Array], tuple[float, Array, Array]]) -> None:
        self._evaluate = evaluate

    def __call__(self, image: NDArray[np.floating]) -> Evaluation:
        """Evaluate the loss of an image [3,H,W]."""
        return Evaluation(*self._evaluate(np.ascontiguousarray(image, np.float32)))
