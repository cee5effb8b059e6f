"""Recipes: what a picture was made of and with, kept inside its file so that it can be made again.

A recipe is JSON text, with the same keys as the report of a run: either serves `lbfgs_style.outputs.rerun`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import images
from ..errors import ImageFileError, OptionError, StyleError
from ..images.formats.embedding import extract
from ..pipeline.results import Result
from ..settings.options import Options
from ..settings.options_file import checked_names, with_values
from .input_files import STANDARD_INPUT, Inputs, Source, file_bytes, inputs_of

_MOST_BYTES = 2**26
"""The largest report that is read; a hundred thousand iterations take about 10 MB."""

__all__ = ["Inputs", "Recipe", "Source", "document", "inputs_of", "read_recipe", "recipe_text", "save"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that a picture depends on, but for the machine.

    Attributes
    ----------
    program : str
        Name and version of what wrote it.
    options : Options
        Every setting.
    style_weights, style_scales : tuple of float
        Share of each style, and the size of its strokes.
    network_sha256 : str
        Fingerprint of the weights, see `lbfgs_style.networks.FeatureNetwork`.
    inputs : Inputs
        The files.
    quality : int
        Of the picture's JPEG, WebP or AVIF.
    place : Path
        The file that the recipe was read from.
    """

    program: str
    options: Options
    style_weights: tuple[float, ...]
    style_scales: tuple[float, ...]
    network_sha256: str
    inputs: Inputs
    quality: int
    place: Path


def document(
    settings: Mapping[str, Any], inputs: Inputs, *, quality: int = 95, folder: Path | None = None
) -> dict[str, Any]:
    """Return what a recipe says, ready for JSON.

    Parameters
    ----------
    settings : mapping
        Of the result.
    inputs : Inputs
        The files.
    quality : int
        Of the picture's file.
    folder : Path, optional
        Where the picture goes: paths are made relative to it, so that a folder may move as a whole and a
        picture that is passed on does not tell where its maker keeps things. Without it they stay as
        they are.
    """

    def listed(told: Callable[[Source], str]) -> dict[str, Any]:
        keep = inputs.keep_mask
        return {
            "content": told(inputs.content),
            "styles": [told(style) for style in inputs.styles],
            "style_masks": [None if mask is None else told(mask) for mask in inputs.style_masks],
            "painting_masks": [None if mask is None else told(mask) for mask in inputs.painting_masks],
            "keep_mask": told(keep) if isinstance(keep, Source) else keep,
            "init": None if inputs.init is None else told(inputs.init),
        }

    is_file = inputs.network.lower().endswith(".onnx")
    network = _relative(inputs.network, folder) if is_file else inputs.network
    keys = ("program", "options", "style_weights", "style_scales", "network")
    return {
        **{key: settings[key] for key in keys},
        "quality": quality,
        "files": listed(lambda source: _relative(source.path, folder)) | {"network": network},
        "sha256": listed(lambda source: source.sha256),
    }


def recipe_text(result: Result, inputs: Inputs, *, quality: int, folder: Path) -> str:
    """Return the recipe of a result that goes into a folder, for `lbfgs_style.images.write`."""
    contents = document(result.settings, inputs, quality=quality, folder=folder)
    text = json.dumps(contents, ensure_ascii=False)
    # Bytes of a file's name that are no text: UTF-8 has no place for them, JSON's escapes do.
    return re.sub("[\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text)


def save(path: Path | str, result: Result, inputs: Inputs, *, quality: int = 95) -> None:
    """Write a result with its recipe, which PNG and JPEG can hold.

    Parameters
    ----------
    path : path
        As for `lbfgs_style.images.write`, as is `quality`.
    result : Result
        What to write.
    inputs : Inputs
        What it was made of, from `inputs_of`.

    Raises
    ------
    ImageFileError
        As `lbfgs_style.images.write`.
    """
    recipe = recipe_text(result, inputs, quality=quality, folder=Path(path).parent)
    images.write(path, result.picture, quality=quality, recipe=recipe)


def read_recipe(path: Path | str) -> Recipe:
    """Read the recipe in a picture, or in a JSON report.

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
    text = data.decode(errors="replace") if is_report else extract(data)
    if text is None:
        raise ImageFileError(
            f"{path}: holds no recipe; expected a PNG or JPEG that lbfgs-style wrote and no other program "
            "has saved since, or the JSON report of a run."
        )
    try:
        return _parsed(json.loads(text), path)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, StyleError):
            raise
        raise ImageFileError(f"{path}: its recipe is damaged; expected that of a finished run.") from error


def _parsed(contents: dict[str, Any], path: Path) -> Recipe:
    given, files, hashes = dict(contents["options"]), contents["files"], contents["sha256"]
    if given.get("init") == "picture":  # the file that stands among the inputs
        del given["init"]
    program = str(contents["program"])
    try:
        values = checked_names(given, source=str(path))
        options = with_values(Options(), values, source=str(path))
    except OptionError as error:
        raise OptionError(f"{error} The picture was made by {program}.") from error
    styles = [Source(str(p), str(h)) for p, h in zip(files["styles"], hashes["styles"], strict=True)]
    masks = zip(files["style_masks"], hashes["style_masks"], strict=True)
    none = [None] * len(styles)  # recipes of before masks of paintings
    parts = zip(files.get("painting_masks", none), hashes.get("painting_masks", none), strict=True)
    is_alpha = files["keep_mask"] == "alpha"
    return Recipe(
        program=program,
        options=options,
        style_weights=tuple(float(weight) for weight in contents["style_weights"]),
        style_scales=tuple(float(scale) for scale in contents["style_scales"]),
        network_sha256=str(contents["network"]["sha256"]),
        inputs=Inputs(
            content=Source(str(files["content"]), str(hashes["content"])),
            styles=tuple(styles),
            style_masks=tuple(_source_or_none(p, h) for p, h in masks),
            painting_masks=tuple(_source_or_none(p, h) for p, h in parts),
            keep_mask="alpha" if is_alpha else _source_or_none(files["keep_mask"], hashes["keep_mask"]),
            init=_source_or_none(files["init"], hashes["init"]),
            network=str(files["network"]),
        ),
        quality=int(contents["quality"]),
        place=path,
    )


def _source_or_none(path: object, sha256: object) -> Source | None:
    return None if path is None else Source(str(path), str(sha256))


def _relative(path: str, folder: Path | None) -> str:
    if folder is None or path == STANDARD_INPUT:
        return path
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive of Windows
        return path
