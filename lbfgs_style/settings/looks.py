"""Looks: named sets of options that change how a picture is painted, as rows of a table.

A look changes a few of the default options; a preset (`presets`) has the losses of another program.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import OptionError, did_you_mean


@dataclass(frozen=True, slots=True)
class Look:
    """A row of `LOOKS`.

    Attributes
    ----------
    name : str
        What the user writes.
    line : str
        What it does, for lists.
    stroke_size : float
        Scale of every style image, see `lbfgs_style.Style`.
    options : mapping
        Fields of `lbfgs_style.settings.options.Options` that differ from their defaults.
    """

    name: str
    line: str
    stroke_size: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])


LOOKS: tuple[Look, ...] = (
    Look("default", "the defaults"),
    Look("bold", "large, flowing strokes", 1.6, {"strength": 0.4, "style_statistic": "mean-cov"}),
    Look("fine", "strokes of half the size", 0.5),
    Look("soft", "even areas and soft edges", 1.2, {"strength": 0.4, "tv_weight": 3.0}),
    Look(
        "watercolour",
        "washes with clear edges, in large forms",
        1.5,
        {"strength": 0.45, "tv_weight": 0.4, "tv_power": 1.0},
    ),
    Look(
        "ink",
        "flowing lines on flat areas",
        1.0,
        {
            "style_layers": ("relu1_1", "relu2_1", "relu4_1"),
            "style_statistic": "mean-cov",
            "tv_weight": 0.1,
            "tv_power": 1.0,
        },
    ),
    Look(
        "swirls",
        "large forms of the style image, which may bring its figures",
        1.0,
        {
            "strength": 0.3,
            "style_statistic": "mean-cov",
            "style_layers": ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"),
            "style_layer_weights": (1.0, 1.0, 1.0, 1.0, 0.3),
        },
    ),
    Look("wild", "the style above all", 1.6, {"strength": 0.72, "style_statistic": "mean-cov"}),
    Look(
        "portrait",
        "faces stay people: more of the photo's lines, finer strokes",
        0.8,
        {"strength": 0.3, "content_layers": ("relu3_1", "relu4_1")},
    ),
    Look("colours", "the photo's own colours, the style's lightness", 1.0, {"preserve_color": "luminance"}),
)


def look(name: str) -> Look:
    """Return the row of `LOOKS` with a name.

    Raises
    ------
    OptionError
        There is no such row.
    """
    names = [row.name for row in LOOKS]
    if name not in names:
        raise OptionError(f"look must be one of {', '.join(names)}, got {name!r}.{did_you_mean(name, names)}")
    return LOOKS[names.index(name)]
