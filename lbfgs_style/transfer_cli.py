"""The command ``lbfgs-style transfer``."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from . import cli_files, networks
from .api import DEFAULT_NETWORK, StyleTransfer
from .cli_values import chosen, counts, layers, numbers, say, whole, wholes
from .errors import OptionError
from .files import replacing
from .interrupts import INTERRUPTED, cancelled_by_signals
from .options import Init, Options
from .presets import preset as preset_row
from .progress import show_log, show_progress
from .records import Result, Style
from .scales import result_size

_DEFAULTS = Options()


def transfer(
    context: typer.Context,
    content: Annotated[Path, typer.Argument(help="The photo, or '-' for standard input.", metavar="CONTENT")],
    styles: Annotated[list[Path], typer.Argument(help="One or more paintings.", metavar="STYLE")],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="Picture to write: png, jpg, webp, avif or tiff by its extension; '-' for standard output.",
        ),
    ],
    network: Annotated[
        str, typer.Option(help="compact, vgg19, vgg16, vgg19-caffe, vgg16-caffe, or an .onnx file.")
    ] = DEFAULT_NETWORK,
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
            "without it."
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
            help="Where to start: content, noise, or a picture file such as an earlier result; a file is "
            "stretched to the photo's shape, and without --scales painted on at the full size alone."
        ),
    ] = _DEFAULTS.init,
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = _DEFAULTS.seed,
    preserve_color: Annotated[
        str,
        typer.Option(
            help="Keep the photo's colours: luminance (transfer light and dark alone), match (recolour the "
            "paintings first), or none."
        ),
    ] = _DEFAULTS.preserve_color,
    color_match: Annotated[
        str, typer.Option(help="How match maps colours: symmetric, pca or cholesky.")
    ] = _DEFAULTS.color_match,
    optimizer: Annotated[
        str, typer.Option(help="lbfgs, adam or sgd; the last two need far more iterations.")
    ] = _DEFAULTS.optimizer,
    learning_rate: Annotated[
        float | None, typer.Option(help="Step of adam or sgd for pixels in [0, 1].")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = _DEFAULTS.device,
    threads: Annotated[
        int, typer.Option(help="CPU threads; 0 takes one for each physical core.")
    ] = _DEFAULTS.threads,
    convolution: Annotated[
        str, typer.Option(help="How convolutions are computed on the CPU: auto, direct or winograd.")
    ] = _DEFAULTS.convolution,
    format: Annotated[
        str | None, typer.Option(help="Format on standard output, in place of png.", show_default=False)
    ] = None,
    quality: Annotated[int, typer.Option(help="Of JPEG, WebP and AVIF, 1 to 100.")] = 95,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite/--no-overwrite", help="Replace an output that is there, or refuse to."),
    ] = True,
    report: Annotated[
        Path | None, typer.Option(help="JSON file with settings, losses, timings and stop reasons.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print each loss term, and more.")] = False,
) -> None:
    """Paint the photo CONTENT in the style of one or more paintings."""
    if quiet and verbose:
        raise OptionError("--quiet and --verbose contradict each other: give one of them.")
    content_names, content_layer_weights = layers("--content-layers", content_layers)
    style_names, style_layer_weights = layers("--style-layers", style_layers)
    given = Options(
        size="full" if size == "full" else whole("--size", size, "a whole number or 'full'"),
        scales=_scales(scales),
        iterations=counts("--iterations", iterations),
        content_weight=content_weight,
        style_weight=style_weight,
        tv_weight=tv_weight,
        tv_power=tv_power,
        content_layers=content_names,
        style_layers=style_names,
        content_layer_weights=content_layer_weights,
        style_layer_weights=style_layer_weights,
        style_statistic=style_statistic,  # type: ignore[arg-type]  # checked by Options
        pooling=pooling,  # type: ignore[arg-type]  # checked by Options
        init=_init(init),
        seed=seed,
        preserve_color=preserve_color,  # type: ignore[arg-type]  # checked by Options
        color_match=color_match,  # type: ignore[arg-type]  # checked by Options
        optimizer=optimizer,  # type: ignore[arg-type]  # checked by Options
        learning_rate=learning_rate,
        device=device,  # type: ignore[arg-type]  # checked by Options
        threads=threads,
        convolution=convolution,  # type: ignore[arg-type]  # checked by Options
    )
    options = _over_preset(preset, given, chosen(context))
    if not quiet:
        _warn_of_units(preset, network)
    start = None if init in get_args(Init) else Path(init)
    mask_files = [None if name == "rest" else Path(name) for name in style_mask or ["rest"] * len(styles)]
    keep_file = None if keep_mask in (None, "alpha") else Path(keep_mask)
    pictures = (content, *styles, *(path for path in (start, keep_file, *mask_files) if path is not None))
    cli_files.check_inputs(pictures)
    target = cli_files.output(output, format, quality)
    cli_files.check_outputs(target, report, inputs=(*pictures, networks.find(network)), overwrite=overwrite)
    with show_log(quiet=quiet, verbose=verbose):
        photo = cli_files.read_picture(content)
        target.check(result_size(photo, options))
        paintings = _read_styles(styles, style_blend, style_scale, mask_files)
        keep = (
            "alpha"
            if keep_mask == "alpha"
            else None
            if keep_file is None
            else cli_files.read_picture(keep_file)
        )
        first = None if start is None else cli_files.read_picture(start)
        job = StyleTransfer(network, options=options, keep_sessions=False)
        with cancelled_by_signals() as cancel, show_progress(quiet=quiet, verbose=verbose) as on_iterate:
            result = job.run(photo, paintings, init=first, keep=keep, on_iterate=on_iterate, cancel=cancel)
        files = {
            "content": str(content),
            "styles": [str(path) for path in styles],
            "style_masks": [None if path is None else str(path) for path in mask_files],
            "keep_mask": keep_mask,
            "init": None if start is None else str(start),
            "output": str(output),
        }
        _finish(result, target, report, files, quiet=quiet)


def _finish(
    result: Result, target: cli_files.Output, report: Path | None, files: dict[str, Any], *, quiet: bool
) -> None:
    """Write what was asked for and say how it went."""
    interrupted = result.stop_reason == "cancelled"
    if interrupted and not result.history:
        say("stopped before the first iteration: nothing is written")
        raise typer.Exit(INTERRUPTED)
    target.write(result.picture)
    if report is not None:
        text = json.dumps({"files": files} | result.report(), indent=2)
        with replacing(report) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
    if interrupted:
        say(f"stopped: the best picture so far is in {target.name}")
        raise typer.Exit(INTERRUPTED)
    if not quiet:
        height, width = result.picture.rgb.shape[:2]
        provider = str(result.settings["provider"]).removesuffix("ExecutionProvider")
        say(
            f"{target.name}: {width}×{height}, "
            f"{result.evaluations} evaluations in {result.seconds:.1f} s on {provider}"
        )


def _over_preset(name: str, given: Options, chosen: set[str]) -> Options:
    """Return a preset's options, but for those that were chosen on the command line."""
    fields = {field: getattr(given, field) for field in asdict(given) if field in chosen}
    for layers_field in ("content_layers", "style_layers"):
        if layers_field in chosen:
            weights = layers_field.replace("layers", "layer_weights")
            fields[weights] = getattr(given, weights)
    return replace(Options.preset(name), **fields)


