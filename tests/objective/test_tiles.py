"""Tiles: the cut as a pure function, receptive fields by hand, and the same numbers as the whole picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lbfgs_style.graphs.builder import GraphBuilder
from lbfgs_style.graphs.receptive_fields import Field, alignment, halo, receptive_fields
from lbfgs_style.objective.engine import Engine
from lbfgs_style.objective.losses.terms import (
    RELIABILITY,
    TEMPORAL_TARGET,
    LossTerms,
    StylePart,
    content_map_name,
)
from lbfgs_style.objective.tiling.tile_plan import plan_tiles
from lbfgs_style.settings.presets import PRESETS
from tests.helpers.small_networks import small_vgg

TERMS = LossTerms(("relu2_2",), ("relu1_1", "relu2_1", "relu3_1"))
WEIGHTS = np.array([0.5, 1.0, 2.0, 0.25, 0.1, 3.0], np.float32)


def test_receptive_fields_by_hand() -> None:
    """relu1_1 sees 1 pixel around; after conv1_2 2; the pool joins 2; conv2_1 adds 2 on either side."""
    fields = receptive_fields(small_vgg().model, TERMS.layers)
    assert fields["relu1_1"] == Field(1, -1, 1)
    assert fields["relu2_1"] == Field(2, -4, 5)
    assert fields["relu2_2"] == Field(2, -6, 7)
    assert fields["relu3_1"] == Field(4, -10, 13)
    assert halo(list(fields.values())) == 24  # 23, rounded up to the stride of relu3_1


def test_receptive_field_of_a_padded_network() -> None:
    """Padding in a node of its own moves the field as the convolution's own padding does."""
    fields = []
    for separate in (False, True):
        b = GraphBuilder()
        x = b.input("image", [1, 3, "height", "width"])
        kernel = b.constant(np.ones((2, 3, 3, 3)))
        if separate:
            x = b.op("Pad", x, b.constant([0, 0, 1, 1, 0, 0, 1, 1], integer=True))
        b.output(b.op("Conv", x, kernel, name="y", attributes={} if separate else {"pads": [1, 1, 1, 1]}))
        fields.append(receptive_fields(b.model(), ["y"])["y"])
    assert fields == [Field(1, -1, 1)] * 2


@pytest.mark.parametrize("size", [(100, 100), (97, 230), (64, 1000), (41, 57), (16, 16)])
@pytest.mark.parametrize("most", [1, 8000, 20000, 10**6])
def test_tiles_cover_the_picture_once(size: tuple[int, int], most: int) -> None:
    fields = [Field(1, -1, 1), Field(4, -10, 13)]
    tiles = plan_tiles(size, fields, most)
    count = np.zeros(size, int)
    for tile in tiles:
        count[tile.rows.start : tile.rows.stop, tile.columns.start : tile.columns.stop] += 1
        pairs = ((tile.rows, tile.window_rows, size[0]), (tile.columns, tile.window_columns, size[1]))
        for span, window, length in pairs:
            assert span.start % 4 == window.start % 4 == 0
            assert 0 <= window.start <= max(0, span.start - 24) or window.start == 0
            assert length >= window.stop >= min(length, span.stop + 24)
    assert (count == 1).all()
    assert len({tile.window_size for tile in tiles}) <= 4
    if size[0] * size[1] <= most:
        assert len(tiles) == 1
    elif most > 1:
        assert max(np.prod(tile.window_size) for tile in tiles) <= most


def test_a_short_halo_at_a_large_size() -> None:
    """Thousands of spans an axis are possible; looking at every pair of counts would take hours."""
    side, most = 20000, 2**21
    tiles = plan_tiles((side, side), [Field(1, -1, 1), Field(2, -4, 5)], most)
    assert sum(tile.rows.length * tile.columns.length for tile in tiles) == side**2
    computed = [tile.window_size[0] * tile.window_size[1] for tile in tiles]
    assert max(computed) <= most
    assert sum(computed) < 1.05 * side**2  # halos of 10 pixels around blocks of about a thousand


