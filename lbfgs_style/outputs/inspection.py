"""Inspect layers: what single layers keep of an image, and how layers and weights change a result.

`reconstruct_content` and `reconstruct_style` start from noise and keep one target only (Gatys, Ecker and
Bethge, "Image Style Transfer Using Convolutional Neural Networks", CVPR 2016, fig. 1); `grid` paints one pair
with every combination of settings (fig. 4 and 5 there; fig. 3 of the preprint, arXiv:1508.06576).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import networks
from ..errors import OptionError
from ..images import FloatImage, ImageLike, Picture
from ..pipeline.inputs import OneStyle
from ..pipeline.results import IterateCallback, Result
from ..pipeline.style_statistics import StyleStatistics
from ..pipeline.style_transfer import DEFAULT_NETWORK, StyleTransfer
from ..pipeline.styles import Style
from ..settings.looks import LOOKS, Look
from ..settings.options import Options
from .contact_sheet import Canvas, Legend, sheet

log = logging.getLogger(__name__)

Network = str | Path | networks.FeatureNetwork
# Called before each image with its number from 1, the number of images, and its label.
Announce = Callable[[int, int, str], None]

# Default options of reconstructions.
RECONSTRUCTION = Options(size=256, init="noise")

# Default options of grids.
GRID = Options(size=256)

# Strengths and sizes of the strokes of `paint_strengths`.
STRENGTHS, STROKES = (0.3, 0.5, 0.7), (0.5, 1.0, 2.0)

# Options to reset where the layers change: weights of layers belong to certain layers.
_EQUAL: dict[str, Any] = {"content_layer_weights": None, "style_layer_weights": None}

# Options to reset where content or style is the only target: there is nothing to balance.
_ALONE: dict[str, Any] = {**_EQUAL, "strength": None}

_CONTENT_LAYERS = ("relu1_2", "relu2_2", "relu3_2", "relu4_2", "relu5_2")


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """An image of a series and its label.

    Attributes
    ----------
    label : str
        What it was made with.
    result : Result
        Result of its run.
    """

    label: str
    result: Result

    @property
    def rgb(self) -> FloatImage:
        """The image, H×W×3 float32 in [0,1]."""
        return self.result.picture.rgb


def content_layers(network: networks.FeatureNetwork) -> tuple[str, ...]:
    """Return layers that show what deeper layers lose: relu1_2, relu2_2, … as far as the network has them.

    For a network of other names: up to five of its layers, evenly from the first to the last.
    """
    usual = tuple(layer for layer in _CONTENT_LAYERS if layer in network.layers)
    if len(usual) >= 3:
        # The deepest block may end before its second layer, as that of `compact` does.
        deepest = network.layers[-1]
        return usual if deepest[:5] == usual[-1][:5] else (*usual, deepest)
    positions = np.linspace(0, len(network.layers) - 1, min(5, len(network.layers)))
    return tuple(network.layers[round(position)] for position in positions)


def style_layers(network: networks.FeatureNetwork) -> tuple[str, ...]:
    """Return the layers that `reconstruct_style` adds one after the other: the network's style layers."""
    return network.style_layers


def reconstruct_content(
    image: ImageLike,
    *,
    layers: Sequence[str] | None = None,
    network: Network = DEFAULT_NETWORK,
    options: Options = RECONSTRUCTION,
    on_iterate: IterateCallback | None = None,
    cancel: threading.Event | None = None,
    announce: Announce | None = None,
) -> list[Panel]:
    """Reconstruct an image from the features of one layer at a time, starting from noise.

    Parameters
    ----------
    image : array or Picture
        As for `lbfgs_style.StyleTransfer.run`.
    layers : sequence of str, optional
        One reconstruction for each; by default `content_layers` of the network.
    network, options, on_iterate, cancel
        As for `lbfgs_style.StyleTransfer`; weights and layers of the options are ignored.
    announce : callable, optional
        See `Announce`.

    Returns
    -------
    list of Panel
        Fewer than the layers where the run was stopped.
    """
    loaded = networks.load(network)
    chosen = content_layers(loaded) if layers is None else tuple(layers)
    runs = [
        _Run(
            layer,
            replace(options, **_ALONE, content_layers=(layer,), content_weight=1.0, style_weight=0.0),
            image,
        )
        for layer in chosen
    ]
    return _series(loaded, runs, image, on_iterate, cancel, announce)


