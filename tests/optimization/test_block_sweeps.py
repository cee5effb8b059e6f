"""Optimisation block by block: as good as whole, with the same callbacks, stopped in the same way."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest

from lbfgs_style import STOP, Iterate, Options, StyleTransfer
from lbfgs_style.objective.engine import Engine
from lbfgs_style.objective.losses.terms import LossTerms
from lbfgs_style.objective.session import Session
from lbfgs_style.objective.tiling.blocks import FreeBlock
from lbfgs_style.objective.tiling.tile_plan import Span, Tile
from lbfgs_style.objective.tiling.tile_runner import tile_in_image
from lbfgs_style.optimization import block_sweeps
from lbfgs_style.optimization.block_sweeps import border_hold, iterations_per_sweep, total_iterations
from lbfgs_style.optimization.held_variables import DetailVariables
from lbfgs_style.pipeline.plan import run_plan
from lbfgs_style.pipeline.plan.memory import ScaleMethod
from lbfgs_style.system.threads import Cancelled
from tests.helpers.small_networks import small_vgg

RNG = np.random.default_rng(0)
PHOTO, PAINTING = (RNG.random((96, 128, 3)).astype(np.float32) for _ in range(2))


def use_blocks(monkeypatch):
    """Give every scale to blocks with windows of at most 4500 pixels."""
    monkeypatch.setattr(
        run_plan, "choose_methods", lambda *a: [ScaleMethod("blocks", 4500, 5, 0) for _ in a[3]], raising=True
    )


@pytest.fixture
def in_blocks(monkeypatch):
    use_blocks(monkeypatch)


def job(**options: object) -> StyleTransfer:
    layers = {"style_layers": ("relu1_1", "relu2_1"), "content_layers": ("relu2_1",)}
    settings = {"size": 128, "scales": "single", "iterations": 8, "threads": 1, "device": "cpu", **layers}
    return StyleTransfer(small_vgg(), options=Options(**(settings | options)))


def test_iterations_are_shared_among_sweeps():
    assert [iterations_per_sweep(number) for number in (1, 7, 9, 13, 18)] == [
        [1],
        [7],
        [5, 4],
        [5, 4, 4],
        [5, 5, 4, 4],
    ]
    assert total_iterations([["a"] * 4, ["b"] * 6, ["c"] * 5, ["d"]], 9) == 4 * 5 + 6 * 4


def test_a_block_is_held_towards_borders_within_the_picture():
    tile = Tile(Span(0, 40), Span(80, 120), Span(0, 60), Span(60, 140))
    held = border_hold(tile, (80, 160))
    assert held.shape == (40, 40)
    assert held.dtype == np.float32
    assert (held[:30, 10:30] == 0).all()  # the top is the picture's own border
    np.testing.assert_allclose(held[:, 0], 1, atol=0.01)
    np.testing.assert_allclose(held[:, -1], 1, atol=0.01)
    np.testing.assert_allclose(held[-1], 1, atol=0.01)
    assert (np.diff(held[0]) <= 0)[:20].all()
    assert (np.diff(held[0]) >= 0)[20:].all()
    assert np.abs(np.diff(held, axis=0)).max() < 0.2  # in small steps
    assert (border_hold(Tile(*[Span(0, 30)] * 4), (30, 30)) == 0).all()


@pytest.mark.parametrize("size", [(96, 128), (500, 333), (64, 700)])
def test_every_pixel_is_free_in_one_of_the_sweeps(size):
    engine = Engine(small_vgg(), device="cpu", threads=1, keep_sessions=False)
    terms = LossTerms((), ("relu2_1",))
    least = np.ones(size)
    for cut in engine.plan_cuts(size, terms, 4500):
        assert len(cut) > 1
        for tile in cut:
            inside = tile_in_image(tile)[1:]
            least[inside] = np.minimum(least[inside], border_hold(tile, size))
    assert least.max() < 0.5


def test_blocks_converge_as_the_whole_does(in_blocks, monkeypatch):
    seen: list[Iterate] = []
    blocks = job().run(PHOTO, PAINTING, on_iterate=seen.append)
    monkeypatch.undo()
    whole = job().run(PHOTO, PAINTING)
    assert blocks.scales[0].loss_start == pytest.approx(whole.scales[0].loss_start, rel=1e-4)
    for scale in (*whole.scales, *blocks.scales):
        assert scale.loss_end < 0.5 * scale.loss_start
    assert blocks.stop_reason == "iterations"
    assert [it.iteration for it in seen] == list(range(1, len(seen) + 1))
    assert {it.iterations for it in seen} == {len(seen)}
    assert blocks.history == tuple(it.loss for it in seen)
    assert (np.array(blocks.history) < blocks.scales[0].loss_start).all()
    assert blocks.scales[0].evaluations >= len(seen)


def test_the_reported_loss_is_that_of_the_picture(in_blocks, monkeypatch):
    result = job().run(PHOTO, PAINTING)
    monkeypatch.undo()
    again = job(range_weight=10.0).run(PHOTO, PAINTING, init=result.image)
    assert again.scales[0].loss_start == pytest.approx(result.scales[0].loss_end, rel=2e-2)  # clipped


def test_callbacks_see_the_whole_picture_and_stop_it(in_blocks):
    pictures: list[np.ndarray] = []

    def stop(iterate: Iterate) -> object:
        pictures.append(iterate.image())
        return STOP if iterate.iteration == 6 else None

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


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_cancelled_within_the_first_block(in_blocks, optimizer):
    """The picture so far is returned at once, with the loss that was reported for it."""
    cancel = threading.Event()
    result = job(optimizer=optimizer).run(
        PHOTO, PAINTING, cancel=cancel, on_iterate=lambda it: cancel.set() if it.iteration == 2 else None
    )
    assert (result.stop_reason, len(result.history)) == ("cancelled", 2)
    assert result.scales[0].loss_end == min(result.history)


def test_kept_pixels_stay_in_every_block(in_blocks):
    keep = np.zeros((96, 128), np.float32)
    keep[:40, :70] = 1
    result = job().run(PHOTO, PAINTING, keep=keep)
    np.testing.assert_allclose(result.image[:40, :70], PHOTO[:40, :70], atol=1e-6)
    assert (result.image[60:] != PHOTO[60:]).mean() > 0.9


@pytest.mark.parametrize("options", [{}, {"variables": "pixels"}, {"optimizer": "adam"}], ids=str)
def test_only_the_optimiser_evaluates(in_blocks, monkeypatch, options):
    runs: list[int] = []
    plain = Session.run

    def counted(self, outputs, *arguments, **named):
        runs.append(any(name == "d_image" or name.startswith("own_") for name in outputs))
        return plain(self, outputs, *arguments, **named)

    monkeypatch.setattr(Session, "run", counted)
    result = job(**options).run(PHOTO, PAINTING)
    assert sum(runs) <= result.evaluations


@pytest.mark.parametrize("visits", [1, 2])
def test_cancelled_while_a_block_is_put_back(in_blocks, monkeypatch, visits):
    """Its iterations are in the picture, and so they are counted."""
    plain, seen = FreeBlock.commit, []

    def commit(self, pixels):
        seen.append(self)
        if len(seen) == visits:
            raise Cancelled
        plain(self, pixels)

    monkeypatch.setattr(FreeBlock, "commit", commit)
    result = job().run(PHOTO, PAINTING)
    assert result.stop_reason == "cancelled"
    assert len(result.history) == result.scales[0].iterations > 0
    assert result.evaluations == result.scales[0].evaluations >= len(result.history)
    assert result.scales[0].loss_end == min(result.history)


@pytest.mark.parametrize(("difference", "evaluations"), [(1e-7, 0), (1e-2, 1)])
def test_what_was_evaluated_last_is_committed_without_another_evaluation(
    difference, evaluations, monkeypatch
):
    """Also if it differs by rounding, as pixels do that BLAS computes with other numbers of threads."""
    engine = Engine(small_vgg(), device="cpu", threads=1, keep_sessions=True)
    terms = LossTerms(("relu2_1",), ("relu1_1", "relu2_1"))
    picture, painting = (np.ascontiguousarray(p.transpose(2, 0, 1)) for p in (PHOTO, PAINTING))
    targets = engine.statistics(painting, terms, what="painting")
    blocks = engine.blocks(picture.copy(), terms, targets, np.ones(len(terms.names), np.float32), 4500)
    block = blocks.free(engine.plan_cuts((96, 128), terms, 4500)[0][0])
    pixels = block.image * np.float32(0.9)
    block.evaluate(pixels)
    runs = []
    session_run = Session.run
    monkeypatch.setattr(Session, "run", lambda *a, **k: runs.append(1) or session_run(*a, **k))
    block.commit(pixels + np.float32(difference))
    assert len(runs) == evaluations


@pytest.mark.parametrize("kept", [0, 1])
def test_a_block_may_commit_any_picture_that_it_tried(kept):
    """The sums continue from the committed picture, whether it was evaluated last or not."""
    network = small_vgg()
    engine = Engine(network, device="cpu", threads=1, keep_sessions=True)
    terms = LossTerms(("relu2_1",), ("relu1_1", "relu2_1"))
    picture, painting = (np.ascontiguousarray(p.transpose(2, 0, 1)) for p in (PHOTO, PAINTING))
    targets = engine.statistics(painting, terms, what="painting")
    weights = np.ones(len(terms.names), np.float32)
    blocks = engine.blocks(picture.copy(), terms, targets, weights, 4500)
    first, second = engine.plan_cuts((96, 128), terms, 4500)[0][:2]
    block = blocks.free(first)
    tried = [block.image * 0.9, block.image * 0.5]
    for pixels in tried:
        block.evaluate(pixels)
    block.commit(tried[kept])
    next_one = blocks.free(second)
    objective = engine.objective((96, 128), terms, targets, weights)
    assert blocks.value()[0] == pytest.approx(objective(blocks.image).loss, rel=1e-5)
    next_one.evaluate(next_one.image * 0.8)
    blocks.image[tile_in_image(second)] *= 0.8
    loss, values = next_one.value()
    whole = objective(blocks.image)
    assert loss == pytest.approx(whole.loss, rel=1e-5)
    np.testing.assert_allclose(values, whole.terms, rtol=1e-5)


@pytest.mark.parametrize("earlier", [False, True], ids=["from the sums as they are", "as they were"])
def test_a_block_supposes_that_all_the_others_change_like_it(earlier):
    """λ times the loss of S + (s − s₀) / λ, with sums measured over the whole picture, and its gradient."""
    engine = Engine(small_vgg(), device="cpu", threads=1, keep_sessions=True)
    terms = LossTerms(("relu2_1",), ("relu1_1", "relu2_1"))
    picture, painting = (np.ascontiguousarray(p.transpose(2, 0, 1)) for p in (PHOTO, PAINTING))
    targets = engine.statistics(painting, terms, what="painting")
    weights = np.ones(len(terms.names), np.float32)
    runner = engine.tile_runner((96, 128), terms, 4500)

    def sums(image: np.ndarray) -> dict[str, np.ndarray]:
        return runner.sum_tiles(image, targets)

    tile = engine.plan_cuts((96, 128), terms, 4500)[0][1]
    part = tile.rows.length * tile.columns.length / (96 * 128)
    before = sums(picture)
    reference = sums(picture * 0.7) if earlier else before
    blocks = engine.blocks(picture.copy(), terms, targets, weights, 4500)
    blocks.begin_sweep(reference)
    block = blocks.free(tile)
    for factor in (1, 0.8):
        loss, values, gradient = block.evaluate(factor * block.image)
        now = picture.copy()
        now[tile_in_image(tile)] *= factor
        supposed = {n: reference[n] + (total - before[n]) / part for n, total in sums(now).items()}
        inputs = runner.loss_inputs(targets, weights)
        expected, terms_of_all, slopes = runner.loss_and_derivatives(supposed, inputs)
        assert loss == pytest.approx(part * expected, rel=1e-5)
        np.testing.assert_allclose(values, terms_of_all, rtol=1e-4, atol=1e-7)
        down = runner.gradient(now, inputs, slopes)[tile_in_image(tile)]
        assert np.linalg.norm(gradient - down) < 1e-4 * np.linalg.norm(down)


def test_no_border_is_seen(in_blocks):
    """Beside the borders of the first two cuts neighbours differ no more than elsewhere."""
    flat = np.full((96, 128, 3), 0.5, np.float32)
    result = job().run(flat, PAINTING)
    engine = Engine(small_vgg(), device="cpu", threads=1, keep_sessions=False)
    cut = engine.plan_cuts((96, 128), LossTerms(("relu2_1",), ("relu1_1", "relu2_1")), 4500)
    starts = {tile.columns.start for tile in cut[0] + cut[1]} - {0}
    across = np.abs(np.diff(result.image, axis=1)).mean((0, 2))
    assert np.mean([across[start - 1] for start in starts]) < 1.5 * across.mean()


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_first_order_step_is_as_long_as_that_of_the_whole(in_blocks, monkeypatch, optimizer):
    """Blocks of one sweep start from the same sums: away from borders, the step of a pixel is the same."""
    rate = {"sgd": 30.0, "adam": 100.0}[optimizer]
    settings = {"optimizer": optimizer, "iterations": 1, "learning_rate": rate}
    blocks = job(**settings).run(PHOTO, PAINTING).image
    monkeypatch.undo()
    whole = job(**settings).run(PHOTO, PAINTING).image
    engine = Engine(small_vgg(), device="cpu", threads=1, keep_sessions=False)
    tiles = engine.plan_cuts((96, 128), LossTerms(("relu2_1",), ("relu1_1", "relu2_1")), 4500)[0]
    free = np.zeros((96, 128), bool)
    for tile in tiles:
        free[tile_in_image(tile)[1:]] = border_hold(tile, (96, 128)) < 1e-6
    assert free.mean() > 0.2
    assert np.abs(whole - PHOTO)[free].max() > 1e-3
    np.testing.assert_allclose(blocks[free], whole[free], atol=1e-4)


@pytest.mark.parametrize("optimizer", ["lbfgs", "sgd"])
def test_a_block_that_gets_worse_is_left_as_it_was(in_blocks, optimizer):
    """With steps that are far too long, the picture and its reported loss stay."""
    settings = {"optimizer": optimizer, "learning_rate": 1e6} if optimizer == "sgd" else {}
    result = job(**settings).run(PHOTO, PAINTING, on_iterate=lambda it: STOP if it.iteration == 1 else None)
    scale = result.scales[0]
    assert scale.loss_end <= scale.loss_start
    if optimizer == "sgd":
        assert result.history[0] > scale.loss_start == scale.loss_end
        np.testing.assert_allclose(result.image, PHOTO, atol=1e-5)


def test_a_block_with_non_finite_numbers_leaves_the_others_alone(in_blocks, monkeypatch):
    """It keeps its best, and the sweep continues."""
    plain, calls = FreeBlock.evaluate, []

    def evaluate(self: FreeBlock, pixels: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        loss, values, gradient = plain(self, pixels)
        calls.append(self)
        return (np.nan if len(calls) == 3 else loss), values, gradient

    monkeypatch.setattr(FreeBlock, "evaluate", evaluate)
    result = job().run(PHOTO, PAINTING)
    assert calls[0] is calls[2] is not calls[3]
    assert result.stop_reason == "iterations"
    changed = np.abs(result.image - PHOTO).max(axis=2) > 1e-4
    assert changed.mean() > 0.9
    assert result.scales[0].loss_end < result.scales[0].loss_start


def test_the_scale_ends_as_all_its_blocks_do(in_blocks, monkeypatch):
    reasons = iter(["converged", *["iterations"] * 1000])
    plain = block_sweeps.minimize
    monkeypatch.setattr(
        block_sweeps, "minimize", lambda *a, **k: replace(plain(*a, **k), reason=next(reasons))
    )
    assert job().run(PHOTO, PAINTING).stop_reason == "iterations"
    reasons = iter(["converged"] * 1000)
    assert job().run(PHOTO, PAINTING).stop_reason == "converged"


def test_a_soft_mask_holds_as_much_in_every_visit(in_blocks):
    """What is kept in part is not drawn back to the photo by each block that visits it."""
    started = RNG.random((96, 128, 3)).astype(np.float32)
    keep = np.full((96, 128), 0.5, np.float32)
    seen: list[np.ndarray] = []
    job().run(PHOTO, PAINTING, keep=keep, init=started, on_iterate=lambda it: bool(seen.append(it.image())))
    begun = 0.5 * PHOTO + 0.5 * started
    assert np.abs(seen[-1] - PHOTO).mean() > 0.8 * np.abs(begun - PHOTO).mean()


@pytest.mark.parametrize("scales", ["single", (96,)])
def test_large_forms_are_left_to_the_scales_before(monkeypatch, caplog, scales):
    """Blocks of a later scale leave them; those of the first one paint them, with a warning."""
    ways = [ScaleMethod("blocks", 4500, 5, 0)]
    if scales != "single":
        ways.insert(0, ScaleMethod("whole", None, 5, 0))
    monkeypatch.setattr(run_plan, "choose_methods", lambda *a: ways)
    made: list[DetailVariables] = []
    monkeypatch.setattr(
        block_sweeps, "DetailVariables", lambda *a: made.append(DetailVariables(*a)) or made[-1]
    )
    result = job(scales=scales, iterations=8).run(PHOTO, PAINTING)
    assert ("block by block" in caplog.text) == (scales == "single")
    assert bool(made) == (scales != "single")
    assert result.scales[-1].loss_end < result.scales[-1].loss_start
