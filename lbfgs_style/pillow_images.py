"""Images of Pillow, taken by their mode: what NumPy makes of one holds indices, inks or hues, and no colours.

Pillow is not needed: an image brings its own methods.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ImageError

log = logging.getLogger(__name__)

# Modes whose array is a picture: grey, RGB and RGBA of 8 bits, grey of 16 bits or floating point.
_PLAIN = ("L", "RGB", "RGBA", "I;16", "I;16L", "I;16B", "I;16N", "F")

_TO_RGBA = ("LA", "La", "PA", "RGBa")
_TO_GRAY = ("1",)

_ORIENTATION = 0x0112  # of EXIF


def is_pillow(value: object) -> bool:
    """Tell whether a value is an image of Pillow; arrays, whose memory maps have a mode too, are none."""
    return (
        not isinstance(value, np.ndarray)
        and isinstance(getattr(value, "mode", None), str)
        and callable(getattr(value, "convert", None))
        and callable(getattr(value, "getbands", None))
    )


def as_array(image: Any, name: str) -> NDArray[Any]:
    """Return the pixels of a Pillow image as an array that is a picture.

    Parameters
    ----------
    image : PIL.Image.Image
        Of any mode that Pillow converts to RGB. A transparent colour becomes an alpha. Its EXIF orientation
        is not applied, which one warning says; a colour profile is not looked at.
    name : str
        What messages call it.

    Returns
    -------
    array
        H×W (grey), H×W×3 (RGB) or H×W×4 (RGBA); uint8, uint16 or float32.

    Raises
    ------
    ImageError
        Pillow does not convert its mode, or cannot decode the file behind it.
    """
    mode = image.mode
    try:
        if mode in _TO_GRAY:
            image = image.convert("L")
        elif mode in _TO_RGBA or "transparency" in image.info:
            # Pillow has no direct way from PA or La to RGBA in all its versions.
            image = (image.convert("LA") if mode == "La" else image).convert("RGBA")
        elif mode not in _PLAIN:
            image = image.convert("RGB") if not mode.startswith("I") else image
        array = np.asarray(image)
        orientation = image.getexif().get(_ORIENTATION, 1)
    except (ValueError, OSError) as error:
        raise ImageError(
            f"{name}: a Pillow image of mode {mode!r} that Pillow cannot make RGB of ({error}); expected "
            "one that image.convert('RGB') takes: convert it first"
        ) from error
    if orientation in range(2, 9):
        log.warning(
            "%s: the EXIF orientation %d of the Pillow image is not applied: give "
            "PIL.ImageOps.exif_transpose(image)",
            name,
            orientation,
        )
    return array
