"""A clip with true flow: the view moves over a picture, and an object passes over it."""

from __future__ import annotations

import cv2
import numpy as np


def texture(side: int, seed: int) -> np.ndarray:
    """Return a picture of blobs and lines, float32 in [0,1], which flow can follow."""
    rng = np.random.default_rng(seed)
    layers = [
        cv2.resize(rng.random((side // step, side // step, 3)).astype(np.float32), (side, side))
        for step in (4, 16, 48)
    ]
    return np.clip(0.3 * layers[0] + 0.3 * layers[1] + 0.4 * layers[2], 0, 1).astype(np.float32)


def pan(count: int, size: tuple[int, int] = (96, 128), step: float = 3.0, seed: int = 0) -> list[np.ndarray]:
    """Return frames of a view that moves to the right by `step` pixels a frame."""
    height, width = size
    ground = texture(2 * max(size) + int(step * count), seed)
    return [
        cv2.getRectSubPix(ground, (width, height), (width / 2 + step * i + 8, height / 2 + 8))
        for i in range(count)
    ]
