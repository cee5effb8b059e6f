"""The command ``lbfgs-style transfer``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from . import images, networks
from .api import DEFAULT_NETWORK, StyleTransfer
from .cli_values import counts, names, say, whole, wholes
from .errors import OptionError
from .files import obstacle, replacing
from .html_report import Shown, page_of_files
from .interrupts import INTERRUPTED, cancelled_by_signals
from .options import Init, Options
from .progress import show_progress
from .recipes import Inputs, document, inputs_of, save
from .recording import check_recording, recorded
from .records import Result, Style
from .scales import result_size
from .settings import WEIGHTS, with_file
from .style_statistics import read_style

HTML = (".html", ".htm")

_DEFAULTS = Options()


def transfer(
    context: typer.Context,
    content: Annotated[Path, typer.Argument(help="The photo.", metavar="CONTENT")],
    styles: Annotated[
        list[Path],
        typer.Argument(help="One or more paintings, or statistics of them (.npz).", metavar="STYLE"),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Picture to write: png, jpg, webp or tiff by its extension."),
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
    strength: Annotated[
        float | None,
        typer.Option(help="In place of both weights: 0 leaves the photo, 1 takes the style alone."),
    ] = _DEFAULTS.strength,
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
            help="Where to start: content, noise, style, or a picture file such as an earlier result; a "
            "file is stretched to the photo's shape, and without --scales painted on at the full size alone."
        ),
    ] = _DEFAULTS.init,
    init_noise: Annotated[
        float, typer.Option(help="Share of noise, 0 to 1, to blend the start with.")
    ] = _DEFAULTS.init_noise,
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = _DEFAULTS.seed,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = _DEFAULTS.device,
    threads: Annotated[
        int, typer.Option(help="CPU threads; 0 takes one for each physical core.")
    ] = _DEFAULTS.threads,
    convolution: Annotated[
        str, typer.Option(help="How convolutions are computed on the CPU: auto, direct or winograd.")
    ] = _DEFAULTS.convolution,
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
        typer.Option("--options", help="TOML file of options, such as size = 768; those given here win."),
    ] = None,
    recipe: Annotated[
        bool, typer.Option(help="Keep the settings in the PNG or JPEG, so that `rerun` can make it again.")
    ] = True,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print each loss term, and more.")] = False,
) -> None:
    """Paint the photo CONTENT in the style of one or more paintings."""
    if quiet and verbose:
        raise OptionError("--quiet and --verbose contradict each other: give one of them.")
    explicit = {name for name in context.params if _was_given(context, name)}
    if strength is not None and explicit & WEIGHTS:
        raise OptionError(
            "--strength stands for --content-weight and --style-weight and contradicts them: give one or the "
            "other."
        )
    options = Options(
        size="full" if size == "full" else whole("--size", size, "a whole number or 'full'"),
        scales="auto"
        if scales == "auto"
        else wholes("--scales", scales, "'auto' or whole numbers as in 256,512"),
        iterations=counts("--iterations", iterations),
        content_weight=content_weight,
        style_weight=style_weight,
        strength=strength,
        tv_weight=tv_weight,
        content_layers=names(content_layers),
        style_layers=names(style_layers),
        init=_init(init),
        init_noise=init_noise,
        seed=seed,
        device=device,  # type: ignore[arg-type]  # checked by Options
        threads=threads,
        convolution=convolution,  # type: ignore[arg-type]  # checked by Options
    )
    if options_file is not None:
        options = with_file(options, options_file, explicit)
    start = None if init in get_args(Init) else Path(init)
    inputs = (content, *styles, networks.find(network), *(() if start is None else (start,)))
    check_outputs(output, report, video, inputs=inputs)
    check_recording(frames, save_every, video)
    photo = images.read(content)
    images.check_output(output, result_size(photo, options))
    paintings = _read_styles(styles, style_blend)
    first = None if start is None else images.read(start)
    sources = inputs_of(content, styles, network=network, init=start)
    job = StyleTransfer(network, options=options, keep_sessions=False)
    with (
        cancelled_by_signals() as cancel,
        show_progress(quiet=quiet, verbose=verbose) as show,
        recorded(show, frames=frames, save_every=save_every, video=video) as on_iterate,
    ):
        result = job.run(photo, paintings, init=first, on_iterate=on_iterate, cancel=cancel)
    pictures = [photo, *(style.image for style in paintings), *(() if first is None else (first,))]
    finish(result, output, report, sources, pictures, recipe=recipe, quiet=quiet)


def finish(
    result: Result,
    output: Path,
    report: Path | None,
    inputs: Inputs,
    pictures: Sequence[Shown],
    *,
    recipe: bool,
    quiet: bool,
) -> None:
    """Write what was asked for and say how it went."""
    interrupted = result.stop_reason == "cancelled"
    if interrupted and not result.history:
        say("stopped before the first iteration: nothing is written")
        raise typer.Exit(INTERRUPTED)
    if recipe:
        save(output, result, inputs)
    else:
        images.write(output, result.picture)
    if report is not None:
        contents = document(result.settings, inputs) | result.report()
        contents["files"]["output"] = str(output)
        if report.suffix.lower() in HTML:
            text = page_of_files(result, inputs, pictures)
        else:
            text = json.dumps(contents, indent=2)
        with replacing(report) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
    if interrupted:
        say(f"stopped: the best picture so far is in {output}")
        raise typer.Exit(INTERRUPTED)
    if not quiet:
        height, width = result.picture.rgb.shape[:2]
        provider = str(result.settings["provider"]).removesuffix("ExecutionProvider")
        say(
            f"{output}: {width}×{height}, "
            f"{result.evaluations} evaluations in {result.seconds:.1f} s on {provider}"
        )


def _was_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name in ("COMMANDLINE", "ENVIRONMENT")


def _init(text: str) -> Any:
    """Return what Options takes; a file must exist, so that a misspelt word is not taken for one."""
    if text in get_args(Init):
        return text
    if not Path(text).exists():
        raise OptionError(
            f"--init must be content, noise, style or a picture file, got {text!r}, which is neither."
        )
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
    given = map(read_style, paths)
    pictures = [style.rgb if isinstance(style, images.Picture) else style for style in given]
    return [Style(picture, weight) for picture, weight in zip(pictures, weights, strict=True)]


def check_outputs(
    output: Path, report: Path | None, video: Path | None = None, *, inputs: tuple[Path, ...]
) -> None:
    """Find out before a long run whether its results can be written, and that they destroy no input."""
    images.check_output(output)
    if report is not None:
        problem = obstacle(report)
        if problem is not None:
            raise OptionError(f"--report {report}: {problem}.")
        if report.resolve() == output.resolve():
            raise OptionError(f"The report and the output are both {output}: choose another name for one.")
    for result in (path for path in (output, report, video) if path is not None):
        for path in inputs:
            if result.exists() and path.exists() and result.samefile(path):
                raise OptionError(
                    f"{result} would be overwritten, but is one of the inputs: choose another name."
                )
