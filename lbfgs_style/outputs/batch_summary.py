"""What a batch leaves in its folder besides the pictures: a table of what became of each, and a sheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from .. import images
from ..images.formats.registry import read_text
from ..system.files import atomic_write
from .batch_jobs import Job
from .batch_workers import Done
from .contact_sheet import sheet
from .input_files import title

# Names of the files.
TABLE, SHEET = "pictures.csv", "sheet.jpg"

# The first line of the table, and the text inside the sheet, by which they are recognised.
_COLUMNS = ("picture", "photo", "painting", "state", "seconds", "loss", "message")
_MARK = "contact sheet of lbfgs-style batch"

# Height in pixels of an image on the sheet, and the largest number of images on it.
_HEIGHT, _MOST = 160, 400


def find_foreign(folder: Path) -> Path | None:
    """Return a file of a folder that has the name of the table or the sheet and is of something else."""
    table, sheet_file = folder / TABLE, folder / SHEET
    if table.exists() and not table.read_bytes().startswith(",".join(_COLUMNS).encode()):
        return table
    if sheet_file.exists() and read_text(sheet_file.read_bytes()) != _MARK:
        return sheet_file
    return None


def write_table(folder: Path, jobs: Sequence[Job], results: Sequence[Done]) -> None:
    """Write what became of every job as CSV, below the rows of pictures that other batches made."""
    path = folder / TABLE
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


def write_sheet(folder: Path, jobs: Sequence[Job]) -> None:
    """Write a sheet: a row for each photo, a column for each painting."""
    paintings = list(dict.fromkeys(job.painting for job in jobs))
    photos = list(dict.fromkeys(job.photo for job in jobs))[: max(1, _MOST // len(paintings))]
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
    drawn = sheet(rows, columns=labels, captions=captions, height=_HEIGHT)
    images.write(folder / SHEET, images.from_array(drawn), quality=90, recipe=_MARK)


def _small(path: Path) -> images.FloatImage:
    rgb = images.read(path).rgb
    height, width = rgb.shape[:2]
    return images.resize(rgb, (_HEIGHT, max(1, round(width * _HEIGHT / height))))
