"""Runs of the whole loop over the scales, on a small network."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from lbfgs_style import STOP, ImageError, Iterate, Options, images
from lbfgs_style.objective.engine import Engine
from lbfgs_style.objective.losses.terms import LossTerms
from lbfgs_style.pipeline.coarse_to_fine import CoarseToFine
from lbfgs_style.pipeline.inputs import RunImages
from lbfgs_style.pipeline.plan.scales import ScaleResult
from lbfgs_style.pipeline.styles import StylePicture
from lbfgs_style.system.threads import Cancellation
from tests.helpers.small_networks import small_vgg

TERMS = LossTerms(("relu2_2",), ("relu1_1", "relu2_1", "relu3_1"))
OPTIONS = Options(size=48, scales=(24,), iterations=(8, 5), threads=1, device="cpu")


def photo(height: int, width: int) -> np.ndarray:
    """Return soft colours and an edge, float32 in [0,1]."""
    y, x = np.mgrid[0:height, 0:width]
    channels = [0.2 + 0.6 * x / width, 0.8 - 0.5 * y / height, np.where(x > y, 0.7, 0.3)]
    return np.stack(channels, axis=2).astype(np.float32)


def painting(height: int = 40, width: int = 56) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    stripes = [0.5 + 0.4 * np.sin(x / 2 + k * y / 3) for k in range(3)]
    return np.stack(stripes, axis=2).astype(np.float32)


def job(
    options: Options = OPTIONS,
    *,
    content: np.ndarray | None = None,
    styles: list[tuple[np.ndarray, float]] | None = None,
    on_iterate: Callable[[Iterate], object] | None = None,
    cancel: threading.Event | None = None,
    keep: bool = False,
) -> CoarseToFine:
    engine = Engine(small_vgg(), device=options.device, threads=options.threads, keep_sessions=keep)
    return CoarseToFine(
        engine.during(Cancellation(cancel)),
        options,
        TERMS,
        RunImages(
            images.from_array(photo(36, 48) if content is None else content),
            [StylePicture(*style) for style in styles or [(painting(), 1.0)]],
        ),
        on_iterate,
    )


def optimize(run: CoarseToFine, init: np.ndarray | None) -> tuple[np.ndarray, list[ScaleResult]]:
    """Run to the end and return the image and the results of the scales."""
    image, _ = run.run(init)
    return image, run.log.results


@pytest.mark.parametrize("variables", ["decorrelated", "spectral", "pixels"])
def test_each_scale_lowers_its_loss(variables: str) -> None:
    loop = job(dataclasses.replace(OPTIONS, variables=variables))
    picture, _ = loop.run(None)
    scales = loop.log.results
    assert picture.shape == (36, 48, 3)
    assert picture.dtype == np.float32
    assert picture.min() >= 0
    assert picture.max() <= 1
    assert [s.size for s in scales] == [(18, 24), (36, 48)]
    assert [s.iterations for s in scales] == [8, 5]
    assert len(loop.log.history) == 13
    assert loop.log.stop_reason == "iterations"
    for scale, history in zip(scales, (loop.log.history[:8], loop.log.history[8:]), strict=True):
        assert scale.loss_end < scale.loss_start
        assert history == sorted(history, reverse=True)
        assert scale.loss_end == history[-1]
        assert scale.evaluations > scale.iterations
        assert set(scale.terms_end) == set(TERMS.names)


def test_losses_carry_their_weights() -> None:
    """L = α · mean content + β · mean style + γ · tv + δ · range, by hand from the terms."""
    options = dataclasses.replace(
        OPTIONS, content_weight=0.3, style_weight=2.0, tv_weight=0.01, range_weight=0.5
    )
    _, scales = optimize(job(options), None)
    terms = scales[-1].terms_end
    styles = [terms[f"style {layer}"] for layer in TERMS.style_layers]
    expected = 0.3 * terms["content relu2_2"] + 2.0 * sum(styles) / 3 + 0.01 * terms["tv"]
    expected += 0.5 * terms["range"]
    assert scales[-1].loss_end == pytest.approx(expected, rel=1e-5)


def test_layers_have_their_weights() -> None:
    """2 : 1 : 1 of the style's weight, by hand from the terms; their sum is that of the default."""
    options = dataclasses.replace(
        OPTIONS, style_layers=TERMS.style_layers, style_layer_weights=(2, 1, 1), content_weight=0
    )
    _, scales = optimize(job(options), None)
    terms = scales[-1].terms_end
    styles = [terms[f"style {layer}"] for layer in TERMS.style_layers]
    expected = 3 * (2 * styles[0] + styles[1] + styles[2]) / 4
    expected += 1e-3 * terms["tv"] + 10 * terms["range"]
    assert scales[-1].loss_end == pytest.approx(expected, rel=1e-5)


def test_a_single_scale() -> None:
    options = dataclasses.replace(OPTIONS, size=192, scales="single", iterations=1)
    assert [s.size for s in optimize(job(options), None)[1]] == [(144, 192)]


