"""The maps between variables and pictures: inverse, adjoint, spectrum."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import fft

from lbfgs_style.optimization import variables as parametrization
from lbfgs_style.optimization.held_variables import DetailVariables, HeldVariables
from lbfgs_style.optimization.variables import OPPONENT, VARIABLES, Chroma, Spectral

SIZES = [(8, 12), (7, 5), (1, 9), (16, 16), (37, 50)]
ALL = pytest.mark.parametrize("kind", VARIABLES.values(), ids=VARIABLES)


@ALL
@pytest.mark.parametrize("size", SIZES)
def test_decode_undoes_encode(kind: type, size: tuple[int, int]) -> None:
    picture = np.random.default_rng(1).uniform(0, 1, (3, *size)).astype(np.float32)
    variables = kind(size).encode(picture)
    assert variables.ndim == 1
    assert variables.dtype == np.float64
    np.testing.assert_allclose(kind(size).decode(variables), picture, rtol=0, atol=1e-6)


@ALL
@pytest.mark.parametrize("size", SIZES)
def test_pull_back_is_the_adjoint_of_decode(kind: type, size: tuple[int, int]) -> None:
    """⟨decode z, g⟩ = ⟨z, pull_back g⟩ for all z and g."""
    rng = np.random.default_rng(2)
    z = rng.normal(size=kind(size).encode(np.zeros((3, *size))).size)
    gradient = rng.normal(size=(3, *size)).astype(np.float32)
    picture = kind(size).decode(z)
    pulled = kind(size).pull_back(gradient)
    assert pulled.dtype == np.float64
    scale = np.linalg.norm(picture) * np.linalg.norm(gradient)
    assert abs(np.vdot(picture, gradient) - np.vdot(z, pulled)) <= 1e-6 * scale


@ALL
def test_held_pixels_stay(kind: type) -> None:
    """k photo + (1 − k) image; the gradient is multiplied by 1 − k."""
    rng = np.random.default_rng(3)
    photo, image, gradient = rng.uniform(0, 1, (3, 3, 9, 7)).astype(np.float32)
    opacity = rng.uniform(0, 1, (9, 7)).astype(np.float32)
    opacity[:4] = 1
    inner = kind((9, 7))
    held = HeldVariables(inner, photo, opacity)
    actual = held.decode(held.encode(image))
    np.testing.assert_allclose(actual, opacity * photo + (1 - opacity) * image, atol=1e-6)
    np.testing.assert_array_equal(actual[:, :4], photo[:, :4])
    np.testing.assert_allclose(held.pull_back(gradient), inner.pull_back((1 - opacity) * gradient))


@ALL
def test_encode_copies(kind: type) -> None:
    """The optimiser writes into its variables; the caller's picture must not change."""
    picture = np.full((3, 4, 4), 0.5)
    kind((4, 4)).encode(picture)[:] = 9
    assert (picture == 0.5).all()


def amplitudes(size: tuple[int, int], **settings: float) -> np.ndarray:
    """Return s(u, v): the DCT being orthonormal, the length of what one coefficient decodes to."""
    spectral = Spectral(size, **settings)
    count = size[0] * size[1]
    unit = np.zeros((count, 3 * count))
    np.fill_diagonal(unit, 1)
    return np.array([np.linalg.norm(spectral.decode(row)) for row in unit]).reshape(size)


@pytest.mark.parametrize("size", [(6, 9), (8, 8), (1, 5)])
@pytest.mark.parametrize("exponent", [0.5, 1.0])
def test_spectrum_has_mean_one_and_falls(size: tuple[int, int], exponent: float) -> None:
    s = amplitudes(size, exponent=exponent)
    assert s.mean() == pytest.approx(1, abs=1e-5)
    assert (np.diff(s, axis=0) <= 1e-6).all()
    assert (np.diff(s, axis=1) <= 1e-6).all()
    assert s[-1, -1] < 0.9 * s[0, 0]


def test_spectrum_by_hand() -> None:
    """At 8×8, frequencies are u/16; up to 1/8 they share the floor, at 1/4 the weight is 1/√2 of it."""
    s = amplitudes((8, 8))
    relative = s / s[0, 0]
    assert relative[0, 1] == pytest.approx(1, abs=1e-5)
    assert relative[2, 0] == pytest.approx(1, abs=1e-5)
    assert relative[0, 4] == pytest.approx(2**-0.5, abs=1e-5)
    assert relative[3, 4] == pytest.approx((0.125 / 0.3125) ** 0.5, abs=1e-5)


