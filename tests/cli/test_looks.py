"""The command ``looks``, and ``transfer --look``."""

from __future__ import annotations

import numpy as np
import pytest

from lbfgs_style import OptionError, Options, images, recipes
from lbfgs_style.settings.looks import LOOKS, look
from tests.helpers.command import enter, one_error, paint, run


@pytest.fixture
def folder(tmp_path, monkeypatch):
    return enter(tmp_path, monkeypatch)


@pytest.mark.parametrize("row", LOOKS, ids=lambda row: row.name)
def test_a_look_is_valid_and_differs_from_the_defaults(row) -> None:
    options = Options.look(row.name)
    assert (options != Options()) == bool(row.options)
    assert row.name == "default" or row.options or row.stroke_size != 1
    assert look(row.name) is row


def test_a_look_that_is_not_there_is_refused() -> None:
    with pytest.raises(
        OptionError, match=r"look must be one of default, bold.*got 'bolt'\. Did you mean 'bold'"
    ):
        Options.look("bolt")


def test_looks_are_listed(folder, capfd) -> None:
    assert run("looks") == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line.partition("\t")[0] for line in lines] == [row.name for row in LOOKS]


def test_a_sheet_has_a_picture_for_each(folder, network, capfd) -> None:
    arguments = ("--network", network, "--size", 32, "--iterations", 1, "--threads", 1)
    assert run("looks", "photo.png", "painting.png", "-o", "sheet.png", *arguments) == 0
    messages = capfd.readouterr().err
    assert all(f"of {len(LOOKS)}: {row.name}" in messages for row in LOOKS)
    assert images.read("sheet.png").rgb.shape[1] > 4 * 256


def test_looks_that_statistics_do_not_serve_are_left_out(folder, capfd) -> None:
    """`compact` has the layers of all looks, and its statistics by default those of its own choice."""
    quick = ("--device", "cpu", "--threads", 1)
    assert run("style", "painting.png", "-o", "a.style.npz", "--sizes", 24, "--quiet", *quick) == 0
    arguments = ("photo.png", "a.style.npz", "-o", "sheet.png", "--size", 32, "--iterations", 1)
    assert run("looks", *arguments, *quick) == 0
    err = capfd.readouterr().err
    assert "a.style.npz: statistics do not serve swirls, colours: give the style image" in err
    assert f"sheet.png: {len(LOOKS) - 2} images" in err


@pytest.mark.parametrize("arguments", [("photo.png",), ("photo.png", "painting.png")])
def test_a_sheet_needs_both_images_and_an_output(folder, capfd, arguments) -> None:
    assert run("looks", *arguments) == 2
    one_error(capfd, "needs a content image, a style image and --output")


def test_a_look_changes_options_and_strokes(folder, network) -> None:
    assert paint(network, "--look", "bold") == 0
    recipe = recipes.read_recipe("out.png")
    assert recipe.options.strength == look("bold").options["strength"]
    assert [style.scale for style in recipe.inputs.styles] == [look("bold").stroke_size]
    assert run("rerun", "out.png", "-o", "again.png", "--quiet") == 0
    np.testing.assert_array_equal(images.read("again.png").rgb, images.read("out.png").rgb)


def test_what_is_typed_wins(folder, network) -> None:
    typed = ("--look", "bold", "--style-scale", 0.7, "--content-weight", 0.3, "--tv-weight", 0.5)
    assert paint(network, *typed) == 0
    recipe = recipes.read_recipe("out.png")
    o = recipe.options
    assert (o.strength, o.content_weight, o.tv_weight) == (None, 0.3, 0.5)
    assert [style.scale for style in recipe.inputs.styles] == [0.7]


@pytest.mark.parametrize("other", [("--preset", "gatys"), ("--options", "mine.toml")])
def test_a_look_and_other_options_contradict_each_other(folder, network, capfd, other) -> None:
    (folder / "mine.toml").write_text("seed = 3\n")
    assert paint(network, "--look", "soft", *other) == 2
    one_error(capfd, f"--look changes the defaults, and {other[0]} replaces them")
