"""Optical flow between two frames, where it is reliable, and images moved along it.

A flow f [H,W,2] says where the pixels of one frame lie in another: frame(p) looks like other(p + f(p)), in
pixels, x first. The flow is that of Kroeger, Timofte, Dai and Van Gool, "Fast Optical Flow using Dense
Inverse Search" (ECCV 2016), in OpenCV's implementation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..images import FloatImage, resize
from ..images.picture import luma

Flow = NDArray[np.float32]
Mask = NDArray[np.float32]

# Pixels of the shorter side below which frames are enlarged first: OpenCV fails on frames of 90 pixels.
_SMALLEST = 128

# A flow is consistent if it differs from the flow back by less than this share of both, in squares, and this
# many pixels², and smooth where its squared gradient is below this share of its square and this number.
_CONSISTENT, _SMOOTH = (0.01, 0.5), (0.01, 0.002)

# Standard deviation, in pixels, of the Gaussian that smooths the reliability.
_BLUR = 0.8

# Difference of pixel values, in [0,1], at which frames are unlike, and the blur of its square in pixels.
_UNLIKE, _LIKE_BLUR = 0.1, 1.5

# Standard deviation, in pixels, of the surroundings whose colours a hole gets.
_AROUND = 8.0


def find_flow(frame: FloatImage, other: FloatImage) -> Flow:
    """Return the flow [H,W,2] from a frame H×W×3 to another one of its size."""
    import cv2

    height, width = size = (frame.shape[0], frame.shape[1])
    scale = max(1.0, _SMALLEST / min(size))
    enlarged = (math.ceil(scale * height), math.ceil(scale * width))
    gray = [np.rint(255 * resize(luma(each), enlarged)).astype(np.uint8) for each in (frame, other)]
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)  # not shared: it keeps buffers
    flow = np.asarray(search.calc(gray[0], gray[1], np.zeros((*enlarged, 2), np.float32)), np.float32)
    if enlarged == size:
        return flow
    factors = np.array([width / enlarged[1], height / enlarged[0]], np.float32)
    return np.asarray(cv2.resize(flow, (width, height), interpolation=cv2.INTER_AREA), np.float32) * factors


def warp(image: NDArray[np.float32], flow: Flow) -> NDArray[np.float32]:
    """Return other(p + f(p)) for an image H×W or H×W×C and the flow from a frame to it.

    By Lanczos' kernel of 8×8 pixels: bilinear interpolation takes a fifth of the sharpness in eight frames.
    Outside of the image its border is repeated.
    """
    import cv2

    return np.asarray(
        cv2.remap(image, *_targets(flow), cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REPLICATE), np.float32
    )


def find_reliability(flow: Flow, back: Flow) -> Mask:
    """Return how reliable a flow is at each pixel, H×W in [0,1], by the flow back from the other frame.

    Sundaram, Brox and Keutzer, "Dense Point Trajectories by GPU-accelerated Large Displacement Optical Flow"
    (ECCV 2010), with the numbers of Ruder, Dosovitskiy and Brox (2016), sec. 4: with b the flow back at the
    end of f, a pixel has left the view or is hidden in the other frame where
    |f + b|² ≥ 0.01 (|f|² + |b|²) + 0.5, and is at the border of a motion where |∇f|² > 0.01 |f|² + 0.002.
    Smoothed; what is hidden counts −1 there, so that holes grow.
    """
    import cv2

    height, width = flow.shape[:2]
    columns, rows = _targets(flow)
    returned = cv2.remap(back, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    squared = (flow**2).sum(axis=2)
    error, both = ((flow + returned) ** 2).sum(axis=2), squared + (returned**2).sum(axis=2)
    gradient = sum((each**2).sum(axis=2) for each in np.gradient(flow, axis=(0, 1)))
    is_inside = (columns >= 0) & (columns <= width - 1) & (rows >= 0) & (rows <= height - 1)
    reliable = np.ones((height, width), np.float32)
    reliable[(gradient > _SMOOTH[0] * squared + _SMOOTH[1]) | ~is_inside] = 0
    reliable[is_inside & (error >= _CONSISTENT[0] * both + _CONSISTENT[1])] = -1
    return np.clip(cv2.GaussianBlur(reliable, (0, 0), _BLUR), 0, 1).astype(np.float32)


def find_likeness(frame: FloatImage, moved: FloatImage) -> Mask:
    """Return how like a content frame is to another one that was moved to it, H×W in [0,1].

    exp(−d² / τ²) with the difference d, smoothed, its root mean square over the channels. The flow back finds
    what is hidden; where things change their looks, or the flow is wrong both ways, only their looks tell.
    """
    import cv2

    squared = cv2.GaussianBlur(((frame - moved) ** 2).mean(axis=2), (0, 0), _LIKE_BLUR)
    return np.exp(squared / -(_UNLIKE**2)).astype(np.float32)


def fill_holes(paint: FloatImage, content: FloatImage, reliability: Mask) -> FloatImage:
    """Return an image where it is reliable, and elsewhere the content in the colours of the paint around.

    What was moved to a place that was hidden before is another thing: a few iterations leave its ghost there.
    The content is right, and gets the mean difference of paint and content around.
    """
    import cv2

    known = reliability[..., np.newaxis]
    weights = cv2.GaussianBlur(reliability, (0, 0), _AROUND)[..., np.newaxis]
    around = cv2.GaussianBlur(known * (paint - content), (0, 0), _AROUND) / np.maximum(weights, 1e-3)
    return np.asarray(known * paint + (1 - known) * (content + around), np.float32)


def exclude_nearer(reliabilities: Sequence[Mask]) -> list[Mask]:
    """Return the reliabilities of several frames, nearest first, each without what nearer ones give.

    Ruder, Dosovitskiy and Brox, eq. 9: c_long(j) = max(c(j) − Σ c(k), 0) over the nearer frames k. So a pixel
    follows the nearest frame that has it, and long-term ones only where others do not.
    """
    taken, result = np.zeros_like(reliabilities[0]), list[Mask]()
    for each in reliabilities:
        result.append(np.maximum(each - taken, 0))
        taken = taken + each
    return result


def fuse(images: Sequence[FloatImage], reliabilities: Sequence[Mask]) -> tuple[FloatImage, Mask]:
    """Return one image W and one reliability C in place of several w and c.

    Σ c (x − w)² = C (x − W)² + a constant, with C = Σ c and W = Σ c w / C. Where no image is reliable, W is
    the first one.
    """
    total, mean = np.zeros_like(reliabilities[0]), np.zeros_like(images[0])
    for image, each in zip(images, reliabilities, strict=True):
        total += each
        mean += each[..., np.newaxis] * image
    known = total[..., np.newaxis]
    np.divide(mean, known, out=mean, where=known > 0)
    return np.where(known > 0, mean, images[0]), total


def _targets(flow: Flow) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the columns and rows [H,W] that a flow points to."""
    rows, columns = np.mgrid[: flow.shape[0], : flow.shape[1]].astype(np.float32)
    return columns + flow[..., 0], rows + flow[..., 1]
