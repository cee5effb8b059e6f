"""Measure a CUDA device: whole runs, tests, and PyTorch for comparison. `gpu.sh` installs what this needs.

Each part runs in a process of its own, with what is left of the time; what it finds is written at once, so
that a part that fails or takes too long costs nothing but itself. ``--device cpu`` tries the script.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

_DATA = Path(__file__).resolve().parents[2] / "tests" / "data"

# Seconds below which a part is not begun: starting Python and loading the libraries takes as long.
_LEAST = 5

# Characters of an error's end that are kept.
_TAIL = 800

# Seconds between two readings of the memory in use on the card.
_LOOK = 0.2


def main() -> None:
    """Parse the command line; run all parts, or the one that a part's process is for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("gpu.json"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024, 2048])
    parser.add_argument("--minutes", type=float, default=7.0)
    parser.add_argument("--part", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        print(json.dumps(_run_part(arguments)))
    else:
        _run_all(arguments)


def _run_all(arguments: argparse.Namespace) -> None:
    end = time.monotonic() + 60 * arguments.minutes
    results: dict[str, object] = {"machine": platform.processor() or platform.machine(), "card": _card()}
    middle = str(arguments.sizes[len(arguments.sizes) // 2])
    parts = [f"run {network} {size}" for size in arguments.sizes for network in ("compact", "vgg19")]
    # What matters most first: the parts at the end may find no time.
    parts = [parts[0], f"evaluate {middle}", "tests", *parts[1:3], f"torch {middle} eager", *parts[3:]]
    parts += [f"torch {middle} compiled"]
    for part in parts:
        found = results[part] = _measure(part, arguments.device, end - time.monotonic())
        arguments.output.write_text(json.dumps(results, indent=2), "utf-8")
        print(part, json.dumps(found))


def _measure(part: str, device: str, seconds: float) -> dict[str, object]:
    """Return what a part's process finds within some seconds."""
    command = [sys.executable, "-m", "tools.bench.gpu", "--device", device, "--part", part]
    if seconds < _LEAST:
        return {"error": "no time left"}
    with _card_memory() as used:
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds)
        except subprocess.TimeoutExpired:
            return {"error": "no time left"}
    lines = done.stdout.strip().splitlines()
    found = json.loads(lines[-1]) if done.returncode == 0 and lines else {"error": done.stderr[-_TAIL:]}
    return found | {"MB of the card": max(used)} if used else found


def _card() -> str:
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    if shutil.which(query[0]) is None:
        return "none"
    return subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()


@contextmanager
def _card_memory() -> Iterator[list[float]]:
    """Collect the megabytes in use on the first card while the context lasts."""
    used: list[float] = []
    stop = threading.Event()
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0"]

    def look() -> None:
        while not stop.wait(_LOOK):
            answer = subprocess.run(query, capture_output=True, text=True, check=False).stdout
            used.extend(float(line) for line in answer.split() if line.isdigit())

    if shutil.which(query[0]) is None:
        yield used
        return
    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield used
    finally:
        stop.set()
        watcher.join()


def _run_part(arguments: argparse.Namespace) -> dict[str, object]:
    kind, *rest = arguments.part.split()
    if kind == "run":
        return _whole_run(rest[0], int(rest[1]), arguments.device)
    if kind == "evaluate":
        return _evaluations(int(rest[0]), arguments.device)
    if kind == "torch":
        return _torch_run(int(rest[0]), arguments.device, compiled=rest[1] == "compiled")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "gpu"], capture_output=True, text=True, check=False
    )
    return {"exit": done.returncode, "output": done.stdout.strip().splitlines()[-1:]}


def _whole_run(name: str, size: int, device: str) -> dict[str, object]:
    """Paint with the defaults, twice, for what the first time takes longer; then with vectors in NumPy."""
    from lbfgs_style import Options, StyleTransfer, images
    from lbfgs_style.pipeline import scale_run
    from tools.bench.ours import AS_PYTORCH, bench_network

    job = StyleTransfer(bench_network(name), options=Options(size=size, device=device, **AS_PYTORCH))
    photo, painting = (images.read(_DATA / f"{stem}.jpg") for stem in ("coast", "painting"))
    results = [job.run(photo, painting) for _ in range(2)]
    with patch.object(scale_run, "has_device_vectors", lambda objective: False):
        on_host = job.run(photo, painting)
    return {
        "seconds, vectors in NumPy": round(on_host.seconds, 2),
        "seconds": [round(result.seconds, 2) for result in results],
        "evaluations": results[-1].evaluations,
        "loss": results[-1].history[-1],
        "provider": results[-1].settings["provider"],
    }


def _evaluations(size: int, device: str) -> dict[str, object]:
    """Time one evaluation of both networks, here and in PyTorch, in turn."""
    from tools.bench.ours import bench_network, our_objective, smooth_pictures
    from tools.bench.timing import timed_in_turn

    content, style, current = smooth_pictures(size)
    sides = {}
    for name in ("compact", "vgg19"):
        network = bench_network(name)
        ours = our_objective(network, content, style, 0, device=device)
        sides[f"{name}, ours"] = lambda ours=ours: ours(current[0])
        if _has_torch():
            from tools.bench.pytorch import TorchObjective

            for label, compiled in (("eager", False), ("compiled", True)):
                theirs = TorchObjective(network, content, style, compiled=compiled, device=device)
                sides[f"{name}, PyTorch, {label}"] = lambda theirs=theirs: theirs(current)
    return {"seconds": timed_in_turn(sides, 5)}


def _torch_run(size: int, device: str, *, compiled: bool) -> dict[str, object]:
    """Paint VGG19 with ``torch.optim.LBFGS``: our scales, as many iterations, the same initial image."""
    if not _has_torch():
        return {"skipped": "there is no PyTorch"}
    import torch

    from lbfgs_style import Options, StyleTransfer, images
    from lbfgs_style.images import resize
    from tools.bench.ours import bench_network
    from tools.bench.pytorch import TorchObjective

    network = bench_network("vgg19")
    photo, painting = (images.read(_DATA / f"{stem}.jpg") for stem in ("coast", "painting"))
    plan = StyleTransfer(network, options=Options(size=size, device="cpu")).plan(photo, painting)
    start, picture, evaluations = time.perf_counter(), None, 0
    for scale in plan:
        side = max(scale.size)
        content = resize(photo.rgb, scale.size).transpose(2, 0, 1)[None]
        style = resize(painting.rgb, (side, side)).transpose(2, 0, 1)[None]
        objective = TorchObjective(network, content, style, compiled=compiled, device=device)
        x = torch.tensor(content, device=device) if picture is None else picture
        x = torch.nn.functional.interpolate(x.detach(), scale.size, mode="bicubic").requires_grad_()
        optimizer = torch.optim.LBFGS([x], max_iter=scale.iterations, history_size=scale.iterations)

        def closure(x=x, objective=objective, optimizer=optimizer):
            nonlocal evaluations
            evaluations += 1
            optimizer.zero_grad()
            loss = objective.function(x)
            loss.backward()
            return loss

        optimizer.step(closure)
        picture = x
    loss = float(objective.function(picture).detach())
    return {"seconds": round(time.perf_counter() - start, 2), "evaluations": evaluations, "loss": loss}


def _has_torch() -> bool:
    try:
        import torch  # noqa: F401
    except ImportError:
        return False
    return True


if __name__ == "__main__":
    main()
