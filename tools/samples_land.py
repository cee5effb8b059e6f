"""The land of the coast picture: a heightfield of fractal noise cut into strata, marched and shaded.

Lengths are metres: x to the right, y up, z away.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from samples_noise import Array, fbm, gradient_noise, look_up, mix, smoothstep

LEFT, NEAR, EXTENT = -110.0, 8.0, 330.0  # the square of the world that the heightfield covers
TOWER = (29.0, 176.0)
SUN_COLOR = np.float32([1.0, 0.60, 0.27])


def _toward(azimuth: float, elevation: float) -> Array:
    a, e = np.radians([azimuth, elevation])
    return np.float32([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])


SUN = _toward(-15.5, 5.2)
# As on a film set, the light on the land stands further to the side than the visible sun: true
# back light would leave every cliff that faces the camera black.
KEY = _toward(-66, 17)


@dataclass(frozen=True, slots=True)
class World:
    """Grids over the square of land, all [N, N], rows along z and columns along x.

    Attributes
    ----------
    height : ndarray, float32
        Metres above the sea.
    shade_height : ndarray, float32
        The same with the tower's bulk stamped in, for shadows.
    detail : ndarray, float32, [N, N, 4]
        Slope along x, slope along z, openness to the sky (0 to 1), path (0 to 1).
    shore : ndarray, float32
        Metres of water to the nearest land.
    clouds : ndarray, float32
        Cloud density over an unbounded plane, mirrored at its borders.
    """

    height: Array
    shade_height: Array
    detail: Array
    shore: Array
    clouds: Array

    def at(self, grid: Array, x: Array, z: Array) -> Array:
        """Sample one of the grids at places of the world."""
        scale = (len(self.height) - 1) / EXTENT
        return look_up(grid, (x - LEFT) * scale, (z - NEAR) * scale)


def _strata(height: Array, rng: np.random.Generator) -> Array:
    """Turn an even slope into ledges: hard layers stand steep, soft ones lie back."""
    levels = np.cumsum(rng.uniform(0.5, 2.6, 60))
    steps = np.where(np.arange(60) % 2, 2.6, 0.45) * np.diff(levels, prepend=0)
    steps *= levels[-1] / steps.sum()
    ledges = np.interp(height, np.cumsum(steps), levels)
    return np.where(height > 0, 0.25 * height + 0.75 * ledges, height).astype(np.float32)


def _inland(x: Array, z: Array, n: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return metres inland of the cliff's foot (negative at sea) and the height of the plateau there."""
    wobble = 15 * fbm((n, n), (EXTENT / 75, EXTENT / 75), rng, octaves=7, gain=0.5)
    wobble += 3.2 * fbm((n, n), (EXTENT / 13, EXTENT / 13), rng, octaves=7, gain=0.62, ridged=True)
    coast_z = [0, 38, 52, 66, 80, 105, 135, 158, 172, 190, 210, 240, 400]
    coast_x = [8, 10, 16, 27, 46, 64, 54, 27, 10, 6, 26, 80, 150]
    inland = x - np.interp(z, coast_z, coast_x).astype(np.float32) + wobble
    plateau = 27 + 5.5 * fbm((n, n), (4, 4), rng, octaves=6, gain=0.42)
    plateau += 0.07 * np.clip(x - 40, 0, 200)
    # The near corner is low rock, so that the bay stays open to view.
    plateau *= 0.14 + 0.86 * smoothstep(34, 92, z + 0.25 * x)
    for cx, cz, radius, top in (
        (-21, 168, 7.5, 17),
        (-36, 180, 4.6, 9.5),
        (-8, 112, 4.5, 4.2),
        (-6, 64, 4.2, 2.2),
    ):
        stack = radius - np.hypot(x - cx, z - cz) + 0.42 * wobble
        plateau = np.where(stack > inland, top + 0.1 * (plateau - 27), plateau)
        inland = np.maximum(inland, stack)
    return inland.astype(np.float32), plateau.astype(np.float32)


