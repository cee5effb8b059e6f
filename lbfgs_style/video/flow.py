"""Optical flow between two frames, where it is reliable, and images moved along it.

A flow f [H,W,2] says where the pixels of one frame lie in another: frame(p) looks like other(p + f(p)), in
pixels, x first. The flow is that of Kroeger, Timofte, Dai and Van Gool, "Fast Optical Flow using Dense
Inverse Search" (ECCV 2016), in OpenCV's implementation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..images import FloatImage, resize
from ..images.picture import luma

Flow = NDArray[np.float32]
Mask = NDArray[np.float32]

# Smallest shorter side, in pixels, of frames that are compared: OpenCV fails on 90 pixels.
_SMALLEST = 128

# Largest number of pixels of an enlarged frame.
_LARGEST = 4_000_000

# Factors and constants of the bounds in `find_motion`: on the squared difference of a flow and the flow back,
# in pixels², and on the squared gradient of a flow.
_CONSISTENT, _SMOOTH = (0.01, 0.5), (0.01, 0.002)

# Standard deviation, in pixels, of the Gaussian that smooths the reliability.
_BLUR = 0.8

# Difference of pixel values, in [0,1], at which frames are unlike, and the blur of its square in pixels.
_UNLIKE, _LIKE_BLUR = 0.1, 1.5

# Standard deviation, in pixels, of the surroundings whose colours a hole gets.
_AROUND = 8.0


class Motion(NamedTuple):
    """Where the pixels of a frame lie in another one.

    Attributes
    ----------
    flow : array [H,W,2]
        The flow from the frame to the other one.
    visible, reliable : array [H,W]
        How visible a pixel is in the other frame, in [0,1]; and how reliable its flow is, never more than
        that: at the border of a motion a pixel may be visible, but its flow is not reliable.
    """

    flow: Flow
    visible: Mask
    reliable: Mask


def find_flow(frame: FloatImage, other: FloatImage, enlargement: float = 3.0) -> Flow:
    """Return the flow [H,W,2] from a frame H×W×3 to another one of its size.

    OpenCV's preset stops at half the resolution of the frames. If they are enlarged three times first, the
    error of the flow is 3.5 times smaller (`python -m tools.bench flow`).
    """
    import cv2

    height, width = size = (frame.shape[0], frame.shape[1])
    scale = max(1.0, min(enlargement, math.sqrt(_LARGEST / (height * width))), _SMALLEST / min(size))
    enlarged = (math.ceil(scale * height), math.ceil(scale * width))
    gray = [np.rint(255 * resize(luma(each), enlarged)).astype(np.uint8) for each in (frame, other)]
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)  # not shared: it keeps buffers
    flow = np.asarray(search.calc(gray[0], gray[1], np.zeros((*enlarged, 2), np.float32)), np.float32)
    if enlarged == size:
        return flow
    factors = np.array([width / enlarged[1], height / enlarged[0]], np.float32)
    return np.asarray(cv2.resize(flow, (width, height), interpolation=cv2.INTER_AREA), np.float32) * factors


def warp(image: NDArray[np.float32], flow: Flow, *, reflect: bool = False) -> NDArray[np.float32]:
    """Return other(p + f(p)) for an image H×W or H×W×C and the flow from a frame to it.

    By Lanczos' kernel of 8×8 pixels: bilinear interpolation loses a fifth of the sharpness in eight frames.
    Outside the image its border is repeated, or the image is reflected.
    """
    import cv2

    border = cv2.BORDER_REFLECT_101 if reflect else cv2.BORDER_REPLICATE
    return np.asarray(cv2.remap(image, *_targets(flow), cv2.INTER_LANCZOS4, borderMode=border), np.float32)


def find_motion(flow: Flow, back: Flow) -> Motion:
    """Return how a frame moves to another one, by the flow to it and the flow back.

    Sundaram, Brox and Keutzer, "Dense Point Trajectories by GPU-accelerated Large Displacement Optical Flow"
    (ECCV 2010), with the numbers of Ruder, Dosovitskiy and Brox (2016), sec. 4: with b the flow back at the
    end of f, a pixel has left the view or is hidden in the other frame where
    |f + b|² ≥ 0.01 (|f|² + |b|²) + 0.5, and is at the border of a motion where |∇f|² > 0.01 |f|² + 0.002.
    Smoothed; what is hidden counts −1 there, so that holes grow. Where the flow is reliable, the result is
    the mean of f and −b, so that the motion back is nearly its inverse.
    """
    import cv2

    columns, rows = _targets(flow)
    returned = cv2.remap(back, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    squared = (flow**2).sum(axis=2)
    error, both = ((flow + returned) ** 2).sum(axis=2), squared + (returned**2).sum(axis=2)
    axes = (axis for axis in (0, 1) if flow.shape[axis] > 1)
    gradient = sum((np.gradient(flow, axis=axis) ** 2).sum(axis=2) for axis in axes)
    is_inside = _is_inside(columns, rows)
    visible = is_inside.astype(np.float32)
    visible[is_inside & (error >= _CONSISTENT[0] * both + _CONSISTENT[1])] = -1
    reliable = np.where(gradient > _SMOOTH[0] * squared + _SMOOTH[1], np.minimum(visible, 0), visible)
    visible, reliable = (
        np.clip(cv2.GaussianBlur(each, (0, 0), _BLUR), 0, 1).astype(np.float32)
        for each in (visible, reliable)
    )
    return Motion(flow - reliable[..., np.newaxis] * (flow + returned) / 2, visible, reliable)


def find_likeness(frame: FloatImage, moved: FloatImage) -> Mask:
    """Return how similar a content frame is to another one that was moved to it, H×W in [0,1].

    exp(−d² / τ²) with the difference d, the smoothed root mean square over the channels. The flow back finds
    what is hidden; where things change their appearance, or the flow is wrong both ways, only this shows it.
    """
    import cv2

    squared = cv2.GaussianBlur(((frame - moved) ** 2).mean(axis=2), (0, 0), _LIKE_BLUR)
    return np.exp(squared / -(_UNLIKE**2)).astype(np.float32)


def with_likeness(motion: Motion, frame: FloatImage, other: FloatImage) -> Motion:
    """Return a motion that is less reliable where the frames look different, and visible where they do not.

    On a plain surface flows are vague, and the flow back often disagrees; what looks alike there may be
    painted alike, too, so it counts as visible, with the square of its likeness. It is not held.
    """
    like = find_likeness(frame, warp(other, motion.flow))
    inside = _is_inside(*_targets(motion.flow)).astype(np.float32)
    visible = np.asarray(inside * like * (motion.visible + (1 - motion.visible) * like), np.float32)
    return Motion(motion.flow, visible, motion.reliable * like)


def fill_holes(paint: FloatImage, content: FloatImage, visible: Mask, strokes: FloatImage) -> FloatImage:
    """Return an image where it was visible, and elsewhere the content in the manner of the paint around.

    What was moved to a place that was hidden before belongs to another object, whose ghost would survive a
    few iterations. The content is right there; it gets the mean difference of paint and content around, and
    strokes.

    Parameters
    ----------
    paint, content : array, float32, H×W×3
        The moved image, and the content frame.
    visible : array, float32, H×W
        Where the paint is right, in [0,1].
    strokes : array, float32, H×W×3
        What to add in the holes, see `find_strokes`.
    """
    import cv2

    known = visible[..., np.newaxis]
    weights = cv2.GaussianBlur(visible, (0, 0), _AROUND)[..., np.newaxis]
    around = cv2.GaussianBlur(known * (paint - content), (0, 0), _AROUND) / np.maximum(weights, 1e-3)
    return np.asarray(known * paint + (1 - known) * (content + around + strokes), np.float32)


def find_strokes(paint: FloatImage, content: FloatImage, flow: Flow) -> FloatImage:
    """Return strokes for what comes into view: those of the frame before, reflected at its border.

    Strokes are the difference of paint and content minus its local mean. A few iterations paint none on plain
    content. What an object uncovers gets none: the reflected ones would be those along the object's edge.
    """
    import cv2

    difference = paint - content
    strokes = difference - cv2.GaussianBlur(difference, (0, 0), _AROUND)
    outside = 1 - _is_inside(*_targets(flow)).astype(np.float32)
    weight = cv2.GaussianBlur(outside, (0, 0), _BLUR)[..., np.newaxis]
    return np.asarray(weight * warp(strokes, flow, reflect=True), np.float32)


def exclude_nearer(motions: Sequence[Motion]) -> list[Motion]:
    """Return the motions to several frames, nearest first, each without what nearer frames show.

    Ruder, Dosovitskiy and Brox, eq. 9: c_long(j) = max(c(j) − Σ c(k), 0) over the nearer frames k. So a pixel
    follows the nearest frame that has it, and long-term ones only where others do not.
    """
    taken, result = np.zeros_like(motions[0].visible), list[Motion]()
    for flow, visible, reliable in motions:
        left = np.maximum(visible - taken, 0)
        result.append(Motion(flow, left, np.minimum(reliable, left)))
        taken = taken + visible
    return result


def fuse(images: Sequence[FloatImage], weights: Sequence[Mask]) -> tuple[FloatImage, Mask]:
    """Return one image W and one weight C that replace several images w and weights c.

    Σ c (x − w)² = C (x − W)² + a constant, with C = Σ c and W = Σ c w / C. Where no image has weight, W is
    the first one.
    """
    total, mean = np.zeros_like(weights[0]), np.zeros_like(images[0])
    for image, each in zip(images, weights, strict=True):
        total += each
        mean += each[..., np.newaxis] * image
    known = total[..., np.newaxis]
    np.divide(mean, known, out=mean, where=known > 0)
    return np.where(known > 0, mean, images[0]), total


def _targets(flow: Flow) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the columns and rows [H,W] that a flow points to."""
    rows, columns = np.mgrid[: flow.shape[0], : flow.shape[1]].astype(np.float32)
    return columns + flow[..., 0], rows + flow[..., 1]


def _is_inside(columns: NDArray[np.float32], rows: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which of the positions [H,W] lie within an image of that size."""
    height, width = columns.shape
    return (columns >= 0) & (columns <= width - 1) & (rows >= 0) & (rows <= height - 1)
