"""Each native operator against float64, for all instruction sets that this processor has."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from lbfgs_style.errors import SessionError
from lbfgs_style.native import library, packing
from tests.helpers.operators import blocked, convolve, flipped, padded_bias, plain, pooled, run

FOUND = library.find()
pytestmark = pytest.mark.skipif(FOUND is None, reason=library.describe())

POOLINGS = {"max": 1, "average": 2}
# Channels of input and output, height and width: whole and broken blocks and tiles, few and many channels.
SHAPES = [
    (16, 16, 4, 4),
    (5, 7, 9, 13),
    (48, 80, 1, 1),
    (17, 16, 2, 3),
    (64, 64, 22, 30),
    (40, 96, 17, 33),
    (256, 272, 11, 19),
    (300, 32, 21, 5),
    (32, 512, 18, 40),
]
# Relative to the largest value: float32 with Winograd's transforms, and sums of a few hundred products.
TOLERANCE = 2e-5


@pytest.fixture(params=() if FOUND is None else FOUND.available(), autouse=True)
def _instructions(request: pytest.FixtureRequest) -> Iterator[None]:
    """Use each instruction set in turn."""
    assert FOUND is not None
    before = FOUND.instructions
    FOUND.use(request.param)
    yield
    FOUND.use(before)


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def assert_near(actual: np.ndarray, expected: np.ndarray) -> None:
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max(initial=0) <= TOLERANCE * np.abs(expected).max(initial=1e-30)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("threads", [1, 3])
def test_convolution(shape: tuple[int, int, int, int], threads: int) -> None:
    inputs, outputs, *size = shape
    x, kernel = normal(0, 1, inputs, *size), normal(1, outputs, inputs, 3, 3)
    (y,) = run("Convolution", blocked(x), packing.pack_kernel(kernel), threads=threads)
    assert_near(plain(y, outputs), convolve(x, kernel))
    gradient = normal(2, 1, outputs, *size)
    (d_x,) = run("Convolution", blocked(gradient), packing.pack_kernel(kernel), threads=threads, flipped=1)
    exact = convolve(gradient, flipped(kernel))
    assert_near(plain(d_x, inputs), exact)
    add, mask = normal(3, 1, inputs, *size), normal(4, 1, inputs, *size)
    operands = (blocked(gradient), packing.pack_kernel(kernel), None, blocked(add), blocked(mask))
    (d_x,) = run("Convolution", *operands, threads=threads, flipped=1)
    assert_near(plain(d_x, inputs), np.where(mask > 0, exact + add, 0))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mode", POOLINGS)
def test_what_follows_a_convolution(shape: tuple[int, int, int, int], mode: str) -> None:
    """Bias, a tensor to add, a mask, ReLU and pooling, alone and together."""
    inputs, outputs, *size = shape
    x, kernel, bias = normal(0, 1, inputs, *size), normal(1, outputs, inputs, 3, 3), normal(2, outputs)
    add, mask = normal(3, 1, outputs, *size), normal(4, 1, outputs, *size)
    weights, exact = packing.pack_kernel(kernel), convolve(x, kernel)
    (y,) = run("Convolution", blocked(x), weights, None, blocked(add))
    assert_near(plain(y, outputs), exact + add)
    (y,) = run("Convolution", blocked(x), weights, None, None, blocked(mask))
    assert_near(plain(y, outputs), np.where(mask > 0, exact, 0))
    operands = (blocked(x), weights, padded_bias(bias), blocked(add), blocked(mask))
    y, small = run("Convolution", *operands, outputs=2, relu=1, pooling=POOLINGS[mode])
    expected = np.maximum(np.where(mask > 0, exact + bias[:, None, None] + add, 0), 0)
    assert_near(plain(y, outputs), expected)
    assert_near(plain(small, outputs), pooled(expected, mode))


@pytest.mark.parametrize("shape", SHAPES)
def test_point_convolution(shape: tuple[int, int, int, int]) -> None:
    inputs, outputs, *size = shape
    x, matrix, bias = normal(0, 1, inputs, *size), normal(1, outputs, inputs), normal(2, outputs)
    add, mask = normal(3, 1, outputs, *size), normal(4, 1, outputs, *size)
    scale = np.abs(normal(5, 1, 1, *size))
    exact = np.einsum("oc,nchw->nohw", matrix.astype(float), x)
    operands = (blocked(x), matrix, padded_bias(bias), blocked(add), blocked(mask), scale)
    (y,) = run("PointConvolution", *operands)
    assert_near(plain(y, outputs), np.where(mask > 0, (exact + bias[:, None, None]) * scale + add, 0))
    (y,) = run("PointConvolution", blocked(x), matrix, relu=1)
    assert_near(plain(y, outputs), np.maximum(exact, 0))
    gradient = normal(6, 1, outputs, *size)
    (d_x,) = run("PointConvolution", blocked(gradient), matrix, transposed=1)
    assert_near(plain(d_x, inputs), np.einsum("oc,nohw->nchw", matrix.astype(float), gradient))


@pytest.mark.parametrize("channels", [(16, 32, 16), (5, 70, 20), (33, 16, 100)])
@pytest.mark.parametrize("size", [(1, 1), (13, 17)])
def test_point_pair(channels: tuple[int, int, int], size: tuple[int, int]) -> None:
    inputs, hidden, outputs = channels
    x, first, second = normal(0, 1, inputs, *size), normal(1, hidden, inputs), normal(2, outputs, hidden)
    bias, after = normal(3, hidden), normal(4, outputs)
    between = np.einsum("oc,nchw->nohw", first.astype(float), x) + bias[:, None, None]
    exact = np.einsum("oc,nchw->nohw", second.astype(float), np.maximum(between, 0)) + after[:, None, None]
    operands = (blocked(x), first, padded_bias(bias), second)
    (y,) = run("PointPair", *operands, None, padded_bias(after))
    assert_near(plain(y, outputs), exact)
    add, mask = normal(5, 1, outputs, *size), normal(6, 1, outputs, *size)
    (y,) = run("PointPair", *operands, None, padded_bias(after), blocked(add), blocked(mask), relu=1)
    assert_near(plain(y, outputs), np.where(mask > 0, np.maximum(exact + add, 0), 0))
    gradient, add, mask = (
        normal(7, 1, outputs, *size),
        normal(8, 1, inputs, *size),
        normal(9, 1, inputs, *size),
    )
    slopes = np.where(between > 0, np.einsum("oc,nohw->nchw", second.astype(float), gradient), 0)
    d_x = np.einsum("oc,nohw->nchw", first.astype(float), slopes)
    (y,) = run("PointPair", *operands, blocked(gradient), None, blocked(add), blocked(mask))
    assert_near(plain(y, inputs), np.where(mask > 0, d_x + add, 0))


@pytest.mark.parametrize("channels", [1, 16, 40, 272])
@pytest.mark.parametrize("size", [(1, 1), (7, 13), (40, 60)])
def test_gram(channels: int, size: tuple[int, int]) -> None:
    x, weights = normal(0, 1, channels, *size), np.abs(normal(1, 1, 1, *size))
    flat, factors = x.reshape(channels, -1).astype(float), weights.reshape(-1)
    (products,) = run("Gram", blocked(x), channels=channels)
    assert_near(products, flat @ flat.T)
    np.testing.assert_array_equal(products, products.T)
    products, sums = run("Gram", blocked(x), weights, outputs=2, channels=channels)
    assert_near(products, (flat * factors) @ flat.T)
    assert (
        np.abs(sums[:, 0] - (flat * factors).sum(1)).max() < TOLERANCE * (np.abs(flat) * factors).sum(1).max()
    )


def test_the_sums_of_a_gram_do_not_depend_on_the_threads() -> None:
    x = blocked(normal(0, 1, 48, 60, 70))
    one, three = (run("Gram", x, channels=48, threads=threads)[0] for threads in (1, 3))
    np.testing.assert_array_equal(one, three)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(("outputs", "size"), [(64, (20, 33)), (20, (1, 1)), (5, (3, 50))])
def test_the_first_convolution_and_the_gradient_of_the_image(
    channels: int, outputs: int, size: tuple[int, int]
) -> None:
    image, kernel, bias = (
        normal(0, 1, channels, *size),
        normal(1, outputs, channels, 3, 3),
        normal(2, outputs),
    )
    exact = convolve(image, kernel) + bias[:, None, None]
    (y,) = run("ImageConvolution", image, kernel, bias)
    assert_near(plain(y, outputs), exact)
    (y,) = run("ImageConvolution", image, kernel, bias, relu=1)
    assert_near(plain(y, outputs), np.maximum(exact, 0))
    gradient = normal(3, 1, outputs, *size)
    (d_image,) = run("ImageGradient", blocked(gradient), kernel)
    assert_near(d_image, convolve(gradient, flipped(kernel)))


@pytest.mark.parametrize("size", [(8, 10), (7, 11), (3, 2), (2, 2)])
@pytest.mark.parametrize("mode", POOLINGS)
def test_pooling(size: tuple[int, int], mode: str) -> None:
    """The gradient goes to the maxima; equal ones share it, and a value in no window gets 0."""
    x = np.maximum(normal(0, 1, 20, *size).round(1), 0)  # many equal values, many zeros
    (small,) = run("Pool", blocked(x), pooling=POOLINGS[mode])
    expected = pooled(x, mode)
    assert_near(plain(small, 20), expected)
    gradient = normal(1, *expected.shape)
    inputs = (blocked(x), blocked(gradient))
    whole = np.zeros(x.shape)
    height, width = (length // 2 * 2 for length in size)
    spread = gradient.repeat(2, 2).repeat(2, 3)
    if mode == "max":
        is_largest = x[:, :, :height, :width] == expected.repeat(2, 2).repeat(2, 3)
        spread = (
            spread * is_largest / (4 * pooled(is_largest.astype(float), "average")).repeat(2, 2).repeat(2, 3)
        )
    else:
        spread = spread / 4
    whole[:, :, :height, :width] = spread
    (d_x,) = run("PoolGradient", *inputs, pooling=POOLINGS[mode])
    assert_near(plain(d_x, 20), whole)
    (d_x,) = run("PoolGradient", *inputs, pooling=POOLINGS[mode], relu=1)
    assert_near(plain(d_x, 20), np.where(x > 0, whole, 0))


@pytest.mark.parametrize(("channels", "size"), [(16, (3, 5)), (40, (50, 61)), (1, (1, 1)), (33, (2, 1025))])
def test_layouts(channels: int, size: tuple[int, int]) -> None:
    x = normal(0, 1, channels, *size)
    (y,) = run("ToBlocked", x)
    np.testing.assert_array_equal(y, blocked(x))
    (back,) = run("ToPlain", y, channels=channels)
    np.testing.assert_array_equal(back, x)


def test_nan_stays_nan() -> None:
    """Only so a run that diverges is noticed."""
    x = normal(0, 1, 16, 8, 8)
    x[0, 3, 2, 2] = np.nan
    (y,) = run("Convolution", blocked(x), packing.pack_kernel(normal(1, 16, 16, 3, 3)), relu=1)
    assert np.isnan(plain(y, 16)[0, :, 1:4, 1:4]).all()
    (y,) = run("PointConvolution", blocked(x), normal(1, 16, 16), relu=1)
    assert np.isnan(plain(y, 16)[0, :, 2, 2]).all()
    assert np.isnan(y).sum() == 16
    (y,) = run("Pool", blocked(x), pooling=1)
    assert np.isnan(plain(y, 16)[0, 3, 1, 1])


@pytest.mark.parametrize(
    ("kind", "shapes", "attributes", "message"),
    [
        ("Convolution", [(1, 4, 4, 16), (36, 1, 32, 16)], {}, "weights do not fit"),
        ("Convolution", [(1, 4, 4, 16), (36, 1, 16, 16), (15,)], {}, "another size"),
        ("Convolution", [(1, 4, 4, 16), (36, 1, 16, 16), None, (1, 4, 5, 16)], {}, "another size"),
        ("Convolution", [(1, 4, 16), (36, 1, 16, 16)], {}, "another rank"),
        ("PointConvolution", [(1, 4, 4, 16), (8, 33)], {}, "matrix does not fit"),
        ("Convolution", [(1, 4, 4, 16), (36, 1, 20, 16)], {}, "weights do not fit"),
        ("ImageGradient", [(1, 4, 4, 16), (16, 7, 3, 3)], {}, "kernel does not fit"),
        ("PointPair", [(1, 4, 4, 16), (8, 16), (16,), (9, 9)], {}, "matrices do not fit"),
        ("PointPair", [(1, 4, 4, 16), (8, 16), (8,), (9, 8)], {}, "another size"),
        ("Gram", [(1, 4, 4, 16)], {"channels": 17}, "number of channels"),
        ("Gram", [(1, 4, 4, 16), (1, 1, 4, 5)], {"channels": 16}, "another size"),
        ("ImageConvolution", [(1, 3, 4, 4), (8, 3, 5, 5)], {}, "kernel does not fit"),
        ("ImageGradient", [(1, 4, 4, 16), (17, 3, 3, 3)], {}, "kernel does not fit"),
        ("PoolGradient", [(1, 4, 4, 16), (1, 4, 4, 16)], {"pooling": 1}, "another size"),
        ("ToPlain", [(1, 4, 4, 16)], {"channels": 17}, "not in blocks"),
        ("ToBlocked", [(2, 3, 4, 4)], {}, "one image"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(
    kind: str, shapes: list[tuple[int, ...] | None], attributes: dict[str, int], message: str
) -> None:
    with pytest.raises(SessionError, match=message):
        run(kind, *(None if shape is None else np.zeros(shape) for shape in shapes), **attributes)
