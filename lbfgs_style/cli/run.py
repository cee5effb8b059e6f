"""What `transfer` and `rerun` share: the parameters for inputs and outputs, and the end of a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from ..errors import OptionError
from ..optimization.lbfgs import STOP_REASONS
from ..outputs.html_report import page_of_files
from ..outputs.recipes import document, recipe_text
from ..outputs.recording import ScaleImages
from ..outputs.run_inputs import LoadedInputs, RunInputs, StyleInput
from ..pipeline.checkpoints.checkpoint import Checkpoint
from ..pipeline.plan.schedule import ScalePlan
from ..pipeline.results import Result
from ..settings.options import Options
from ..settings.presets import Init
from ..settings.validation import require_positive
from ..system.byte_sizes import format_bytes
from ..system.files import atomic_write
from .files import HTML, Output
from .parsing import Overwrite, TileOutput, numbers
from .signals import INTERRUPTED, NOTHING
from .streams import print_message


@dataclass(frozen=True, slots=True)
class InputParameters:
    """The images of a run, as the command line names them."""

    content: Annotated[
        Path, typer.Argument(help="The content image, or '-' for standard input.", metavar="CONTENT")
    ]
    styles: Annotated[
        list[Path],
        typer.Argument(help="One or more style images, or statistics of them (.npz).", metavar="STYLE"),
    ]
    style_blend: Annotated[
        str | None,
        typer.Option(
            help="Share of each style image, as in 2,1.", show_default="equal", rich_help_panel="Style"
        ),
    ] = None
    style_scale: Annotated[
        str,
        typer.Option(
            help="Size of the strokes: one number for all style images, or one for each, as in 0.5,1.",
            rich_help_panel="Style",
        ),
    ] = "1"
    style_mask: Annotated[
        list[str] | None,
        typer.Option(
            help="Mask that is white where a style goes; once for each style image, in their order. 'rest' "
            "for where no other style goes.",
            show_default="everywhere",
            metavar="FILE",
            rich_help_panel="Content and masks",
        ),
    ] = None
    painting_mask: Annotated[
        list[str] | None,
        typer.Option(
            help="Mask that is white where a style image is measured; once for each style image, in their "
            "order. 'all' for a whole image. Transparent parts are left out anyway.",
            show_default="all",
            metavar="FILE",
            rich_help_panel="Content and masks",
        ),
    ] = None
    keep_mask: Annotated[
        str | None,
        typer.Option(
            help="Mask that is white where the content image is kept; or 'alpha': where it is transparent.",
            show_default="nothing is kept",
            metavar="FILE",
            rich_help_panel="Content and masks",
        ),
    ] = None
    content_map: Annotated[
        Path | None,
        typer.Option(
            help="How much the content image holds, place by place: middle grey as without a map, white four "
            "times as much, black not at all. For skies that are to be painted freely, for example.",
            show_default="middle grey",
            metavar="FILE",
            rich_help_panel="Content and masks",
        ),
    ] = None
    face_mask: Annotated[
        str | None,
        typer.Option(
            help="Mask that is white where faces are: painted, but held four times as much, they stay "
            "people. 'find' finds them (needs lbfgs-style networks pull yunet once).",
            show_default="no faces",
            metavar="FILE",
            rich_help_panel="Content and masks",
        ),
    ] = None
    init: Annotated[
        str,
        typer.Option(
            help="Initial image: content, noise, style, or an image file such as an earlier result. A file "
            "is stretched to the content's shape, and without --scales optimised at the full size alone.",
            rich_help_panel="Content and masks",
        ),
    ] = Options().init

    @property
    def init_file(self) -> Path | None:
        """The initial image, if it is a file."""
        return None if self.init in get_args(Init) else Path(self.init)

    def inputs(self, network: str, *, stroke_size: float = 1.0) -> RunInputs[Path]:
        """Return the input files of a run with a network; `stroke_size` multiplies the scale of each style.

        Raises
        ------
        OptionError
            The number of values is not the number of style images, or a number is not above 0.
        """
        count = len(self.styles)
        weights = (1.0,) * count if self.style_blend is None else numbers("--style-blend", self.style_blend)
        scales = numbers("--style-scale", self.style_scale)
        scales = tuple(stroke_size * scale for scale in (scales * count if len(scales) == 1 else scales))
        columns: dict[str, Sequence[Any]] = {
            "--style-blend": weights,
            "--style-scale": scales,
            "--style-mask": _masks(self.style_mask, "rest", count),
            "--painting-mask": _masks(self.painting_mask, "all", count),
        }
        for option, values in columns.items():
            if len(values) != count:
                raise OptionError(
                    f"{option} must be given for each style image: expected {count}, got {len(values)}."
                )
        for option in ("--style-blend", "--style-scale"):
            for value in columns[option]:
                require_positive(f"each number of {option}", value)
        rows = zip(self.styles, *columns.values(), strict=True)
        return RunInputs(
            content=self.content,
            styles=tuple(StyleInput(*row) for row in rows),
            keep="alpha" if self.keep_mask == "alpha" else _path(self.keep_mask),
            content_map=self.content_map,
            face_mask="find" if self.face_mask == "find" else _path(self.face_mask),
            init=self.init_file,
            network=network,
        )


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _masks(names: Sequence[str] | None, word: str, count: int) -> list[Path | None]:
    """Return a mask for each style; `word` stands for no mask."""
    return [None if name.lower() == word else Path(name) for name in names or [word] * count]


@dataclass(frozen=True, slots=True)
class OutputParameters:
    """What a run writes, as the command line names it."""

    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="Image to write: png, jpg, webp, avif or tiff by its extension; '-' for standard output.",
            rich_help_panel="Basics",
        ),
    ]
    format: Annotated[
        str | None,
        typer.Option(help="Format on standard output.", show_default="png", rich_help_panel="Output"),
    ] = None
    quality: Annotated[
        int, typer.Option(help="Quality of JPEG, WebP and AVIF, 1 to 100.", rich_help_panel="Output")
    ] = 95
    tile_output: TileOutput = False
    overwrite: Overwrite = True
    recipe: Annotated[
        bool,
        typer.Option(
            help="Keep options and names of inputs in the PNG, JPEG or TIFF, so that `rerun` can repeat it.",
            rich_help_panel="Output",
        ),
    ] = True
    report: Annotated[
        Path | None,
        typer.Option(
            help="Report of options, losses and timings: .json, or a page to look at, .html.",
            show_default="none",
            rich_help_panel="Output",
        ),
    ] = None
    frames: Annotated[
        Path | None,
        typer.Option(
            help="Folder for images of the iterations, as PNG.", show_default="none", rich_help_panel="Output"
        ),
    ] = None
    save_every: Annotated[
        int | None,
        typer.Option(
            help="Iterations from one frame to the next.", show_default="10", rich_help_panel="Output"
        ),
    ] = None
    video: Annotated[
        Path | None,
        typer.Option(
            help="Short film of the run: .mp4 or .gif by its extension.",
            show_default="none",
            rich_help_panel="Output",
        ),
    ] = None

    @property
    def others(self) -> tuple[Path | None, ...]:
        """The files besides the image."""
        return (self.report, self.video)


def finish(
    result: Result,
    target: Output,
    report: Path | None,
    inputs: LoadedInputs,
    *,
    recipe: bool,
    quiet: bool,
    scale_images: ScaleImages | None = None,
    checkpoint: Checkpoint | None = None,
) -> None:
    """Write the outputs of a run, print a summary, and delete the checkpoint of a finished run."""
    interrupted = result.stop_reason == "cancelled"
    if interrupted and not result.history:
        print_message(NOTHING)
        raise typer.Exit(INTERRUPTED)
    if interrupted:
        target = target.quick(result.picture.rgb.shape[:2])
    sources, quality = inputs.map(lambda _, file: file.source), target.quality
    text = None
    if recipe:
        text = recipe_text(result.settings, sources, quality=quality, folder=target.path.parent)
    target.write(result.picture, text)
    if report is not None:
        if report.suffix.lower() in HTML:
            scales = None if scale_images is None else scale_images.images
            page = page_of_files(result, inputs, str(target.path), scales=scales)
        else:
            contents = document(result.settings, sources, quality=quality) | result.report()
            contents["files"]["output"] = str(target.path)
            page = json.dumps(contents, indent=2)
        with atomic_write(report) as temporary:
            # Bytes of file names that are not UTF-8 are escaped.
            temporary.write_text(page + "\n", encoding="utf-8", errors="backslashreplace")
    if interrupted:
        further = ""
        if checkpoint is not None and checkpoint.saved:
            further = f"; --resume continues from {checkpoint.path}"
        print_message(f"stopped: the best image so far is in {target.name}{further}")
        raise typer.Exit(INTERRUPTED)
    if checkpoint is not None:
        checkpoint.discard()
    if not quiet:
        height, width = result.picture.rgb.shape[:2]
        provider = str(result.settings["provider"]).removesuffix("ExecutionProvider")
        print_message(
            f"{target.name}: {width}×{height}, "
            f"{result.evaluations} evaluations in {result.seconds:.1f} s on {provider}: "
            f"{STOP_REASONS[result.stop_reason]}"
        )


def show_plan(plan: Sequence[ScalePlan]) -> None:
    """Print the plan of a run on stdout."""
    typer.echo("scale        size  iterations  work              history   memory     time")
    for number, scale in enumerate(plan, 1):
        size = f"{scale.size[1]}×{scale.size[0]}"
        work = "whole" if scale.method.window_pixels is None else f"{scale.windows} {scale.method.kind}"
        seconds = "" if scale.seconds is None else duration(scale.seconds)
        typer.echo(
            f"{number:<5} {size:>11}  {scale.iterations:>10}  {work:<16}  {scale.method.history or '':>7}  "
            f"{format_bytes(scale.method.bytes):>7}  {seconds:>7}"
        )
    total = sum(scale.seconds or 0 for scale in plan)
    most = max(scale.method.bytes for scale in plan)
    typer.echo(f"about {duration(total)} and at most {format_bytes(most)} of memory")


def duration(seconds: float) -> str:
    """Return a time to expect as text, with two digits or so."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
