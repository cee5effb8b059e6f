"""Runs block by block: as good as whole ones, with the same callbacks, stopped as they are."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from small_networks import small_vgg

from lbfgs_style import Iterate, Options, StyleTransfer, pyramid
from lbfgs_style.budget import Working
from lbfgs_style.engine import Engine
from lbfgs_style.session import Session
from lbfgs_style.sweeps import all_iterations, shares
from lbfgs_style.term_names import TermNames
from lbfgs_style.tiled import of_picture

RNG = np.random.default_rng(0)
PHOTO, PAINTING = (RNG.random((96, 128, 3)).astype(np.float32) for _ in range(2))


@pytest.fixture
def in_blocks(monkeypatch):
    """Give every scale to blocks with windows of at most 4500 pixels."""
    monkeypatch.setattr(
        pyramid, "workings", lambda *a: [Working("blocks", 4500, 5, 0) for _ in a[3]], raising=True
    )


def job(**options: object) -> StyleTransfer:
    layers = {"style_layers": ("relu1_1", "relu2_1"), "content_layers": ("relu2_1",)}
    settings = {"size": 128, "scales": "single", "iterations": 8, "threads": 1, "device": "cpu", **layers}
    return StyleTransfer(small_vgg(), options=Options(**settings, **options))


def test_iterations_are_shared_among_sweeps():
    assert shares(5, 2) == [3, 2]
    assert shares(1, 2) == [1, 0]
    assert all_iterations([["a"] * 4, ["b"] * 6], 5) == 4 * 3 + 6 * 2


def test_blocks_reach_what_the_whole_reaches(in_blocks, monkeypatch):
    seen: list[Iterate] = []
    blocks = job().run(PHOTO, PAINTING, on_iterate=seen.append)
    monkeypatch.undo()
    whole = job().run(PHOTO, PAINTING)
    assert blocks.scales[0].loss_start == pytest.approx(whole.scales[0].loss_start, rel=1e-4)
    assert blocks.scales[0].loss_end < 1.1 * whole.scales[0].loss_end < 0.5 * whole.scales[0].loss_start
    assert blocks.stop_reason == "iterations"
    assert [it.iteration for it in seen] == list(range(1, len(seen) + 1))
    assert {it.iterations for it in seen} == {len(seen)}
    assert blocks.history == tuple(it.loss for it in seen)
    assert (np.diff(blocks.history) <= 1e-6 * blocks.history[0]).all()  # each block goes on from the last
    assert blocks.scales[0].evaluations >= len(seen)


def test_the_loss_that_is_told_is_the_pictures(in_blocks, monkeypatch):
    result = job().run(PHOTO, PAINTING)
    monkeypatch.undo()
    again = job(range_weight=10.0).run(PHOTO, PAINTING, init=result.image)
    assert again.scales[0].loss_start == pytest.approx(result.scales[0].loss_end, rel=2e-2)  # clipped


def test_callbacks_see_the_whole_picture_and_stop_it(in_blocks):
    pictures: list[np.ndarray] = []

    def stop(iterate: Iterate) -> bool:
        pictures.append(iterate.image())
        return iterate.iteration == 6

    result = job().run(PHOTO, PAINTING, on_iterate=stop)
    assert result.stop_reason == "callback"
    assert len(result.history) == 6
    assert pictures[0].shape == PHOTO.shape
    changed = np.abs(pictures[-1] - PHOTO).max(axis=2) > 1e-6
    assert 0 < changed.mean() < 0.5  # the first blocks alone
    np.testing.assert_allclose(result.image, pictures[-1], atol=1e-6)


def test_cancelled_between_blocks(in_blocks):
    cancel = threading.Event()
    result = job().run(
        PHOTO, PAINTING, cancel=cancel, on_iterate=lambda it: cancel.set() if it.iteration == 5 else None
    )
    assert result.stop_reason == "cancelled"
    assert len(result.history) == 5
    assert (result.image != PHOTO).any()


def test_what_is_kept_stays_in_every_block(in_blocks):
    keep = np.zeros((96, 128), np.float32)
    keep[:40, :70] = 1
    result = job().run(PHOTO, PAINTING, keep=keep)
    np.testing.assert_allclose(result.image[:40, :70], PHOTO[:40, :70], atol=1e-6)
    assert (result.image[60:] != PHOTO[60:]).mean() > 0.9


def test_no_evaluation_is_made_that_the_optimiser_did_not_ask_for(in_blocks, monkeypatch):
    runs: list[int] = []
    plain = Session.run

    def counted(self, outputs, *arguments, **named):
        runs.append(any(name == "d_image" or name.startswith("own_") for name in outputs))
        return plain(self, outputs, *arguments, **named)

    monkeypatch.setattr(Session, "run", counted)
    result = job().run(PHOTO, PAINTING)
    assert sum(runs) <= result.evaluations


@pytest.mark.parametrize("kept", [0, 1])
def test_a_block_may_keep_any_picture_that_it_tried(kept):
    """The sums go on from the picture that is kept, the last one evaluated or not."""
    network = small_vgg()
    engine = Engine(network, device="cpu", threads=1, keep=True)
    terms = TermNames(("relu2_1",), ("relu1_1", "relu2_1"))
    picture, painting = (np.ascontiguousarray(p.transpose(2, 0, 1)) for p in (PHOTO, PAINTING))
    targets = engine.statistics(painting, terms, what="painting")
    weights = np.ones(len(terms.names), np.float32)
    blocks = engine.blocks(picture.copy(), terms, targets, weights, 4500)
    first, second = engine.cuts((96, 128), terms, 4500)[0][:2]
    block = blocks.free(first)
    tried = [block.image * 0.9, block.image * 0.5]
    for pixels in tried:
        block.evaluate(pixels)
    block.keep(tried[kept])
    next_one = blocks.free(second)
    whole = engine.objective((96, 128), terms, targets, weights)(blocks.image)
    found, _, _ = next_one.evaluate(next_one.image)
    assert found == pytest.approx(whole.loss, rel=1e-5)
    moved, _, _ = next_one.evaluate(next_one.image * 0.8)
    blocks.image[of_picture(second)] *= 0.8
    assert moved == pytest.approx(
        engine.objective((96, 128), terms, targets, weights)(blocks.image).loss, rel=1e-5
    )
