"""The command ``lbfgs-style video``: a clip in, the clip painted."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import images, networks
from ..errors import ImageFileError, OptionError, StyleError
from ..outputs.contact_sheet import sheet
from ..outputs.input_files import Source
from ..outputs.run_inputs import LoadedFile, LoadedInputs, RunInputs, arguments_of, plan
from ..outputs.video_recipes import VideoSettings, is_film, recipe_path, video_document, write_recipe
from ..pipeline.style_transfer import StyleTransfer
from ..settings.options import Options
from ..settings.video_options import VideoOptions
from ..system.files import why_unwritable
from ..video.clip_painter import short_options
from ..video.clip_run import ClipRun
from ..video.clips import ANIMATIONS, SEQUENCE_IMAGES, Clip, Part, open_clip
from ..video.films import FILM_FORMATS, check_film
from ..video.frames import ContentFrames
from ..video.passes import later_passes
from ..video.video_transfer import VideoTransfer
from ..video.working_folder import WorkingFolder
from .files import STANDARD, check_results, read_image, read_style
from .painting import PaintingParameters
from .parsing import DryRun, Overwrite, Quiet, Typed, command_line, numbers
from .progress import show_frames, show_log
from .run import InputParameters, duration, show_plan
from .signals import INTERRUPTED, NOTHING, cancelled_by_signals
from .streams import print_message

# Suffix of the working folder, which lies next to the output.
WORKING = ".frames"

# Extensions of files that cannot be written, which nobody wants as names of folders.
_NO_FOLDERS = (".avi", ".m4v", ".mpg", ".mpeg", ".wmv", ".ogv", ".flv", *ANIMATIONS, *SEQUENCE_IMAGES)

# Seconds from one sheet of thumbnails to the next, the most of them on it and in a row, and pixels that each
# has at most.
_SHEET_SECONDS, _THUMBNAILS, _IN_A_ROW, _HEIGHT, _WIDTH = 5.0, 24, 6, 120, 960

EPILOG = """Examples:

lbfgs-style video clip.mp4 painting.jpg -o out.mp4 --size 320

lbfgs-style video clip.mov painting.jpg -o out.gif --start 2 --end 5 --every 2 --loop

lbfgs-style video frames/ painting.jpg -o painted/ --rate 24"""


@dataclass(frozen=True, slots=True)
class ClipParameters(InputParameters):
    """The clip and the images of a run, as the command line names them."""

    content: Annotated[
        Path,
        typer.Argument(
            help="The clip: MP4, MOV, WebM, AVI, MKV, GIF, a folder of images, or a pattern in quotes.",
            metavar="CLIP",
        ),
    ]
    init: Annotated[
        str,
        typer.Option(
            help="Initial image of the first frame of each shot: content, noise or style.",
            rich_help_panel="Content and masks",
        ),
    ] = Options().init


@dataclass(frozen=True, slots=True)
class FilmParameters:
    """What a video writes, as the command line names it."""

    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help=f"Film to write: {', '.join(FILM_FORMATS)}; any other name is a folder for PNG files.",
            rich_help_panel="Basics",
        ),
    ]
    overwrite: Overwrite = True
    thumbnails: Annotated[
        Path | None,
        typer.Option(
            help="Sheet of the frames so far, .jpg or .png, written anew every few seconds.",
            metavar="FILE",
            rich_help_panel="Output",
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class VideoParameters:
    """How the frames of a video are held together and which are painted, as the command line says it."""

    temporal: Annotated[
        float,
        typer.Option(
            help="How firmly each frame is held to the one before: 0 lets it flicker.",
            rich_help_panel="Video",
        ),
    ] = VideoOptions().temporal
    frame_iterations: Annotated[
        int,
        typer.Option(help="Iterations of each frame but the first of a shot.", rich_help_panel="Video"),
    ] = VideoOptions().frame_iterations
    long_term: Annotated[
        str,
        typer.Option(
            help="The frames that a frame is held to, in frames back: farther ones show what was hidden in "
            "between.",
            rich_help_panel="Video",
        ),
    ] = ",".join(map(str, VideoOptions().long_term))
    passes: Annotated[
        int,
        typer.Option(
            help="Times that the clip is painted, forwards and backwards in turn, for strong motion.",
            rich_help_panel="Video",
        ),
    ] = VideoOptions().passes
    loop: Annotated[
        bool, typer.Option("--loop", help="Lead the end into the beginning.", rich_help_panel="Video")
    ] = VideoOptions().loop
    start: Annotated[float, typer.Option(help="Second of the clip to begin at.", rich_help_panel="Video")] = (
        0.0
    )
    end: Annotated[
        float | None, typer.Option(help="Second of the clip to end before.", rich_help_panel="Video")
    ] = None
    every: Annotated[
        int, typer.Option(help="Paint every nth frame; the time stays.", rich_help_panel="Video")
    ] = 1
    rate: Annotated[
        float | None,
        typer.Option(
            help="Frames per second of a sequence of images.", show_default="25", rich_help_panel="Video"
        ),
    ] = None

    @property
    def settings(self) -> VideoSettings:
        """The values, checked."""
        back = numbers("--long-term", self.long_term, "1,2,4")
        if not all(each.is_integer() for each in back):
            raise OptionError(f"--long-term must be whole numbers such as 1,2,4, got {self.long_term!r}.")
        options = VideoOptions(
            temporal=self.temporal,
            frame_iterations=self.frame_iterations,
            long_term=tuple(map(int, back)),
            passes=self.passes,
            loop=self.loop,
        )
        part = Part(self.start, math.inf if self.end is None else self.end, self.every)
        return VideoSettings(options, part, self.rate)


@command_line()
def video(
    inputs: ClipParameters,
    outputs: FilmParameters,
    held: VideoParameters,
    typed: Typed,
    how: PaintingParameters,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Paint a clip in the style of one or more images, without flicker.

    The same command continues after an interruption.
    """
    settings = held.settings
    if inputs.init_file is not None:
        raise OptionError(f"--init must be content, noise or style for a video, got {inputs.init!r}.")
    loaded = networks.load(how.network)
    options = how.options(typed, lambda: loaded.layers, read_init=lambda: inputs.init)
    paths = inputs.inputs(how.network, stroke_size=how.stroke_size(typed))
    with show_log(quiet=quiet, verbose=False):
        clip = open_clip(inputs.content, rate=settings.rate, max_pixels=how.max_pixels)
        if settings.rate is not None and not clip.is_sequence:
            raise OptionError(f"--rate is for sequences of images: {clip.path} has times of its own.")
        transfer = VideoTransfer(loaded, options=options, video=settings.options)
        files = read_inputs(paths, clip, settings.part, how.max_pixels)
        if dry_run:
            show_clip_plan(transfer, clip, files, settings)
            return
        paint_clip(transfer, clip, files, settings, outputs, quiet=quiet)


