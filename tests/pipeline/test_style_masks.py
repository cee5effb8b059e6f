"""Paintings on transparency and masks of paintings: what is hidden or masked has no effect."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lbfgs_style import (
    STOP,
    Checkpoint,
    CheckpointError,
    ImageError,
    OptionError,
    Options,
    Style,
    StyleTransfer,
    images,
    recipes,
)
from lbfgs_style.images.hidden_pixels import fill_hidden
from lbfgs_style.objective.engine import Engine
from lbfgs_style.objective.losses.terms import LossTerms
from lbfgs_style.pipeline import targets
from lbfgs_style.pipeline.plan import run_plan
from lbfgs_style.pipeline.plan.memory import ScaleMethod
from lbfgs_style.pipeline.regions import mask_for_layer
from lbfgs_style.pipeline.style_measuring import moments_at
from tests.helpers.command import one_error, paint, run, save
from tests.helpers.small_networks import small_vgg

RNG = np.random.default_rng(0)
PHOTO = RNG.random((40, 48, 3)).astype(np.float32)
PAINTING = RNG.random((64, 64, 3)).astype(np.float32)
LAYERS = ("relu1_1", "relu2_1")
OPTIONS = Options(
    size=48,
    scales="single",
    iterations=3,
    threads=1,
    device="cpu",
    content_layers=("relu2_1",),
    style_layers=LAYERS,
)
# Opaque in a disc with a soft edge; 0 outside.
Y, X = np.mgrid[:64, :64] - 31.5
ALPHA = np.clip(24 - np.hypot(X, Y), 0, 4).astype(np.float32) / 4


def job(**more: object) -> StyleTransfer:
    return StyleTransfer(small_vgg(), options=replace(OPTIONS, **more))


def rgba(hidden: float) -> np.ndarray:
    """Return the painting in its disc, and a hidden colour where it is transparent."""
    rgb = np.where(ALPHA[..., None] > 0, PAINTING, np.float32(hidden))
    return np.dstack([rgb, ALPHA])


# What is hidden


def test_hidden_pixels_get_colours_from_the_border():
    rgb = np.zeros((32, 32, 3), np.float32)
    rgb[:, 16:] = (0.8, 0.4, 0.2)
    alpha = np.zeros((32, 32), np.float32)
    alpha[:, 16:] = 1
    np.testing.assert_allclose(fill_hidden(rgb, alpha), np.broadcast_to(rgb[0, -1], rgb.shape), atol=1e-6)


def test_visible_pixels_stay_as_they_are():
    filled = fill_hidden(rgba(0.0)[..., :3], ALPHA)
    np.testing.assert_array_equal(filled[ALPHA > 0], PAINTING[ALPHA > 0])
    assert (filled[ALPHA == 0] != 0).any(axis=1).all()
    assert 0 <= filled.min() <= filled.max() <= 1


@pytest.mark.parametrize("alpha", [None, np.ones((64, 64), np.float32), np.zeros((64, 64), np.float32)])
def test_without_hidden_pixels_the_picture_is_unchanged(alpha):
    assert fill_hidden(PAINTING, alpha) is PAINTING


@pytest.mark.parametrize("keep", [None, "alpha"])
def test_hidden_pixels_of_a_photo_do_not_change_visible_ones(keep):
    alpha = np.zeros((40, 48), np.float32)
    alpha[:, 20:] = 1
    results = []
    for hidden in (0.0, 1.0):
        rgb = np.where(alpha[..., None] > 0, PHOTO, np.float32(hidden))
        results.append(job().run(np.dstack([rgb, alpha]), PAINTING, keep=keep).image)
    np.testing.assert_array_equal(results[0][:, 20:], results[1][:, 20:])
    np.testing.assert_array_equal(results[0][..., 3], alpha)


# Where a painting is measured


@pytest.mark.parametrize("statistic", ["gram", "mean-cov", "moments", "neighbours", "wasserstein"])
def test_hidden_pixels_of_a_painting_change_nothing(statistic):
    first, second = (job(style_statistic=statistic).run(PHOTO, rgba(hidden)) for hidden in (0.0, 0.7))
    np.testing.assert_array_equal(first.image, second.image)
    opaque = job(style_statistic=statistic).run(PHOTO, PAINTING)
    assert (first.image != opaque.image).any()


def test_moments_are_weighted_by_the_mask():
    """Σ w f fᵀ and Σ w f of the features, with the mask at the layer's positions, by NumPy."""
    engine = Engine(small_vgg(), device="cpu", threads=1, keep_sessions=False)
    moments = moments_at(engine, PAINTING, ALPHA, (64, 64), LAYERS, statistic="mean-cov")
    features = engine.statistics(PAINTING.transpose(2, 0, 1), LossTerms(LAYERS, ()), what="painting")
    for layer in LAYERS:
        f = features[f"features_{layer}"][0].astype(np.float64)
        w = mask_for_layer(ALPHA, *f.shape[1:])[0, 0].astype(np.float64)
        np.testing.assert_allclose(moments[f"gram_{layer}"], np.einsum("cyx,dyx,yx->cd", f, f, w), rtol=1e-5)
        np.testing.assert_allclose(moments[f"mean_{layer}"][:, 0], np.einsum("cyx,yx->c", f, w), rtol=1e-5)


