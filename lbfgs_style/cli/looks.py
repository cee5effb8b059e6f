"""The command ``lbfgs-style looks``: the list of looks, or one pair painted in all of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from .. import networks
from ..errors import OptionError
from ..images import MAX_PIXELS
from ..outputs import inspection
from ..outputs.contact_sheet import Legend
from ..outputs.input_files import title
from ..outputs.inspection import GRID
from ..pipeline.style_transfer import DEFAULT_NETWORK
from ..settings.looks import LOOKS
from . import files
from .inspection import finish_sheet, how_made, sheet_target
from .parsing import MaxPixels, Network, Overwrite, Quiet, Typed, command_line
from .progress import show_series
from .signals import cancelled_by_signals
from .streams import show_list


@command_line("size", "iterations", "fast", "device", "threads", defaults=GRID)
def looks(
    typed: Typed,
    content: Annotated[
        Path | None,
        typer.Argument(help="The content image; without it the looks are listed.", metavar="CONTENT"),
    ] = None,
    style: Annotated[
        Path | None, typer.Argument(help="The style image, or statistics of one (.npz).", metavar="STYLE")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Sheet to write: png, jpg, webp, avif or tiff; '-' for stdout."),
    ] = None,
    columns: Annotated[int, typer.Option(min=1, help="Images in a row of the sheet.")] = 4,
    network: Network = DEFAULT_NETWORK,
    overwrite: Overwrite = True,
    max_pixels: MaxPixels = MAX_PIXELS,
    quiet: Quiet = False,
) -> None:
    """List the looks of `transfer --look`, or paint one pair of images in all of them on one sheet."""
    if content is None:
        show_list(("look", "what it does"), [(row.name, row.line) for row in LOOKS])
        return
    if style is None or output is None:
        raise OptionError("A sheet of looks needs a content image, a style image and --output.")
    options = replace(GRID, **typed.values())
    target = sheet_target(output, content, style, network=network, overwrite=overwrite)
    loaded = networks.load(network)
    picture, style_image = files.read_picture(content, max_pixels), files.read_style(style, max_pixels).image
    with cancelled_by_signals() as cancel, show_series(quiet=quiet) as series:
        panels = inspection.paint_looks(
            picture,
            style_image,
            network=loaded,
            options=options,
            on_iterate=series,
            cancel=cancel,
            announce=series.announce,
        )
    legend = Legend(
        f"{title(content)} in the style of {title(style)}, in every look", [how_made(loaded.name, panels)]
    )
    sheet = inspection.reconstruction_sheet(picture, panels, legend, columns=columns) if panels else None
    wanted = len(panels) if not cancel.is_set() else len(LOOKS)
    finish_sheet(sheet, target, len(panels), wanted, quiet=quiet)
