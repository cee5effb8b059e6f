"""Flicker, drift and time of videos: frames alone, ours, and the clip itself."""

from __future__ import annotations

import argparse
import importlib
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lbfgs_style import Options, VideoOptions, VideoTransfer, images
from lbfgs_style.images import FloatImage, fit, resize
from lbfgs_style.video.clips import open_clip
from lbfgs_style.video.drift import sharpness
from lbfgs_style.video.flow import Motion, find_flow, find_motion, warp
from lbfgs_style.video.frames import CUT
from tools.bench.synthetic import SyntheticClip, warping_error

_DATA = Path(__file__).resolve().parents[2] / "tests" / "data"

# Frames between the two whose difference is the error over a longer time.
_LONG = 5

# Frames from one that is painted alone, to compare with, to the next.
_EVERY = 20

# What is compared with frames painted alone → its colour in the plot.
RATIOS = {"sharpness": "k", "contrast": "tab:orange", "red": "r", "green": "g", "blue": "b"}

Truth = Callable[[int, int], tuple[NDArray[np.float32], NDArray[np.floating]]]
"""(frame, later frame) → flow to it, and what of the frame is visible there."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A clip to measure: its name, its frames, and the truth about their flow."""

    name: str
    frames: list[FloatImage]
    truth: Truth

    def error(self, painted: Sequence[FloatImage], gap: int) -> float:
        """Return the mean warping error of frames that are `gap` apart."""
        return float(np.mean([self.pair(painted[i], painted[i + gap], i, gap) for i in self.starts(gap)]))

    def starts(self, gap: int) -> list[int]:
        """Return the frames that have another one of their shot `gap` after them."""
        pairs = range(len(self.frames) - gap)
        return [index for index in pairs if self.truth(index, index + gap)[1].mean() >= CUT]

    def pair(self, one: FloatImage, other: FloatImage, index: int, gap: int) -> float:
        """Return the warping error of two frames."""
        flow, mask = self.truth(index, index + gap)
        return warping_error(other, one, flow, mask)


def synthetic(size: int, count: int) -> Sample:
    """Return the clip that this tool makes of the coast and the painting of the tests."""
    ground, patch = (images.read(_DATA / f"{name}.jpg").rgb for name in ("coast", "painting"))
    clip = SyntheticClip(ground, patch, fit((9, 16), size), count)

    def truth(index: int, other: int) -> tuple[NDArray[np.float32], NDArray[np.floating]]:
        return clip.flow(index, other), clip.visible(index, other).astype(np.float32)

    return Sample("synthetic", [clip.frame(i) for i in range(count)], truth)


def filmed(path: Path, size: int, count: int) -> Sample:
    """Return the first frames of a film, at its own size if that is smaller; its flow is that of DIS."""
    pictures = [frame.picture.rgb for frame in islice(open_clip(path).frames(), count)]
    frames = [resize(each, fit(each.shape[:2], min(size, max(each.shape[:2])))) for each in pictures]

    def truth(index: int, other: int) -> tuple[NDArray[np.float32], NDArray[np.floating]]:
        motion = _motion(frames[index], frames[other])
        return motion.flow, motion.reliable

    return Sample(path.stem, frames, truth)


def _motion(frame: FloatImage, other: FloatImage) -> Motion:
    return find_motion(find_flow(frame, other), find_flow(other, frame))


def video(arguments: argparse.Namespace) -> dict[str, object]:
    """Measure the synthetic clip and films."""
    if arguments.plot:
        importlib.import_module("matplotlib")  # fails before the clips are painted, not after
    painting = images.read(arguments.painting)
    samples = [synthetic(arguments.size, arguments.frames)] if arguments.synthetic else []
    samples += [filmed(path, arguments.size, arguments.frames) for path in arguments.clips]
    rows: dict[str, dict[str, float]] = {"errors": {}, "ratios": {}, "seconds": {}}
    curves: dict[str, list[list[float]]] = {}
    for sample in samples:
        measured, curve = _measure(sample, painting, arguments)
        for kind, values in measured.items():
            rows[kind] |= {f"{sample.name}, {name}": value for name, value in values.items()}
        curves[sample.name] = curve
        print(sample.name, measured, file=sys.stderr, flush=True)
    if arguments.plot:
        draw(arguments.plot, curves)
    options = f"{arguments.iterations} iterations, temporal {arguments.temporal:g}"
    return {
        "title": f"warping errors of {arguments.frames} frames at {arguments.size} px, {options}",
        **rows,
        "curves": curves,
    }


