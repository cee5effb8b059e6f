"""The files that a picture is made of, and the fingerprints by which they are known again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import ImageError, ImageFileError
from ..system.files import read_file

STANDARD_INPUT = "-"
"""What stands for an input that was no file."""


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


def title(path: Path | str) -> str:
    """Return what headings call a file: its name without its ending, or that it came on standard input."""
    if str(path) == STANDARD_INPUT:
        return "standard input"
    return Path(path).stem.removesuffix(".style")


Origin = Path | str | Source
"""An input file, or its fingerprint where it has been taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """The files that a picture is made of.

    Attributes
    ----------
    content : Source
        The photo.
    styles : tuple of Source
        Paintings, or statistics of paintings.
    style_masks : tuple of (Source or None)
        Where each style goes.
    painting_masks : tuple of (Source or None)
        Where each painting is measured.
    keep_mask : Source, "alpha" or None
        Where the photo is left alone.
    init : Source or None
        The picture it started from.
    network : str
        The network as it was asked for: a name or a path.
    """

    content: Source
    styles: tuple[Source, ...]
    style_masks: tuple[Source | None, ...]
    painting_masks: tuple[Source | None, ...]
    keep_mask: Source | Literal["alpha"] | None
    init: Source | None
    network: str

    @property
    def sources(self) -> tuple[tuple[str, Source], ...]:
        """Every file but the network, with what it is."""
        listed = [("content", self.content), *(("style", style) for style in self.styles)]
        listed += [("style mask", mask) for mask in self.style_masks if mask is not None]
        listed += [("painting mask", mask) for mask in self.painting_masks if mask is not None]
        listed += [("keep mask", self.keep_mask)] if isinstance(self.keep_mask, Source) else []
        return (*listed, *([] if self.init is None else [("start", self.init)]))


def inputs_of(
    content: Origin,
    styles: Sequence[Origin],
    *,
    network: Path | str,
    style_masks: Sequence[Origin | None] = (),
    painting_masks: Sequence[Origin | None] = (),
    keep_mask: Origin | None = None,
    init: Origin | None = None,
) -> Inputs:
    """Take the fingerprints of the files of a run.

    Parameters
    ----------
    content, styles, init
        Files, or their fingerprints.
    network : path
        A name or a file.
    style_masks, painting_masks : sequence
        One for each style, or none; None where a style has none.
    keep_mask
        Likewise, or ``"alpha"``.

    Raises
    ------
    ImageFileError
        If one cannot be read.
    """
    none = [None] * len(styles)
    return Inputs(
        content=_source(content),
        styles=tuple(map(_source, styles)),
        style_masks=_sources(style_masks or none),
        painting_masks=_sources(painting_masks or none),
        keep_mask=None if keep_mask is None else "alpha" if keep_mask == "alpha" else _source(keep_mask),
        init=None if init is None else _source(init),
        network=str(network),
    )


def _sources(masks: Sequence[Origin | None]) -> tuple[Source | None, ...]:
    return tuple(None if mask is None else _source(mask) for mask in masks)


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
    if source.path == STANDARD_INPUT and given is None:
        raise ImageFileError(
            f"The {what} of {place} came on standard input: name a file that has it with --{what}."
        )
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


def fingerprint(data: bytes) -> str:
    """Return the sha256 of a file's bytes, 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def file_bytes(path: Path, *, most: int | None = None) -> bytes:
    """Return the bytes of a file, no more than `most`, or raise ImageFileError."""
    try:
        return read_file(path, most=most)
    except OSError as error:
        raise ImageFileError(f"{path}: cannot be read: {error.strerror or error}.") from error


def _source(given: Origin) -> Source:
    return given if isinstance(given, Source) else Source(str(given), _sha256(Path(given)))


def _sha256(path: Path) -> str:
    return fingerprint(file_bytes(path))
