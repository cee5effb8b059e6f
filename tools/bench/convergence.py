"""Loss against seconds: our defaults and PyTorch's L-BFGS, Adam and gradient descent.

Every side works on the same objective with the same network. What counts is the loss of the picture as it
would be written, clipped to [0,1] and rounded to 8 bits, without the term that draws values into range; it
is evaluated afterwards, outside the timing, at pictures noted on the way.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch

from lbfgs_style import Iterate, Options, StyleTransfer, images, networks
from lbfgs_style.objective.evaluation import Objective
from lbfgs_style.pipeline import initial_image
from tools.bench.ours import AS_PYTORCH, WEIGHTS, bench_network, our_objective, random_vgg19
from tools.bench.pytorch import TorchObjective

Size = tuple[int, int]
# Seconds, evaluations and loss of the written picture, along a run.
Curve = list[tuple[float, int, float]]

# Fractions of PyTorch's iterations after which the losses are compared.
PARTS = (0.2, 0.4, 1.0)

# Pictures noted on the way, at most.
NOTES = 40


@dataclass(frozen=True, slots=True)
class Note:
    """A picture [1,3,H,W] on the way, with the seconds and the evaluations at each size until then."""

    seconds: float
    by_size: dict[Size, int]
    picture: np.ndarray

    @property
    def evaluations(self) -> int:
        """Evaluations at all sizes."""
        return sum(self.by_size.values())


def ours(
    network: networks.FeatureNetwork,
    photo: np.ndarray,
    painting: np.ndarray,
    options: Options,
) -> list[Note]:
    """Run with these options, noting pictures at the photo's size."""
    notes: list[Note] = []
    spent: dict[Size, int] = {}

    def note(iterate: Iterate) -> None:
        spent[iterate.size] = iterate.evaluations
        last = iterate.scale == iterate.scales
        if iterate.iteration % (3 if last else 25) == 0 or iterate.iteration == iterate.iterations:
            picture = images.resize(iterate.image(), photo.shape[:2])
            notes.append(Note(iterate.seconds, dict(spent), chw(picture)))

    StyleTransfer(network, options=options, keep_sessions=False).run(photo, painting, on_iterate=note)
    return notes


def chw(rgb: np.ndarray) -> np.ndarray:
    """Turn H×W×3 into [1,3,H,W]."""
    return np.ascontiguousarray(rgb.transpose(2, 0, 1)[None], np.float32)


