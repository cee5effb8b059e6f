"""Settings of a run: each option once, with its default, its limits and its help.

The checks, the command's parameters, the keys of an options file, the attributes in the docstring of
`Options` and the table in the docs all come from the fields here.
"""

from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, Self, cast

from ..errors import OptionError
from ..system.byte_sizes import MIN_MEMORY
from .limits import (
    Bytes,
    Choice,
    Flag,
    Int,
    IntOrWord,
    IntPerScale,
    Layers,
    Number,
    Positive,
    SidesOrWord,
    Weight,
)
from .looks import look as look_of
from .option_fields import Help, attributes_section, is_optional, limits_of
from .presets import Init, Optimizer, Pooling, Preset, StyleStatistic, Variables
from .presets import preset as row_of
from .validation import require_layer_weights

DeviceKind = Literal["auto", "cpu", "cuda"]
Device = str
"""A `DeviceKind`; ``cuda:1`` is the second card."""
Convolution = Literal["auto", "native", "direct", "winograd"]
PreserveColor = Literal["none", "luminance", "match"]
ColorMatch = Literal["cholesky", "pca", "symmetric"]

# Exponent of the strength. The content's distance then grows about evenly with it, by
# `python -m tools.figures.strength`.
_STRENGTH_POWER = 1.25

# Weights of content and style.
_DEFAULT_WEIGHTS = (0.1, 3.0)

