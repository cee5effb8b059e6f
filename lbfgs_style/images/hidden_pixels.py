"""Fill transparent pixels with colours of the visible ones, so that the network sees no hidden colours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .resize import FloatImage, resize


def fill_hidden(rgb: FloatImage, alpha: NDArray[np.float32] | None) -> FloatImage:
    """Return an image whose fully transparent pixels have colours spread from the visible ones.

    Files hold any colour there, often black, and a network that sees it paints the visible border darker. The
    colours come from smaller and smaller copies of the visible part, each half as large ("pull-push": Gortler
    et al., "The Lumigraph", 1996, sec. 4.3).

    Parameters
    ----------
    rgb : array, float32, H×W×3
        RGB in [0,1].
    alpha : array, float32, H×W, or None
        Opacity in [0,1]; where it is 0, the pixel is hidden.

    Returns
    -------
    array, float32, H×W×3
        `rgb` itself where nothing is hidden, or everything.
    """
    if alpha is None:
        return rgb
    visible = (alpha > 0).astype(np.float32)
    if visible.all() or not visible.any():
        return rgb
    return _filled(rgb * visible[..., np.newaxis], visible)


def _filled(colors: FloatImage, weight: NDArray[np.float32]) -> FloatImage:
    """Divide colours that are multiplied by a weight in [0,1] by it; fill them in where it is 0."""
    size = (weight.shape[0], weight.shape[1])
    filled = (colors / np.maximum(weight, 1e-30)[..., np.newaxis]).astype(np.float32, copy=False)
    if weight.all():
        return np.clip(filled, 0, 1)
    half = ((size[0] + 1) // 2, (size[1] + 1) // 2)
    smaller = _filled(resize(colors, half), resize(weight, half))
    visible = weight[..., np.newaxis] > 0
    return np.where(visible, np.clip(filled, 0, 1), resize(smaller, size)).astype(np.float32, copy=False)
