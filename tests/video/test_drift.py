"""Sharpness and contrast of a shot: an image gets those that are wanted."""

from __future__ import annotations

import numpy as np
import pytest

from lbfgs_style.video.drift import (
    NO_GAIN,
    Anchor,
    contrast,
    expected_sharpness,
    sharpness,
    with_contrast,
    with_sharpness,
)
from tests.helpers.moving_pictures import texture


@pytest.mark.parametrize("factor", [0.7, 0.95, 1.0, 1.1])
def test_an_image_gets_the_sharpness_that_is_wanted(factor: float) -> None:
    noise = np.random.default_rng(0).random((96, 96, 3)).astype(np.float32)
    image = 0.7 * texture(96, 0) + 0.3 * noise
    wanted = factor * sharpness(image)
    changed = with_sharpness(image, wanted)
    assert changed.dtype == np.float32
    assert sharpness(changed) == pytest.approx(wanted, rel=1e-3)
    np.testing.assert_allclose(changed.mean((0, 1)), image.mean((0, 1)), atol=2e-3)


def test_what_cannot_be_reached_is_approached() -> None:
    image = texture(96, 0)
    assert sharpness(with_sharpness(image, 0.0)) < 0.9 * sharpness(image)
    flat = np.full((20, 20, 3), 0.5, np.float32)
    np.testing.assert_array_equal(with_sharpness(flat, 0.1), flat)


def test_the_sharpness_of_a_frame_follows_its_content() -> None:
    assert expected_sharpness(Anchor(0.2, 0.1, 1), 0.1) == pytest.approx(0.2)
    assert expected_sharpness(Anchor(0.2, 0.1, 1), 0.15) == pytest.approx((0.04 + 0.45 * 0.0125) ** 0.5)
    assert expected_sharpness(Anchor(0.2, 0.9, 1), 0.1) == pytest.approx(0.1)  # never below a half


@pytest.mark.parametrize(("factor", "reached"), [(0.99, 0.99), (1.015, 1.015), (1.5, 1.06), (0.5, 0.94)])
def test_an_image_gets_the_contrast_that_is_wanted_in_small_steps(factor: float, reached: float) -> None:
    image = texture(96, 0)
    changed = with_contrast(image, factor * contrast(image))
    assert contrast(changed) == pytest.approx(reached * contrast(image), rel=1e-4)
    np.testing.assert_allclose(changed.mean((0, 1)), image.mean((0, 1)), atol=1e-4)


def test_a_gain_follows_what_the_latest_frames_did() -> None:
    start = texture(96, 0)
    mean = start.mean((0, 1))
    gain = NO_GAIN.after(start, mean + 1.1 * (start - mean))
    assert gain == pytest.approx((1.05, 1.05), rel=1e-4)
    gain = gain.after(start, with_sharpness(start, 0.9 * sharpness(start)))
    assert gain.sharpness == pytest.approx((1.05 + 0.9) / 2, rel=1e-3)
    assert gain.contrast == pytest.approx(1.025, abs=0.01)
