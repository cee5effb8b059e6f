"""The choice of the default variables: losses after the same work, over pairs, starts and scales."""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context

import numpy as np

VARIABLES = ("spectral", "pixels")
STARTS = ("content", "noise")


def variables(arguments: argparse.Namespace) -> dict[str, object]:
    """Compare what L-BFGS may move: pixels, or their cosine coefficients.

    Each works on every pair of photo and painting, from the photo and from noise, at one scale and coarse to
    fine, where an iteration at half the size counts a quarter. Ratios are those of the losses of the pictures
    as they would be written, to that of ``spectral``: geometric means over the pairs.
    """
    pairs = list(product(arguments.photos.split(","), arguments.paintings.split(",")))
    plans = {"one scale": (arguments.iterations,), "coarse to fine": _coarse_to_fine(arguments.iterations)}
    jobs = [
        (pair, start, plan, kind)
        for pair in pairs
        for start in STARTS
        for plan in plans
        for kind in VARIABLES
    ]
    with ProcessPoolExecutor(arguments.threads, get_context("spawn")) as pool:
        settings = [
            (photo, painting, start, plans[plan], kind, arguments.size, arguments.history)
            for (photo, painting), start, plan, kind in jobs
        ]
        losses = {}
        for job, loss in zip(jobs, pool.map(_written_loss, settings), strict=True):
            losses[job] = loss
            print(*job, f"{loss:.5f}", file=sys.stderr, flush=True)
    means: dict[str, float] = {}
    ratios: dict[str, float] = {}
    for start, plan in product(STARTS, plans):
        by_kind = {kind: np.array([losses[pair, start, plan, kind] for pair in pairs]) for kind in VARIABLES}
        for kind, values in by_kind.items():
            name = f"from {start}, {plan}, {kind}"
            means[name] = float(np.exp(np.log(values).mean()))
            ratios[name] = float(np.exp(np.log(values / by_kind["spectral"]).mean()))
    return {
        "title": f"losses after the work of {arguments.iterations} iterations at {arguments.size} px, "
        f"history {arguments.history}, {len(pairs)} pairs",
        "losses": means,
        "ratios": ratios,
    }


def _coarse_to_fine(iterations: int) -> tuple[int, ...]:
    """Return iterations at half the size and at the size, together the work of `iterations` at the size."""
    half = iterations // 2
    return (half, iterations - half // 4)


def _written_loss(settings: tuple[str, str, str, tuple[int, ...], str, int, int]) -> float:
    from pathlib import Path

    from lbfgs_style import Options, StyleTransfer, images
    from tools.bench.ours import AS_PYTORCH, WEIGHTS, bench_network, our_objective

    content, style, start, iterations, kind, size, history = settings
    photo, painting = (_reduced(images.read(Path(path)).rgb, size) for path in (content, style))
    options = Options(
        size=size,
        scales="single" if len(iterations) == 1 else (size // 2, size),
        iterations=iterations,
        **(AS_PYTORCH | {"variables": kind}),
        init=start,
        history=history,
        device="cpu",
        threads=1,
    )
    network = bench_network("compact")
    result = StyleTransfer(network, options=options, keep_sessions=False).run(photo, painting)
    planes = [np.ascontiguousarray(rgb.transpose(2, 0, 1)[None]) for rgb in (photo, painting, result.image)]
    rounded = np.rint(np.clip(planes[2][0], 0, 1) * 255).astype(np.float32) / np.float32(255)
    evaluation = our_objective(network, planes[0], planes[1], 1)(rounded)
    return evaluation.loss - WEIGHTS["range"] * float(evaluation.terms[-1])


def _reduced(rgb: np.ndarray, size: int) -> np.ndarray:
    from lbfgs_style import images

    return images.resize(rgb, images.fit(rgb.shape[:2], size))
