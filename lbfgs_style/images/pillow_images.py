"""Convert images of Pillow by their mode: NumPy's arrays of them may hold indices, inks or hues, not colours.

Pillow is not imported: the methods of the image are enough.
"""

from __future__ import annotations

import logging
import struct
import warnings
import zlib
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError

log = logging.getLogger(__name__)


class PillowImage(Protocol):
    """What an image of Pillow has, as far as type checkers need to know it."""

    mode: str

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        ...

    def getbands(self) -> tuple[str, ...]:
        """Return the names of the channels."""
        ...


# Modes of colour whose array is an image.
_PLAIN = ("RGB", "RGBA")

_TO_RGBA = ("LA", "La", "PA", "RGBa")

# Modes of grey: of 1, 8, 16 and 32 bits; with alpha.
_GRAY = ("1", "L", "I", "I;16", "I;16L", "I;16B", "I;16N", "F")
_GRAY_ALPHA = ("LA", "La")

_ORIENTATION = 0x0112  # of EXIF

# What Pillow raises for damaged files and closed images.
_FAILURES = (
    *(ValueError, TypeError, OSError, EOFError, SyntaxError, LookupError, AttributeError, ArithmeticError),
    *(struct.error, zlib.error),
)


def is_pillow(value: object) -> bool:
    """Tell whether a value is an image of Pillow; a `numpy.memmap`, which has a mode too, is not."""
    return (
        not isinstance(value, np.ndarray)
        and isinstance(getattr(value, "mode", None), str)
        and callable(getattr(value, "convert", None))
        and callable(getattr(value, "getbands", None))
    )


def is_gray(image: Any) -> bool:
    """Tell whether an image of Pillow is grey, with or without alpha."""
    return image.mode in _GRAY or image.mode in _GRAY_ALPHA


def as_array(image: Any, name: str) -> NDArray[Any]:
    """Return the pixels of a Pillow image as an array that `from_array` takes.

    Parameters
    ----------
    image : PIL.Image.Image
        Of any mode that Pillow converts to RGB. A transparent colour becomes an alpha. Its EXIF orientation
        is not applied, and a warning says so; a colour profile is ignored.
    name : str
        What messages call it.

    Returns
    -------
    array
        H×W (grey), H×W×3 (RGB) or H×W×4 (RGBA; of grey with alpha too); uint8, uint16 or float32.

    Raises
    ------
    ImageError
        Pillow does not convert its mode, or cannot decode the file behind it.
    """
    mode = image.mode
    try:
        image.load()
    except _FAILURES as error:
        raise ImageError(
            f"{name}: Pillow cannot load this image ({error}); expected a whole file: get another copy of it"
        ) from error
    orientation = _orientation(image)
    key = image.info.get("transparency")
    try:
        if mode in _GRAY:
            array = _with_clear_gray(np.asarray(image.convert("L") if mode == "1" else image), mode, key)
        else:
            if mode in _TO_RGBA or key is not None:
                # Pillow has no direct way from PA or La to RGBA in all its versions.
                image = (image.convert("LA") if mode == "La" else image).convert("RGBA")
            elif mode not in _PLAIN:
                image = image.convert("RGB")
            array = np.asarray(image)
    except _FAILURES as error:
        raise ImageError(
            f"{name}: a Pillow image of mode {mode!r} that Pillow cannot convert to RGB ({error}); expected "
            "one that image.convert('RGB') takes: convert it first"
        ) from error
    if orientation in range(2, 9):
        log.warning(
            "%s: the EXIF orientation %d of the Pillow image is not applied: pass "
            "PIL.ImageOps.exif_transpose(image)",
            name,
            orientation,
        )
    return array


def _orientation(image: Any) -> int:
    """Return the EXIF orientation; 1 where EXIF is missing or damaged."""
    with warnings.catch_warnings(action="ignore"):
        try:
            return image.getexif().get(_ORIENTATION, 1)
        except _FAILURES:
            return 1


def _with_clear_gray(gray: NDArray[Any], mode: str, key: object) -> NDArray[Any]:
    """Add the alpha where one grey means transparent; Pillow would reduce 16 bits to 8."""
    if not isinstance(key, int) or gray.dtype.kind != "u":
        return gray
    if mode == "1":
        key = 255 if key else 0
    top = np.iinfo(gray.dtype).max
    alpha = np.where(gray == key, 0, top).astype(gray.dtype)
    return np.stack([gray, gray, gray, alpha], axis=2)
