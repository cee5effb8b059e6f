"""The command ``lbfgs-style rerun``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import images
from ..images import MAX_PIXELS, Picture
from ..outputs.rerun import prepare
from ..settings.options import Options
from ..version import __version__
from . import files
from .parsing import MaxPixels, Overwrite, Quiet
from .progress import show_log, show_progress
from .run import finish
from .signals import cancelled_by_signals
from .streams import heard, say

_DEFAULTS = Options()


def rerun(
    picture: Annotated[
        Path, typer.Argument(help="PNG or JPEG that `transfer` wrote, or its JSON report.", metavar="PICTURE")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Picture to write, '-' for standard output; PICTURE-rerun without it."
        ),
    ] = None,
    content: Annotated[Path | None, typer.Option(help="Where the photo lies now.")] = None,
    style: Annotated[
        list[Path] | None, typer.Option(help="Where the painting lies now; once for each, in order.")
    ] = None,
    style_mask: Annotated[
        list[Path] | None,
        typer.Option(help="Where the mask of a painting lies now; once for each that has one, in order."),
    ] = None,
    painting_mask: Annotated[
        list[Path] | None,
        typer.Option(
            help="Where the mask of a painting itself lies now; once for each that has one, in order."
        ),
    ] = None,
    keep_mask: Annotated[
        Path | None, typer.Option(help="Where the mask of what is left alone lies now.")
    ] = None,
    init: Annotated[Path | None, typer.Option(help="Where the picture it started from lies now.")] = None,
    network: Annotated[str | None, typer.Option(help="Where the network lies now.")] = None,
    report: Annotated[Path | None, typer.Option(help="As for transfer.")] = None,
    overwrite: Overwrite = True,
    max_pixels: MaxPixels = MAX_PIXELS,
    quiet: Quiet = False,
) -> None:
    """Make a picture again from the recipe in its file, with the same inputs, network and settings."""
    with show_log(quiet=quiet, verbose=False):
        with heard(f"an input of {picture}"):
            again = prepare(
                picture,
                content=content,
                styles=style or (),
                style_masks=style_mask or (),
                painting_masks=painting_mask or (),
                keep_mask=keep_mask,
                init=init,
                network=network,
                max_pixels=max_pixels,
            )
        suffix = picture.suffix if picture.suffix != ".json" else ".png"
        path = output or picture.with_name(f"{picture.stem}-rerun{suffix}")
        target = files.output(path, quality=again.recipe.quality)
        sources = [Path(source.path) for _, source in again.given.inputs.sources]
        inputs = (picture, *sources, again.network_file)
        files.check_outputs(target, report, inputs=inputs, overwrite=overwrite)
        ours = f"lbfgs-style {__version__}"
        if again.recipe.program != ours and not quiet:
            say(f"made by {again.recipe.program}, and this is {ours}: the picture may differ")
        with cancelled_by_signals() as cancel, show_progress(quiet=quiet, verbose=False) as on_iterate:
            result = again.run(on_iterate=on_iterate, cancel=cancel)
        finish(result, target, report, again.given, recipe=True, quiet=quiet)
        if not quiet and target.path.suffix == picture.suffix:
            before, now = (images.read(path, max_pixels=max_pixels) for path in (picture, target.path))
            say(_comparison(before, now, picture))


def _comparison(before: Picture, now: Picture, path: Path) -> str:
    if before.rgb.shape != now.rgb.shape:
        return f"differs from {path} in size"
    difference = float(abs(before.rgb - now.rgb).mean())
    return (
        f"the same as {path}, pixel for pixel"
        if difference == 0
        else (f"differs from {path} by {255 * difference:.3g} of 255 levels on average")
    )