def build_world(n: int, seed: int) -> World:
    """Make the land, its shading tables and the clouds on grids of `n` × `n`."""
    rng = np.random.default_rng(seed)
    line = np.linspace(0, EXTENT, n, dtype=np.float32)
    x, z = np.meshgrid(line + LEFT, line + NEAR)
    inland, plateau = _inland(x, z, n, rng)
    rise = 0.72 * smoothstep(0, 9, inland) + 0.28 * smoothstep(4, 46, inland)
    rough = fbm((n, n), (EXTENT / 9, EXTENT / 9), rng, octaves=8, gain=0.58, ridged=True)
    reef = 2.3 * fbm((n, n), (EXTENT / 22, EXTENT / 22), rng, octaves=8, gain=0.55, ridged=True) - 1.75
    steep = smoothstep(0.02, 0.2, rise) * smoothstep(0.98, 0.62, rise)
    height = plateau * rise + (2.6 * steep + 0.14) * rough * smoothstep(-3, 3, inland)
    height = _strata(height, rng) + 0.25 * (steep + 0.15) * rough + 0.25 * np.clip(inland, -8, 0)
    height = np.maximum(height, reef + 0.14 * np.minimum(inland + 7, 7))
    away = np.hypot(x - TOWER[0], z - TOWER[1])
    top = height[away < 4].mean() if (away < 4).any() else height.max()
    height += (top - height) * smoothstep(13, 6, away)
    cell = EXTENT / (n - 1)
    slope_z, slope_x = np.gradient(height, cell)
    openness = np.ones_like(height)
    for metres, strength in ((0.7, 0.5), (2.5, 0.22), (8, 0.07)):
        hollow = cv2.GaussianBlur(np.maximum(height, 0), (0, 0), max(metres / cell, 0.4)) - height
        openness *= np.exp(-strength * np.clip(hollow, 0, 6))
    path = np.zeros((n, n), np.uint8)
    bends = np.float32([TOWER, (42, 168), (54, 171), (70, 160), (92, 163), (130, 150), (220, 140)])
    places = (bends - [LEFT, NEAR]) / cell
    cv2.polylines(path, [np.int32(np.round(places))], False, 255, max(1, round(1.7 / cell)), cv2.LINE_AA)
    soft = cv2.GaussianBlur(path, (0, 0), max(0.6 / cell, 0.4)).astype(np.float32) / 255
    detail = np.dstack([slope_x, slope_z, openness, soft]).astype(np.float32)
    shore = cv2.distanceTransform((height < 0).astype(np.uint8), cv2.DIST_L2, 5) * np.float32(cell)
    shade = np.where(away < 2.1, height + 19, height).astype(np.float32)
    clouds = fbm((2048, 2048), (7, 7), rng, octaves=10, gain=0.56)
    return World(height.astype(np.float32), shade, detail, shore, clouds)


def march(world: World, start: Array, way: Array, *, reach: float, steps: int) -> Array:
    """Return how far each ray goes before it meets the land, infinity where it does not.

    Heightfield marching: the step is a share of the clearance, never below the width of a pixel, and a
    crossing is refined by bisection (relaxed sphere tracing after Hart 1996).

    Parameters
    ----------
    world : World
        The land.
    start, way : ndarray, float32, [N, 3]
        Origins and unit directions.
    reach, steps : float, int
        Give up after so many metres or steps.
    """
    hit = np.full(len(way), np.inf, np.float32)
    alive = np.flatnonzero((way[:, 1] < 0.35) & (way[:, 2] > -0.99))
    t = np.full(len(alive), 0.3, np.float32)
    before = np.zeros_like(t)
    for _ in range(steps):
        p = start[alive] + t[:, None] * way[alive]
        gap = p[:, 1] - world.at(world.height, p[:, 0], p[:, 2])
        inside = gap < 0
        if inside.any():
            rays, low, high = alive[inside], before[inside], t[inside]
            for _ in range(7):
                middle = (low + high) / 2
                q = start[rays] + middle[:, None] * way[rays]
                below = q[:, 1] < world.at(world.height, q[:, 0], q[:, 2])
                low, high = np.where(below, low, middle), np.where(below, middle, high)
            hit[rays] = high
        keep = ~inside & (t < reach) & (p[:, 1] > -1.5) & ((p[:, 1] < 45) | (way[alive, 1] < 0))
        alive, before, gap = alive[keep], t[keep], gap[keep]
        t = before + np.maximum(0.4 * gap, 0.0016 * before + 0.05)
        if not len(alive):
            break
    return hit


def sunlight(world: World, points: Array) -> Array:
    """Return the share of the sun's disc, 0 to 1, that each point sees past the land."""
    seen = np.ones(len(points), np.float32)
    t = 0.35
    while t < 90:
        p = points + np.float32(t) * KEY
        clearance = p[:, 1] - world.at(world.shade_height, p[:, 0], p[:, 2])
        seen = np.minimum(seen, np.clip(0.5 + 14 * clearance / (t + 2), 0, 1))
        t *= 1.07
    return seen


