"""The initial image of a run: content, style, noise, an image or a blend; and that of a larger scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import OptionError
from ..images import FloatImage, resize, resize_to_chw
from ..optimization.variables import Image
from ..settings.options import Options

# Share of the initial image's detail that a larger scale starts with. With 0 the optimiser has to restore the
# content's edges; with 1 a smooth style gets more detail than its image has.
DETAIL = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class InitialImage:
    """The initial image of a run at any size.

    Attributes
    ----------
    options : Options
        `init`, `init_noise` and `seed`.
    content : array
        The content image, float32 H×W×3, RGB in [0,1].
    style_images : sequence of array
        The styles that are images, without statistics; the first is taken for ``init="style"``.
    image : array or None
        An image in place of `options.init`; it is stretched.
    """

    options: Options
    content: FloatImage
    style_images: Sequence[FloatImage]
    image: FloatImage | None

    def first(self, size: tuple[int, int]) -> Image:
        """Return the initial image of the coarsest scale.

            x = (1 − s) · image + s · noise, s = options.init_noise

        Returns
        -------
        array [3,H,W]
            Identical, bit for bit, for the same inputs and seed.

        Raises
        ------
        OptionError
            ``init`` is ``style`` and no style is an image.
        """
        picture = self._picture(size)
        if picture is None:
            return _noise(self.options.seed, size)
        share = self.options.init_noise
        clean = resize_to_chw(picture, size)
        return clean if share == 0 else (1 - share) * clean + share * _noise(self.options.seed, size)

    def next(self, image: Image, size: tuple[int, int]) -> Image:
        """Enlarge the result of a scale to the size of the next one.

            x = ↑y + `DETAIL` · (1 − s) · (p − ↑p′), s = options.init_noise

        y [3,h,w] is the result, ↑ enlarges; p and p′ are the initial image, without noise, in the new size
        and in the one before: p − ↑p′ is the detail that y had no pixels for; 0 for noise.

        Returns
        -------
        array [3,H,W]
            The result itself where it has that size.
        """
        before = (image.shape[1], image.shape[2])
        if before == size:
            return image
        enlarged = np.empty((3, *size), np.float32)
        fine, coarse = self._picture(size), self._picture(before)
        for channel, plane in enumerate(enlarged):  # one after the other: large images take much memory
            plane[...] = resize(np.clip(image[channel], 0, 1, dtype=np.float32), size)
            if fine is not None and coarse is not None:
                detail = resize(resize(np.ascontiguousarray(coarse[..., channel]), before), size)
                np.subtract(resize(np.ascontiguousarray(fine[..., channel]), size), detail, out=detail)
                detail *= DETAIL * (1 - self.options.init_noise)
                plane += detail
        return enlarged

    def _picture(self, size: tuple[int, int]) -> FloatImage | None:
        """Return what is resized to the initial image without noise, or None where it is noise alone."""
        if self.image is not None:
            return self.image
        if self.options.init == "noise":
            return None
        if self.options.init == "content":
            return self.content
        if not self.style_images:
            raise OptionError(
                "init 'style' needs a style image, and the styles are statistics: start from content or "
                "noise."
            )
        return _middle(self.style_images[0], size)


def _noise(seed: int, size: tuple[int, int]) -> Image:
    """Return noise: normal around 0.5 with a standard deviation of 0.1, clipped to [0,1]."""
    return np.clip(np.random.default_rng(seed).normal(0.5, 0.1, (3, *size)), 0, 1)


def _middle(rgb: FloatImage, size: tuple[int, int]) -> FloatImage:
    """Crop the middle of a style image to the shape of `size`; stretching would change its strokes."""
    height, width = rgb.shape[:2]
    scale = min(height / size[0], width / size[1])
    rows = min(height, max(1, math.floor(size[0] * scale + 0.5)))
    columns = min(width, max(1, math.floor(size[1] * scale + 0.5)))
    top, left = (height - rows) // 2, (width - columns) // 2
    return np.ascontiguousarray(rgb[top : top + rows, left : left + columns])
