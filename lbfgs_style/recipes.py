"""Recipes: what a picture was made of and with, kept inside its file so that it can be made again.

A recipe is JSON text, with the same keys as the report of a run: either serves `lbfgs_style.rerun`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import images
from .embedding import extract
from .errors import ImageError, ImageFileError, OptionError, StyleError
from .options import Options
from .records import Result
from .settings import checked_names, with_values


@dataclass(frozen=True, slots=True)
class Source:
    """An input file, and the fingerprint by which it is known again.

    Attributes
    ----------
    path : str
        As the recipe names it: relative to the folder of the picture, or as it was typed.
    sha256 : str
        Of the file's bytes, 64 hexadecimal digits.
    """

    path: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """The files that a picture is made of.

    Attributes
    ----------
    content : Source
        The photo.
    styles : tuple of Source
        Paintings, or statistics of paintings.
    init : Source or None
        The picture it started from.
    network : str
        The network as it was asked for: a name or a path.
    """

    content: Source
    styles: tuple[Source, ...]
    init: Source | None
    network: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that a picture depends on, but for the machine.

    Attributes
    ----------
    program : str
        Name and version of what wrote it.
    options : Options
        Every setting.
    style_weights : tuple of float
        Share of each style.
    network_sha256 : str
        Fingerprint of the weights, see `lbfgs_style.networks.FeatureNetwork`.
    inputs : Inputs
        The files.
    place : Path
        The file that the recipe was read from.
    """

    program: str
    options: Options
    style_weights: tuple[float, ...]
    network_sha256: str
    inputs: Inputs
    place: Path


def inputs_of(
    content: Path | str,
    styles: Sequence[Path | str],
    *,
    network: Path | str,
    init: Path | str | None = None,
) -> Inputs:
    """Take the fingerprints of the files of a run.

    Raises
    ------
    ImageFileError
        If one cannot be read.
    """
    return Inputs(
        content=_source(content),
        styles=tuple(map(_source, styles)),
        init=None if init is None else _source(init),
        network=str(network),
    )


def document(settings: Mapping[str, Any], inputs: Inputs, *, folder: Path | None = None) -> dict[str, Any]:
    """Return what a recipe says, ready for JSON.

    Parameters
    ----------
    settings : mapping
        Of the result.
    inputs : Inputs
        The files.
    folder : Path, optional
        Where the picture goes: paths are made relative to it, so that a folder may move as a whole and a
        picture that is passed on does not tell where its maker keeps things. Without it they stay as
        they are.
    """
    sources = (inputs.content, *inputs.styles, *(() if inputs.init is None else (inputs.init,)))
    named = {source: _relative(source.path, folder) for source in sources}
    is_file = inputs.network.lower().endswith(".onnx")
    init = inputs.init
    return {
        **{key: settings[key] for key in ("program", "options", "style_weights", "network")},
        "files": {
            "content": named[inputs.content],
            "styles": [named[style] for style in inputs.styles],
            "init": None if init is None else named[init],
            "network": _relative(inputs.network, folder) if is_file else inputs.network,
        },
        "sha256": {
            "content": inputs.content.sha256,
            "styles": [style.sha256 for style in inputs.styles],
            "init": None if init is None else init.sha256,
        },
    }


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
    contents = document(result.settings, inputs, folder=Path(path).parent)
    images.write(path, result.picture, quality=quality, recipe=json.dumps(contents, ensure_ascii=False))


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
    data = _bytes(path)
    text = data.decode(errors="replace") if path.suffix.lower() == ".json" else extract(data)
    if text is None:
        raise ImageFileError(
            f"{path}: holds no recipe; expected a PNG or JPEG that lbfgs-style wrote and no other program "
            "has saved since, or the JSON report of a run."
        )
    try:
        return _parsed(json.loads(text), path)
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, StyleError):
            raise
        raise ImageFileError(f"{path}: its recipe is damaged; expected that of a finished run.") from error


def found(source: Source, place: Path, *, what: str, given: Path | str | None = None) -> Path:
    """Find an input of a recipe again and check that it is the same.

    Parameters
    ----------
    source : Source
        What the recipe says.
    place : Path
        The file of the recipe: its folder is searched first, then the current one.
    what : str
        What an error message calls it, also the option that names it.
    given : path, optional
        Where it lies now.

    Raises
    ------
    ImageFileError
        It is not there.
    ImageError
        It has changed.
    """
    places = [place.parent / source.path, Path(source.path)] if given is None else [Path(given)]
    there = [path for path in places if path.is_file()]
    if not there:
        raise ImageFileError(
            f"{places[0]}: the {what} of {place} is not there: say where it is with --{what}."
        )
    for path in there:
        if _sha256(path) == source.sha256:
            return path
    raise ImageError(
        f"{there[0]}: has changed since {place} was made: expected sha256 {source.sha256[:12]}…, got "
        f"{_sha256(there[0])[:12]}…; name the original with --{what}, or run transfer for a new picture."
    )


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
    return Recipe(
        program=program,
        options=options,
        style_weights=tuple(float(weight) for weight in contents["style_weights"]),
        network_sha256=str(contents["network"]["sha256"]),
        inputs=Inputs(
            content=Source(str(files["content"]), str(hashes["content"])),
            styles=tuple(styles),
            init=None if files["init"] is None else Source(str(files["init"]), str(hashes["init"])),
            network=str(files["network"]),
        ),
        place=path,
    )


def _source(path: Path | str) -> Source:
    return Source(str(path), _sha256(Path(path)))


def _sha256(path: Path) -> str:
    return hashlib.sha256(_bytes(path)).hexdigest()


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageFileError(f"{path}: cannot be read: {error.strerror or error}.") from error


def _relative(path: str, folder: Path | None) -> str:
    if folder is None:
        return path
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive of Windows
        return path
