from __future__ import annotations

import importlib
from pathlib import Path

import cv2
import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
SHAPES = {"coast.jpg": (384, 512, 3), "painting.jpg": (512, 512, 3)}


@pytest.fixture
def samples(monkeypatch):
    monkeypatch.syspath_prepend(HERE.parent / "tools")
    return importlib.import_module("make_samples")


@pytest.fixture
def flat_gray():
    return np.full((64, 64, 3), 128, np.uint8)


def assert_looks_like_a_picture(image):
    """Dark places, light places, and pixels that are clearly coloured."""
    gray = image.mean(axis=2)
    assert np.percentile(gray, 2) < 64
    assert np.percentile(gray, 99) > 191
    chroma = np.ptp(image.astype(int), axis=2)
    assert np.percentile(chroma, 75) > 30


@pytest.mark.parametrize(("name", "shape"), [("coast.jpg", (36, 48, 3)), ("painting.jpg", (48, 48, 3))])
def test_a_tiny_render_is_a_deterministic_picture(samples, name, shape):
    first, second = (samples.SAMPLES[name](48) for _ in range(2))
    assert first.shape == shape
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, second)
    assert_looks_like_a_picture(first)


@pytest.mark.parametrize("name", ["coast.jpg", "painting.jpg"])
def test_another_seed_gives_another_picture(samples, name):
    first, second = (samples.SAMPLES[name](48, seed=seed) for seed in (1, 2))
    assert np.abs(first.astype(int) - second).mean() > 1


@pytest.mark.parametrize(("name", "shape"), SHAPES.items())
def test_the_bundled_file_is_small_and_a_picture(name, shape):
    data = (HERE / "data" / name).read_bytes()
    assert len(data) <= 200_000
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert bgr.shape == shape
    assert_looks_like_a_picture(bgr)


def test_encoding_keeps_colour_order_and_lowers_quality_to_fit(samples, flat_gray):
    flat_gray[..., 0] = 250
    bgr = cv2.imdecode(np.frombuffer(samples.encode_jpeg(flat_gray), np.uint8), cv2.IMREAD_COLOR)
    assert bgr[32, 32, 2] > 240
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    free = len(samples.encode_jpeg(noise))
    assert len(samples.encode_jpeg(noise, free - 1000)) <= free - 1000
    with pytest.raises(ValueError, match="--size"):
        samples.encode_jpeg(noise, 10)