def test_frequency_counts_cycles_for_each_pixel() -> None:
    """At 4×8, coefficient (1, 0) waves once in 8 pixels, like (0, 2), and (2, 0) like (0, 4)."""
    s = amplitudes((4, 8))
    assert s[1, 0] == pytest.approx(s[0, 2], abs=1e-6)
    assert s[2, 0] == pytest.approx(s[0, 4], abs=1e-6)


def test_constant_picture_is_one_coefficient() -> None:
    """At 2×2 all frequencies share the floor 1/2, so s = 1: a constant c has the coefficient c·√(2·2)."""
    picture = np.stack([np.full((2, 2), c) for c in (0.1, 0.2, 0.3)])
    expected = np.zeros((3, 2, 2))
    expected[:, 0, 0] = [0.2, 0.4, 0.6]
    np.testing.assert_allclose(Spectral((2, 2)).encode(picture).reshape(3, 2, 2), expected, atol=1e-7)


def test_cosine_is_one_coefficient() -> None:
    """cos(π(2j+1)/4) over two pixels is (√½, −√½): of length 1 and alone at (0, 1) of one channel."""
    picture = np.zeros((3, 2, 2))
    picture[1] = np.array([0.5, -0.5])
    expected = np.zeros((3, 2, 2))
    expected[1, 0, 1] = 1
    np.testing.assert_allclose(Spectral((2, 2)).encode(picture).reshape(3, 2, 2), expected, atol=1e-7)


def test_the_spectrum_is_computed_once_for_a_size() -> None:
    parametrization.spectral_weights.cache_clear()
    picture = np.zeros((3, 6, 5), np.float32)
    for _ in range(3):
        variables = Spectral((6, 5))
        variables.pull_back(variables.decode(variables.encode(picture)))
    assert parametrization.spectral_weights.cache_info().misses == 1
    assert not np.allclose(amplitudes((6, 5), exponent=1.0), amplitudes((6, 5), exponent=0.5))


@ALL
@pytest.mark.parametrize("size", SIZES)
def test_detail_leaves_large_forms(kind: type, size: tuple[int, int]) -> None:
    """Cosines with waves longer than the shorter side stay, all others are free; the adjoint goes with it."""
    rng = np.random.default_rng(5)
    picture, image, gradient = rng.normal(size=(3, 3, *size)).astype(np.float32)
    detail = DetailVariables(kind(size), picture)
    np.testing.assert_allclose(detail.decode(detail.encode(picture)), picture, atol=1e-5)
    actual = detail.decode(detail.encode(image))
    changed = fft.dctn((actual - picture).astype(np.float64), axes=(1, 2), norm="ortho")
    wanted = fft.dctn((image - picture).astype(np.float64), axes=(1, 2), norm="ortho")
    rows, columns = np.indices(size) / (2 * np.array(size)[:, None, None])
    long = np.hypot(rows, columns) < 1 / min(size)
    assert long[0, 0]
    np.testing.assert_allclose(changed[:, long], 0, atol=1e-4)
    np.testing.assert_allclose(changed[:, ~long], wanted[:, ~long], atol=1e-4)
    z = rng.normal(size=kind(size).encode(picture).size)
    moved = detail.decode(z) - detail.decode(0 * z)
    pulled = detail.pull_back(gradient)
    scale = np.linalg.norm(moved) * np.linalg.norm(gradient)
    assert abs(np.vdot(moved, gradient) - np.vdot(z, pulled)) <= 1e-5 * max(scale, 1)


def test_lightness_and_chroma_are_apart() -> None:
    """A grey image has no chroma; its variables are those of lightness alone."""
    gray = np.repeat(np.random.default_rng(4).uniform(0, 1, (1, 6, 5)), 3, 0)
    lightness, *chroma = VARIABLES["decorrelated"]((6, 5)).encode(gray).reshape(3, 6, 5)
    assert np.abs(lightness).max() > 1
    np.testing.assert_allclose(chroma, 0, atol=1e-12)
    np.testing.assert_allclose(OPPONENT @ OPPONENT.T, np.eye(3), atol=1e-12)


def test_chroma_has_weights_of_its_own() -> None:
    lightness, first, second = Spectral((9, 8), chroma=Chroma(exponent=1.0, mean=0.25, limit=0.2)).weights
    np.testing.assert_allclose(lightness, Spectral((9, 8)).weights)
    frequency = np.hypot(np.arange(9)[:, None] / 18, np.arange(8)[None, :] / 16)
    expected = 0.25 * Spectral((9, 8), exponent=1.0).weights / (1 + (frequency / 0.2) ** 4)
    np.testing.assert_allclose(first, expected, rtol=1e-5)
    np.testing.assert_array_equal(first, second)