def test_tiles_measure_the_same():
    engine = Engine(small_vgg(), device="cpu", threads=1, keep_sessions=False)
    whole, tiles = (
        moments_at(engine, PAINTING, ALPHA, (64, 64), LAYERS, statistic="mean-cov", window_pixels=window)
        for window in (None, 1600)
    )
    for name, expected in whole.items():
        np.testing.assert_allclose(tiles[name], expected, rtol=1e-5)


def test_a_run_in_blocks_takes_it(monkeypatch):
    monkeypatch.setattr(
        run_plan, "choose_methods", lambda *a: [ScaleMethod("blocks", 1600, 3, 0) for _ in a[3]]
    )
    first, second = (job().run(PHOTO, rgba(hidden)).image for hidden in (0.0, 0.7))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("mask", [ALPHA, np.rint(255 * ALPHA).astype(np.uint8)], ids=["float", "uint8"])
def test_a_mask_has_the_effect_of_alpha(mask):
    expected = job().run(PHOTO, np.dstack([PAINTING, ALPHA])).image
    actual = job().run(PHOTO, Style(PAINTING, style_mask=mask)).image
    # The mask leaves the pixels of the painting outside as they are; alpha hides them.
    assert np.abs(actual - expected).mean() < 0.02
    assert np.abs(job().run(PHOTO, PAINTING).image - expected).mean() > np.abs(actual - expected).mean()


def test_a_mask_and_alpha_are_multiplied():
    left = (X < 0).astype(np.float32)
    both = job().run(PHOTO, Style(np.dstack([PAINTING, ALPHA]), style_mask=left)).image
    assert (both != job().run(PHOTO, np.dstack([PAINTING, ALPHA])).image).any()
    other = PAINTING.copy()
    other[:, 48:] = 0  # out of reach of what is measured
    same = job().run(PHOTO, Style(np.dstack([other, ALPHA]), style_mask=left)).image
    np.testing.assert_allclose(both, same, atol=1e-2)


def test_opaque_alpha_has_no_effect():
    opaque = np.dstack([PAINTING, np.ones((64, 64), np.float32)])
    np.testing.assert_array_equal(job().run(PHOTO, opaque).image, job().run(PHOTO, PAINTING).image)


@pytest.mark.parametrize("preserve", ["match", "luminance"])
def test_colours_are_those_of_the_visible_part(preserve):
    first, second = (job(preserve_color=preserve).run(PHOTO, rgba(hidden)).image for hidden in (0.0, 0.7))
    np.testing.assert_array_equal(first, second)
    left = (X < 0).astype(np.float32)
    bright = PAINTING.copy()
    bright[:, 40:] = 1  # outside of the mask, beyond the reach of the layers
    images_ = [
        job(preserve_color=preserve).run(PHOTO, Style(p, style_mask=left)).image for p in (PAINTING, bright)
    ]
    np.testing.assert_allclose(*images_, atol=0.03)


def test_statistics_of_a_style():
    """A file of statistics stands for the visible part, and is the same whatever is hidden."""
    first, second = (job().measure_style(rgba(hidden), sizes=(48, 64)) for hidden in (0.0, 0.7))
    masked = job().measure_style(PAINTING, style_mask=ALPHA, sizes=(64,))
    for side in (48, 64):
        for name, values in first.sides[side].items():
            np.testing.assert_array_equal(values, second.sides[side][name])
    np.testing.assert_allclose(masked.sides[64]["gram_relu1_1"], first.sides[64]["gram_relu1_1"], rtol=0.05)
    with pytest.raises(OptionError, match="statistics have no pixels"):
        job().run(PHOTO, Style(first, style_mask=ALPHA))


@pytest.mark.parametrize(
    ("style", "says"),
    [
        (np.dstack([PAINTING, 0 * ALPHA]), "it is transparent everywhere"),
        (Style(PAINTING, style_mask=0 * ALPHA), "its mask is black wherever it is opaque"),
    ],
    ids=["transparent", "black mask"],
)
def test_nothing_to_measure_is_refused(style, says):
    with pytest.raises(ImageError, match=f"Nothing of the style image is left to measure: {says};"):
        job().run(PHOTO, style)
    with pytest.raises(ImageError, match=f"Nothing of the style image 2 is left to measure: {says};"):
        job().run(PHOTO, [PAINTING, style])


