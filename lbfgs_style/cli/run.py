"""What the commands that paint a picture share: reading its inputs, and writing what was asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from ..errors import OptionError
from ..optimization.lbfgs import STOP_REASONS
from ..outputs.html_report import page_of_files
from ..outputs.input_files import inputs_of
from ..outputs.loaded_inputs import Given
from ..outputs.recipes import document, recipe_text
from ..pipeline.checkpoints.checkpoint import Checkpoint
from ..pipeline.plan.schedule import ScalePlan
from ..pipeline.results import Result
from ..settings.validation import require_positive
from ..system.byte_sizes import format_bytes
from ..system.files import atomic_write
from . import files
from .files import HTML, Output
from .parsing import numbers
from .signals import INTERRUPTED, NOTHING
from .streams import say


@dataclass(frozen=True, slots=True)
class Files:
    """The files of a run as the command line names them.

    Attributes
    ----------
    content : Path
        The photo.
    styles : sequence of Path
        Paintings, or statistics of them.
    style_masks : sequence of str or None
        A file or ``rest`` for each style; None for no masks.
    painting_masks : sequence of str or None
        A file or ``all`` for each style; None for no masks.
    keep_mask : str or None
        A file, or ``alpha``.
    init : Path or None
        A picture to start from.
    """

    content: Path
    styles: Sequence[Path]
    style_masks: Sequence[str] | None
    painting_masks: Sequence[str] | None
    keep_mask: str | None
    init: Path | None

    @property
    def masks(self) -> list[Path | None]:
        """Where each style goes."""
        return self._paths(self.style_masks, "rest")

    @property
    def masks_of_paintings(self) -> list[Path | None]:
        """Where each painting is measured."""
        return self._paths(self.painting_masks, "all")

    def _paths(self, masks: Sequence[str] | None, none: str) -> list[Path | None]:
        """Return the files of an option that is given for each style, None where it has the word for none."""
        return [None if name.lower() == none else Path(name) for name in masks or [none] * len(self.styles)]

    @property
    def keep(self) -> Path | None:
        """Where the photo is left alone, if a file says so."""
        return None if self.keep_mask in (None, "alpha") else Path(self.keep_mask)

    @property
    def all(self) -> tuple[Path, ...]:
        """Every file that is read, but for the network."""
        optional = (*self.masks, *self.masks_of_paintings, self.keep, self.init)
        more = [path for path in optional if path is not None]
        return (self.content, *self.styles, *more)

    def read(self, network: str, blend: str | None, scale: str, max_pixels: int) -> Given:
        """Read them all; `blend` and `scale` are the texts of their options."""
        count, masks, parts = len(self.styles), self.masks, self.masks_of_paintings
        weights = (1.0,) * count if blend is None else numbers("--style-blend", blend)
        scales = numbers("--style-scale", scale)
        scales = scales * count if len(scales) == 1 else scales
        for option, each in (
            ("--style-blend", weights),
            ("--style-scale", scales),
            ("--style-mask", masks),
            ("--painting-mask", parts),
        ):
            if len(each) != count:
                raise OptionError(
                    f"{option} must be given for each painting: expected {count}, got {len(each)}."
                )
        for option, each in (("--style-blend", weights), ("--style-scale", scales)):
            for value in each:
                require_positive(f"each number of {option}", value)
        photo, photo_file = files.read(self.content, max_pixels)
        styles = [files.read_style(path, max_pixels) for path in self.styles]
        places = [files.read_if(path, max_pixels) for path in masks]
        measured = [files.read_if(path, max_pixels) for path in parts]
        keep, keep_file = files.read_if(self.keep, max_pixels)
        start, start_file = files.read_if(self.init, max_pixels)
        is_alpha = self.keep_mask == "alpha"
        return Given(
            inputs=inputs_of(
                photo_file,
                [file for _, file in styles],
                network=network,
                style_masks=[file for _, file in places],
                painting_masks=[file for _, file in measured],
                keep_mask="alpha" if is_alpha else keep_file,
                init=start_file,
            ),
            content=photo,
            styles=tuple(style for style, _ in styles),
            style_weights=weights,
            style_scales=scales,
            style_masks=tuple(mask for mask, _ in places),
            painting_masks=tuple(mask for mask, _ in measured),
            keep="alpha" if is_alpha else keep,
            init=start,
        )


def finish(
    result: Result,
    target: Output,
    report: Path | None,
    given: Given,
    *,
    recipe: bool,
    quiet: bool,
    checkpoint: Checkpoint | None = None,
) -> None:
    """Write what was asked for and say how it went; then nobody needs the checkpoint of a finished run."""
    interrupted = result.stop_reason == "cancelled"
    if interrupted and not result.history:
        say(NOTHING)
        raise typer.Exit(INTERRUPTED)
    if interrupted:
        target = target.quick(result.picture.rgb.shape[:2])
    inputs, quality = given.inputs, target.quality
    text = recipe_text(result, inputs, quality=quality, folder=target.path.parent) if recipe else None
    target.write(result.picture, text)
    if report is not None:
        if report.suffix.lower() in HTML:
            page = page_of_files(result, inputs, given.shown)
        else:
            contents = document(result.settings, inputs, quality=quality) | result.report()
            contents["files"]["output"] = str(target.path)
            page = json.dumps(contents, indent=2)
        with atomic_write(report) as temporary:
            # The bytes of a name that is no UTF-8 are spelled out.
            temporary.write_text(page + "\n", encoding="utf-8", errors="backslashreplace")
    if interrupted:
        further = ""
        if checkpoint is not None and checkpoint.saved:
            further = f"; --resume goes on from {checkpoint.path}"
        say(f"stopped: the best picture so far is in {target.name}{further}")
        raise typer.Exit(INTERRUPTED)
    if checkpoint is not None:
        checkpoint.discard()
    if not quiet:
        height, width = result.picture.rgb.shape[:2]
        provider = str(result.settings["provider"]).removesuffix("ExecutionProvider")
        say(
            f"{target.name}: {width}×{height}, "
            f"{result.evaluations} evaluations in {result.seconds:.1f} s on {provider}: "
            f"{STOP_REASONS[result.stop_reason]}"
        )


def show_plan(plan: Sequence[ScalePlan]) -> None:
    """Print what a run would do, on stdout."""
    typer.echo("scale        size  iterations  work              history   memory     time")
    for number, scale in enumerate(plan, 1):
        size = f"{scale.size[1]}×{scale.size[0]}"
        work = "whole" if scale.working.window_pixels is None else f"{scale.windows} {scale.working.way}"
        seconds = "" if scale.seconds is None else _duration(scale.seconds)
        typer.echo(
            f"{number:<5} {size:>11}  {scale.iterations:>10}  {work:<16}  {scale.working.history or '':>7}  "
            f"{format_bytes(scale.working.bytes):>7}  {seconds:>7}"
        )
    total = sum(scale.seconds or 0 for scale in plan)
    most = max(scale.working.bytes for scale in plan)
    typer.echo(f"about {_duration(total)} and at most {format_bytes(most)} of memory")


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
