"""The pictures of a batch: which photos and paintings there are, their names, and which are done."""

from __future__ import annotations

import csv
import glob
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import ImageFileError, OptionError, StyleError
from ..images import read
from ..images.formats.registry import INPUT_SUFFIXES
from ..pipeline.style_statistics import SUFFIX
from ..settings.options import Options
from .input_files import source_of, title
from .recipes import read_recipe

# Options that choose the hardware and not the picture.
_ANYWHERE = {"device": "auto", "threads": 0, "memory": None, "convolution": "auto"}

# First line that a file of pairs may have.
_HEAD = ["photo", "painting"]

# Between the names of a photo and of a painting.
_JOIN = "--"


@dataclass(frozen=True, slots=True)
class Job:
    """One picture of a batch.

    Attributes
    ----------
    photo, painting : Path
        The content image and the style image, or statistics of one.
    output : Path
        The picture to write.
    """

    photo: Path
    painting: Path
    output: Path


def find_images(places: Iterable[str | Path], *, what: str, statistics: bool = False) -> list[Path]:
    """Return the image files among files, folders and patterns, in their order and each once.

    Parameters
    ----------
    places : iterable of path
        A file is taken as it is; a folder gives its images, sorted by name, not those of folders in it; a
        pattern such as ``photos/*.jpg`` what it matches, where the shell has left it as it is.
    what : str
        What messages call them.
    statistics : bool
        Whether files of style statistics count as images.

    Raises
    ------
    ImageFileError
        There is no such file, or a folder or pattern gives none.
    """
    suffixes = {*INPUT_SUFFIXES, *([SUFFIX] if statistics else [])}
    found: dict[Path, None] = {}
    for place in map(Path, places):
        if place.is_dir():
            inside = sorted(path for path in place.iterdir() if path.suffix.lower() in suffixes)
            inside = [path for path in inside if not path.name.startswith(".")]
            if not inside:
                raise ImageFileError(f"{place}: this folder of {what} holds no images")
        elif place.exists():
            inside = [place]
        elif not glob.has_magic(str(place)):
            raise ImageFileError(f"{place}: there is no such file or folder of {what}")
        else:
            inside = sorted(Path(name) for name in glob.glob(str(place), recursive=True))  # noqa: PTH207  # absolute, too
            if not inside:
                raise ImageFileError(f"{place}: no file matches this pattern of {what}")
        found |= dict.fromkeys(inside)
    return list(found)


def every_pair(photos: Sequence[Path], paintings: Sequence[Path], folder: Path, extension: str) -> list[Job]:
    """Return a job for every photo with every painting, painting by painting."""
    return name_jobs([(photo, painting) for painting in paintings for photo in photos], folder, extension)


def read_pairs(path: Path, folder: Path, extension: str) -> list[Job]:
    """Return the jobs of a file with lines ``photo,painting``; paths start at the file's own folder.

    Lines that are empty or begin with ``#``, and a head ``photo,painting``, are left out.

    Raises
    ------
    ImageFileError
        The file cannot be read.
    OptionError
        A line has not two names.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            rows = [(number, row) for number, row in enumerate(csv.reader(lines, skipinitialspace=True), 1)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or "expected text in UTF-8"
        raise ImageFileError(f"--pairs {path}: cannot be read: {reason}.") from error
    pairs: list[tuple[Path, Path]] = []
    for number, row in rows:
        cells = [cell.strip() for cell in row]
        is_head = [cell.casefold() for cell in cells] == _HEAD and not pairs
        if not any(cells) or cells[0].startswith("#") or is_head:
            continue
        if len(cells) != 2 or not all(cells) or "\0" in "".join(cells):
            raise OptionError(
                f"--pairs {path}, line {number}: expected photo,painting with a comma between two names, got "
                f"{','.join(row)!r}."
            )
        pairs.append((path.parent / cells[0], path.parent / cells[1]))
    if not pairs:
        raise OptionError(f"--pairs {path}: holds no pairs; expected lines photo,painting.")
    return name_jobs(list(dict.fromkeys(pairs)), folder, extension)


def name_jobs(pairs: Sequence[tuple[Path, Path]], folder: Path, extension: str) -> list[Job]:
    """Return a job for each pair; its picture is called ``photo--painting``.

    Files of one name in several folders have a number behind it, by their order: ``photo-2--painting``.
    """
    photos = _unique_names(photo for photo, _ in pairs)
    paintings = _unique_names(painting for _, painting in pairs)
    return [
        Job(photo, painting, folder / f"{photos[photo]}{_JOIN}{paintings[painting]}.{extension}")
        for photo, painting in pairs
    ]


def _unique_names(paths: Iterable[Path]) -> dict[Path, str]:
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for path in dict.fromkeys(paths):
        name, number = title(path), 1
        while name.casefold() in taken:  # some file systems do not tell A from a
            number += 1
            name = f"{title(path)}-{number}"
        taken.add(name.casefold())
        names[path] = name
    return names


def is_foreign(job: Job) -> bool:
    """Return whether something else is where the picture of a job goes: it has no recipe."""
    if not job.output.exists() or (job.output.is_file() and job.output.stat().st_size == 0):
        return False
    try:
        read_recipe(job.output)
    except StyleError:
        return True
    return False


def is_painted(job: Job, options: Options, network_sha256: str, style_scale: float) -> bool:
    """Return whether the picture of a job is there and whole, by its recipe: same inputs and options."""
    if not job.output.exists():
        return False
    try:
        recipe = read_recipe(job.output)
        read(job.output)
        sources = [source_of(job.photo).sha256, source_of(job.painting).sha256]
    except StyleError:
        return False  # of another kind, or damaged
    inputs = recipe.inputs
    return (
        [source.sha256 for _, source in inputs] == sources
        and inputs.styles[0].scale == style_scale
        and inputs.face_mask is inputs.keep is None
        and recipe.network_sha256 == network_sha256
        and replace(recipe.options, **_ANYWHERE) == replace(options, **_ANYWHERE)
    )
