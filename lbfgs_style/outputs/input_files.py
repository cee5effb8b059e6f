"""Input files of a run and their fingerprints, by which a rerun checks that they are unchanged."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from ..errors import ImageError, ImageFileError
from ..pipeline.recipe_document import ARRAY, STANDARD_INPUT
from ..system.files import read_file


@dataclass(frozen=True, slots=True)
class Source:
    """An input file and its fingerprint.

    Attributes
    ----------
    path : str
        Relative to the folder of the recipe, or as the user typed it.
    sha256 : str
        Hash of the file's bytes, 64 hexadecimal digits.
    """

    path: str
    sha256: str


def title(path: Path | str) -> str:
    """Return the title of a file: its name without the extension, or "standard input"."""
    if str(path) == STANDARD_INPUT:
        return "standard input"
    return Path(path).stem.removesuffix(".style")


# An input file, or its fingerprint where that is known.
Origin = Path | str | Source


def locate(source: Source, recipe: Path, *, role: str, moved_to: Path | str | None = None) -> Path:
    """Return the path of an input of a recipe, whose bytes must be those of the recorded run.

    What was an array then has no bytes to compare: a file that is named for it is taken as it is.

    Parameters
    ----------
    source : Source
        The input in the recipe.
    recipe : Path
        The file of the recipe: its folder is searched first, then the current one.
    role : str
        Role of the input, also the name of the option that says where it is.
    moved_to : path, optional
        Path from the user, searched in place of the recipe's.

    Raises
    ------
    ImageFileError
        The file is missing.
    ImageError
        The file has changed.
    """
    if source.path in (STANDARD_INPUT, ARRAY) and moved_to is None:
        origin = "was an array" if source.path == ARRAY else "came on standard input"
        raise ImageFileError(f"The {role} of {recipe} {origin}: name a file that has it with --{role}.")
    paths = [recipe.parent / source.path, Path(source.path)] if moved_to is None else [Path(moved_to)]
    files = [path for path in paths if path.is_file()]
    if not files:
        raise ImageFileError(
            f"{paths[0]}: the {role} of {recipe} is not there: say where it is with --{role}."
        )
    for path in files:
        if source.sha256 in ("", _sha256(path)):  # an array has no fingerprint
            return path
    raise ImageError(
        f"{files[0]}: has changed since {recipe} was made: expected sha256 {source.sha256[:12]}…, got "
        f"{_sha256(files[0])[:12]}…; name the original with --{role}, or run transfer for a new image."
    )


def fingerprint(data: bytes) -> str:
    """Return the sha256 of a file's bytes, 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def file_bytes(path: Path, *, most: int | None = None) -> bytes:
    """Return the bytes of a file, no more than `most`, or raise ImageFileError."""
    try:
        return read_file(path, most=most)
    except OSError as error:
        raise ImageFileError(f"{path}: cannot be read: {error.strerror or error}.") from error


def source_of(origin: Origin) -> Source:
    """Return a file with its fingerprint, which is computed unless `origin` has it."""
    return origin if isinstance(origin, Source) else Source(str(origin), _sha256(Path(origin)))


def _sha256(path: Path) -> str:
    return fingerprint(file_bytes(path))
