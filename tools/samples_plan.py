"""The design of the sample painting: which paint goes where, and in which direction the brush moves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from samples_noise import Array, fbm, smoothstep

# x, y and radius of each, in widths of the picture.
TREES = (
    (0.13, 0.60, 0.060),
    (0.245, 0.645, 0.043),
    (0.865, 0.555, 0.052),
    (0.93, 0.665, 0.066),
    (0.09, 0.835, 0.085),
    (0.70, 0.615, 0.028),
    (0.37, 0.625, 0.026),
    (0.80, 0.86, 0.070),
)
SUNS = ((0.29, 0.25, 0.075), (0.775, 0.155, 0.045))


@dataclass(frozen=True, slots=True)
class Plan:
    """What to paint where, as grids over the unit square.

    Attributes
    ----------
    region : ndarray, int
        0 sky, 1 suns, 2 far hills, 3 middle hills, 4 fields, 5 river, 6 trees, 7 contours, 8 dawn.
    tone : ndarray, float32
        From 0 (the light end of the mixture) to 1.
    angle : ndarray, float32
        Direction of the brush in radians, 0 to the right, growing downward.
    detail : ndarray, float32
        From 0 to 1: the share of the finest strokes that is wanted.
    """

    region: NDArray[np.int32]
    tone: Array
    angle: Array
    detail: Array


def _sky(x: Array, y: Array, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Return tone, direction and sun mask of a sky that streams like water around its suns."""
    n = len(x)
    stream = 0.16 * fbm((n, n), (3.2, 2.4), rng, octaves=3, gain=0.45)
    potential = y + 0.35 * np.sin(4.2 * x + 0.6) * 0.18 + stream
    flow_y, flow_x = np.gradient(potential * n)
    dx, dy = flow_y, -flow_x
    tone = 0.55 + 0.33 * np.sin(40 * potential + 3 * fbm((n, n), (3, 3), rng, octaves=2)) - 0.15 * (y - 0.3)
    sun = np.zeros_like(x)
    for cx, cy, radius in SUNS:
        away = np.hypot(x - cx, y - cy)
        pull = np.exp(-((away / (3.1 * radius)) ** 3))
        dx = dx * (1 - pull) + pull * -(y - cy) / (away + 1e-4)
        dy = dy * (1 - pull) + pull * (x - cx) / (away + 1e-4)
        ring = 0.5 + 0.5 * np.cos(away / radius * 2 * np.pi / 0.62)
        halo = smoothstep(3.0 * radius, 1.1 * radius, away)
        tone = tone * (1 - halo) + halo * (0.05 + 0.65 * ring)
        disc = away < 1.04 * radius
        warm = disc | ((away < 2.35 * radius) & (ring > 0.62))
        tone = np.where(disc, 0.08 + 0.45 * away / radius, tone)
        tone = np.where(warm & ~disc, 0.45 + 0.25 * away / radius / 2.4, tone)
        sun = np.maximum(sun, warm)
    return tone, np.arctan2(dy, dx), sun


