"""Inputs of a run: images and masks checked, and as the network sees them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .. import images
from ..errors import ImageError, NetworkError, OptionError, did_you_mean
from ..images import FloatImage, ImageLike, Picture, color_preservation
from ..images.faces import find_faces, mark_faces
from ..images.hidden_pixels import fill_hidden
from ..networks.catalog import FACE_DETECTOR, find
from ..networks.network import FeatureNetwork
from ..networks.pull import check_hash
from ..settings.options import Options
from ..settings.preset_hints import advice
from .regions import MIN_AREA, Mask, Regions, content_weights, divide_among_styles, mask_of, with_faces
from .style_statistics import StyleStatistics, read_style
from .styles import Style, StylePicture

# A style as `StyleTransfer.run` accepts it.
OneStyle = ImageLike | StyleStatistics | Style

# The mask of the kept part of the content image.
Keep = ImageLike | Literal["alpha"]

# The mask of faces.
FaceMask = ImageLike | Literal["find"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class TemporalTarget:
    """What a frame of a video is held to: its neighbours, moved to where their parts are in the frame.

    Attributes
    ----------
    image : array, float32, H×W×3
        The neighbours w in the colours of the network, of the size of the result.
    reliability : array, float32, H×W
        How much of each pixel is known, c ≥ 0.
    weight : float
        γ of γ/(HW) Σ c (x − w)².
    """

    image: FloatImage
    reliability: Mask
    weight: float


@dataclass(frozen=True, slots=True, eq=False)
class RunImages:
    """Content, styles and masks as the network sees them.

    Attributes
    ----------
    content : Picture
        The content image.
    styles : sequence of StylePicture
        The styles.
    keep : array, float32, H×W, or None
        In [0,1]: 1 where the content image is kept.
    content_map : array, float32, H×W, or None
        In [0,1]: a quarter of the content loss's weight at each pixel; None where the weight is 1 everywhere.
    restore_colors : callable or None
        Turns an image of the network into the colours of the result; None where both are the same.
    temporal : TemporalTarget or None
        What the result is held to, if it is a frame of a video.
    """

    content: Picture
    styles: Sequence[StylePicture]
    keep: Mask | None = None
    content_map: Mask | None = None
    restore_colors: Callable[[FloatImage], FloatImage] | None = None
    temporal: TemporalTarget | None = None

    def regions(self, size: tuple[int, int]) -> Regions | None:
        """Divide an image of (height, width) among the styles; None where there are no masks."""
        masks, weights = [style.mask for style in self.styles], [style.weight for style in self.styles]
        return divide_among_styles(size, masks, weights, self.keep)

    @property
    def nbytes(self) -> int:
        """Bytes of all images and masks."""
        images = [style.image for style in self.styles if not isinstance(style.image, StyleStatistics)]
        masks = (mask for style in self.styles for mask in (style.mask, style.style_mask))
        arrays = (self.content.rgb, *images, self.keep, self.content_map, *masks)
        return sum(array.nbytes for array in arrays if array is not None)


def layers_of(
    kind: Literal["content", "style"], options: Options, network: FeatureNetwork
) -> tuple[str, ...]:
    """Return the layers of a run: those that the options name, or the network's own choice.

    Raises
    ------
    NetworkError
        If the network lacks one.
    """
    named, default = (
        (options.content_layers, network.content_layers)
        if kind == "content"
        else (options.style_layers, network.style_layers)
    )
    layers = named or default
    for layer in layers:
        if layer not in network.layers:
            hint = advice(options.loss, kind, layers, network.layers) or did_you_mean(layer, network.layers)
            if layer.rpartition(":")[0] in network.layers:
                hint = (
                    f" {kind}_layers takes names alone, got {','.join(layers)}: give the weights as "
                    f"{kind}_layer_weights."
                )
            raise NetworkError(
                f"The network {network.name!r} has no layer {layer!r} for {kind}: expected one of "
                f"{', '.join(network.layers)} (the outputs of four dimensions).{hint}"
            )
    return tuple(layers)


def check_image(image: ImageLike | None, name: str) -> Picture:
    """Return an image as a Picture, or raise ImageError; messages call it `name`."""
    if image is None:
        raise ImageError(
            f"{name}: None, which cv2.imread returns for a file that it cannot read: give the path itself, "
            "and the message says why."
        )
    if isinstance(image, str | Path):
        return images.read(image)
    return image if isinstance(image, Picture) else images.from_array(image, name=name)


def check_preview(preview: ImageLike | None, initial: Picture | None) -> Picture | None:
    """Return an earlier result to continue from; raise OptionError beside an initial image."""
    if preview is not None and initial is not None:
        raise OptionError("init and preview are both images to start from: give one of them.")
    return None if preview is None else check_image(preview, "preview")


def check_mask(mask: ImageLike, name: str) -> Picture:
    """Return a mask as a Picture, or raise ImageError; messages call it `name`.

    As masks are made elsewhere: arrays may be bool, and whole numbers of which none is above 1 are 0 and 1,
    in files as well.
    """
    if isinstance(mask, np.ndarray) and mask.size:
        is_whole = mask.dtype.kind in "iu"
        if mask.dtype == bool or (is_whole and mask.min() >= 0 and mask.max() <= 1):
            mask = mask.astype(np.float32)
    picture = check_image(mask, name)
    if picture.dtype.kind == "u" and round(float(picture.rgb.max()) * np.iinfo(picture.dtype).max) == 1:
        log.warning("the %s holds 0 and 1 alone: 1 is taken as white", name)
        return replace(picture, rgb=picture.rgb / picture.rgb.max())
    return picture


def check_content(image: ImageLike, options: Options) -> Picture:
    """Return the content image, a grey one as colour where the options ask for that."""
    picture = check_image(image, "content image")
    return picture if options.keep_gray else replace(picture, gray=False, keeps_axis=False)


def check_keep_mask(keep: Keep | None, content: Picture) -> Mask | None:
    """Return the mask of the kept part of the content image."""
    if keep is None:
        return None
    if not isinstance(keep, str):
        return mask_of(check_mask(keep, "keep mask"))
    if keep != "alpha" and Path(keep).exists():
        return mask_of(check_mask(keep, "keep mask"))
    if keep != "alpha":
        raise OptionError(f"keep must be an array, a Picture, a file or 'alpha', got {keep!r}.")
    if content.alpha is None:
        raise ImageError("The content image has no alpha that says what to keep: give a mask.")
    return 1 - content.alpha


def check_content_map(
    content_map: ImageLike | None, face_mask: FaceMask | None, content: Picture
) -> Mask | None:
    """Return the weights of a content map and of a mask of faces, see `regions.content_weights`.

    Raises
    ------
    OptionError
        `face_mask` is another word than ``"find"``.
    NetworkError
        The face detector is missing or damaged.
    """
    weights = None if content_map is None else content_weights(check_image(content_map, "content map"))
    if face_mask is None:
        return weights
    if not isinstance(face_mask, str):
        return with_faces(weights, mask_of(check_mask(face_mask, "face mask")))
    if face_mask != "find" and Path(face_mask).exists():
        return with_faces(weights, mask_of(check_mask(face_mask, "face mask")))
    if face_mask != "find":
        raise OptionError(f"face_mask must be an array, a Picture, a file or 'find', got {face_mask!r}.")
    detector = find(FACE_DETECTOR.name)
    check_hash(FACE_DETECTOR, detector)
    boxes = find_faces(content.rgb, detector)
    if not boxes:
        log.warning("no face found in the content image: mark faces in a mask, or leave face_mask out")
        return weights
    log.info("%d %s found in the content image", len(boxes), "face" if len(boxes) == 1 else "faces")
    return with_faces(weights, mark_faces(boxes, (content.rgb.shape[0], content.rgb.shape[1])))


def list_styles(styles: OneStyle | Sequence[OneStyle]) -> list[Style]:
    """Return one style or several as a list; raise OptionError where there is none."""
    listed: list[Any] = [styles]
    if isinstance(styles, Sequence) and not isinstance(styles, str):
        listed = list(styles)
    if not listed:
        raise OptionError("No style images: give at least one.")
    return [style if isinstance(style, Style) else Style(style) for style in listed]


def check_styles(styles: Sequence[Style]) -> list[StylePicture]:
    """Return styles, checked."""
    names = [f"style image {number}" for number in range(1, len(styles) + 1)]
    names = names if len(styles) > 1 else ["style image"]
    return [_check_style(style, name) for style, name in zip(styles, names, strict=True)]


def _check_style(style: Style, name: str) -> StylePicture:
    image, style_mask = check_style_image(style.image, style.style_mask, name=name)
    mask = None if style.mask is None else mask_of(check_mask(style.mask, "style mask"))
    return StylePicture(image, float(style.weight), float(style.scale), mask, style_mask)


def check_style_image(
    image: ImageLike | StyleStatistics,
    style_mask: ImageLike | None,
    *,
    name: str = "style image",
) -> tuple[FloatImage | StyleStatistics, Mask | None]:
    """Return the image of a style and the mask where it is measured: its alpha times `style_mask`.

    Messages call the image `name`.

    Raises
    ------
    ImageError
        Nothing of the image is left to measure.
    OptionError
        A mask is given for statistics.
    """
    if isinstance(image, str | Path):
        image = read_style(image)
    if isinstance(image, StyleStatistics):
        if style_mask is not None:
            raise OptionError(
                f"{image.name}: --painting-mask (style_mask in Python) selects the part of a style image "
                "that is measured; statistics have no pixels: give the image itself, or measure it with the "
                "mask."
            )
        return image, None
    picture = check_image(image, name)
    mask = picture.alpha
    if style_mask is not None:
        resized = images.resize(
            mask_of(check_mask(style_mask, f"mask of the {name}")),
            (picture.rgb.shape[0], picture.rgb.shape[1]),
        )
        mask = resized if mask is None else mask * resized
    if mask is not None and mask.min() == 1:
        mask = None
    if mask is not None and mask.sum() < MIN_AREA:
        is_transparent = picture.alpha is not None and picture.alpha.sum() < MIN_AREA
        reason = "it is transparent everywhere"
        if not is_transparent:
            reason = "its mask is black wherever it is opaque"
        raise ImageError(
            f"Nothing of the {name} is left to measure: {reason}; expected a part that is opaque and "
            "white in the mask: edit the mask or the alpha."
        )
    return fill_hidden(picture.rgb, picture.alpha), mask


def as_network_sees(
    content: Picture,
    styles: Sequence[StylePicture],
    keep: Mask | None,
    content_map: Mask | None,
    options: Options,
) -> RunImages:
    """Return the images of a run as the network sees them, by ``options.preserve_color``.

    With masks, a style image gets the colours or the lightness of the part of the content where it goes. See
    `lbfgs_style.images.color_preservation`.

    Raises
    ------
    OptionError
        preserve_color needs the pixels of a style that is given as statistics.
    """
    restore = _color_restorer(content, keep) if options.preserve_color == "luminance" else None
    images_ = RunImages(content, list(styles), keep, content_map, restore)
    if options.preserve_color == "none":
        return images_
    style_images: list[FloatImage] = []
    for style in styles:
        if isinstance(style.image, StyleStatistics):
            raise OptionError(
                f"{style.image.name}: preserve_color {options.preserve_color!r} changes the colours of a "
                "style image before it is measured, and statistics have no pixels: give the image itself, or "
                "leave preserve_color out."
            )
        style_images.append(style.image)
    rgb, recolored = color_preservation.seen_by_network(
        content.rgb,
        style_images,
        options.preserve_color,
        options.color_match,
        _masks_of_styles(images_),
        [style.style_mask for style in styles],
    )
    return replace(
        images_,
        content=replace(content, rgb=rgb),
        styles=[replace(style, image=image) for style, image in zip(styles, recolored, strict=True)],
    )


def with_next_content(images_: RunImages, content: Picture, options: Options) -> RunImages:
    """Return the images of a run with another content image of the same size, the next frame of a video.

    The styles keep the colours that they have for the first one: they would flicker.
    """
    if options.preserve_color != "luminance":
        return replace(images_, content=content)
    gray = replace(content, rgb=color_preservation.in_gray(content.rgb))
    return replace(images_, content=gray, restore_colors=_color_restorer(content, images_.keep))


def _masks_of_styles(images_: RunImages) -> list[Mask] | None:
    """Return where each style goes, at the size of the content; None where all go everywhere."""
    height, width = images_.content.rgb.shape[:2]
    regions = images_.regions((height, width))
    if regions is None:
        return None
    masks = {i: mask for mask, members in zip(regions.masks, regions.styles, strict=True) for i in members}
    return [masks[i] for i in range(len(images_.styles))]


def _color_restorer(content: Picture, keep: Mask | None) -> Callable[[FloatImage], FloatImage]:
    """Return a function that gives an image of the network the colours of the content, at any size."""

    def restore_colors(rgb: FloatImage) -> FloatImage:
        size = (rgb.shape[0], rgb.shape[1])
        original = images.resize(content.rgb, size)
        colored = color_preservation.with_colors_of(rgb, original)
        if keep is None:
            return colored
        # The kept part must be the content exactly; the way through Oklab rounds.
        return np.where(images.resize(keep, size)[..., np.newaxis] == 1, original, colored)

    return restore_colors


def with_kept_hidden(rgb: FloatImage, content: Picture, keep: Mask | None) -> FloatImage:
    """Return a result with the content's own colours where it is kept and fully transparent.

    The network has seen the colours of `hidden_pixels.fill_hidden` there.
    """
    if keep is None or content.alpha is None:
        return rgb
    size = (rgb.shape[0], rgb.shape[1])
    hidden = (images.resize(keep, size) == 1) & (images.resize(content.alpha, size) == 0)
    return np.where(hidden[..., np.newaxis], images.resize(content.rgb, size), rgb)
