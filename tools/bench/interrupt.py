"""Ctrl-C at large sizes: from the signal to the end of the process, with the best picture written."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"
NARROW = "relu1_1,relu2_1"


def interrupt(arguments: argparse.Namespace) -> dict[str, object]:
    """Send SIGINT to runs of the command: once in the first evaluation, and once after an iteration.

    The layers are shallow, so that a run comes to its first iteration soon. Deeper ones would change the
    result only if they had the operator that takes longest.
    """
    seconds: dict[str, float] = {}
    for size, budget in zip(arguments.sizes, arguments.memory, strict=True):
        for moment in ("preparing", "computing"):
            name = f"{size}×{size}, {moment}"
            seconds[name] = _seconds(size, budget, moment, arguments)
            print(f"{name}: {seconds[name]:.2f} s", file=sys.stderr, flush=True)
    return {"title": f"from SIGINT to the end of the process, {arguments.network}", "seconds": seconds}


def _seconds(size: int, budget: int, moment: str, arguments: argparse.Namespace) -> float:
    from lbfgs_style import images

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photo = images.read(DATA / "coast.jpg").rgb
        images.write(folder / "photo.png", images.from_array(photo[:, : photo.shape[0]]))
        command = [sys.executable, "-m", "lbfgs_style", "transfer", "photo.png", DATA / "painting.jpg"]
        command += ["-o", "out.png", "--size", size, "--memory", budget, "--scales", "single", "--verbose"]
        command += ["--iterations", 50, "--device", "cpu", "--threads", arguments.threads]
        command += ["--network", arguments.network, "--style-layers", NARROW, "--content-layers", "relu2_1"]
        process = subprocess.Popen(
            list(map(str, command)),
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        if moment == "preparing":
            time.sleep(arguments.after)
        else:
            while "iteration" not in process.stderr.readline() and process.poll() is None:
                pass
            time.sleep(0.5)
        rest = threading.Thread(target=process.stderr.read)
        rest.start()
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        code = process.wait()
        elapsed = time.monotonic() - begin
        rest.join()
        written = (folder / "out.png").exists()
        if code != 130 or written != (moment == "computing"):
            raise SystemExit(f"{size}, {moment}: exit code {code}, picture written: {written}")
        if written:
            images.read(folder / "out.png")
        return elapsed
