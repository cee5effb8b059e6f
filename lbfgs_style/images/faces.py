"""Find faces with OpenCV's detector, and mark them in a mask.

The detector is YuNet: Wu, Peng and Yu, "YuNet: A Tiny Millisecond-level Face Detector" (Machine Intelligence
Research, 2023), an ONNX file of 230 kB that OpenCV runs by itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import NetworkError
from .resize import FloatImage, fit, resize

# Longer side, in pixels, of the image in which faces are searched: the detector finds faces of 10 to 300.
_SIDE = 640

# Least score of a face.
_SCORE = 0.7

# Radii of a face's ellipse, in widths and heights of its box, which ends at brows, chin and ears.
_RADII = (0.7, 0.75)

# Distance from the centre, in radii, up to which the mask falls from white at 1 to black.
_FADE = 1.4

Box = tuple[float, float, float, float]
"""Left, top, width and height of a face, as fractions of the image's width and height."""


def find_faces(rgb: FloatImage, detector: Path) -> list[Box]:
    """Return the faces of an image H×W×3, largest first.

    Raises
    ------
    NetworkError
        OpenCV cannot run the detector.
    """
    import cv2

    small = resize(rgb, fit((rgb.shape[0], rgb.shape[1]), min(_SIDE, max(rgb.shape[:2]))))
    height, width = small.shape[:2]
    bgr = np.ascontiguousarray((255 * small[..., ::-1]).round().astype(np.uint8))
    logging = cv2.utils.logging
    level = logging.setLogLevel(logging.LOG_LEVEL_ERROR)  # OpenCV 5 warns of every network
    try:
        yunet: Any = cv2.FaceDetectorYN.create(str(detector), "", (width, height), _SCORE)
        found: NDArray[np.float32] | None = yunet.detect(bgr)[1]
    except cv2.error as error:
        raise NetworkError(
            f"{detector}: OpenCV cannot find faces with it: get it again with `lbfgs-style networks pull "
            f"yunet --force`, or mark the faces in a mask ({error.err})."
        ) from error
    finally:
        logging.setLogLevel(level)
    rows = [] if found is None else found[:, :4] / np.array([width, height, width, height])
    boxes = [(float(left), float(top), float(w), float(h)) for left, top, w, h in rows]
    return sorted(boxes, key=lambda box: -box[2] * box[3])


def mark_faces(boxes: list[Box], size: tuple[int, int]) -> NDArray[np.float32]:
    """Return a mask H×W of `size` that is 1 in an ellipse around each face, and falls to 0 beyond it."""
    rows, columns = np.ogrid[: size[0], : size[1]]
    mask = np.zeros(size, np.float32)
    for left, top, width, height in boxes:
        across = ((columns + 0.5) / size[1] - (left + width / 2)) / (_RADII[0] * width)
        down = ((rows + 0.5) / size[0] - (top + height / 2)) / (_RADII[1] * height)
        inside = np.clip((_FADE - np.hypot(down, across)) / (_FADE - 1), 0, 1)
        np.maximum(mask, inside.astype(np.float32), out=mask)
    return mask
