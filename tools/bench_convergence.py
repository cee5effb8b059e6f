"""Loss against seconds: our defaults beside PyTorch's L-BFGS, Adam and gradient descent.

Every side works on the same objective with the same network. What counts is the loss of the picture as it
would be written, clipped to [0,1] and rounded to 8 bits, without the term that draws values into range; it
is evaluated afterwards, outside the timing, at pictures noted on the way.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from bench_ours import WEIGHTS, our_objective, random_vgg19
from bench_torch import TorchObjective

from lbfgs_style import Options, StyleTransfer, images, networks
from lbfgs_style.objective import Objective

NOTES = 40
"""Pictures that are noted on the way, at most."""


@dataclass(frozen=True, slots=True)
class Note:
    """A picture [1,3,H,W] on the way, with the seconds and evaluations spent so far."""

    seconds: float
    evaluations: int
    picture: np.ndarray


def ours(
    network: networks.FeatureNetwork, photo: np.ndarray, painting: np.ndarray, threads: int
) -> list[Note]:
    """Run the defaults."""
    notes: list[Note] = []
    options = Options(size=max(photo.shape[:2]), device="cpu", threads=threads)
    spent = before = 0

    def note(iterate: object) -> None:
        nonlocal spent, before
        if iterate.iteration == 1:
            spent += before
        before = iterate.evaluations
        last = iterate.scale == iterate.scales
        if iterate.iteration % (3 if last else 25) == 0 or iterate.iteration == iterate.iterations:
            picture = images.resize(iterate.image(), photo.shape[:2])
            notes.append(Note(iterate.seconds, spent + before, chw(picture)))

    job = StyleTransfer(network, options=options, keep_sessions=False)
    start = time.perf_counter()
    result = job.run(photo, painting, on_iterate=note)
    notes.append(Note(time.perf_counter() - start, result.evaluations, chw(result.image)))
    return notes


def chw(rgb: np.ndarray) -> np.ndarray:
    """Turn H×W×3 into [1,3,H,W]."""
    return np.ascontiguousarray(rgb.transpose(2, 0, 1)[None], np.float32)


def theirs(
    objective: TorchObjective, start: np.ndarray, iterations: int, make: Callable[[torch.Tensor], object]
) -> list[Note]:
    """Run an optimiser of PyTorch from the photo on."""
    x = torch.tensor(start, requires_grad=True)
    optimizer = make(x)
    notes: list[Note] = []
    evaluations, every = 0, max(1, iterations // NOTES)
    with torch.no_grad():
        scale = 1e4 / float(objective.loss(x))  # as ours: an L-BFGS of absolute tolerances would stop at once

    def closure() -> torch.Tensor:
        nonlocal evaluations
        evaluations += 1
        optimizer.zero_grad()
        loss = objective.loss(x) * scale
        loss.backward()
        return loss

    begin, idle = time.perf_counter(), 0.0
    for iteration in range(1, iterations + 1):
        optimizer.step(closure)
        if iteration % every == 0:
            paused = time.perf_counter()
            notes.append(Note(paused - begin - idle, evaluations, x.detach().numpy().copy()))
            idle += time.perf_counter() - paused
    return notes


def lbfgs(x: torch.Tensor) -> torch.optim.Optimizer:
    """As the well-known PyTorch programs use it: history 100, no line search, one iteration a step."""
    return torch.optim.LBFGS([x], lr=1, max_iter=1, history_size=100, tolerance_grad=0, tolerance_change=0)


def adam(x: torch.Tensor) -> torch.optim.Optimizer:
    """Adam with the rate 0.02 of the TensorFlow tutorial."""
    return torch.optim.Adam([x], lr=0.02, betas=(0.99, 0.999), eps=0.1)


def descent(x: torch.Tensor) -> torch.optim.Optimizer:
    """Plain gradient descent; the rate is what just does not diverge on a scaled loss of 10⁴."""
    return torch.optim.SGD([x], lr=3e-3)


SIDES = {"PyTorch L-BFGS": lbfgs, "PyTorch Adam": adam, "PyTorch gradient descent": descent}


def written_losses(judge: Objective, notes: list[Note]) -> Iterator[float]:
    """Yield the loss of each noted picture as it would be written, without the range term."""
    for note in notes:
        rounded = np.rint(np.clip(note.picture[0], 0, 1) * 255) / 255
        evaluation = judge(rounded)
        yield evaluation.loss - WEIGHTS["range"] * float(evaluation.terms[-1])


def seconds_to(curve: list[tuple[float, int, float]], loss: float) -> tuple[float, int] | None:
    """Return seconds and evaluations at which a curve first is at `loss` or below."""
    for seconds, evaluations, value in curve:
        if value <= loss:
            return seconds, evaluations
    return None


def convergence(arguments: argparse.Namespace) -> dict[str, object]:
    """Time until our defaults reach the loss that PyTorch's L-BFGS has after its iterations."""
    torch.set_num_threads(arguments.threads)
    network = random_vgg19() if arguments.network == "random-vgg19" else networks.load(arguments.network)
    curves: dict[str, dict[str, list[tuple[float, int, float]]]] = {}
    ratios: dict[str, float] = {}
    counts: dict[str, float] = {}
    for content in arguments.photos.split(","):
        for style in arguments.paintings.split(","):
            pair = f"{Path(content).stem}, {Path(style).stem}"
            photo, painting = (reduced(Path(p), arguments.size) for p in (content, style))
            judge = our_objective(network, chw(photo), chw(painting), arguments.threads)
            objective = TorchObjective(network, chw(photo), chw(painting))
            notes = {"ours": ours(network, photo, painting, arguments.threads)}
            for name in [
                "PyTorch L-BFGS",
                *(["PyTorch Adam", "PyTorch gradient descent"] if arguments.all else []),
            ]:
                notes[name] = theirs(objective, chw(photo), arguments.iterations, SIDES[name])
            found = {
                name: [
                    (n.seconds, n.evaluations, loss)
                    for n, loss in zip(each, written_losses(judge, each), strict=True)
                ]
                for name, each in notes.items()
            }
            curves[pair] = found
            goal = found["PyTorch L-BFGS"][-1]
            reached = seconds_to(found["ours"], goal[2])
            ratios[pair] = goal[0] / reached[0] if reached else float("nan")
            counts[pair] = reached[1] if reached else float("nan")
            for name, curve in found.items():
                seconds, evaluations, loss = curve[-1]
                print(
                    f"{pair:40} {name:26} {seconds:8.1f} s {evaluations:5} evaluations {loss:10.5f}",
                    file=sys.stderr,
                    flush=True,
                )
    if arguments.plot:
        draw(arguments.plot, curves)
    return {
        "title": f"PyTorch's seconds for {arguments.iterations} iterations / ours to the same loss, "
        f"{arguments.size} px, {arguments.network}",
        "ratios": ratios | {"mean": float(np.mean(list(ratios.values())))},
        "counts": {f"evaluations of ours, {pair}": value for pair, value in counts.items()},
        "curves": curves,
    }


def reduced(path: Path, size: int) -> np.ndarray:
    """Read a picture H×W×3 with its longer side at `size`."""
    rgb = images.read(path).rgb
    return images.resize(rgb, images.fit(rgb.shape[:2], size))


def draw(path: Path, curves: dict[str, dict[str, list[tuple[float, int, float]]]]) -> None:
    """Plot loss against seconds, both logarithmic, one panel for each pair."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(curves), figsize=(4.2 * len(curves), 3.6), squeeze=False)
    for panel, (pair, found) in zip(panels[0], curves.items(), strict=True):
        for name, curve in found.items():
            panel.loglog([c[0] for c in curve], [c[2] for c in curve], label=name, marker=".", markersize=3)
        panel.set_title(pair)
        panel.set_xlabel("seconds")
        panel.grid(alpha=0.3, which="both")
    panels[0][0].set_ylabel("loss of the written picture")
    panels[0][0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=90)
