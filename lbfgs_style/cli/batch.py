"""The command ``lbfgs-style batch``: a folder in, a folder out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from .. import images, networks
from ..errors import ImageError, OptionError
from ..outputs import batch_cluster, batch_workers
from ..outputs.batch_jobs import Job, every_pair, find_images, is_foreign, is_painted, read_pairs
from ..outputs.batch_summary import SHEET, TABLE, find_foreign, write_sheet, write_table
from ..outputs.batch_workers import Done, Settings, divide
from ..pipeline.style_statistics import read_style
from ..pipeline.style_transfer import StyleTransfer
from ..pipeline.styles import Style
from ..settings.validation import require_positive
from ..system.files import why_unwritable
from .batch_progress import show_batch
from .files import STANDARD
from .painting import PaintingParameters
from .parsing import Quiet, Typed, command_line
from .progress import show_log
from .signals import INTERRUPTED, cancelled_by_signals
from .streams import print_message

log = logging.getLogger(__name__)

FAILED = 1

# Formats that keep a recipe, by which a picture is recognised.
_FORMATS = ("png", "jpg")

# Why a picture is not painted.
_FOREIGN = "is there already and has no recipe of lbfgs-style: move it away, or choose another folder"


@dataclass(frozen=True, slots=True)
class BatchInputs:
    """The photos and paintings of a batch, as the command line names them."""

    photos: Annotated[
        list[Path] | None,
        typer.Argument(help="Photos: files, folders or patterns.", metavar="PHOTOS", show_default=False),
    ] = None
    styles: Annotated[
        list[Path] | None,
        typer.Option(
            "--styles",
            help="Paintings: files, folders or patterns, or statistics (.npz); once for each of them. Every "
            "photo is painted in every style.",
            metavar="PAINTINGS",
            rich_help_panel="Basics",
        ),
    ] = None
    pairs: Annotated[
        Path | None,
        typer.Option(
            help="CSV file with a photo and a painting in each line, in place of all pairs.",
            metavar="FILE",
            rich_help_panel="Basics",
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class BatchOutputs:
    """Where and how the pictures of a batch are made, as the command line says it."""

    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Folder for the pictures; it is made.", rich_help_panel="Basics"),
    ]
    style_scale: Annotated[
        float, typer.Option(help="Size of the strokes, for every style image.", rich_help_panel="Style")
    ] = 1.0
    file_format: Annotated[
        str, typer.Option("--format", help="Format of the pictures: png or jpg.", rich_help_panel="Output")
    ] = _FORMATS[0]
    quality: Annotated[
        int, typer.Option(min=1, max=100, help="Quality of JPEG.", rich_help_panel="Output")
    ] = 95
    cluster: Annotated[
        str | None,
        typer.Option(
            help="Address of a Dask scheduler, such as tcp://192.168.0.2:8786, whose workers paint the "
            "pictures (needs pip install 'lbfgs-style[cluster]').",
            metavar="ADDRESS",
            rich_help_panel="Network and device",
        ),
    ] = None
    processes: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Pictures painted at once.",
            show_default="one for each core, as far as the memory goes",
            rich_help_panel="Network and device",
        ),
    ] = None


@command_line()
def batch(
    inputs: BatchInputs,
    outputs: BatchOutputs,
    typed: Typed,
    how: PaintingParameters,
    quiet: Quiet = False,
) -> None:
    """Paint every photo in every style, into a folder.

    A picture that is there already is left as it is if it has the same inputs, network and options.
    """
    if outputs.file_format not in _FORMATS:
        raise OptionError(f"--format must be png or jpg, which keep recipes, got {outputs.file_format!r}.")
    if outputs.cluster is not None and outputs.processes is not None:
        raise OptionError("--processes is of this machine, and --cluster paints on others: give one of them.")
    loaded, folder = networks.load(how.network), outputs.output
    options = how.options(typed, lambda: loaded.layers)
    scale = outputs.style_scale * how.stroke_size(typed)
    require_positive("--style-scale", scale)
    jobs = _jobs(inputs, folder, outputs.file_format)
    with show_log(quiet=quiet, verbose=False), cancelled_by_signals() as cancel:
        sha256 = networks.weights_sha256(loaded.model)
        foreign = [Done(job, error=_FOREIGN) for job in jobs if is_foreign(job)]
        taken = {done.job for done in foreign}
        todo = [job for job in jobs if job not in taken and not is_painted(job, options, sha256, scale)]
        there = len(jobs) - len(todo) - len(foreign)
        if not quiet and there:
            print_message(f"{there} of {len(jobs)} pictures are there already")
        for done in foreign:
            log.error("%s: %s", done.job.output.name, done.error)
        results = list(foreign)
        if todo:
            settings = Settings(how.network, options, scale, outputs.quality, how.max_pixels)
            paint = _painter(todo, settings, outputs, loaded)
            with show_batch(len(todo), quiet=quiet) as show:
                for done in paint(cancel=cancel, on_progress=show.update):
                    results.append(done)
                    show.tell(done, len(results) - len(foreign))
        write_table(folder, jobs, results)
        without = {done.job for done in results if done.error}
        painted = [job for job in jobs if job not in without and job.output.exists()]
        if painted:
            write_sheet(folder, painted)
    failed = sum(bool(done.error) for done in results)
    made = len(results) - failed
    if cancel.is_set():
        print_message(f"stopped: {made} pictures painted; the same command continues")
        raise typer.Exit(INTERRUPTED)
    if not quiet:
        print_message(f"{folder}: {made} painted, {there} there before, {failed} failed")
    if failed:
        raise typer.Exit(FAILED)


def _jobs(inputs: BatchInputs, output: Path, extension: str) -> list[Job]:
    """Return the jobs that the command line names, and make the folder."""
    if inputs.pairs is not None:
        if inputs.photos or inputs.styles:
            raise OptionError("--pairs names photos and paintings: leave the others out.")
        jobs = read_pairs(inputs.pairs, output, extension)
    else:
        if not inputs.photos or not inputs.styles:
            raise OptionError(
                "A batch needs photos and paintings: lbfgs-style batch PHOTOS --styles PAINTINGS -o FOLDER, "
                "or --pairs FILE.csv."
            )
        photos = find_images(inputs.photos, what="photos")
        paintings = find_images(inputs.styles, what="paintings", statistics=True)
        jobs = every_pair(photos, paintings, output, extension)
    if output.exists() and not output.is_dir():
        raise OptionError(f"--output {output}: is a file; expected a folder.")
    if output == STANDARD:
        raise OptionError("--output '-': a batch writes into a folder: name one.")
    for place in (*(inputs.photos or ()), *(inputs.styles or ())):
        if place.is_dir() and output.exists() and place.samefile(output):
            raise OptionError(f"{place} is read and would be written into: choose another folder with -o.")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OptionError(f"--output {output}: cannot be made: {error.strerror or error}.") from error
    _check_files(output, jobs)
    written = {path.resolve() for path in (*(job.output for job in jobs), output / TABLE, output / SHEET)}
    named = () if inputs.pairs is None else (inputs.pairs,)
    for path in (*named, *(path for job in jobs for path in (job.photo, job.painting))):
        if path.resolve() in written:
            raise OptionError(f"{path} would be overwritten, but is an input: choose another folder.")
    return jobs


def _check_files(output: Path, jobs: Sequence[Job]) -> None:
    """Check before the run that pictures, sheet and table can be written, and replace only a batch's."""
    for path in (output / TABLE, output / SHEET, *(job.output for job in jobs)):
        problem = why_unwritable(path)
        if problem is not None:
            raise OptionError(f"{path}: {problem}.")
    foreign = find_foreign(output)
    if foreign is not None:
        raise OptionError(
            f"{foreign} is not of a batch, and would be overwritten: move it away, or choose another folder."
        )


