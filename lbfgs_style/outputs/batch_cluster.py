"""Paint the pictures of a batch on a Dask cluster: files go out as bytes, encoded pictures come back.

Workers see none of the client's files. What several pictures share, paintings and the network's file, are
tasks of their own, whose result Dask keeps on the workers and makes again where a worker dies with it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..errors import OptionError, StyleError
from ..images.codec import write_file
from ..images.formats.registry import write_text
from .batch_jobs import Job
from .batch_workers import ATTEMPTS, Done, Settings
from .cluster_tasks import Network, Painted, Task, paint_one
from .input_files import Source, file_bytes, fingerprint
from .recipes import recipe_text
from .run_inputs import RunInputs, StyleInput

if TYPE_CHECKING:
    from distributed import Client, Future

_NO_SCHEDULER = (
    "--cluster {address}: no Dask scheduler answers there; expected the address of one, such as "
    "tcp://192.168.0.2:8786: start it with dask scheduler."
)

# How addresses of schedulers begin, and the port of those that name none.
_SCHEMES, _PORT = ("tcp", "tls"), 8786

# Seconds until a scheduler must have answered.
_TIMEOUT = 5

# Seconds that a cluster may be without workers.
_PATIENCE = 60

# Seconds between two looks at the tasks.
_POLL = 0.1


def network_of(name: str, sha256: str) -> Network:
    """Return the network of a name or an ``.onnx`` file, whose weights have a fingerprint."""
    is_file = name.lower().endswith(".onnx")
    return Network(name, file_bytes(Path(name)) if is_file else None, sha256)


def paint(
    jobs: Sequence[Job],
    settings: Settings,
    *,
    address: str,
    network: Network,
    cancel: threading.Event,
    on_progress: Callable[[float], None] = lambda pictures: None,
) -> Iterator[Done]:
    """Yield what becomes of each job on a cluster, in the order in which they end, as `batch_workers.paint`.

    Each picture takes one thread of a worker, and the share of its memory. One whose worker dies is begun
    once more, on another.

    Parameters
    ----------
    jobs, settings, cancel, on_progress
        As for `batch_workers.paint`.
    address : str
        Of the scheduler, such as ``tcp://192.168.0.2:8786``.
    network : Network
        From `network_of`.

    Raises
    ------
    OptionError
        Dask is not installed, there is no scheduler at the address, or it has no workers.
    """
    with _connected(address) as client:
        batch = _Batch(client, jobs, settings, network)
        try:
            while batch.is_unfinished and not cancel.is_set():
                yield from batch.advance()
                on_progress(sum(batch.shares.values()))
                time.sleep(_POLL)
        finally:
            batch.stop()


@contextmanager
def _connected(address: str) -> Generator[Client]:
    """Connect to the scheduler at an address, which must have workers."""
    try:
        import dask.config
        from distributed import Client
    except ModuleNotFoundError as error:
        raise OptionError(
            "A cluster needs Dask: pip install 'lbfgs-style[cluster]', here and on its machines."
        ) from error
    # Photos go along with the tasks, which Dask finds large.
    config = {"distributed.admin.large-graph-warning-threshold": "1 GiB"}
    # What a cluster loses is reported picture by picture; Dask's threads log even after the client is closed.
    for name in ("distributed", "distributed.client", "distributed.utils"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    with dask.config.set(config):
        _require_scheduler(address)
        try:
            client = Client(address, timeout=_TIMEOUT, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            raise OptionError(_NO_SCHEDULER.format(address=address)) from error
        try:
            if not client.nthreads():
                raise OptionError(
                    f"--cluster {address}: the scheduler has no workers: start them with "
                    f"dask worker {address}."
                )
            yield client
        finally:
            client.close(timeout=_TIMEOUT)


def _require_scheduler(address: str) -> None:
    """Raise OptionError where no scheduler answers at an address: a client would try for long."""
    try:
        parts = urlsplit(address)
        if parts.scheme not in _SCHEMES or not parts.hostname:
            raise ValueError
        socket.create_connection((parts.hostname, parts.port or _PORT), timeout=_TIMEOUT).close()
        asyncio.run(asyncio.wait_for(_shake_hands(address), _TIMEOUT))
    except (TimeoutError, OSError, ValueError) as error:
        raise OptionError(_NO_SCHEDULER.format(address=address)) from error


async def _shake_hands(address: str) -> None:
    """Connect as a client of Dask does; another kind of server never answers."""
    from distributed.comm.core import connect
    from distributed.security import Security

    more: Any = Security().get_connection_args("client")
    comm = await connect(address, timeout=_TIMEOUT, **more)
    comm.abort()


class _Batch:
    """The pictures of a batch at a cluster."""

    def __init__(self, client: Client, jobs: Sequence[Job], settings: Settings, network: Network) -> None:
        self.shares = dict.fromkeys(range(len(jobs)), 0.0)
        self._client, self._jobs, self._settings, self._network = client, jobs, settings, network
        self._waiting, self._running = list(self.shares), dict[int, "Future[Painted]"]()
        self._places = dict[int, str]()  # the worker of each picture that runs
        self._sources = dict[int, tuple[Source, Source]]()
        self._shared = dict[str, "Future[bytes]"]()
        self._starts, self._submitted = Counter[int](), Counter[int]()
        self._name = f"lbfgs-style-{uuid.uuid4().hex}"
        self._seen = time.monotonic()
        client.subscribe_topic(self._name, self._note)

    @property
    def is_unfinished(self) -> bool:
        """Whether jobs wait or run."""
        return bool(self._waiting or self._running)

    def advance(self) -> Iterator[Done]:
        """Yield the jobs that have ended, and send others."""
        threads = self._threads()
        if threads is None:
            for number in (*self._running, *self._waiting):
                yield self._failed(number, "the cluster is gone, or has no workers any more")
            self._running.clear()
            self._waiting.clear()
            return
        while self._waiting and (free := self._free(threads)) is not None:
            number = self._waiting.pop(0)
            try:
                self._running[number] = self._submit(number, free)
                self._places[number] = free
            except StyleError as error:
                yield self._failed(number, str(error))
        for number, future in list(self._running.items()):
            done = self._done(number, future)
            if done is not None:
                self.shares[number] = 1.0
                yield done

    def stop(self) -> None:
        """Cancel what runs: a worker ends a cancelled picture within an iteration."""
        if self._running and self._client.status == "running":
            self._client.cancel(list(self._running.values()))

    def _threads(self) -> Mapping[str, int] | None:
        """Return the threads of each worker; None where the cluster is gone or without workers."""
        now = time.monotonic()
        if self._client.status != "running":
            return None
        try:
            threads: Any = self._client.nthreads()
        except OSError:
            return None
        if threads:
            self._seen = now
        return threads if now - self._seen < _PATIENCE else None

    def _free(self, threads: Mapping[str, int]) -> str | None:
        """Return a worker with a thread that has no picture, or None.

        Left to itself, Dask sends pictures where the painting is, and so all of them to one worker.
        """
        taken = Counter(self._places[number] for number in self._running)
        return next((address for address, count in threads.items() if taken[address] < count), None)

    def _submit(self, number: int, address: str) -> Future[Painted]:
        """Send a picture to a worker; raise ImageFileError where a file cannot be read."""
        job = self._jobs[number]
        photo, painting = file_bytes(job.photo), file_bytes(job.painting)
        self._sources[number] = (
            Source(str(job.photo), fingerprint(photo)),
            Source(str(job.painting), fingerprint(painting)),
        )
        self._submitted[number] += 1
        return self._client.submit(
            paint_one,
            Task(job, number, self._name, self._settings),
            photo,
            self._share(painting),
            replace(self._network, data=None),
            None if self._network.data is None else self._share(self._network.data),
            key=f"{self._name}-{number}-{self._submitted[number]}",
            pure=False,
            workers=[address],
            allow_other_workers=True,  # where this one dies
        )

    def _share(self, data: bytes) -> Future[bytes]:
        """Return bytes as a task, whose result workers pass on to each other."""
        key = f"{self._name}-{fingerprint(data)}"
        if key not in self._shared:
            self._shared[key] = self._client.submit(bytes, data, key=key)
        return self._shared[key]

    def _done(self, number: int, future: Future[Painted]) -> Done | None:
        """Return what became of a job; None while it runs, or is begun again."""
        died = f"its worker died {ATTEMPTS} times: too little memory, perhaps"
        if future.status == "pending":
            if self._starts[number] <= ATTEMPTS:
                return None
            self._client.cancel([future])
            del self._running[number]
            return Done(self._jobs[number], error=died)
        from distributed import KilledWorker

        del self._running[number]
        if future.status == "finished":
            return self._written(number, future.result())
        error = future.exception(timeout=_TIMEOUT) if future.status == "error" else None
        if isinstance(error, KilledWorker):
            if self._starts[number] >= ATTEMPTS or self._submitted[number] >= ATTEMPTS:
                return Done(self._jobs[number], error=died)
            self._waiting.insert(0, number)
            return None
        text = "the cluster has lost it" if error is None else f"{type(error).__name__}: {error}"
        return Done(self._jobs[number], error=f"its worker failed: {text}")

    def _written(self, number: int, painted: Painted) -> Done:
        """Write a picture with its recipe; return what became of its job."""
        job, done = self._jobs[number], painted.done
        if painted.settings is None:
            return done
        content, style = self._sources[number]
        inputs = RunInputs(
            content=content,
            styles=(StyleInput(style, scale=self._settings.style_scale),),
            network=self._network.name,
        )
        text = recipe_text(painted.settings, inputs, quality=self._settings.quality, folder=job.output.parent)
        try:
            write_file(job.output, lambda file: file.write(write_text(painted.data, text)))
        except StyleError as error:
            return replace(done, error=str(error))
        return done

    def _failed(self, number: int, error: str) -> Done:
        self.shares[number] = 1.0
        return Done(self._jobs[number], error=error)

    def _note(self, event: tuple[float, Mapping[str, Any]]) -> None:
        """Note what a worker reports: that it begins a picture, or how far it is."""
        number, share = event[1]["number"], event[1]["share"]
        if share is None:
            self._starts[number] += 1
        elif self.shares[number] < 1:
            self.shares[number] = min(share, 0.99)
