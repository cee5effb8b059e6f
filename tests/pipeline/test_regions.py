"""Masks: regions and their shares by hand, and runs that keep to them."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest

from lbfgs_style import ImageError, OptionError, Options, Style, StyleTransfer, images, transfer
from lbfgs_style.pipeline.regions import content_weights, divide_among_styles, mask_for_layer, mask_of
from tests.helpers.small_networks import small_vgg

LEFT = np.array([[1, 0], [1, 0]], np.float32)
SLOPE = np.array([[0.75, 0.25]] * 2, np.float32)
OPTIONS = Options(size=48, iterations=12, scales="single", device="cpu", threads=1)


def test_without_masks_there_are_no_regions() -> None:
    assert divide_among_styles((2, 2), [None, None], [1, 1], None) is None


def test_two_masks_by_hand() -> None:
    """Areas 1/2 and 1/2; weights 3 : 1 make the shares 3/4 and 1/4, which sum to the area."""
    regions = divide_among_styles((2, 2), [LEFT, SLOPE], [3, 1], None)
    np.testing.assert_array_equal(regions.masks, [LEFT, SLOPE])
    assert regions.styles == ((0,), (1,))
    assert regions.shares == pytest.approx((3 / 4, 1 / 4))


def test_styles_without_a_mask_share_the_rest() -> None:
    """The first and the third have no mask: 1 − mask of the second, with their mean weight 2 against 6."""
    regions = divide_among_styles((2, 2), [None, SLOPE, None], [1, 6, 3], None)
    assert regions.styles == ((1,), (0, 2))
    np.testing.assert_allclose(regions.masks[1], 1 - SLOPE)
    assert regions.shares == pytest.approx((6 / 8, 2 / 8))


def test_kept_pixels_belong_to_no_style() -> None:
    """The left half is kept: of the slope a quarter of the right one is left, of the whole picture 1/8."""
    regions = divide_among_styles((2, 2), [SLOPE], [5], LEFT)
    np.testing.assert_allclose(regions.masks[0], [[0, 0.25]] * 2)
    assert regions.shares == pytest.approx((1 / 8,))
    regions = divide_among_styles((2, 2), [None], [5], LEFT)
    np.testing.assert_allclose(regions.masks[0], 1 - LEFT)
    assert regions.shares == pytest.approx((1 / 2,))


@pytest.mark.parametrize(
    ("masks", "keep", "who"),
    [
        ([np.zeros((3, 5), np.float32)], None, "style 1"),
        ([LEFT], LEFT, "style 1"),
        ([None, np.ones((2, 2), np.float32), None], None, "style 1 and 3"),
    ],
)
def test_a_style_that_goes_nowhere_is_refused(masks: list[np.ndarray], keep: np.ndarray, who: str) -> None:
    with pytest.raises(
        ImageError, match=f"Nothing of the image is left for {who}:.*edit the masks"
    ) as caught:
        divide_among_styles((2, 2), masks, [1.0] * len(masks), keep)
    assert ("masks of the others that are white" in str(caught.value)) == (masks[0] is None)


def test_a_photo_that_is_kept_all_over_is_refused() -> None:
    with pytest.raises(
        ImageError, match="a keep mask that is black somewhere, got one that is white all over"
    ):
        divide_among_styles((2, 2), [None], [1.0], np.ones((1, 1), np.float32))


def test_a_mask_at_a_layer_by_hand() -> None:
    """Means over blocks of 2×2: 1, ½, 0 and ¼; their sum is 7/4."""
    mask = np.array([[1, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1]], np.float32)
    np.testing.assert_allclose(
        mask_for_layer(mask, 2, 2), np.array([[[[1, 0.5], [0, 0.25]]]]) * 4 / 7, rtol=1e-6
    )


def test_a_picture_as_a_mask() -> None:
    """Luma of green, transparent below: 0.7152 and 0."""
    rgba = np.zeros((2, 1, 4))
    rgba[..., 1] = rgba[0, :, 3] = 1
    np.testing.assert_allclose(mask_of(images.from_array(rgba)), [[0.7152], [0]], atol=1e-6)


def photo() -> np.ndarray:
    y, x = np.mgrid[0:48, 0:48] / 48
    return np.stack([x, y, (x + y) / 2], axis=2) * 0.6 + 0.2


def flat(*rgb: float) -> np.ndarray:
    return np.full((32, 32, 3), rgb)


def half(size: int = 48) -> np.ndarray:
    return np.tile((np.arange(size) < size // 2).astype(float), (size, 1))


def colours(result: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean colours of the two halves, away from the edge."""
    return result[:, :20].mean((0, 1)), result[:, 28:].mean((0, 1))


