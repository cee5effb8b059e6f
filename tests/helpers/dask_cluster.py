"""A Dask scheduler and workers as processes, on loopback alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

from tests.helpers.command import ROOT

# No dashboard, and the pages that stay without it on loopback, too.
LOCAL = ("--host", "127.0.0.1", "--no-dashboard", "--dashboard-address", "127.0.0.1:0")


class Cluster:
    """A scheduler; its workers have one thread each, and are known by the numbers of their processes."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.workers, self.counted = folder, {}, 0
        self.scheduler, log = self._start("scheduler", "dask_scheduler", "--port", "0")
        self.address = self._wait(log, r"Scheduler at:\s+(tcp://127\.0\.0\.1:\d+)")

    def add(self, count: int) -> None:
        """Start workers, and wait until they are registered."""
        more = ("--nthreads", "1", "--no-nanny", "--memory-limit", "2GB")
        begun = []
        for _ in range(count):
            self.counted += 1
            begun.append(self._start(f"worker{self.counted}", "dask_worker", self.address, *more))
        for process, log in begun:
            self._wait(log, "(Registered to)")
            self.workers[self._wait(log, r"Start worker at:\s+(tcp://\S+)")] = process

    def kill(self, address: str) -> None:
        """Kill the worker at an address."""
        process = self.workers.pop(address)
        process.kill()
        process.wait()

    def close(self) -> None:
        for process in (*self.workers.values(), self.scheduler):
            process.kill()
            process.wait()

    def _start(self, name: str, module: str, *arguments: str) -> tuple[subprocess.Popen, Path]:
        log = self.folder / f"{name}.log"
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{module}", *arguments, *LOCAL],
                stdout=file,
                stderr=subprocess.STDOUT,
                env=os.environ | {"PYTHONPATH": path, "DASK_TEMPORARY_DIRECTORY": str(self.folder)},
                cwd=self.folder,
            )
        return process, log

    def _wait(self, log: Path, pattern: str) -> str:
        deadline = time.monotonic() + 60
        while (found := re.search(pattern, log.read_text("utf-8", "replace"))) is None:
            assert time.monotonic() < deadline, log.read_text("utf-8", "replace")
            time.sleep(0.05)
        return found[1]
