"""Repeat a run from the recipe in its image file."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .. import networks
from ..errors import NetworkError, OptionError
from ..images import MAX_PIXELS
from ..pipeline.results import IterateCallback, Result
from ..pipeline.style_transfer import StyleTransfer
from ..settings.options import Options
from .input_files import Source, locate
from .recipes import Recipe, read_recipe
from .run_inputs import LoadedInputs, RunInputs, load, run


@dataclass(frozen=True, slots=True, eq=False)
class Rerun:
    """A recipe whose inputs are present and unchanged: `run` repeats the run.

    Attributes
    ----------
    recipe : Recipe
        The recipe in the image file.
    inputs : RunInputs of LoadedFile
        The inputs from where they are now.
    """

    recipe: Recipe
    inputs: LoadedInputs
    _job: StyleTransfer

    @property
    def network_file(self) -> Path:
        """Path of the network's file."""
        return networks.find(self.inputs.network)

    def run(
        self, *, on_iterate: IterateCallback | None = None, cancel: threading.Event | None = None
    ) -> Result:
        """Repeat the run, see `lbfgs_style.StyleTransfer.run`."""
        return run(self._job, self.inputs, on_iterate=on_iterate, cancel=cancel)


def prepare(
    path: Path | str,
    *,
    content: Path | str | None = None,
    styles: Sequence[Path | str] = (),
    style_masks: Sequence[Path | str] = (),
    painting_masks: Sequence[Path | str] = (),
    keep_mask: Path | str | None = None,
    content_map: Path | str | None = None,
    face_mask: Path | str | None = None,
    init: Path | str | None = None,
    network: Path | str | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Rerun:
    """Read the recipe of an image, find its inputs and check that they are unchanged.

    Parameters
    ----------
    path : path
        A PNG or JPEG with its recipe, or the JSON report of a run.
    content, styles, style_masks, painting_masks, keep_mask, content_map, face_mask, init, network
        Where the inputs are now, if they were moved; masks of those styles that have one.
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
    files = _located(
        recipe,
        {
            "content": [] if content is None else [content],
            "style": styles,
            "style-mask": style_masks,
            "painting-mask": painting_masks,
            "keep-mask": [] if keep_mask is None else [keep_mask],
            "content-map": [] if content_map is None else [content_map],
            "face-mask": [] if face_mask is None else [face_mask],
            "init": [] if init is None else [init],
        },
    )
    used = network or _network(recipe)
    loaded = networks.load(used)
    job = StyleTransfer(loaded, options=_with_layers(recipe, loaded), keep_sessions=False)
    if job.weights_sha256 != recipe.network_sha256:
        raise NetworkError(
            f"{path} was made with other weights than those of {job.network.name!r}: expected sha256 "
            f"{recipe.network_sha256[:12]}…, got {job.weights_sha256[:12]}…; name the network with --network."
        )
    inputs = load(files, max_pixels)
    return Rerun(recipe, replace(inputs, network=str(used)), job)


def _with_layers(recipe: Recipe, network: networks.FeatureNetwork) -> Options:
    """Return the options of a recipe; layers of its run where the network's own choice has changed."""
    options = recipe.options
    if options.content_layers is None and recipe.content_layers not in ((), network.content_layers):
        options = replace(options, content_layers=recipe.content_layers)
    if options.style_layers is None and recipe.style_layers not in ((), network.style_layers):
        options = replace(options, style_layers=recipe.style_layers)
    return options


def _located(recipe: Recipe, moved: dict[str, Sequence[Path | str]]) -> RunInputs[Source]:
    """Return the inputs of a recipe with the paths where they are now.

    Parameters
    ----------
    recipe : Recipe
        What to find.
    moved : dict
        Role → paths that the user gave for it.
    """
    roles = [role for role, _ in recipe.inputs]
    for role, paths in moved.items():
        count = roles.count(role)
        if paths and count == 0:
            raise OptionError(f"{recipe.path} was made without an image for --{role}: leave it out.")
        if paths and len(paths) != count:
            raise OptionError(
                f"{recipe.path} was made with {count} images for --{role}, got {len(paths)}: give --{role} "
                "for each, in order."
            )
    remaining = {role: iter(paths) for role, paths in moved.items()}

    def find(role: str, source: Source) -> Source:
        path = locate(source, recipe.path, role=role, moved_to=next(remaining[role], None))
        return Source(str(path), source.sha256)

    return recipe.inputs.map(find)


def _network(recipe: Recipe) -> Path | str:
    """Return the network of a recipe: its name, or its file, which may lie next to the image."""
    name = recipe.inputs.network
    neighbour = recipe.path.parent / name
    return neighbour if name.lower().endswith(".onnx") and neighbour.is_file() else name