def flow(arguments: argparse.Namespace) -> dict[str, object]:
    """Measure the distance of the flow to the true one, by how much frames are enlarged before."""
    sample = synthetic(arguments.size, arguments.frames)
    errors: dict[str, float] = {}
    seconds: dict[str, float] = {}
    for enlargement in (1.0, 2.0, 3.0):
        distances, times = list[float](), list[float]()
        for index in range(0, arguments.frames - 1, 5):
            truth, visible = sample.truth(index, index + 1)
            begin = time.perf_counter()
            found = find_flow(sample.frames[index], sample.frames[index + 1], enlargement)
            times.append(time.perf_counter() - begin)
            distances.append(float(np.linalg.norm(found - truth, axis=2)[visible > 0].mean()))
        errors[f"pixels to the true end, enlarged {enlargement:g} times"] = float(np.mean(distances))
        seconds[f"one flow, enlarged {enlargement:g} times"] = statistics.median(times)
    title = f"flow of {arguments.frames} frames at {arguments.size} px"
    return {"title": title, "errors": errors, "seconds": seconds}


def _measure(
    sample: Sample, painting: images.Picture, arguments: argparse.Namespace
) -> tuple[dict[str, dict[str, float]], list[list[float]]]:
    """Paint a clip, and some of its frames alone; return rows by kind, and the curve of ratios."""
    options = Options(size=max(sample.frames[0].shape[:2]), threads=arguments.threads)
    settings = VideoOptions(temporal=arguments.temporal, frame_iterations=arguments.iterations)
    transfer = VideoTransfer(options=options, video=settings)
    frames = list(transfer.run(sample.frames, painting))
    ours = [frame.picture.rgb for frame in frames]
    seconds = [frame.seconds for frame in frames if frame.reliable]
    alone: dict[int, FloatImage] = {}

    def painted_alone(index: int) -> FloatImage:
        if index not in alone:
            alone[index] = transfer.job.run(sample.frames[index], painting).picture.rgb
        return alone[index]

    errors: dict[str, float] = {}
    for gap, words in ((1, "neighbours"), (_LONG, f"{_LONG} frames apart")):
        starts = sample.starts(gap)[::_EVERY]
        pairs = [sample.pair(painted_alone(i), painted_alone(i + gap), i, gap) for i in starts]
        errors |= {
            f"{words}, frames alone": float(np.mean(pairs)),
            f"{words}, ours": sample.error(ours, gap),
            f"{words}, the clip": sample.error(sample.frames, gap),
        }
    errors["neighbours, ours moved only"] = _error_of_moving(sample, ours)
    curve = [
        [float(index), *_ratios(ours[index], painted_alone(index))] for index in range(0, len(ours), _EVERY)
    ]
    names = ("sharpness", "contrast", "red", "green", "blue")
    last = dict(
        zip((f"frame {curve[-1][0]:.0f} / alone, {name}" for name in names), curve[-1][1:], strict=True)
    )
    times = {"a frame": statistics.median(seconds), "the first frame": frames[0].seconds}
    return {"errors": errors, "ratios": last, "seconds": times}, curve


def _error_of_moving(sample: Sample, painted: Sequence[FloatImage]) -> float:
    """Return the warping error from painted frames to themselves, moved to the next frame.

    It is what interpolation and the flow leave, and so the least that a method can reach that moves paint.
    """
    errors: list[float] = []
    for index in sample.starts(1):
        back = _motion(sample.frames[index + 1], sample.frames[index])
        errors.append(sample.pair(painted[index], warp(painted[index], back.flow), index, 1))
    return float(np.mean(errors))


def _ratios(ours: FloatImage, alone: FloatImage) -> list[float]:
    """Return sharpness, contrast and mean colours of a frame, divided by those of the frame alone."""
    one, other = ([sharpness(x), x.std(axis=(0, 1)).mean(), *x.mean(axis=(0, 1))] for x in (ours, alone))
    return [float(a / b) for a, b in zip(one, other, strict=True)]


def draw(path: Path, curves: dict[str, list[list[float]]]) -> None:
    """Plot the ratios over the frames, one panel for each clip."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(
        1, len(curves), figsize=(3.4 * len(curves), 3), squeeze=False, sharey=True
    )
    for panel, (name, rows) in zip(panels[0], curves.items(), strict=True):
        columns = np.array(rows).T
        for (label, color), column in zip(RATIOS.items(), columns[1:], strict=True):
            panel.plot(columns[0], column, label=label, color=color, marker=".")
        panel.axhspan(0.95, 1.05, color="0.9")
        panel.set(title=name, xlabel="frame", ylim=(0.85, 1.15))
    panels[0][0].set_ylabel("relative to the frame painted alone")
    panels[0][-1].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=90)
