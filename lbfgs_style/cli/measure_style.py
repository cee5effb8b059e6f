"""The command ``lbfgs-style style``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import networks
from ..images import MAX_PIXELS
from ..pipeline import style_measuring, style_statistics
from ..pipeline.style_transfer import DEFAULT_NETWORK, StyleTransfer
from ..settings.limits import read_ints
from ..settings.options import Options
from . import files
from .parsing import MaxPixels, Overwrite, Quiet, Typed, command_line, names
from .progress import show_log
from .streams import print_message


@command_line("pooling", "smooth_features", "device", "threads")
def style(
    typed: Typed,
    image: Annotated[Path, typer.Argument(help="The style image.", metavar="STYLE")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write, ending in .npz, as in starry.style.npz.")
    ],
    network: Annotated[str, typer.Option(help="The network of the runs to come.")] = DEFAULT_NETWORK,
    painting_mask: Annotated[
        Path | None,
        typer.Option(
            help="Mask that is white where the style image is measured.",
            show_default="all of it",
            metavar="FILE",
        ),
    ] = None,
    style_layers: Annotated[
        str | None, typer.Option(help="Layers such as relu1_1,relu3_1.", show_default="the network's own")
    ] = None,
    sizes: Annotated[
        str | None,
        typer.Option(
            help="Longer sides in pixels to measure at, as in 128,256,512.",
            show_default=f"steps of √2 up to {style_measuring.LARGEST} or the size of the image",
        ),
    ] = None,
    overwrite: Overwrite = True,
    max_pixels: MaxPixels = MAX_PIXELS,
    quiet: Quiet = False,
) -> None:
    """Measure the style of an image once; the file then takes the place of the image in `transfer`."""
    style_statistics.check_output(output)
    masks = [] if painting_mask is None else [painting_mask]
    files.check_inputs([image, *masks])
    files.check_results(output, inputs=(image, *masks, networks.find(network)), overwrite=overwrite)
    options = Options(style_layers=names(style_layers), **typed.values())
    sides = None if sizes is None else read_ints("--sizes", sizes, "whole numbers as in 128,256,512")
    job = StyleTransfer(network, options=options, keep_sessions=False)
    with show_log(quiet=quiet, verbose=False):
        picture = files.read_picture(image, max_pixels)
        mask = None if painting_mask is None else files.read_picture(painting_mask, max_pixels)
        statistics = job.measure_style(picture, style_mask=mask, sizes=sides, name=str(output))
    statistics.save(output)
    if not quiet:
        measured = ", ".join(map(str, sorted(statistics.sides)))
        print_message(f"{output}: {job.network.name}, {len(statistics.layers)} layers at {measured} px")
