"""What a worker of a Dask cluster does: it paints a picture from bytes, and returns it encoded."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from .. import images, networks
from ..errors import NetworkError, StyleError
from ..pipeline.results import STOP, Iterate
from ..pipeline.style_statistics import SUFFIX, StyleStatistics
from ..pipeline.style_transfer import StyleTransfer
from ..settings.options import Options
from . import run_inputs
from .batch_jobs import Job
from .batch_workers import Done, Kept, Settings, ended
from .input_files import Source
from .run_inputs import LoadedFile, RunInputs, StyleInput

# Seconds between two reports of a worker.
_REPORT = 0.5


@dataclass(frozen=True, slots=True)
class Network:
    """The network of a batch, as the workers get it.

    Attributes
    ----------
    name : str
        Name or path, as the user typed it.
    data : bytes or None
        The file; None for a name, which each worker looks up itself.
    sha256 : str
        Fingerprint of the weights, which those of a worker must have.
    """

    name: str
    data: bytes | None
    sha256: str


@dataclass(frozen=True, slots=True)
class Painted:
    """What a worker returns: what became of the job, and the picture without its recipe."""

    done: Done
    data: bytes = b""
    settings: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """A job at a worker."""

    job: Job
    number: int
    topic: str
    settings: Settings


def paint_one(task: Task, photo: bytes, painting: bytes, network: Network, data: bytes | None) -> Painted:
    """Paint a picture at a worker, and encode it."""
    from distributed import get_worker

    worker = get_worker()
    worker.log_event(task.topic, {"number": task.number, "share": None})
    options = _options_at(worker, task.settings.options)
    results: list[Painted] = []

    def work(job: Job) -> float:
        transfer = _transfer(replace(network, data=data), options)
        painted = _run(worker, task, transfer, photo, painting)
        results.append(painted)
        return painted.done.loss

    kept = Kept(threading.get_ident())
    logger = logging.getLogger("lbfgs_style")
    logger.addHandler(kept)
    try:
        done = ended(task.job, kept, work)
    finally:
        logger.removeHandler(kept)
    return replace(results[0], done=done) if results else Painted(done)


def _options_at(worker: Any, options: Options) -> Options:
    """Return options with one thread, and a worker's memory divided by its threads, unless the user chose."""
    limit = worker.memory_manager.memory_limit
    memory = options.memory or (int(limit) // worker.state.nthreads if limit else None)
    return replace(options, threads=options.threads or 1, memory=memory)


# One for each worker; pictures of several threads share its network.
@lru_cache(maxsize=1)
def _transfer(network: Network, options: Options) -> StyleTransfer:
    """Return what paints at this worker."""
    model = (
        networks.load(network.name)
        if network.data is None
        else networks.from_bytes(network.data, Path(network.name))
    )
    sha256 = networks.weights_sha256(model.model)
    if sha256 != network.sha256:
        raise NetworkError(
            f"The worker has another network {network.name!r}: expected weights of sha256 "
            f"{network.sha256[:12]}…, got {sha256[:12]}…; pull it there, or send an .onnx file."
        )
    return StyleTransfer(model, options=options, keep_sessions=False)


@lru_cache(maxsize=1)
def _style(data: bytes, name: str, max_pixels: int) -> Any:
    """Return a style that came as bytes; the last one is kept, so that it is measured once."""
    if name.lower().endswith(SUFFIX):
        return StyleStatistics.decode(data, name)
    return images.decode(data, name=name, max_pixels=max_pixels)


def _run(worker: Any, task: Task, transfer: StyleTransfer, photo: bytes, painting: bytes) -> Painted:
    """Paint a picture; raise StyleError where it was cancelled."""
    settings, job = task.settings, task.job
    content, style = str(job.photo), str(job.painting)
    picture = images.decode(photo, name=content, max_pixels=settings.max_pixels)
    image = _style(painting, style, settings.max_pixels)
    none = Source("", "")  # the client has the fingerprints
    loaded = RunInputs(
        content=LoadedFile(none, picture),
        styles=(StyleInput(LoadedFile(none, image), scale=settings.style_scale),),
        network=settings.network,
    )
    key, reported = worker.get_current_task(), [time.monotonic()]

    def note(iterate: Iterate) -> object:
        state = worker.state.tasks.get(key)
        if state is None or state.state == "cancelled":
            return STOP
        if time.monotonic() - reported[0] > _REPORT:
            reported[0] = time.monotonic()
            worker.log_event(task.topic, {"number": task.number, "share": iterate.progress})
        return None

    result = run_inputs.run(transfer, loaded, on_iterate=note, cancel=None)
    if result.stop_reason == "callback":
        raise StyleError("stopped")
    data = images.encode(result.picture, job.output.suffix.removeprefix("."), quality=settings.quality)
    done = Done(job, loss=result.scales[-1].loss_end)
    return Painted(done, data, dict(result.settings))
