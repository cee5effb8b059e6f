"""Recipes: the options and inputs of a run, kept inside the image file so that the run can be repeated.

A recipe is JSON text with the keys of a run's report, which `lbfgs_style.outputs.rerun` reads, too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import images
from ..errors import ImageFileError, OptionError, StyleError
from ..images.formats.registry import read_text
from ..pipeline import recipe_document
from ..pipeline.results import Result
from ..settings.options import Options
from ..settings.options_file import checked_names, with_values
from .input_files import Source, file_bytes
from .run_inputs import Inputs, RunInputs, StyleInput, from_json, inputs_of, to_json

# Bytes of the largest report that is read; a report of 100,000 iterations has about 10 MB.
_MOST_BYTES = 2**26

__all__ = [
    "Inputs",
    "Recipe",
    "RunInputs",
    "Source",
    "StyleInput",
    "document",
    "inputs_of",
    "read_recipe",
    "recipe_text",
    "save",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that a result depends on except the machine and the versions of other packages.

    Attributes
    ----------
    program : str
        Name and version of the program that wrote it.
    options : Options
        Every setting.
    network_sha256 : str
        Fingerprint of the weights, see `lbfgs_style.networks.FeatureNetwork`.
    content_layers, style_layers : tuple of str
        The layers of the run; those of a loss without weight are not there.
    inputs : RunInputs of Source
        The files, and the weight and scale of each style.
    quality : int
        Quality of the image file where it is a JPEG, WebP or AVIF, 1 to 100.
    path : Path
        The file that holds the recipe.
    video : mapping or None
        How the frames of a video are held together, and which are painted, see `video_recipes`.
    """

    program: str
    options: Options
    network_sha256: str
    content_layers: tuple[str, ...]
    style_layers: tuple[str, ...]
    inputs: Inputs
    quality: int
    path: Path
    video: Mapping[str, Any] | None = None


def document(
    settings: Mapping[str, Any], inputs: Inputs, *, quality: int = 95, folder: Path | None = None
) -> dict[str, Any]:
    """Return a recipe as a dictionary for JSON, see `lbfgs_style.pipeline.recipe_document.document`.

    Parameters
    ----------
    settings : mapping
        `Result.settings`.
    inputs : RunInputs of Source
        The files.
    quality : int
        Quality of the image file, 1 to 100.
    folder : Path, optional
        Folder of the image file, to which paths are made relative; without it they are kept.
    """
    files = to_json(inputs, lambda source: source.path) | {"network": inputs.network}
    hashes = to_json(inputs, lambda source: source.sha256)
    return recipe_document.document(settings, files, hashes, quality=quality, folder=folder)


def recipe_text(settings: Mapping[str, Any], inputs: Inputs, *, quality: int, folder: Path) -> str:
    """Return a recipe, see `document`, as text for `lbfgs_style.images.write`."""
    return recipe_document.to_text(document(settings, inputs, quality=quality, folder=folder))


def save(path: Path | str, result: Result, inputs: Inputs, *, quality: int = 95) -> None:
    """Write a result with its recipe, which PNG, JPEG and TIFF can hold.

    Parameters
    ----------
    path : path
        As for `lbfgs_style.images.write`, as is `quality`.
    result : Result
        The result of a run.
    inputs : RunInputs of Source
        Its files, from `inputs_of`.

    Raises
    ------
    ImageFileError
        As `lbfgs_style.images.write`.
    """
    recipe = recipe_text(result.settings, inputs, quality=quality, folder=Path(path).parent)
    images.write(path, result.picture, quality=quality, recipe=recipe)


def read_recipe(path: Path | str) -> Recipe:
    """Read the recipe in an image, or in a JSON report.

    Raises
    ------
    ImageFileError
        If the file cannot be read or has no recipe.
    OptionError
        If the recipe has options that this version does not know or allow.
    """
    path = Path(path)
    is_report = path.suffix.lower() == ".json"
    data = file_bytes(path, most=_MOST_BYTES if is_report else None)
    text = data.decode(errors="replace") if is_report else read_text(data)
    if text is None:
        raise ImageFileError(
            f"{path}: holds no recipe; expected a PNG, JPEG or TIFF that lbfgs-style wrote and no other "
            "program has saved since, or the JSON report of a run."
        )
    try:
        return _parsed(json.loads(text), path)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, StyleError):
            raise
        raise ImageFileError(f"{path}: its recipe is damaged; expected that of a finished run.") from error


def _parsed(contents: dict[str, Any], path: Path) -> Recipe:
    named = dict(contents["options"])
    if named.get("init") == "picture":  # the image file among the inputs
        del named["init"]
    program = str(contents["program"])
    try:
        values = checked_names(named, source=str(path))
        options = with_values(Options(), values, source=str(path))
    except OptionError as error:
        raise OptionError(f"{error} The image was made by {program}.") from error
    network = contents["network"]
    weights, scales = (tuple(map(float, contents[key])) for key in ("style_weights", "style_scales"))
    return Recipe(
        program=program,
        options=options,
        network_sha256=str(network["sha256"]),
        content_layers=tuple(map(str, network["content_layers"])),
        style_layers=tuple(map(str, network["style_layers"])),
        inputs=from_json(contents["files"], contents["sha256"], weights=weights, scales=scales),
        quality=int(contents["quality"]),
        path=path,
        video=contents.get("video"),
    )
