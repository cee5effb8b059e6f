"""How well a network replaces its teacher: pictures painted with each, compared by the teacher's features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lbfgs_style import Options, StyleTransfer, images, networks
from lbfgs_style.objective.engine import Engine
from lbfgs_style.objective.losses.terms import LossTerms, StylePart, features_name
from tools.distill.export import teacher_model
from tools.distill.model import STYLE_LAYERS
from tools.figures.contact_sheet import contact_sheet

# Weights of the losses in all runs.
STYLE_WEIGHT, CONTENT_WEIGHT = 3.0, 0.05


@dataclass(frozen=True, slots=True)
class Score:
    """Distances of one picture, by the teacher's features.

    Attributes
    ----------
    style : float
        Mean relative style distance of the five branches, divided by that of the photo.
    content : float
        Relative content distance at relu4_1.
    """

    style: float
    content: float


class Judge:
    """Measures pictures with the teacher's features."""

    def __init__(self, teacher: networks.FeatureNetwork) -> None:
        self._engine = Engine(teacher, device="cpu", threads=0, keep_sessions=True)
        self._terms = LossTerms(teacher.content_layers, STYLE_LAYERS)

    def statistics(self, rgb: np.ndarray) -> dict[str, np.ndarray]:
        """Return Gram matrices and content features of an H×W×3 picture."""
        return self._engine.statistics(
            np.ascontiguousarray(rgb.transpose(2, 0, 1)), self._terms, what="picture"
        )

    def score(self, picture: np.ndarray, photo: np.ndarray, painting: np.ndarray) -> Score:
        """Compare a picture, rounded to 8 bits, with the photo and the painting it was made of."""
        rounded = np.round(picture * 255).astype(np.float32) / 255
        ours, unpainted, goal = (self.statistics(rgb) for rgb in (rounded, photo, painting))
        grams = [StylePart(layer).gram for layer in self._terms.style_layers]
        style = sum(_relative(ours[g], goal[g]) for g in grams) / sum(
            _relative(unpainted[g], goal[g]) for g in grams
        )
        content = [features_name(layer) for layer in self._terms.content_layers]
        return Score(style, float(np.mean([_relative(ours[c], unpainted[c]) for c in content])))


def _relative(value: np.ndarray, target: np.ndarray) -> float:
    return float(((value - target) ** 2).sum() / (target**2).sum())


def load_teacher_network(path: Path, pooling: str) -> networks.FeatureNetwork:
    """Return the teacher of an .npz file as a feature network with a pooling of its own."""
    return networks.from_model(teacher_model(path, pooling))


def evaluate(
    photos: Sequence[Path],
    paintings: Sequence[Path],
    *,
    teacher: Path,
    network: str,
    pooling: str,
    size: int,
    iterations: int,
    sheet: Path | None,
    results_only: bool = False,
) -> None:
    """Print, for each pair, the scores of the pictures made with the network and with the teacher."""
    judge_network = load_teacher_network(teacher, pooling)
    judge = Judge(judge_network)
    options = Options(
        size=size,
        scales=(size,),
        iterations=iterations,
        style_weight=STYLE_WEIGHT,
        content_weight=CONTENT_WEIGHT,
        style_layers=STYLE_LAYERS,
        style_statistic="gram",
        pooling=None,
        variables="spectral",
    )
    jobs = {
        name: StyleTransfer(which, options=options)
        for name, which in (("ours", network), ("teacher", judge_network))
    }
    rows: list[list[np.ndarray]] = []
    scores: dict[str, list[Score]] = {name: [] for name in jobs}
    print(
        f"{'photo':24} {'painting':24} {'style ours':>11} {'teacher':>8} {'content ours':>13} {'teacher':>8}"
    )
    for photo_path in photos:
        for painting_path in paintings:
            photo, painting = images.read(photo_path), images.read(painting_path)
            small = images.resize(photo.rgb, images.fit(photo.rgb.shape[:2], size))
            side = min(size, max(painting.rgb.shape[:2]))
            goal = images.resize(painting.rgb, images.fit(painting.rgb.shape[:2], side))
            results = {name: job.run(photo, painting.rgb).picture.rgb for name, job in jobs.items()}
            pair_scores = {name: judge.score(picture, small, goal) for name, picture in results.items()}
            for name, score in pair_scores.items():
                scores[name].append(score)
            rows.append([small, goal, results["teacher"], results["ours"]])
            print(
                _line(photo_path.stem, painting_path.stem, pair_scores["ours"], pair_scores["teacher"]),
                flush=True,
            )
    means = {
        name: Score(float(np.mean([s.style for s in each])), float(np.mean([s.content for s in each])))
        for name, each in scores.items()
    }
    print(_line("mean", "", means["ours"], means["teacher"]))
    print(f"content distance: {means['ours'].content / means['teacher'].content:.3f} of the teacher's")
    if sheet is not None:
        labels = ["photo", "painting", "teacher", Path(network).stem]
        first = 2 if results_only else 0
        contact_sheet(sheet, [row[first:] for row in rows], labels[first:])


def _line(photo: str, painting: str, ours: Score, teacher: Score) -> str:
    return (
        f"{photo:24} {painting:24} {ours.style:11.2%} {teacher.style:8.2%} "
        f"{ours.content:13.4f} {teacher.content:8.4f}"
    )