def read_inputs(paths: RunInputs[Path], clip: Clip, part: Part, max_pixels: int) -> LoadedInputs:
    """Read the images of a run; the content is the first frame of the clip.

    Raises
    ------
    ImageFileError
        An image cannot be read, or the part of the clip has no frames.
    """
    first = next(islice(clip.frames(part), 1), None)
    if first is None:
        raise ImageFileError(f"{clip.path}: has no frame from {part.start:g} to {part.end:g} seconds.")
    content = LoadedFile(Source(str(clip.path), clip.fingerprint()), first.picture)

    def read(role: str, path: Path) -> LoadedFile:
        if role == "content":
            return content
        return read_style(path, max_pixels) if role == "style" else read_image(path, max_pixels)

    return paths.map(read)


def show_clip_plan(
    transfer: VideoTransfer, clip: Clip, inputs: LoadedInputs, settings: VideoSettings
) -> None:
    """Print the plan of the first frame on stdout, and the time to expect of all frames."""
    first = plan(transfer.job, inputs)
    show_plan(first)
    options = short_options(transfer.job.options, transfer.video)
    other = plan(StyleTransfer(transfer.job.network, options=options), inputs)
    one, each = (sum(scale.seconds or 0 for scale in scales) for scales in (first, other))
    each += _seconds_of_flow(clip, settings, options)
    count = clip.count_in(settings.part)
    others = count - 1 + sum(len(again.order) for again in later_passes(count, settings.options))
    typer.echo(
        f"that is the first frame of a shot; with {others} others of about {each:.1f} s each, about "
        f"{duration(one + others * each)}"
    )


def _seconds_of_flow(clip: Clip, settings: VideoSettings, options: Options) -> float:
    """Return the time to read a frame and to find its flow to all frames that it is held to."""
    back = settings.options.long_term
    pictures = (frame.picture for frame in islice(clip.frames(settings.part), max(back) + 1))
    contents, seconds = ContentFrames(pictures, options, back, ()), 0.0
    begin = time.perf_counter()
    while contents.next() is not None:
        begin, seconds = time.perf_counter(), time.perf_counter() - begin
    return seconds


