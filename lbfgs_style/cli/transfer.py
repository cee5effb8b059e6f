"""The command ``lbfgs-style transfer``."""

from __future__ import annotations

import logging
import threading
from contextlib import nullcontext
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from .. import networks
from ..errors import OptionError, did_you_mean
from ..outputs import run_inputs
from ..outputs.recording import ScaleImages, check_recording, recorded
from ..outputs.run_inputs import LoadedInputs, RunInputs
from ..pipeline.plan.scales import result_size
from ..pipeline.results import Iterate
from ..pipeline.style_transfer import StyleTransfer
from ..settings.options import Options
from ..settings.presets import Init
from ..system.files import not_a_path
from . import files
from .checkpoint import SavingParameters, checkpoint_of
from .painting import PaintingParameters
from .parsing import DryRun, Quiet, Typed, command_line
from .presets import warn_of_units
from .progress import show_log, show_progress
from .run import InputParameters, OutputParameters, finish, show_plan
from .signals import cancelled_by_signals

log = logging.getLogger(__name__)

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
    how: PaintingParameters,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Paint the content image CONTENT in the style of one or more images."""
    if quiet and verbose:
        raise OptionError("--quiet and --verbose contradict each other: give one of them.")
    load = cache(partial(networks.load, how.network))
    options = how.options(typed, lambda: load().layers, read_init=lambda: _init(inputs.init))
    paths = inputs.inputs(how.network, stroke_size=how.stroke_size(typed))
    named = () if how.options_file is None else (how.options_file,)
    protected = (*(path for _, path in paths), networks.find(how.network), *named)
    target = _checked_output(outputs, paths, protected, resume=saving.resume)
    started = threading.Event()  # the first iteration is done
    with show_log(quiet=quiet, verbose=verbose), cancelled_by_signals(begun=started) as cancel:
        loaded = files.read(paths, how.max_pixels)
        target.check(result_size(loaded.content.picture, options))
        job = StyleTransfer(load(), options=options, keep_sessions=False)
        if not quiet:
            warn_of_units(options.loss, how.network)
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