# Pixels of the longer side of an image.
MIN_SIZE = 16
MAX_SIZE = 16384


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Settings of a run.

    `Options.preset` gives those of another program; `dataclasses.replace` changes some.
    """

    size: Annotated[
        int | Literal["full"],
        IntOrWord(MIN_SIZE, MAX_SIZE, "full"),
        Help("Longer side of the result in pixels, or 'full' for the size of the content image.", "Basics"),
    ] = 512
    scales: Annotated[
        tuple[int, ...] | Literal["auto", "single"],
        SidesOrWord(MIN_SIZE, MAX_SIZE, ("auto", "single")),
        Help(
            "Longer sides of the scales, coarse to fine, as in 256,512: 'auto' doubles from about 128 px, "
            "'single' is the result's size alone.",
            "Optimisation",
            "The result's own size is always the last; sides that are not smaller are left out.",
        ),
    ] = "auto"
    iterations: Annotated[
        int | tuple[int, ...] | None,
        IntPerScale(1, 1_000_000),
        Help(
            "Iterations at each scale: one number, or one for each scale as in 200,100,50.",
            "Optimisation",
            unset="what each scale needs",
        ),
    ] = None
    fast: Annotated[
        bool,
        Flag(),
        Help(
            "Paint a draft in about half the time, by fewer scales and iterations.",
            "Basics",
            "--scales and --iterations win.",
        ),
    ] = False
    content_weight: Annotated[
        float,
        Weight(),
        Help(
            "Weight of the content loss: more keeps more of the content image.",
            "Content and masks",
            "α of L = α Σ v_l content_l + β Σ w_l style_l + γ tv + δ range, where v_l and w_l sum to 1.",
        ),
    ] = _DEFAULT_WEIGHTS[0]
    style_weight: Annotated[
        float,
        Weight(),
        Help("Weight of the style loss: more takes more of the style image.", "Style", "β of that loss."),
    ] = _DEFAULT_WEIGHTS[1]
    tv_weight: Annotated[
        float,
        Weight(),
        Help(
            "Weight of the total variation: more makes the result smoother.",
            "Optimisation",
            "γ of that loss.",
        ),
    ] = 1e-3
    strength: Annotated[
        float | None,
        Number(0, 1),
        Help(
            "In place of both weights, 0 to 1: 0 is the content image, 0.5 has the weights of the preset or "
            "the defaults, 1 takes the style alone.",
            "Basics",
            "See `balance`. A strength means about the same at every size.",
            unset="the weights",
        ),
    ] = None
    tv_power: Annotated[
        float,
        Number(1, 2),
        Help("Exponent of the total variation: 1 keeps edges sharp, 2 makes them soft.", "Optimisation"),
    ] = 2.0
    range_weight: Annotated[
        float,
        Weight(),
        Help(
            "Weight of the penalty on values outside [0, 1], which no image file can hold.",
            detail="δ of that loss. 0 clips them at the end only, as most other programs do.",
        ),
    ] = 10.0
    content_layers: Annotated[
        tuple[str, ...] | None,
        Layers(),
        Help(
            "Layers of the content loss, with weights or without, such as relu3_1,relu4_1:2.",
            "Content and masks",
            "Names may hold any characters.",
            unset="the network's own",
        ),
    ] = None
    style_layers: Annotated[
        tuple[str, ...] | None,
        Layers(),
        Help(
            "Layers of the style loss, with weights or without, such as relu1_1:2,relu3_1. A colon in a name "
            "is written \\:, a comma \\,.",
            "Style",
            unset="the network's own",
        ),
    ] = None
    content_layer_weights: Annotated[
        tuple[float, ...] | None,
        None,
        Help("v_l before they are made to sum to 1, one for each of `content_layers`; None for equal ones."),
    ] = None
    style_layer_weights: Annotated[
        tuple[float, ...] | None,
        None,
        Help("w_l before they are made to sum to 1, one for each of `style_layers`; None for equal ones."),
    ] = None
    style_statistic: Annotated[
        StyleStatistic | None,
        Choice(StyleStatistic),
        Help(
            "Statistic of the features that the style loss compares: gram, mean-cov, moments, neighbours or "
            "wasserstein.",
            "Style",
            "See `lbfgs_style.objective.losses.style`.",
            unset="moments; gram with a preset",
        ),
    ] = None
    loss: Annotated[
        str,
        None,
        Help(
            "Name of the preset whose formulas the loss terms follow, see `lbfgs_style.settings.presets`. In "
            "``mean-squares``, ``gluon`` and ``neural-style`` each layer has its own weight, and v_l and w_l "
            "do not sum to 1."
        ),
    ] = "default"
    pooling: Annotated[
        Pooling | None,
        Choice(Pooling),
        Help(
            "Pooling in place of the network's own: max, average or l2.",
            "Network and device",
            "See `lbfgs_style.networks.pooling`. None leaves the network's own.",
        ),
    ] = "average"
    smooth_features: Annotated[
        bool,
        Flag(),
        Help(
            "Compare features after a softmax over the channels, for networks with residual sums as ResNet.",
            "Network and device",
        ),
    ] = False
    init: Annotated[
        Init,
        Choice(Init),
        Help(
            "Initial image: content, noise or style.",
            "Content and masks",
            "``style`` takes the middle of the style image in the shape of the content image.",
        ),
    ] = "content"
    init_noise: Annotated[
        float, Number(0, 1), Help("Share of noise in the initial image, 0 to 1.", "Content and masks")
    ] = 0.0
    seed: Annotated[int, Int(0, 2**63 - 1), Help("Seed of the noise.", "Content and masks")] = 0
    preserve_color: Annotated[
        PreserveColor,
        Choice(PreserveColor),
        Help(
            "Colours of the content image: none does not keep them, luminance transfers lightness only, "
            "match recolours the style images first.",
            "Colour",
            "See `lbfgs_style.images.color_preservation`.",
        ),
    ] = "none"
    keep_gray: Annotated[
        bool,
        Flag(),
        Help(
            "A grey content image gives a grey result; --no-keep-gray paints it in the colours of the style.",
            "Colour",
        ),
    ] = True
    color_match: Annotated[
        ColorMatch,
        Choice(ColorMatch),
        Help("How match maps colours: symmetric (moves them least), pca or cholesky.", "Colour"),
    ] = "symmetric"
    variables: Annotated[
        Variables,
        Choice(Variables),
        Help("What L-BFGS optimises, see `lbfgs_style.optimization.variables`."),
    ] = "decorrelated"
    history: Annotated[
        int,
        Int(1, 400),
        Help(
            "Gradients that L-BFGS keeps, 12 bytes per pixel each. After as many iterations it restarts, "
            "keeping the curvature along half as many directions."
        ),
    ] = 60
    optimizer: Annotated[
        Optimizer,
        Choice(Optimizer),
        Help(
            "lbfgs (SciPy's L-BFGS-B), or adam or sgd, which need far more iterations.",
            "Optimisation",
            "See `lbfgs_style.optimization.first_order`.",
        ),
    ] = "lbfgs"
    learning_rate: Annotated[
        float | None,
        Positive(),
        Help(
            "Step of adam or sgd for pixels in [0, 1].",
            "Optimisation",
            "None takes 0.02 for adam and 100 / 255² for sgd.",
            unset="0.02 for adam, 0.0015 for sgd",
        ),
    ] = None
    device: Annotated[
        Device,
        Choice(DeviceKind, numbered="cuda"),
        Help("Device that evaluates: auto, cpu or cuda; cuda:1 is the second card.", "Network and device"),
    ] = "auto"
    threads: Annotated[
        int, Int(0, 4096), Help("CPU threads; 0 takes one for each physical core.", "Network and device")
    ] = 0
    convolution: Annotated[
        Convolution,
        Choice(Convolution),
        Help(
            "Form of convolutions on the CPU: native for operators of our own, direct or winograd for "
            "onnxruntime's, or auto for the quickest there is. The result is the same but for rounding.",
            "Network and device",
            "See `lbfgs_style.native` and `lbfgs_style.graphs.winograd`.",
        ),
    ] = "auto"
    memory: Annotated[
        int | None,
        Bytes(MIN_MEMORY),
        Help(
            "Memory that the process may take, as in 2GB: larger images are evaluated in tiles, or optimised "
            "block by block.",
            "Network and device",
            "In bytes. See `lbfgs_style.pipeline.plan.memory`.",
            unset="most of what is free",
        ),
    ] = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value, limits = getattr(self, field.name), limits_of(field)
            if isinstance(value, list):
                value = tuple(cast("list[Any]", value))
                object.__setattr__(self, field.name, value)
            if limits is not None and not (value is None and is_optional(field)):
                # NumPy's numbers become Python's, which JSON can hold; nobody has seen the frozen object yet.
                object.__setattr__(self, field.name, limits.check(field.name, value))
        for layers in ("content_layers", "style_layers"):
            name = layers.replace("layers", "layer_weights")
            weights = require_layer_weights(name, getattr(self, name), layers, getattr(self, layers))
            object.__setattr__(self, name, weights)
        self._check_combinations()

    def _check_combinations(self) -> None:
        """Raise OptionError where options contradict each other."""
        if self.content_weight == 0 and self.style_weight == 0:
            raise OptionError(
                "content_weight and style_weight are both 0, so there is nothing to do: "
                "give one of them a weight."
            )
        preset = row_of(self.loss)
        if self.strength is not None:
            weights = (self.content_weight, self.style_weight)
            if weights not in (_DEFAULT_WEIGHTS, (preset.content_weight, preset.style_weight)):
                raise OptionError(
                    "strength stands for content_weight and style_weight and contradicts them: give one or "
                    "the other."
                )
        if preset.form.style is not None and self.style_statistic not in (None, "gram"):
            raise OptionError(
                f"The losses of the preset {self.loss!r} compare Gram matrices, got style_statistic "
                f"{self.style_statistic!r}: take 'gram', or the default losses."
            )
        if self.init == "noise" and self.init_noise > 0:
            raise OptionError(
                "init 'noise' is all noise, and init_noise blends noise with an image: leave out one of them."
            )

    @property
    def statistic(self) -> StyleStatistic:
        """Style statistic in use."""
        if self.style_statistic is not None:
            return self.style_statistic
        return "moments" if row_of(self.loss).form.style is None else "gram"

    @property
    def balance(self) -> tuple[float, float]:
        """Weights in use, α and β: with a strength s, α (2 − 2s)^1.25 and β (2s)^1.25."""
        if self.strength is None:
            return self.content_weight, self.style_weight
        content, style = 2 - 2 * self.strength, 2 * self.strength
        return self.content_weight * content**_STRENGTH_POWER, self.style_weight * style**_STRENGTH_POWER

    @classmethod
    def look(cls, name: str) -> Self:
        """Return the settings of a look, a row of `lbfgs_style.settings.looks.LOOKS`.

        Its size of the strokes belongs to the style: ``Style(image, scale=looks.look(name).stroke_size)``.

        Raises
        ------
        OptionError
            There is no such look.
        """
        return cls(**look_of(name).options)

    @classmethod
    def preset(cls, name: str) -> Self:
        """Return the settings of another program, a row of `lbfgs_style.settings.presets.PRESETS`.

        ``dataclasses.replace(Options.preset("keras"), size=400)`` changes some of them. The losses compute
        exactly what the source does where both images have the size that the source gives them; see
        `lbfgs_style.settings.presets` for what differs.

        Raises
        ------
        OptionError
            There is no such preset.
        """
        row: Preset = row_of(name)
        options = {field.name for field in fields(cls)}
        values = {field.name: getattr(row, field.name) for field in fields(row) if field.name in options}
        return cls(loss=row.name, **values)


Options.__doc__ = f"{Options.__doc__}{attributes_section(Options)}"
