"""Jobs of the server: a bounded queue, one thread that paints, and what is kept of finished jobs."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import StyleError
from ..outputs.contact_sheet import jpeg
from ..outputs.run_inputs import RunInputs
from ..pipeline.results import Iterate, Result
from ..settings.options import Options

log = logging.getLogger("lbfgs_style")

State = Literal["queued", "running", "finished", "stopped", "cancelled", "failed"]
"""``stopped`` has the best image so far, ``cancelled`` no image."""

ENDED: frozenset[State] = frozenset(("finished", "stopped", "cancelled", "failed"))

# Jobs that are kept after their end, and bytes of their files in all; the oldest are forgotten.
MOST_KEPT = 50
MOST_BYTES = 2**29

# Identifiers of forgotten jobs that are remembered, so that they differ from unknown ones.
_MOST_FORGOTTEN = 10_000

# Seconds from one preview to the next, and pixels of its longer side.
_PREVIEW_SECONDS = 0.25
_PREVIEW_SIDE = 640


class QueueFull(Exception):
    """Raised when as many jobs wait as may."""


class UnknownJob(Exception):
    """Raised for an identifier that no job has or had."""


class ForgottenJob(Exception):
    """Raised for a job that ended so long ago that its images are no longer kept."""


@dataclass(frozen=True, slots=True)
class Upload:
    """An image file as it came: its name without folders, and its bytes."""

    name: str
    data: bytes = field(repr=False)


@dataclass(slots=True, eq=False)
class Job:
    """A picture that is asked for, and what has become of it.

    Attributes
    ----------
    inputs : RunInputs of Upload
        The files.
    options : Options
        Of the run.
    id : str
        Identifier, 16 hexadecimal digits.
    state : State
        Where it is.
    version : int
        Grows with every change.
    iterate : mapping
        Numbers of the last iteration: progress, scale, iteration, loss, …
    preview, before, image : bytes or None
        JPEG of the image so far and of the content image, PNG of the result with its recipe.
    preview_number : int
        Previews so far.
    error : str
        Why it failed.
    """

    inputs: RunInputs[Upload]
    options: Options
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    state: State = "queued"
    version: int = 0
    iterate: dict[str, Any] = field(default_factory=dict[str, Any])
    preview: bytes | None = None
    preview_number: int = 0
    before: bytes | None = None
    image: bytes | None = None
    error: str = ""
    cancel: threading.Event = field(default_factory=threading.Event)
    _listeners: list[Callable[[], None]] = field(default_factory=list[Callable[[], None]])

    def change(self, **values: Any) -> None:
        """Set attributes together, and call the listeners."""
        for name, value in values.items():
            setattr(self, name, value)
        self.version += 1
        for listener in tuple(self._listeners):
            listener()

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call a function, from any thread, after each change; return a function that ends this."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    @property
    def kept_bytes(self) -> int:
        """Bytes of the files that are kept with it."""
        files = [upload.data for _, upload in self.inputs]
        return sum(len(data) for data in (*files, self.preview, self.before, self.image) if data)

    def summary(self) -> dict[str, Any]:
        """Return what an answer says of it."""
        return {
            "id": self.id,
            "state": self.state,
            "content": self.inputs.content.name,
            "styles": [style.image.name for style in self.inputs.styles],
            "size": self.options.size,
            "preview": self.preview_number,
            **self.iterate,
            **({"error": self.error} if self.error else {}),
        }


@dataclass(frozen=True, slots=True)
class Painted:
    """What a painter makes of a job: the PNG, and the size and time of the run."""

    png: bytes
    result: Result


# Paints a job; None where it was cancelled before the first iteration.
Painter = Callable[[Job, Callable[[Iterate], None]], Painted | None]


class Jobs:
    """All jobs of a server.

    Parameters
    ----------
    painter : function
        Paints one job.
    most_waiting : int
        Jobs that may wait.
    """

    def __init__(self, painter: Painter, most_waiting: int) -> None:
        self._painter, self._most_waiting = painter, most_waiting
        self._jobs: dict[str, Job] = {}  # in the order in which they came
        self._forgotten: deque[str] = deque(maxlen=_MOST_FORGOTTEN)
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="painter", daemon=True)
        self._thread.start()

    def submit(self, inputs: RunInputs[Upload], options: Options) -> Job:
        """Append a job to the queue.

        Raises
        ------
        QueueFull
            As many jobs wait as may.
        """
        with self._changed:
            if sum(job.state == "queued" for job in self._jobs.values()) >= self._most_waiting:
                raise QueueFull
            job = Job(inputs, options)
            self._jobs[job.id] = job
            self._forget()
            self._changed.notify()
        return job

    def get(self, identifier: str) -> Job:
        """Return a job.

        Raises
        ------
        UnknownJob, ForgottenJob
            There is none of this identifier, or no longer.
        """
        with self._changed:
            if identifier in self._jobs:
                return self._jobs[identifier]
            raise ForgottenJob if identifier in self._forgotten else UnknownJob

    def all(self) -> list[Job]:
        """Return the jobs that are kept, oldest first."""
        with self._changed:
            return list(self._jobs.values())

    def waiting_before(self, job: Job) -> int:
        """Return how many jobs are painted or wait before one that waits."""
        before = 0
        for other in self.all():
            if other is job:
                break
            before += other.state not in ENDED
        return before

    def cancel(self, identifier: str) -> Job:
        """Stop a job, or take it out of the queue; one that has ended stays as it is."""
        job = self.get(identifier)
        with self._changed:
            job.cancel.set()
            if job.state == "queued":
                job.change(state="cancelled")
        return job

    def stop(self) -> None:
        """Stop the job that is painted and take all others out of the queue; streams of events end then."""
        with self._changed:
            self._closed = True
            for identifier in self._jobs:
                self.cancel(identifier)
            self._changed.notify()

    def close(self) -> None:
        """Stop, and wait for the thread's end."""
        self.stop()
        self._thread.join(timeout=5)

    def _next(self) -> Job | None:
        with self._changed:
            while not self._closed:
                for job in self._jobs.values():
                    if job.state == "queued":
                        job.change(state="running")
                        return job
                self._changed.wait()
        return None

    def _work(self) -> None:
        while (job := self._next()) is not None:
            self._paint(job)
            self._forget()

    def _paint(self, job: Job) -> None:
        try:
            painted = self._painter(job, _Previews(job))
        except StyleError as error:
            job.change(state="failed", error=str(error))
        except MemoryError:
            job.change(
                state="failed", error="not enough memory for images of this size: choose a smaller size"
            )
        except Exception:  # a defect of the program: the log has it, and the page must not wait for ever
            log.exception("job %s", job.id)
            job.change(state="failed", error="internal error: the server's log has the details")
        else:
            if painted is None:
                job.change(state="cancelled")
                return
            height, width = painted.result.picture.rgb.shape[:2]
            numbers = {"progress": 1.0, "width": width, "height": height}
            job.change(
                image=painted.png,
                preview=jpeg(painted.result.picture.rgb, longest=_PREVIEW_SIDE),
                preview_number=job.preview_number + 1,
                iterate=job.iterate | numbers | {"seconds": round(painted.result.seconds, 2)},
                # Last: who sees the end finds the image.
                state="stopped" if painted.result.stop_reason == "cancelled" else "finished",
            )

    def _forget(self) -> None:
        """Remove the oldest jobs that have ended, until few enough are kept."""
        with self._changed:
            ended = [job for job in self._jobs.values() if job.state in ENDED]
            size = sum(job.kept_bytes for job in ended)
            count = len(ended)
            # Those without an image first; the last one stays, however large it is.
            for job in sorted(ended[:-1], key=lambda job: job.image is not None):
                if count <= MOST_KEPT and size <= MOST_BYTES:
                    break
                size -= job.kept_bytes
                count -= 1
                del self._jobs[job.id]
                self._forgotten.append(job.id)


class _Previews:
    """Callback that keeps the numbers of each iteration in a job, and now and then its image."""

    def __init__(self, job: Job) -> None:
        self._job, self._next = job, 0.0

    def __call__(self, iterate: Iterate) -> None:
        job = self._job
        changes: dict[str, Any] = {
            "iterate": {
                "progress": round(iterate.progress, 4),
                "scale": iterate.scale,
                "scales": iterate.scales,
                "iteration": iterate.iteration,
                "iterations": iterate.iterations,
                "loss": float(f"{iterate.loss:.5g}"),
                "seconds": round(iterate.seconds, 2),
            }
        }
        now = time.monotonic()
        if now >= self._next:
            changes["preview"] = jpeg(iterate.image(), longest=_PREVIEW_SIDE)
            changes["preview_number"] = job.preview_number + 1
            self._next = time.monotonic() + _PREVIEW_SECONDS
        job.change(**changes)
