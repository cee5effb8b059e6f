"""What is measured of a picture beside its photo and its painting.

A number says what an eye would have to say of every picture otherwise. None of them is what the optimiser
minimises, but for the loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lbfgs_style import Options, images, networks
from lbfgs_style.images import resize
from lbfgs_style.images.color_preservation import to_oklab
from lbfgs_style.objective.engine import Engine
from lbfgs_style.objective.losses.terms import LossTerms, term_weights
from tools.looks.painting import Pair

Array = NDArray[np.float32]

# Standard deviation, in pixels, of the blur that separates the finest band.
_FINEST = 1.0

# Directions of the sliced Wasserstein distance, and quantiles that are compared along each.
_DIRECTIONS, _QUANTILES = 64, 512

# Layer whose features are compared for ghosts, positions along each side of a window of them, and pixels of
# the longer side at which pictures are compared: a window is then a tenth of a picture, as a face may be.
_GHOST_LAYER, _WINDOW, _GHOST_SIDE = "relu5_1", 3, 512

# Cosine similarity to a window of the painting, beyond that of the photo's own window, from which a window
# of the result counts as a ghost. Where eyes and faces of a painting were seen in water and sky, it is 0.7 to
# 0.9; where none was, at most 0.4.
_GHOST = 0.5


@dataclass(frozen=True, slots=True)
class Looks:
    """The measures of one picture.

    Attributes
    ----------
    loss : float
        Of the written picture, with Gram matrices, the network's own pooling and the default weights.
    color : float
        Sliced Wasserstein distance, in Oklab × 100, of its pixels to the painting's.
    confetti : float
        Standard deviation of the chroma in the finest band, divided by the painting's.
    edges : float
        Correlation of the lengths of its lightness gradients with the photo's, both blurred.
    ghosts : float
        Per cent of its windows that show a figure of the painting, where the photo has nothing like it.
    """

    loss: float
    color: float
    confetti: float
    edges: float
    ghosts: float


@lru_cache(maxsize=1)
def _engine(threads: int = 1) -> Engine:
    return Engine(networks.load("compact"), device="cpu", threads=threads, keep_sessions=False)


def measure(pair: Pair, picture: Path) -> Looks:
    """Measure a picture."""
    result = images.read(picture).rgb
    height, width = result.shape[:2]
    photo = resize(images.read(pair.photo).rgb, (height, width))
    painting = _shrunk(images.read(pair.painting).rgb, max(height, width))
    return Looks(
        loss=_loss(result, photo, painting),
        color=_color_distance(result, painting),
        confetti=_fine_chroma(result) / max(_fine_chroma(painting), 1e-4),
        edges=_edge_correlation(result, photo),
        ghosts=_ghosts(result, photo, painting),
    )


def _shrunk(rgb: Array, side: int) -> Array:
    """Return a picture whose longer side is at most `side`, as the style image of a run is."""
    scale = min(1.0, side / max(rgb.shape[:2]))
    return resize(rgb, (max(1, round(rgb.shape[0] * scale)), max(1, round(rgb.shape[1] * scale))))


def _loss(result: Array, photo: Array, painting: Array) -> float:
    engine = _engine()
    network, options = engine.network, Options()
    terms = LossTerms(network.content_layers, network.style_layers)
    content = engine.statistics(_planes(photo), LossTerms(network.content_layers, ()), what="photo")
    style = engine.statistics(_planes(painting), LossTerms((), network.style_layers), what="painting")
    weights = term_weights(options, terms)
    objective = engine.objective(result.shape[:2], terms, content | style, weights)
    return objective(_planes(result)).loss


def _planes(rgb: Array) -> Array:
    return np.ascontiguousarray(rgb.transpose(2, 0, 1), np.float32)


def _lab(rgb: Array) -> Array:
    return to_oklab(rgb.reshape(-1, 3)).reshape(rgb.shape).astype(np.float32)


def _color_distance(result: Array, painting: Array) -> float:
    """Return the mean over directions of the distance between sorted projections."""
    directions = np.random.default_rng(0).normal(size=(3, _DIRECTIONS))
    directions /= np.linalg.norm(directions, axis=0)
    steps = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    first, second = (
        np.quantile(_lab(rgb).reshape(-1, 3) @ directions, steps, axis=0) for rgb in (result, painting)
    )
    return 100 * float(np.abs(first - second).mean())


def _fine_chroma(rgb: Array) -> float:
    chroma = _lab(rgb)[..., 1:]
    return float((chroma - cv2.GaussianBlur(chroma, (0, 0), _FINEST)).std())


def _edge_correlation(result: Array, photo: Array) -> float:
    first, second = (_edges(rgb) for rgb in (result, photo))
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


def _edges(rgb: Array) -> Array:
    lightness = cv2.GaussianBlur(_lab(rgb)[..., 0], (0, 0), 2.0)
    down, across = np.gradient(lightness)
    return cv2.GaussianBlur(np.hypot(down, across), (0, 0), 2.0)


def _ghosts(result: Array, photo: Array, painting: Array) -> float:
    """Return per cent of windows of the result that resemble a place of the painting and not the photo.

    Features are compared relative to the painting's own mean and deviation, so that what is common in the
    painting, such as its strokes, counts little, and a figure much.
    """
    terms = LossTerms((_GHOST_LAYER,), ())
    maps = [
        _engine().statistics(_planes(_shrunk(rgb, _GHOST_SIDE)), terms, what="picture")[
            f"features_{_GHOST_LAYER}"
        ][0]
        for rgb in (result, photo, painting)
    ]
    mean = maps[2].mean((1, 2), keepdims=True)
    deviation = maps[2].std((1, 2), keepdims=True) + 1e-6
    own, before, there = (_windows((each - mean) / deviation) for each in maps)
    similarity = own @ there.T
    best = similarity.argmax(1)
    gain = similarity.max(1) - (before * there[best]).sum(1)
    return 100 * float(np.mean(gain > _GHOST))


def _windows(features: Array) -> Array:
    """Return the windows of features [C,h,w] as unit vectors [n, C · window²]."""
    views = np.lib.stride_tricks.sliding_window_view(features, (_WINDOW, _WINDOW), axis=(1, 2))
    flat = views.transpose(1, 2, 0, 3, 4).reshape(views.shape[1] * views.shape[2], -1)
    return flat / (np.linalg.norm(flat, axis=1, keepdims=True) + 1e-6)