def haze(color: Array, distance: Array, way: Array) -> Array:
    """Fade colours into the air with distance: exponential extinction, warmer toward the sun."""
    toward_sun = np.exp(-((np.arccos(np.clip(way @ SUN, -1, 1)) / 0.5) ** 1.5))
    air = mix((0.50, 0.43, 0.47), (1.25, 0.68, 0.34), toward_sun)
    return mix(color, air, (1 - np.exp(-((distance / 1500) ** 1.2))).astype(np.float32))


def _bumps(points: Array, distance: Array) -> Array:
    """Return the gradient of the rock's small relief, finer octaves fading out as they fall below a pixel."""
    bump = np.zeros_like(points)
    for octave, frequency in enumerate((0.45, 1.1, 2.7, 6.5, 14)):
        shown = np.exp(-4 * (distance * 0.0011 * frequency) ** 2)
        scaled = np.float32([1, 1.9, 1]) * np.float32(frequency)
        for axis in range(3):
            step = np.zeros(3, np.float32)
            step[axis] = 0.08 / frequency
            ahead, behind = (gradient_noise((points + s * step) * scaled, 20 + octave) for s in (1, -1))
            bump[:, axis] += shown * (ahead - behind) / np.float32(0.16)
    return bump


def _rock(height: Array, coarse: Array, grain: Array) -> Array:
    """Return the rock's reflectance: bands of sediment, pale lichen, black where the sea wets it."""
    layer = np.sin(height * 2.3 + 2.2 * coarse + 0.7 * grain)
    layer += 0.6 * np.sin(height * 5.9 + 1.7 * coarse + 1.4)
    rock = mix((0.15, 0.125, 0.115), (0.40, 0.30, 0.215), smoothstep(-1.1, 1.2, layer + 0.8 * grain))
    rock = mix(rock, (0.46, 0.40, 0.32), 0.5 * smoothstep(0.15, 0.55, grain + 0.4 * coarse))
    return mix(rock, (0.035, 0.036, 0.036), 0.86 * smoothstep(2.6, 0.5, height + 1.3 * grain))


def shade_land(world: World, points: Array, way: Array, distance: Array) -> Array:
    """Return the light that points of the land [N, 3] send along `way`, as linear RGB [N, 3].

    Rock, grass on the flat tops and the path, lit by the sun, the sky and the sea's reflection of it.
    """
    slope_x, slope_z, openness, path = np.moveaxis(world.at(world.detail, points[:, 0], points[:, 2]), -1, 0)
    normal = np.stack([-slope_x, np.ones_like(slope_x), -slope_z], 1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    height = points[:, 1]
    coarse = gradient_noise(points / np.float32([9, 5, 9]), 1)
    squeezed = points * np.float32([1, 1.7, 1])
    grain = 0.5 * gradient_noise(squeezed * np.float32(0.8), 2)
    grain += 0.3 * gradient_noise(squeezed * np.float32(2.1), 3)
    grain += 0.2 * gradient_noise(squeezed * np.float32(5.3), 4)
    grassy = smoothstep(0.66, 0.86, normal[:, 1] + 0.12 * grain) * smoothstep(6, 11, height + 3 * coarse)
    normal = normal - (0.38 - 0.22 * grassy)[:, None] * _bumps(points, distance)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)

    grass = mix((0.075, 0.125, 0.03), (0.27, 0.235, 0.075), smoothstep(-0.5, 0.6, coarse + 0.9 * grain))
    albedo = mix(_rock(height, coarse, grain), grass, grassy)
    albedo = mix(albedo, (0.46, 0.38, 0.27), 0.8 * path * grassy)
    sun = np.clip(normal @ KEY, 0, None) * sunlight(world, points + 0.12 * normal)
    ambient = openness * (0.5 + 0.5 * normal[:, 1])
    bounce = openness * np.clip(0.5 - 0.5 * normal[:, 1], 0, 1) * np.clip(-normal[:, 0] + 0.6, 0, 1)
    light = 5.4 * sun[:, None] * SUN_COLOR + 0.62 * ambient[:, None] * np.float32([0.46, 0.58, 0.95])
    light += 0.42 * bounce[:, None] * np.float32([0.9, 0.6, 0.42])
    return haze(albedo * light, distance, way)
