"""Curves of the loss terms, drawn as SVG for a report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from ..pipeline.plan.scales import ScaleResult
from ..pipeline.results import Result

_DECADES = 6  # powers of ten below the largest value that are drawn

# Size of the drawing and its margins, in units of the SVG.
_WIDTH, _HEIGHT = 860, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 32, 12, 52

# Okabe and Ito's colours, which colour-blind readers can distinguish: one for each kind of term. The layers
# of a kind go from pale to full.
_COLORS = {"content": (0, 114, 178), "style": (213, 94, 0), "tv": (0, 158, 115), "range": (150, 150, 150)}


@dataclass(frozen=True, slots=True)
class Axes:
    """Axes of the drawing: iterations 0 to `count` across, 10**bottom to 10**top upwards, logarithmic."""

    count: int
    bottom: int
    top: int

    def x(self, iteration: float) -> float:
        """Return the x coordinate of an iteration."""
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * iteration / max(self.count, 1)

    def y(self, value: float) -> float:
        """Return the y coordinate of a value, from the top."""
        share = (math.log10(max(value, 10.0**self.bottom)) - self.bottom) / max(self.top - self.bottom, 1)
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * share


def curves(result: Result) -> str:
    """Draw the loss and each term over all iterations, as SVG with a legend below."""
    series = {"loss": result.history, **result.term_history}
    values = [value for curve in series.values() for value in curve if value > 0]
    if not values:
        return "<p>No iteration was made.</p>"
    top = math.ceil(math.log10(max(values)))
    bottom = max(math.floor(math.log10(min(values))), top - _DECADES)
    axes = Axes(len(result.history), bottom, top)
    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="loss curves">']
    parts += _grid(axes, result.scales)
    for name, curve in series.items():
        width = ";stroke-width:2.5" if name == "loss" else ""
        style = f"stroke:{_color(name, series)}{width}"
        points = svg_path(axes, curve)
        parts.append(f'<path style="{style}" d="{points}"><title>{escape(name)}</title></path>')
    return "".join((*parts, "</svg>", _legend(series)))


def _legend(series: Mapping[str, Sequence[float]]) -> str:
    """Return the colour, name and last value of each curve as a list."""
    rows = (
        f'<li><i style="background:{_color(name, series)}"></i>{escape(name)} {curve[-1]:.2g}</li>'
        for name, curve in series.items()
    )
    return f'<ul class="legend">{"".join(rows)}</ul>'


def _grid(axes: Axes, scales: Sequence[ScaleResult]) -> list[str]:
    parts: list[str] = []
    for power in range(axes.bottom, axes.top + 1):
        y = axes.y(10.0**power)
        label = f"{10.0**power:g}" if -4 < power < 5 else f"1e{power}"
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    done = 0
    for scale in scales:
        middle = axes.x(done + scale.iterations / 2)
        done += scale.iterations
        x = axes.x(done)
        parts.append(
            f'<line class="scale" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>'
            f'<text x="{middle:.1f}" y="{_HEIGHT - 30}" text-anchor="middle">{max(scale.size)} px</text>'
            f'<text x="{x:.1f}" y="{_HEIGHT - 6}" text-anchor="middle">{done}</text>'
        )
    return [*parts, f'<text x="{_LEFT}" y="{_HEIGHT - 6}" text-anchor="middle">iteration 0</text>']


def svg_path(axes: Axes, curve: Sequence[float]) -> str:
    """Return an SVG path through the points of a curve, interrupted where values are below the axes."""
    parts: list[str] = []
    command = "M"
    for iteration, value in enumerate(curve, 1):
        if value < 10.0**axes.bottom:
            command = "M"
            continue
        parts.append(f"{command}{axes.x(iteration):.1f} {axes.y(value):.1f}")
        command = "L"
    return "".join(parts)


def _color(name: str, all_names: Iterable[str]) -> str:
    kind = name.partition(" ")[0]
    if kind not in _COLORS:
        return "var(--ink)"
    same = [other for other in all_names if other.partition(" ")[0] == kind]
    share = 1 - 0.6 * (1 - (same.index(name) + 1) / len(same))  # pale for shallow layers
    red, green, blue = (round(255 + share * (part - 255)) for part in _COLORS[kind])
    return f"rgb({red},{green},{blue})"