def test_a_checkpoint_knows_the_mask(tmp_path):
    path = tmp_path / "run.checkpoint"
    job().run(PHOTO, PAINTING, on_iterate=lambda it: STOP, checkpoint=Checkpoint(path, every=0))
    with pytest.raises(CheckpointError, match="the mask or transparency of style image 1 is new"):
        job().run(PHOTO, Style(PAINTING, style_mask=ALPHA), checkpoint=Checkpoint(path, resume=True))


# The command


def save_mask(name: str, array: np.ndarray) -> None:
    save(name, np.rint(255 * array).astype(np.uint8))


def test_the_command_and_its_recipe(folder, network, capfd):
    save_mask("mask.png", np.pad(np.ones((24, 10)), ((0, 0), (0, 14))))
    assert paint(network, "--quiet") == 0
    plain = images.read("out.png").rgb
    assert paint(network, "--painting-mask", "mask.png", "--quiet") == 0
    masked = images.read("out.png").rgb
    assert (masked != plain).any()
    assert recipes.read_recipe("out.png").inputs.styles[0].style_mask.path == "mask.png"
    assert run("rerun", "out.png", "-o", "again.png") == 0
    np.testing.assert_array_equal(images.read("again.png").rgb, masked)
    Path("mask.png").rename("moved.png")
    assert run("rerun", "out.png", "-o", "again.png", "--painting-mask", "moved.png") == 0
    assert paint(network, "--painting-mask", "all", "--quiet") == 0
    np.testing.assert_array_equal(images.read("out.png").rgb, plain)
    capfd.readouterr()
    assert paint(network, "--painting-mask", "all", "--painting-mask", "all") == 2
    one_error(capfd, "--painting-mask must be given for each style image: expected 1, got 2")


def test_a_file_with_alpha(folder, network):
    pictures = []
    for hidden in (0, 200):
        rgb = images.to_array(images.read("painting.png"))
        alpha = np.zeros((24, 24, 1), np.uint8)
        alpha[:, :16] = 255
        save("cut.png", np.dstack([np.where(alpha > 0, rgb, hidden).astype(np.uint8), alpha]))
        assert paint(network, "--quiet", styles=("cut.png",)) == 0
        pictures.append(images.read("out.png").rgb)
    np.testing.assert_array_equal(*pictures)


def test_statistics_by_the_command(folder, network):
    save_mask("mask.png", np.pad(np.ones((24, 10)), ((0, 0), (0, 14))))
    more = ("--network", network, "--style-layers", "relu1_1,relu2_1", "--quiet")
    assert run("style", "painting.png", "-o", "masked.style.npz", "--painting-mask", "mask.png", *more) == 0
    assert run("style", "painting.png", "-o", "plain.style.npz", *more) == 0
    with np.load("masked.style.npz") as masked, np.load("plain.style.npz") as plain:
        assert set(masked) == set(plain)
        assert (masked["24/gram_relu1_1"] != plain["24/gram_relu1_1"]).any()


def test_an_older_recipe_is_read(folder, network):
    """It names no masks of paintings."""
    assert paint(network, "--quiet", "--report", "run.json") == 0
    report = json.loads(Path("run.json").read_text("utf-8"))
    for part in ("files", "sha256"):
        del report[part]["painting_masks"]
    Path("run.json").write_text(json.dumps(report), "utf-8")
    assert run("rerun", "run.json", "-o", "again.png", "--quiet") == 0
    np.testing.assert_array_equal(images.read("again.png").rgb, images.read("out.png").rgb)


# A style that is used again


def test_a_picture_is_measured_once_for_many_photos(monkeypatch):
    measured = []
    original = targets.moments_at

    def noted(*arguments, **named):
        measured.append(arguments[3])
        return original(*arguments, **named)

    monkeypatch.setattr(targets, "moments_at", noted)
    runner, picture = job(), images.from_array(PAINTING)
    first = [runner.run(photo, picture).image for photo in (PHOTO, PHOTO[::-1].copy())]
    once = len(measured)
    other = job().run(PHOTO[::-1].copy(), PAINTING).image
    np.testing.assert_array_equal(first[1], other)
    assert once == len(measured) - once  # as often as in a single run
    runner.run(PHOTO, images.from_array(PAINTING[:, ::-1].copy()))
    assert len(measured) == 3 * once
