"""What a user may choose, checked when it is chosen.

The command takes its defaults and its help from here, so that they cannot drift apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real  # NumPy's numbers are registered as such
from typing import Literal, get_args

from .errors import OptionError, did_you_mean

Device = Literal["auto", "cpu", "cuda"]
Convolution = Literal["auto", "direct", "winograd"]
Init = Literal["content", "noise", "style"]
Variables = Literal["spectral", "pixels", "laplacian"]

# Found by `tools/strength.py`: with it, how far the content moves grows about evenly with the strength.
_STRENGTH_POWER = 1.25

_DEFAULT_WEIGHTS = (0.1, 3.0)  # of content and style

MIN_SIZE = 16
MAX_SIZE = 16384


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Settings of a transfer.

    Attributes
    ----------
    size : int or "full"
        Longer side of the result in pixels; ``"full"`` keeps the size of the content picture.
    scales : "auto" or tuple of int
        Longer sides of the pictures that are optimised, coarse to fine, before the result's own, which is
        always the last; those that are not smaller are left out. ``"auto"`` doubles from about 128 px.
    iterations : int, tuple of int, or None
        Iterations at every scale, or one number for each scale; None lets each scale have what it needs,
        many where they are cheap and few at the end.
    content_weight, style_weight, tv_weight : float
        α, β and γ of L = α Σ v_l content_l + β Σ w_l style_l + γ tv + δ range; v_l and w_l are equal and sum
        to 1.
    strength : float or None
        In place of α and β, 0 to 1: the photo, their defaults at 0.5, the style alone; see `balance`. It
        means the same at every size.
    range_weight : float
        δ: how strongly values outside [0,1], which no picture file can hold, are drawn back. 0 clips them at
        the end only, as most other programs do.
    content_layers, style_layers : tuple of str, or None
        Layers of the network; None takes the network's own choice.
    init : {"content", "noise", "style"}
        The picture to start from; of the style the part of the content's shape around its middle.
    init_noise : float
        Share of noise in that picture, 0 to 1.
    seed : int
        Seed of the noise.
    variables : {"spectral", "pixels", "laplacian"}
        What the optimiser moves, see `lbfgs_style.parametrization`.
    history : int
        Corrections that L-BFGS keeps; each takes 16 bytes for each number of the picture.
    device : {"auto", "cpu", "cuda"}
        Where the graph runs.
    threads : int
        Threads of the CPU; 0 takes one for each physical core.
    convolution : {"auto", "direct", "winograd"}
        How 3×3 convolutions are computed on the CPU: ``auto`` takes Winograd's form where it is quicker, see
        `lbfgs_style.winograd`. The result is the same but for rounding.

    Raises
    ------
    OptionError
        If a value is outside what is allowed.
    """

    size: int | Literal["full"] = 512
    scales: tuple[int, ...] | Literal["auto"] = "auto"
    iterations: int | tuple[int, ...] | None = None
    content_weight: float = _DEFAULT_WEIGHTS[0]
    style_weight: float = _DEFAULT_WEIGHTS[1]
    tv_weight: float = 1e-3
    strength: float | None = None
    range_weight: float = 10.0
    content_layers: tuple[str, ...] | None = None
    style_layers: tuple[str, ...] | None = None
    init: Init = "content"
    init_noise: float = 0.0
    seed: int = 0
    variables: Variables = "spectral"
    history: int = 10
    device: Device = "auto"
    threads: int = 0
    convolution: Convolution = "auto"

    def __post_init__(self) -> None:
        if self.size != "full":
            self._set("size", _whole("size", self.size, MIN_SIZE, MAX_SIZE, " or 'full'"))
        if self.scales != "auto":
            self._set("scales", _scales(self.scales))
        self._set("iterations", _iterations(self.iterations))
        for name in ("content_weight", "style_weight", "tv_weight", "range_weight"):
            self._set(name, _weight(name, getattr(self, name)))
        if self.content_weight == 0 and self.style_weight == 0:
            raise OptionError(
                "content_weight and style_weight are both 0, so there is nothing to do: "
                "give one of them a weight."
            )
        if self.strength is not None:
            self._set("strength", _share("strength", self.strength))
            if (self.content_weight, self.style_weight) != _DEFAULT_WEIGHTS:
                raise OptionError(
                    "strength stands for content_weight and style_weight and contradicts them: give one or "
                    "the other."
                )
        for name in ("content_layers", "style_layers"):
            _check_layers(name, getattr(self, name))
        _check_choice("init", self.init, get_args(Init))
        _check_choice("variables", self.variables, get_args(Variables))
        _check_choice("device", self.device, get_args(Device))
        _check_choice("convolution", self.convolution, get_args(Convolution))
        self._set("init_noise", _share("init_noise", self.init_noise))
        if self.init == "noise" and self.init_noise > 0:
            raise OptionError(
                "init 'noise' is all noise, and init_noise blends noise with a picture: leave out one of "
                "them."
            )
        self._set("seed", _whole("seed", self.seed, 0, 2**63 - 1))
        self._set("history", _whole("history", self.history, 1, 1000))
        self._set("threads", _whole("threads", self.threads, 0, 4096))

    @property
    def balance(self) -> tuple[float, float]:
        """The weights in use, α and β.

        With a strength s: α (2 − 2s)^1.25 and β (2s)^1.25.
        """
        if self.strength is None:
            return self.content_weight, self.style_weight
        content, style = 2 - 2 * self.strength, 2 * self.strength
        return self.content_weight * content**_STRENGTH_POWER, self.style_weight * style**_STRENGTH_POWER

    def _set(self, name: str, value: object) -> None:
        # NumPy's numbers become Python's, which JSON can hold; nobody has seen the frozen object yet.
        object.__setattr__(self, name, value)


def _whole(name: str, value: object, least: int, most: int, otherwise: str = "") -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or not least <= int(value) <= most:
        raise OptionError(f"{name} must be a whole number from {least} to {most}{otherwise}, got {value!r}.")
    return int(value)


def _weight(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) < math.inf:
        raise OptionError(f"{name} must be a finite number, 0 or larger, got {value!r}.")
    return float(value)


def _share(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) <= 1:
        raise OptionError(f"{name} must be a number from 0 to 1, got {value!r}.")
    return float(value)


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise OptionError(
            f"{name} must be one of {', '.join(choices)}, got {value!r}.{did_you_mean(str(value), choices)}"
        )


def _iterations(given: object) -> int | tuple[int, ...] | None:
    if given is None:
        return None
    otherwise = ", or a tuple with one for each scale"
    if isinstance(given, tuple) and given:
        return tuple(_whole("iterations", count, 1, 1_000_000, otherwise) for count in given)
    return _whole("iterations", given, 1, 1_000_000, otherwise)


def _scales(given: object) -> tuple[int, ...]:
    if not isinstance(given, tuple) or not given:
        raise OptionError(
            f"scales must be 'auto' or a tuple of longer sides such as (256, 512), got {given!r}."
        )
    sides = tuple(_whole("each of the scales", side, MIN_SIZE, MAX_SIZE) for side in given)
    if list(sides) != sorted(set(sides)):
        raise OptionError(f"scales must grow from first to last, got {','.join(map(str, sides))}.")
    return sides


def _check_layers(name: str, layers: object) -> None:
    if layers is None:
        return
    if not isinstance(layers, tuple) or not layers or not all(isinstance(item, str) for item in layers):
        raise OptionError(f"{name} must be a tuple of layers such as ('relu1_1', 'relu3_1'), got {layers!r}.")
    if len(set(layers)) < len(layers):
        raise OptionError(f"{name} names a layer twice: {','.join(layers)}.")
