"""The command ``lbfgs-style transfer``."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from contextlib import nullcontext
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from .. import networks
from ..errors import OptionError, did_you_mean
from ..images import MAX_PIXELS
from ..outputs import run_inputs
from ..outputs.recording import ScaleImages, check_recording, recorded
from ..outputs.run_inputs import LoadedInputs, RunInputs
from ..pipeline.plan.scales import result_size
from ..pipeline.results import Iterate
from ..pipeline.style_transfer import DEFAULT_NETWORK, StyleTransfer
from ..settings.looks import LOOKS
from ..settings.looks import Look as LookRow
from ..settings.looks import look as look_row
from ..settings.options import Options
from ..settings.options_file import WEIGHTS, of_file
from ..settings.presets import PRESETS, Init
from ..system.files import not_a_path
from . import files
from .checkpoint import SavingParameters, checkpoint_of
from .parsing import MaxPixels, Network, Quiet, Typed, check_use, command_line, completing
from .presets import warn_of_units
from .progress import show_log, show_progress
from .run import InputParameters, OutputParameters, finish, show_plan
from .signals import cancelled_by_signals

log = logging.getLogger(__name__)

Preset = Annotated[
    str,
    typer.Option(
        "--preset",
        "-p",
        autocompletion=completing([row.name for row in PRESETS]),
        help="Losses, weights, layers, initial image and optimizer of another program, as `lbfgs-style "
        "presets` lists them. Options on the command line win.",
        rich_help_panel="Basics",
    ),
]
Look = Annotated[
    str,
    typer.Option(
        "--look",
        "-l",
        autocompletion=completing([row.name for row in LOOKS]),
        help="How to paint, as `lbfgs-style looks` lists it: bold, fine, soft, portrait, … Options on the "
        "command line win.",
        rich_help_panel="Basics",
    ),
]
OptionsFile = Annotated[
    Path | None,
    typer.Option(
        "--options",
        help="TOML file of options, such as size = 768 or preset = 'keras'. Options on the command line win.",
        rich_help_panel="Basics",
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Print scales, tiles, memory and time to expect, and stop.",
        rich_help_panel="Basics",
    ),
]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose", "-v", help="Print each loss term, and the library's log.", rich_help_panel="Output"
    ),
]


EPILOG = """Examples:

lbfgs-style transfer photo.jpg painting.jpg -o out.png --fast

lbfgs-style transfer photo.jpg painting.jpg -o out.png --size 1024 --look bold --strength 0.7

lbfgs-style transfer photo.jpg one.jpg two.jpg -o out.png --style-blend 2,1 --preserve-color luminance

lbfgs-style transfer portrait.jpg painting.jpg -o out.png --face-mask faces.png"""


@command_line()
def transfer(
    inputs: InputParameters,
    outputs: OutputParameters,
    typed: Typed,
    saving: SavingParameters,
    look: Look = LOOKS[0].name,
    preset: Preset = Options().loss,
    network: Network = DEFAULT_NETWORK,
    options_file: OptionsFile = None,
    max_pixels: MaxPixels = MAX_PIXELS,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Paint the content image CONTENT in the style of one or more images."""
    if quiet and verbose:
        raise OptionError("--quiet and --verbose contradict each other: give one of them.")
    load = cache(partial(networks.load, network))
    chosen = look_row(look)
    options = options_of(
        typed, preset, chosen, options_file, lambda: load().layers, read_init=lambda: _init(inputs.init)
    )
    is_typed = "style_scale" in typed.explicit
    paths = inputs.inputs(network, stroke_size=1.0 if is_typed else chosen.stroke_size)
    protected = (*(path for _, path in paths), networks.find(network))
    protected = protected if options_file is None else (*protected, options_file)
    target = _checked_output(outputs, paths, protected, resume=saving.resume)
    started = threading.Event()  # the first iteration is done
    with show_log(quiet=quiet, verbose=verbose), cancelled_by_signals(begun=started) as cancel:
        loaded = files.read(paths, max_pixels)
        target.check(result_size(loaded.content.picture, options))
        job = StyleTransfer(load(), options=options, keep_sessions=False)
        if not quiet:
            warn_of_units(options.loss, network)
        if dry_run:
            show_plan(run_inputs.plan(job, loaded))
            return
        checkpoint = checkpoint_of(target, saving, others=(*protected, *outputs.others), quiet=quiet)
        result, scale_images = None, ScaleImages()
        with checkpoint or nullcontext():
            try:
                with (
                    show_progress(quiet=quiet, verbose=verbose) as show,
                    recorded(
                        show,
                        frames=outputs.frames,
                        save_every=outputs.save_every,
                        video=outputs.video,
                        resumed=saving.resume,
                    ) as record,
                ):

                    def on_iterate(iterate: Iterate) -> object:
                        if not started.is_set():
                            _warn_of_order(loaded)
                        started.set()
                        if outputs.report is not None:
                            scale_images(iterate)
                        return record(iterate)

                    result = run_inputs.run(
                        job, loaded, on_iterate=on_iterate, cancel=cancel, checkpoint=checkpoint
                    )
            finally:  # a result is written, whatever became of frames and video
                if result is not None:
                    finish(
                        result,
                        target,
                        outputs.report,
                        loaded,
                        recipe=outputs.recipe,
                        quiet=quiet,
                        scale_images=scale_images,
                        checkpoint=checkpoint,
                    )


