"""What a user may choose, checked when it is chosen.

The command takes its defaults and its help from here, so that they cannot drift apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from ..errors import OptionError, did_you_mean
from ..system.byte_sizes import MIN_MEMORY
from .presets import Init, Optimizer, Pooling, Preset, Variables
from .presets import preset as row_of
from .validation import MAX_WEIGHT, require_int, require_number, require_positive, require_weight

StyleStatistic = Literal["gram", "mean-cov", "wasserstein"]
Device = Literal["auto", "cpu", "cuda"]
Convolution = Literal["auto", "direct", "winograd"]
PreserveColor = Literal["none", "luminance", "match"]
ColorMatch = Literal["cholesky", "pca", "symmetric"]

# Found by `tools/strength.py`: with it, how far the content moves grows about evenly with the strength.
_STRENGTH_POWER = 1.25

_DEFAULT_WEIGHTS = (0.1, 3.0)  # of content and style

MIN_SIZE = 16
MAX_SIZE = 16384


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Settings of a transfer.

    `Options.preset` gives those of another program; `dataclasses.replace` changes some.

    Attributes
    ----------
    size : int or "full"
        Longer side of the result in pixels; ``"full"`` keeps the size of the content picture.
    scales : "auto", "single" or tuple of int
        Longer sides of the pictures that are optimised, coarse to fine, before the result's own, which is
        always the last; those that are not smaller are left out. ``"auto"`` doubles from about 128 px,
        ``"single"`` has the result's own alone.
    iterations : int, tuple of int, or None
        Iterations at every scale, or one number for each scale; None lets each scale have what it needs,
        many where they are cheap and few at the end.
    content_weight, style_weight, tv_weight : float
        α, β and γ of L = α Σ v_l content_l + β Σ w_l style_l + γ tv + δ range; v_l and w_l sum to 1.
    strength : float or None
        In place of α and β, 0 to 1: the photo, the weights of `loss` (the defaults or a preset's) at 0.5, the
        style alone; see `balance`. It means the same at every size.
    tv_power : float
        Exponent p of the total variation, from 1 (sharp edges) to 2 (soft ones).
    range_weight : float
        δ: how strongly values outside [0,1], which no picture file can hold, are drawn back. 0 clips them at
        the end only, as most other programs do.
    content_layers, style_layers : tuple of str, or None
        Names of layers of the network, whatever characters they hold; None takes the network's own choice.
    content_layer_weights, style_layer_weights : tuple of float, or None
        v_l and w_l before they are made to sum to 1, one for each of the layers named; None for equal ones.
    style_statistic : {"gram", "mean-cov", "wasserstein"}
        What the style is measured by, see `objective.losses.style`.
    loss : str
        Name of the preset whose formulas the terms follow, see `settings.presets`. In ``mean-squares``,
        ``gluon`` and ``neural-style`` each layer has its own weight, and v_l and w_l do not sum to 1.
    pooling : {"max", "average", "l2"} or None
        What takes the place of the network's pooling, see `lbfgs_style.networks.pooling`; None leaves it.
    init : {"content", "noise", "style"}
        The picture to start from; of the style the part of the content's shape around its middle.
    init_noise : float
        Share of noise in that picture, 0 to 1.
    seed : int
        Seed of the noise.
    preserve_color : {"none", "luminance", "match"}
        Whether the result keeps the colours of the content picture: ``luminance`` transfers light and dark
        alone, ``match`` gives the style pictures its colours first, see `images.color_preservation`.
    keep_gray : bool
        Whether a grey content picture gives a grey result. False paints it in colour.
    color_match : {"cholesky", "pca", "symmetric"}
        How ``match`` maps colours, see `lbfgs_style.images.color_preservation.matching`.
    variables : {"spectral", "pixels", "laplacian"}
        What L-BFGS moves, see `lbfgs_style.optimization.variables`.
    optimizer : {"lbfgs", "adam", "sgd"}
        L-BFGS-B of SciPy, or a first-order method on the pixels, see `lbfgs_style.optimization.first_order`.
    learning_rate : float or None
        Step of Adam or SGD for pixels in [0,1]; None takes 0.02 for Adam and 100 / 255² for SGD.
    history : int
        Iterations that L-BFGS remembers, 4 bytes for each of the variables, of which a pixel has 3 (4 where
        they are ``laplacian``). After so many it begins anew, with the curvature of half as many directions.
    device : {"auto", "cpu", "cuda"}
        Where the graph runs.
    threads : int
        Threads of the CPU; 0 takes one for each physical core.
    convolution : {"auto", "direct", "winograd"}
        How 3×3 convolutions are computed on the CPU: ``auto`` takes Winograd's form where it is quicker, see
        `lbfgs_style.graphs.winograd`. The result is the same but for rounding.
    memory : int or None
        Bytes that the process may take. Where a scale does not fit, L-BFGS begins anew more often, then
        evaluations work in tiles, then the optimiser block by block; see `pipeline.plan.memory`. None takes
        most of what the machine has left.

    Raises
    ------
    OptionError
        If a value is outside what is allowed.
    """

    size: int | Literal["full"] = 512
    scales: tuple[int, ...] | Literal["auto", "single"] = "auto"
    iterations: int | tuple[int, ...] | None = None
    content_weight: float = _DEFAULT_WEIGHTS[0]
    style_weight: float = _DEFAULT_WEIGHTS[1]
    tv_weight: float = 1e-3
    strength: float | None = None
    tv_power: float = 2.0
    range_weight: float = 10.0
    content_layers: tuple[str, ...] | None = None
    style_layers: tuple[str, ...] | None = None
    content_layer_weights: tuple[float, ...] | None = None
    style_layer_weights: tuple[float, ...] | None = None
    style_statistic: StyleStatistic = "gram"
    loss: str = "default"
    pooling: Pooling | None = None
    init: Init = "content"
    init_noise: float = 0.0
    seed: int = 0
    preserve_color: PreserveColor = "none"
    keep_gray: bool = True
    color_match: ColorMatch = "symmetric"
    variables: Variables = "spectral"
    history: int = 60
    optimizer: Optimizer = "lbfgs"
    learning_rate: float | None = None
    device: Device = "auto"
    threads: int = 0
    convolution: Convolution = "auto"
    memory: int | None = None

    def __post_init__(self) -> None:
        if self.size != "full":
            self._set("size", require_int("size", self.size, MIN_SIZE, MAX_SIZE, " or 'full'"))
        if not isinstance(self.scales, str) or self.scales not in ("auto", "single"):
            self._set("scales", _scales(self.scales))
        self._set("iterations", _iterations(self.iterations))
        for name in ("content_weight", "style_weight", "tv_weight", "range_weight"):
            self._set(name, require_weight(name, getattr(self, name)))
        if self.content_weight == 0 and self.style_weight == 0:
            raise OptionError(
                "content_weight and style_weight are both 0, so there is nothing to do: "
                "give one of them a weight."
            )
        if self.strength is not None:
            self._set("strength", require_number("strength", self.strength, 0, 1))
            row = row_of(self.loss)
            weights = (self.content_weight, self.style_weight)
            if weights not in (_DEFAULT_WEIGHTS, (row.content_weight, row.style_weight)):
                raise OptionError(
                    "strength stands for content_weight and style_weight and contradicts them: give one or "
                    "the other."
                )
        for name in ("content_layers", "style_layers"):
            _check_layers(name, getattr(self, name))
            weights = name.replace("layers", "layer_weights")
            self._set(weights, _layer_weights(weights, getattr(self, weights), name, getattr(self, name)))
        self._set("tv_power", require_number("tv_power", self.tv_power, 1, 2))
        _check_choice("style_statistic", self.style_statistic, get_args(StyleStatistic))
        if row_of(self.loss).form.style is not None and self.style_statistic != "gram":
            raise OptionError(
                f"The losses of the preset {self.loss!r} compare Gram matrices, got style_statistic "
                f"{self.style_statistic!r}: take 'gram', or the default losses."
            )
        if self.pooling is not None:
            _check_choice("pooling", self.pooling, get_args(Pooling))
        _check_choice("optimizer", self.optimizer, get_args(Optimizer))
        if self.learning_rate is not None:
            self._set("learning_rate", require_positive("learning_rate", self.learning_rate))
        _check_choice("init", self.init, get_args(Init))
        _check_choice("preserve_color", self.preserve_color, get_args(PreserveColor))
        _check_choice("color_match", self.color_match, get_args(ColorMatch))
        _check_choice("variables", self.variables, get_args(Variables))
        _check_choice("device", self.device, get_args(Device))
        _check_choice("convolution", self.convolution, get_args(Convolution))
        self._set("keep_gray", _flag("keep_gray", self.keep_gray))
        self._set("init_noise", require_number("init_noise", self.init_noise, 0, 1))
        if self.init == "noise" and self.init_noise > 0:
            raise OptionError(
                "init 'noise' is all noise, and init_noise blends noise with a picture: leave out one of "
                "them."
            )
        self._set("seed", require_int("seed", self.seed, 0, 2**63 - 1))
        self._set("history", require_int("history", self.history, 1, 400))
        self._set("threads", require_int("threads", self.threads, 0, 4096))
        if self.memory is not None:
            self._set("memory", require_int("memory", self.memory, MIN_MEMORY, 2**63 - 1, " (bytes)"))

    @property
    def balance(self) -> tuple[float, float]:
        """The weights in use, α and β.

        With a strength s: α (2 − 2s)^1.25 and β (2s)^1.25.
        """
        if self.strength is None:
            return self.content_weight, self.style_weight
        content, style = 2 - 2 * self.strength, 2 * self.strength
        return self.content_weight * content**_STRENGTH_POWER, self.style_weight * style**_STRENGTH_POWER

    @classmethod
    def preset(cls, name: str) -> Options:
        """Return the settings of another program, a row of `lbfgs_style.settings.presets.PRESETS`.

        ``dataclasses.replace(Options.preset("keras"), size=400)`` changes some of them. The losses compute
        exactly what the source does where both pictures have the size that the source gives them; see
        `lbfgs_style.settings.presets` for what differs.

        Raises
        ------
        OptionError
            If there is no such preset.
        """
        row: Preset = row_of(name)
        return cls(
            loss=row.name,
            content_weight=row.content_weight,
            style_weight=row.style_weight,
            tv_weight=row.tv_weight,
            tv_power=row.tv_power,
            range_weight=row.range_weight,
            content_layers=row.content_layers,
            style_layers=row.style_layers,
            pooling=row.pooling,
            init=row.init,
            variables=row.variables,
            optimizer=row.optimizer,
            learning_rate=row.learning_rate,
            iterations=row.iterations,
            scales=row.scales,
        )

    def _set(self, name: str, value: object) -> None:
        # NumPy's numbers become Python's, which JSON can hold; nobody has seen the frozen object yet.
        object.__setattr__(self, name, value)