def draw_plan(n: int, rng: np.random.Generator) -> Plan:
    """Design the picture on a grid of `n` × `n`."""
    y, x = (np.mgrid[0:n, 0:n] / np.float32(n)).astype(np.float32)
    tone, angle, sun = _sky(x, y, rng)
    dawn = y - 0.40 + 0.11 * np.sin(5.4 * x + 1.1) + 0.07 * np.sin(tone * 7) + 0.22 * (x - 0.5)
    region = np.where(sun > 0, 1, np.where(dawn > 0, 8, 0))
    tone = np.where((dawn > 0) & (sun == 0), tone - 0.15, tone)
    detail = np.where(sun > 0, 0.9, 0.55)
    line = np.linspace(0, 1, n, dtype=np.float32)
    crests = (
        (
            2,
            0.50
            + 0.045 * np.sin(7 * line + 0.5)
            + 0.055 * np.sin(15 * line + 2) * np.exp(-3 * (line - 0.5) ** 2),
            26.0,
        ),
        (3, 0.575 + 0.065 * np.sin(5.2 * line + 3.6) + 0.02 * np.sin(17 * line), 30.0),
        (4, 0.69 + 0.060 * np.sin(4.6 * line + 0.7), 36.0),
        (3, 0.86 + 0.075 * np.sin(4.1 * line + 3.9), 34.0),
    )
    for which, crest, stripes in crests:
        below = y - crest
        slope = np.arctan(np.gradient(crest, 1 / n))
        furrow = below * (1 + 0.9 * np.sin(3.5 * x + 5 * crest[None, :]))
        here = below > 0
        region = np.where(here, which, region)
        tone = np.where(
            here, 0.50 + 0.40 * np.sin(2 * np.pi * stripes * furrow / 2.2) + 0.5 * (below - 0.05), tone
        )
        lean = 1.15 * np.sin(3.1 * x + 6 * below + which) * np.clip(below * 9, 0, 1)
        angle = np.where(here, slope + lean, angle)
        detail = np.where(here, 0.6, detail)
        edge = np.abs(below - 0.002) < 0.0042
        region, tone, angle = (
            np.where(edge, 7, region),
            np.where(edge, 0.5, tone),
            np.where(edge, slope, angle),
        )
    land = Plan(region.astype(np.int32), tone.astype(np.float32), angle, detail.astype(np.float32))
    return _plant_trees(_dig_river(land, x, y), x, y)


def _dig_river(plan: Plan, x: Array, y: Array) -> Plan:
    """Lead a river with dark banks from the hills to the lower edge, widening as it comes nearer."""
    center = 0.53 + 0.17 * np.sin(9.5 * (y - 0.63) / (0.5 + y)) + 0.05 * (y - 0.6)
    half = 0.006 + 0.33 * np.clip(y - 0.60, 0, 1) ** 1.35
    river = (np.abs(x - center) < half) & (y > 0.612)
    bank = (np.abs(np.abs(x - center) - half) < 0.0045) & (y > 0.612)
    bend = np.arctan2(1, np.gradient(center[:, 0] * len(x)))[:, None] * np.ones_like(x)
    across = (x - center) / half
    region = np.where(bank, 7, np.where(river, 5, plan.region)).astype(np.int32)
    tone = np.where(river, 0.45 + 0.33 * np.sin(5.5 * across + 26 * y) + 0.15 * across, plan.tone)
    angle = np.where(river | bank, bend, plan.angle)
    detail = np.where(river, 0.75, plan.detail)
    return Plan(region, tone.astype(np.float32), angle, detail.astype(np.float32))


def _plant_trees(plan: Plan, x: Array, y: Array) -> Plan:
    """Set round red trees, their strokes fanned like flames, into the plan."""
    region, tone, angle, detail = plan.region, plan.tone, plan.angle, plan.detail
    for cx, cy, radius in TREES:
        trunk = (
            (np.abs(x - cx - 0.02 * np.sin(30 * (y - cy))) < 0.12 * radius)
            & (y > cy)
            & (y < cy + 2.1 * radius)
        )
        away = np.hypot(x - cx, (y - cy) * 0.88) / radius
        lobes = 1 + 0.10 * np.sin(6 * np.arctan2(y - cy, x - cx) + 50 * cx)
        crown, rim = away < lobes, np.abs(away - lobes) < 0.07
        fan = -np.pi / 2 + 1.25 * (x - cx) / radius
        region = np.where(rim | trunk, 7, region)
        region = np.where(crown & ~rim, 6, region)
        light = 0.45 + 0.38 * ((x - cx) + (y - cy)) / radius + 0.2 * np.sin(9 * away)
        tone = np.where(crown, light, tone)
        angle = np.where(crown, fan, np.where(trunk, np.pi / 2, angle))
        detail = np.where(crown | trunk, 0.95, detail)
    return Plan(region, tone.astype(np.float32), angle.astype(np.float32), detail)
