"""Image files ↔ pictures, in sRGB.

Sizes are always (height, width). Inside, colours are sRGB: what a file's colour profile says is applied when
the file is read, and undone when an image of that origin is written, with the profile in the new file.
"""

from __future__ import annotations

import io
import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import OptionError
from . import codec, exif, icc_profile
from .formats.base import Capacity, Metadata, TileWriter
from .formats.registry import check_output, check_size, output_format, write_text
from .input_limits import MAX_PIXELS, read_bytes
from .picture import Picture, from_array, luma, over_white, to_array

log = logging.getLogger(__name__)

# Pixels above which a TIFF is written in tiles: encoded as a whole, it takes three times the memory of its
# samples.
TILED_PIXELS = 10**8


def read(path: Path | str, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read an image file: PNG, JPEG, WebP, AVIF, TIFF, GIF, BMP, PNM, PAM, PFM, HDR, JPEG 2000, Sun raster.

    16 bits, alpha and grey are kept; palettes and CMYK become RGB; of an animation the first frame is
    used, of a TIFF file the first page, and a warning is logged. The orientation is applied.

    Colours of a profile with three primaries (Adobe RGB, Display P3, ProPhoto …) become sRGB, those outside
    it clipped; a warning is logged where a profile is not applied. Colours that PNG or AVIF name by code or
    numbers (cICP, nclx; gAMA and cHRM) become sRGB too; those of PQ and HLG are refused. Radiance HDR, PFM
    and LogLuv TIFF hold linear light, which is encoded as sRGB and clipped to [0, 1]: one warning says so.
    Floating point of other TIFF files is taken as float arrays are: sRGB unless its profile says otherwise,
    and refused outside [0, 1].

    A file that is cut short is refused, and so are a damaged PNG and damaged strips of a TIFF. A JPEG
    damaged in its middle is read as far as it goes: libjpeg may say so on stderr, which the command turns
    into a warning. TIFF files of samples or a compression that OpenCV decodes wrongly are refused, with a
    message that names them, and so is camera raw.

    Parameters
    ----------
    path : path
        The file.
    max_pixels : int
        Largest height × width, declared and decoded; OpenCV reads at most 2**30.

    Raises
    ------
    ImageFileError
        The file is missing, unreadable, empty, too large, or not an image of a supported kind.
    """
    return decode(read_bytes(Path(path), max_pixels=max_pixels), name=str(path), max_pixels=max_pixels)


def decode(data: bytes, *, name: str = "image", max_pixels: int = MAX_PIXELS) -> Picture:
    """Read the bytes of an image file, such as an upload.

    Parameters
    ----------
    data : bytes
        The whole file.
    name : str
        Name in messages.
    max_pixels : int
        See `read`.

    Raises
    ------
    ImageFileError
        See `read`.
    """
    decoded = codec.decode(data, name, max_pixels=max_pixels)
    picture = from_array(decoded.pixels, name=name)
    picture = replace(picture, gray=decoded.gray or picture.gray, metadata=decoded.metadata)
    if decoded.profile is not None:
        # A result is written as sRGB then: few programs read colours by code or number.
        picture = replace(picture, rgb=decoded.profile.to_srgb(picture.rgb))
        return _without_profile(picture)
    return _in_srgb(picture, name)


def write(
    path: Path | str,
    picture: Picture | NDArray[Any],
    *,
    quality: int = 95,
    recipe: str | None = None,
    tiled: bool = False,
) -> None:
    """Write an image file atomically.

    The extension chooses the format: png, jpg, jpeg, webp, avif, tif, tiff. A 16-bit image keeps its 16
    bits in PNG and TIFF, and 10 of them in AVIF; all others, floating point too, are written as 8 bit. JPEG
    has no alpha: the image is laid over white. Grey is stored as RGB in WebP, and grey with alpha as
    RGBA in every format that has alpha.

    The metadata are written too: the colours in the profile that the image came with, EXIF and XMP as they
    were but for orientation, size and thumbnail.

    Parameters
    ----------
    path : path
        Written under a temporary name in the same folder and renamed at the end.
    picture : Picture or array
        What to write; an array as for `from_array`.
    quality : int
        1 to 100, for JPEG, WebP and AVIF.
    recipe : str, optional
        A text to keep inside a PNG, JPEG or TIFF, see `lbfgs_style.outputs.recipes`; the others hold none.
    tiled : bool
        Write a TIFF as tiled BigTIFF, which takes hardly any memory. One of more than `TILED_PIXELS` is
        always written so.

    Raises
    ------
    OptionError
        `quality` is outside 1 to 100, or an image of another format is to be tiled.
    ImageFileError
        The extension is unknown, or the file cannot be written. An existing file is then left as it was.
    """
    if not isinstance(picture, Picture):
        picture = from_array(picture)
    check_output(path, (picture.rgb.shape[0], picture.rgb.shape[1]))
    write_tiles = _tile_writer(path, picture, tiled)
    if write_tiles is not None:
        codec.write_file(Path(path), lambda file: _write_tiles(file, write_tiles, picture, str(path), recipe))
        return
    data = _encode(picture, Path(path).suffix.lower(), quality, str(path), recipe)
    codec.write_file(Path(path), lambda file: file.write(data))


def encode(
    picture: Picture,
    file_format: str = "png",
    *,
    quality: int = 95,
    recipe: str | None = None,
    tiled: bool = False,
) -> bytes:
    """Return the bytes of an image file, such as the response of a web server.

    Parameters
    ----------
    picture : Picture
        What to encode.
    file_format : str
        One of png, jpg, jpeg, webp, avif, tif, tiff.
    quality, recipe, tiled
        See `write`.

    Raises
    ------
    OptionError, ImageFileError
        See `write`.
    """
    suffix = f".{file_format.lower()}"
    name = f"picture{suffix}"
    check_size(name, (picture.rgb.shape[0], picture.rgb.shape[1]))
    write_tiles = _tile_writer(name, picture, tiled)
    if write_tiles is None:
        return _encode(picture, suffix, quality, name, recipe)
    file = io.BytesIO()
    _write_tiles(file, write_tiles, picture, name, recipe)
    return file.getvalue()


def check_tiled(path: Path | str) -> None:
    """Raise OptionError where the format of `path` has no tiles."""
    if output_format(path).write_tiles is None:
        raise OptionError(
            f"{path}: an image can be written in tiles as TIFF alone, got {Path(path).suffix}: "
            "name a .tif file"
        )


def _tile_writer(path: Path | str, picture: Picture, tiled: bool) -> TileWriter | None:
    """Return what writes a picture to `path` in tiles, or None where it is written as a whole."""
    if tiled:
        check_tiled(path)
    height, width = picture.rgb.shape[:2]
    return output_format(path).write_tiles if tiled or height * width > TILED_PIXELS else None


def _write_tiles(
    file: BinaryIO, write_tiles: TileWriter, picture: Picture, name: str, recipe: str | None
) -> None:
    """Write a picture, whose samples are converted a band of rows at a time."""
    capacity = output_format(name).capacity
    alpha = picture.alpha

    def band(start: int, stop: int) -> Picture:
        opacity = None if alpha is None else alpha[start:stop]
        return replace(picture, rgb=picture.rgb[start:stop], alpha=opacity)

    def rows(start: int, stop: int) -> NDArray[Any]:
        return _as_written(band(start, stop), capacity)[0]

    size = (picture.rgb.shape[0], picture.rgb.shape[1])
    metadata = metadata_for_result(_as_written(band(0, 1), capacity)[1], size)
    write_tiles(file, size, rows, metadata, recipe)


def _encode(picture: Picture, suffix: str, quality: int, name: str, recipe: str | None) -> bytes:
    array, metadata = _as_written(picture, output_format(name).capacity)
    metadata = metadata_for_result(metadata, (array.shape[0], array.shape[1]))
    data = codec.encode(array, suffix, metadata, quality=quality, name=name)
    return data if recipe is None else write_text(data, recipe)


def metadata_for_result(metadata: Metadata, size: tuple[int, int]) -> Metadata:
    """Return metadata for a result: upright, of its (height, width), without the old thumbnail."""
    xmp = re.sub(rb"(tiff:Orientation(?:=[\"']|>))[2-8](?=[\"'<])", rb"\g<1>1", metadata.xmp)
    block = exif.for_result(metadata.exif, size)
    if metadata.exif and not block:
        log.warning("the EXIF of the content image is damaged, and is left out")
    return replace(metadata, exif=block, xmp=xmp)


def _as_written(picture: Picture, capacity: Capacity) -> tuple[NDArray[Any], Metadata]:
    """Return the samples and the metadata to write into a file of a format with this capacity."""
    if not capacity.alpha:
        picture = over_white(picture)
    gray = picture.gray and picture.alpha is None and capacity.gray
    picture = _in_own_profile(picture, "GRAY" if gray else "RGB")
    deep = capacity.bits > 8 and picture.dtype == np.uint16
    samples = np.dtype(np.uint16 if deep else np.uint8)
    return to_array(replace(picture, dtype=samples, keeps_axis=False)), picture.metadata


def _in_srgb(picture: Picture, name: str) -> Picture:
    """Convert to sRGB by the ICC profile; drop a profile that no written file could have."""
    data = picture.metadata.icc
    if not data:
        return picture
    profile, space = icc_profile.parse(data), icc_profile.space(data)
    fits = space == "RGB" or (space == "GRAY" and picture.gray)
    if profile is None or not fits:
        # An image that is read as RGB cannot keep a profile of CMYK or of another space.
        log.warning("%s: its colour profile %r is not applied: taken as sRGB", name, icc_profile.name(data))
        return picture if fits else _without_profile(picture)
    return picture if profile.is_srgb() else replace(picture, rgb=profile.to_srgb(picture.rgb))


def _in_own_profile(picture: Picture, space: str) -> Picture:
    """Convert from sRGB to the profile of the content image, where a file of that space can have it."""
    data = picture.metadata.icc
    if not data or icc_profile.space(data) != space:
        return _without_profile(picture)
    profile = icc_profile.parse(data)
    if profile is None or profile.is_srgb():
        return picture
    rgb = picture.rgb
    if space == "GRAY":
        rgb = np.repeat(luma(rgb)[..., np.newaxis], 3, axis=2)
    return replace(picture, rgb=profile.from_srgb(rgb))


def _without_profile(picture: Picture) -> Picture:
    return replace(picture, metadata=replace(picture.metadata, icc=b""))
