"""`rerun` with changes: what is typed takes the recipe's place, and a preview becomes a print."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lbfgs_style import OptionError, Options, StyleTransfer, images, recipes, rerun
from tests.helpers.command import enter, one_error, paint, photo, run, save, save_network
from tests.helpers.small_networks import small_vgg


@pytest.fixture
def network(tmp_path, monkeypatch):
    """A picture of 32 pixels with its recipe, of a photo of 96."""
    enter(tmp_path, monkeypatch)
    save("photo.png", photo(72, 96))
    network = save_network(tmp_path)
    assert paint(network, "--style-weight", 2, "--tv-weight", 0.5) == 0
    return network


def test_what_is_typed_takes_the_place_of_the_recipe(network):
    assert (
        run("rerun", "out.png", "--iterations", 3, "--style-layers", "relu1_1:2,relu2_1", "-o", "b.png") == 0
    )
    before, after = (recipes.read_recipe(name).options for name in ("out.png", "b.png"))
    assert (after.iterations, after.style_layers, after.style_layer_weights) == (
        3,
        ("relu1_1", "relu2_1"),
        (2.0, 1.0),
    )
    assert (after.style_weight, after.tv_weight, after.size) == (2, 0.5, before.size)
    assert recipes.read_recipe("b.png").inputs.preview is None


def test_a_strength_and_weights_take_each_others_place(network):
    assert run("rerun", "out.png", "--strength", 0.7, "-o", "b.png") == 0
    options = recipes.read_recipe("b.png").options
    assert (options.strength, options.style_weight) == (0.7, Options().style_weight)
    assert run("rerun", "b.png", "--content-weight", 0.5, "-o", "c.png") == 0
    options = recipes.read_recipe("c.png").options
    assert (options.strength, options.content_weight) == (None, 0.5)


def test_a_preview_becomes_a_print(network, capfd):
    capfd.readouterr()
    assert run("rerun", "out.png", "--size", 96, "-o", "print.png") == 0
    err = capfd.readouterr().err
    assert "96×72" in err
    assert "the same as" not in err
    recipe = recipes.read_recipe("print.png")
    assert (recipe.options.size, recipe.inputs.preview.path) == (96, "out.png")
    assert run("rerun", "print.png") == 0
    assert "the same as print.png, pixel for pixel" in capfd.readouterr().err
    assert run("rerun", "out.png", "--size", 96, "--no-from-preview", "-o", "new.png") == 0
    assert recipes.read_recipe("new.png").inputs.preview is None
    Path("out.png").rename("kept.png")
    assert run("rerun", "print.png", "--size", 96, "--no-from-preview", "-o", "new.png", "--quiet") == 0
    assert recipes.read_recipe("new.png").inputs.preview is None
    assert run("rerun", "print.png", "--preview", "kept.png", "-o", "again.png", "--quiet") == 0
    np.testing.assert_array_equal(images.read("again.png").rgb, images.read("print-rerun.png").rgb)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("out.png", "--size", "24", "--from-preview"), "The result of 24×18 pixels is not larger than the"),
        (("out.png", "--size", "3"), "size"),
        (("out.json", "--from-preview"), "out.json: a report has no image to continue from: give the image"),
        (("out.png", "--preview", "photo.png"), "made without an image for --preview: leave it out"),
    ],
)
def test_mistakes(network, capfd, arguments, message):
    assert paint(network, "--report", "out.json", output="other.png") == 0
    capfd.readouterr()
    assert run("rerun", *arguments, "-o", "print.png") == 2
    one_error(capfd, message)


def test_a_report_has_no_preview(network):
    assert paint(network, "--report", "out.json", output="other.png") == 0
    again = rerun.prepare("out.json", changes={"size": 96})
    assert again.inputs.preview is None


# In Python

PHOTO, PAINTING = np.random.default_rng(0).uniform(0, 1, (2, 48, 64, 3)).astype(np.float32)
OPTIONS = Options(
    size=64,
    scales=(16, 32),
    iterations=2,
    threads=1,
    device="cpu",
    content_layers=("relu1_1",),
    style_layers=("relu1_1",),
)
SIZES = [(24, 32), (48, 64)]


def job(**changes):
    return StyleTransfer(small_vgg(), options=replace(OPTIONS, **changes))


@pytest.mark.parametrize(("side", "sizes"), [(16, SIZES), (20, SIZES), (40, SIZES[1:])])
def test_the_scales_above_a_preview_remain(side, sizes):
    preview = images.resize(PHOTO, images.fit((48, 64), side))
    result = job().run(PHOTO, PAINTING, preview=preview)
    assert [scale.size for scale in result.scales] == sizes
    assert [scale.size for scale in job().plan(PHOTO, PAINTING, preview=preview)] == sizes


def test_a_preview_keeps_its_composition():
    """A red preview of a grey photo stays red; the photo's detail comes in."""
    red = np.full((24, 32, 3), (0.8, 0.2, 0.2), np.float32)
    result = job(iterations=1, style_weight=1e-6).run(PHOTO, PAINTING, preview=red)
    start = job(iterations=1, style_weight=1e-6).run(PHOTO, PAINTING)
    assert result.image[..., 0].mean() > start.image[..., 0].mean() + 0.1
    detail = result.image - images.resize(images.resize(result.image, (24, 32)), (48, 64))
    expected = PHOTO - images.resize(images.resize(PHOTO, (24, 32)), (48, 64))
    assert np.corrcoef(detail.ravel(), expected.ravel())[0, 1] > 0.9


def test_a_preview_beside_an_initial_image_is_refused():
    with pytest.raises(OptionError, match="init and preview are both images to start from"):
        job().run(PHOTO, PAINTING, init=PHOTO, preview=PHOTO)
    with pytest.raises(
        OptionError, match="The result of 64×48 pixels is not larger than the preview of 64×48"
    ):
        job().run(PHOTO, PAINTING, preview=PHOTO)


def test_a_print_in_tiles_holds_its_recipe_and_is_a_photo_again(network, capfd):
    assert run("rerun", "out.png", "--size", 96, "-o", "print.tif", "--tile-output") == 0
    assert Path("print.tif").read_bytes().startswith(b"II+\0")
    assert run("rerun", "print.tif", "--tile-output") == 0
    assert "the same as print.tif, pixel for pixel" in capfd.readouterr().err
    assert paint(network, "--size", "full", "--tile-output", content="print.tif", output="next.tiff") == 0
    assert "warning" not in capfd.readouterr().err
    assert images.read("next.tiff").rgb.shape == (72, 96, 3)
    assert recipes.read_recipe("next.tiff").inputs.content.path == "print.tif"


def test_only_a_tiff_is_written_in_tiles(network, capfd):
    for arguments in (("-o", "b.png"), ("-o", "-")):
        capfd.readouterr()
        assert run("rerun", "out.png", "--tile-output", *arguments) == 2
        one_error(capfd, "in tiles as TIFF alone, got .png: name a .tif file")
