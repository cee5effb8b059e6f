"""Files of the command: read inputs, write outputs, protect existing files; ``-`` is a standard stream."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

from .. import images
from ..errors import ImageFileError, OptionError
from ..images import MAX_PIXELS, Picture
from ..images.formats.registry import OUTPUT_FORMATS
from ..images.input_limits import read_bytes, read_pipe
from ..outputs.input_files import Source, fingerprint
from ..outputs.recording import FRAMES
from ..outputs.run_inputs import LoadedFile, LoadedInputs, RunInputs
from ..pipeline.recipe_document import STANDARD_INPUT
from ..pipeline.style_statistics import SUFFIX, StyleStatistics, read_statistics
from ..system.files import why_unwritable
from .streams import capture_decoder_messages, output_is_closed

# Path of standard input or standard output.
STANDARD = Path(STANDARD_INPUT)

# Extensions of formats that are slow to encode.
_SLOW = (".webp", ".avif")
# Pixels of an image whose encoding in a slow format takes more than a quarter of a second.
SLOW_PIXELS = 2**21

HTML = (".html", ".htm")
# Extensions of reports.
REPORTS = (".json", *HTML)


@dataclass(frozen=True, slots=True)
class Output:
    """The file and format of an output image.

    Attributes
    ----------
    path : Path
        A file, or `STANDARD`.
    file_format : str
        The format on standard output, such as ``png``; a file's extension says its own.
    quality : int
        1 to 100.
    tiled : bool
        Whether it is a tiled TIFF, however small.
    """

    path: Path
    file_format: str
    quality: int
    tiled: bool = False

    @property
    def name(self) -> str:
        """Name in messages."""
        return "standard output" if self.path == STANDARD else str(self.path)

    def check(self, size: tuple[int, int] | None = None) -> None:
        """Check before a long run that an image, of that (height, width), can be written."""
        if self.path != STANDARD:
            images.check_output(self.path, size)
        elif size is not None:
            images.check_size(f"picture.{self.file_format}", size)

    def quick(self, size: tuple[int, int]) -> Output:
        """Return an output for an image of that (height, width) that is quick to write.

        A large WebP or AVIF takes seconds: a PNG is written in its place, ``out.webp.png``.
        """
        slow = self.path != STANDARD and self.path.suffix.lower() in _SLOW and size[0] * size[1] > SLOW_PIXELS
        return replace(self, path=self.path.with_name(f"{self.path.name}.png")) if slow else self

    def write(self, picture: Picture, recipe: str | None = None) -> None:
        """Write the image, completely or not at all, with a recipe where the format holds texts."""
        if self.path != STANDARD:
            images.write(self.path, picture, quality=self.quality, recipe=recipe, tiled=self.tiled)
            return
        data = images.encode(picture, self.file_format, quality=self.quality, recipe=recipe, tiled=self.tiled)
        try:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        except OSError as error:  # a full disk, or a closed pipe
            raise ImageFileError(
                f"standard output: cannot be written: {error.strerror or error}; name a file with -o"
            ) from error


def output(path: Path, file_format: str | None = None, quality: int = 95, *, tiled: bool = False) -> Output:
    """Return an output, or raise OptionError where its options contradict each other or the terminal."""
    if not 1 <= quality <= 100:
        raise OptionError(f"--quality must be from 1 to 100, got {quality}.")
    known = [suffix.removeprefix(".") for suffix in OUTPUT_FORMATS]
    if file_format is not None and file_format not in known:
        raise OptionError(f"--format must be one of {', '.join(known)}, got {file_format!r}.")
    if path != STANDARD and file_format is not None:
        raise OptionError(
            f"--format is for the output '-'; the extension of {path} chooses the format there."
        )
    if path == STANDARD and output_is_closed():
        raise OptionError("The output '-' is standard output, which is closed: name a file.")
    if path == STANDARD and sys.stdout.isatty():
        raise OptionError(
            "The output '-' would fill the terminal with an image: add > out.png, or pipe it on."
        )
    target = Output(path, file_format or "png", quality, tiled)
    if tiled:
        images.check_tiled(f"picture.{target.file_format}" if path == STANDARD else path)
    return target


def read(inputs: RunInputs[Path], max_pixels: int) -> LoadedInputs:
    """Read the input files of a run."""
    return inputs.map(
        lambda role, path: read_style(path, max_pixels) if role == "style" else read_image(path, max_pixels)
    )


def read_image(path: Path, max_pixels: int = MAX_PIXELS) -> LoadedFile:
    """Read an image file, or the one that comes on standard input."""
    picture, source = _read(path, max_pixels)
    return LoadedFile(source, picture)


def read_picture(path: Path, max_pixels: int = MAX_PIXELS) -> Picture:
    """Return the image in an image file, or in the one that comes on standard input."""
    return _read(path, max_pixels)[0]


def read_style(path: Path, max_pixels: int = MAX_PIXELS) -> LoadedFile:
    """Read a style image, or statistics of one where the name ends in ``.npz``."""
    if path.suffix.lower() != SUFFIX:
        return read_image(path, max_pixels)
    data = read_statistics(path)
    return LoadedFile(Source(str(path), fingerprint(data)), StyleStatistics.decode(data, str(path)))


def _read(path: Path, max_pixels: int) -> tuple[Picture, Source]:
    name = "standard input" if path == STANDARD else str(path)
    if path != STANDARD:
        data = read_bytes(path, max_pixels=max_pixels)
    elif not (data := read_pipe(sys.stdin.buffer, name, max_pixels=max_pixels)):
        raise ImageFileError("standard input is empty; expected an image: cat photo.jpg | lbfgs-style …")
    with capture_decoder_messages(name):
        picture = images.decode(data, name=name, max_pixels=max_pixels)
    return picture, Source(str(path), fingerprint(data))


def check_inputs(pictures: Sequence[Path]) -> None:
    """Raise OptionError where two images would have to come on standard input, or one is a folder."""
    for path in pictures:
        if path.is_dir():
            raise OptionError(
                f"{path}: is a folder; expected an image file: lbfgs-style batch paints folders."
            )
    if pictures.count(STANDARD) > 1:
        raise OptionError("Only one image can be '-', standard input: give the others as files.")


def check_outputs(
    target: Output,
    report: Path | None = None,
    video: Path | None = None,
    frames: Path | None = None,
    *,
    inputs: Sequence[Path],
    overwrite: bool = True,
) -> None:
    """Check before a long run that its outputs can be written and overwrite no input.

    Parameters
    ----------
    target : Output
        The output image.
    report, video : Path or None
        The report and the video.
    frames : Path or None
        The folder for images of the iterations.
    inputs : sequence of Path
        Files that must not be overwritten.
    overwrite : bool
        Whether outputs may replace existing files.
    """
    target.check()
    if report is not None:
        if report == STANDARD:
            raise OptionError("--report '-': standard output is for the image; name a file for the report.")
        problem = why_unwritable(report)
        if problem is not None:
            raise OptionError(f"--report {report}: {problem}.")
    results = {"output": target.path, "report": report, "video": video}
    named = {what: path.resolve() for what, path in results.items() if path not in (None, STANDARD)}
    for (one, first), (other, second) in combinations(named.items(), 2):
        if first == second:
            raise OptionError(
                f"The {other} and the {one} are both {results[one]}: choose another name for one."
            )
    for what, path in named.items():
        if frames is not None and path.parent == frames.resolve() and path.match(FRAMES):
            raise OptionError(f"The {what} {path.name} could take the place of a frame: choose another name.")
    check_results(*results.values(), inputs=inputs, overwrite=overwrite)
    if report is not None and report.suffix.lower() not in REPORTS:
        raise OptionError(f"--report {report}: expected a name that ends in one of {', '.join(REPORTS)}.")


def check_results(*results: Path | None, inputs: Sequence[Path], overwrite: bool) -> None:
    """Raise OptionError where an output would overwrite an input, or an existing file against `overwrite`."""
    for result in results:
        if result is None or result == STANDARD or not result.exists():
            continue
        for path in inputs:
            if path.exists() and result.samefile(path):
                raise OptionError(
                    f"{result} would be overwritten, but is one of the inputs: choose another name."
                )
        if not overwrite:
            raise OptionError(f"{result} is there already: choose another name, or leave out --no-overwrite.")
