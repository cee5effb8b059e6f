"""A clip with true flow: a view that pans, zooms and turns over a picture, and a disc that passes over it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lbfgs_style.images import FloatImage

# Radius of the disc, in heights of the frame, and pixels around its border that count for neither side.
_RADIUS, _BORDER = 0.22, 1.5

# At its farthest, the view has this share of the picture's side.
_VIEW = 0.62


@dataclass(frozen=True, slots=True, eq=False)
class SyntheticClip:
    """Frames whose flow is known.

    Attributes
    ----------
    ground, patch : array, float32, H×W×3
        What the view moves over, and what the disc shows.
    size : (int, int)
        Height and width of a frame.
    count : int
        Frames of the clip: the first third pans, the second one zooms, the last one turns.
    """

    ground: FloatImage
    patch: FloatImage
    size: tuple[int, int]
    count: int

    def frame(self, index: int) -> FloatImage:
        """Return a frame, float32 H×W×3 in [0,1]."""
        height, width = self.size
        view = cv2.warpAffine(
            self.ground,
            self._to_ground(index)[:2],
            (width, height),
            flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT,
        )
        x, y = self._center(index)
        moved = np.array([[1, 0, x - self.patch.shape[1] / 2], [0, 1, y - self.patch.shape[0] / 2]])
        disc = cv2.warpAffine(self.patch, moved, (width, height), flags=cv2.INTER_CUBIC)
        opacity = np.clip(self._radius - self._distance(index) + 0.5, 0, 1)[..., np.newaxis]
        return np.clip(opacity * disc + (1 - opacity) * view, 0, 1).astype(np.float32)

    def flow(self, index: int, other: int) -> NDArray[np.float32]:
        """Return the true flow [H,W,2] from a frame to another one."""
        points = self._points()
        matrix = np.linalg.inv(self._to_ground(other)) @ self._to_ground(index)
        moved = points @ matrix[:2, :2].T + matrix[:2, 2]
        flow = moved - points
        flow[self._distance(index) <= self._radius] = self._center(other) - self._center(index)
        return flow.astype(np.float32)

    def visible(self, index: int, other: int) -> NDArray[np.bool_]:
        """Return which pixels of a frame are in view, and not behind the disc, in another one."""
        moved = self._points() + self.flow(index, other)
        height, width = self.size
        inside = (moved >= 0).all(axis=2) & (moved[..., 0] <= width - 1) & (moved[..., 1] <= height - 1)
        of_disc, other_distance = self._distance(index), self._distance_of(moved, other)
        is_ground = (of_disc > self._radius + _BORDER) & (other_distance > self._radius + _BORDER)
        return inside & (is_ground | (of_disc < self._radius - _BORDER))

    @property
    def _radius(self) -> float:
        return _RADIUS * self.size[0]

    def _center(self, index: int) -> NDArray[np.float64]:
        """Return x and y of the disc's centre, which passes over the frame on a curve."""
        height, width = self.size
        share = index / max(1, self.count - 1)
        return np.array([(1.3 * share - 0.15) * width, (0.5 + 0.2 * np.sin(7 * share)) * height])

    def _distance(self, index: int) -> NDArray[np.float64]:
        return self._distance_of(self._points(), index)

    def _distance_of(self, points: NDArray[np.float64], index: int) -> NDArray[np.float64]:
        return np.linalg.norm(points - self._center(index), axis=2)

    def _points(self) -> NDArray[np.float64]:
        rows, columns = np.mgrid[: self.size[0], : self.size[1]]
        return np.stack([columns, rows], axis=2).astype(np.float64)

    def _to_ground(self, index: int) -> NDArray[np.float64]:
        """Return the map [3,3] from a frame's pixels to those of the ground."""
        pan, zoom, turn = (
            float(np.clip(3 * index / max(1, self.count - 1) - each, 0, 1)) for each in range(3)
        )
        (height, width), (rows, columns) = self.size, self.ground.shape[:2]
        scale = _VIEW * min(rows / height, columns / width) * (1 - 0.3 * zoom)
        angle = np.deg2rad(25 * turn)
        cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
        x = (0.38 + 0.2 * pan) * columns
        to_middle = np.array([[1, 0, -(width - 1) / 2], [0, 1, -(height - 1) / 2], [0, 0, 1]])
        return np.array([[cosine, -sine, x], [sine, cosine, 0.5 * rows], [0, 0, 1]]) @ to_middle


def warping_error(
    later: FloatImage, earlier: FloatImage, flow: NDArray[np.float32], mask: NDArray[np.floating]
) -> float:
    """Return Σ M (warp(O_t+1) − O_t)² / Σ M, a mean over channels.

    Lai et al., "Learning Blind Video Temporal Consistency" (ECCV 2018), as their `evaluate_WarpError.py`
    computes it; `flow` is that of the content, from the earlier frame to the later one.
    """
    rows, columns = np.mgrid[: flow.shape[0], : flow.shape[1]].astype(np.float32)
    moved = cv2.remap(
        later,
        columns + flow[..., 0],
        rows + flow[..., 1],
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    weights = np.asarray(mask, np.float64)[..., np.newaxis]
    return float((weights * (moved - earlier) ** 2).sum() / (3 * weights.sum()))
