"""Peak resident memory of evaluations, each in a process of its own."""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
from multiprocessing.connection import Connection

SIDES = ("vgg19, PyTorch", "vgg19, ours, direct", "vgg19, ours, auto", "compact, ours")


def memory(arguments: argparse.Namespace) -> dict[str, object]:
    """Measure the peak resident memory of a process that evaluates loss and gradient three times."""
    peaks: dict[str, float] = {}
    for size in arguments.sizes:
        for side in arguments.sides:
            peaks[f"{size}×{size}, {side}"] = _peak(side, size, arguments.threads)
    return {"title": "peak resident memory of evaluations", "MB": peaks}


def _peak(side: str, size: int, threads: int) -> float:
    context = multiprocessing.get_context("spawn")  # a fork would inherit this process's peak
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_evaluate, args=(side, size, threads, sender))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        return float("nan")  # killed, most likely for lack of memory
    finally:
        process.join()


def _evaluate(side: str, size: int, threads: int, sender: Connection) -> None:
    from tools.bench.ours import bench_network, our_objective, smooth_pictures

    content, style, current = smooth_pictures(size)
    network = bench_network("compact" if side.startswith("compact") else "vgg19")
    if side.endswith("PyTorch"):
        import torch

        from tools.bench.pytorch import TorchObjective

        torch.set_num_threads(threads)
        objective = TorchObjective(network, content, style)
    else:
        convolution = "direct" if side.endswith("direct") else "auto"
        objective = our_objective(network, content, style, threads, convolution)
        current = current[0]
    for _ in range(3):
        objective(current)
    unit = 1 if sys.platform == "darwin" else 1024
    sender.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6)