def _warn_of_units(preset: str, network: str) -> None:
    """Say that a preset's weights may not fit, where its losses have the unit of other features."""
    row = preset_row(preset)
    if row.form.style is not None and network != row.network:
        say(
            f"the weights of the preset {preset} are made for {row.network}; the features of {network} may "
            "have another unit: change --style-weight if there is too little or too much of the painting"
        )


def _scales(text: str) -> Any:
    """Return what Options takes."""
    if text in ("auto", "single"):
        return text
    return wholes("--scales", text, "'auto', 'single' or whole numbers as in 256,512")


def _init(text: str) -> Any:
    """Return what Options takes; a file must exist, so that a misspelt word is not taken for one."""
    if text in get_args(Init):
        return text
    if Path(text) != cli_files.STANDARD and not Path(text).exists():
        raise OptionError(f"--init must be content, noise or a picture file, got {text!r}, which is neither.")
    return _DEFAULTS.init


def _read_styles(paths: list[Path], blend: str | None, scale: str, masks: list[Path | None]) -> list[Style]:
    weights = [1.0] * len(paths) if blend is None else list(numbers("--style-blend", blend))
    scales = list(numbers("--style-scale", scale))
    if len(scales) == 1:
        scales *= len(paths)
    for option, given in (("--style-blend", weights), ("--style-scale", scales), ("--style-mask", masks)):
        if len(given) != len(paths):
            raise OptionError(
                f"{option} must be given for each painting: expected {len(paths)}, got {len(given)}."
            )
    read = [None if path is None else cli_files.read_picture(path) for path in masks]
    each = zip(paths, weights, scales, read, strict=True)
    return [Style(cli_files.read_picture(path).rgb, weight, size, mask) for path, weight, size, mask in each]
