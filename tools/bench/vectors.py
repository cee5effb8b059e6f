"""Where the vectors of L-BFGS are better kept: in NumPy, or where the graphs run."""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from unittest.mock import patch

from lbfgs_style import Options, StyleTransfer, images
from lbfgs_style.pipeline import scale_run

_DATA = Path(__file__).resolve().parents[2] / "tests" / "data"

SIDES = {"vectors in NumPy": False, "vectors on the device": True}


def vectors(arguments: argparse.Namespace) -> dict[str, object]:
    """Time whole images with the default options, with the vectors of L-BFGS in both places in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in SIDES}
    losses: dict[str, float] = {}
    for _ in range(arguments.rounds):
        for name, on_device in SIDES.items():
            result = paint(arguments.network, arguments.size, arguments.device, arguments.threads, on_device)
            seconds[name].append(result.seconds)
            losses[name] = result.history[-1]
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    host, device = medians.values()
    return {
        "title": f"a whole image at {arguments.size} px with {arguments.network} on {arguments.device}",
        "seconds": medians,
        "losses": losses,
        "ratios": {"in NumPy / on the device": host / device},
    }


def paint(network: str, size: int, device: str, threads: int, on_device: bool):
    """Paint the coast of the tests, with the vectors of L-BFGS on the device or in NumPy."""
    options = Options(size=size, device=device, threads=threads)
    photo, painting = (images.read(_DATA / f"{stem}.jpg") for stem in ("coast", "painting"))
    with patch.object(scale_run, "has_device_vectors", lambda objective: on_device):
        return StyleTransfer(network, options=options).run(photo, painting)
