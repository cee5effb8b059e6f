"""A picture made again from the recipe in its file."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import images, networks
from .api import StyleTransfer
from .errors import NetworkError, OptionError
from .images import Picture
from .recipes import Inputs, Recipe, found, inputs_of, read_recipe
from .records import IterateCallback, Result, Style
from .style_statistics import StyleStatistics, read_style


@dataclass(frozen=True, slots=True, eq=False)
class Rerun:
    """A recipe whose inputs are here, and the same as they were: `run` makes the picture again.

    Attributes
    ----------
    recipe : Recipe
        What the file says.
    inputs : Inputs
        The inputs where they lie now.
    """

    recipe: Recipe
    inputs: Inputs
    _content: Picture
    _styles: tuple[Picture | StyleStatistics, ...]
    _init: Picture | None
    _job: StyleTransfer

    @property
    def network_file(self) -> Path:
        """Where the network lies."""
        return networks.find(self.inputs.network)

    @property
    def pictures(self) -> tuple[Picture | StyleStatistics, ...]:
        """Content, styles, and what it starts from if that is a picture."""
        return (self._content, *self._styles, *(() if self._init is None else (self._init,)))

    def run(
        self, *, on_iterate: IterateCallback | None = None, cancel: threading.Event | None = None
    ) -> Result:
        """Paint; see `lbfgs_style.StyleTransfer.run`."""
        weights = self.recipe.style_weights
        styles = [
            Style(given.rgb if isinstance(given, Picture) else given, weight)
            for given, weight in zip(self._styles, weights, strict=True)
        ]
        return self._job.run(self._content, styles, init=self._init, on_iterate=on_iterate, cancel=cancel)


def prepare(
    path: Path | str,
    *,
    content: Path | str | None = None,
    styles: Sequence[Path | str] = (),
    init: Path | str | None = None,
    network: Path | str | None = None,
) -> Rerun:
    """Read the recipe of a picture, find its inputs and check that they are the same.

    Parameters
    ----------
    path : path
        A PNG or JPEG that was written with its recipe, or the JSON report of a run.
    content, styles, init, network
        Where the inputs lie now, if they were moved.

    Raises
    ------
    ImageError, ImageFileError
        There is no recipe, or an input is missing or has changed.
    NetworkError
        The network is missing, or its weights are others.
    OptionError
        The recipe, or the number of `styles`, does not fit.
    """
    recipe = read_recipe(path)
    inputs = recipe.inputs
    if styles and len(styles) != len(inputs.styles):
        raise OptionError(
            f"{path} was made of {len(inputs.styles)} styles, got {len(styles)}: give --style for "
            "each, in order."
        )
    moved = list(styles) or [None] * len(inputs.styles)
    photo = found(inputs.content, recipe.place, what="content", given=content)
    paintings = [
        found(source, recipe.place, what="style", given=given)
        for source, given in zip(inputs.styles, moved, strict=True)
    ]
    if inputs.init is None and init is not None:
        raise OptionError(f"{path} did not start from a picture: leave --init out.")
    first = None if inputs.init is None else found(inputs.init, recipe.place, what="init", given=init)
    used = network or _network(recipe)
    job = StyleTransfer(used, options=recipe.options, keep_sessions=False)
    if job.weights_sha256 != recipe.network_sha256:
        raise NetworkError(
            f"{path} was made with other weights than those of {job.network.name!r}: expected sha256 "
            f"{recipe.network_sha256[:12]}…, got {job.weights_sha256[:12]}…; name the network with --network."
        )
    return Rerun(
        recipe=recipe,
        inputs=inputs_of(photo, paintings, network=used, init=first),
        _content=images.read(photo),
        _styles=tuple(map(read_style, paintings)),
        _init=None if first is None else images.read(first),
        _job=job,
    )


def _network(recipe: Recipe) -> Path | str:
    named = recipe.inputs.network
    beside = recipe.place.parent / named
    return beside if named.lower().endswith(".onnx") and beside.is_file() else named
