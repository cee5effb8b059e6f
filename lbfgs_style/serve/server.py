"""The application, run by uvicorn."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

import numpy as np

from .. import networks
from ..errors import OptionError
from ..pipeline.style_transfer import StyleTransfer
from ..settings.options import Options
from .jobs import Jobs
from .requests import Limits, painter_of

# Characters of the shortest token that a user may choose.
LEAST_TOKEN = 16

# Seconds that open connections get when the server ends.
_GRACE_SECONDS = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the server listens, and what its address contains.

    Attributes
    ----------
    host : str
        Address or name of an interface.
    port : int
        0 for any that is free.
    token : str
        First part of every path.
    names : tuple of str
        Further names under which it is reached, such as that of a proxy.
    """

    host: str
    port: int
    token: str
    names: tuple[str, ...] = ()

    @property
    def hosts(self) -> frozenset[str]:
        """Names that a Host header may have, in small letters; any numerical address may stand there, too.

        A page of another site can make a name of its own point at this machine, but not a number.
        """
        return frozenset(name.lower() for name in ("localhost", self.host, *self.names))


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def check_token(token: str) -> None:
    """Raise OptionError for a token that can be guessed, or that cannot be a part of an address."""
    if (
        len(token) < LEAST_TOKEN
        or not all(letter.isalnum() or letter in "-_" for letter in token)
        or (not token.isascii())
    ):
        raise OptionError(
            f'--token must have at least {LEAST_TOKEN} letters, digits, - or _; `python -c "import secrets; '
            'print(secrets.token_urlsafe())"` makes one.'
        )


def serve(
    address: Address,
    network: str,
    options: Options,
    limits: Limits,
    *,
    most_waiting: int,
    ready: Callable[[str], None],
) -> None:
    """Serve the page until Ctrl-C or SIGTERM.

    Parameters
    ----------
    address : Address
        Where to listen.
    network : str
        Name or file of the network, loaded once.
    options : Options
        Device, threads and memory of every job.
    limits : Limits
        What a request may ask for.
    most_waiting : int
        Jobs that may wait.
    ready : function
        Gets the address of the page once it can be opened.

    Raises
    ------
    OptionError
        The address cannot be used, or starlette and uvicorn are not installed.
    NetworkError
        The network is unknown, missing or unfit.
    """
    try:
        import uvicorn

        from .app import Service, create
        from .guard import Guard
    except ModuleNotFoundError as error:
        raise OptionError(
            f"serve needs {error.name}, which is not installed: pip install 'lbfgs-style[serve]'."
        ) from error
    loaded = networks.load(network)
    listener = _listen(address)
    port = listener.getsockname()[1]
    _warm_up(loaded, options)
    jobs = Jobs(painter_of(loaded, limits), most_waiting)
    app = Guard(
        create(Service(jobs, Path(network).name, options, limits)),
        address.token,
        address.hosts,
        limits.max_bytes,
    )
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,  # its lines would have the token
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    name = f"[{address.host}]" if ":" in address.host else address.host
    ready(f"http://{name}:{port}/{address.token}/")

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            jobs.stop()  # else the streams of events would be cut off
            super().handle_exit(sig, frame)

    try:
        Server(config).run(sockets=[listener])
    finally:
        jobs.close()
        listener.close()


def _warm_up(network: networks.FeatureNetwork, options: Options) -> None:
    """Paint a tiny image, so that the first job does not wait for imports and for kernels to be packed."""
    gray = np.full((64, 64, 3), 0.5, np.float32)
    once = replace(options, size=64, iterations=1)
    StyleTransfer(network, options=once, keep_sessions=False).run(gray, gray)


def _listen(address: Address) -> socket.socket:
    """Return a socket that listens, or raise OptionError."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address.host, address.port))
        listener.listen()  # what connects before uvicorn is ready waits for it
    except OSError as error:
        listener.close()
        raise OptionError(
            f"--host {address.host} --port {address.port}: cannot be listened on: {error.strerror or error}; "
            "--port 0 takes any port that is free."
        ) from error
    return listener
