"""Results of a run: the records that callbacks get, and the final result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..images import FloatImage, Picture, encode, to_array, to_hwc, write
from ..optimization.lbfgs import STOP_REASONS
from ..optimization.problem import AnyImage
from .plan.scales import ScaleResult
from .recipe_document import document, to_text


@dataclass(frozen=True, slots=True, eq=False)
class Iterate:
    """The state of a run after an iteration, for callbacks.

    Attributes
    ----------
    scale, scales : int
        The current scale, 1-based, and the number of scales.
    size : (int, int)
        Height and width of the scale.
    iteration, iterations : int
        The iteration at this scale, 1-based, and the maximum number of iterations.
    plan : tuple of ((int, int), int)
        Size and iterations of every scale.
    evaluations : int
        Evaluations of loss and gradient at this scale so far.
    loss : float
        The weighted sum of the terms.
    terms : dict of str to float
        Each term without its weight; a new dict each time.
    seconds : float
        Seconds since the start of the run.
    progress : float
        Share of the run's work that is done, 0 to 1.
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
    _picture: AnyImage = field(repr=False)
    _restore_colors: Callable[[FloatImage], FloatImage] | None = field(default=None, repr=False)

    @property
    def terms(self) -> dict[str, float]:
        """Each term without its weight; a new dict each time."""
        return dict(self._terms)

    @property
    def progress(self) -> float:
        """Share of the run's work that is done, 0 to 1.

        An iteration costs in proportion to its pixels; unfinished scales count with all their iterations.
        """
        costs = [count * height * width for (height, width), count in self.plan]
        current = costs[self.scale - 1] * self.iteration / self.iterations
        return (sum(costs[: self.scale - 1]) + current) / sum(costs)

    def image(self) -> FloatImage:
        """Return the image after this iteration: float32 H×W×3, RGB in [0,1], in its final colours.

        On a card it is copied from there when this is called, and until then takes memory there.
        """
        picture = to_hwc(np.asarray(self._picture))
        return picture if self._restore_colors is None else self._restore_colors(picture)


class Stop(Enum):
    """The type of `STOP`."""

    STOP = "stop"


# What a callback returns to stop the run. Anything else is ignored: ``lambda it: bar.update(1)`` is a
# callback, whatever the bar's `update` returns.
STOP = Stop.STOP

# Called after each iteration; stops the run by returning `STOP` or raising StopIteration.
IterateCallback = Callable[[Iterate], object]


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """The result of a run.

    Attributes
    ----------
    picture : Picture
        The image before rounding, as `lbfgs_style.images.write` takes it; `image` is the array.
    history : tuple of float
        The loss after each iteration, over all scales.
    term_history : mapping of str to (tuple of float)
        Each term without its weight, after each iteration.
    scales : tuple of ScaleResult
        Coarse to fine.
    evaluations : int
        Evaluations of loss and gradient, over all scales.
    stop_reason : str
        Why the last scale ended.
    seconds : float
        Wall time.
    settings : mapping
        Options, share of each style, network, provider, operators and versions.
    inputs : (mapping, mapping)
        Names and fingerprints of the inputs, for the recipe.
    """

    picture: Picture = field(repr=False)
    history: tuple[float, ...] = field(repr=False)
    term_history: Mapping[str, tuple[float, ...]] = field(repr=False)
    scales: tuple[ScaleResult, ...]
    evaluations: int
    stop_reason: str
    seconds: float
    settings: Mapping[str, Any] = field(repr=False)
    inputs: tuple[Mapping[str, Any], Mapping[str, Any]] = field(repr=False)
    _image: list[NDArray[Any]] = field(default_factory=list[NDArray[Any]], init=False, repr=False)

    @property
    def image(self) -> NDArray[Any]:
        """The image as an array of the content's kind: dtype, grey or RGB, alpha."""
        if not self._image:  # writing a file does not need it
            self._image.append(to_array(self.picture))
        return self._image[0]

    def save(self, path: Path | str, *, quality: int = 95, recipe: bool = True) -> None:
        """Write the image with the content's colour profile, EXIF and XMP, and the recipe of the run.

        ``lbfgs-style rerun`` repeats the run from it; inputs that were arrays have to be named then.

        Parameters
        ----------
        path, quality
            See `lbfgs_style.images.write`.
        recipe : bool
            Keep options and names of the inputs in a PNG, JPEG or TIFF.

        Raises
        ------
        OptionError, ImageFileError
            See `lbfgs_style.images.write`.
        """
        files, sha256 = self.inputs
        text = None
        if recipe:
            folder = Path(path).parent
            text = to_text(document(self.settings, files, sha256, quality=quality, folder=folder))
        write(path, self.picture, quality=quality, recipe=text)

    def _repr_png_(self) -> bytes:
        """Return the image as notebooks show it."""
        return encode(self.picture)

    def report(self) -> dict[str, Any]:
        """Return everything but the image, as a dictionary for JSON."""
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
