"""The loss as a function of the image: its value, its terms, its gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..graphs.network_graph import IMAGE
from .device_arrays import DeviceArray, DeviceInputs
from .session import Session

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


@dataclass(frozen=True, slots=True, eq=False)
class DeviceObjective:
    """The loss as a function of an image in the memory of the device.

    Attributes
    ----------
    session : Session
        Evaluates it; its siblings run on the same device.
    inputs : mapping of str to DeviceArray
        Targets and weights.
    """

    session: Session
    inputs: DeviceInputs

    def __call__(self, image: DeviceArray) -> tuple[Value, DeviceArray]:
        """Return the value, and the gradient [1,3,H,W], for an image [1,3,H,W]."""
        (loss, terms), (gradient,) = self.session.run_on_device(
            ["loss", "terms"], {}, {IMAGE: image, **self.inputs}, kept=["d_image"]
        )
        return Value(float(loss), terms), gradient


class Objective:
    """The loss as a function of an image, with fixed targets and weights.

    Parameters
    ----------
    evaluate : function
        Image [3,H,W], float32 and C-contiguous → loss, terms [K], gradient [3,H,W].
    on_device : DeviceObjective, optional
        The same function of an image in the memory of the device.

    Attributes
    ----------
    on_device : DeviceObjective or None
        As given.
    """

    def __init__(
        self,
        evaluate: Callable[[Array], tuple[float, Array, Array]],
        on_device: DeviceObjective | None = None,
    ) -> None:
        self._evaluate, self.on_device = evaluate, on_device

    def __call__(self, image: NDArray[np.floating]) -> Evaluation:
        """Evaluate the loss of an image [3,H,W]."""
        return Evaluation(*self._evaluate(np.ascontiguousarray(image, np.float32)))
