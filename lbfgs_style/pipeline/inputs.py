"""What a user gives a run, checked, and as the network is to see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .. import images
from ..errors import ImageError, NetworkError, OptionError, did_you_mean
from ..images import FloatImage, Picture, color_preservation
from ..images.hidden_pixels import fill_hidden
from ..networks.network import FeatureNetwork
from ..settings.options import Options
from ..settings.preset_hints import advice
from . import regions as masks
from .regions import Mask
from .style_statistics import StyleStatistics
from .styles import Style, StylePicture

OneStyle = NDArray[Any] | Picture | StyleStatistics | Style
"""What may stand for a style."""

Keep = NDArray[Any] | Picture | Literal["alpha"]
"""What may say where the content picture is left alone."""


def layers(kind: Literal["content", "style"], options: Options, network: FeatureNetwork) -> tuple[str, ...]:
    """Return the layers of a run: those that the options name, or the network's own choice.

    Raises
    ------
    NetworkError
        If the network lacks one.
    """
    named, own = (
        (options.content_layers, network.content_layers)
        if kind == "content"
        else (options.style_layers, network.style_layers)
    )
    wanted = named or own
    for layer in wanted:
        if layer not in network.layers:
            hint = advice(options.loss, kind, wanted, network.layers) or did_you_mean(layer, network.layers)
            if layer.rpartition(":")[0] in network.layers:
                hint = (
                    f" {kind}_layers takes names alone, got {','.join(wanted)}: give the weights as "
                    f"{kind}_layer_weights."
                )
            raise NetworkError(
                f"The network {network.name!r} has no layer {layer!r} for {kind}: expected one of "
                f"{', '.join(network.layers)} (the outputs of four dimensions).{hint}"
            )
    return tuple(wanted)


def as_picture(image: NDArray[Any] | Picture, name: str) -> Picture:
    """Take an array as a picture; messages call it `name`."""
    return image if isinstance(image, Picture) else images.from_array(image, name=name)


def as_content(image: NDArray[Any] | Picture, options: Options) -> Picture:
    """Take the content picture, a grey one in colour where the options say so."""
    picture = as_picture(image, "content picture")
    return picture if options.keep_gray else replace(picture, gray=False, keeps_axis=False)


def as_mask(keep: Keep | None, content: Picture) -> Mask | None:
    """Return where the content picture is left alone."""
    if keep is None:
        return None
    if not isinstance(keep, str):
        return masks.from_picture(as_picture(keep, "keep mask"))
    if keep != "alpha":
        raise OptionError(f"keep must be an array, a Picture or 'alpha', got {keep!r}.")
    if content.alpha is None:
        raise ImageError("The content picture has no alpha that says what to leave alone: give a mask.")
    return 1 - content.alpha


def as_styles(given: OneStyle | Sequence[OneStyle]) -> list[StylePicture]:
    """Take one style or several."""
    listed = list(given) if isinstance(given, Sequence) else [given]
    if not listed:
        raise OptionError("No style pictures: give at least one.")
    styles = [item if isinstance(item, Style) else Style(item) for item in listed]
    numbered = enumerate(styles, 1)
    return [
        _checked(style, f"style picture {n}" if len(styles) > 1 else "style picture") for n, style in numbered
    ]


def _checked(style: Style, name: str) -> StylePicture:
    painting, where = as_painting(style.image, style.style_mask, name=name)
    mask = None if style.mask is None else masks.from_picture(as_picture(style.mask, "style mask"))
    return StylePicture(painting, float(style.weight), float(style.scale), mask, where)


def as_painting(
    image: NDArray[Any] | Picture | StyleStatistics,
    style_mask: NDArray[Any] | Picture | None,
    *,
    name: str = "style picture",
) -> tuple[FloatImage | StyleStatistics, Mask | None]:
    """Return what is measured of a style, and where: the painting's alpha times its mask.

    Messages call it `name`.

    Raises
    ------
    ImageError
        If nothing of the painting is left to measure.
    OptionError
        If a mask is given for statistics.
    """
    if isinstance(image, StyleStatistics):
        if style_mask is not None:
            raise OptionError(
                f"{image.name}: a style_mask says where a painting is measured; statistics have no pixels: "
                "give the painting itself, or measure it with the mask."
            )
        return image, None
    painting = as_picture(image, name)
    where = painting.alpha
    if style_mask is not None:
        mask = images.resize(
            masks.from_picture(as_picture(style_mask, f"mask of the {name}")),
            (painting.rgb.shape[0], painting.rgb.shape[1]),
        )
        where = mask if where is None else where * mask
    if where is not None and where.min() == 1:
        where = None
    if where is not None and where.sum() < masks.NOTHING:
        is_hidden = painting.alpha is not None and painting.alpha.sum() < masks.NOTHING
        what = "it is transparent everywhere" if is_hidden else "its mask is black wherever it is opaque"
        raise ImageError(
            f"Nothing of the {name} is left to measure: {what}; expected a part that is opaque and "
            "white in the mask: mend the mask or the transparency."
        )
    return fill_hidden(painting.rgb, painting.alpha), where


def seen(
    photo: Picture, styles: Sequence[StylePicture], keep: Mask | None, options: Options
) -> tuple[Picture, list[StylePicture]]:
    """Return photo and styles as the network is to see them, see `lbfgs_style.images.color_preservation`.

    With masks, a painting gets the colours or the lightness of the part of the photo where it goes.

    Raises
    ------
    OptionError
        If the colours of a style are to change that is no picture.
    """
    if options.preserve_color == "none":
        return photo, list(styles)
    paintings: list[FloatImage] = []
    for style in styles:
        if isinstance(style.painting, StyleStatistics):
            raise OptionError(
                f"{style.painting.name}: preserve_color {options.preserve_color!r} changes the colours of a "
                "painting before it is measured, and statistics have no pixels: give the painting itself, or "
                "leave preserve_color out."
            )
        paintings.append(style.painting)
    rgb, painted = color_preservation.seen_by_network(
        photo.rgb,
        paintings,
        options.preserve_color,
        options.color_match,
        _places(photo, styles, keep),
        [style.style_mask for style in styles],
    )
    return replace(photo, rgb=rgb), [
        replace(style, painting=new) for style, new in zip(styles, painted, strict=True)
    ]


def _places(photo: Picture, styles: Sequence[StylePicture], keep: Mask | None) -> list[Mask] | None:
    """Return where each style goes, at the size of the photo; None where all go everywhere."""
    size = (photo.rgb.shape[0], photo.rgb.shape[1])
    regions = masks.divide(size, [each.mask for each in styles], [each.weight for each in styles], keep)
    if regions is None:
        return None
    found = {i: mask for mask, members in zip(regions.masks, regions.styles, strict=True) for i in members}
    return [found[i] for i in range(len(styles))]


def shown(photo: Picture, keep: Mask | None, options: Options) -> Callable[[FloatImage], FloatImage] | None:
    """Return the way back from what the network sees to what people are shown, at any size.

    None where both are the same.
    """
    if options.preserve_color != "luminance":
        return None

    def in_color(rgb: FloatImage) -> FloatImage:
        size = (rgb.shape[0], rgb.shape[1])
        own = images.resize(photo.rgb, size)
        colored = color_preservation.with_colors_of(rgb, own)
        if keep is None:
            return colored
        # What is kept is the photo to the last digit; the way through Oklab rounds.
        return np.where(images.resize(keep, size)[..., np.newaxis] == 1, own, colored)

    return in_color


def with_kept_hidden(rgb: FloatImage, photo: Picture, keep: Mask | None) -> FloatImage:
    """Return a result whose pixels that are kept and fully transparent have the photo's own colours.

    The network has seen those of `hidden_pixels.fill_hidden` there.
    """
    if keep is None or photo.alpha is None:
        return rgb
    size = (rgb.shape[0], rgb.shape[1])
    hidden = (images.resize(keep, size) == 1) & (images.resize(photo.alpha, size) == 0)
    return np.where(hidden[..., np.newaxis], images.resize(photo.rgb, size), rgb)
