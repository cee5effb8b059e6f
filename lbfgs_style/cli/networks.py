"""The command ``lbfgs-style networks``: list, describe, verify and pull networks."""

from __future__ import annotations

import re
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import networks
from ..errors import NetworkError, NetworkFileError, OptionError
from ..graphs.network_graph import feature_shapes
from ..graphs.receptive_fields import pixels_across
from ..networks import adapt
from ..networks.catalog import FACE_DETECTOR
from ..objective.gradient_check import check_gradient
from ..system.cache import cache_folder
from ..system.files import atomic_write
from .parsing import names, numbers
from .progress import show_log
from .streams import can_draw, show_table

if TYPE_CHECKING:
    from ..networks.download import Progress

app = typer.Typer(help="List, inspect, verify and download feature networks.", no_args_is_help=True)

Name = Annotated[
    str, typer.Argument(help="A name from `list`, or the path of an .onnx file.", metavar="NAME")
]


@app.command("list")
def list_networks() -> None:
    """List the known networks, with the paths of those on this machine."""
    known = (*networks.KNOWN, FACE_DETECTOR)
    rows = [(row.name, _where(row.name), row.summary, row.licence) for row in known]
    show_table(("name", "file", "what it is", "licence of the weights"), rows)


@app.command()
def info(name: Name) -> None:
    """Show the source, licence and layers of a network; of a classification network, what could be layers."""
    path = networks.find(name)
    model = networks.read_model(path)
    try:
        network = networks.from_model(model, path=path)
    except NetworkError as refusal:
        _show_offered(adapt.offered_layers(model, str(path)), refusal)
        return
    fields = {
        "name": network.name,
        "file": str(network.path),
        "source": network.source,
        "licence": network.licence,
        "weights sha256": network.weights_sha256,
        "style layers": " ".join(network.style_layers),
        "content layers": " ".join(network.content_layers),
    }
    if network.size is not None:
        fields["size"] = f"{network.size[1]}×{network.size[0]} pixels alone"
    for key, value in fields.items():
        typer.echo(f"{key + ':':<16}{value}")
    typer.echo("layers:")
    size = network.size or (_SIDE, _SIDE)
    for layer, (channels, height, _) in feature_shapes(network.model, size, network.layers).items():
        reach = _reach(pixels_across(network.model, layer))
        typer.echo(f"  {layer}: {channels} channels, stride {size[0] / height:.3g}, {reach}")


# Side in pixels of the image for which sizes of layers are shown.
_SIDE = 512


def _show_offered(layers: Mapping[adapt.Layer, int | None], refusal: NetworkError) -> None:
    """Show what `add` takes as layers of a network that is refused as a feature network."""
    typer.echo(f"not a feature network: {refusal}")
    typer.echo("`lbfgs-style networks add` makes one of it; --layers and --content take any of")
    for layer, across in layers.items():
        size = f"{layer.channels} channels, stride {layer.stride:.3g}"
        typer.echo(f"  {layer.name}: {layer.operator}, {size}, {_reach(across)}")


def _reach(across: int | None) -> str:
    """Return how far a layer sees."""
    return "sees the whole image" if across is None else f"sees {across} pixels across"


@app.command()
def add(
    model: Annotated[Path, typer.Argument(help="The .onnx file of a classification network.")],
    name: Annotated[str, typer.Option(help="What --network calls it.")],
    mean: Annotated[
        str,
        typer.Option(help="What was subtracted from red, green and blue (with --bgr blue, green, red)."),
    ] = "0,0,0",
    std: Annotated[str, typer.Option(help="What they were divided by.")] = "1,1,1",
    white: Annotated[float, typer.Option("--range", help="The value of white: 1 or 255.")] = 1.0,
    bgr: Annotated[bool, typer.Option("--bgr", help="Its channels are blue, green, red.")] = False,
    layers: Annotated[
        str | None,
        typer.Option(help="Style layers, by names of tensors.", show_default="one activation of each size"),
    ] = None,
    content: Annotated[
        str | None, typer.Option(help="Content layer.", show_default="an activation in the middle")
    ] = None,
    licence: Annotated[str, typer.Option(help="Licence of the weights.")] = "unknown",
    force: Annotated[bool, typer.Option("--force", help="Replace a network of that name.")] = False,
) -> None:
    """Adapt a classification network in ONNX, check its gradient, and keep it in the cache.

    Its input may be of fixed size, NHWC, and of any name; its head is dropped. Colours as torchvision wants
    them: --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225.
    """
    if not re.fullmatch(r"[\w.-]{1,60}", name) or name.endswith(".onnx") or name in _RESERVED:
        raise NetworkError(
            f"--name must be a word of letters, digits, . - _ that no known network has, got {name!r}."
        )
    target = cache_folder() / f"{name}.onnx"
    if target.exists() and not force:
        raise NetworkFileError(f"{target}: is there already: choose another --name, or add --force.")
    colours = adapt.Colours(
        mean=_three("--mean", mean), std=_three("--std", std, positive=True), range=white, is_bgr=bgr
    )
    adapted = adapt.adapt(
        networks.read_model(model),
        colours,
        name=name,
        source=model.name,
        licence=licence,
        layers=tuple(names(layers) or ()),
        content=content,
    )
    network = networks.from_model(adapted)
    error = check_gradient(network)
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(target) as temporary:
        temporary.write_bytes(adapted.SerializeToString())
    if network.size is not None:
        typer.echo(f"{name} takes images of {network.size[1]}×{network.size[0]} pixels alone")
    typer.echo(
        f"{target}: style layers {' '.join(network.style_layers)}, content layer "
        f"{' '.join(network.content_layers)}; the gradient is within {error:.1%} of central differences"
    )


# Names that are taken.
_RESERVED = frozenset(row.name for row in (*networks.KNOWN, FACE_DETECTOR))


def _three(option: str, text: str, *, positive: bool = False) -> tuple[float, ...]:
    """Return three numbers, or one for all three channels."""
    values = numbers(option, text, "0.485,0.456,0.406")
    values = values * 3 if len(values) == 1 else values
    if len(values) != 3 or (positive and min(values) <= 0):
        raise OptionError(f"{option} must be three numbers{' above 0' if positive else ''}, got {text!r}.")
    return values


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
