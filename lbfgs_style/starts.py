"""The picture that a run starts from: content, style, noise, another picture, or a blend with noise."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .errors import OptionError
from .images import FloatImage, resize, to_chw
from .options import Options
from .parametrization import Image


def start(
    options: Options,
    content: FloatImage,
    paintings: Sequence[FloatImage],
    given: FloatImage | None,
    size: tuple[int, int],
) -> Image:
    """Make the first picture.

        x = (1 − s) · picture + s · noise, s = options.init_noise

    Parameters
    ----------
    options : Options
        `init`, `init_noise` and `seed`.
    content : array
        The photo, H×W×3 float32 RGB in [0,1].
    paintings : sequence of array
        Those styles that are pictures; the first is taken for ``init="style"``.
    given : array or None
        A picture in place of `options.init`; it is stretched.
    size : (int, int)
        Height and width of the coarsest scale.

    Returns
    -------
    array [3,H,W]
        The same for the same arguments, bit for bit.

    Raises
    ------
    OptionError
        If it should start from the style and no style is a picture.
    """
    if given is not None:
        picture = resize(given, size)
    elif options.init == "noise":
        return _noise(options.seed, size)
    elif options.init == "style":
        if not paintings:
            raise OptionError(
                "init 'style' needs a painting, and the styles are statistics: start from content or noise."
            )
        picture = resize(_middle(paintings[0], size), size)
    else:
        picture = resize(content, size)
    share = options.init_noise
    clean = to_chw(picture)
    return clean if share == 0 else (1 - share) * clean + share * _noise(options.seed, size)


def _noise(seed: int, size: tuple[int, int]) -> Image:
    """Return grey noise: normal around 0.5 with a deviation of 0.1, cut to [0,1]."""
    return np.clip(np.random.default_rng(seed).normal(0.5, 0.1, (3, *size)), 0, 1)


def _middle(rgb: FloatImage, size: tuple[int, int]) -> FloatImage:
    """Cut a painting to the shape of `size` around its middle: stretched strokes would not be its own."""
    height, width = rgb.shape[:2]
    scale = min(height / size[0], width / size[1])
    rows = min(height, max(1, math.floor(size[0] * scale + 0.5)))
    columns = min(width, max(1, math.floor(size[1] * scale + 0.5)))
    top, left = (height - rows) // 2, (width - columns) // 2
    return np.ascontiguousarray(rgb[top : top + rows, left : left + columns])