def paint_clip(
    transfer: VideoTransfer,
    clip: Clip,
    inputs: LoadedInputs,
    settings: VideoSettings,
    outputs: FilmParameters,
    *,
    quiet: bool,
) -> None:
    """Paint a clip into its working folder, and write the film or the folder that the user named."""
    _check_outputs(outputs, clip, inputs)
    sources = inputs.map(lambda _, file: file.source)
    run = video_document(transfer.job, sources, settings, folder=None)
    recipe = video_document(transfer.job, sources, settings, folder=recipe_path(outputs.output).parent)
    (_, styles), others = arguments_of(inputs)
    masks = {name: others[name] for name in ("keep", "content_map", "face_mask")}
    folder = WorkingFolder(outputs.output.with_name(outputs.output.name + WORKING))
    clip_run = ClipRun(clip, settings.part, settings.options, folder)
    with cancelled_by_signals() as cancel, show_frames(quiet=quiet) as progress:
        painter = transfer.clip(styles, **masks, on_iterate=progress, cancel=cancel)
        with folder.open(_identity(run)):
            progress.begin(clip_run.frames_left(clip.count_in(settings.part)))
            sheets = _Sheets(clip_run, outputs.thumbnails)
            try:
                for frame in clip_run.paint(painter):
                    progress.tell(frame)
                    sheets.update()
            except (StyleError, OSError):
                if clip_run.seconds:
                    with suppress(StyleError, OSError):  # where the disk is full, frames are all there is
                        _write(clip_run, outputs.output, recipe)
                    print_message(f"{folder.path} has {_frames(clip_run)}: the same command continues")
                else:
                    folder.discard()
                raise
            if not clip_run.seconds:
                folder.discard()
                print_message(NOTHING)
                raise typer.Exit(INTERRUPTED)
            sheets.finish()
            _write(clip_run, outputs.output, recipe)
            if cancel.is_set():
                print_message(
                    f"stopped: {outputs.output} has {_frames(clip_run)}; the same command continues from "
                    f"{folder.path}"
                )
                raise typer.Exit(INTERRUPTED)
            folder.discard()
    if not quiet:
        print_message(
            f"{outputs.output}: {_frames(clip_run)} in {progress.seconds:.1f} s; recipe: "
            f"{recipe_path(outputs.output)}"
        )


def _identity(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return what must be the same for a clip to be continued: all but names of files and hardware."""
    options = {name: value for name, value in run["options"].items() if name not in ("device", "threads")}
    return {name: value for name, value in run.items() if name != "files"} | {"options": options}


def _frames(run: ClipRun) -> str:
    count = len(run.seconds)
    return "1 frame" if count == 1 else f"{count} frames"


def _check_outputs(outputs: FilmParameters, clip: Clip, inputs: LoadedInputs) -> None:
    """Check before the run that film, recipe and sheet can be written, and overwrite no foreign files."""
    output = outputs.output
    if output == STANDARD:
        raise OptionError("--output '-': a video is written into a file or a folder: name one.")
    if output.name in ("", ".."):
        raise OptionError(f"--output {output}: expected the name of a film, or of a folder for PNG files.")
    if is_film(output):
        check_film(output)
    elif output.exists() and not output.is_dir():
        raise OptionError(
            f"{output}: is a file; expected a folder for PNG files, or a film: {', '.join(FILM_FORMATS)}."
        )
    elif output.suffix.lower() in _NO_FOLDERS:
        check_film(output)
    elif output.is_dir() and not recipe_path(output).exists() and any(output.glob("frame-*.png")):
        raise OptionError(f"{output}: holds frames of another program: choose another folder.")
    elif not output.exists() and (problem := why_unwritable(output)) is not None:
        raise OptionError(f"--output {output}: {problem}.")
    sheet_file = outputs.thumbnails
    if sheet_file is not None:
        images.check_output(sheet_file)
    for folder in (None if is_film(output) else output, sheet_file and sheet_file.parent):
        if folder and clip.is_sequence and folder.is_dir() and folder.samefile(clip.files[0].parent):
            raise OptionError(
                f"{folder}: holds the clip, and what is written there would belong to it: name another."
            )
    files = [Path(file.source.path) for _, file in inputs if file.source.path != str(clip.path)]
    written = (output if is_film(output) else recipe_path(output), sheet_file)
    check_results(*written, inputs=(*files, *clip.files), overwrite=outputs.overwrite)


def _write(run: ClipRun, output: Path, recipe: Mapping[str, Any]) -> None:
    """Write a film and its recipe, or the recipe and the images of a folder."""
    if is_film(output):
        run.write(output)
        write_recipe(recipe_path(output), recipe)
    else:
        output.mkdir(exist_ok=True)
        write_recipe(recipe_path(output), recipe)  # first: it says that the frames in the folder are ours
        run.write_images(output)


class _Sheets:
    """Writes a sheet of the frames so far every few seconds, if there is a file for it."""

    def __init__(self, run: ClipRun, path: Path | None) -> None:
        self._run, self._path, self._next = run, path, 0.0

    def update(self) -> None:
        """Write the sheet if it is time."""
        if time.monotonic() >= self._next:
            self.finish()
            self._next = time.monotonic() + _SHEET_SECONDS

    def finish(self) -> None:
        """Write the sheet."""
        if self._path is None:
            return
        chosen = self._run.thumbnails(_THUMBNAILS)
        groups = [chosen[start : start + _IN_A_ROW] for start in range(0, len(chosen), _IN_A_ROW)]
        rows = [[images.read(path).rgb for _, path in group] for group in groups]
        captions = [[f"{seconds:.2f} s" for seconds, _ in group] for group in groups]
        shape = rows[0][0].shape
        height = max(1, min(_HEIGHT, _WIDTH * shape[0] // shape[1]))
        drawn = sheet(rows, captions=captions, height=height)
        images.write(self._path, images.from_array(drawn), quality=90)
