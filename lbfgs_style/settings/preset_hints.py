"""Hints for presets on other networks than those of their sources: weights and layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import nearest
from .presets import preset


@dataclass(frozen=True, slots=True)
class Balance:
    """Weights that balance the losses of a preset as the defaults are balanced, on another network.

    Attributes
    ----------
    style_weight, tv_weight : float
        In place of the row's; its content weight stays.
    style_layer_weights : tuple of float
        w_l of its style layers, so that each counts alike.
    """

    style_weight: float
    tv_weight: float
    style_layer_weights: tuple[float, ...]


# Balances of results of 512 px with the bundled network, found by `python -m tools.figures.balance_presets`.
ON_COMPACT = {
    "gatys": Balance(5e11, 0, (1, 9, 60, 90, 400)),
    "keras": Balance(600, 1e-18, (1, 20, 200, 2500, 40000)),
    "tensorflow": Balance(4e7, 5e-7, (1, 5, 13, 22, 38)),
    "mean-squares": Balance(7e5, 3e-9, (1, 20, 200, 800, 2500)),
    "gluon": Balance(1e4, 0, (1, 20, 200, 800, 2500)),
    "neural-style": Balance(4e6, 4e-12, (1, 20, 200, 800, 2500)),
}


def on_compact(name: str) -> str:
    """Return the options that a preset needs with the bundled network, whose last layer is relu5_1."""
    balance, row = ON_COMPACT.get(name), preset(name)
    if balance is None or row.style_layers is None:
        return ""
    layers = ",".join(
        f"{layer}:{weight:g}"
        for layer, weight in zip(row.style_layers, balance.style_layer_weights, strict=True)
    )
    hints = ["--content-layers relu5_1"] if row.content_layers == ("relu5_2",) else []
    hints += [f"--style-weight {balance.style_weight:g}", f"--style-layers {layers}"]
    return " ".join([*hints, *([f"--tv-weight {balance.tv_weight:g}"] if row.tv_weight else [])])


def advice(name: str, kind: str, layers: Sequence[str], available: Sequence[str]) -> str:
    """Return a sentence with layers for a preset, for a network that lacks some of its layers.

    Parameters
    ----------
    name : str
        The preset.
    kind : str
        ``content`` or ``style``.
    layers : sequence of str
        The layers in use; where they are not the preset's own, there is nothing to say.
    available : sequence of str
        The layers of the network.
    """
    row = preset(name)
    if tuple(layers) != (row.content_layers if kind == "content" else row.style_layers):
        return ""
    near = (nearest(layer, available) for layer in layers)
    instead = ",".join(dict.fromkeys(layer for layer in near if layer)) or "LAYER"
    return f" The preset {name!r} uses it: add --{kind}-layers {instead} ({kind}_layers)."
