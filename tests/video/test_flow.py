"""Optical flow against true motion; reliability by hand; moved and fused images."""

from __future__ import annotations

import numpy as np
import pytest

from lbfgs_style.video.flow import (
    Motion,
    exclude_nearer,
    fill_holes,
    find_flow,
    find_likeness,
    find_motion,
    find_strokes,
    fuse,
    warp,
    with_likeness,
)
from tests.helpers.moving_pictures import pan, texture
from tools.bench.synthetic import SyntheticClip

INNER = np.index_exp[16:-16, 16:-16]


def _motion(frame: np.ndarray, other: np.ndarray) -> Motion:
    return find_motion(find_flow(frame, other), find_flow(other, frame))


@pytest.mark.parametrize("size", [(1, 40), (40, 1), (1, 1)])
def test_frames_of_a_single_row_or_column_have_a_motion(size: tuple[int, int]) -> None:
    before, after = (np.ascontiguousarray(frame[: size[0], : size[1]]) for frame in pan(2, (40, 40)))
    assert all(np.isfinite(each).all() for each in _motion(after, before))


@pytest.mark.parametrize("size", [(160, 200), (96, 128), (40, 50)])
def test_the_flow_of_a_pan_is_its_step(size: tuple[int, int]) -> None:
    """Small frames, on which OpenCV would fail, too."""
    before, after = pan(2, size, step=2.0)
    inner = np.index_exp[size[0] // 6 : -(size[0] // 6), size[1] // 6 : -(size[1] // 6)]
    flow = find_flow(after, before)
    assert flow.shape == (*size, 2)
    # What the later frame has at p lies 2 pixels to the right of p in the earlier one.
    np.testing.assert_allclose(flow[inner][..., 0].mean(), 2, atol=0.15)
    np.testing.assert_allclose(flow[inner][..., 1].mean(), 0, atol=0.15)


def test_an_image_is_moved_without_blur() -> None:
    frames = pan(2, (120, 160), step=2.0)
    flow = np.zeros((120, 160, 2), np.float32)
    flow[..., 0] = 2
    moved = warp(frames[0], flow)
    np.testing.assert_allclose(moved[INNER], frames[1][INNER], atol=2e-3)
    half = np.zeros_like(flow)
    half[..., 0] = 0.5
    sharp = warp(warp(frames[0], half), -half)
    assert np.abs(sharp - frames[0])[INNER].mean() < 0.01


def test_enlarged_frames_give_a_better_flow() -> None:
    clip = SyntheticClip(texture(320, 0), texture(320, 1), (144, 192), 61)
    one, other, visible = clip.frame(30), clip.frame(31), clip.visible(30, 31)
    plain, enlarged = (
        np.linalg.norm(find_flow(one, other, factor) - clip.flow(30, 31), axis=2)[visible].mean()
        for factor in (1.0, 3.0)
    )
    assert enlarged < 0.6 * plain


def test_a_motion_and_the_motion_back_are_inverse() -> None:
    """Nearly: where the flow is reliable, each is the mean of one flow and the inverse of the other."""
    before, after = pan(2, (120, 160), step=2.3)
    flow, back = find_flow(after, before), find_flow(before, after)
    forth, returned = find_motion(flow, back), find_motion(back, flow)

    def gap(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.linalg.norm(a + warp(b, a), axis=2)[INNER].mean())

    assert gap(forth.flow, returned.flow) < 0.5 * gap(flow, back)


def test_what_an_object_covers_is_unreliable() -> None:
    """A square moves 10 pixels over a still ground: ground that it uncovers was not there before."""
    ground, square = texture(160, 1), texture(160, 2)[:40, :40]
    before, after = ground.copy(), ground.copy()
    before[60:100, 40:80], after[60:100, 50:90] = square, square
    _, visible, reliable = _motion(after, before)
    assert reliable.dtype == visible.dtype == np.float32
    assert reliable[64:96, 41:48].mean() < 0.3  # uncovered
    assert reliable[66:94, 58:82].mean() > 0.8  # the square itself
    assert reliable[5:45].mean() > 0.97  # the still ground
    assert 0 <= reliable.min() <= visible.max() <= 1
    assert (reliable <= visible).all()
    # The border of the motion is visible, and its flow not reliable.
    assert (visible - reliable)[58:102, 47:53].max() > 0.5
    assert (visible - reliable)[5:45].max() < 0.1


def test_what_left_the_view_is_unreliable() -> None:
    before, after = pan(2, (120, 160), step=12.0)
    reliable = _motion(after, before).reliable
    assert reliable[20:-20, -11:].mean() < 0.1
    assert reliable[20:-20, 20:-24].mean() > 0.9


def test_frames_of_other_scenes_are_unreliable() -> None:
    one, other = texture(160, 3), texture(160, 4)
    assert _motion(one, other).reliable.mean() < 0.2


def test_farther_frames_count_where_nearer_ones_do_not() -> None:
    near, far = np.array([[1, 0.25, 0]], np.float32), np.array([[1, 1, 0.5]], np.float32)
    flow = np.zeros((1, 3, 2), np.float32)
    first, second = exclude_nearer([Motion(flow, near, near / 2), Motion(flow, far, far / 2)])
    np.testing.assert_allclose(first.visible, near)
    np.testing.assert_allclose(first.reliable, near / 2)
    np.testing.assert_allclose(second.visible, [[0, 0.75, 0.5]])
    np.testing.assert_allclose(second.reliable, [[0, 0.5, 0.25]])  # at most what is visible there alone


def test_one_pair_takes_the_place_of_several() -> None:
    """Σ c (x − w)² and C (x − W)² differ by a constant."""
    rng = np.random.default_rng(0)
    images = list(rng.random((3, 4, 5, 3)).astype(np.float32))
    weights = [np.float32(0.3) * rng.random((4, 5)).astype(np.float32) for _ in images]
    for each in weights:
        each[0] = 0  # nothing is known in the first row
    fused, total = fuse(images, weights)

    def loss(x: np.ndarray) -> float:
        return sum((c[..., None] * (x - w) ** 2).sum() for w, c in zip(images, weights, strict=True))

    def by_one(x: np.ndarray) -> float:
        return (total[..., None] * (x - fused) ** 2).sum()

    x, y = rng.random((2, 4, 5, 3))
    assert loss(x) - loss(y) == pytest.approx(by_one(x) - by_one(y), rel=1e-5)
    np.testing.assert_array_equal(fused[0], images[0][0])


def test_frames_that_look_different_are_not_held() -> None:
    """By hand: a difference of 0.1 in all channels gives 1/e; a small one, as of noise, nearly 1."""
    frame = texture(96, 0)
    np.testing.assert_allclose(find_likeness(frame, frame + np.float32(0.1)), np.exp(-1), rtol=1e-4)
    noise = np.random.default_rng(0).normal(0, 0.01, frame.shape).astype(np.float32)
    assert find_likeness(frame, frame + noise).min() > 0.9
    patched = frame.copy()
    patched[40:60, 40:60] = 1 - patched[40:60, 40:60]
    like = find_likeness(frame, patched)
    assert like[45:55, 45:55].mean() < 0.6
    assert like[:30].min() > 0.99


def test_what_looks_alike_is_visible_but_not_held() -> None:
    """At the left the flow back disagrees, the lower half looks different, the right end is out of view."""
    frame, flow = texture(96, 0), np.zeros((96, 96, 2), np.float32)
    flow[:, 90:, 0] = 40
    other = frame.copy()
    other[48:] += 0.3
    consistent = np.ones((96, 96), np.float32)
    consistent[:, :48] = 0
    motion = with_likeness(Motion(flow, consistent, consistent), frame, other)
    assert motion.visible.dtype == motion.reliable.dtype == np.float32
    assert motion.visible[:40, :80].min() > 0.98
    assert motion.visible[56:, :80].max() < 0.01
    assert motion.visible[:, 90:].max() == 0
    np.testing.assert_array_equal(motion.reliable[:, :48], 0)
    assert motion.reliable[:40, 48:80].min() > 0.98


def test_a_hole_is_the_content_in_the_colours_around() -> None:
    content = texture(96, 0)
    paint = np.clip(content + np.array([0.1, -0.1, 0.05], np.float32), -1, 2)
    visible = np.ones((96, 96), np.float32)
    visible[40:56, 40:56] = 0
    damaged = paint.copy()
    damaged[40:56, 40:56] = 5  # a ghost
    none = np.zeros_like(paint)
    filled = fill_holes(damaged, content, visible, none)
    assert filled.dtype == np.float32
    np.testing.assert_allclose(filled, paint, atol=1e-4)
    nothing = fill_holes(damaged, content, np.zeros((96, 96), np.float32), none)
    np.testing.assert_allclose(nothing, content, atol=1e-6)
    painted = fill_holes(damaged, content, visible, none + np.float32(0.2))
    np.testing.assert_allclose((painted - paint)[42:54, 42:54], 0.2, atol=1e-3)
    np.testing.assert_allclose(painted[:38], paint[:38], atol=1e-6)


def test_strokes_are_reflected_into_what_comes_into_view() -> None:
    """The view moves 12 pixels to the right: the last 12 columns are new."""
    content, stripes = texture(96, 0), np.where(np.arange(96) % 4 < 2, 0.1, -0.1).astype(np.float32)
    paint = content + 0.3 + stripes[None, :, None]
    flow = np.zeros((96, 96, 2), np.float32)
    flow[..., 0] = 12
    strokes = find_strokes(paint, content, flow)
    assert strokes.dtype == np.float32
    np.testing.assert_allclose(strokes[:, :80], 0, atol=1e-6)
    # Column 84 + k shows column 95 − k of the frame before, without what is the same all around.
    expected = stripes[94 - np.arange(12)]
    np.testing.assert_allclose(
        strokes[20:-20, 86:], np.broadcast_to(expected[2:, None], (56, 10, 3)), atol=0.02
    )
