"""The command ``lbfgs-style networks``: list, describe, verify and pull networks."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from .. import networks
from ..errors import NetworkFileError
from ..networks.catalog import FACE_DETECTOR
from .progress import show_log
from .streams import can_draw, show_table

if TYPE_CHECKING:
    from ..networks.download import Progress

app = typer.Typer(help="List, inspect, verify and download feature networks.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="A name from `list`, or the path of an .onnx file.")]


@app.command("list")
def list_networks() -> None:
    """List the known networks, with the paths of those on this machine."""
    known = (*networks.KNOWN, FACE_DETECTOR)
    rows = [(row.name, _where(row.name), row.summary, row.licence) for row in known]
    show_table(("name", "file", "what it is", "licence of the weights"), rows)


@app.command()
def info(name: Name) -> None:
    """Show the source, licence and layers of a network."""
    network = networks.load(name)
    fields = {
        "name": network.name,
        "file": str(network.path),
        "source": network.source,
        "licence": network.licence,
        "weights sha256": network.weights_sha256,
        "layers": " ".join(network.layers),
        "style layers": " ".join(network.style_layers),
        "content layers": " ".join(network.content_layers),
    }
    for key, value in fields.items():
        typer.echo(f"{key + ':':<16}{value}")


@app.command()
def path(name: Name) -> None:
    """Print the path of a network's file."""
    typer.echo(networks.find(name))


@app.command()
def verify(name: Name) -> None:
    """Check the file of a network: its structure, and its weights against their fingerprint."""
    network = networks.load(name)
    networks.verify(network)
    typer.echo(f"{network.name}: ok ({network.path})")


@app.command()
def pull(
    name: Annotated[str, typer.Argument(help="A name from `list`.")],
    force: Annotated[bool, typer.Option("--force", help="Download again even if it is here.")] = False,
    url: Annotated[str | None, typer.Option("--url", help="Another address of the same file.")] = None,
) -> None:
    """Download a network and convert it to ONNX; prints the path of the file."""
    from ..networks.pull import pull as pull_network

    with show_log(quiet=False, verbose=False), _progress(name) as progress:
        result = pull_network(name, progress=progress, url=url, force=force)
    typer.echo(result)


def _where(name: str) -> str:
    try:
        return str(networks.find(name))
    except NetworkFileError:
        return "not here"


@contextmanager
def _progress(name: str) -> Generator[Progress]:
    """Yield a callback that draws a bar on stderr, or prints a line for every tenth to a file or pipe."""
    if not can_draw(sys.stderr):
        yield _PlainProgress(name)
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=None)

        def draw(done: int, total: int | None) -> None:
            bar.update(task, completed=done, total=total)

        yield draw


@dataclass(slots=True)
class _PlainProgress:
    """Prints a line for every tenth of a download, or for every 10 MB of one of unknown length."""

    name: str
    _last: int = -1

    def __call__(self, done: int, total: int | None) -> None:
        tenth = 10 * done // total if total else done // 10_000_000
        if tenth != self._last:
            self._last = tenth
            share = f"{10 * tenth} %" if total else f"{done / 1e6:.0f} MB"
            typer.echo(f"{self.name}: {share}", err=True)
