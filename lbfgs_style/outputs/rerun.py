"""Repeat a run from the recipe in its image file."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from .. import networks
from ..errors import NetworkError, OptionError
from ..images import MAX_PIXELS
from ..networks.catalog import EARLIER_COMPACT
from ..pipeline.plan.scales import result_size
from ..pipeline.results import IterateCallback, Result
from ..pipeline.style_transfer import StyleTransfer
from ..settings.options import Options
from ..settings.options_file import WEIGHTS
from .input_files import Source, locate, source_of
from .recipes import Recipe, read_recipe
from .run_inputs import LoadedInputs, RunInputs, load, load_file, run

_NOTHING: Mapping[str, Any] = MappingProxyType({})


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
    moved: Mapping[str, Sequence[Path | str]] = _NOTHING,
    network: Path | str | None = None,
    max_pixels: int = MAX_PIXELS,
    changes: Mapping[str, Any] = _NOTHING,
    from_preview: bool | None = None,
) -> Rerun:
    """Read the recipe of an image, find its inputs and check that they are unchanged.

    Parameters
    ----------
    path : path
        A PNG, JPEG or TIFF with its recipe, or the JSON report of a run.
    moved : mapping
        Role of an input, see `RunInputs` → where the files are now that have it, in their order.
    network : path, optional
        Where the network is now.
    max_pixels : int
        See `lbfgs_style.images.read`.
    changes : mapping
        Fields of `Options` in place of the recipe's.
    from_preview : bool, optional
        Continue from the image itself, at a larger size: the composition stays. By default where the changes
        make it larger, and the recipe is in an image and not in a report.

    Raises
    ------
    ImageError, ImageFileError
        There is no recipe, or an input is missing or has changed.
    NetworkError
        The network is missing, or its weights are others.
    OptionError
        The recipe, a change, or the number of moved files does not fit.
    """
    recipe = read_recipe(path)
    if recipe.video is not None:
        raise OptionError(f"{path}: is of a video, which `lbfgs-style rerun` repeats.")
    if from_preview is not None or changes.get("size", recipe.options.size) != recipe.options.size:
        # The run starts from the image itself or from the photo: the recipe's own preview is not needed.
        recipe = replace(recipe, inputs=replace(recipe.inputs, preview=None))
    files = locate_inputs(recipe, moved)
    used = network or network_of(recipe)
    loaded = networks.load(used)
    options = options_of(recipe, loaded, changes)
    job = StyleTransfer(loaded, options=options, keep_sessions=False)
    check_weights(recipe, job)
    inputs = load(files, max_pixels)
    if _continues(recipe, inputs, options, from_preview):
        source = source_of(recipe.path)
        inputs = replace(inputs, init=None, preview=load_file("preview", source, max_pixels))
    return Rerun(recipe, replace(inputs, network=str(used)), job)


def check_weights(recipe: Recipe, job: StyleTransfer) -> None:
    """Raise NetworkError unless a job has the weights of a recipe."""
    if job.weights_sha256 != recipe.network_sha256:
        commit = EARLIER_COMPACT.get(recipe.network_sha256)
        remedy = "name the network with --network"
        if commit is not None:
            remedy = (
                f"they are those of an earlier 'compact', which `git show {commit}:models/compact.onnx > "
                "old.onnx` gets from the repository: add --network old.onnx"
            )
        raise NetworkError(
            f"{recipe.path} was made with other weights than those of {job.network.name!r}: expected sha256 "
            f"{recipe.network_sha256[:12]}…, got {job.weights_sha256[:12]}…; {remedy}."
        )


def options_of(recipe: Recipe, network: networks.FeatureNetwork, changes: Mapping[str, Any]) -> Options:
    """Return the options of a recipe with changes; its layers where the network's own choice is another."""
    options = recipe.options
    if options.content_layers is None and recipe.content_layers not in ((), network.content_layers):
        options = replace(options, content_layers=recipe.content_layers)
    if options.style_layers is None and recipe.style_layers not in ((), network.style_layers):
        options = replace(options, style_layers=recipe.style_layers)
    return _changed(options, changes)


def _changed(options: Options, changes: Mapping[str, Any]) -> Options:
    """Return options with changes; weights and a strength that stands for both take each other's place."""
    changes = dict(changes)
    if changes.keys() & WEIGHTS:
        changes = {"strength": None} | changes
    elif "strength" in changes:
        plain = Options.preset(options.loss)
        changes = {name: getattr(plain, name) for name in WEIGHTS} | changes
    return replace(options, **changes)


def _continues(recipe: Recipe, inputs: LoadedInputs, options: Options, wanted: bool | None) -> bool:
    """Return whether a run continues from the image of its recipe.

    Raises
    ------
    OptionError
        It is wanted, and the recipe is in a report.
    """
    if recipe.path.suffix.lower() == ".json":
        if wanted:
            raise OptionError(f"{recipe.path}: a report has no image to continue from: give the image.")
        return False
    if wanted is not None or options.size == recipe.options.size:
        return bool(wanted)
    content = inputs.content.picture
    return max(result_size(content, options)) > max(result_size(content, recipe.options))


def locate_inputs(
    recipe: Recipe,
    moved: Mapping[str, Sequence[Path | str]],
    *,
    content: Callable[[Source, Path | str | None], Path] | None = None,
) -> RunInputs[Source]:
    """Return the inputs of a recipe with the paths where they are now.

    Parameters
    ----------
    recipe : Recipe
        What to find.
    moved : mapping
        Role → paths that the user gave for it.
    content : function, optional
        Finds the content where that is no image: its source, and where the user says that it is → its path.
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
        moved_to = next(remaining.get(role, iter(())), None)
        if role == "content" and content is not None:
            return Source(str(content(source, moved_to)), source.sha256)
        path = locate(source, recipe.path, role=role, moved_to=moved_to)
        return Source(str(path), source.sha256)

    return recipe.inputs.map(find)


def network_of(recipe: Recipe) -> Path | str:
    """Return the network of a recipe: its name, or its file, which may lie next to the image."""
    name = recipe.inputs.network
    neighbour = recipe.path.parent / name
    return neighbour if name.lower().endswith(".onnx") and neighbour.is_file() else name
