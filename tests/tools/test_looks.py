"""The bench of looks: its measures on pictures whose answer is known, and its folders, sheets and votes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lbfgs_style import images
from lbfgs_style.errors import OptionError
from tools.looks import sheets
from tools.looks.measures import measure
from tools.looks.painting import Pair, paint, read_pairs, read_sets

DATA = Path(__file__).parents[1] / "data"
PHOTO, PAINTING = DATA / "coast.jpg", DATA / "painting.jpg"


@pytest.fixture(scope="module")
def pair() -> Pair:
    return Pair(PHOTO, PAINTING)


def measured(tmp_path: Path, pair: Pair, rgb: np.ndarray):
    images.write(tmp_path / "result.png", images.from_array(np.clip(rgb, 0, 1)))
    return measure(pair, tmp_path / "result.png")


def test_the_photo_itself_has_its_edges_and_no_ghost(tmp_path, pair) -> None:
    looks = measured(tmp_path, pair, images.read(PHOTO).rgb)
    assert looks.edges == pytest.approx(1, abs=1e-3)
    assert looks.ghosts == 0


def test_the_painting_itself_has_its_colours_and_its_fine_chroma(tmp_path) -> None:
    painting = images.read(PAINTING).rgb
    looks = measured(tmp_path, Pair(PHOTO, PAINTING), painting)
    assert looks.color == pytest.approx(0, abs=0.05)
    assert looks.confetti == pytest.approx(1, abs=0.02)


def test_a_figure_of_the_painting_in_the_photo_is_a_ghost(tmp_path, pair) -> None:
    """Three quarters of a part of the painting, where the photo is plain."""
    photo, painting = images.read(PHOTO).rgb.copy(), images.read(PAINTING).rgb
    before = measured(tmp_path, pair, photo)
    photo[:160, :200] += 0.75 * (painting[40:200, 60:260] - photo[:160, :200])
    assert measured(tmp_path, pair, photo).ghosts > before.ghosts + 1


def test_coloured_noise_is_confetti(tmp_path, pair) -> None:
    photo = images.read(PHOTO).rgb
    noisy = photo + np.random.default_rng(0).normal(0, 0.1, photo.shape)
    assert measured(tmp_path, pair, noisy).confetti > 2 * measured(tmp_path, pair, photo).confetti


def test_sets_are_painted_once_and_shown(tmp_path) -> None:
    (tmp_path / "pairs.csv").write_text(f"# photo, painting\n{PHOTO}, {PAINTING}\n", "utf-8")
    (tmp_path / "sets.toml").write_text(
        '[now]\niterations = 1\n[other]\niterations = 1\npooling = "average"\n'
    )
    pairs, sets = read_pairs(tmp_path / "pairs.csv"), read_sets(tmp_path / "sets.toml")
    folder = tmp_path / "bench"
    paint(folder, pairs, sets, 64, 1)
    files = [folder / name / "coast--painting.png" for name in sets]
    times = [file.stat().st_mtime_ns for file in files]
    paint(folder, pairs, sets, 64, 1)
    assert [file.stat().st_mtime_ns for file in files] == times
    assert read_pairs(folder / "pairs.csv") == pairs
    sheets.write_sheet(folder, pairs, list(sets), tmp_path / "sheet.png", 64)
    sheets.write_blind(folder, pairs, ("now", "other"), tmp_path / "blind", 64, seed=1)
    assert images.read(tmp_path / "sheet.png").rgb.shape[1] > 4 * 64
    order = json.loads((tmp_path / "blind" / "key.json").read_text("utf-8"))
    assert sorted(order["00"]) == ["now", "other"]
    (tmp_path / "answers.txt").write_text("00 B\n", "utf-8")
    votes = sheets.score(tmp_path / "blind" / "key.json", tmp_path / "answers.txt")
    assert votes[order["00"][1]] == 1
    assert sum(votes.values()) == 1


def test_a_mistake_in_a_set_is_reported_before_the_work(tmp_path) -> None:
    with pytest.raises(OptionError, match="poling"):
        paint(tmp_path, [Pair(PHOTO, PAINTING)], {"now": {}, "wrong": {"poling": "average"}}, 64, 1)
    assert not list(tmp_path.glob("*/*.png"))
