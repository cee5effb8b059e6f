"""An oil painting of our own design, stroke by stroke: the sample style picture.

Two suns over a river valley. A plan gives each place its paint and the direction in which the brush goes;
layers of curved strokes, coarse to fine, follow it (painterly rendering after Hertzmann 1998). A stroke is a
bundle of bristles, each with its own load of paint, drawn into colour and height at once; the relief is lit
from the upper left.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from samples_noise import Array, fbm
from samples_plan import Plan, draw_plan

# Tubes on the palette, sRGB 0 to 255.
PALETTE = {
    "ultramarine": (26, 36, 134),
    "night": (13, 17, 62),
    "cobalt": (38, 92, 186),
    "cerulean": (70, 156, 200),
    "mint": (150, 206, 190),
    "viridian": (14, 104, 88),
    "forest": (13, 58, 50),
    "leaf": (106, 152, 48),
    "ochre": (214, 152, 40),
    "lemon": (250, 222, 84),
    "cream": (253, 240, 196),
    "vermilion": (226, 66, 32),
    "orange": (244, 132, 30),
    "crimson": (150, 20, 52),
    "violet": (98, 48, 128),
    "rose": (232, 130, 130),
    "umber": (66, 34, 26),
}
# For each region of the plan: the tubes a brush is loaded from, light to dark as the plan's tone falls.
MIXTURES = {
    0: ("mint", "cerulean", "cobalt", "ultramarine", "ultramarine", "night"),  # sky
    1: ("cream", "lemon", "lemon", "orange", "vermilion", "vermilion"),  # suns and their rings
    2: ("rose", "violet", "violet", "ultramarine", "crimson", "night"),  # far hills
    3: ("mint", "leaf", "viridian", "viridian", "forest", "night"),  # middle hills
    4: ("cream", "lemon", "ochre", "orange", "ochre", "vermilion"),  # fields
    5: ("cream", "mint", "cerulean", "cobalt", "cobalt", "ultramarine"),  # river
    6: ("orange", "vermilion", "crimson", "crimson", "umber", "night"),  # red trees
    7: ("night", "night", "night", "umber", "night", "night"),  # contours
    8: ("cream", "lemon", "rose", "orange", "vermilion", "violet"),  # dawn
}
ACCENT = {
    0: "violet",
    1: "crimson",
    2: "orange",
    3: "ochre",
    4: "viridian",
    5: "orange",
    6: "cobalt",
    7: "crimson",
    8: "cerulean",
}
# Width and length in thousandths of the picture, how far apart, spread of the direction in radians.
LAYERS = ((70, 260, 0.55, 0.25), (36, 190, 0.62, 0.16), (20, 120, 0.75, 0.12), (11, 75, 0.95, 0.10))


def _follow(plan: Plan, start: Array, length: float, turn: float, *, stay: bool) -> Array:
    """Trace a stroke [K, 2], in pixels, both ways along the field from `start`; `stay` ends it at borders."""
    n, pieces = len(plan.angle), 7
    home = plan.region[int(start[1]), int(start[0])]
    halves = []
    for sign in (-1, 1):
        place, path, before = start.copy(), [], None
        for _ in range(pieces):
            column, row = np.clip(place.astype(int), 0, n - 1)
            if stay and path and plan.region[row, column] != home:
                break
            angle = plan.angle[row, column] + turn
            step = sign * np.float32([np.cos(angle), np.sin(angle)])
            if before is not None and step @ before < 0:
                step = -step
            before = step
            place = place + step * np.float32(length / (2 * pieces))
            path.append(place)
        halves.append(path)
    return np.float32([*halves[0][::-1], start, *halves[1]])


def _load(region: int, tone: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return the two paints on a brush: the plan's, a little off, and a neighbour on the palette."""
    tubes = MIXTURES[region]
    place = np.clip(tone + rng.normal() * 0.09, 0, 0.999) * (len(tubes) - 1)
    first, share = int(place), place % 1
    paints = [np.float32(PALETTE[name]) for name in tubes]
    main = paints[first] * np.float32(1 - share) + paints[first + 1] * np.float32(share)
    if rng.random() < 0.07:
        main = np.float32(PALETTE[ACCENT[region]])
    second = paints[int(np.clip(first + rng.integers(-1, 3), 0, len(tubes) - 1))]
    wash = rng.normal(0, 7, 3).astype(np.float32)
    return main + wash, main + 0.55 * (second - main) + wash


