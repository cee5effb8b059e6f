"""The commands ``lbfgs-style reconstruct`` and ``lbfgs-style grid``: what settings do, on labelled sheets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from .. import images, networks
from ..errors import OptionError, did_you_mean
from ..images import MAX_PIXELS, Picture
from ..outputs import inspection
from ..outputs.contact_sheet import Canvas, Legend
from ..outputs.input_files import title
from ..outputs.inspection import GRID, RECONSTRUCTION, Panel
from ..pipeline.style_transfer import DEFAULT_NETWORK
from ..settings.options import Options
from . import files
from .parsing import (
    Device,
    MaxPixels,
    Network,
    Overwrite,
    Quiet,
    Threads,
    counts,
    longer_side,
    names,
    numbers,
    split,
)
from .progress import show_progress
from .signals import INTERRUPTED, cancelled_by_signals
from .streams import say

Output = Annotated[
    Path, typer.Option("--output", "-o", help="Sheet to write: png, jpg, webp, avif or tiff; '-' for stdout.")
]
Size = Annotated[str, typer.Option(help="Longer side of each picture while it is painted, or 'full'.")]
Iterations = Annotated[str | None, typer.Option(help="As for transfer.")]

_WHAT = {
    "content": (inspection.reconstruct_content, inspection.content_layers, "from one layer at a time"),
    "style": (inspection.reconstruct_style, inspection.style_layers, "each with the layers before it"),
}


def reconstruct(
    what: Annotated[str, typer.Argument(help="content or style.", metavar="WHAT")],
    image: Annotated[Path, typer.Argument(help="The picture, or '-' for standard input.", metavar="IMAGE")],
    output: Output,
    layers: Annotated[
        str | None,
        typer.Option(
            help="Layers such as relu1_2,relu4_2: for content one by one, for style each with those before. "
            "Without it one of each block, or the network's style layers."
        ),
    ] = None,
    network: Network = DEFAULT_NETWORK,
    size: Size = str(RECONSTRUCTION.size),
    iterations: Iterations = None,
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = RECONSTRUCTION.seed,
    columns: Annotated[int, typer.Option(min=1, help="Pictures in a row of the sheet.")] = 3,
    device: Device = RECONSTRUCTION.device,
    threads: Threads = RECONSTRUCTION.threads,
    overwrite: Overwrite = True,
    max_pixels: MaxPixels = MAX_PIXELS,
    quiet: Quiet = False,
) -> None:
    """Make a picture again from noise: its content from single layers, or its style from more and more."""
    if what not in _WHAT:
        raise OptionError(f"reconstruct content or style, got {what!r}.{did_you_mean(what, _WHAT)}")
    options = _options(RECONSTRUCTION, size, iterations, seed, device, threads)
    target = _target(output, image, network=network, overwrite=overwrite)
    loaded, picture = networks.load(network), files.read_picture(image, max_pixels)
    remake, choose_layers, told = _WHAT[what]
    chosen = names(layers) or choose_layers(loaded)
    with cancelled_by_signals() as cancel, show_progress(quiet=quiet, verbose=False) as on_iterate:
        panels = remake(
            picture,
            layers=chosen,
            network=loaded,
            options=options,
            on_iterate=on_iterate,
            cancel=cancel,
            announce=_announce(quiet),
        )
    legend = Legend(f"{what.title()} of {title(image)}, {told}", [_how(loaded.name, panels)])
    sheet = inspection.reconstruction_sheet(picture, panels, legend, columns=columns) if panels else None
    _finish(sheet, target, len(panels), len(chosen), quiet=quiet)


def grid(
    content: Annotated[Path, typer.Argument(help="The photo.", metavar="CONTENT")],
    style: Annotated[
        Path, typer.Argument(help="The painting, or statistics of one (.npz).", metavar="STYLE")
    ],
    output: Output,
    content_layers: Annotated[
        str | None,
        typer.Option(
            help="One row for each, as in relu2_1,relu4_1; sets of layers as in relu2_1,relu3_1|relu4_1."
        ),
    ] = None,
    style_layers: Annotated[
        str | None,
        typer.Option(help="One column for each set, as in relu1_1|relu1_1,relu2_1|relu1_1,relu3_1."),
    ] = None,
    content_weights: Annotated[
        str | None, typer.Option(help="A row (or column) for each, as in 0.01,0.1,1.")
    ] = None,
    network: Network = DEFAULT_NETWORK,
    size: Size = str(GRID.size),
    iterations: Iterations = None,
    device: Device = GRID.device,
    threads: Threads = GRID.threads,
    overwrite: Overwrite = True,
    max_pixels: MaxPixels = MAX_PIXELS,
    quiet: Quiet = False,
) -> None:
    """Paint one pair with every combination of layers and weights, on one labelled sheet."""
    options = _options(GRID, size, iterations, GRID.seed, device, threads)
    target = _target(output, content, style, network=network, overwrite=overwrite)
    loaded = networks.load(network)
    contents = _sets(content_layers, comma_separates=True) or [loaded.content_layers]
    styles = _sets(style_layers, comma_separates=False) or [loaded.style_layers]
    given = None if content_weights is None else numbers("--content-weights", content_weights, "0.01,0.1,1")
    weights = given or (options.content_weight,)
    photo = files.read_picture(content, max_pixels)
    painting, _ = files.read_style(style, max_pixels)
    with cancelled_by_signals() as cancel, show_progress(quiet=quiet, verbose=False) as on_iterate:
        panels = inspection.grid(
            photo,
            painting,
            content_layers=contents,
            style_layers=styles,
            content_weights=weights,
            network=loaded,
            options=options,
            on_iterate=on_iterate,
            cancel=cancel,
            announce=_announce(quiet),
        )
    fixed = [
        *(f"content layer {', '.join(layers)}" for layers in contents if len(contents) == 1),
        *(f"content weight {weight:g}" for weight in weights if len(weights) == 1),
        *(f"style layers {', '.join(layers)}" for layers in styles if len(styles) == 1),
        f"style weight {options.style_weight:g}",
        f"variation {options.tv_weight:g}",
    ]
    across = "style layers" if len(styles) > 1 else "content weight" if len(weights) > 1 else ""
    down = [
        *(["content layer"] if len(contents) > 1 else []),
        *(["content weight"] if len(weights) > 1 and len(styles) > 1 else []),
    ]
    axes = [f"across: {across}"] if across else []
    axes += [f"down: {' and '.join(down)}"] if down else []
    legend = Legend(
        f"{title(content)} in the style of {title(style)}",
        ["; ".join(axes), "the same for all: " + ", ".join(fixed), _how(loaded.name, panels)],
        [(p.rgb, name) for p, name in ((photo, "content"), (painting, "style")) if isinstance(p, Picture)],
    )
    sheet = inspection.grid_sheet(
        panels, legend, content_layers=contents, style_layers=styles, content_weights=weights
    ) if panels else None  # fmt: skip
    _finish(sheet, target, len(panels), len(contents) * len(styles) * len(weights), quiet=quiet)


def _options(
    defaults: Options, size: str, iterations: str | None, seed: int, device: str, threads: int
) -> Options:
    return replace(
        defaults,
        size=longer_side("--size", size),
        iterations=counts("--iterations", iterations),
        seed=seed,
        device=device,  # type: ignore[arg-type]  # checked by Options
        threads=threads,
    )


def _sets(text: str | None, *, comma_separates: bool) -> list[tuple[str, ...]]:
    """Read alternatives: sets of layers between bars; without a bar each layer may be one of its own."""
    if text is None:
        return []
    sets = split(text, "|")
    if comma_separates and len(sets) == 1:
        return [(layer,) for layer in names(text) or ()]
    return [names(part) or () for part in sets]


def _target(output: Path, *pictures: Path, network: str, overwrite: bool) -> files.Output:
    """Check where a sheet goes."""
    files.check_inputs(pictures)
    target = files.output(output)
    inputs = (*pictures, networks.find(network))
    files.check_outputs(target, inputs=inputs, overwrite=overwrite)
    return target


def _announce(quiet: bool) -> Callable[[int, int, str], None]:
    def announce(number: int, count: int, label: str) -> None:
        if not quiet:
            say(f"{number} of {count}: {label}")

    return announce


def _how(network: str, panels: Sequence[Panel]) -> str:
    """Say what holds for all pictures, as the first one was made."""
    if not panels:
        return ""
    result = panels[0].result
    height, width = result.picture.rgb.shape[:2]
    each = "+".join(str(scale.iterations) for scale in result.scales)
    start = result.settings["options"]["init"]
    return f"network {network}, {width}x{height} pixels, iterations {each}, from {start}"


def _finish(sheet: Canvas | None, target: files.Output, done: int, wanted: int, *, quiet: bool) -> None:
    if sheet is None:
        say("stopped before the first picture was done: nothing is written")
        raise typer.Exit(INTERRUPTED)
    target.write(images.from_array(sheet))
    if done < wanted:
        say(f"stopped: the first {done} of {wanted} pictures are in {target.name}")
        raise typer.Exit(INTERRUPTED)
    if not quiet:
        say(f"{target.name}: {done} pictures")
