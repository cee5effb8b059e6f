"""Noise and table look-ups shared by the two sample pictures."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def smoothstep(low: float, high: float, x: Array) -> Array:
    """Return 0 below `low`, 1 above `high` and the cubic 3t² − 2t³ between; `low` > `high` falls."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)


def mix(a: Array | tuple[float, ...], b: Array | tuple[float, ...], amount: Array) -> Array:
    """Blend colours: `a` where `amount` (without a colour axis) is 0, `b` where it is 1."""
    start, end, weight = np.float32(a), np.float32(b), amount[..., None]
    return start + (end - start) * weight


def fbm(
    shape: tuple[int, int],
    cells: tuple[float, float],
    rng: np.random.Generator,
    *,
    octaves: int = 8,
    gain: float = 0.5,
    ridged: bool = False,
) -> Array:
    """Fractal Brownian motion on a regular grid: a sum of value noise, after Perlin's "turbulence" (1985).

    Each octave is a lattice of random values, enlarged by bicubic interpolation.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns.
    cells : tuple of float
        Lattice cells of the first octave along rows and columns; doubled for each octave.
    rng : numpy.random.Generator
        Source of the lattice values.
    octaves, gain : int, float
        How many octaves, and the amplitude of each relative to the one before.
    ridged : bool
        Fold each octave, 1 − 2|n|: sharp crests, after Musgrave's ridged multifractal.

    Returns
    -------
    ndarray, float32, of the given shape, roughly within [−1, 1]
    """
    total, amplitude, weight = np.zeros(shape, np.float32), 1.0, 0.0
    for octave in range(octaves):
        rows, columns = (max(2, round(c * 2**octave)) + 1 for c in cells)
        lattice = rng.uniform(-1, 1, (rows, columns)).astype(np.float32)
        if rows > 2 * shape[0] and columns > 2 * shape[1]:
            break  # finer than the grid can show
        layer = cv2.resize(lattice, shape[::-1], interpolation=cv2.INTER_CUBIC)
        total += amplitude * (1 - 2 * np.abs(layer) if ridged else layer)
        weight += amplitude
        amplitude *= gain
    return total * np.float32(1.6 / weight)


def gradient_noise(points: Array, seed: int) -> Array:
    """Perlin's gradient noise (1985, with the quintic fade of 2002) at points of space.

    Parameters
    ----------
    points : ndarray, float32, [N, 3]
        Where; the lattice has unit spacing.
    seed : int
        Chooses the lattice's gradients.

    Returns
    -------
    ndarray, float32, [N], roughly within [−1, 1]
    """
    rng = np.random.default_rng(seed)
    table = rng.permutation(1024).astype(np.int32)
    gradients = rng.normal(size=(1024, 3)).astype(np.float32)
    gradients *= 1.4 / np.linalg.norm(gradients, axis=1, keepdims=True)
    base = np.floor(points)
    inside = (points - base).astype(np.float32)
    cell = base.astype(np.int32)
    fade = inside**3 * (inside * (inside * 6 - 15) + 10)
    total = np.zeros(len(points), np.float32)
    for corner in np.ndindex(2, 2, 2):
        index = table[(cell[:, 0] + corner[0]) & 1023]
        index = table[(index + cell[:, 1] + corner[1]) & 1023]
        index = table[(index + cell[:, 2] + corner[2]) & 1023]
        offset = np.float32(corner)
        weight = np.prod(np.where(np.array(corner) == 1, fade, 1 - fade), axis=1)
        total += weight * np.einsum("ij,ij->i", gradients[index], inside - offset)
    return total


def look_up(grid: Array, column: Array, row: Array, *, border: int = cv2.BORDER_REPLICATE) -> Array:
    """Sample a grid bilinearly at fractional columns and rows of any shape.

    `cv2.remap` accepts no side above 32,767, so that the positions travel as rows of 1,024.
    """
    length = -(-column.size // 1024) * 1024
    columns, rows = (np.resize(v.astype(np.float32), length).reshape(-1, 1024) for v in (column, row))
    values = cv2.remap(grid, columns, rows, cv2.INTER_LINEAR, borderMode=border)
    return values.reshape(length, *grid.shape[2:])[: column.size].reshape(*column.shape, *grid.shape[2:])
