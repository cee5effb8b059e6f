"""The command ``lbfgs-style presets``: the table of presets."""

from __future__ import annotations

from ..pipeline.style_transfer import DEFAULT_NETWORK
from ..settings.loss_forms import Factor, Variation
from ..settings.preset_hints import on_compact
from ..settings.presets import PRESETS, Preset
from ..settings.presets import preset as preset_row
from .streams import print_message, show_list

_HEADS = (
    "preset",
    "source",
    "network",
    "content",
    "style",
    "tv",
    "weights",
    "optimizer",
    "from",
    "layers",
    "with compact add",
)


def show_presets() -> None:
    """List the presets: formulas, weights, layers and optimisers."""
    rows = [_cells(row) for row in PRESETS]
    show_list(_HEADS, rows)


def _cells(row: Preset) -> tuple[str, ...]:
    content, style = row.content_layers, row.style_layers
    layers = "the network's own" if content is None else f"{','.join(content)} | {','.join(style or ())}"
    rate = "" if row.learning_rate is None else f" {row.learning_rate:.3g}"
    count = "auto" if row.iterations is None else str(row.iterations)
    return (
        row.name,
        row.source,
        row.network if row.pooling is None else f"{row.network}, {row.pooling} pooling",
        _distance("‖F−P‖²", row.form.content, "‖P‖²"),
        _style(row) + (", mean of layers" if row.form.mean else ""),
        _variation(row.form.variation, row.tv_power) if row.tv_weight else "–",
        f"{row.content_weight:g}, {row.style_weight:g}, {row.tv_weight:g}",
        f"{row.optimizer}{rate}, {count} iterations",
        row.init,
        layers,
        on_compact(row.name) or "–",
    )


def _style(row: Preset) -> str:
    if row.form.style is None:
        return "moments: mean of ‖G−A‖² / ‖A‖², ‖μ−ν‖² / ‖ν‖², ‖σ−τ‖² / ‖τ‖²"
    return _distance("‖G−A‖²", row.form.style, "‖A‖²")


def _distance(text: str, factor: Factor | None, energy: str) -> str:
    if factor is None:
        return f"{text} / {energy}"
    number = "" if factor.number == 1 else f"{factor.number:.4g} "
    powers = (("C", factor.channels), ("M", factor.positions), ("(H W)", factor.pixels))
    return f"{number}{text}" + "".join(f" {base}^{exponent}" for base, exponent in powers if exponent)


def _variation(form: Variation, power: float) -> str:
    text = f"Σ (a²+b²)^{power:g}" if form.joint else f"Σ |a|^{power:g} + |b|^{power:g}"
    number = "" if form.number == 1 else f"{form.number:g} "
    white = "" if form.white == 1 else f", pixels of 0–{form.white:g}"
    return number + text + (" / (H W)" if form.per_pixel else "") + white


def warn_of_units(preset: str, network: str) -> None:
    """Print that the weights of a preset may not fit features of another scale."""
    row = preset_row(preset)
    if row.form.style is None or network == row.network:
        return
    remedy = f"give {on_compact(preset)}" if network == DEFAULT_NETWORK else "change --style-weight"
    print_message(
        f"the weights of the preset {preset} are made for {row.network}; if the features of {network} have "
        f"another scale, the style may be too weak or too strong: {remedy}, or leave out --preset: the "
        "default losses do not depend on the scale of features"
    )
