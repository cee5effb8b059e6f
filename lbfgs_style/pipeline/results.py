"""What comes out of a run: the records that callbacks get, and the result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..images import FloatImage, Picture, to_array, to_hwc
from ..optimization.lbfgs import STOP_REASONS
from .plan.scales import ScaleResult


@dataclass(frozen=True, slots=True, eq=False)
class Iterate:
    """What a callback gets after each iteration.

    Attributes
    ----------
    scale, scales : int
        The scale in work, from 1, and how many there are.
    size : (int, int)
        Height and width at this scale.
    iteration, iterations : int
        The iteration at this scale, from 1, and how many there will be at the most.
    plan : tuple of ((int, int), int)
        Size and iterations of every scale.
    evaluations : int
        Evaluations of loss and gradient at this scale.
    loss : float
        The weighted sum of the terms.
    terms : dict of str to float
        Each term without its weight; a new dict each time.
    seconds : float
        Since the start of the run.
    """

    scale: int
    scales: int
    size: tuple[int, int]
    iteration: int
    iterations: int
    plan: tuple[tuple[tuple[int, int], int], ...]
    evaluations: int
    loss: float
    seconds: float
    _terms: tuple[tuple[str, float], ...]
    _picture: NDArray[np.floating] = field(repr=False)
    _restore_colors: Callable[[FloatImage], FloatImage] | None = field(default=None, repr=False)

    @property
    def terms(self) -> dict[str, float]:
        """Each term without its weight; a new dict each time."""
        return dict(self._terms)

    def image(self) -> FloatImage:
        """Return the image at this point: H×W×3 float32, RGB, clipped to [0,1], in its final colours."""
        picture = to_hwc(self._picture)
        return picture if self._restore_colors is None else self._restore_colors(picture)


def work_done(iterate: Iterate) -> float:
    """Return the share of the run's work that is done, 0 to 1.

    An iteration costs in proportion to its pixels; unfinished scales count with all their iterations.
    """
    costs = [count * height * width for (height, width), count in iterate.plan]
    here = costs[iterate.scale - 1] * iterate.iteration / iterate.iterations
    return (sum(costs[: iterate.scale - 1]) + here) / sum(costs)


# Called after each iteration; stops the run by returning True.
IterateCallback = Callable[[Iterate], bool | None]


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """A finished transfer.

    Attributes
    ----------
    picture : Picture
        The image before rounding, as `lbfgs_style.images.write` takes it; `image` is the array.
    history : tuple of float
        The loss after each iteration, over all scales.
    term_history : mapping of str to (tuple of float)
        Each term without its weight, likewise.
    scales : tuple of ScaleResult
        Coarse to fine.
    evaluations : int
        Evaluations of loss and gradient, over all scales.
    stop_reason : str
        Why the last scale ended.
    seconds : float
        Wall time.
    settings : mapping
        Options, share of each style, network, provider and versions.
    """

    picture: Picture = field(repr=False)
    history: tuple[float, ...] = field(repr=False)
    term_history: Mapping[str, tuple[float, ...]] = field(repr=False)
    scales: tuple[ScaleResult, ...]
    evaluations: int
    stop_reason: str
    seconds: float
    settings: Mapping[str, Any] = field(repr=False)
    _image: list[NDArray[Any]] = field(default_factory=list[NDArray[Any]], init=False, repr=False)

    @property
    def image(self) -> NDArray[Any]:
        """The image as an array of the content's kind: dtype, grey or RGB, alpha."""
        if not self._image:  # who writes a file needs none
            self._image.append(to_array(self.picture))
        return self._image[0]

    def report(self) -> dict[str, Any]:
        """Return everything but the image, ready for JSON."""
        return {
            **self.settings,
            "seconds": round(self.seconds, 3),
            "evaluations": self.evaluations,
            "stop_reason": self.stop_reason,
            "stop_explanation": STOP_REASONS[self.stop_reason],
            "scales": [
                asdict(s) | {"size": list(s.size), "seconds": round(s.seconds, 3)} for s in self.scales
            ],
            "history": list(self.history),
            "term_history": {name: list(curve) for name, curve in self.term_history.items()},
        }
