"""HEIC (ISO/IEC 23008-12 with HEVC), as phones write it: decoded by the extra ``heic``, never written.

OpenCV has no decoder for it. `pillow_heif` has, and is no dependency of the package: it brings 26 MB of
libraries under licences of their own.
"""

from __future__ import annotations

import io
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ImageFileError
from .avif import properties
from .base import EXIF_HEAD, Format, Metadata, Unpacked

_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")


def _begins(data: bytes) -> bool:
    return data[4:8] == b"ftyp" and data[8:12] in _BRANDS and b"avif" not in data[8:64]


def _decode(name: str, data: bytes, _: object) -> Unpacked:
    """Return the pixels, upright and in BGR order, and the EXIF block."""
    try:
        heif: Any = import_module("pillow_heif")
    except ImportError as error:
        raise ImageFileError(
            f"{name}: a HEIC image, which needs the extra heic: pip install 'lbfgs-style[heic]', or convert "
            "it to PNG or JPEG"
        ) from error
    try:
        image = heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False, bgr_mode=True)
        pixels = np.array(image)
        exif = image.info.get("exif") or b""
    except (ValueError, EOFError, OSError, RuntimeError, SyntaxError) as error:
        reason = " ".join(str(error).split())
        raise ImageFileError(f"{name}: the HEIC image cannot be decoded: {reason}") from error
    return pixels, exif


def _finish(_data: bytes, pixels: NDArray[Any], _exif: bytes) -> NDArray[Any]:
    return pixels  # libheif turns them, and an EXIF orientation means nothing here (ISO/IEC 23008-12)


def _read_metadata(data: bytes, exif: bytes) -> Metadata:
    return Metadata(exif.removeprefix(EXIF_HEAD), properties(data).icc)


HEIC = Format(
    name="HEIC",
    begins=_begins,
    declared_size=lambda data: properties(data).size,
    decode=_decode,
    finish=_finish,
    read_metadata=_read_metadata,
)