@pytest.mark.parametrize("statistic", ["gram", "mean-cov", "moments", "neighbours", "wasserstein"])
@pytest.mark.parametrize("second", [1 - half(30), None])
def test_each_style_goes_where_its_mask_is_white(statistic: str, second: np.ndarray | None) -> None:
    """A red style on the left, a blue one by another mask, of another size, or on the rest; then swapped."""
    grain = np.random.default_rng(0).uniform(-0.1, 0.1, (32, 32, 1))
    red, blue = (flat(*rgb) + grain for rgb in ((0.9, 0.1, 0.1), (0.1, 0.1, 0.9)))
    options = replace(OPTIONS, iterations=25, content_weight=0.001, style_statistic=statistic)
    job = StyleTransfer(small_vgg(), options=replace(options, style_layers=("relu1_1",)))
    redness = []
    for first, other in ((red, blue), (blue, red)):
        result = job.run(photo(), [Style(first, mask=half()), Style(other, mask=second)])
        redness.append([side[0] - side[2] for side in colours(result.image)])
        assert result.settings["masks"]["styles"] == [True, second is not None]
    assert redness[0][0] > redness[1][0] + 0.2
    assert redness[0][1] < redness[1][1] - 0.2


@pytest.mark.parametrize("keep", [None, np.zeros((5, 5))])
def test_a_white_mask_has_no_effect(keep: np.ndarray | None) -> None:
    network = small_vgg()
    painting = np.random.default_rng(0).uniform(0, 1, (40, 30, 3))
    plain = StyleTransfer(network, options=OPTIONS).run(photo(), painting)
    masked = StyleTransfer(network, options=OPTIONS).run(
        photo(), Style(painting, mask=np.ones((7, 9))), keep=keep
    )
    assert masked.history[:5] == pytest.approx(plain.history[:5], rel=1e-3)


@pytest.mark.parametrize("variables", ["decorrelated", "spectral", "pixels"])
def test_what_is_kept_stays(variables: str) -> None:
    """To the last digit, at every iterate; the rest is painted."""
    seen: list[np.ndarray] = []
    options = replace(OPTIONS, variables=variables, scales=(24,))
    result = StyleTransfer(small_vgg(), options=options).run(
        photo(), flat(0.9, 0.1, 0.1), keep=half(), on_iterate=lambda i: seen.append(i.image()) and False
    )
    np.testing.assert_array_equal(result.image[:, :24], photo()[:, :24].astype(np.float32))
    assert np.abs(result.image[:, 24:] - photo()[:, 24:]).mean() > 0.01
    np.testing.assert_array_equal(seen[-1][:, :24], result.image[:, :24].astype(np.float32))
    assert [scale.size for scale in result.scales] == [(24, 24), (48, 48)]


def test_what_is_kept_stays_though_the_run_is_stopped_early() -> None:
    options = replace(OPTIONS, scales=(24,))
    network, cancel = small_vgg(), threading.Event()
    job = StyleTransfer(network, options=options)
    for settings in ({"on_iterate": lambda i: True}, {"cancel": cancel}):
        cancel.set()
        result = job.run(photo(), flat(0.9, 0.1, 0.1), keep=half(), **settings)
        np.testing.assert_array_equal(result.image[:, :24], photo()[:, :24].astype(np.float32))


def test_soft_edges_mix_once() -> None:
    """Half kept everywhere, with a style weight of 0: the result is the photo, as the start is."""
    options, half_kept = replace(OPTIONS, style_weight=0, tv_weight=0, iterations=2), np.full((3, 3), 0.5)
    result = transfer(photo(), flat(1.0, 0.0, 0.0), network=small_vgg(), options=options, keep=half_kept)
    np.testing.assert_allclose(result, photo(), atol=1e-3)
    seen: list[np.ndarray] = []
    soft = replace(OPTIONS, iterations=3)
    result = StyleTransfer(small_vgg(), options=soft).run(
        photo(), flat(1.0, 0.0, 0.0), keep=half_kept, on_iterate=lambda i: seen.append(i.image())
    )
    np.testing.assert_allclose(result.image, seen[-1], atol=1e-6)


def test_alpha_keeps_what_is_transparent() -> None:
    rgba = np.dstack([photo(), 1 - half()])
    job = StyleTransfer(small_vgg(), options=OPTIONS)
    image = job.run(rgba, flat(0.9, 0.1, 0.1), keep="alpha").image
    np.testing.assert_array_equal(image[:, :24, :3], photo()[:, :24].astype(np.float32))
    np.testing.assert_array_equal(image[..., 3], 1 - half())
    assert np.abs(image[:, 24:, :3] - photo()[:, 24:]).mean() > 0.01
    with pytest.raises(ImageError, match="no alpha"):
        job.run(photo(), flat(0.9, 0.1, 0.1), keep="alpha")
    with pytest.raises(OptionError, match="keep must be an array, a Picture, a file or 'alpha', got"):
        job.run(rgba, flat(0.9, 0.1, 0.1), keep="aplha")