def test_content_is_the_start_and_scales_continue() -> None:
    """At the coarse scale the content term starts at 0; later ones start with half of the photo's detail."""
    last: dict[int, np.ndarray] = {}
    loop = job(on_iterate=lambda i: last.update({i.scale: i.image()}))
    loop.run(None)
    scales = loop.log.results
    assert scales[0].terms_start["content relu2_2"] == pytest.approx(0, abs=1e-10)
    detail = photo(36, 48) - images.resize(images.resize(photo(36, 48), (18, 24)), (36, 48))
    carried = images.resize(last[1], (36, 48)) + 0.5 * detail
    variation = (np.diff(carried, axis=0) ** 2).sum() + (np.diff(carried, axis=1) ** 2).sum()
    assert scales[1].terms_start["tv"] == pytest.approx(variation / (36 * 48), rel=1e-4)
    assert scales[1].terms_start["content relu2_2"] > 1e-4


def test_picture_to_start_from() -> None:
    """A flat one has no variation."""
    _, scales = optimize(job(), np.full((10, 10, 3), 0.4, np.float32))
    assert scales[0].terms_start["tv"] == pytest.approx(0, abs=1e-9)
    assert scales[0].terms_start["content relu2_2"] > 0


def test_a_picture_to_start_from_keeps_its_detail() -> None:
    """Automatic scales would remove its detail, so at the size of the result it is the start unchanged."""
    options = dataclasses.replace(OPTIONS, size=192, scales="auto", iterations=1)
    grain = np.random.default_rng(3).random((144, 192, 3)).astype(np.float32)
    _, scales = optimize(job(options), grain)
    assert [s.size for s in scales] == [(144, 192)]
    variation = (np.diff(grain, axis=0) ** 2).sum() + (np.diff(grain, axis=1) ** 2).sum()
    assert scales[0].terms_start["tv"] == pytest.approx(variation / (144 * 192), rel=1e-3)
    assert [s.size for s in optimize(job(options), None)[1]] == [(72, 96), (144, 192)]
    asked_for = dataclasses.replace(options, scales=(96,))
    assert [s.size for s in optimize(job(asked_for), grain)[1]] == [(72, 96), (144, 192)]


@pytest.mark.parametrize("size", [(1, 1), (3, 3), (3, 40)])
def test_enlarging_does_not_make_a_small_picture_large_enough(size: tuple[int, int]) -> None:
    """relu3_1 needs 4 pixels, and a smaller picture has no more content at a size of 48."""
    with pytest.raises(
        ImageError, match=rf"content image is too small.*got {size[1]}×{size[0]}; take a larger"
    ):
        optimize(job(content=photo(*size)), None)
    with pytest.raises(
        ImageError, match=rf"style image is too small.*got {size[1]}×{size[0]}; take a larger"
    ):
        optimize(job(styles=[(painting(), 1.0), (photo(*size), 1.0)]), None)
    options = dataclasses.replace(OPTIONS, iterations=1)
    assert optimize(job(options, content=photo(4, 5)), None)[0].shape == (38, 48, 3)


def test_noise_follows_its_seed() -> None:
    options = dataclasses.replace(OPTIONS, init="noise", iterations=3)
    results = [optimize(job(dataclasses.replace(options, seed=seed)), None) for seed in (1, 1, 2)]
    (first, scales), (again, _), (other, _) = results
    assert scales[0].terms_start["content relu2_2"] > 0
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01


def test_full_size_is_the_photos_own() -> None:
    options = dataclasses.replace(OPTIONS, size="full", scales=(20,), iterations=2)
    picture, scales = optimize(job(options, content=photo(41, 23)), None)
    assert picture.shape == (41, 23, 3)
    assert [s.size for s in scales] == [(20, 11), (41, 23)]


def test_size_may_be_above_the_photos_own() -> None:
    options = dataclasses.replace(OPTIONS, size=64, scales=(32,), iterations=1)
    assert optimize(job(options, content=photo(24, 32)), None)[0].shape == (48, 64, 3)


def test_iterates_say_where_the_run_is() -> None:
    seen: list[Iterate] = []
    _, scales = optimize(job(on_iterate=seen.append), None)
    assert [(i.scale, i.iteration) for i in seen] == [(1, n) for n in range(1, 9)] + [
        (2, n) for n in range(1, 6)
    ]
    for i in seen:
        assert i.scales == 2
        assert i.plan == (((18, 24), 8), ((36, 48), 5))
        assert (i.size, i.iterations) == i.plan[i.scale - 1]
        assert tuple(i.terms) == TERMS.names
        image = i.image()
        assert image.shape == (*i.size, 3)
        assert image.dtype == np.float32
        assert image.min() >= 0
        assert image.max() <= 1
    assert [i.evaluations for i in seen if i.scale == 2][-1] == scales[1].evaluations
    assert [i.loss for i in seen if i.scale == 1][-1] == scales[0].loss_end
    assert all(a.seconds <= b.seconds for a, b in pairwise(seen))
    with pytest.raises(dataclasses.FrozenInstanceError):
        seen[0].loss = 0


