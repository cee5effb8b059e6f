"""Keep the sharpness and contrast of a shot, which each frame passes on to the next one.

Warping an image blurs it a little, and optimising it again sharpens it: over a hundred frames either would
add up. The style loss keeps colours, but contrast only approximately.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..images import FloatImage
from ..images.picture import luma

# Share of a change of the content's squared sharpness that a painted frame follows: with it, frames have the
# sharpness that they would have if painted alone within 3 %, over 100 frames of four clips.
_KEPT = 0.45

# Standard deviation, in pixels, of the blur that an image is mixed with, and the smallest and largest share
# of it: below 0 the image is made sharper.
_BLUR, _SHARES = 0.7, (-0.5, 1.0)

# Largest change of contrast from one frame to the next, as a share.
_MOST_CONTRAST = 0.06

# Share of the latest frame in a gain.
_LATEST = 0.5


class Anchor(NamedTuple):
    """What the frames of a shot are compared with: its first frame.

    Attributes
    ----------
    sharpness, contrast : float
        Of the painted frame.
    content_sharpness : float
        Of the content frame.
    """

    sharpness: float
    content_sharpness: float
    contrast: float

    @classmethod
    def of(cls, painted: FloatImage, content: FloatImage) -> Anchor:
        """Return the anchor of a shot's first frame."""
        return cls(sharpness(painted), sharpness(content), contrast(painted))


class Gain(NamedTuple):
    """The factors by which optimising a frame changes what it starts from, from the latest frames.

    Attributes
    ----------
    sharpness, contrast : float
        The factors.
    """

    sharpness: float
    contrast: float

    def corrected(self, image: FloatImage, wanted: float, tones: float) -> FloatImage:
        """Return an image that has the sharpness `wanted` and the contrast `tones` once it is optimised."""
        return with_sharpness(with_contrast(image, tones / self.contrast), wanted / self.sharpness)

    def after(self, start: FloatImage, end: FloatImage) -> Gain:
        """Return the gain after one more frame, from the image before and after it was optimised."""
        pairs = zip(self, (sharpness, contrast), strict=True)
        return Gain(*((1 - _LATEST) * gain + _LATEST * of(end) / max(of(start), 1e-6) for gain, of in pairs))


NO_GAIN = Gain(1.0, 1.0)


def contrast(image: FloatImage) -> float:
    """Return the standard deviation of an image's luma."""
    return float(luma(image).std(dtype=np.float64))


def with_contrast(image: FloatImage, wanted: float) -> FloatImage:
    """Return an image whose differences from its mean colour are scaled to a contrast, by 6 % at most."""
    factor = np.clip(wanted / max(contrast(image), 1e-6), 1 - _MOST_CONTRAST, 1 + _MOST_CONTRAST)
    mean = image.mean((0, 1), dtype=np.float64).astype(np.float32)
    return mean + np.float32(factor) * (image - mean)


def sharpness(image: FloatImage) -> float:
    """Return the root mean square of the Laplacian of an image's luma."""
    return math.sqrt(float(np.square(_laplacian(image)).mean(dtype=np.float64)))


def expected_sharpness(anchor: Anchor, content: float) -> float:
    """Return the sharpness that a frame would have if it were painted alone.

    s² grows with the square of the content's sharpness.

    Parameters
    ----------
    anchor : Anchor
        The first frame of the shot.
    content : float
        Sharpness of the content frame.
    """
    squared = anchor.sharpness**2 + _KEPT * (content**2 - anchor.content_sharpness**2)
    return math.sqrt(max(squared, anchor.sharpness**2 / 4))


def with_sharpness(image: FloatImage, wanted: float) -> FloatImage:
    """Return an image mixed with its blur so that it has the sharpness `wanted`, within the limits of mixing.

    With L and B, the Laplacians of image and blur, |(1 − a) L + a B|² = wanted² is a quadratic equation.
    """
    import cv2

    blurred = np.asarray(cv2.GaussianBlur(image, (0, 0), _BLUR), np.float32)
    sharp, soft = (_laplacian(each).astype(np.float64) for each in (image, blurred))
    of_both, of_image = float((sharp * soft).mean()), float((sharp**2).mean())
    square, linear = of_image - 2 * of_both + float((soft**2).mean()), 2 * (of_both - of_image)
    if square <= 0:  # an image without detail
        return image
    root = math.sqrt(max(linear**2 - 4 * square * (of_image - wanted**2), 0))
    share: Any = np.float32(np.clip((-linear - root) / (2 * square), *_SHARES))
    mixed: FloatImage = image + share * (blurred - image)
    return mixed


def _laplacian(image: FloatImage) -> NDArray[np.float32]:
    import cv2

    return np.asarray(cv2.Laplacian(luma(image), cv2.CV_32F), np.float32)
