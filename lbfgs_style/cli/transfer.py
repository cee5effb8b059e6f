"""The command ``lbfgs-style transfer``."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from .. import networks
from ..errors import OptionError, did_you_mean
from ..images import MAX_PIXELS
from ..outputs.recording import check_recording, recorded
from ..pipeline.plan.scales import result_size
from ..pipeline.results import Iterate
from ..pipeline.style_transfer import DEFAULT_NETWORK, StyleTransfer
from ..settings.options import Options
from ..settings.options_file import WEIGHTS, of_file
from ..settings.presets import Init
from ..system.files import not_a_path
from . import files as cli_files
from .checkpoint import checkpoint_of
from .parsing import (
    Device,
    MaxPixels,
    Network,
    Overwrite,
    Quiet,
    Threads,
    check_use,
    chosen,
    counts,
    layers,
    longer_side,
    scales_of,
    size_in_bytes,
)
from .presets import warn_of_units
from .progress import show_log, show_progress
from .run import Files, finish, show_plan
from .signals import cancelled_by_signals

_DEFAULTS = Options()

log = logging.getLogger(__name__)


def transfer(
    context: typer.Context,
    content: Annotated[Path, typer.Argument(help="The photo, or '-' for standard input.", metavar="CONTENT")],
    styles: Annotated[
        list[Path],
        typer.Argument(help="One or more paintings, or statistics of them (.npz).", metavar="STYLE"),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="Picture to write: png, jpg, webp, avif or tiff by its extension; '-' for standard output.",
        ),
    ],
    network: Network = DEFAULT_NETWORK,
    preset: Annotated[
        str,
        typer.Option(
            help="Losses, weights, layers, start and optimizer of another program, as `lbfgs-style presets` "
            "lists them; what is given beside it wins."
        ),
    ] = _DEFAULTS.loss,
    size: Annotated[
        str, typer.Option(help="Longer side of the result in pixels, or 'full' for the photo's own size.")
    ] = str(_DEFAULTS.size),
    iterations: Annotated[
        str | None,
        typer.Option(help="Iterations at each scale: one number, or one for each scale as in 200,100,50."),
    ] = None,
    content_weight: Annotated[
        float, typer.Option(help="More keeps more of the photo.")
    ] = _DEFAULTS.content_weight,
    style_weight: Annotated[
        float, typer.Option(help="More takes more of the painting.")
    ] = _DEFAULTS.style_weight,
    strength: Annotated[
        float | None,
        typer.Option(
            help="In place of both weights: 0 leaves the photo, 0.5 has the weights of the preset or the "
            "defaults, and 1 takes the style alone."
        ),
    ] = _DEFAULTS.strength,
    tv_weight: Annotated[float, typer.Option(help="More makes it smoother.")] = _DEFAULTS.tv_weight,
    tv_power: Annotated[
        float, typer.Option(help="Exponent of the total variation: 1 keeps edges sharp, 2 makes them soft.")
    ] = _DEFAULTS.tv_power,
    content_layers: Annotated[
        str | None, typer.Option(help="Layers such as relu4_1; the network's own choice without it.")
    ] = None,
    style_layers: Annotated[
        str | None,
        typer.Option(
            help="Layers, with a weight or without, such as relu1_1:2,relu3_1; the network's own choice "
            "without it. A colon that belongs to a name may be written \\:, a comma \\,."
        ),
    ] = None,
    style_statistic: Annotated[
        str, typer.Option(help="What the style is measured by: gram, mean-cov or wasserstein.")
    ] = _DEFAULTS.style_statistic,
    pooling: Annotated[
        str | None, typer.Option(help="max, average or l2 in place of the network's own pooling.")
    ] = None,
    style_blend: Annotated[
        str | None, typer.Option(help="Share of each painting, as in 2,1; equal without it.")
    ] = None,
    style_scale: Annotated[
        str,
        typer.Option(help="Size of the strokes: one number for all paintings, or one for each, as in 0.5,1."),
    ] = "1",
    style_mask: Annotated[
        list[str] | None,
        typer.Option(
            help="Picture that is white where a painting goes; once for each painting, in their order. "
            "'rest' for one that goes where no other does.",
            metavar="FILE",
        ),
    ] = None,
    painting_mask: Annotated[
        list[str] | None,
        typer.Option(
            help="Picture that is white where the style is taken from a painting; once for each painting, in "
            "their order. 'all' for a whole painting. Transparent parts are left out anyway.",
            metavar="FILE",
        ),
    ] = None,
    keep_mask: Annotated[
        str | None,
        typer.Option(
            help="Picture that is white where the photo is left alone; or 'alpha': where it is transparent.",
            metavar="FILE",
        ),
    ] = None,
    scales: Annotated[
        str,
        typer.Option(
            help="'auto', 'single' (the full size alone), or the longer sides to go through, as in 256,512."
        ),
    ] = str(_DEFAULTS.scales),
    init: Annotated[
        str,
        typer.Option(
            help="Where to start: content, noise, style, or a picture file such as an earlier result; a "
            "file is stretched to the photo's shape, and without --scales painted on at the full size alone."
        ),
    ] = _DEFAULTS.init,
    init_noise: Annotated[
        float, typer.Option(help="Share of noise, 0 to 1, to blend the start with.")
    ] = _DEFAULTS.init_noise,
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = _DEFAULTS.seed,
    optimizer: Annotated[
        str, typer.Option(help="lbfgs, adam or sgd; the last two need far more iterations.")
    ] = _DEFAULTS.optimizer,
    learning_rate: Annotated[
        float | None, typer.Option(help="Step of adam or sgd for pixels in [0, 1].")
    ] = None,
    preserve_color: Annotated[
        str,
        typer.Option(
            help="Keep the photo's colours: luminance (transfer light and dark alone), match (recolour the "
            "paintings first), or none."
        ),
    ] = _DEFAULTS.preserve_color,
    keep_gray: Annotated[
        bool,
        typer.Option(
            "--keep-gray/--no-keep-gray",
            help="A grey photo gives a grey picture; --no-keep-gray paints it in the painting's colours.",
        ),
    ] = _DEFAULTS.keep_gray,
    color_match: Annotated[
        str, typer.Option(help="How match maps colours: symmetric, pca or cholesky.")
    ] = _DEFAULTS.color_match,
    device: Device = _DEFAULTS.device,
    threads: Threads = _DEFAULTS.threads,
    convolution: Annotated[
        str, typer.Option(help="How convolutions are computed on the CPU: auto, direct or winograd.")
    ] = _DEFAULTS.convolution,
    format: Annotated[
        str | None, typer.Option(help="Format on standard output, in place of png.", show_default=False)
    ] = None,
    quality: Annotated[int, typer.Option(help="Of JPEG, WebP and AVIF, 1 to 100.")] = 95,
    overwrite: Overwrite = True,
    report: Annotated[
        Path | None,
        typer.Option(help="Settings, losses and timings: a JSON file, or a page to look at (.html)."),
    ] = None,
    save_every: Annotated[
        int | None, typer.Option(help="Iterations from one saved frame to the next; 10 without it.")
    ] = None,
    frames: Annotated[Path | None, typer.Option(help="Folder for pictures on the way, as PNG.")] = None,
    video: Annotated[
        Path | None, typer.Option(help="Short film of the run: .mp4 or .gif by its extension.")
    ] = None,
    options_file: Annotated[
        Path | None,
        typer.Option(
            "--options",
            help="TOML file of options, such as size = 768 or preset = 'keras'; those given here win.",
        ),
    ] = None,
    recipe: Annotated[
        bool, typer.Option(help="Keep the settings in the PNG or JPEG, so that `rerun` can make it again.")
    ] = True,
    memory: Annotated[
        str | None,
        typer.Option(
            help="What the process may take, as in 2GB: larger pictures are painted in tiles, or block by "
            "block. Without it, most of what the machine has left."
        ),
    ] = None,
    max_pixels: MaxPixels = MAX_PIXELS,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="File to save the run to on the way, for --resume; without it, runs of over three minutes "
            "are saved beside the output. It is deleted at the end.",
            metavar="FILE",
        ),
    ] = None,
    checkpoint_every: Annotated[
        float | None,
        typer.Option(
            help="Seconds from one save to the next; 0 saves after each iteration.", show_default="30"
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint, with the same inputs and options.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print scales, tiles, memory and time to expect; paint nothing.")
    ] = False,
    quiet: Quiet = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print each loss term, and more.")] = False,
) -> None:
    """Paint the photo CONTENT in the style of one or more paintings."""
    if quiet and verbose:
        raise OptionError("--quiet and --verbose contradict each other: give one of them.")
    explicit = chosen(context)
    if strength is not None and explicit & WEIGHTS:
        raise OptionError(
            "--strength stands for --content-weight and --style-weight and contradicts them: give one or the "
            "other."
        )
    loaded = cache(partial(networks.load, network))
    content_names, content_layer_weights = layers("--content-layers", content_layers, lambda: loaded().layers)
    style_names, style_layer_weights = layers("--style-layers", style_layers, lambda: loaded().layers)
    typed = {
        "size": longer_side("--size", size),
        "scales": scales_of("--scales", scales),
        "iterations": counts("--iterations", iterations),
        "content_weight": content_weight,
        "style_weight": style_weight,
        "strength": strength,
        "tv_weight": tv_weight,
        "tv_power": tv_power,
        "content_layers": content_names,
        "style_layers": style_names,
        "content_layer_weights": content_layer_weights,
        "style_layer_weights": style_layer_weights,
        "style_statistic": style_statistic,
        "pooling": pooling,
        "init": _init(init),
        "init_noise": init_noise,
        "seed": seed,
        "preserve_color": preserve_color,
        "keep_gray": keep_gray,
        "color_match": color_match,
        "optimizer": optimizer,
        "learning_rate": learning_rate,
        "device": device,
        "threads": threads,
        "convolution": convolution,
        "memory": None if memory is None else size_in_bytes("--memory", memory),
    }
    # The weights of layers come and go with their layers.
    typed = {
        name: value for name, value in typed.items() if name.replace("_layer_weights", "_layers") in explicit
    }
    options = _options(preset if "preset" in explicit else None, options_file, typed)
    check_use(explicit, options)
    start = None if init in get_args(Init) else Path(init)
    files = Files(content, styles, style_mask, painting_mask, keep_mask, start)
    cli_files.check_inputs(files.all)
    target = cli_files.output(output, format, quality)
    inputs = (*files.all, networks.find(network), *([] if options_file is None else [options_file]))
    cli_files.check_outputs(target, report, video, frames, inputs=inputs, overwrite=overwrite)
    check_recording(frames, save_every, video, resumed=resume)
    begun = threading.Event()
    with show_log(quiet=quiet, verbose=verbose), cancelled_by_signals(begun=begun) as cancel:
        given = files.read(network, style_blend, style_scale, max_pixels)
        target.check(result_size(given.content, options))
        job = StyleTransfer(loaded(), options=options, keep_sessions=False)
        if not quiet:
            warn_of_units(options.loss, network)
        if dry_run:
            show_plan(given.plan(job))
            return
        others = (*inputs, report, video)
        saved = checkpoint_of(target, checkpoint, checkpoint_every, resume=resume, others=others, quiet=quiet)
        result = None
        with saved or nullcontext():
            try:
                with (
                    show_progress(quiet=quiet, verbose=verbose) as show,
                    recorded(show, frames=frames, save_every=save_every, video=video, resumed=resume) as seen,
                ):

                    def note(iterate: Iterate) -> bool | None:
                        if len(styles) > 1 and not begun.is_set():
                            log.warning("the photo is %s; the paintings are %s", content, _listed(styles))
                        begun.set()
                        return seen(iterate)

                    result = given.paint(job, on_iterate=note, cancel=cancel, checkpoint=saved)
            finally:  # a picture that is painted is written, whatever became of frames and video
                if result is not None:
                    finish(result, target, report, given, recipe=recipe, quiet=quiet, checkpoint=saved)


def _listed(paths: Sequence[Path]) -> str:
    return ", ".join(map(str, paths))


def _options(preset: str | None, file: Path | None, typed: Mapping[str, Any]) -> Options:
    """Return what was typed over the file's over the preset's over the defaults."""
    if file is None:
        base = Options.preset(preset or _DEFAULTS.loss)
    else:
        base = of_file(file, preset=preset, without=typed)
    return replace(base, **typed)


def _init(text: str) -> Any:
    """Return what Options takes; a file must exist, so that a misspelt word is not taken for one."""
    if text in get_args(Init):
        return text
    if Path(text) != cli_files.STANDARD and not Path(text).exists():
        problem = not_a_path(text)
        raise OptionError(
            f"--init must be content, noise, style or a picture file, got {text!r}, which is "
            f"{problem or 'neither'}.{did_you_mean(text, get_args(Init))}"
        )
    return _DEFAULTS.init
