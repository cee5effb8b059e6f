"""Large pictures within a budget of memory: peak memory, its estimate, the loss, and the time per pixel."""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

DATA = Path(__file__).parents[2] / "tests" / "data"


def large(arguments: argparse.Namespace) -> dict[str, object]:
    """Run one scale of square pictures of each size, each in a process of its own.

    Seconds are those per evaluation and pixel that it changes: with blocks, those of the block.
    """
    memory: dict[str, float] = {}
    ratios: dict[str, float] = {}
    counts: dict[str, float] = {}
    losses: dict[str, float] = {}
    first: float | None = None
    for size, budget in zip(arguments.sizes, arguments.memory, strict=True):
        figures = _in_a_process(size, budget, arguments)
        name = f"{size}×{size}"
        memory[f"{name}, budget"] = budget / 1e6
        memory[f"{name}, expected"], memory[f"{name}, measured"] = figures["expected"], figures["measured"]
        counts[f"{name}, windows"] = figures["windows"]
        counts[f"{name}, evaluations"] = figures["evaluations"]
        losses[f"{name}, loss at the start"], losses[f"{name}, at the end"] = figures["start"], figures["end"]
        first = first or figures["seconds"]
        ratios[f"{name}, seconds a pixel and evaluation / {arguments.sizes[0]}"] = figures["seconds"] / first
        print(name, figures, file=sys.stderr, flush=True)
    return {
        "title": f"{arguments.iterations} iterations of one scale, {arguments.network}",
        "MB": memory,
        "counts": counts,
        "losses": losses,
        "ratios": ratios,
    }


def _in_a_process(size: int, budget: int, arguments: argparse.Namespace) -> dict[str, float]:
    context = multiprocessing.get_context("spawn")  # a fork would inherit this process's peak
    receiver, sender = context.Pipe(duplex=False)
    settings = (size, budget, arguments.iterations, arguments.network, arguments.threads, sender)
    process = context.Process(target=_run, args=settings)
    process.start()
    sender.close()
    try:
        return receiver.recv()
    finally:
        process.join()


def _run(size: int, budget: int, iterations: int, network: str, threads: int, sender: Connection) -> None:
    from lbfgs_style import Options, StyleTransfer, images

    photo = images.read(DATA / "coast.jpg").rgb
    square = photo[:, : photo.shape[0]]
    painting = images.read(DATA / "painting.jpg").rgb
    options = Options(
        size=size, scales="single", iterations=iterations, memory=budget, device="cpu", threads=threads
    )
    job = StyleTransfer(network, options=options, keep_sessions=False)
    (plan,) = job.plan(square, painting)
    result = job.run(square, painting)
    unit = 1 if sys.platform == "darwin" else 1024
    (scale,) = result.scales
    windows = plan.windows if plan.method.kind == "blocks" else 1
    sender.send(
        {
            "expected": plan.method.bytes / 1e6,
            "measured": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6,
            "windows": plan.windows,
            "evaluations": result.evaluations,
            "start": scale.loss_start,
            "end": scale.loss_end,
            "seconds": scale.seconds / (scale.evaluations * size**2 / windows),
            "total": result.seconds,
            "finite": bool(np.isfinite(result.image).all()),
        }
    )
