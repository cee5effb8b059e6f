"""The command ``lbfgs-style transfer``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from . import cli_files, networks
from .api import DEFAULT_NETWORK, StyleTransfer
from .cli_values import counts, names, say, whole, wholes
from .errors import OptionError
from .files import replacing
from .interrupts import INTERRUPTED, cancelled_by_signals
from .options import Init, Options
from .progress import show_log, show_progress
from .records import Result, Style
from .scales import result_size

_DEFAULTS = Options()


def transfer(
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
    content_layers: Annotated[
        str | None, typer.Option(help="Layers such as relu4_1; the network's own choice without it.")
    ] = None,
    style_layers: Annotated[
        str | None, typer.Option(help="Layers such as relu1_1,relu3_1; the network's own choice without it.")
    ] = None,
    style_blend: Annotated[
        str | None, typer.Option(help="Share of each painting, as in 2,1; equal without it.")
    ] = None,
    scales: Annotated[
        str, typer.Option(help="'auto', or the longer sides to go through, as in 256,512.")
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
    options = Options(
        size="full" if size == "full" else whole("--size", size, "a whole number or 'full'"),
        scales="auto"
        if scales == "auto"
        else wholes("--scales", scales, "'auto' or whole numbers as in 256,512"),
        iterations=counts("--iterations", iterations),
        content_weight=content_weight,
        style_weight=style_weight,
        tv_weight=tv_weight,
        content_layers=names(content_layers),
        style_layers=names(style_layers),
        init=_init(init),
        seed=seed,
        preserve_color=preserve_color,  # type: ignore[arg-type]  # checked by Options
        color_match=color_match,  # type: ignore[arg-type]  # checked by Options
        device=device,  # type: ignore[arg-type]  # checked by Options
        threads=threads,
        convolution=convolution,  # type: ignore[arg-type]  # checked by Options
    )
    start = None if init in get_args(Init) else Path(init)
    pictures = (content, *styles, *(() if start is None else (start,)))
    cli_files.check_inputs(pictures)
    target = cli_files.output(output, format, quality)
    cli_files.check_outputs(target, report, inputs=(*pictures, networks.find(network)), overwrite=overwrite)
    with show_log(quiet=quiet, verbose=verbose):
        photo = cli_files.read_picture(content)
        target.check(result_size(photo, options))
        paintings = _read_styles(styles, style_blend)
        first = None if start is None else cli_files.read_picture(start)
        job = StyleTransfer(network, options=options, keep_sessions=False)
        with cancelled_by_signals() as cancel, show_progress(quiet=quiet, verbose=verbose) as on_iterate:
            result = job.run(photo, paintings, init=first, on_iterate=on_iterate, cancel=cancel)
        files = {
            "content": str(content),
            "styles": [str(path) for path in styles],
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


def _init(text: str) -> Any:
    """Return what Options takes; a file must exist, so that a misspelt word is not taken for one."""
    if text in get_args(Init):
        return text
    if Path(text) != cli_files.STANDARD and not Path(text).exists():
        raise OptionError(f"--init must be content, noise or a picture file, got {text!r}, which is neither.")
    return _DEFAULTS.init


def _read_styles(paths: list[Path], blend: str | None) -> list[Style]:
    if blend is None:
        weights = [1.0] * len(paths)
    else:
        try:
            weights = [float(part) for part in blend.split(",")]
        except ValueError:
            raise OptionError(f"--style-blend must be numbers such as 2,1, got {blend!r}.") from None
    if len(weights) != len(paths):
        raise OptionError(
            f"--style-blend must have a number for each painting: expected {len(paths)}, got {len(weights)}."
        )
    return [
        Style(cli_files.read_picture(path).rgb, weight) for path, weight in zip(paths, weights, strict=True)
    ]
