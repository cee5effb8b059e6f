"""Image files ↔ arrays: read, write, resize; colours, metadata, formats. Public: `lbfgs_style.images`.

codec, color_preservation, exif, files, first_frames, hidden_pixels, icc_profile, input_limits, metadata,
picture, pillow_images, resize, row_strips, srgb; formats (one module a file format)
"""

from .files import decode, encode, read, write
from .formats.output import check_output, check_size
from .input_limits import MAX_PIXELS
from .metadata import Metadata
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
