"""Keeping the photo's colours: matched moments, lightness alone, and pictures that have hardly any colour."""

from __future__ import annotations

import numpy as np
import pytest

from lbfgs_style import Options, StyleTransfer, images
from lbfgs_style.images import color_preservation
from lbfgs_style.images.row_strips import STRIP
from lbfgs_style.pipeline import inputs
from lbfgs_style.pipeline.styles import StylePicture
from tests.helpers.command import photo
from tests.helpers.small_networks import small_vgg

METHODS = ["cholesky", "pca", "symmetric"]


def cloud(seed: int, mean: tuple[float, ...], mix: np.ndarray, n: int = 4000) -> np.ndarray:
    """Colours about a mean, far enough from 0 and 1 that nothing is clipped."""
    noise = np.random.default_rng(seed).uniform(-1, 1, (40, n // 40, 3))
    return (np.array(mean) + noise @ mix.T).astype(np.float32)


STYLE = cloud(1, (0.6, 0.4, 0.3), np.array([[0.1, 0, 0], [0.05, 0.08, 0], [0.02, -0.03, 0.05]]))
CONTENT = cloud(2, (0.4, 0.5, 0.55), np.array([[0.04, 0.03, 0], [0, 0.06, 0.02], [0.01, 0.05, 0.09]]))


def moments(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pixels = picture.reshape(-1, 3).astype(np.float64)
    return pixels.mean(axis=0), np.cov(pixels.T, bias=True)


# --- match


@pytest.mark.parametrize("method", METHODS)
def test_matched_colours_have_the_mean_and_covariance_of_the_photo(method):
    actual, expected = moments(color_preservation.recolored(STYLE, CONTENT, method)), moments(CONTENT)
    np.testing.assert_allclose(actual[0], expected[0], atol=1e-6)
    np.testing.assert_allclose(actual[1], expected[1], atol=1e-6)


def test_each_method_is_its_own_formula():
    """Cholesky is triangular; symmetric is symmetric; PCA is the product of two symmetric roots."""
    (_, covariance_s), (_, covariance_c) = moments(STYLE), moments(CONTENT)
    cholesky, pca, symmetric = (color_preservation.matching(STYLE, CONTENT, method)[0] for method in METHODS)
    factors = np.linalg.cholesky(covariance_c), np.linalg.cholesky(covariance_s)
    np.testing.assert_allclose(cholesky, factors[0] @ np.linalg.inv(factors[1]), atol=1e-6)
    np.testing.assert_allclose(symmetric, symmetric.T, atol=1e-9)
    values, vectors = np.linalg.eigh(covariance_s)
    root = pca @ (vectors * np.sqrt(values)) @ vectors.T
    np.testing.assert_allclose(root, root.T, atol=1e-9)
    np.testing.assert_allclose(root @ root, covariance_c, atol=1e-6)


def test_the_triangular_factor_is_choleskys_where_there_is_one():
    _, covariance = moments(STYLE)
    np.testing.assert_allclose(
        color_preservation.triangular_root(covariance), np.linalg.cholesky(covariance), atol=1e-9
    )
    singular = color_preservation.triangular_root(np.outer([1, 2, 3], [1, 2, 3]))
    np.testing.assert_allclose(singular, [[1, 0, 0], [2, 0, 0], [3, 0, 0]], atol=1e-6)


def test_two_colours_by_hand():
    """Independent channels: every method scales each by σ_c/σ_s; here 2, 1 and ½."""
    signs = np.array([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)]).reshape(2, 4, 3)
    style = (0.5 + signs * np.array([0.1, 0.2, 0.2])).astype(np.float32)
    content = (0.4 + signs * np.array([0.2, 0.2, 0.1])).astype(np.float32)
    for method in METHODS:
        matrix, offset = color_preservation.matching(style, content, method)
        np.testing.assert_allclose(matrix, np.diag([2, 1, 0.5]), atol=1e-6)
        np.testing.assert_allclose(offset, [-0.6, -0.1, 0.15], atol=1e-6)


def test_symmetric_moves_colours_the_least():
    moved = {m: np.square(color_preservation.recolored(STYLE, CONTENT, m) - STYLE).mean() for m in METHODS}
    assert moved["symmetric"] < min(moved["pca"], moved["cholesky"])


def test_a_painting_matched_to_itself_stays():
    for method in METHODS:
        np.testing.assert_allclose(color_preservation.recolored(STYLE, STYLE, method), STYLE, atol=1e-6)


GRAY = np.repeat(STYLE[..., :1], 3, axis=2)
CONSTANT = np.full((9, 7, 3), 0.3, np.float32)
LINE = (0.5 + np.linspace(-0.3, 0.3, 50).reshape(5, 10, 1) * np.array([1, -0.5, 0.2])).astype(np.float32)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("content", [CONTENT, GRAY, CONSTANT, LINE])
@pytest.mark.parametrize("style", [STYLE, GRAY, CONSTANT, LINE])
def test_pictures_of_few_colours_are_finite(style, content, method):
    actual = color_preservation.recolored(style, content, method)
    assert np.isfinite(actual).all()
    np.testing.assert_allclose(actual.mean(axis=(0, 1)), content.mean(axis=(0, 1)), atol=2e-3)
    # No noise is blown up: at most as colourful as the photo.
    assert np.trace(moments(actual)[1]) <= np.trace(moments(content)[1]) * 1.001 + 1e-9


def test_a_painting_takes_the_greys_of_a_grey_photo():
    for method in METHODS:
        actual = color_preservation.recolored(STYLE, GRAY, method)
        assert np.ptp(actual, axis=2).max() < 1e-5


# --- lightness


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [  # CSS Color Module Level 4, keywords as oklch; white and black by definition
        ((1, 0, 0), (0.62796, 0.22486, 0.12585)),
        ((0, 0, 1), (0.45201, -0.03246, -0.31153)),
        ((0, 1, 0), (0.86644, -0.23389, 0.17950)),
        ((1, 1, 1), (1, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
    ],
)
def test_oklab_of_known_colours(rgb, lab):
    np.testing.assert_allclose(color_preservation.to_oklab(np.array([rgb], np.float64)), [lab], atol=2e-5)


def test_oklab_there_and_back():
    rgb = np.random.default_rng(0).random((1000, 3))
    np.testing.assert_allclose(
        color_preservation.from_oklab(color_preservation.to_oklab(rgb)), rgb, atol=1e-9
    )


def lab(picture: np.ndarray) -> np.ndarray:
    return color_preservation.to_oklab(picture.reshape(-1, 3).astype(np.float64))


def test_lightness_of_one_and_colours_of_the_other():
    soft = (0.35 + 0.3 * np.random.default_rng(3).random((30, 30, 3))).astype(np.float32)
    painted = cloud(4, (0.5, 0.5, 0.5), 0.05 * np.eye(3), 900 * 40)[:30, :30].copy()
    actual = lab(color_preservation.with_colors_of(painted, soft))
    np.testing.assert_allclose(actual[:, 0], lab(painted)[:, 0], atol=1e-6)
    np.testing.assert_allclose(actual[:, 1:], lab(soft)[:, 1:], atol=1e-6)


def test_where_srgb_ends_the_hue_stays_and_the_lightness_too():
    vivid = np.random.default_rng(5).random((40, 40, 3)).astype(np.float32)
    painted = np.random.default_rng(6).random((40, 40, 3)).astype(np.float32)
    result = color_preservation.with_colors_of(painted, vivid)
    assert result.min() >= 0
    assert result.max() <= 1
    actual, expected, light = lab(result), lab(vivid), lab(painted)[:, 0]
    np.testing.assert_allclose(actual[:, 0], light, atol=1e-3)
    chroma, most = (np.hypot(c[:, 1], c[:, 2]) for c in (actual, expected))
    assert (chroma <= most + 1e-5).all()
    reduced = chroma < most - 1e-3
    assert 0.1 < reduced.mean() < 0.9
    # As much as there is: where it was reduced, a channel is at an end of its range.
    ends = np.minimum(result, 1 - result).reshape(-1, 3).min(axis=1)
    assert ends[reduced].max() < 0.02
    turned = actual[:, 1] * expected[:, 2] - actual[:, 2] * expected[:, 1]
    assert np.abs(turned[chroma > 0.02]).max() < 1e-3


def test_greys_have_the_lightness_of_the_colours():
    gray = color_preservation.in_gray(CONTENT)
    assert np.ptp(gray, axis=2).max() == 0
    np.testing.assert_allclose(lab(gray)[:, 0], lab(CONTENT)[:, 0], atol=1e-6)


def test_greys_of_a_painting_have_the_photos_mean_and_spread():
    actual = lab(color_preservation.in_gray_like(STYLE, CONTENT))[:, 0]
    expected = lab(CONTENT)[:, 0]
    np.testing.assert_allclose([actual.mean(), actual.std()], [expected.mean(), expected.std()], atol=1e-6)
    flat = color_preservation.in_gray_like(CONSTANT, CONTENT)
    np.testing.assert_allclose(lab(flat)[:, 0], expected.mean(), atol=1e-6)


def test_a_grey_photo_stays_grey():
    assert np.ptp(color_preservation.with_colors_of(STYLE, GRAY), axis=2).max() < 1e-6


def test_more_pixels_than_one_strip():
    tall = np.tile(CONTENT, (1 + STRIP // CONTENT[..., 0].size, 1, 1))
    assert tall[..., 0].size > STRIP
    actual = color_preservation.recolored(tall, STYLE, "symmetric")
    np.testing.assert_array_equal(actual[-40:], actual[:40])
    np.testing.assert_allclose(moments(actual)[0], moments(STYLE)[0], atol=1e-6)


# --- in a run


@pytest.fixture(scope="module")
def network():
    return small_vgg()


def run(network, content, **options):
    settings = Options(size="full", iterations=3, scales=(16,), threads=1, device="cpu", **options)
    return StyleTransfer(network, options=settings).run(content, (255 * STYLE).astype(np.uint8))


def test_a_run_keeps_the_chroma_of_the_photo(network):
    soft = (0.4 + 0.2 * images.from_array(photo(40, 48)).rgb).astype(np.float32)
    kept, free = (run(network, soft, preserve_color=how).image for how in ("luminance", "none"))
    np.testing.assert_allclose(lab(kept)[:, 1:], lab(soft)[:, 1:], atol=1e-5)
    assert np.abs(lab(free)[:, 1:] - lab(soft)[:, 1:]).max() > 0.01
    assert np.abs(lab(kept)[:, 0] - lab(soft)[:, 0]).max() > 0.01  # and yet something was painted


def test_a_matched_run_measures_the_matched_painting(network):
    content = photo(40, 48)
    actual = run(network, content, preserve_color="match", color_match="pca").image
    recolored = color_preservation.recolored(
        (255 * STYLE).astype(np.uint8) / np.float32(255), images.from_array(content).rgb, "pca"
    )
    settings = Options(size="full", iterations=3, scales=(16,), threads=1, device="cpu")
    expected = StyleTransfer(network, options=settings).run(content, recolored).image
    np.testing.assert_array_equal(actual, expected)


def test_a_run_of_luminance_sees_greys(network):
    content = images.from_array(photo(40, 48)).rgb
    style = (255 * STYLE).astype(np.uint8) / np.float32(255)
    settings = Options(size="full", iterations=3, scales=(16,), threads=1, device="cpu")
    painted = StyleTransfer(network, options=settings).run(
        color_preservation.in_gray(content), color_preservation.in_gray_like(style, content)
    )
    expected = color_preservation.with_colors_of(painted.picture.rgb, content)
    actual = run(network, photo(40, 48), preserve_color="luminance").picture.rgb
    np.testing.assert_array_equal(actual, expected)


def halves():
    """A photo that is red on the left and blue on the right, and masks of its halves."""
    grain = np.random.default_rng(8).uniform(-0.1, 0.1, (40, 48, 3))
    left = np.tile((np.arange(48) < 24).astype(np.float32), (40, 1))
    base = np.where(left[..., None] == 1, (0.8, 0.3, 0.2), (0.2, 0.4, 0.7))
    return (base + grain).astype(np.float32), left


@pytest.mark.parametrize("method", METHODS)
def test_colours_are_matched_to_where_the_mask_is_white(method):
    """A mask of black and white is the same as a photo of that part alone."""
    content, left = halves()
    matched = color_preservation.matching(STYLE, content, method, left)
    for actual, expected in zip(
        matched, color_preservation.matching(STYLE, content[:, :24].copy(), method), strict=True
    ):
        np.testing.assert_allclose(actual, expected, atol=1e-9)


def test_lightness_is_matched_to_where_the_mask_is_white():
    content, left = halves()
    actual = color_preservation.in_gray_like(STYLE, content, 1 - left)
    np.testing.assert_allclose(
        actual, color_preservation.in_gray_like(STYLE, content[:, 24:].copy()), atol=1e-6
    )


@pytest.mark.parametrize("how", ["match", "luminance"])
def test_each_painting_gets_the_colours_of_its_own_part_of_the_photo(how):
    """Of three styles the last two share what the first leaves; a quarter of the picture is kept."""
    content, left = halves()
    keep = np.zeros((40, 48), np.float32)
    keep[:20, 24:] = 1
    styles = [StylePicture(STYLE, mask=left), StylePicture(STYLE), StylePicture(STYLE)]
    options = Options(preserve_color=how, color_match="pca")
    seen = inputs.as_network_sees(images.from_array(content), styles, keep, None, options).styles
    parts = [content[:, :24].copy(), content[20:, 24:].copy(), content[20:, 24:].copy()]
    for actual, part in zip(seen, parts, strict=True):
        _, (expected,) = color_preservation.seen_by_network(part, [STYLE], how, "pca")
        np.testing.assert_allclose(actual.image, expected, atol=1e-6)


@pytest.mark.parametrize("how", ["luminance", "match"])
def test_grey_alpha_and_depth_are_kept_with_the_colours(network, how):
    gray = run(network, photo(32, 40)[..., 0].astype(np.uint16) * 256, preserve_color=how).image
    assert gray.shape == (32, 40)
    assert gray.dtype == np.uint16
    glass = np.dstack([photo(32, 40), photo(32, 40)[..., 0]])
    result = run(network, glass, preserve_color=how).image
    np.testing.assert_array_equal(result[..., 3], glass[..., 3])


def test_what_is_kept_keeps_its_numbers_with_luminance(network):
    content = photo(40, 48)
    keep = np.zeros((40, 48), np.uint8)
    keep[:, :20] = 255
    settings = Options(
        size="full", iterations=3, scales=(16,), threads=1, device="cpu", preserve_color="luminance"
    )
    style = (255 * STYLE).astype(np.uint8)
    result = StyleTransfer(network, options=settings).run(content, style, keep=keep).image
    np.testing.assert_array_equal(result[:, :20], content[:, :20])
    assert (result[:, 24:] != content[:, 24:]).any()
