"""Numbers at the end of their range: every run ends with a reason, and every pixel is a number."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lbfgs_style import ImageError, OptimizationError, OptionError, Options, StyleTransfer, images
from lbfgs_style.objective.evaluation import Evaluation
from lbfgs_style.optimization.lbfgs import STOP_REASONS
from lbfgs_style.pipeline import scale_run
from lbfgs_style.settings.presets import PRESETS
from tests.helpers.command import paint, run, save, save_network
from tests.helpers.functions import infinite_gradient, not_a_number, spoil
from tests.helpers.functions import run as minimize
from tests.helpers.small_networks import small_vgg

RNG = np.random.default_rng(4)
NOISE = RNG.integers(0, 256, (32, 32, 3)).astype(np.uint8)
OTHER = RNG.integers(0, 256, (32, 32, 3)).astype(np.uint8)
BLACK, WHITE = np.zeros((32, 32, 3), np.uint8), np.full((32, 32, 3), 255, np.uint8)
GRAY = np.full((32, 32, 3), 127, np.uint8)

SHALLOW = {"style_layers": ("relu1_1", "relu2_1"), "content_layers": ("relu2_1",)}

PAIRS = {
    "black in the style of black": (BLACK, BLACK),
    "black in the style of noise": (BLACK, OTHER),
    "noise in the style of black": (NOISE, BLACK),
    "white in the style of gray": (WHITE, GRAY),
    "noise in its own style": (NOISE, NOISE),
    "noise in the style of noise": (NOISE, OTHER),
}


@pytest.fixture(scope="module")
def network():
    return small_vgg()


def ends_well(network, photo, painting, **chosen):
    """Paint, assert a finite picture and a stop reason, and return the result."""
    settings = {"size": 32, "scales": "single", "iterations": 3, "device": "cpu", "threads": 1, **SHALLOW}
    result = StyleTransfer(network, options=Options(**(settings | chosen))).run(photo, painting)
    assert np.isfinite(result.picture.rgb).all()
    assert 0 <= result.picture.rgb.min() <= result.picture.rgb.max() <= 1
    assert result.stop_reason in STOP_REASONS
    assert result.report()["stop_explanation"] == STOP_REASONS[result.stop_reason]
    assert all(map(math.isfinite, result.history))
    assert all(math.isfinite(scale.loss_end) for scale in result.scales)
    return result


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("statistic", ["gram", "mean-cov", "moments", "neighbours", "wasserstein"])
def test_degenerate_pictures(network, pair, statistic):
    ends_well(network, *PAIRS[pair], style_statistic=statistic)


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("way", ["spectral", "pixels", "adam", "sgd"])
def test_degenerate_pictures_with_every_optimizer(network, pair, way):
    chosen = {"optimizer": way} if way in ("adam", "sgd") else {"variables": way}
    ends_well(network, *PAIRS[pair], **chosen)


@pytest.mark.parametrize("pair", ["black in the style of black", "noise in the style of black"])
@pytest.mark.parametrize("colour", ["luminance", "match"])
def test_pictures_without_colours_that_could_be_kept(network, pair, colour):
    ends_well(network, *PAIRS[pair], preserve_color=colour)


@pytest.mark.parametrize("preset", [row.name for row in PRESETS])
def test_presets_with_a_black_painting(network, preset):
    chosen = {"loss": preset, "style_weight": 1e-12, "content_weight": 1e12}
    ends_well(network, NOISE, BLACK, **chosen)


def test_a_picture_in_its_own_style_stays_as_it_is(network):
    """Only rounding errors could be reduced, so it ends early, whichever reason SciPy gives."""
    result = ends_well(network, NOISE, NOISE, tv_weight=0, iterations=50)
    assert result.stop_reason in ("converged", "line search")
    np.testing.assert_array_equal(result.image, NOISE)


@pytest.mark.parametrize("way", ["spectral", "pixels", "adam", "sgd"])
@pytest.mark.parametrize("weight", [1e-12, 1e12])
@pytest.mark.parametrize("name", ["content_weight", "style_weight", "tv_weight", "range_weight"])
def test_weights_far_apart(network, name, weight, way):
    chosen = {"optimizer": way} if way in ("adam", "sgd") else {"variables": way}
    ends_well(network, NOISE, OTHER, **chosen, **{name: weight})


@pytest.mark.parametrize("name", ["content_weight", "style_weight", "tv_weight", "range_weight"])
def test_a_weight_of_nothing(network, name):
    ends_well(network, NOISE, OTHER, **{name: 0.0})


@pytest.mark.parametrize("name", ["content_weight", "style_weight", "tv_weight", "range_weight"])
@pytest.mark.parametrize("weight", [1e31, 1e300, math.inf, math.nan, -1])
def test_a_weight_beyond_float32_is_refused(name, weight):
    with pytest.raises(OptionError, match=rf"{name} must be a finite number, 0 or larger and at most 1e\+30"):
        Options(**{name: weight})


def test_weights_that_are_nothing_in_float32_end_at_once(network):
    nothing = {"content_weight": 1e-300, "style_weight": 1e-300, "tv_weight": 0}
    # Spectral variables would leave the range by a rounding error, which would count as loss.
    result = ends_well(network, NOISE, OTHER, variables="pixels", **nothing)
    assert result.stop_reason == "converged"
    np.testing.assert_array_equal(result.image, NOISE)


@pytest.mark.parametrize("rate", [1e3, 1e30, 1e300])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_steps_that_are_far_too_long(network, optimizer, rate):
    """Adam clips to [0,1]; gradient descent leaves all range, and keeps the best it had."""
    result = ends_well(network, NOISE, OTHER, optimizer=optimizer, learning_rate=rate, iterations=9)
    assert result.scales[-1].loss_end <= result.scales[-1].loss_start
    if optimizer == "sgd" and rate > 1e3:
        assert result.stop_reason == "non-finite"
        np.testing.assert_array_equal(result.image, NOISE)


@pytest.mark.parametrize("effect", [not_a_number, infinite_gradient])
@pytest.mark.parametrize("step", [None, lambda x, gradient: x - 1e-4 * gradient])
def test_a_nan_or_infinity_stops_every_optimizer_at_its_best(effect, step):
    outcome = minimize(spoil(5, effect), start=-0.5, step=step)
    assert outcome.reason == "non-finite"
    assert np.isfinite(outcome.image).all()
    assert outcome.end.loss <= outcome.start.loss


def spoiled(monkeypatch, *, scale: int, after: int):
    """Make the loss NaN at one scale, counted from 1, after `after` evaluations."""
    original: Callable[..., object] = scale_run.minimize
    scales: list[int] = []

    def minimized(problem, *args, **kwargs):
        scales.append(0)
        number, count = len(scales), [0]

        def evaluate(image):
            count[0] += 1
            e = problem.objective(image)
            return Evaluation(math.nan, e.terms, e.gradient) if number == scale and count[0] > after else e

        return original(replace(problem, objective=evaluate), *args, **kwargs)

    monkeypatch.setattr(scale_run, "minimize", minimized)


SCALES = {"size": 32, "scales": (16, 24), "iterations": 3}


def test_non_finite_numbers_at_the_start_are_an_error(network, monkeypatch):
    spoiled(monkeypatch, scale=1, after=0)
    with pytest.raises(OptimizationError, match="Cannot start"):
        ends_well(network, NOISE, OTHER, **SCALES)


@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize("scale", [2, 3])
def test_non_finite_numbers_leave_the_best_so_far(network, monkeypatch, scale, after, caplog):
    """The scales before are kept, a scale that has begun keeps its best, and the log names the scale."""
    spoiled(monkeypatch, scale=scale, after=after)
    result = ends_well(network, NOISE, OTHER, **SCALES)
    assert result.image.shape == (32, 32, 3)
    assert (result.image != NOISE).mean() > 0.5
    assert f"scale {scale} of 3" in caplog.text
    assert "not a number" in caplog.text
    reasons = [each.stop_reason for each in result.scales]
    if after:
        assert reasons == ["iterations"] * (scale - 1) + ["non-finite"] + ["iterations"] * (3 - scale)
    else:
        assert reasons == ["iterations"] * (scale - 1)
        assert result.stop_reason == "non-finite"


# Pictures of a line or a dot


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (2, 40), (15, 40)])
@pytest.mark.parametrize("role", ["content", "style"])
def test_pictures_that_are_too_thin_are_refused_in_one_line(network, shape, role):
    thin = RNG.integers(0, 256, (*shape, 3)).astype(np.uint8)
    pair = (thin, OTHER) if role == "content" else (NOISE, thin)
    with pytest.raises(ImageError, match=rf"{role} image is too small.*least 16.*{shape[1]}×{shape[0]}"):
        ends_well(network, *pair, style_layers=None, content_layers=None)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (2, 40)])
@pytest.mark.parametrize("way", ["spectral", "pixels", "adam", "sgd"])
def test_shallow_layers_take_pictures_of_a_line_or_a_dot(network, shape, way):
    """The first layer sees one pixel; so a picture may be one."""
    thin = RNG.integers(0, 256, (*shape, 3)).astype(np.uint8)
    layers = {"style_layers": ("relu1_1",), "content_layers": ("relu1_1",)}
    chosen = {"optimizer": way} if way in ("adam", "sgd") else {"variables": way}
    result = ends_well(network, thin, OTHER, size="full", **layers, **chosen)
    assert result.image.shape == thin.shape
    ends_well(network, NOISE, thin, **layers, **chosen)


# The command


def test_the_last_line_gives_the_stop_reason(folder, capfd):
    file = save_network(folder)
    assert paint(file) == 0
    assert capfd.readouterr().err.splitlines()[-1].endswith(" on CPU: all iterations are done")
    save("painting.png", images.to_array(images.read("photo.png")))
    assert paint(file, "--tv-weight", 0, "--iterations", 50) == 0
    ends = tuple(f" on CPU: {STOP_REASONS[reason]}" for reason in ("converged", "line search"))
    assert capfd.readouterr().err.splitlines()[-1].endswith(ends)


def test_non_finite_numbers_are_reported(folder, capfd, monkeypatch):
    spoiled(monkeypatch, scale=2, after=2)
    more = "--scales", "16,24", "--iterations", 3, "--size", 32
    arguments = ("photo.png", "painting.png", "-o", "out.png", "--network", save_network(folder), *more)
    assert run("transfer", *arguments) == 0
    err = capfd.readouterr().err
    assert re.search(r"scale 2 of 2 \(32×27\).*not a number", err)
    assert Path("out.png").is_file()