def _painter(
    jobs: Sequence[Job], settings: Settings, outputs: BatchOutputs, network: networks.FeatureNetwork
) -> Callable[..., Iterator[Done]]:
    """Return the function that paints jobs: by processes of this machine, or by the workers of a cluster."""
    if outputs.cluster is not None:
        sent = batch_cluster.network_of(settings.network, networks.weights_sha256(network.model))
        return partial(batch_cluster.paint, jobs, settings, address=outputs.cluster, network=sent)
    needed = _bytes_of_one(jobs, settings, network)
    count, share = divide(settings.options, len(jobs), needed, processes=outputs.processes)
    return partial(batch_workers.paint, jobs, replace(settings, options=share), processes=count)


def _bytes_of_one(jobs: Sequence[Job], settings: Settings, network: networks.FeatureNetwork) -> int:
    """Return the memory of the run of the first job whose files can be read."""
    job, most = StyleTransfer(network, options=settings.options, keep_sessions=False), settings.max_pixels
    for each in jobs:
        try:
            photo = images.read(each.photo, max_pixels=most)
            style = Style(read_style(each.painting, max_pixels=most), scale=settings.style_scale)
            return max(scale.method.bytes for scale in job.plan(photo, style, timed=False))
        except ImageError:
            continue  # reported when it is painted
    return 1
