"""Statistics of a painting in a file: they stand for the painting, and for nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lbfgs_style import ImageError, OptionError, Options, Style, StyleStatistics, StyleTransfer, images
from lbfgs_style.pipeline.style_measuring import measuring_sizes
from tests.helpers.command import contents, one_error, paint, run, save
from tests.helpers.small_networks import small_vgg

QUICK = Options(size=48, scales=(32,), iterations=3, device="cpu", threads=1)


@pytest.fixture(scope="module")
def job():
    return StyleTransfer(small_vgg(), options=QUICK)


def noise(seed, *shape):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3)).astype(np.uint8)


PHOTO, PAINTING, OTHER = noise(1, 40, 48), noise(2, 60, 52), noise(3, 44, 44) // 3


def test_the_ladder():
    """Steps of √2 from where the halving of the scales ends; the end is the painting's own size."""
    assert measuring_sizes(2000) == (91, 128, 181, 256, 362, 512, 724, 1024)
    assert measuring_sizes(600) == (91, 128, 181, 256, 362, 512, 600)
    assert measuring_sizes(512) == (91, 128, 181, 256, 362, 512)
    assert measuring_sizes(40) == (40,)
    assert measuring_sizes(2000, 128) == (91, 128)


def test_statistics_replace_the_painting(job):
    """To the bit, at sizes of the ladder; 32 and 48 are the scales of the run."""
    measured = job.measure_style(PAINTING, sizes=(32, 48))
    expected = job.run(PHOTO, PAINTING).image
    np.testing.assert_array_equal(job.run(PHOTO, measured).image, expected)
    np.testing.assert_array_equal(job.run(PHOTO, [Style(measured, weight=7)]).image, expected)


def test_statistics_are_blended_with_paintings(job):
    measured = job.measure_style(PAINTING, sizes=(32, 48))
    blend = job.run(PHOTO, [Style(measured, weight=2), Style(OTHER)])
    np.testing.assert_array_equal(
        blend.image, job.run(PHOTO, [Style(PAINTING, weight=2), Style(OTHER)]).image
    )
    assert (blend.image != job.run(PHOTO, measured).image).mean() > 0.5


def test_between_two_sizes(job):
    """√(32·48) = 39.2 lies in the middle of the logarithmic ladder; 40 a little above."""
    gram = "gram_relu2_1"
    measured = job.measure_style(PAINTING, sizes=(32, 48))
    low, high = (measured.at(side)[gram] for side in (32, 48))
    share = np.log(40 / 32) / np.log(48 / 32)
    np.testing.assert_allclose(measured.at(40)[gram], (1 - share) * low + share * high, rtol=1e-6)
    assert measured.at(40)[gram].dtype == np.float32
    np.testing.assert_array_equal(measured.at(5)[gram], low)
    np.testing.assert_array_equal(measured.at(500)[gram], high)


def test_a_file_keeps_everything(job, tmp_path):
    measured = job.measure_style(PAINTING)
    measured.save(tmp_path / "a.style.npz")
    read = StyleStatistics.load(tmp_path / "a.style.npz")
    assert (read.network, read.network_sha256) == (job.network.name, job.weights_sha256)
    assert (read.layers, read.size) == (job.network.style_layers, (60, 52))
    assert set(read.sides) == {60}
    for name, array in measured.sides[60].items():
        np.testing.assert_array_equal(read.sides[60][name], array)
    with np.load(tmp_path / "a.style.npz", allow_pickle=False) as arrays:  # plain arrays, for any program
        assert arrays["60/gram_relu1_1"].shape == (4, 4)


def test_another_network_is_refused(job):
    other = StyleTransfer(small_vgg("vgg19"), options=QUICK)
    with pytest.raises(ImageError, match=r"measured with the network 'small'.*measure the style image again"):
        other.run(PHOTO, job.measure_style(PAINTING))


def test_missing_layers_are_refused(job):
    few = StyleTransfer(small_vgg(), options=Options(style_layers=("relu1_1",), device="cpu", threads=1))
    measured = few.measure_style(PAINTING)
    with pytest.raises(ImageError, match="holds no statistics of relu2_1, relu3_1, relu4_1, relu5_1"):
        job.run(PHOTO, measured)


def test_sizes_beyond_the_painting_are_refused(job):
    with pytest.raises(OptionError, match="longer side, 60 pixels, got 64"):
        job.measure_style(PAINTING, sizes=(32, 64))
    with pytest.raises(ImageError, match="style image is too small"):
        job.measure_style(PAINTING[:8])


def test_the_command(folder, network, capfd):
    arguments = "--network", network, "--sizes", "24", "--device", "cpu", "--threads", 1
    assert run("style", "painting.png", "-o", "stripes.style.npz", *arguments) == 0
    assert "stripes.style.npz: small, 5 layers at 24 px" in capfd.readouterr().err
    assert paint(network) == 0
    assert paint(network, styles=("stripes.style.npz",), output="other.png") == 0
    np.testing.assert_array_equal(images.read("other.png").rgb, images.read("out.png").rgb)
    # A recipe takes them like a painting.
    Path("painting.png").unlink()
    assert run("rerun", "other.png") == 0
    np.testing.assert_array_equal(images.read("other-rerun.png").rgb, images.read("out.png").rgb)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("style painting.png -o a.png", r"a\.png: statistics are written as \.npz: try a\.png\.npz"),
        ("style painting.png -o no/a.npz", r"no/a\.npz: the folder \S+no does not exist"),
        ("style painting.png -o a.npz --sizes 24,big", r"--sizes must be whole numbers.*got 'big'"),
        ("style painting.png -o a.npz --sizes 25", r"longer side, 24 pixels, got 25"),
        ("style nothing.png -o a.npz", r"nothing\.png: no such file"),
        ("transfer photo.png text.npz -o out.png", r"text\.npz: damaged, or not a file"),
        ("transfer photo.png nothing.npz -o out.png", r"nothing\.npz: no such file"),
        ("transfer photo.png plain.npz -o out.png", r"plain\.npz: damaged, or not a file"),
        ("transfer photo.png pickled.npz -o out.png", r"pickled\.npz: damaged, or not a file"),
    ],
)
def test_mistakes_are_one_line(folder, network, capfd, arguments, says):
    Path("text.npz").write_text("no archive at all")
    np.savez("plain.npz", format=np.array(1))
    np.savez("pickled.npz", format=np.array([object()], dtype=object))
    before = contents(folder)
    assert run(*arguments.split(), "--network", network) == 2
    one_error(capfd, says)
    assert contents(folder) == before


def test_an_old_file_survives_a_failed_run(folder, network, capfd):
    save("dot.png", np.zeros((1, 1, 3), np.uint8))
    Path("a.npz").write_bytes(b"old")
    assert run("style", "dot.png", "-o", "a.npz", "--network", network) == 2
    one_error(capfd, "style image is too small")
    assert Path("a.npz").read_bytes() == b"old"
