"""Image files ↔ arrays: read, write, resize; colours, formats. Public: `lbfgs_style.images`.

codec, color_preservation, exif, files, hidden_pixels, icc_profile, input_limits,
picture, pillow_images, resize, row_strips, srgb; formats (one module a file format)
"""

from .files import decode, encode, read, write
from .formats.base import Metadata
from .formats.registry import check_output, check_size
from .input_limits import MAX_PIXELS
from .picture import Picture, from_array, to_array, with_rgb
from .resize import FloatImage, fit, resize, to_chw, to_hwc

__all__ = [
    "MAX_PIXELS",
    "FloatImage",
    "Metadata",
    "Picture",
    "check_output",
    "check_size",
    "decode",
    "encode",
    "fit",
    "from_array",
    "read",
    "resize",
    "to_array",
    "to_chw",
    "to_hwc",
    "with_rgb",
    "write",
]