# What people write for a choice whose name differs.
_SYNONYMS = {"gpu": "cuda", "nvidia": "cuda", "l-bfgs": "lbfgs", "mean": "average", "avg": "average"}


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value in choices:
        return
    meant = _SYNONYMS.get(str(value).casefold().rstrip(":0123456789"))
    hint = did_you_mean(meant if meant in choices else str(value), choices)
    raise OptionError(f"{name} must be one of {', '.join(choices)}, got {value!r}.{hint}")


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise OptionError(f"{name} must be True or False (in TOML true or false), got {value!r}.")
    return bool(value)


def _iterations(given: object) -> int | tuple[int, ...] | None:
    if given is None:
        return None
    otherwise = ", or a tuple (in TOML a list) with one for each scale"
    if isinstance(given, tuple) and given:
        return tuple(require_int("iterations", count, 1, 1_000_000, otherwise) for count in given)
    return require_int("iterations", given, 1, 1_000_000, otherwise)


def _scales(given: object) -> tuple[int, ...]:
    if not isinstance(given, tuple) or not given:
        raise OptionError(
            "scales must be 'auto', 'single' or a tuple (in TOML a list) of longer sides such as (256, 512), "
            f"got {given!r}."
        )
    sides = tuple(require_int("each of the scales", side, MIN_SIZE, MAX_SIZE) for side in given)
    if list(sides) != sorted(set(sides)):
        raise OptionError(f"scales must grow from first to last, got {','.join(map(str, sides))}.")
    return sides


def _check_layers(name: str, layers: object) -> None:
    if layers is None:
        return
    if not isinstance(layers, tuple) or not layers or not all(isinstance(item, str) for item in layers):
        raise OptionError(
            f"{name} must be a tuple (in TOML a list) of layers such as ('relu1_1', 'relu3_1'), got "
            f"{layers!r}."
        )
    if len(set(layers)) < len(layers):
        raise OptionError(f"{name} names a layer twice: {','.join(layers)}.")


def _layer_weights(name: str, weights: object, layers_name: str, layers: object) -> tuple[float, ...] | None:
    if weights is None:
        return None
    if not isinstance(weights, tuple) or not isinstance(layers, tuple) or len(weights) != len(layers):
        raise OptionError(
            f"{name} must be a tuple with a number for each of {layers_name}, got {weights!r} for {layers!r}."
        )
    return tuple(require_positive(f"each of {name}", each, MAX_WEIGHT) for each in weights)