def options_of(
    typed: Typed,
    preset: str,
    look: LookRow,
    file: Path | None,
    known_layers: Callable[[], Collection[str]],
    *,
    read_init: Callable[[], Any] | None = None,
) -> Options:
    """Return the options of the command line, over those of the file, the look or preset and the defaults.

    Parameters
    ----------
    typed : Typed
        What the user typed.
    preset, look, file
        Of --preset, --look and --options.
    known_layers : function
        () → the layers of the network.
    read_init : function, optional
        () → the option `init`, for commands whose --init may be a file.
    """
    if look.options and (preset != Options().loss or file is not None):
        raise OptionError(
            f"--look changes the defaults, and {'--options' if file else '--preset'} replaces them: give one "
            "of them."
        )
    if "strength" in typed.explicit and typed.explicit & WEIGHTS:
        raise OptionError(
            "--strength stands for --content-weight and --style-weight and contradicts them: give one or the "
            "other."
        )
    values = typed.values(known_layers)
    if "init" in typed.explicit and read_init is not None:
        values["init"] = read_init()
    if file is None:
        changed = dict(look.options)
        if typed.explicit & WEIGHTS:
            changed.pop("strength", None)
        base = replace(Options.preset(preset), **changed)
    else:
        base = of_file(file, preset=preset if "preset" in typed.explicit else None, without=values)
    options = replace(base, **values)
    check_use(typed.explicit, options)
    return options


def _init(text: str) -> Any:
    """Return `Options.init` for what the user typed; a file must exist, or a misspelt word would pass."""
    if text in get_args(Init):
        return text
    if Path(text) != files.STANDARD and not Path(text).exists():
        problem = not_a_path(text)
        raise OptionError(
            f"--init must be content, noise, style or an image file, got {text!r}, which is "
            f"{problem or 'neither'}.{did_you_mean(text, get_args(Init))}"
        )
    return Options().init


def _checked_output(
    outputs: OutputParameters, paths: RunInputs[Path], protected: tuple[Path, ...], *, resume: bool
) -> files.Output:
    """Return where the image goes, once it is sure that every output can be written."""
    files.check_inputs([path for _, path in paths])
    target = files.output(outputs.output, outputs.format, outputs.quality, tiled=outputs.tile_output)
    files.check_outputs(
        target,
        outputs.report,
        outputs.video,
        outputs.frames,
        inputs=protected,
        overwrite=outputs.overwrite,
    )
    check_recording(outputs.frames, outputs.save_every, outputs.video, resumed=resume)
    return target


def _warn_of_order(inputs: LoadedInputs) -> None:
    """Log which image is the content and which are the styles, where there could be a mistake."""
    if len(inputs.styles) > 1:
        styles = ", ".join(style.image.source.path for style in inputs.styles)
        log.warning("the content image is %s; the style images are %s", inputs.content.source.path, styles)
