"""Keep the colours of the content (Gatys et al., "Preserving Color in Neural Artistic Style Transfer", 2016).

Two ways. *Luminance*: the network sees content and styles in grey, and the result gets the colours of the
content back. *Match*: each style image gets the colours of the content first.

Luminance is the lightness L of Oklab (Ottosson, "A perceptual color space for image processing", 2020), from
linear light: where L changes and a, b stay, a colour keeps its hue for the eye. Differs from the paper, which
takes Y of YIQ, where dark strokes turn colours muddy and blue turns purple.

Matching is done on the encoded values of sRGB, as in the paper: they are spaced nearly as the eye sees, and
they are what the network sees. In linear light, mean and covariance would be those of the highlights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ..settings.options import ColorMatch, PreserveColor
from . import srgb
from .resize import FloatImage
from .row_strips import map_pixels, strips

_Matrix = NDArray[np.floating]

# H×W float32 in [0, 1], of the content's size.
Mask = NDArray[np.float32]

# Ottosson's two matrices: linear sRGB → cones, and their cube roots → L, a, b.
_TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)

# Variance of a style's colours in a direction: smaller ones are noise, which must not be amplified.
_LEAST = (1 / 255) ** 2

# Distance outside [0, 1] up to which linear sRGB counts as displayable.
_IN_GAMUT = 1e-6

# Steps of the bisection for the chroma: it is exact to 1/1024.
_HALVINGS = 10


def seen_by_network(
    content: FloatImage,
    styles: Sequence[FloatImage],
    preserve: PreserveColor,
    method: ColorMatch,
    places: Sequence[Mask | None] | None = None,
    style_masks: Sequence[Mask | None] | None = None,
) -> tuple[FloatImage, list[FloatImage]]:
    """Return the content image and the style images as the network sees them.

    Parameters
    ----------
    content : array, float32, H×W×3
        The content image, RGB in [0, 1].
    styles : sequence of array, float32, H×W×3
        The style images, of any size.
    preserve : {"none", "luminance", "match"}
        How the content's colours are kept.
    method : {"cholesky", "pca", "symmetric"}
        See `matching`.
    places : sequence of (array or None), optional
        Where each style goes in the content image, H×W in [0, 1]: it gets the colours or the lightness of
        that part. None for everywhere.
    style_masks : sequence of (array or None), optional
        Where the colours and lightness of each style image are measured, of its size.
    """
    anywhere = [None] * len(styles)
    triples = list(zip(styles, places or anywhere, style_masks or anywhere, strict=True))
    if preserve == "match":
        return content, [
            recolored(style, content, method, where, style_mask) for style, where, style_mask in triples
        ]
    if preserve == "luminance":
        return in_gray(content), [
            in_gray_like(style, content, where, style_mask) for style, where, style_mask in triples
        ]
    return content, list(styles)


def to_oklab(rgb: NDArray[np.floating]) -> _Matrix:
    """Return L, a, b of sRGB pixels n×3."""
    return np.cbrt(srgb.to_linear(rgb) @ _TO_CONES.T) @ _TO_LAB.T


def from_oklab(lab: _Matrix) -> _Matrix:
    """Return sRGB of L, a, b, n×3; outside [0, 1] where sRGB has no such colour."""
    return srgb.to_encoded(_light(_roots(lab)))


def in_gray(picture: FloatImage) -> FloatImage:
    """Return an image H×W×3 in grey, of the same lightness."""

    def grayed(pixels: NDArray[np.float64]) -> _Matrix:
        return _grays(to_oklab(pixels)[:, 0])

    return map_pixels(grayed, picture)


def in_gray_like(
    style: FloatImage, content: FloatImage, where: Mask | None = None, style_mask: Mask | None = None
) -> FloatImage:
    """Return a style image in greys whose lightness has the content's mean and spread.

    L' = σ_c / σ_s (L − μ_s) + μ_c (sec. 3.2 of the paper); a style image of one lightness gets the
    content's mean. With masks, H×W, the content image counts where `where` is white, the style image where
    `style_mask` is.
    """
    (mean_s, deviation_s), (mean_c, deviation_c) = _lightness(style, style_mask), _lightness(content, where)
    gain = deviation_c / max(deviation_s, _LEAST**0.5)

    def matched(pixels: NDArray[np.float64]) -> _Matrix:
        return _grays(np.clip(gain * (to_oklab(pixels)[:, 0] - mean_s) + mean_c, 0, 1))

    return map_pixels(matched, style)


def with_colors_of(result: FloatImage, content: FloatImage) -> FloatImage:
    """Return the lightness of one image with the hue and chroma (a, b) of another of the same size.

    Where sRGB has no such colour at that lightness, the chroma is made smaller until it has.
    """

    def combined(lightness: NDArray[np.float64], colors: NDArray[np.float64]) -> _Matrix:
        lab = to_oklab(colors)
        lab[:, 0] = np.clip(to_oklab(lightness)[:, 0], 0, 1)
        outside = np.flatnonzero(~_displayable(_roots(lab)))
        lab[outside] = _less_chroma(lab[outside])
        return from_oklab(lab)

    return map_pixels(combined, result, content)


def recolored(
    style: FloatImage,
    content: FloatImage,
    method: ColorMatch,
    where: Mask | None = None,
    style_mask: Mask | None = None,
) -> FloatImage:
    """Return a style image whose colours have the content's mean and covariance, clipped to [0, 1].

    With masks, H×W, the content image counts where `where` is white, the style image where `style_mask` is.
    """
    matrix, offset = matching(style, content, method, where, style_mask)

    def mapped(pixels: NDArray[np.float64]) -> _Matrix:
        return pixels @ matrix.T + offset

    return map_pixels(mapped, style)


def matching(
    style: FloatImage,
    content: FloatImage,
    method: ColorMatch,
    where: Mask | None = None,
    style_mask: Mask | None = None,
) -> tuple[_Matrix, _Matrix]:
    """Return A and b of x ↦ A x + b, which gives a style the mean and covariance of the content's colours.

    With the covariances Σ_s and Σ_c, A Σ_s Aᵀ = Σ_c and b = μ_c − A μ_s. Of the many such A:

    - ``cholesky``: A = L_c L_s⁻¹, with the Cholesky factors of Σ_c and Σ_s;
    - ``pca``: A = Σ_c^½ Σ_s^−½ ("Image Analogies" of Hertzmann et al., 2001);
    - ``symmetric``: A = Σ_s^−½ (Σ_s^½ Σ_c Σ_s^½)^½ Σ_s^−½, which moves colours the least.

    Differs from the paper: a style image that varies by less than one step of 8 bits in some direction,
    such as a grey one, counts as varying by that much, and varies less than the content there. With a mask
    `where`, H×W, the content's moments are weighted by it; `style_mask` does the same to the style image's.

    Returns
    -------
    matrix : array, 3×3
        A.
    offset : array, 3
        b.
    """
    (mean_s, covariance_s), (mean_c, covariance_c) = _moments(style, style_mask), _moments(content, where)
    matrix = _METHODS[method](_of_eigenvalues(covariance_s, lambda v: np.maximum(v, _LEAST)), covariance_c)
    return matrix, mean_c - matrix @ mean_s


def _cholesky(style: _Matrix, content: _Matrix) -> _Matrix:
    return triangular_root(content) @ np.linalg.inv(triangular_root(style))


def _pca(style: _Matrix, content: _Matrix) -> _Matrix:
    return _root(content) @ np.linalg.inv(_root(style))


def _symmetric(style: _Matrix, content: _Matrix) -> _Matrix:
    root = _root(style)
    inverse = np.linalg.inv(root)
    return inverse @ _root(root @ content @ root) @ inverse


_METHODS: dict[str, Callable[[_Matrix, _Matrix], _Matrix]] = {
    "cholesky": _cholesky,
    "pca": _pca,
    "symmetric": _symmetric,
}


def _of_eigenvalues(matrix: _Matrix, function: Callable[[_Matrix], _Matrix]) -> _Matrix:
    values, vectors = np.linalg.eigh(matrix)
    return vectors * function(values) @ vectors.T


def _root(matrix: _Matrix) -> _Matrix:
    return _of_eigenvalues(matrix, lambda values: np.sqrt(np.maximum(values, 0)))


def triangular_root(matrix: _Matrix) -> _Matrix:
    """Return the Cholesky factor, also of a singular matrix, which `numpy.linalg.cholesky` refuses."""
    factor = np.linalg.qr(_root(matrix)).R.T
    return factor * np.where(np.diag(factor) < 0, -1, 1)


def _moments(picture: FloatImage, where: Mask | None = None) -> tuple[_Matrix, _Matrix]:
    """Return mean and covariance of the colours of an image, each pixel weighted by a mask."""
    mask = _everywhere(picture) if where is None else where
    total = mask.sum(dtype=np.float64)
    mean = sum(((w * pixels).sum(axis=0) for pixels, w in strips(picture, mask)), start=np.zeros(3)) / total
    covariance = np.zeros((3, 3))
    for pixels, weights in strips(picture, mask):
        centred = pixels - mean
        covariance += (weights * centred).T @ centred / total
    return mean, covariance


def _lightness(picture: FloatImage, where: Mask | None = None) -> tuple[float, float]:
    """Return mean and standard deviation of the lightness of an image, each pixel weighted by a mask."""
    mask = _everywhere(picture) if where is None else where
    sums = np.zeros(3)
    for pixels, weights in strips(picture, mask):
        lightness = to_oklab(pixels)[:, :1]
        sums += np.concatenate([weights, weights * lightness, weights * lightness**2], axis=1).sum(axis=0)
    mean, square = sums[1:] / sums[0]
    return float(mean), float(max(square - mean**2, 0) ** 0.5)


def _everywhere(picture: FloatImage) -> Mask:
    return np.ones(picture.shape[:2], np.float32)


def _grays(lightness: _Matrix) -> _Matrix:
    return np.repeat(srgb.to_encoded(lightness**3)[:, np.newaxis], 3, axis=1)


def _light(roots: _Matrix) -> _Matrix:
    """Return linear sRGB of the cube roots of cone responses (l', m', s' of Oklab)."""
    return (roots * roots * roots) @ np.linalg.inv(_TO_CONES).T  # NumPy's ** 3 takes ten times as long


def _roots(lab: _Matrix) -> _Matrix:
    return lab @ np.linalg.inv(_TO_LAB).T


def _displayable(roots: _Matrix) -> NDArray[np.bool_]:
    rgb = _light(roots)
    return (rgb.min(axis=1) > -_IN_GAMUT) & (rgb.max(axis=1) < 1 + _IN_GAMUT)


def _less_chroma(lab: _Matrix) -> _Matrix:
    """Return colours of the same lightness and hue with the most chroma that sRGB has, by bisection."""
    gray, chroma = _roots(lab * [1, 0, 0]), _roots(lab * [0, 1, 1])
    low = np.zeros((len(lab), 1))
    for n in range(1, _HALVINGS + 1):
        middle = low + 0.5**n
        low = np.where(_displayable(gray + middle * chroma)[:, np.newaxis], middle, low)
    return np.concatenate([lab[:, :1], low * lab[:, 1:]], axis=1)
