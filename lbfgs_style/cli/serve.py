"""The command ``lbfgs-style serve``."""

from __future__ import annotations

import secrets
import webbrowser
from typing import Annotated

import typer

from ..errors import OptionError
from ..pipeline.style_transfer import DEFAULT_NETWORK
from ..serve import server
from ..serve.requests import Limits
from ..settings.options import Options
from ..settings.options_file import with_values
from .parsing import Network, Typed, command_line


@command_line("device", "threads", "memory", "convolution")
def serve(
    typed: Typed,
    network: Network = DEFAULT_NETWORK,
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on. Others than 127.0.0.1 let other machines in, and need --token.",
            rich_help_panel="Basics",
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port; 0 takes any that is free.", rich_help_panel="Basics")
    ] = 8020,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="LBFGS_STYLE_TOKEN",
            show_envvar=True,
            help="First part of every path, without which nothing is answered.",
            show_default="a new one",
            rich_help_panel="Basics",
        ),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(
            help="Name under which others reach the server, such as that of a proxy; may be repeated.",
            show_default=False,
            rich_help_panel="Basics",
        ),
    ] = None,
    open_page: Annotated[
        bool, typer.Option("--open", help="Open the page in the browser.", rich_help_panel="Basics")
    ] = False,
    max_size: Annotated[
        int, typer.Option(min=16, help="Longest side of a result in pixels.", rich_help_panel="Basics")
    ] = Limits().max_size,
    max_pixels: Annotated[
        int,
        typer.Option(
            min=1,
            help="Largest height × width of the images of a request together.",
            rich_help_panel="Basics",
        ),
    ] = Limits().max_pixels,
    max_bytes: Annotated[
        int, typer.Option(min=1024, help="Bytes of the largest request.", rich_help_panel="Basics")
    ] = Limits().max_bytes,
    max_waiting: Annotated[
        int, typer.Option(min=1, help="Jobs that may wait; more are refused.", rich_help_panel="Basics")
    ] = 8,
) -> None:
    """Serve a page to paint on, and the same as an HTTP API, on this machine.

    Its address has a token: whoever has the address may paint.
    """
    if token is None:
        if not server.is_loopback(host):
            raise OptionError(
                f"--host {host} lets other machines in: give --token, or LBFGS_STYLE_TOKEN in the "
                "environment."
            )
        token = secrets.token_urlsafe()
    server.check_token(token)
    options = with_values(Options(), typed.values(), source="serve")
    limits = Limits(max_bytes, max_pixels, max_size)
    address = server.Address(host=host, port=port, token=token, names=tuple(name or ()))

    def ready(page: str) -> None:
        typer.echo(f"{page}  (its API: {page}docs; Ctrl-C ends)")
        if open_page:
            webbrowser.open(page)

    server.serve(address, network, options, limits, most_waiting=max_waiting, ready=ready)
