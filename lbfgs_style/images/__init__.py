"""Image files ↔ arrays. Public: `lbfgs_style.images`.

- files: read and write image files. codec: decode and encode with OpenCV. formats: one module a file format.
- picture: arrays in, float32 RGB inside, the same kind of array out. pillow_images: images of Pillow.
- input_limits: how much is read, and from where.
- icc_profile, srgb, color_preservation: colours. exif: tags of TIFF files and EXIF blocks.
- faces: find faces, and mark them in a mask.
- resize, row_strips, hidden_pixels: sizes, large images in strips, transparent pixels.
"""

from .files import check_tiled, decode, encode, read, write
from .formats.base import Metadata
from .formats.registry import check_output, check_size
from .input_limits import MAX_PIXELS
from .picture import ImageLike, Picture, from_array, over_white, to_array, with_rgb
from .resize import FloatImage, fit, resize, resize_to_chw, to_chw, to_hwc

__all__ = [
    "MAX_PIXELS",
    "FloatImage",
    "ImageLike",
    "Metadata",
    "Picture",
    "check_output",
    "check_size",
    "check_tiled",
    "decode",
    "encode",
    "fit",
    "from_array",
    "over_white",
    "read",
    "resize",
    "resize_to_chw",
    "to_array",
    "to_chw",
    "to_hwc",
    "with_rgb",
    "write",
]