@pytest.mark.parametrize("mask", [np.ones((3, 3, 2)), np.full((2, 2), 7.0), np.full((2, 2), 7)])
def test_invalid_masks_are_refused(mask: np.ndarray) -> None:
    with pytest.raises(ImageError, match="style mask"):
        transfer(photo(), Style(flat(1.0, 0.0, 0.0), mask=mask), network=small_vgg(), options=OPTIONS)
    with pytest.raises(ImageError, match="keep mask"):
        transfer(photo(), flat(1.0, 0.0, 0.0), network=small_vgg(), options=OPTIONS, keep=mask)


def test_what_is_kept_stays_where_light_and_dark_alone_are_painted() -> None:
    """To the last digit, colours too, for callbacks as well; the rest is painted."""
    shown: list[np.ndarray] = []
    options = replace(OPTIONS, preserve_color="luminance", content_weight=0.001)
    result = StyleTransfer(small_vgg(), options=options).run(
        photo(), flat(0.9, 0.1, 0.1), keep=half(), on_iterate=lambda i: shown.append(i.image()) and False
    )
    np.testing.assert_array_equal(result.image[:, :24], photo()[:, :24].astype(np.float32))
    np.testing.assert_array_equal(shown[-1], result.image.astype(np.float32))
    assert np.abs(result.image[:, 24:] - photo()[:, 24:]).mean() > 0.01


# Kinds of masks


KINDS = {
    "bool": lambda mask: mask > 0.5,
    "bool, one channel": lambda mask: (mask > 0.5)[..., None],
    "0 and 255": lambda mask: (255 * mask).astype(np.uint8),
    "0 and 1": lambda mask: mask.astype(np.uint8),
    "0 and 1, one channel": lambda mask: mask.astype(np.uint8)[..., None],
    "0 and 1, 16 bits": lambda mask: mask.astype(np.uint16),
    "0 and 1, int64": lambda mask: mask.astype(np.int64),
    "a picture": lambda mask: images.from_array(mask.astype(np.uint8)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_masks_as_they_are_made_elsewhere(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """Kept, faces, where a style goes and where it is measured: the same as a mask of 0.0 and 1.0."""
    red, blue = flat(0.9, 0.1, 0.1), flat(0.1, 0.1, 0.9)
    job = StyleTransfer(small_vgg(), options=replace(OPTIONS, iterations=3))
    results = []
    for make in (lambda mask: mask, KINDS[kind]):
        mask, other = make(half(32)), make(1 - half(32))
        styles = [Style(red, mask=mask, style_mask=other), Style(blue, mask=other)]
        results.append(job.run(photo(), styles, keep=make(np.eye(32)), face_mask=mask).image)
    np.testing.assert_allclose(results[1], results[0], atol=1e-6)
    assert ("holds 0 and 1 alone: 1 is taken as white" in caplog.text) == (kind == "a picture")


@pytest.mark.parametrize("mask", [np.full((4, 4), 2), np.full((4, 4), -1), np.zeros((0, 4))])
def test_other_numbers_are_no_mask(mask: object) -> None:
    with pytest.raises(ImageError, match="keep mask: "):
        StyleTransfer(small_vgg(), options=OPTIONS).run(photo(), flat(0.9, 0, 0), keep=mask)


# Content maps


def test_weights_of_a_content_map_by_hand() -> None:
    """4 v²: black 0, a quarter 1/4, the middle 1, white 4; where it is transparent it says nothing."""
    gray = np.array([[0, 0.25, 0.5, 1]], np.float32)
    np.testing.assert_allclose(4 * content_weights(images.from_array(gray)), [[0, 0.25, 1, 4]], atol=1e-6)
    clear = np.dstack([gray] * 3 + [np.array([[0, 0.5, 1, 1]])]).astype(np.float32)
    np.testing.assert_allclose(4 * content_weights(images.from_array(clear)), [[1, 0.625, 1, 4]], atol=1e-6)


def painted(content_map: np.ndarray | None, **settings: object):
    job = StyleTransfer(small_vgg(), options=replace(OPTIONS, **settings))
    return job.run(photo(), flat(0.9, 0.1, 0.1), content_map=content_map)


def test_a_map_of_middle_grey_has_no_effect() -> None:
    plain, mapped = painted(None), painted(np.full((5, 7), 0.5))
    assert mapped.history[:5] == pytest.approx(plain.history[:5], rel=1e-4)


def test_a_white_map_is_four_times_the_weight() -> None:
    everywhere = painted(np.ones((3, 3)))
    by_weight = painted(None, content_weight=4 * OPTIONS.content_weight)
    assert everywhere.history[:5] == pytest.approx(by_weight.history[:5], rel=1e-4)


def test_a_content_map_without_content_loss_has_no_effect() -> None:
    plain, mapped = painted(None, content_weight=0), painted(np.ones((3, 3)), content_weight=0)
    assert mapped.history == pytest.approx(plain.history)


def test_a_content_map_that_is_no_image_is_refused() -> None:
    with pytest.raises(ImageError, match="content map"):
        painted(np.zeros((4, 4, 7)))