def theirs(
    objective: TorchObjective,
    start: np.ndarray,
    iterations: int,
    make: Callable[[torch.Tensor], torch.optim.Optimizer],
) -> list[Note]:
    """Run an optimiser of PyTorch, starting at a picture [1,3,H,W]."""
    x = torch.tensor(start, requires_grad=True)
    optimizer = make(x)
    notes: list[Note] = []
    evaluations, every = 0, max(1, iterations // NOTES)
    with torch.no_grad():
        # As ours scales its loss: an L-BFGS with absolute tolerances would stop at once.
        scale = 1e4 / float(objective.loss(x))

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
            size = (start.shape[2], start.shape[3])
            notes.append(Note(paused - begin - idle, {size: evaluations}, x.detach().numpy().copy()))
            idle += time.perf_counter() - paused
    return notes


def lbfgs(x: torch.Tensor) -> torch.optim.Optimizer:
    """L-BFGS as the well-known PyTorch programs use it: history 100, no line search, one iteration a step."""
    return torch.optim.LBFGS([x], lr=1, max_iter=1, history_size=100, tolerance_grad=0, tolerance_change=0)


def adam(x: torch.Tensor) -> torch.optim.Optimizer:
    """Adam with the rate 0.02 of the TensorFlow tutorial."""
    return torch.optim.Adam([x], lr=0.02, betas=(0.99, 0.999), eps=0.1)


def descent(x: torch.Tensor) -> torch.optim.Optimizer:
    """Plain gradient descent; the rate is about the largest that does not diverge on a scaled loss of 10⁴."""
    return torch.optim.SGD([x], lr=3e-3)


SIDES = {"PyTorch L-BFGS": lbfgs, "PyTorch Adam": adam, "PyTorch gradient descent": descent}


def written_losses(judge: Objective, notes: list[Note]) -> Iterator[float]:
    """Yield the loss of each noted picture as it would be written, without the range term."""
    for note in notes:
        rounded = np.rint(np.clip(note.picture[0], 0, 1) * 255) / 255
        evaluation = judge(rounded)
        yield evaluation.loss - WEIGHTS["range"] * float(evaluation.terms[-1])


def as_vgg19(notes: list[Note], measured: dict[Size, float], vgg19: dict[Size, float]) -> list[Note]:
    """Restate the seconds for evaluations that take as long as VGG19's; the optimiser's own time stays."""
    return [
        Note(
            note.seconds
            + sum(count * (vgg19[size] - measured[size]) for size, count in note.by_size.items()),
            note.by_size,
            note.picture,
        )
        for note in notes
    ]


def seconds_of(sides: Sequence[Callable[[np.ndarray], object]], size: Size) -> list[float]:
    """Return the least seconds of four evaluations for each side, in turn, after one that warms up."""
    picture = np.random.default_rng(0).random((3, *size), np.float32)
    times: list[list[float]] = []
    for evaluate in sides:
        evaluate(picture)
        times.append([])
    for _ in range(4):
        for evaluate, each in zip(sides, times, strict=True):
            begin = time.perf_counter()
            evaluate(picture)
            each.append(time.perf_counter() - begin)
    return [min(each) for each in times]


class Timings:
    """Seconds of a network's evaluation at each size, ours and PyTorch's; each size is timed once."""

    def __init__(self, network: networks.FeatureNetwork, threads: int) -> None:
        self.network, self.threads = network, threads
        self.ours: dict[Size, float] = {}
        self.theirs: dict[Size, float] = {}

    def time(self, sizes: Iterable[Size]) -> None:
        """Time the sizes that have not been timed yet."""
        for size in set(sizes) - self.ours.keys():
            content, style = np.random.default_rng(1).random((2, 1, 3, *size), np.float32)
            one = our_objective(self.network, content, style, self.threads)
            other = TorchObjective(self.network, content, style)
            sides = (one, lambda picture, other=other: other(picture[None]))
            self.ours[size], self.theirs[size] = seconds_of(sides, size)


def seconds_to(curve: Curve, loss: float) -> tuple[float, int] | None:
    """Return seconds and evaluations at which a curve first is at `loss` or below."""
    for seconds, evaluations, value in curve:
        if value <= loss:
            return seconds, evaluations
    return None


def compared(curves: dict[str, dict[str, Curve]]) -> tuple[dict[str, float], dict[str, float]]:
    """Return PyTorch's seconds / ours to the same loss, and our evaluations, where it is reached."""
    ratios: dict[str, float] = {}
    counts: dict[str, float] = {}
    reached_at: dict[int, list[float]] = {}
    for pair, by_side in curves.items():
        other = by_side["PyTorch L-BFGS"]
        for share in PARTS:
            seconds, evaluations, loss = other[round(share * len(other)) - 1]
            if reached := seconds_to(by_side["ours"], loss):
                key = f"{pair}, {evaluations} of PyTorch's"
                ratios[key], counts[f"ours, {key}"] = seconds / reached[0], reached[1]
                reached_at.setdefault(evaluations, []).append(ratios[key])
    for evaluations, each in reached_at.items():
        name = f"{evaluations} of PyTorch's, mean of {len(each)} of {len(curves)} pairs"
        ratios[name] = statistics.geometric_mean(each)
    return ratios, counts


def convergence(arguments: argparse.Namespace) -> dict[str, object]:
    """Time until our defaults reach the loss that PyTorch's L-BFGS has after its iterations.

    With ``--as-vgg19`` the seconds are those of VGG19-sized work: the pictures are painted with `--network`,
    but an evaluation counts as many seconds as one of VGG19 with random weights at the same size, timed in
    the same run.
    """
    torch.set_num_threads(arguments.threads)
    network = bench_network(arguments.network)
    curves: dict[str, dict[str, Curve]] = {}
    measured, vgg19 = Timings(network, arguments.threads), Timings(random_vgg19(), arguments.threads)
    photos, paintings = arguments.photos.split(","), arguments.paintings.split(",")
    pairs = zip(photos, paintings, strict=True) if arguments.in_pairs else product(photos, paintings)
    for content, style in pairs:
        pair = f"{Path(content).stem}, {Path(style).stem}"
        photo, painting = (reduced(Path(p), arguments.size) for p in (content, style))
        options = Options(
            size=arguments.size,
            init=arguments.init,
            device="cpu",
            threads=arguments.threads,
            iterations=arguments.ours,
            history=arguments.history,
            **AS_PYTORCH,
        )
        first = (
            initial_image.InitialImage(options, photo, [painting], None)
            .first(photo.shape[:2])[None]
            .astype(np.float32)
        )
        judge = our_objective(network, chw(photo), chw(painting), arguments.threads)
        objective = TorchObjective(network, chw(photo), chw(painting))
        notes = {"ours": ours(network, photo, painting, options)}
        others = ["PyTorch L-BFGS", *(["PyTorch Adam", "PyTorch gradient descent"] * arguments.all)]
        for name in others:
            notes[name] = theirs(objective, first, arguments.iterations, SIDES[name])
        losses = {name: list(written_losses(judge, each)) for name, each in notes.items()}
        if arguments.as_vgg19:
            for timings in (measured, vgg19):
                timings.time(notes["ours"][-1].by_size)
            notes = {
                name: as_vgg19(each, measured.ours, vgg19.ours)
                if name == "ours"
                else as_vgg19(each, measured.theirs, vgg19.theirs)
                for name, each in notes.items()
            }
        by_side = {
            name: [(n.seconds, n.evaluations, loss) for n, loss in zip(each, losses[name], strict=True)]
            for name, each in notes.items()
        }
        curves[pair] = by_side
        if arguments.plot:  # after each pair: they take minutes
            arguments.plot.with_suffix(".json").write_text(json.dumps(curves), encoding="utf-8")
        for name, curve in by_side.items():
            seconds, evaluations, loss = curve[-1]
            print(
                f"{pair:40} {name:26} {seconds:8.1f} s {evaluations:5} evaluations {loss:10.5f}",
                file=sys.stderr,
                flush=True,
            )
    if arguments.plot:
        draw(arguments.plot, curves)
    ratios, counts = compared(curves)
    work = "VGG19-sized work" if arguments.as_vgg19 else arguments.network
    return {
        "title": f"PyTorch's seconds / ours to the same loss, where reached, and evaluations; "
        f"from {arguments.init}, {arguments.size} px, {work}",
        "ratios": ratios,
        "counts": counts,
        "seconds": {
            f"{side}, an evaluation at {size[1]}×{size[0]}": seconds
            for side, each in (("VGG19, PyTorch", vgg19.theirs), ("VGG19, ours", vgg19.ours))
            for size, seconds in sorted(each.items())
        },
        "curves": curves,
    }


def reduced(path: Path, size: int) -> np.ndarray:
    """Read a picture H×W×3 with its longer side at `size`."""
    rgb = images.read(path).rgb
    return images.resize(rgb, images.fit(rgb.shape[:2], size))


def draw(path: Path, curves: dict[str, dict[str, Curve]]) -> None:
    """Plot loss against seconds, both logarithmic, one panel for each pair."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(curves), figsize=(4.2 * len(curves), 3.6), squeeze=False)
    for panel, (pair, by_side) in zip(panels[0], curves.items(), strict=True):
        for name, curve in by_side.items():
            panel.loglog([c[0] for c in curve], [c[2] for c in curve], label=name, marker=".", markersize=3)
        panel.set_title(pair)
        panel.set_xlabel("seconds")
        panel.grid(alpha=0.3, which="both")
    panels[0][0].set_ylabel("loss of the written picture")
    panels[0][0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=90)