@pytest.mark.parametrize("pooling", ["max", "average"])
@pytest.mark.parametrize("size", [(96, 128), (101, 75), (30, 160)])
@pytest.mark.parametrize("convolution", ["direct", "winograd"])
def test_tiles_give_the_numbers_of_the_whole(pooling: str, size: tuple[int, int], convolution: str) -> None:
    """Targets, loss, each term and the gradient, values out of range included."""
    rng = np.random.default_rng(0)
    photo, x = rng.uniform(-0.1, 1.1, (2, 3, *size)).astype(np.float32)
    results = []
    for pixels in (None, 4500):
        engine = Engine(
            small_vgg(pooling=pooling),
            device="cpu",
            threads=1,
            keep_sessions=False,
            convolution=convolution,
        )
        targets = engine.statistics(photo, TERMS, what="photo", window_pixels=pixels)
        evaluation = engine.objective(size, TERMS, targets, WEIGHTS, window_pixels=pixels)(x)
        results.append([*(targets[name] for name in sorted(targets)), evaluation.loss, evaluation.terms])
        results[-1].append(evaluation.gradient)
    assert len(plan_tiles(size, list(receptive_fields(small_vgg().model, TERMS.layers).values()), 4500)) > 1
    for whole, tiled in zip(*results, strict=True):
        assert np.shape(whole) == np.shape(tiled)
        assert np.linalg.norm(np.subtract(tiled, whole)) <= 1e-5 * np.linalg.norm(whole)


FORMS = {
    "mean and covariance": replace(TERMS, statistic="mean-cov", tv_power=1.25),
    "moments": replace(TERMS, statistic="moments"),
    "neighbours": replace(TERMS, statistic="neighbours", matched_layers=("relu2_1", "relu2_2")),
    "wasserstein": replace(TERMS, statistic="wasserstein", tv_power=1.0),
    "guided": replace(TERMS, regions=2),
    "content map": replace(TERMS, content_map=True),
    "temporal": replace(TERMS, temporal=True),
    "guided wasserstein": replace(TERMS, statistic="wasserstein", regions=2),
    **{
        row.name: replace(TERMS, form=row.form, tv_power=row.tv_power)
        for row in PRESETS
        if row.name != "default"
    },
}


