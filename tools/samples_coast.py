"""A coast at golden hour, rendered from nothing but noise: the sample content picture.

The land is a marched heightfield; the sea is a plane whose slopes are a sum of waves; the sky is an analytic
gradient with two layers of clouds; the lighthouse is a solid of revolution found by sphere tracing. Light is
linear RGB until the film curve at the end.
"""

from __future__ import annotations

import cv2
import numpy as np
from samples_land import KEY, SUN, SUN_COLOR, TOWER, World, build_world, haze, march, shade_land
from samples_noise import Array, fbm, gradient_noise, look_up, mix, smoothstep

EYE = np.float32([0, 19, 0])
TAN_HALF_FIELD = 0.56
HORIZON = 0.47  # of the picture's height, from the top: a shifted lens keeps the tower upright


def sky(world: World, way: Array, *, disc: bool = True) -> Array:
    """Return the light that comes from the sky along unit directions [N, 3], as linear RGB [N, 3]."""
    up = np.clip(way[:, 1], 0.001, 1)
    near = np.clip(way @ SUN, -1, 1)
    angle = np.arccos(near)
    west = np.exp(-((angle / 0.62) ** 1.4))
    low = mix((0.50, 0.36, 0.40), (1.20, 0.58, 0.24), west)
    middle = mix((0.24, 0.32, 0.49), (0.66, 0.49, 0.40), west)
    color = mix(low, middle, smoothstep(0.0, 0.17, up))
    color = mix(color, (0.055, 0.135, 0.34), smoothstep(0.08, 0.55, up))
    glow = 1.1 * np.exp(-angle / 0.10) + 2.6 * np.exp(-angle / 0.028)
    color = color + glow[:, None] * np.float32([1.0, 0.60, 0.24])
    if disc:
        color += smoothstep(0.0185, 0.0155, angle)[:, None] * np.float32([20, 14, 7])
    return _clouds(world, way, up, west, color)


def _clouds(world: World, way: Array, up: Array, west: Array, color: Array) -> Array:
    """Lay a plane of clouds over the sky, lit from the sun's side by their own change of density."""
    flat = way[:, [0, 2]] / (up + 0.085)[:, None]

    def density(shift: float, stretch: float, size: float) -> Array:
        u = flat[:, 0] + shift * SUN[0]
        v = flat[:, 1] + shift * SUN[2]
        return look_up(world.clouds, 1220 + size * stretch * u, 680 + size * v, border=cv2.BORDER_REFLECT)

    high = smoothstep(-0.12, 0.85, density(0, 0.42, 190) + 0.1) * smoothstep(0.03, 0.25, up)
    color = mix(color, mix((0.60, 0.50, 0.55), (1.25, 0.84, 0.58), west), 0.55 * high)
    here = density(0, 0.75, 124)
    thick = smoothstep(-0.08, 0.40, here) * smoothstep(0.012, 0.09, up)
    toward = density(0.10, 0.75, 124)
    lit = np.clip(0.44 + 2.6 * (here - toward) - 0.40 * (thick - 0.5), 0, 1)
    lit = lit * lit * (3 - 2 * lit)
    dark = mix((0.19, 0.19, 0.28), (0.42, 0.27, 0.25), west)
    bright = mix((1.02, 0.66, 0.50), (1.9, 1.12, 0.58), west)
    return mix(color, mix(dark, bright, lit), 0.93 * thick)


def _waves(
    x: Array, z: Array, distance: Array, pixel: float, rng: np.random.Generator
) -> tuple[Array, Array, Array]:
    """Return the sea's slopes along x and z, and the variance of the slopes too fine for a pixel to show.

    A sum of sines with random directions around the wind's; a wave fades into the variance as it falls below
    the footprint of its pixel (after Bruneton, Neyret and Holzschuch 2010).
    """
    slope_x, slope_z, hidden = np.zeros_like(x), np.zeros_like(x), np.full_like(x, 0.0006)
    patch = 0.5 + 0.9 * np.abs(gradient_noise(np.stack([x / 38, z / 70, 0 * x], 1), 9))
    bend = 1.5 * gradient_noise(np.stack([x / 9, z / 9, 0 * x], 1), 10)
    deep = pixel * distance * distance / EYE[1]
    for length in np.geomspace(0.35, 19, 44):
        k = 2 * np.pi / (length * rng.uniform(0.85, 1.15))
        angle = np.radians(-66 + rng.normal() * 30)
        kx, kz = k * np.sin(angle), k * np.cos(angle)
        steep = 0.036 * (length / 3) ** -0.08
        shown = np.exp(-0.18 * ((kx * pixel * distance) ** 2 + (kz * deep) ** 2))
        phase = kx * x + kz * z + rng.uniform(0, 6.28) + bend * min(1.0, 2.5 / length)
        wave = steep * patch * shown * (np.cos(phase) + 0.35 * np.cos(2 * phase))
        slope_x += wave * (kx / k)
        slope_z += wave * (kz / k)
        hidden += 0.5 * steep**2 * (1 - shown**2)
    return slope_x, slope_z, hidden