def test_images_of_iterates_are_clipped() -> None:
    iterate = Iterate(
        scale=1,
        scales=1,
        size=(1, 2),
        iteration=1,
        iterations=1,
        plan=(((1, 2), 1),),
        evaluations=1,
        loss=1.0,
        seconds=0.0,
        _terms=(),
        _picture=np.array([[[-0.5, 0.25]], [[0.5, 1.5]], [[1.0, 0.0]]]),
    )
    np.testing.assert_array_equal(iterate.image(), [[[0, 0.5, 1], [0.25, 1, 0]]])


def test_callback_stops_all_scales() -> None:
    loop = job(on_iterate=lambda i: STOP if i.iteration == 3 else None)
    picture, _ = loop.run(None)
    scales = loop.log.results
    assert loop.log.stop_reason == "callback"
    assert [s.iterations for s in scales] == [3]
    assert picture.shape == (36, 48, 3)


def test_cancel_keeps_the_best_so_far() -> None:
    cancel = threading.Event()
    seen: list[np.ndarray] = []

    def on_iterate(iterate: Iterate) -> None:
        seen.append(iterate.image())
        if iterate.scale == 2 and iterate.iteration == 2:
            cancel.set()

    loop = job(on_iterate=on_iterate, cancel=cancel)
    picture, _ = loop.run(None)
    scales = loop.log.results
    assert loop.log.stop_reason == scales[-1].stop_reason == "cancelled"
    assert [s.iterations for s in scales] == [8, 2]
    np.testing.assert_array_equal(picture, seen[-1])


def test_cancelled_before_the_run() -> None:
    cancel = threading.Event()
    cancel.set()
    loop = job(cancel=cancel)
    picture, _ = loop.run(None)
    scales = loop.log.results
    assert (loop.log.stop_reason, scales, loop.log.history) == ("cancelled", [], [])
    expected = images.resize(images.resize(photo(36, 48), (18, 24)), (36, 48))
    np.testing.assert_allclose(picture, expected, atol=1e-6)


def test_styles_blend_by_share() -> None:
    """A style twice with half the share each is that style once."""
    options = dataclasses.replace(OPTIONS, iterations=2)
    once, _ = optimize(job(options), None)
    twice, _ = optimize(job(options, styles=[(painting(), 2.0), (painting(), 2.0)]), None)
    np.testing.assert_allclose(twice, once, atol=1e-4)
    other = [(painting(), 1.0), (painting(24, 24)[::-1] * 0.3, 3.0)]
    assert np.abs(optimize(job(options, styles=other), None)[0] - once).max() > 0.01


def test_style_is_as_long_as_the_scale_and_never_enlarged() -> None:
    """The sizes whose statistics are measured: content and style at each scale."""
    options = dataclasses.replace(OPTIONS, size=48, scales=(24,), iterations=1)
    loop = job(options, styles=[(painting(60, 80), 1.0), (painting(20, 30), 1.0)], keep=True)
    loop.run(None)
    kept = loop.engine.cache.sessions
    measured = [key[1] for key in kept if key[0] == "statistics" and key[2].style_layers]
    assert sorted(measured) == [(16, 24), (18, 24), (20, 30), (36, 48)]


@pytest.mark.parametrize(
    ("scale", "sizes"),
    [
        (1.0, [(17, 24), (34, 48)]),
        (0.5, [(9, 12), (17, 24)]),
        (2.0, [(34, 48), (40, 56)]),
        (9.0, [(40, 56)]),
    ],
)
def test_strokes_have_their_scale(
    monkeypatch: pytest.MonkeyPatch, scale: float, sizes: list[tuple[int, int]]
) -> None:
    """A style of 40×56 for results of 24 and 48 pixels; never above its own size, and once at each."""
    measured: list[tuple[int, int]] = []
    statistics = Engine.statistics

    def spy(self: Engine, image: np.ndarray, *args: object, what: str, **more: object) -> object:
        if what == "style image":
            measured.append(image.shape[1:])
        return statistics(self, image, *args, what=what, **more)

    monkeypatch.setattr(Engine, "statistics", spy)
    job(styles=[(painting(), 1.0, scale)]).run(None)
    assert measured == sizes


def test_narrow_style_is_kept_wide_enough() -> None:
    """At 24 pixels a style of 8×80 would be 2 pixels wide; relu3_1 needs 4, so it stays 40 long."""
    options = dataclasses.replace(OPTIONS, iterations=1)
    loop = job(options, styles=[(painting(8, 80), 1.0)], keep=True)
    loop.run(None)
    kept = loop.engine.cache.sessions
    measured = [key[1] for key in kept if key[0] == "statistics" and key[2].style_layers]
    assert sorted(measured) == [(4, 40), (5, 48)]


@pytest.mark.parametrize("which", ["content", "style"])
def test_too_small_a_picture_is_named(which: str) -> None:
    """3 pixels are enough for relu2_2 of the content, but not for relu3_1 of the style."""
    narrow = photo(3, 48)
    made = job(content=narrow) if which == "content" else job(styles=[(narrow, 1.0)])
    with pytest.raises(ImageError, match=f"The {which} image is too small.*least 4 pixels, got 48×3"):
        made.run(None)
