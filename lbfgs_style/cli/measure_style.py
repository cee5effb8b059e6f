"""The command ``lbfgs-style style``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import networks
from ..images import MAX_PIXELS
from ..pipeline import style_measuring, style_statistics
from ..pipeline.style_transfer import DEFAULT_NETWORK, StyleTransfer
from ..settings.options import Options
from . import files
from .parsing import Device, MaxPixels, Overwrite, Quiet, Threads, names, wholes
from .progress import show_log
from .streams import say

_DEFAULTS = Options()


def style(
    painting: Annotated[Path, typer.Argument(help="The painting.", metavar="PAINTING")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write, ending in .npz, as in starry.style.npz.")
    ],
    network: Annotated[str, typer.Option(help="The network of the runs to come.")] = DEFAULT_NETWORK,
    painting_mask: Annotated[
        Path | None,
        typer.Option(help="Picture that is white where the painting is measured.", metavar="FILE"),
    ] = None,
    style_layers: Annotated[
        str | None, typer.Option(help="Layers such as relu1_1,relu3_1; the network's own choice without it.")
    ] = None,
    sizes: Annotated[
        str | None,
        typer.Option(
            help="Longer sides in pixels to measure at, as in 128,256,512; without it steps of √2 up to "
            f"{style_measuring.LARGEST} or the painting's own."
        ),
    ] = None,
    pooling: Annotated[
        str | None, typer.Option(help="max, average or l2, as the runs to come have it.")
    ] = None,
    device: Device = _DEFAULTS.device,
    threads: Threads = _DEFAULTS.threads,
    overwrite: Overwrite = True,
    max_pixels: MaxPixels = MAX_PIXELS,
    quiet: Quiet = False,
) -> None:
    """Measure a painting's style once; the file then stands for the painting in `transfer`."""
    style_statistics.check_output(output)
    masks = [] if painting_mask is None else [painting_mask]
    files.check_inputs([painting, *masks])
    files.check_results(output, inputs=(painting, *masks, networks.find(network)), overwrite=overwrite)
    options = Options(
        style_layers=names(style_layers),
        pooling=pooling,  # type: ignore[arg-type]  # checked by Options
        device=device,  # type: ignore[arg-type]  # checked by Options
        threads=threads,
    )
    wanted = None if sizes is None else wholes("--sizes", sizes, "whole numbers as in 128,256,512")
    job = StyleTransfer(network, options=options, keep_sessions=False)
    with show_log(quiet=quiet, verbose=False):
        picture = files.read_picture(painting, max_pixels)
        mask, _ = files.read_if(painting_mask, max_pixels)
        measured = job.measure_style(picture, style_mask=mask, sizes=wanted, name=str(output))
    measured.save(output)
    if not quiet:
        sides = ", ".join(map(str, sorted(measured.sides)))
        say(f"{output}: {job.network.name}, {len(measured.layers)} layers at {sides} px")