def all_targets(
    engine: Engine, terms: LossTerms, photo: np.ndarray, painting: np.ndarray, pixels: int | None = None
) -> dict[str, np.ndarray]:
    """Measure the targets of any form; masks have soft edges."""
    plain = replace(terms, content_layers=(), regions=0, temporal=False)
    content = LossTerms(terms.content_layers, ())
    targets = engine.statistics(photo, content, what="photo", window_pixels=pixels)
    style = engine.statistics(painting, plain, what="painting", window_pixels=pixels)
    for term in terms.feature_terms:
        if term.role == "neighbours":
            matched = LossTerms((term.layer,), ())
            features = engine.statistics(painting, matched, what="painting", window_pixels=pixels)
            targets[term.target] = features[f"features_{term.layer}"]
    for layer in terms.content_layers if terms.content_map else ():
        stride = 2 ** (int(layer[4]) - 1)
        roots = np.linspace(0, 2, 75 // stride) * np.ones((101 // stride, 1))
        targets[content_map_name(layer)] = roots.astype(np.float32)[None, None]
    for part in terms.style_parts:
        source, names = StylePart(part.layer), terms.moments(part).names
        targets |= {n: style[s] for n, s in zip(names, plain.moments(source).names, strict=True)}
        if part.region is not None:
            stride = 2 ** (int(part.layer[4]) - 1)
            mask = np.linspace(part.region, 1, 75 // stride) * np.ones((101 // stride, 1))
            targets[part.mask] = (mask / mask.sum()).astype(np.float32)[None, None]
            targets["region_weights"] = np.array([0.3, 0.7], np.float32)
    if terms.temporal:
        targets |= {TEMPORAL_TARGET: painting[None], RELIABILITY: photo[None, :1]}
    return targets


def weights(terms: LossTerms) -> np.ndarray:
    """Return `WEIGHTS`, and one for each term of neighbours and for that of a video."""
    matched, temporal = [0.7] * len(terms.matched_layers), [2.0] * terms.temporal
    return np.array([*WEIGHTS[:1], *matched, *WEIGHTS[1:], *temporal], np.float32)


@pytest.mark.parametrize("name", FORMS)
def test_tiles_give_the_numbers_of_every_form(name: str) -> None:
    """Sides that are no multiple of the strides; masks with soft edges."""
    terms, size = FORMS[name], (101, 75)
    rng = np.random.default_rng(1)
    photo, painting, x = rng.uniform(0, 1, (3, 3, *size)).astype(np.float32)
    results = []
    for pixels in (None, 4500):
        engine = Engine(small_vgg(), device="cpu", threads=1, keep_sessions=False)
        targets = all_targets(engine, terms, photo, painting, pixels)
        evaluation = engine.objective(size, terms, targets, weights(terms), window_pixels=pixels)(x)
        results.append([*(targets[key] for key in sorted(targets)), evaluation.loss, evaluation.terms])
        results[-1].append(evaluation.gradient)
    for whole, tiled in zip(*results, strict=True):
        assert np.shape(whole) == np.shape(tiled)
        assert np.linalg.norm(np.subtract(tiled, whole)) <= 2e-5 * np.linalg.norm(whole)


def test_the_content_loss_with_a_map_by_hand() -> None:
    """Σ w (F − P)² / ‖P‖², the weights w being the squares of the map's roots."""
    terms, size = FORMS["content map"], (101, 75)
    rng = np.random.default_rng(3)
    photo, painting, x = rng.uniform(0, 1, (3, 3, *size)).astype(np.float32)
    engine = Engine(small_vgg(), device="cpu", threads=1, keep_sessions=False)
    targets = all_targets(engine, terms, photo, painting)
    own = all_targets(engine, terms, x, painting)
    values = engine.objective(size, terms, targets, WEIGHTS)(x).terms
    for value, layer in zip(values, terms.content_layers, strict=False):
        name, weights = f"features_{layer}", targets[content_map_name(layer)] ** 2
        expected = (weights * (own[name] - targets[name]) ** 2).sum() / (targets[name] ** 2).sum()
        assert value == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "name", ["plain", "neighbours", "wasserstein", "guided", "content map", "temporal", "keras"]
)
def test_a_free_block_gives_the_numbers_of_the_whole(name: str) -> None:
    """Loss and gradient are those of the whole picture, before and after other blocks changed."""
    terms, size, pixels = {"plain": TERMS, **FORMS}[name], (101, 75), 4500
    rng = np.random.default_rng(2)
    photo, painting, x = rng.uniform(0, 1, (3, 3, *size)).astype(np.float32)
    engine = Engine(small_vgg(), device="cpu", threads=1, keep_sessions=False)
    targets = all_targets(engine, terms, photo, painting)
    whole = engine.objective(size, terms, targets, weights(terms))
    blocks = engine.blocks(x.copy(), terms, targets, weights(terms), pixels)
    first, second, third, fourth = engine.plan_cuts(size, terms, pixels)
    assert len(first) > 2
    for tile in (first[1], second[-1], first[-1], third[0], fourth[-1]):
        block = blocks.free(tile)
        place = np.index_exp[:, tile.rows.start : tile.rows.stop, tile.columns.start : tile.columns.stop]
        moved = np.clip(block.image + rng.normal(0, 0.1, block.image.shape), 0, 1).astype(np.float32)
        block.evaluate(moved)
        picture = blocks.image.copy()
        picture[place] = moved
        expected = whole(picture)
        loss, values = block.value()
        assert loss == pytest.approx(expected.loss, rel=1e-5)
        np.testing.assert_allclose(values, expected.terms, rtol=1e-4)
        block.commit(moved)
        np.testing.assert_array_equal(blocks.image, picture)
        blocks.begin_sweep()
        loss, values, gradient = blocks.free(tile).evaluate(moved)
        if not terms.regions:  # λ is the same for all terms
            assert loss * size[0] * size[1] / moved[0].size == pytest.approx(expected.loss, rel=1e-5)
            np.testing.assert_allclose(values, expected.terms, rtol=1e-4)
        difference = np.linalg.norm(gradient - expected.gradient[place])
        assert difference <= 2e-5 * np.linalg.norm(expected.gradient[place])


@pytest.mark.parametrize("size", [(101, 75), (64, 200)])
def test_shifted_tiles_cover_the_picture_too(size: tuple[int, int]) -> None:
    fields = list(receptive_fields(small_vgg().model, TERMS.layers).values())
    plain, shifted = (plan_tiles(size, fields, 4500, shifted=(flag, flag)) for flag in (False, True))
    count = np.zeros(size, int)
    for tile in shifted:
        count[tile.rows.start : tile.rows.stop, tile.columns.start : tile.columns.stop] += 1
        for span, window in ((tile.rows, tile.window_rows), (tile.columns, tile.window_columns)):
            assert span.start % alignment(fields) == window.start % alignment(fields) == 0
    assert (count == 1).all()
    borders = [{(t.rows.start, t.columns.start) for t in tiles} - {(0, 0)} for tiles in (plain, shifted)]
    assert borders[0]
    assert not borders[0] & borders[1]
