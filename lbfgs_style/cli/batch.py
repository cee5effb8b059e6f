"""The command ``lbfgs-style batch``: a folder in, a folder out."""

from __future__ import annotations

import csv
import io
import logging
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from .. import images, networks
from ..errors import ImageError, OptionError
from ..images import MAX_PIXELS
from ..images.formats.registry import read_text
from ..outputs import batch_cluster, batch_workers
from ..outputs.batch_jobs import Job, every_pair, find_images, is_foreign, is_painted, read_pairs
from ..outputs.batch_workers import Done, Settings, divide
from ..outputs.contact_sheet import sheet
from ..outputs.input_files import title
from ..pipeline.style_statistics import read_style
from ..pipeline.style_transfer import DEFAULT_NETWORK, StyleTransfer
from ..pipeline.styles import Style
from ..settings.looks import LOOKS
from ..settings.looks import look as look_row
from ..settings.options import Options
from ..settings.validation import require_positive
from ..system.files import atomic_write, why_unwritable
from .files import STANDARD
from .parsing import MaxPixels, Network, Quiet, Typed, command_line
from .progress import show_log
from .signals import INTERRUPTED, cancelled_by_signals
from .streams import can_draw, print_message
from .transfer import Look, OptionsFile, Preset, options_of

log = logging.getLogger(__name__)

FAILED = 1

# Formats that keep a recipe, by which a picture is recognised.
_FORMATS = ("png", "jpg")

# Files in the folder next to the pictures.
TABLE, SHEET = "pictures.csv", "sheet.jpg"

# The text inside the sheet, by which it is recognised, and the first line of the table.
_MARK = "contact sheet of lbfgs-style batch"
_COLUMNS = ("picture", "photo", "painting", "state", "seconds", "loss", "message")

# Why a picture is not painted.
_FOREIGN = "is there already and has no recipe of lbfgs-style: move it away, or choose another folder"

# Height in pixels of an image on the sheet, and the largest number of images on it.
_SHEET_HEIGHT, _MOST_ON_SHEET = 160, 400


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
    look: Look = LOOKS[0].name,
    preset: Preset = Options().loss,
    network: Network = DEFAULT_NETWORK,
    options_file: OptionsFile = None,
    max_pixels: MaxPixels = MAX_PIXELS,
    quiet: Quiet = False,
) -> None:
    """Paint every photo in every style, into a folder.

    A picture that is there already is left as it is if it has the same inputs, network and options.
    """
    if outputs.file_format not in _FORMATS:
        raise OptionError(f"--format must be png or jpg, which keep recipes, got {outputs.file_format!r}.")
    if outputs.cluster is not None and outputs.processes is not None:
        raise OptionError("--processes is of this machine, and --cluster paints on others: give one of them.")
    chosen, loaded, folder = look_row(look), networks.load(network), outputs.output
    options = options_of(typed, preset, chosen, options_file, lambda: loaded.layers)
    scale = outputs.style_scale if "style_scale" in typed.explicit else chosen.stroke_size
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
            settings = Settings(network, options, scale, outputs.quality, max_pixels)
            paint = _painter(todo, settings, outputs, loaded)
            with _progress(len(todo), quiet=quiet) as show:
                for done in paint(cancel=cancel, on_progress=show.update):
                    results.append(done)
                    show.tell(done, len(results) - len(foreign))
        _write_table(folder / TABLE, jobs, results)
        without = {done.job for done in results if done.error}
        painted = [job for job in jobs if job not in without and job.output.exists()]
        if painted:
            _write_sheet(folder / SHEET, painted)
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
    for path in named:
        if path.resolve() in written:
            raise OptionError(f"{path} would be overwritten, but is an input: choose another folder.")
    for job in jobs:
        for path in (job.photo, job.painting):
            if path.resolve() in written:
                raise OptionError(f"{path} would be overwritten, but is an input: choose another folder.")
    return jobs


