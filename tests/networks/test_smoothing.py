"""Features that losses compare after a softmax: against NumPy, in tiles and blocks, in runs and files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from lbfgs_style import ImageError, Options, StyleStatistics, StyleTransfer, images, networks
from lbfgs_style.graphs.network_graph import with_network
from lbfgs_style.graphs.receptive_fields import receptive_fields, smallest_side
from lbfgs_style.networks.pooling import with_pooling
from lbfgs_style.networks.smoothing import with_smoothing
from lbfgs_style.objective.losses.style import STATISTICS
from lbfgs_style.objective.losses.terms import LossTerms
from lbfgs_style.objective.tiling import stages
from tests.helpers.command import one_error, paint, run
from tests.helpers.own_networks import Problem, around, far, node
from tests.helpers.small_networks import small_vgg

LAYERS = ("relu1_2", "relu2_1", "relu3_1")


def features(network: networks.FeatureNetwork, image: np.ndarray) -> list[np.ndarray]:
    b = with_network(network.model, image.shape[2:], LAYERS, np.float64)
    for layer in LAYERS:
        b.output(layer)
    return ReferenceEvaluator(b.model()).run(LAYERS, {"image": image})


def smooth(x: np.ndarray) -> np.ndarray:
    scaled = np.exp(x / np.sqrt((x**2).mean(1, keepdims=True) + 1e-6))
    return x.shape[1] * scaled / scaled.sum(1, keepdims=True)


def test_layers_are_smoothed_and_deeper_ones_see_them_as_they_were() -> None:
    image = np.random.default_rng(0).uniform(0, 1, (1, 3, 21, 18))
    network = small_vgg()
    before = network.model.SerializeToString()
    for ours, plain in zip(
        features(with_smoothing(network, LAYERS), image), features(network, image), strict=True
    ):
        np.testing.assert_allclose(ours, smooth(plain), rtol=1e-6)
    deepest = features(with_smoothing(network, LAYERS[:2]), image)[2]
    np.testing.assert_allclose(deepest, features(network, image)[2], rtol=1e-12)
    assert network.model.SerializeToString() == before


def test_without_layers_the_network_itself_is_returned() -> None:
    network = small_vgg()
    assert with_smoothing(network, ()) is network


def test_the_scale_of_the_weights_does_not_matter() -> None:
    x = np.random.default_rng(1).normal(size=(1, 6, 3, 4))
    np.testing.assert_allclose(smooth(x), smooth(20 * x), rtol=1e-4)


def test_sizes_fields_and_stages_stay() -> None:
    """A pooling is still where blocks divide the network, also if it is a layer itself."""
    network = around(node("MaxPool", "r", "m", kernel_shape=[2, 2], strides=[2, 2]), layers=("r", "m", "z"))
    for plain, layers in ((small_vgg(), LAYERS), (network, ("r", "m", "z"))):
        smoothed = with_smoothing(plain, layers)
        assert smoothed.layers == plain.layers
        assert smallest_side(smoothed.model, layers) == smallest_side(plain.model, layers)
        assert receptive_fields(smoothed.model, layers) == receptive_fields(plain.model, layers)
        parts, before = (stages.split_network(each.model, layers) for each in (smoothed, plain))
        assert [(part.step, part.halo) for part in parts] == [(part.step, part.halo) for part in before]


def residual() -> networks.FeatureNetwork:
    """Return r = relu(conv(image)), m = pool(r + conv(r)), z = conv(m), whose channels make whole blocks."""
    return around(
        node("Conv", "r v", "k", pads=[1] * 4),
        node("Add", "k r", "sum"),
        node("AveragePool", "sum", "m", kernel_shape=[2, 2], strides=[2, 2]),
        channels=16,
        layers=("r", "m", "z"),
    )


CASES = [*((statistic, "auto") for statistic in STATISTICS), ("moments", "direct"), ("moments", "winograd")]


@pytest.mark.parametrize(("statistic", "convolution"), CASES)
def test_whole_tiles_and_blocks_agree_with_float64(statistic: str, convolution: str) -> None:
    matched = ("m", "z") if STATISTICS[statistic].matches else ()
    terms = LossTerms(("z", "r"), ("r", "m", "z"), statistic=statistic, matched_layers=matched)
    problem = Problem(with_smoothing(residual(), terms.layers), (22, 26), terms, convolution)
    loss, gradient, slopes = problem.exact(slopes=1, step=1e-6)
    for ours, theirs in slopes:
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-6)
    for value, slope in (problem.evaluate(), problem.evaluate(300), problem.blocks(400)):
        assert value == pytest.approx(loss, rel=1e-4)
        assert far(slope, gradient) < 1e-3


@pytest.mark.parametrize("convolution", ["auto", "direct"])
def test_the_bundled_network_agrees_with_float64(convolution: str) -> None:
    network = networks.load("compact")
    terms = LossTerms(network.content_layers, network.style_layers, statistic="moments")
    network = with_smoothing(with_pooling(network, "average"), terms.layers)
    problem = Problem(network, (40, 48), terms, convolution)
    loss, gradient, _ = problem.exact(slopes=0)
    value, slope = problem.evaluate()
    assert value == pytest.approx(loss, rel=1e-3)
    assert far(slope, gradient) < 1e-2


QUICK = Options(size=48, scales=(32,), iterations=3, device="cpu", threads=1, smooth_features=True)
PHOTO, PAINTING = np.random.default_rng(2).integers(0, 256, (2, 44, 48, 3)).astype(np.uint8)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_a_run_uses_it_with_every_statistic(statistic: str) -> None:
    options = replace(QUICK, style_statistic=statistic)
    result = StyleTransfer(small_vgg(), options=options).run(PHOTO, PAINTING)
    assert result.scales[-1].loss_end < result.scales[-1].loss_start
    plain = StyleTransfer(small_vgg(), options=replace(options, smooth_features=False))
    assert plain.run(PHOTO, PAINTING).history != result.history


def test_statistics_of_a_style_belong_to_smooth_features_or_to_plain_ones(tmp_path) -> None:
    smoothed = StyleTransfer(small_vgg(), options=QUICK)
    plain = StyleTransfer(small_vgg(), options=replace(QUICK, smooth_features=False))
    measured = smoothed.measure_style(PAINTING, sizes=(32, 48))
    measured.save(tmp_path / "a.npz")
    read = StyleStatistics.load(tmp_path / "a.npz")
    expected = smoothed.run(PHOTO, PAINTING).image
    np.testing.assert_array_equal(smoothed.run(PHOTO, read).image, expected)
    with pytest.raises(ImageError, match="measured with --smooth-features, but this run is without it"):
        plain.run(PHOTO, read)
    with pytest.raises(ImageError, match="measured without --smooth-features, but this run is with it"):
        smoothed.run(PHOTO, plain.measure_style(PAINTING))


def test_files_of_earlier_versions_are_of_plain_features(tmp_path) -> None:
    job = StyleTransfer(small_vgg(), options=replace(QUICK, smooth_features=False))
    job.measure_style(PAINTING, sizes=(32,)).save(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as arrays:
        np.savez(tmp_path / "old.npz", **{k: a for k, a in arrays.items() if k != "smooth_features"})
    assert not StyleStatistics.load(tmp_path / "old.npz").smooth_features


def test_the_command_and_a_recipe_keep_it(folder, network, capfd) -> None:
    assert paint(network, "--smooth-features") == 0
    assert run("rerun", "out.png") == 0
    painted = images.read("out.png").rgb
    np.testing.assert_array_equal(images.read("out-rerun.png").rgb, painted)
    assert paint(network) == 0
    assert (images.read("out.png").rgb != painted).mean() > 0.1
    assert run("style", "painting.png", "-o", "a.npz", "--network", network, "--sizes", 24) == 0
    capfd.readouterr()
    assert paint(network, "--smooth-features", styles=("a.npz",)) == 2
    one_error(capfd, "measured without --smooth-features")
