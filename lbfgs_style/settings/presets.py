"""Presets: the losses and settings of well-known programs, as rows of a table.

A preset is the form of its losses (`loss_forms`), its weights and layers, how it starts and what moves the
pixels. The forms share one code path (`objective.losses.assembly`): they differ in factors of the layer's
channels C, of its positions M, and of the image's pixels. Where a source leaves weights or iterations to
its user, the row has our choice: all weights of ``mean-squares`` and ``gluon``, the 1,000 iterations of
these two and of ``gatys``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..errors import OptionError, did_you_mean
from .loss_forms import RELATIVE, Factor, LossForm, Variation

Init = Literal["content", "noise", "style"]
Optimizer = Literal["lbfgs", "adam", "sgd"]
Pooling = Literal["max", "average", "l2"]
Variables = Literal["decorrelated", "spectral", "pixels"]
StyleStatistic = Literal["gram", "mean-cov", "moments", "neighbours", "wasserstein"]

_VGG_STYLE = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")


@dataclass(frozen=True, slots=True)
class Preset:
    """A row of `PRESETS`; other attributes as in `lbfgs_style.settings.options.Options`.

    Attributes
    ----------
    name, source : str
        What the user writes, and whose formulas they are.
    network : str
        The network of the source. A suggestion: every preset runs on every network that has its layers.
    form : LossForm
        The losses.
    """

    name: str
    source: str
    network: str
    form: LossForm
    content_weight: float
    style_weight: float
    tv_weight: float = 0.0
    tv_power: float = 2.0
    range_weight: float = 0.0
    content_layers: tuple[str, ...] | None = ("relu4_2",)
    style_layers: tuple[str, ...] | None = _VGG_STYLE
    pooling: Pooling | None = None
    init: Init = "content"
    variables: Variables = "pixels"
    optimizer: Optimizer = "lbfgs"
    learning_rate: float | None = None
    iterations: int | None = 1000
    scales: Literal["auto", "single"] = "single"


_MEAN_SQUARE = Factor(1.0, channels=-1, positions=-1)
_GRAM_BY_CM = Factor(1.0, channels=-4)  # mean over C² of (F Fᵀ / (C M) − …)²

PRESETS: tuple[Preset, ...] = (
    Preset(
        name="default",
        source="lbfgs-style's own: relative distances, coarse to fine",
        network="compact",
        form=RELATIVE,
        content_weight=0.1,
        style_weight=3.0,
        tv_weight=1e-3,
        range_weight=10.0,
        content_layers=None,
        style_layers=None,
        pooling="average",
        variables="decorrelated",
        iterations=None,
        scales="auto",
    ),
    Preset(
        name="gatys",
        source="Gatys, Ecker and Bethge, CVPR 2016",
        network="vgg19-caffe",
        # Σ (M G − M A)² / (4 C² M²), M G being the Gram matrix without a division.
        form=LossForm(content=Factor(0.5), style=Factor(1 / 4, channels=-2)),
        content_weight=1.0,
        style_weight=1e3,
        pooling="average",
    ),
    Preset(
        name="keras",
        source="Keras' example neural_style_transfer.py",
        network="vgg19-caffe",
        form=LossForm(
            content=Factor(1.0),
            style=Factor(1 / 36, positions=2, pixels=-2),
            variation=Variation(joint=True, per_pixel=False, white=255),
        ),
        content_weight=2.5e-8,
        style_weight=1e-6,
        tv_weight=1e-6,
        tv_power=1.25,
        content_layers=("relu5_2",),
        optimizer="sgd",
        learning_rate=100 / 255**2,  # 100 in pixel values of 0 to 255
        iterations=4000,
    ),
    Preset(
        name="tensorflow",
        source="TensorFlow's tutorial style_transfer.ipynb",
        network="vgg19-caffe",
        form=LossForm(
            content=_MEAN_SQUARE, style=Factor(1.0, channels=-2), variation=Variation(per_pixel=False)
        ),
        content_weight=1e4,
        style_weight=1e-2,
        tv_weight=30.0,
        tv_power=1.0,
        content_layers=("relu5_2",),
        optimizer="adam",
    ),
    Preset(
        name="mean-squares",
        source="mean squares throughout; weights and layers are left to the user",
        network="vgg16",
        form=LossForm(
            content=_MEAN_SQUARE, style=_GRAM_BY_CM, variation=Variation(per_pixel=False), mean=False
        ),
        content_weight=1.0,
        style_weight=1e4,
        tv_weight=1e-4,
        tv_power=1.0,
        optimizer="adam",
    ),
    Preset(
        name="gluon",
        source="Gluon's style transfer",
        network="vgg16",
        form=LossForm(content=_MEAN_SQUARE, style=_GRAM_BY_CM, mean=False),
        content_weight=1.0,
        style_weight=1e4,
        content_layers=("relu5_1",),
        optimizer="adam",
    ),
    Preset(
        name="neural-style",
        source="Johnson's neural-style (Torch)",
        network="vgg19-caffe",
        form=LossForm(
            content=_MEAN_SQUARE,
            style=_GRAM_BY_CM,
            variation=Variation(joint=True, per_pixel=False, white=255, number=0.5),
            mean=False,
        ),
        content_weight=5.0,
        style_weight=100.0,
        tv_weight=1e-3,
        tv_power=1.0,
        init="noise",
    ),
)


def preset(name: str) -> Preset:
    """Return the row of `PRESETS` with a name.

    Raises
    ------
    OptionError
        There is no such row.
    """
    names = [row.name for row in PRESETS]
    if name not in names:
        raise OptionError(
            f"preset must be one of {', '.join(names)}, got {name!r}.{did_you_mean(str(name), names)}"
        )
    return PRESETS[names.index(name)]
