"""A picture made again from the recipe in its file."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import images, networks
from ..errors import NetworkError, OptionError
from ..images import MAX_PIXELS, Picture
from ..pipeline.results import IterateCallback, Result
from ..pipeline.style_statistics import read_style
from ..pipeline.style_transfer import StyleTransfer
from .input_files import Source, found, inputs_of
from .loaded_inputs import Given
from .recipes import Recipe, read_recipe


@dataclass(frozen=True, slots=True, eq=False)
class Rerun:
    """A recipe whose inputs are here, and the same as they were: `run` makes the picture again.

    Attributes
    ----------
    recipe : Recipe
        What the file says.
    given : Given
        The inputs, from where they lie now.
    """

    recipe: Recipe
    given: Given
    _job: StyleTransfer

    @property
    def network_file(self) -> Path:
        """Where the network lies."""
        return networks.find(self.given.inputs.network)

    def run(
        self, *, on_iterate: IterateCallback | None = None, cancel: threading.Event | None = None
    ) -> Result:
        """Paint; see `lbfgs_style.StyleTransfer.run`."""
        return self.given.paint(self._job, on_iterate=on_iterate, cancel=cancel)


def prepare(
    path: Path | str,
    *,
    content: Path | str | None = None,
    styles: Sequence[Path | str] = (),
    style_masks: Sequence[Path | str] = (),
    painting_masks: Sequence[Path | str] = (),
    keep_mask: Path | str | None = None,
    init: Path | str | None = None,
    network: Path | str | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Rerun:
    """Read the recipe of a picture, find its inputs and check that they are the same.

    Parameters
    ----------
    path : path
        A PNG or JPEG that was written with its recipe, or the JSON report of a run.
    content, styles, style_masks, painting_masks, keep_mask, init, network
        Where the inputs lie now, if they were moved; masks of those styles that have one.
    max_pixels : int
        See `lbfgs_style.images.read`.

    Raises
    ------
    ImageError, ImageFileError
        There is no recipe, or an input is missing or has changed.
    NetworkError
        The network is missing, or its weights are others.
    OptionError
        The recipe, or the number of `styles`, `style_masks` or `painting_masks`, does not fit.
    """
    recipe = read_recipe(path)
    inputs = recipe.inputs

    def find(source: Source | None, what: str, given: Path | str | None) -> Path | None:
        if source is not None:
            return found(source, recipe.place, what=what, given=given)
        if given is not None:
            raise OptionError(f"{path} was made without a picture for --{what}: leave it out.")
        return None

    def find_all(
        sources: Sequence[Source | None], what: str, given: Sequence[Path | str]
    ) -> list[Path | None]:
        count = sum(source is not None for source in sources)
        if given and len(given) != count:
            raise OptionError(
                f"{path} was made with {count} pictures for --{what}, got {len(given)}: give --{what} for "
                "each, in order."
            )
        moved = iter(given)
        return [find(source, what, None if source is None else next(moved, None)) for source in sources]

    photo = found(inputs.content, recipe.place, what="content", given=content)
    paintings = [path for path in find_all(inputs.styles, "style", styles) if path is not None]
    masks = find_all(inputs.style_masks, "style-mask", style_masks)
    parts = find_all(inputs.painting_masks, "painting-mask", painting_masks)
    is_alpha = inputs.keep_mask == "alpha"
    keep = find(inputs.keep_mask if isinstance(inputs.keep_mask, Source) else None, "keep-mask", keep_mask)
    first = find(inputs.init, "init", init)
    used = network or _network(recipe)
    job = StyleTransfer(used, options=recipe.options, keep_sessions=False)
    if job.weights_sha256 != recipe.network_sha256:
        raise NetworkError(
            f"{path} was made with other weights than those of {job.network.name!r}: expected sha256 "
            f"{recipe.network_sha256[:12]}…, got {job.weights_sha256[:12]}…; name the network with --network."
        )
    given = Given(
        inputs=inputs_of(
            photo,
            paintings,
            network=used,
            style_masks=masks,
            painting_masks=parts,
            keep_mask="alpha" if is_alpha else keep,
            init=first,
        ),
        content=images.read(photo, max_pixels=max_pixels),
        styles=tuple(read_style(path, max_pixels=max_pixels) for path in paintings),
        style_weights=recipe.style_weights,
        style_scales=recipe.style_scales,
        style_masks=tuple(_read(path, max_pixels) for path in masks),
        painting_masks=tuple(_read(path, max_pixels) for path in parts),
        keep="alpha" if is_alpha else _read(keep, max_pixels),
        init=_read(first, max_pixels),
    )
    return Rerun(recipe=recipe, given=given, _job=job)


def _read(path: Path | None, max_pixels: int) -> Picture | None:
    return None if path is None else images.read(path, max_pixels=max_pixels)


def _network(recipe: Recipe) -> Path | str:
    named = recipe.inputs.network
    beside = recipe.place.parent / named
    return beside if named.lower().endswith(".onnx") and beside.is_file() else named
