"""The commands ``lbfgs-style reconstruct`` and ``lbfgs-style grid``, which write labelled sheets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import images, networks
from ..errors import OptionError, did_you_mean
from ..images import MAX_PIXELS, Picture
from ..outputs import inspection
from ..outputs.contact_sheet import Canvas, Legend
from ..outputs.input_files import title
from ..outputs.inspection import GRID, RECONSTRUCTION, STRENGTHS, STROKES, Panel
from ..pipeline.style_transfer import DEFAULT_NETWORK
from ..settings.options import Options
from . import files
from .parsing import MaxPixels, Network, Overwrite, Quiet, Typed, command_line, names, numbers, split
from .progress import show_series
from .signals import INTERRUPTED, cancelled_by_signals
from .streams import print_message

Output = Annotated[
    Path, typer.Option("--output", "-o", help="Sheet to write: png, jpg, webp, avif or tiff; '-' for stdout.")
]

_WHAT = {
    "content": (inspection.reconstruct_content, inspection.content_layers, "from one layer at a time"),
    "style": (inspection.reconstruct_style, inspection.style_layers, "each with the layers before it"),
}


@command_line("size", "iterations", "seed", "device", "threads", defaults=RECONSTRUCTION)
def reconstruct(
    typed: Typed,
    what: Annotated[str, typer.Argument(help="content or style.", metavar="WHAT")],
    image: Annotated[Path, typer.Argument(help="The image, or '-' for standard input.", metavar="IMAGE")],
    output: Output,
    layers: Annotated[
        str | None,
        typer.Option(
            help="Layers such as relu1_2,relu4_2: for content one by one, for style each with those "
            "before it.",
            show_default="one of each block, or the network's style layers",
        ),
    ] = None,
    columns: Annotated[int, typer.Option(min=1, help="Images in a row of the sheet.")] = 3,
    network: Network = DEFAULT_NETWORK,
    overwrite: Overwrite = True,
    max_pixels: MaxPixels = MAX_PIXELS,
    quiet: Quiet = False,
) -> None:
    """Reconstruct an image from noise: its content from single layers, or its style from ever more layers."""
    if what not in _WHAT:
        raise OptionError(f"reconstruct content or style, got {what!r}.{did_you_mean(what, _WHAT)}")
    options = replace(RECONSTRUCTION, **typed.values())
    target = sheet_target(output, image, network=network, overwrite=overwrite)
    loaded, picture = networks.load(network), files.read_picture(image, max_pixels)
    reconstruct_layers, default_layers, how = _WHAT[what]
    chosen = names(layers) or default_layers(loaded)
    with cancelled_by_signals() as cancel, show_series(quiet=quiet) as series:
        panels = reconstruct_layers(
            picture,
            layers=chosen,
            network=loaded,
            options=options,
            on_iterate=series,
            cancel=cancel,
            announce=series.announce,
        )
    legend = Legend(f"{what.title()} of {title(image)}, {how}", [how_made(loaded.name, panels)])
    sheet = inspection.reconstruction_sheet(picture, panels, legend, columns=columns) if panels else None
    finish_sheet(sheet, target, len(panels), len(chosen), quiet=quiet)


@command_line("size", "iterations", "device", "threads", defaults=GRID)
def grid(
    typed: Typed,
    content: Annotated[Path, typer.Argument(help="The content image.", metavar="CONTENT")],
    style: Annotated[
        Path, typer.Argument(help="The style image, or statistics of one (.npz).", metavar="STYLE")
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
    overwrite: Overwrite = True,
    max_pixels: MaxPixels = MAX_PIXELS,
    quiet: Quiet = False,
) -> None:
    """Paint one pair of images with every combination of layers and weights, on one labelled sheet.

    Without layers and weights, with every combination of three strengths and three sizes of the strokes.
    """
    options = replace(GRID, **typed.values())
    target = sheet_target(output, content, style, network=network, overwrite=overwrite)
    loaded = networks.load(network)
    axes = _Axes(
        content_layers=_sets(content_layers, comma_separates=True) or [loaded.content_layers],
        style_layers=_sets(style_layers, comma_separates=False) or [loaded.style_layers],
        content_weights=(options.content_weight,)
        if content_weights is None
        else numbers("--content-weights", content_weights, "0.01,0.1,1"),
    )
    content_picture = files.read_picture(content, max_pixels)
    style_image = files.read_style(style, max_pixels).image
    is_plain = content_layers is style_layers is content_weights is None
    with cancelled_by_signals() as cancel, show_series(quiet=quiet) as series:
        common: dict[str, Any] = {
            "network": loaded,
            "options": options,
            "on_iterate": series,
            "cancel": cancel,
            "announce": series.announce,
        }
        if is_plain:
            panels = inspection.paint_strengths(content_picture, style_image, **common)
        else:
            panels = inspection.grid(content_picture, style_image, **asdict(axes), **common)
    lines = ["across: size of the strokes; down: strength"] if is_plain else axes.lines(options)
    legend = Legend(
        f"{title(content)} in the style of {title(style)}",
        [*lines, how_made(loaded.name, panels)],
        [
            (picture.rgb, name)
            for picture, name in ((content_picture, "content"), (style_image, "style"))
            if isinstance(picture, Picture)
        ],
    )
    sheet = None
    if panels and is_plain:
        sheet = inspection.strengths_sheet(panels, legend)
    elif panels:
        sheet = inspection.grid_sheet(panels, legend, **asdict(axes))
    count = len(STRENGTHS) * len(STROKES) if is_plain else axes.count
    finish_sheet(sheet, target, len(panels), count, quiet=quiet)


@dataclass(frozen=True, slots=True)
class _Axes:
    """The alternatives of a grid.

    Attributes
    ----------
    content_layers, style_layers : sequence of tuple of str
        Sets of layers.
    content_weights : sequence of float
        Weights of the content loss.
    """

    content_layers: Sequence[tuple[str, ...]]
    style_layers: Sequence[tuple[str, ...]]
    content_weights: Sequence[float]

    @property
    def count(self) -> int:
        """Number of combinations."""
        return len(self.content_layers) * len(self.style_layers) * len(self.content_weights)

    def lines(self, options: Options) -> list[str]:
        """Return two lines for the legend: what varies across and down, and what all images share."""
        contents, styles, weights = self.content_layers, self.style_layers, self.content_weights
        across = "style layers" if len(styles) > 1 else "content weight" if len(weights) > 1 else ""
        down = [
            *(["content layer"] if len(contents) > 1 else []),
            *(["content weight"] if len(weights) > 1 and len(styles) > 1 else []),
        ]
        axes = [
            *([f"across: {across}"] if across else []),
            *([f"down: {' and '.join(down)}"] if down else []),
        ]
        shared = [
            *(f"content layer {', '.join(layers)}" for layers in contents if len(contents) == 1),
            *(f"content weight {weight:g}" for weight in weights if len(weights) == 1),
            *(f"style layers {', '.join(layers)}" for layers in styles if len(styles) == 1),
            f"style weight {options.style_weight:g}",
            f"variation {options.tv_weight:g}",
        ]
        return ["; ".join(axes), "the same for all: " + ", ".join(shared)]


def _sets(text: str | None, *, comma_separates: bool) -> list[tuple[str, ...]]:
    """Return sets of layers between bars; with `comma_separates` and without a bar each layer is a set."""
    if text is None:
        return []
    sets = split(text, "|")
    if comma_separates and len(sets) == 1:
        return [(layer,) for layer in names(text) or ()]
    return [names(part) or () for part in sets]


def sheet_target(output: Path, *pictures: Path, network: str, overwrite: bool) -> files.Output:
    """Return the output of a sheet, once it is sure that it can be written."""
    files.check_inputs(pictures)
    target = files.output(output)
    inputs = (*pictures, networks.find(network))
    files.check_outputs(target, inputs=inputs, overwrite=overwrite)
    return target


def how_made(network: str, panels: Sequence[Panel]) -> str:
    """Return a line with the network, size and iterations, which all images share."""
    if not panels:
        return ""
    result = panels[0].result
    height, width = result.picture.rgb.shape[:2]
    each = "+".join(str(scale.iterations) for scale in result.scales)
    start = result.settings["options"]["init"]
    return f"network {network}, {width}x{height} pixels, iterations {each}, from {start}"


def finish_sheet(sheet: Canvas | None, target: files.Output, done: int, wanted: int, *, quiet: bool) -> None:
    """Write a sheet with the first `done` of `wanted` images; exit without a file if `done` is 0."""
    if sheet is None:
        print_message("stopped before the first image was done: nothing is written")
        raise typer.Exit(INTERRUPTED)
    target.write(images.from_array(sheet))
    if done < wanted:
        print_message(f"stopped: the first {done} of {wanted} images are in {target.name}")
        raise typer.Exit(INTERRUPTED)
    if not quiet:
        print_message(f"{target.name}: {done} images")