def _check_files(output: Path, jobs: Sequence[Job]) -> None:
    """Check before the run that pictures, sheet and table can be written, and replace only a batch's."""
    table, sheet_file = output / TABLE, output / SHEET
    for path in (table, sheet_file, *(job.output for job in jobs)):
        problem = why_unwritable(path)
        if problem is not None:
            raise OptionError(f"{path}: {problem}.")
    head = ",".join(_COLUMNS).encode()
    foreign = [path for path in (table,) if path.exists() and not path.read_bytes().startswith(head)]
    foreign += [path for path in (sheet_file,) if path.exists() and read_text(path.read_bytes()) != _MARK]
    if foreign:
        raise OptionError(
            f"{foreign[0]} is not of a batch, and would be overwritten: move it away, or choose another "
            "folder."
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


class _Show:
    """Shows the progress of a batch; this base class shows only failures."""

    def __init__(self, count: int) -> None:
        self.count, self.started = count, time.monotonic()

    def update(self, pictures: float) -> None:
        """Show how many pictures are painted, with parts of those that run."""

    def tell(self, done: Done, number: int) -> None:
        """Show what became of a job."""
        for text in done.warnings:
            log.warning("%s: %s", done.job.output.name, text)
        if done.error:
            log.error("%s: %s", done.job.output.name, done.error)

    def left(self, pictures: float) -> str:
        """Return the time left, once enough is known."""
        seconds = time.monotonic() - self.started
        if pictures < 0.1:
            return ""
        minutes, rest = divmod(round(seconds * (self.count - pictures) / pictures), 60)
        return f"{minutes}:{rest:02d} left"


class _Lines(_Show):
    """Shows a line for each picture."""

    def tell(self, done: Done, number: int) -> None:
        """Show what became of a job."""
        super().tell(done, number)
        if not done.error:
            print_message(f"{number}/{self.count} {done.job.output} in {done.seconds:.1f} s")


class _Bar(_Lines):
    """Shows a bar of all pictures."""

    def __init__(self, count: int, bar: Callable[[float, str], None]) -> None:
        super().__init__(count)
        self.bar = bar

    def update(self, pictures: float) -> None:
        """Show how many pictures are painted, with parts of those that run."""
        self.bar(pictures, f"{int(pictures)} of {self.count} pictures  {self.left(pictures)}")


@contextmanager
def _progress(count: int, *, quiet: bool) -> Generator[_Show]:
    """Yield what shows the progress: nothing, a bar on a terminal, or lines."""
    if quiet or not can_draw(sys.stderr):
        yield _Show(count) if quiet else _Lines(count)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"{count} pictures", total=count)
        yield _Bar(count, lambda done, text: bar.update(task, completed=done, description=text))


def _write_table(path: Path, jobs: Sequence[Job], results: Sequence[Done]) -> None:
    """Write what became of every job as CSV, below the rows of pictures that other batches made."""
    by_job = {done.job: done for done in results}
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    ours = {job.output.name for job in jobs}
    if path.exists():
        with path.open(encoding="utf-8", newline="") as before:
            writer.writerows(row for row in list(csv.reader(before))[1:] if row and row[0] not in ours)
    for job in jobs:
        done = by_job.get(job)
        if done is None:
            state = ["there before" if job.output.exists() else "not painted", "", "", ""]
        elif done.error:
            state = ["failed", "", "", done.error]
        else:
            state = ["painted", f"{done.seconds:.1f}", f"{done.loss:.6g}", "; ".join(done.warnings)]
        writer.writerow([job.output.name, job.photo, job.painting, *state])
    with atomic_write(path) as temporary:
        temporary.write_text(text.getvalue(), "utf-8", newline="")


def _write_sheet(path: Path, jobs: Sequence[Job]) -> None:
    """Write a sheet: a row for each photo, a column for each painting."""
    paintings = list(dict.fromkeys(job.painting for job in jobs))
    photos = list(dict.fromkeys(job.photo for job in jobs))[: max(1, _MOST_ON_SHEET // len(paintings))]
    by_pair = {(job.photo, job.painting): job.output for job in jobs}
    is_table = all((photo, painting) in by_pair for photo in photos for painting in paintings)
    groups = (
        [[by_pair[photo, painting] for painting in paintings] for photo in photos]
        if is_table
        else [[job.output for job in jobs[start : start + 4]] for start in range(0, len(jobs), 4)]
    )
    rows = [[_small(output) for output in group] for group in groups]
    labels = [title(painting) for painting in paintings] if is_table else []
    captions = [] if is_table else [[title(output) for output in group] for group in groups]
    drawn = sheet(rows, columns=labels, captions=captions, height=_SHEET_HEIGHT)
    images.write(path, images.from_array(drawn), quality=90, recipe=_MARK)


def _small(path: Path) -> images.FloatImage:
    rgb = images.read(path).rgb
    height, width = rgb.shape[:2]
    return images.resize(rgb, (_SHEET_HEIGHT, max(1, round(width * _SHEET_HEIGHT / height))))