def reconstruct_style(
    image: ImageLike,
    *,
    layers: Sequence[str] | None = None,
    network: Network = DEFAULT_NETWORK,
    options: Options = RECONSTRUCTION,
    on_iterate: IterateCallback | None = None,
    cancel: threading.Event | None = None,
    announce: Announce | None = None,
) -> list[Panel]:
    """Reconstruct a style from noise: with the first layer, the first two, the first three, ….

    Parameters
    ----------
    layers : sequence of str, optional
        From shallow to deep; by default the network's style layers.
    image, network, options, on_iterate, cancel, announce
        See `reconstruct_content`.
    """
    loaded = networks.load(network)
    chosen = style_layers(loaded) if layers is None else tuple(layers)
    runs = [
        _Run(
            ("+ " if n else "") + layer,
            replace(options, **_ALONE, style_layers=chosen[: n + 1], content_weight=0.0, style_weight=1.0),
            image,
        )
        for n, layer in enumerate(chosen)
    ]
    return _series(loaded, runs, image, on_iterate, cancel, announce)


def reconstruction_sheet(
    image: Picture, panels: Sequence[Panel], legend: Legend, *, columns: int = 3, height: int = 256
) -> Canvas:
    """Lay the image and its reconstructions out, `columns` in a row, each under its label."""
    cells = [(image.rgb, "original"), *((panel.rgb, panel.label) for panel in panels)]
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    return sheet(
        [[picture for picture, _ in row] for row in rows],
        captions=[[label for _, label in row] for row in rows],
        legend=legend,
        height=height,
    )


def grid(
    content: ImageLike,
    style: OneStyle,
    *,
    content_layers: Sequence[tuple[str, ...]] | None = None,
    style_layers: Sequence[tuple[str, ...]] | None = None,
    content_weights: Sequence[float] | None = None,
    network: Network = DEFAULT_NETWORK,
    options: Options = GRID,
    on_iterate: IterateCallback | None = None,
    cancel: threading.Event | None = None,
    announce: Announce | None = None,
) -> list[Panel]:
    """Paint one pair with every combination of content layers, content weights and style layers.

    Parameters
    ----------
    content, style
        As for `lbfgs_style.StyleTransfer.run`.
    content_layers, style_layers : sequence of tuples of str, optional
        The alternatives; by default those of the options, else of the network.
    content_weights : sequence of float, optional
        The alternatives; by default that of the options.
    network, options, on_iterate, cancel, announce
        See `reconstruct_content`.

    Returns
    -------
    list of Panel
        The style layers change fastest, then the weights, then the content layers.
    """
    loaded = networks.load(network)
    contents = content_layers or [options.content_layers or loaded.content_layers]
    styles = style_layers or [options.style_layers or loaded.style_layers]
    weights = content_weights or [options.content_weight]
    runs = [
        _Run(
            f"{'+'.join(c)}, content weight {w:g}, {'+'.join(s)}",
            replace(options, content_layers=c, style_layers=s, content_weight=w, **_EQUAL),
            style,
        )
        for c in contents
        for w in weights
        for s in styles
    ]
    return _series(loaded, runs, content, on_iterate, cancel, announce)


def paint_looks(
    content: ImageLike,
    style: ImageLike | StyleStatistics,
    *,
    network: Network = DEFAULT_NETWORK,
    options: Options = GRID,
    on_iterate: IterateCallback | None = None,
    cancel: threading.Event | None = None,
    announce: Announce | None = None,
) -> list[Panel]:
    """Paint one pair in every look, see `lbfgs_style.settings.looks`.

    Parameters
    ----------
    content, style
        As for `lbfgs_style.StyleTransfer.run`.
    network, options, on_iterate, cancel, announce
        See `reconstruct_content`; what a look changes is changed. Looks that need more of a style than its
        statistics hold are left out, which is logged.
    """
    looks = list(LOOKS)
    if isinstance(style, StyleStatistics):
        looks = [row for row in looks if _suits(row, style)]
        missing = [row.name for row in LOOKS if row not in looks]
        if missing:
            log.warning(
                "%s: statistics do not serve %s: give the style image", style.name, ", ".join(missing)
            )
    runs = [
        _Run(row.name, replace(options, **row.options), Style(style, scale=row.stroke_size)) for row in looks
    ]
    return _series(networks.load(network), runs, content, on_iterate, cancel, announce)


