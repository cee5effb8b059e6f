"""Server-sent events: a stream of what happens to a job.

Every event has the whole summary of the job, so one that comes after a lost connection needs none of those
before it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from .jobs import ENDED, Job, Jobs

# Seconds without an event, after which a comment keeps the connection open.
_KEEP_ALIVE_SECONDS = 15.0

# Seconds from one look at the queue to the next, for a job that waits in it.
_QUEUE_SECONDS = 0.5


async def stream(jobs: Jobs, job: Job) -> AsyncIterator[bytes]:
    """Yield an event, named after the job's state, for each change, until the job has ended."""
    loop, changed = asyncio.get_running_loop(), asyncio.Event()

    def notify() -> None:
        with suppress(RuntimeError):  # the server has ended, and its loop is closed
            loop.call_soon_threadsafe(changed.set)

    stop_listening = job.listen(notify)
    before, quiet = "", 0.0
    try:
        while True:
            changed.clear()
            state, version = job.state, job.version
            text = json.dumps(described(jobs, job))
            if text != before:
                yield f"event: {state}\nid: {version}\ndata: {text}\n\n".encode()
                before, quiet = text, 0.0
            elif quiet >= _KEEP_ALIVE_SECONDS:
                yield b": still here\n\n"
                quiet = 0.0
            if state in ENDED:
                return
            seconds = _QUEUE_SECONDS if state == "queued" else _KEEP_ALIVE_SECONDS
            try:
                await asyncio.wait_for(changed.wait(), seconds)
            except TimeoutError:
                quiet += seconds
    finally:
        stop_listening()


def described(jobs: Jobs, job: Job) -> dict[str, Any]:
    """Return the summary of a job, and for one that waits how many are before it."""
    more = {"waiting_before": jobs.waiting_before(job)} if job.state == "queued" else {}
    return job.summary() | more