def _paint_stroke(canvas: NDArray[np.uint8], path: Array, width: float, paints: tuple[Array, Array],
                  rng: np.random.Generator) -> None:  # fmt: skip
    """Draw a stroke's bristles into `canvas` [N, N, 4]: red, green, blue and the height of the paint.

    Bristles start and run dry at their own places; paint piles up at the sides of the stroke.
    """
    along = np.gradient(path, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True) + 1e-6
    aside = np.stack([-along[:, 1], along[:, 0]], 1)
    profile = np.sqrt(np.clip(1 - np.linspace(-1, 1, len(path)) ** 4, 0.12, 1)).astype(np.float32)
    count = max(3, int(width / 2.1))
    load = np.cumsum(rng.normal(0, 0.35, count))
    load -= load.mean()
    thickness = rng.uniform(70, 130)
    for i in rng.permutation(count):
        v = 2 * (i + rng.uniform(0, 1)) / count - 1
        first, last = rng.integers(0, 2), len(path) - rng.integers(0, 1 + min(4, len(path) // 3))
        if last - first < 2:
            continue
        line = path + aside * (profile * np.float32(v * width / 2))[:, None]
        streak = rng.normal(0, 11)
        color = (
            paints[0]
            + (paints[1] - paints[0]) * np.float32(np.clip(0.5 + load[i] * 0.6, 0, 1))
            + np.float32(streak)
        )
        height = thickness + 75 * abs(v) ** 3 + rng.normal(0, 26)
        ink = [float(c) for c in np.clip([*color, height], 0, 255)]
        points = np.int32(np.round(line[first:last] * 16))
        cv2.polylines(canvas, [points], False, ink, int(rng.integers(2, 5)), cv2.LINE_AA, 4)


def _light(canvas: NDArray[np.uint8], rng: np.random.Generator) -> Array:
    """Light the relief of the paint and the weave from the upper left: Lambert, and a gloss for wet oil."""
    n = len(canvas)
    y, x = np.mgrid[0:n, 0:n].astype(np.float32)
    weave = np.sin(x * 1.35) * np.cos(y * 0.18) + np.sin(y * 1.35) * np.cos(x * 0.18)
    paint = cv2.GaussianBlur(canvas[..., 3].astype(np.float32), (0, 0), 1.1)
    body = cv2.GaussianBlur(paint, (0, 0), 4.0)
    relief = 0.075 * paint + 0.05 * body + 0.16 * weave + 0.25 * fbm((n, n), (n / 9, n / 9), rng, octaves=3)
    slope_y, slope_x = np.gradient(relief)
    normal = np.dstack([-slope_x, -slope_y, np.full_like(relief, 1.7)])
    normal /= np.linalg.norm(normal, axis=2, keepdims=True)
    lamp = np.float32([-0.52, -0.58, 0.63])
    diffuse = normal @ lamp / lamp[2]
    half = lamp + np.float32([0, 0, 1])
    gloss = np.clip(normal @ (half / np.linalg.norm(half)), 0, 1) ** 38
    color = canvas[..., :3].astype(np.float32) / 255
    lit = color * (0.34 + 0.66 * np.clip(diffuse, 0.1, 1.9))[..., None] + 0.16 * gloss[..., None]
    return np.clip(lit, 0, 1).astype(np.float32)


def render_painting(size: int = 512, seed: int = 4) -> np.ndarray:
    """Paint the picture.

    Parameters
    ----------
    size : int
        Width and height in pixels. Painted at twice that and averaged down.
    seed : int
        Chooses the strokes.

    Returns
    -------
    ndarray, uint8, [size, size, 3], RGB
    """
    n = 2 * size
    rng = np.random.default_rng(seed)
    plan = draw_plan(n, rng)
    canvas = np.empty((n, n, 4), np.uint8)
    canvas[:] = (*PALETTE["umber"], 40)
    for level, (width, length, apart, spread) in enumerate(LAYERS):
        w, reach = width * n / 1000, length * n / 1000
        if w < 2:
            break  # finer than the canvas can show
        spacing = apart * w * 1.25
        grid = np.stack(np.meshgrid(*2 * [np.arange(spacing / 2, n, spacing)]), -1).reshape(-1, 2)
        for place in rng.permutation(grid + rng.uniform(-0.6, 0.6, grid.shape) * spacing):
            start = np.clip(place, 0, n - 1).astype(np.float32)
            column, row = start.astype(int)
            region = int(plan.region[row, column])
            if (region == 7 and level < 3) or (
                level == 3 and region != 7 and rng.random() > plan.detail[row, column]
            ):
                continue
            path = _follow(plan, start, reach * rng.uniform(0.6, 1.2), rng.normal() * spread, stay=level > 0)
            if len(path) > 3:
                _paint_stroke(
                    canvas,
                    path,
                    w * rng.uniform(0.7, 1.2),
                    _load(region, float(plan.tone[row, column]), rng),
                    rng,
                )
    lit = cv2.resize(_light(canvas, rng), (size, size), interpolation=cv2.INTER_AREA)
    return np.round(lit * 255).astype(np.uint8)
