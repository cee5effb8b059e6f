"""The formats that pictures are written in: what each can hold, and whether one fits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...errors import ImageFileError, did_you_mean
from ...system.files import why_unwritable


@dataclass(frozen=True, slots=True)
class FileFormat:
    """What a format that we write can hold.

    Attributes
    ----------
    alpha : bool
        Whether it has opacity.
    bits : int
        Of the samples that a 16-bit picture is written with.
    longest : int
        The longest side in pixels: of WebP and AVIF by definition, of the others by the libraries that write
        them.
    gray : bool
        Whether it has pictures of one channel.
    """

    alpha: bool
    bits: int
    longest: int
    gray: bool = True


OUTPUT_FORMATS = {
    ".png": FileFormat(alpha=True, bits=16, longest=1_000_000),
    ".jpg": FileFormat(alpha=False, bits=8, longest=65_500),
    ".jpeg": FileFormat(alpha=False, bits=8, longest=65_500),
    ".webp": FileFormat(alpha=True, bits=8, longest=16_383, gray=False),
    ".avif": FileFormat(alpha=True, bits=10, longest=65_536),
    ".tif": FileFormat(alpha=True, bits=16, longest=2**20),
    ".tiff": FileFormat(alpha=True, bits=16, longest=2**20),
}


def output_format(path: Path | str) -> FileFormat:
    """Return what the format that `path` names by its extension can hold.

    Raises
    ------
    ImageFileError
        The extension is missing or none of `OUTPUT_FORMATS`.
    """
    suffix = Path(path).suffix.lower()
    if suffix in OUTPUT_FORMATS:
        return OUTPUT_FORMATS[suffix]
    known = ", ".join(OUTPUT_FORMATS)
    if not suffix:
        raise ImageFileError(f"{path}: the output has no extension; expected one of {known}: try {path}.png")
    hint = did_you_mean(suffix, OUTPUT_FORMATS)
    raise ImageFileError(f"{path}: pictures cannot be written as {suffix!r}; expected one of {known}.{hint}")


def check_output(path: Path | str, size: tuple[int, int] | None = None) -> None:
    """Find out before a long run whether a picture can be written to `path`.

    Parameters
    ----------
    path : path
        Where it is to be written.
    size : (int, int), optional
        Its height and width, once they are known.

    Raises
    ------
    ImageFileError
        `path` is a folder, its extension is unknown, its folder is missing or not writable, the file is there
        and write-protected, or the format cannot hold a picture of this size.
    """
    path = Path(path)
    if path.is_dir():
        raise ImageFileError(f"{path}: the output is a folder; expected a file name: try {path / 'out.png'}")
    output_format(path)
    problem = why_unwritable(path)
    if problem is not None:
        raise ImageFileError(f"{path}: {problem}")
    if size is not None:
        check_size(path, size)


def check_size(path: Path | str, size: tuple[int, int]) -> None:
    """Raise ImageFileError where the format of `path` cannot hold a picture of that (height, width)."""
    longest = output_format(path).longest
    if max(size) > longest:
        raise ImageFileError(
            f"{path}: a picture of {size[1]}×{size[0]} pixels does not fit {Path(path).suffix}; expected "
            f"sides of at most {longest} pixels: write a .png or .tiff, or a smaller picture"
        )