def _foam(world: World, x: Array, z: Array) -> Array:
    """Return how white the water is: lines of surf along the shore, broken by noise."""
    shore = world.at(world.shore, x, z)
    place = np.stack([x, z, 0 * x], 1)
    wander = gradient_noise(place / 7, 30) + 0.5 * gradient_noise(place / 2.4, 31)
    lace = np.abs(gradient_noise(place * 0.8, 32)) + 0.6 * np.abs(gradient_noise(place * 2.1, 33))
    edge = smoothstep(2.3, 0.0, shore + 1.1 * wander)
    lines = smoothstep(0.55, 1.0, np.sin(shore * 0.85 + 2.4 * wander)) * smoothstep(13, 2, shore + 2 * wander)
    cells = smoothstep(0.34, 0.05, lace)
    return np.clip(edge * (0.45 + 0.75 * cells) + lines * (0.25 + 0.75 * cells) * 0.8, 0, 1)


def shade_sea(world: World, points: Array, way: Array, distance: Array, pixel: float) -> Array:
    """Return the light from points of the sea [N, 3]: mirrored sky and land, glitter, depth and foam."""
    x, z = points[:, 0], points[:, 2]
    slope_x, slope_z, hidden = _waves(x, z, distance, pixel, np.random.default_rng(5))
    normal = np.stack([-slope_x, np.ones_like(x), -slope_z], 1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    facing = np.clip(-np.sum(normal * way, 1), 0.02, 1)
    mirrored = way + 2 * facing[:, None] * normal
    # Facets that are hidden from the eye cannot mirror: what is left leans upward as the unseen slopes grow.
    mirrored[:, 1] = np.abs(mirrored[:, 1]) + 0.55 * np.sqrt(hidden)
    mirrored /= np.linalg.norm(mirrored, axis=1, keepdims=True)
    # Schlick's approximation (1994) of Fresnel's equations, for water in air.
    fresnel = 0.02 + 0.98 * (1 - facing) ** 5
    fresnel *= 1 / (1 + 5 * np.sqrt(hidden))
    reflected = sky(world, mirrored, disc=False)
    landward = np.flatnonzero((x > -75) & (z < 300))
    hit = march(world, points[landward] + np.float32([0, 0.25, 0]), mirrored[landward], reach=130, steps=70)
    found = np.isfinite(hit)
    rays = landward[found]
    there = points[rays] + hit[found, None] * mirrored[rays]
    reflected[rays] = shade_land(world, there, mirrored[rays], distance[rays])

    shallow = np.exp(-world.at(world.shore, x, z) / 7)
    body = mix((0.012, 0.050, 0.075), (0.055, 0.165, 0.150), shallow)
    body = body * (0.75 + 2.2 * np.clip(-slope_x * 1.5 + 0.12, 0, 1))[:, None]
    color = body * (1 - fresnel)[:, None] + reflected * fresnel[:, None]
    # Cox and Munk (1954): slopes are normally distributed; the glitter is the density of the slope that
    # mirrors the sun.
    half = SUN - way
    need_x, need_z = -half[:, 0] / half[:, 1] + slope_x, -half[:, 2] / half[:, 1] + slope_z
    spread = hidden + 0.0016
    glitter = np.exp(-(need_x**2 + 0.30 * need_z**2) / (2 * spread)) / np.sqrt(spread)
    color += (0.20 * glitter)[:, None] * np.float32([1.0, 0.62, 0.28])
    foam = _foam(world, x, z) * smoothstep(330, 120, distance)
    white = np.float32([0.58, 0.55, 0.58]) + 0.55 * np.clip(0.4 - slope_x * 3, 0, 1)[:, None] * SUN_COLOR
    return haze(color + (white - color) * (0.85 * foam)[:, None], distance, way)


# Rows: height above the ground, and the radius there.
_TOWER_PROFILE = np.float32(
    [
        [-2, 0.8, 0.9, 15, 15.1, 15.9, 16, 18.6, 18.7, 20.4, 20.9, 21.6],
        [2.9, 2.8, 2.45, 1.62, 2.5, 2.5, 1.35, 1.35, 1.75, 0.32, 0.3, 0.05],
    ]
)


def _tower_radius(height: Array) -> Array:
    return np.interp(height, *_TOWER_PROFILE, left=2.9, right=-0.1).astype(np.float32)


def draw_tower(world: World, image: Array, depth: Array, way: Array, ground: float) -> None:
    """Paint the lighthouse into `image` [H, W, 3], where nothing in `depth` [H, W] stands before it.

    The tower is a solid of revolution, so a ray is followed in steps of half its clearance from the profile.
    """
    flat_way = way.reshape(-1, 3)
    center = np.float32([TOWER[0], ground, TOWER[1]]) - EYE
    across = flat_way[:, 0] / flat_way[:, 2] - center[0] / center[2]
    near = np.flatnonzero(
        (np.abs(across) < 3.6 / center[2]) & (flat_way[:, 1] > -0.2) & (flat_way[:, 1] < 0.35)
    )
    rays = flat_way[near]
    t = np.full(len(near), np.linalg.norm(center) - 6, np.float32)
    for _ in range(60):
        p = t[:, None] * rays - center
        gap = np.hypot(p[:, 0], p[:, 2]) - _tower_radius(p[:, 1])
        t += np.clip(0.5 * gap, -0.05, 0.4)
    hit = (gap < 0.06) & (np.abs(p[:, 1] - 9.8) < 11.8) & (t < depth.reshape(-1)[near])
    p, rays, t, near = p[hit], rays[hit], t[hit], near[hit]
    height = p[:, 1]
    flare = (_tower_radius(height + 0.05) - _tower_radius(height - 0.05)) / np.float32(0.1)
    normal = np.stack([p[:, 0], -np.clip(flare, -2, 2) * np.hypot(p[:, 0], p[:, 2]), p[:, 2]], 1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    grain = gradient_noise(p * np.float32([2.5, 0.6, 2.5]), 40)
    albedo = mix((0.80, 0.77, 0.72), (0.66, 0.60, 0.53), smoothstep(0, 0.8, grain))
    red = (smoothstep(4.5, 4.6, height) * smoothstep(8.3, 8.2, height)) + smoothstep(
        11.7, 11.8, height
    ) * smoothstep(14.9, 14.8, height)
    albedo = mix(albedo, (0.46, 0.055, 0.035), red)
    albedo = mix(albedo, (0.07, 0.07, 0.08), smoothstep(14.9, 15.0, height) * smoothstep(16.1, 16.0, height))
    albedo = mix(albedo, (0.33, 0.05, 0.035), smoothstep(18.5, 18.7, height))
    sun = np.clip(normal @ KEY, 0, None)
    light = 4.2 * sun[:, None] * SUN_COLOR + (0.42 + 0.25 * normal[:, 1:2]) * np.float32([0.58, 0.62, 0.82])
    color = albedo * light
    lamp = smoothstep(16.0, 16.2, height) * smoothstep(18.5, 18.3, height)
    bars = 0.35 + 0.65 * smoothstep(0.1, 0.35, np.abs(np.sin(4 * np.arctan2(p[:, 0], p[:, 2]))))
    color = mix(color, np.float32([3.6, 2.3, 1.0]) * bars[:, None], lamp)
    window = (
        (np.abs(np.arctan2(p[:, 0], -p[:, 2]) + 0.2) < 0.16)
        & (np.abs((height - 2.6) % 5.2 - 2.6) < 0.55)
        & (height < 14)
    )
    color[window] = (0.03, 0.03, 0.04)
    image.reshape(-1, 3)[near] = haze(color, t, rays)


def _far_hills(image: Array, way: Array, sea_distance: Array, land: Array, rng: np.random.Generator) -> None:
    """Paint headlands beyond the heightfield, each a profile of noise that the air has nearly taken."""
    side = way[..., 0] / way[..., 2]
    for away, low, high, tall in ((5200, -0.62, -0.02, 125), (2600, 0.10, 0.80, 150), (1250, 0.24, 0.95, 75)):
        line = fbm((1, 2048), (1, 14), rng, octaves=8, gain=0.5)
        crest = look_up(line, (side + 1) * 1023, 0 * side)
        shape = smoothstep(low, low + 0.13, side) * smoothstep(high + 0.2, high, side)
        top = (tall * shape * (0.62 + 0.5 * crest) - EYE[1]) / away
        here = (way[..., 1] / way[..., 2] < top) & (sea_distance > away) & ~land & (shape > 0.01)
        rock = np.float32([0.17, 0.135, 0.13]) * (0.8 + 0.5 * crest[here])[:, None]
        image[here] = haze(rock, np.full(here.sum(), away, np.float32), way[here])


def _draw_birds(image: Array, rng: np.random.Generator) -> None:
    """Draw gulls, each two wings bent at the wrist and a body, in places chosen for the composition."""
    height, width = image.shape[:2]
    cover = np.zeros((height, width), np.uint8)
    for x, y, span in ((0.50, 0.20, 0.030), (0.445, 0.255, 0.020), (0.545, 0.275, 0.017), (0.40, 0.17, 0.013),
                       (0.78, 0.15, 0.024), (0.475, 0.325, 0.010)):  # fmt: skip
        tilt, lift = rng.normal() * 0.22, rng.uniform(0.25, 0.55)
        wing_x = [-1, -0.52, -0.12, 0, 0.12, 0.52, 1, 0.5, 0.1, -0.1, -0.5]
        wing_y = [-0.1, -lift, -0.04, 0.1, -0.04, -lift, -0.1, 0.2 - lift, 0.2, 0.2, 0.2 - lift]
        wing = np.stack([wing_x, wing_y], 1).astype(np.float32)
        turn = np.float32([[np.cos(tilt), np.sin(tilt)], [-np.sin(tilt), np.cos(tilt)]])
        places = np.float32([x * width, y * height]) + wing @ turn * np.float32(span * width / 2)
        cv2.fillPoly(cover, [np.int32(np.round(places * 16))], 255, cv2.LINE_AA, 4)
    image += (np.float32([0.10, 0.085, 0.09]) - image) * (0.9 / 255 * cover.astype(np.float32))[..., None]


def develop(light: Array, rng: np.random.Generator) -> Array:
    """Turn linear light into a photograph: bloom, vignette, film curve, grain.

    The curve is Narkowicz's fit of ACES (2015), with a little more contrast.
    """
    height, width = light.shape[:2]
    bright = np.clip(light - 0.9, 0, 6)
    for radius, share in ((0.006, 0.10), (0.03, 0.07)):
        light = light + share * cv2.GaussianBlur(bright, (0, 0), max(radius * width, 0.3))
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    light = light * (1 - 0.13 * (x * x + y * y))[..., None] * np.float32(0.62)
    film = light * (2.51 * light + 0.03) / (light * (2.43 * light + 0.59) + 0.14)
    coded = np.clip(film, 0, 1) ** np.float32(1 / 2.2)
    coded += 0.16 * coded * (1 - coded) * (2 * coded - 1) * 2
    return np.clip(coded + rng.normal(0, 0.006, (height, width, 1)).astype(np.float32), 0, 1)


def render_coast(size: int = 512, seed: int = 11) -> np.ndarray:
    """Render the coast.

    Parameters
    ----------
    size : int
        Width in pixels; the height is three quarters of it. Rendered at twice that and averaged down.
    seed : int
        Chooses the noise.

    Returns
    -------
    ndarray, uint8, [¾ size, size, 3], RGB
    """
    width, height = 2 * size, 2 * (3 * size // 4)
    world = build_world(min(2048, max(160, 2 * width)), seed)
    rng = np.random.default_rng(seed + 1)
    pixel = 2 * TAN_HALF_FIELD / width
    column, row = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    way = np.dstack(
        [(column + 0.5 - width / 2) * pixel, (HORIZON * height - row - 0.5) * pixel, np.ones_like(row)]
    )
    way = (way / np.linalg.norm(way, axis=2, keepdims=True)).astype(np.float32)
    flat = way.reshape(-1, 3)
    eye = np.broadcast_to(EYE, flat.shape)
    with np.errstate(divide="ignore"):
        to_sea = np.where(flat[:, 1] < 0, -EYE[1] / flat[:, 1], np.inf).astype(np.float32)
    to_land = march(world, eye, flat, reach=430, steps=420)
    land = to_land < to_sea
    sea = ~land & (to_sea < 40000)
    image = np.empty_like(flat)
    above = ~land & ~sea
    image[above] = sky(world, flat[above])
    image[sea] = shade_sea(world, EYE + to_sea[sea, None] * flat[sea], flat[sea], to_sea[sea], pixel)
    image[land] = shade_land(world, EYE + to_land[land, None] * flat[land], flat[land], to_land[land])
    image = image.reshape(height, width, 3)
    _far_hills(image, way, to_sea.reshape(height, width), land.reshape(height, width), rng)
    ground = float(world.at(world.height, np.float32([TOWER[0]]), np.float32([TOWER[1]]))[0])
    draw_tower(world, image, to_land.reshape(height, width), way, ground)
    _draw_birds(image, rng)
    photo = cv2.resize(develop(image, rng), (size, 3 * size // 4), interpolation=cv2.INTER_AREA)
    return np.round(photo * 255).astype(np.uint8)
