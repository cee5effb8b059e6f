"""The synthetic clip of the bench has the flow that it says; flow and reliability are near that truth."""

from __future__ import annotations

import numpy as np
import pytest

from lbfgs_style.video.flow import find_flow, find_motion
from tests.helpers.moving_pictures import texture
from tools.bench.synthetic import SyntheticClip, warping_error

CLIP = SyntheticClip(texture(320, 0), texture(320, 1), (144, 192), 61)


@pytest.mark.parametrize("index", [3, 10, 30, 50])
@pytest.mark.parametrize("gap", [1, 4])
def test_frames_moved_along_the_true_flow_are_the_same(index: int, gap: int) -> None:
    """While it pans, zooms and turns, and the disc passes."""
    frame, later = CLIP.frame(index), CLIP.frame(index + gap)
    mask = CLIP.visible(index, index + gap)
    error = warping_error(later, frame, CLIP.flow(index, index + gap), mask)
    assert error < 2e-4
    assert error < 0.2 * warping_error(later, frame, np.zeros((144, 192, 2), np.float32), mask)


def test_the_disc_moves_and_hides_the_ground() -> None:
    flow, visible = CLIP.flow(30, 31), CLIP.visible(30, 31)
    jumps = np.abs(np.diff(flow[..., 0], axis=1)) > 1
    assert jumps.any()  # at the border of the disc
    assert 0.8 < visible.mean() < 0.99


@pytest.mark.parametrize("index", [5, 30, 50])
def test_flow_and_reliability_are_near_the_truth(index: int) -> None:
    one, other = CLIP.frame(index), CLIP.frame(index + 1)
    flow, back = find_flow(one, other), find_flow(other, one)
    visible = CLIP.visible(index, index + 1)
    distance = np.linalg.norm(flow - CLIP.flow(index, index + 1), axis=2)
    assert np.median(distance[visible]) < 0.06
    motion = find_motion(flow, back)
    reliable = motion.reliable > 0.5
    assert (reliable == visible).mean() > 0.9
    assert distance[reliable].mean() < 0.12
    of_mean = np.linalg.norm(motion.flow - CLIP.flow(index, index + 1), axis=2)
    assert of_mean[reliable].mean() < 1.05 * distance[reliable].mean()


def test_the_warping_error_by_hand() -> None:
    """One of two pixels counts; its three channels differ by 0.1, 0.2 and 0."""
    earlier, later = np.zeros((1, 2, 3), np.float32), np.ones((1, 2, 3), np.float32)
    later[0, 1] = [0.1, 0.2, 0]
    flow = np.zeros((1, 2, 2), np.float32)
    flow[0, 0, 0] = 1
    mask = np.array([[1, 0]], np.float32)
    assert warping_error(later, earlier, flow, mask) == pytest.approx((0.01 + 0.04) / 3)
