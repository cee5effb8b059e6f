"""Block by block with masks: a region is changed by the blocks that it lies in, however few these are."""

from __future__ import annotations

import numpy as np
import pytest

from lbfgs_style import Options, Style, StyleTransfer
from lbfgs_style.objective.engine import Engine
from lbfgs_style.objective.losses.terms import LossTerms
from lbfgs_style.objective.tiling.tile_runner import tile_in_image
from lbfgs_style.pipeline.plan import run_plan
from lbfgs_style.pipeline.plan.memory import ScaleMethod
from lbfgs_style.pipeline.regions import blend_in_place, mask_for_layer
from tests.helpers.small_networks import small_vgg

RNG = np.random.default_rng(0)
PHOTO, PAINTING, SECOND = (RNG.random((96, 128, 3)).astype(np.float32) for _ in range(3))
LAYERS = ("relu1_1", "relu2_1")


def run(styles: list[Style], **more: object) -> float:
    """Return what is left of the loss."""
    settings = {"size": 128, "scales": "single", "iterations": 4, "threads": 1, "device": "cpu"}
    options = Options(style_layers=LAYERS, content_layers=("relu2_1",), **settings)
    (scale,) = StyleTransfer(small_vgg(), options=options).run(PHOTO, styles, **more).scales
    return scale.loss_end / scale.loss_start


@pytest.fixture
def corner() -> np.ndarray:
    """Return a mask that is white in the middle of a block alone."""
    mask = np.zeros((96, 128), np.float32)
    mask[:30, :16] = 1
    return mask


@pytest.mark.parametrize("case", ["kept but for a corner", "a style for a corner"])
def test_a_region_in_one_block_converges_as_in_the_whole(monkeypatch, corner, case):
    styles, more = [Style(PAINTING)], {"keep": 1 - corner}
    if case.startswith("a style"):
        styles, more = [Style(0.3 * PAINTING, mask=corner), Style(SECOND)], {}
    whole = run(styles, **more)
    monkeypatch.setattr(
        run_plan, "choose_methods", lambda *a: [ScaleMethod("blocks", 2000, 5, 0) for _ in a[3]]
    )
    blocks = run(styles, **more)
    # Without the rule for regions about 0.85 is left.
    assert whole < 0.45
    assert blocks < 0.5


def test_a_region_changes_with_the_blocks_that_it_lies_in(corner):
    """λ of a region is the part of its mask that lies in a block; for a block outside of it, λ is small."""
    engine = Engine(small_vgg(), device="cpu", threads=1, keep_sessions=False)
    terms = LossTerms(("relu2_1",), LAYERS, regions=2)
    photo, painting = (np.ascontiguousarray(p.transpose(2, 0, 1)) for p in (PHOTO, PAINTING))
    plain = engine.statistics(painting, LossTerms((), LAYERS), what="painting")
    targets = engine.statistics(photo, LossTerms(("relu2_1",), ()), what="photo")
    targets |= {f"gram_{layer}_{region}": plain[f"gram_{layer}"] for layer in LAYERS for region in (0, 1)}
    for layer, size in zip(LAYERS, ((96, 128), (48, 64)), strict=True):
        for region, mask in enumerate((corner, 1 - corner)):
            targets[f"mask_{layer}_{region}"] = mask_for_layer(mask, *size)
    targets["region_weights"] = np.array([0.2, 0.8], np.float32)
    blocks = engine.blocks(photo.copy(), terms, targets, np.ones(len(terms.names), np.float32), 4500)
    tiles = engine.plan_cuts((96, 128), terms, 4500)[0]
    parts = np.array([blocks.fractions(tile) for tile in tiles])
    areas = np.array([tile.rows.length * tile.columns.length for tile in tiles]) / (96 * 128)
    inside = np.array([corner[tile_in_image(tile)[1:]].sum() for tile in tiles]) / corner.sum()
    np.testing.assert_allclose(parts[:, 0], areas)
    np.testing.assert_allclose(parts[:, 1], np.maximum(inside, areas / 8), rtol=1e-5)
    assert parts[0, 1] == pytest.approx(1)
    np.testing.assert_allclose(parts[:, 2].sum(), 1, rtol=1e-5)


def test_the_photo_is_laid_over_a_picture_exactly():
    opacity = np.zeros((600, 40), np.float32)
    opacity[100:400], opacity[400:] = 1, 0.25
    photo, picture = RNG.random((2, 3, 600, 40)).astype(np.float32)
    before = picture.copy()
    blend_in_place(photo, opacity, picture)
    np.testing.assert_array_equal(picture[:, :100], before[:, :100])
    np.testing.assert_array_equal(picture[:, 100:400], photo[:, 100:400])
    np.testing.assert_allclose(picture[:, 400:], 0.25 * photo[:, 400:] + 0.75 * before[:, 400:], rtol=1e-6)
