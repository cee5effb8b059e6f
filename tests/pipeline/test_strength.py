"""One strength for every size: its ends, the values between, and a preview that predicts the full size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lbfgs_style import Options, StyleTransfer, images
from tests.helpers.command import DATA, one_error, paint, photo
from tests.helpers.small_networks import small_vgg


def end(result, kind):
    terms = result.scales[-1].terms_end
    return float(np.mean([value for name, value in terms.items() if name.startswith(kind)]))


def test_strength_goes_from_the_photo_to_the_style_alone():
    small, ends = small_vgg(), []
    for strength in (0, 0.05, 0.9, 1):
        options = Options(size=32, iterations=15, strength=strength, device="cpu", threads=1)
        result = StyleTransfer(small, options=options).run(photo(), photo()[::-1, :, ::-1].copy())
        ends.append(result)
        assert bool(result.settings["network"]["style_layers"]) == (strength > 0)
        assert bool(result.settings["network"]["content_layers"]) == (strength < 1)
    nothing, little, much, _ = ends
    assert np.abs(nothing.picture.rgb - photo() / 255).mean() < 5 / 255
    assert end(little, "content") < end(much, "content")
    assert end(little, "style") > end(much, "style")


def test_a_preview_predicts_the_full_size():
    """With `compact`, content moves about as far at 64 px as at 128 and 256; strengths differ by more."""
    content, style = (images.read(DATA / name) for name in ("coast.jpg", "painting.jpg"))

    def moved(size, strength):
        options = Options(size=size, iterations=40, strength=strength, device="cpu", threads=1)
        return end(StyleTransfer(options=options).run(content, style), "content")

    sizes = [moved(size, 0.5) for size in (64, 128, 256)]
    assert max(sizes) < 1.8 * min(sizes)
    assert 1.8 * moved(128, 0.2) < min(sizes)


def test_the_command(folder, network):
    assert paint(network, "--strength", 0.75, "--report", "run.json") == 0
    assert json.loads(Path("run.json").read_text())["options"]["strength"] == 0.75


def test_both_are_refused_even_where_a_weight_is_the_default(folder, network, capfd):
    for weight in (("--content-weight", 0.1), ("--style-weight", 7)):
        assert paint(network, "--strength", 0.75, *weight) == 2
        one_error(capfd, "--strength stands for --content-weight and --style-weight")


@pytest.mark.parametrize(
    ("text", "typed", "balance"),
    [
        ("strength = 0.8", ("--content-weight", "0.5"), (0.5, 3.0, None)),
        ("content-weight = 0.5", ("--strength", "0.8"), (0.1, 3.0, 0.8)),
    ],
)
def test_what_is_typed_wins_over_the_file(folder, network, text, typed, balance):
    Path("mine.toml").write_text(text)
    assert paint(network, "--options", "mine.toml", *typed, "--report", "run.json") == 0
    options = json.loads(Path("run.json").read_text())["options"]
    assert (options["content_weight"], options["style_weight"], options["strength"]) == balance
