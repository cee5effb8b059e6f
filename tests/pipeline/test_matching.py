"""Features compared with their nearest neighbours in the style: rounds, masks, resumed runs."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest

from lbfgs_style import STOP, Checkpoint, ImageError, Style, StyleTransfer
from lbfgs_style.objective.losses.terms import LossTerms
from lbfgs_style.pipeline import matching
from lbfgs_style.pipeline.matching import matched_layers
from lbfgs_style.pipeline.plan import run_plan
from lbfgs_style.pipeline.plan.memory import ScaleMethod
from lbfgs_style.pipeline.plan.rounds import Round, plan_rounds, rounds_after
from tests.helpers.interrupted_runs import OPTIONS, PAINTING, PHOTO
from tests.helpers.small_networks import small_vgg

NEIGHBOURS = replace(OPTIONS, style_statistic="neighbours", iterations=(16, 45))


def test_the_deepest_layers_of_strokes_are_matched():
    terms = LossTerms((), ("relu3_1", "relu1_1", "relu2_1"))
    assert matched_layers(small_vgg(), terms) == ("relu2_1", "relu3_1")
    assert matched_layers(small_vgg(), LossTerms((), ("relu1_1",))) == ("relu1_1",)


@pytest.mark.parametrize(
    ("iterations", "is_last", "rounds"),
    [
        (40, True, [(13, False), (13, False), (14, True)]),
        (40, False, [(13, False), (13, False), (14, False)]),
        (22, True, [(22, False)]),
        (1, True, [(1, False)]),
        (30, True, [(15, False), (15, True)]),
    ],
)
def test_rounds(iterations, is_last, rounds):
    assert plan_rounds(iterations, is_last=is_last) == tuple(Round(*each) for each in rounds)


def test_what_is_left_of_rounds():
    rounds = plan_rounds(40, is_last=True)
    assert rounds_after(rounds, 0, relearning=0) == rounds
    assert rounds_after(rounds, 15, relearning=4) == (Round(15), Round(14, by_layer=True))
    assert rounds_after(rounds, 26, relearning=10) == (Round(24, by_layer=True),)
    assert rounds_after(rounds, 40, relearning=10) == ()


def test_iterations_are_counted_through_all_rounds():
    seen = []
    result = StyleTransfer(small_vgg(), options=NEIGHBOURS).run(PHOTO, PAINTING, on_iterate=seen.append)
    assert [scale.iterations for scale in result.scales] == [16, 45]
    assert [each.iteration for each in seen] == [*range(1, 17), *range(1, 46)]
    counts = [each.evaluations for each in seen[16:]]
    assert counts == sorted(set(counts))
    assert seen[-1].iterations == 45
    assert result.evaluations >= 61
    assert list(result.term_history) == [
        "content relu2_1",
        *("neighbours relu1_1", "neighbours relu2_1"),
        *("style relu1_1", "style relu2_1", "tv", "range"),
    ]


def test_light_is_painted_like_light_and_dark_like_dark():
    """A style that is yellow where it is light and blue where it is dark; moments alone do not tell where."""
    rng = np.random.default_rng(0)
    content = np.repeat(np.linspace(0.1, 0.9, 48)[None, :, None], 48, 0) * np.ones(3)
    light, dark = np.array([0.95, 0.9, 0.3]), np.array([0.1, 0.1, 0.4])
    style = np.where(np.arange(48)[:, None, None] < 24, light, dark) * np.ones((48, 48, 1))
    style = np.clip(style + rng.normal(0, 0.02, (48, 48, 1)), 0, 1)
    options = replace(NEIGHBOURS, iterations=60, scales="single", content_weight=1e-3, keep_gray=False)
    rgb = StyleTransfer("compact", options=options).run(content, style).image
    yellowness = (rgb[..., 0] - rgb[..., 2]).mean(0)
    assert yellowness[-8:].mean() > 0.3
    assert yellowness[:8].mean() < -0.1


def test_places_stay_in_the_region_of_their_mask(monkeypatch):
    found = []
    original = matching.Matcher.targets

    def noted(self, image, *, by_layer=False):
        targets = original(self, image, by_layer=by_layer)
        found.append((self, targets))
        return targets

    monkeypatch.setattr(matching.Matcher, "targets", noted)
    left = np.tile((np.arange(48) < 24).astype(float), (36, 1))
    styles = [Style(PAINTING, mask=left), Style(PAINTING[::-1, ::-1] * 0.5, mask=1 - left)]
    options = replace(NEIGHBOURS, iterations=1, scales="single")
    StyleTransfer(small_vgg(), options=options).run(PHOTO, styles)
    [(matcher, targets)] = found
    features = targets["neighbours_relu1_1"][0].reshape(-1, 36, 48)
    for places, side in zip(matcher.places, (np.s_[:, :, :20], np.s_[:, :, 28:]), strict=True):
        known = {tuple(each) for each in places["relu1_1"]}
        assert {tuple(each) for each in features[side].reshape(len(features), -1).T} <= known


@pytest.mark.parametrize("count", [1, 9, 16, 17, 40, 61])
def test_a_resumed_run_ends_with_the_saved_iterations(tmp_path, count):
    path = tmp_path / "c.npz"
    job = StyleTransfer(small_vgg(), options=NEIGHBOURS)
    seen = []
    job.run(
        PHOTO,
        PAINTING,
        on_iterate=lambda it: seen.append(it) or (STOP if len(seen) == count else None),
        checkpoint=Checkpoint(path, every=1000),
    )
    assert len(seen) == count
    result = job.run(PHOTO, PAINTING, checkpoint=Checkpoint(path, resume=True))
    within = count if count <= 16 else count - 16
    extra = [min(within, 10), 0] if count <= 16 else [0, min(within, 10)]
    if within in (16, 45):  # the scale was done
        extra = [0, 0]
    assert [scale.iterations for scale in result.scales] == [16 + extra[0], 45 + extra[1]]
    assert len(result.history) == 61 + sum(extra)
    whole = job.run(PHOTO, PAINTING)
    assert result.history[-1] == pytest.approx(whole.history[-1], rel=0.3)


@pytest.mark.parametrize("after", [1, 20, 50])
def test_a_cancelled_run_has_the_best_image(after):
    cancel, seen = threading.Event(), []

    def note(iterate):
        seen.append(iterate)
        if len(seen) == after:
            cancel.set()

    result = StyleTransfer(small_vgg(), options=NEIGHBOURS).run(
        PHOTO, PAINTING, on_iterate=note, cancel=cancel
    )
    assert result.stop_reason == "cancelled"
    assert sum(scale.iterations for scale in result.scales) == after == len(result.history)


@pytest.mark.parametrize("kind", ["adam", "tiles", "blocks"])
def test_other_ways_to_optimise(kind, monkeypatch):
    """First-order methods and blocks have one round, whose neighbours are those of the content alone."""
    options = replace(NEIGHBOURS, iterations=20, scales="single", threads=1)
    if kind == "adam":
        options = replace(options, optimizer="adam")
    else:
        options = replace(options, size=128)
        ways = lambda *a: [ScaleMethod(kind, 4500, 5, 0) for _ in a[3]]  # noqa: E731
        monkeypatch.setattr(run_plan, "choose_methods", ways)
    result = StyleTransfer(small_vgg(), options=options).run(PHOTO, PAINTING)
    assert result.scales[0].iterations == len(result.history) >= 20
    assert result.history[-1] < result.history[0]


def test_statistics_have_no_features_to_compare():
    job = StyleTransfer(small_vgg(), options=replace(OPTIONS, style_statistic="neighbours"))
    measured = StyleTransfer(small_vgg(), options=OPTIONS).measure_style(PAINTING, name="a.npz")
    with pytest.raises(ImageError, match=r"a\.npz: holds moments, and style_statistic 'neighbours' needs"):
        job.run(PHOTO, measured)


def test_the_image_is_the_same_each_time():
    job = StyleTransfer(small_vgg(), options=replace(NEIGHBOURS, iterations=20, threads=1))
    first, second = (job.run(PHOTO, PAINTING).image for _ in range(2))
    np.testing.assert_array_equal(first, second)
    moments = replace(job.options, style_statistic="moments")
    assert (first != StyleTransfer(small_vgg(), options=moments).run(PHOTO, PAINTING).image).any()