def _suits(look: Look, style: StyleStatistics) -> bool:
    """Return whether statistics of a style hold what a look needs."""
    layers = look.options.get("style_layers", ())
    return set(layers) <= set(style.layers) and "preserve_color" not in look.options


def paint_strengths(
    content: ImageLike,
    style: ImageLike | StyleStatistics,
    *,
    network: Network = DEFAULT_NETWORK,
    options: Options = GRID,
    on_iterate: IterateCallback | None = None,
    cancel: threading.Event | None = None,
    announce: Announce | None = None,
) -> list[Panel]:
    """Paint one pair with every combination of `STRENGTHS` and `STROKES`; the strokes change fastest.

    Parameters
    ----------
    content, style
        As for `lbfgs_style.StyleTransfer.run`.
    network, options, on_iterate, cancel, announce
        See `reconstruct_content`.
    """
    runs = [
        _Run(
            f"strength {strength:g}, strokes {scale:g}",
            replace(options, strength=strength),
            Style(style, scale=scale),
        )
        for strength in STRENGTHS
        for scale in STROKES
    ]
    return _series(networks.load(network), runs, content, on_iterate, cancel, announce)


def strengths_sheet(panels: Sequence[Panel], legend: Legend, *, height: int = 224) -> Canvas:
    """Lay the images of `paint_strengths` out: sizes of the strokes across, strengths down."""
    pictures = [panel.rgb for panel in panels]
    across = len(STROKES)
    rows = [pictures[start : start + across] for start in range(0, len(pictures), across)]
    return sheet(
        rows,
        columns=[f"--style-scale {scale:g}" for scale in STROKES],
        sides=[f"--strength {strength:g}" for strength in STRENGTHS[: len(rows)]],
        legend=legend,
        height=height,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """A run of a series: its label, its options and its style."""

    label: str
    options: Options
    style: OneStyle


def _series(
    network: networks.FeatureNetwork,
    runs: Sequence[_Run],
    content: ImageLike,
    on_iterate: IterateCallback | None,
    cancel: threading.Event | None,
    announce: Announce | None,
) -> list[Panel]:
    # All are checked before the first run: a misspelt layer must not cost an hour.
    jobs = [(run, StyleTransfer(network, options=run.options, keep_sessions=False)) for run in runs]
    if not jobs:
        raise OptionError("No layers: give at least one.")
    panels: list[Panel] = []
    for number, (run, job) in enumerate(jobs, 1):
        if announce is not None:
            announce(number, len(jobs), run.label)
        result = job.run(content, run.style, on_iterate=on_iterate, cancel=cancel)
        if result.stop_reason == "cancelled":
            break
        panels.append(Panel(run.label, result))
    return panels


def grid_sheet(
    panels: Sequence[Panel],
    legend: Legend,
    *,
    content_layers: Sequence[tuple[str, ...]],
    style_layers: Sequence[tuple[str, ...]],
    content_weights: Sequence[float],
    height: int = 224,
) -> Canvas:
    """Lay the images of `grid` out: style layers across, content layers and weights down.

    With one set of style layers the weights go across. What does not vary gets no label: the legend has it.
    """
    contents = [", ".join(layers) for layers in content_layers] if len(content_layers) > 1 else [""]
    weights = (
        [f"content weight {weight:g}" for weight in content_weights] if len(content_weights) > 1 else [""]
    )
    if len(style_layers) > 1:
        across = [", ".join(layers) for layers in style_layers]
        down = ["\n".join(filter(None, (layer, weight))) for layer in contents for weight in weights]
    else:
        across, down = weights, contents
    pictures = [panel.rgb for panel in panels]
    return sheet(
        [pictures[start : start + len(across)] for start in range(0, len(pictures), len(across))],
        columns=across if any(across) else (),
        sides=down if any(down) else (),
        legend=legend,
        height=height,
    )
