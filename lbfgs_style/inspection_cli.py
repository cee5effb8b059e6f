"""The commands ``lbfgs-style reconstruct`` and ``lbfgs-style grid``: what settings do, on labelled sheets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from . import cli_files, images, inspection, networks
from .api import DEFAULT_NETWORK
from .cli_values import MaxPixels, counts, names, say, whole
from .errors import OptionError
from .images import MAX_PIXELS
from .inspection import GRID, RECONSTRUCTION, Panel
from .interrupts import INTERRUPTED, cancelled_by_signals
from .options import Options
from .progress import show_progress
from .sheets import Canvas, Legend

app = typer.Typer(help="Show what the layers of a network keep of a picture.", no_args_is_help=True)

Image = Annotated[Path, typer.Argument(help="The picture.", metavar="IMAGE")]
Output = Annotated[
    Path, typer.Option("--output", "-o", help="Sheet to write: png, jpg, webp, avif or tiff; '-' for stdout.")
]
Network = Annotated[str, typer.Option(help="A name from `networks list`, or an .onnx file.")]
Size = Annotated[str, typer.Option(help="Longer side of each picture while it is painted, or 'full'.")]
Iterations = Annotated[str | None, typer.Option(help="As for transfer.")]
Seed = Annotated[int, typer.Option(help="Seed of the noise.")]
Columns = Annotated[int, typer.Option(min=1, help="Pictures in a row of the sheet.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Threads = Annotated[int, typer.Option(help="CPU threads; 0 takes one for each physical core.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]


@app.command("content")
def reconstruct_content(
    image: Image,
    output: Output,
    layers: Annotated[
        str | None, typer.Option(help="Layers such as relu1_2,relu4_2; one of each block without it.")
    ] = None,
    network: Network = DEFAULT_NETWORK,
    size: Size = str(RECONSTRUCTION.size),
    iterations: Iterations = None,
    seed: Seed = RECONSTRUCTION.seed,
    columns: Columns = 3,
    device: Device = RECONSTRUCTION.device,
    threads: Threads = RECONSTRUCTION.threads,
    max_pixels: MaxPixels = MAX_PIXELS,
    quiet: Quiet = False,
) -> None:
    """Make a picture again from noise and the features of one layer at a time."""
    options = _options(RECONSTRUCTION, size, iterations, seed, device, threads)
    _reconstruct("Content", image, output, names(layers), network, options, columns, max_pixels, quiet=quiet)


@app.command("style")
def reconstruct_style(
    image: Image,
    output: Output,
    layers: Annotated[
        str | None,
        typer.Option(help="Layers such as relu1_1,relu2_1, each added to those before; the network's own."),
    ] = None,
    network: Network = DEFAULT_NETWORK,
    size: Size = str(RECONSTRUCTION.size),
    iterations: Iterations = None,
    seed: Seed = RECONSTRUCTION.seed,
    columns: Columns = 3,
    device: Device = RECONSTRUCTION.device,
    threads: Threads = RECONSTRUCTION.threads,
    max_pixels: MaxPixels = MAX_PIXELS,
    quiet: Quiet = False,
) -> None:
    """Paint noise in a picture's style: with the first layer, the first two, the first three, …."""
    options = _options(RECONSTRUCTION, size, iterations, seed, device, threads)
    _reconstruct("Style", image, output, names(layers), network, options, columns, max_pixels, quiet=quiet)


def grid(
    content: Annotated[Path, typer.Argument(help="The photo.", metavar="CONTENT")],
    style: Annotated[Path, typer.Argument(help="The painting.", metavar="STYLE")],
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
    max_pixels: MaxPixels = MAX_PIXELS,
    quiet: Quiet = False,
) -> None:
    """Paint one pair with every combination of layers and weights, on one labelled sheet."""
    options = _options(GRID, size, iterations, GRID.seed, device, threads)
    target = _target(output, content, style, network=network)
    loaded = networks.load(network)
    contents = _sets(content_layers, comma_separates=True) or [loaded.content_layers]
    styles = _sets(style_layers, comma_separates=False) or [loaded.style_layers]
    weights = _weights(content_weights) or [options.content_weight]
    photo, painting = (cli_files.read_picture(path, max_pixels) for path in (content, style))
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
        f"{content.stem} in the style of {style.stem}",
        ["; ".join(axes), "the same for all: " + ", ".join(fixed), _how(loaded.name, panels)],
        [(photo.rgb, "content"), (painting.rgb, "style")],
    )
    sheet = inspection.grid_sheet(
        panels, legend, content_layers=contents, style_layers=styles, content_weights=weights
    ) if panels else None  # fmt: skip
    _finish(sheet, target, len(panels), len(contents) * len(styles) * len(weights), quiet=quiet)


def _reconstruct(
    what: str,
    image: Path,
    output: Path,
    layers: tuple[str, ...] | None,
    network: str,
    options: Options,
    columns: int,
    max_pixels: int,
    *,
    quiet: bool,
) -> None:
    target = _target(output, image, network=network)
    loaded, picture = networks.load(network), cli_files.read_picture(image, max_pixels)
    reconstruct = inspection.reconstruct_content if what == "Content" else inspection.reconstruct_style
    chosen = layers or (inspection.content_layers(loaded) if what == "Content" else loaded.style_layers)
    with cancelled_by_signals() as cancel, show_progress(quiet=quiet, verbose=False) as on_iterate:
        panels = reconstruct(
            picture,
            layers=chosen,
            network=loaded,
            options=options,
            on_iterate=on_iterate,
            cancel=cancel,
            announce=_announce(quiet),
        )
    told = "from one layer at a time" if what == "Content" else "each with the layers before it"
    legend = Legend(f"{what} of {image.stem}, {told}", [_how(loaded.name, panels)])
    sheet = inspection.reconstruction_sheet(picture, panels, legend, columns=columns) if panels else None
    _finish(sheet, target, len(panels), len(chosen), quiet=quiet)


def _options(
    defaults: Options, size: str, iterations: str | None, seed: int, device: str, threads: int
) -> Options:
    return replace(
        defaults,
        size="full" if size == "full" else whole("--size", size, "a whole number or 'full'"),
        iterations=counts("--iterations", iterations),
        seed=seed,
        device=device,  # type: ignore[arg-type]  # checked by Options
        threads=threads,
    )


def _sets(text: str | None, *, comma_separates: bool) -> list[tuple[str, ...]]:
    """Read alternatives: sets of layers between bars; without a bar each layer may be one of its own."""
    if text is None:
        return []
    if comma_separates and "|" not in text:
        return [(layer,) for layer in names(text) or ()]
    return [names(part) or () for part in text.split("|")]


def _weights(text: str | None) -> list[float]:
    if text is None:
        return []
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise OptionError(f"--content-weights must be numbers such as 0.01,0.1,1, got {text!r}.") from None


def _target(output: Path, *pictures: Path, network: str) -> cli_files.Output:
    """Check where a sheet goes."""
    cli_files.check_inputs(pictures)
    target = cli_files.output(output)
    cli_files.check_outputs(target, inputs=(*pictures, networks.find(network)))
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


def _finish(sheet: Canvas | None, target: cli_files.Output, done: int, wanted: int, *, quiet: bool) -> None:
    if sheet is None:
        say("stopped before the first picture was done: nothing is written")
        raise typer.Exit(INTERRUPTED)
    target.write(images.from_array(sheet))
    if done < wanted:
        say(f"stopped: the first {done} of {wanted} pictures are in {target.name}")
        raise typer.Exit(INTERRUPTED)
    if not quiet:
        say(f"{target.name}: {done} pictures")
