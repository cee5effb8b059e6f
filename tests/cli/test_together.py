"""Features used together: masks, colours, presets, recipes, statistics and standard streams in one run."""

from __future__ import annotations

import hashlib
import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lbfgs_style import ImageError, OptionError, Options, Style, StyleTransfer, images, read_options, recipes
from tests.helpers.command import contents, enter, one_error, paint, photo, run, save
from tests.helpers.small_networks import small_vgg

QUICK = Options(size=48, scales=(32,), iterations=3, device="cpu", threads=1)
HALF = np.tile((np.arange(32) < 16).astype(np.float32), (27, 1))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a photo, two paintings and two masks in it."""
    enter(tmp_path, monkeypatch)
    save("other.png", photo(20, 20)[:, ::-1].copy())
    save("left.png", HALF)
    save("map.png", HALF.T.copy())
    save("face.png", np.pad(np.ones((6, 6), np.float32), 8))
    return tmp_path


@pytest.fixture
def standard_input(monkeypatch):
    def give(name):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(Path(name).read_bytes())))

    return give


EVERYTHING = (
    *("--preset", "gluon", "--strength", 0.6, "--style-layers", "relu1_1:2,relu2_1", "--optimizer", "lbfgs"),
    *(
        "--style-mask",
        "left.png",
        "--style-mask",
        "rest",
        "--keep-mask",
        "face.png",
        "--content-map",
        "map.png",
        "--style-scale",
        "0.7,1",
    ),
    *("--style-blend", "2,1", "--preserve-color", "luminance", "--init", "style", "--init-noise", 0.2),
)
STYLES = ("painting.png", "other.png")


# Recipes


@pytest.mark.parametrize("output", ["out.png", "out.jpg"])
def test_a_run_with_every_feature_is_repeated(folder, network, capfd, output):
    assert paint(network, *EVERYTHING, "--quality", 70, styles=STYLES, output=output) == 0
    recipe = recipes.read_recipe(output)
    assert [(style.weight, style.scale) for style in recipe.inputs.styles] == [(2, 0.7), (1, 1)]
    assert recipe.quality == 70
    assert [source.path for _, source in recipe.inputs] == [
        *("photo.png", "painting.png", "other.png", "left.png", "face.png", "map.png")
    ]
    o = recipe.options
    assert (o.loss, o.strength, o.preserve_color, o.style_layer_weights) == (
        "gluon",
        0.6,
        "luminance",
        (2, 1),
    )
    capfd.readouterr()
    assert run("rerun", output, "-o", f"again{output}") == 0
    assert Path(f"again{output}").read_bytes() == Path(output).read_bytes()
    assert f"the same as {output}, pixel for pixel" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("mask", "option"),
    [("left.png", "--style-mask"), ("face.png", "--keep-mask"), ("map.png", "--content-map")],
)
def test_masks_are_inputs_like_others(folder, network, capfd, mask, option):
    assert paint(network, *EVERYTHING, styles=STYLES) == 0
    Path(mask).rename("moved.png")
    capfd.readouterr()
    assert run("rerun", "out.png") == 2
    one_error(capfd, rf"{mask}: the {option[2:]} of out\.png is not there: say where it is with {option}")
    assert run("rerun", "out.png", option, "moved.png", "--quiet") == 0
    assert Path("out-rerun.png").read_bytes() != b""
    save(mask, 1 - HALF)
    capfd.readouterr()
    assert run("rerun", "out.png") == 2
    one_error(capfd, rf"{mask}: has changed since out\.png was made")
    assert paint(network, *EVERYTHING, "--quiet", styles=STYLES, output=mask) == 2
    one_error(capfd, rf"{mask} would be overwritten, but is one of the inputs")
    assert run("rerun", "out.png", option, "moved.png", "-o", "moved.png") == 2
    one_error(capfd, r"moved\.png would be overwritten, but is one of the inputs")


def test_an_input_that_the_recipe_lacks_cannot_be_moved(folder, network, capfd):
    assert paint(network) == 0
    for option in ("--init", "--keep-mask", "--content-map", "--style-mask"):
        capfd.readouterr()
        assert run("rerun", "out.png", option, "face.png") == 2
        one_error(capfd, f"made without an image for {option}")


def test_a_run_with_alpha_as_the_mask_is_repeated(folder, network):
    save("clear.png", np.dstack([photo() / 255, 1 - HALF]).astype(np.float32))
    assert paint(network, "--keep-mask", "alpha", content="clear.png") == 0
    assert recipes.read_recipe("out.png").inputs.keep == "alpha"
    assert run("rerun", "out.png", "--quiet") == 0
    assert Path("out-rerun.png").read_bytes() == Path("out.png").read_bytes()


def test_standard_input_is_recognised_by_its_bytes(folder, network, capfd, standard_input):
    standard_input("photo.png")
    assert paint(network, content="-") == 0
    Path("photo.png").rename("kept.png")
    capfd.readouterr()
    assert run("rerun", "out.png") == 2
    one_error(
        capfd, r"The content of out\.png came on standard input: name a file that has it with --content"
    )
    assert run("rerun", "out.png", "--content", "kept.png", "--quiet") == 0
    np.testing.assert_array_equal(images.read("out-rerun.png").rgb, images.read("out.png").rgb)
    capfd.readouterr()
    assert run("rerun", "out.png", "--content", "painting.png") == 2
    one_error(capfd, r"painting\.png: has changed")


def test_a_mask_may_come_on_standard_input_but_only_one_picture(folder, network, capfd, standard_input):
    standard_input("left.png")
    assert paint(network, "--keep-mask", "-") == 0
    np.testing.assert_array_equal(images.read("out.png").rgb[:, :16], images.read("photo.png").rgb[:, :16])
    before = contents(folder)
    capfd.readouterr()
    assert paint(network, "--keep-mask", "-", "--style-mask", "-") == 2
    one_error(capfd, "Only one image can be '-'")
    assert contents(folder) == before


def test_the_page_shows_masks(folder, network):
    assert paint(network, *EVERYTHING, "--report", "run.html", styles=STYLES) == 0
    page = Path("run.html").read_text()
    for caption in ("style mask: left.png", "keep mask: face.png", "content: photo.png"):
        assert f"<figcaption>{caption}</figcaption>" in page
    assert "<dt>--style-scale</dt><dd>0.7, 1.0</dd>" in page


def test_the_page_tells_files_of_one_name_apart(folder, network):
    """Two paintings called painting.png in different folders: both fingerprints are there."""
    Path("more").mkdir()
    save("more/painting.png", photo(30, 30))
    styles = ("painting.png", "more/painting.png")
    assert paint(network, "--report", "run.html", "--quiet", styles=styles) == 0
    page = Path("run.html").read_text()
    for style in styles:
        digest = hashlib.sha256(Path(style).read_bytes()).hexdigest()
        assert f"<dt>style: painting.png</dt><dd>{digest}</dd>" in page


def test_the_page_names_standard_input(folder, network, standard_input):
    arguments = "--network", network, "--device", "cpu", "--threads", 1, "--quiet"
    assert run("style", "painting.png", "-o", "stripes.style.npz", "--sizes", 24, *arguments) == 0
    standard_input("photo.png")
    styles = ("stripes.style.npz",)
    assert paint(network, "--report", "run.html", "--quiet", content="-", styles=styles) == 0
    page = Path("run.html").read_text()
    assert "<h1>standard input in the style of stripes</h1>" in page
    assert "<figcaption>content: standard input</figcaption>" in page


@pytest.mark.parametrize("there", ["run.gif", "run.mp4"])
def test_an_old_video_is_not_overwritten_either(folder, network, capfd, there):
    Path(there).write_bytes(b"old")
    assert paint(network, "--no-overwrite", "--video", there) == 2
    one_error(capfd, rf"{there} is there already")


# What is typed, the file, the preset, the defaults


def options_of(folder):
    return json.loads(Path("run.json").read_text())["options"]


def test_what_is_typed_over_the_file_over_the_preset(folder, network):
    Path("mine.toml").write_text(
        'preset = "keras"\ntv-weight = 0.5\ntv-power = 1.5\nstyle-layers = ["relu1_1", "relu2_1"]\n'
        'style_layer_weights = [3, 1]\ncontent-layers = ["relu4_1"]\noptimizer = "adam"\n'
    )
    typed = "--tv-power", 2, "--style-layers", "relu3_1"
    assert paint(network, "--options", "mine.toml", *typed, "--report", "run.json", "--quiet") == 0
    options = options_of(folder)
    assert (options["tv_power"], options["style_layers"], options["style_layer_weights"]) == (
        2,
        ["relu3_1"],
        None,
    )
    assert (options["tv_weight"], options["optimizer"], options["content_layers"]) == (
        0.5,
        "adam",
        ["relu4_1"],
    )
    assert (options["loss"], options["style_weight"], options["seed"]) == ("keras", 1e-6, 0)
    more = "--options", "mine.toml", "--preset", "gatys", "--report", "run.json", "--quiet"
    assert paint(network, *more) == 0
    options = options_of(folder)
    assert (options["loss"], options["style_weight"], options["tv_weight"]) == ("gatys", 1e3, 0.5)
    assert options["style_layer_weights"] == [3, 1]


def test_a_preset_in_a_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('preset = "gluon"\nsize = 300\n')
    assert read_options(path) == replace(Options.preset("gluon"), size=300)
    path.write_text('preset = "glue"\n')
    with pytest.raises(OptionError, match=r"mine\.toml: preset must be one of .* Did you mean 'gluon'"):
        read_options(path)


def test_strength_means_the_weights_of_the_preset():
    """At 0.5 those of the row; it contradicts a weight that is typed."""
    options = replace(Options.preset("gluon"), strength=0.5)
    assert options.balance == pytest.approx((1, 1e4))
    assert replace(options, strength=1).balance == pytest.approx((0, 1e4 * 2**1.25))
    with pytest.raises(OptionError, match="strength stands for content_weight and style_weight"):
        replace(options, style_weight=2e4)


@pytest.mark.parametrize("strength", [0, 1])
def test_the_ends_of_strength_with_weights_of_layers_and_masks(strength):
    """What has no weight is left out, and its layers' weights and masks with it."""
    options = replace(
        QUICK,
        strength=strength,
        content_layers=("relu2_1",),
        content_layer_weights=(2,),
        style_layers=("relu1_1", "relu2_1"),
        style_layer_weights=(2, 1),
    )
    style = Style(photo()[::-1].copy(), mask=HALF)
    result = StyleTransfer(small_vgg(), options=options).run(photo(), style, keep=1 - HALF)
    assert set(result.scales[-1].terms_end) == (
        {"content relu2_1", "tv", "range"}
        if strength == 0
        else {"style relu1_1", "style relu2_1", "tv", "range"}
    )


# Statistics of a style


@pytest.mark.parametrize("statistic", ["gram", "mean-cov", "moments", "wasserstein"])
def test_statistics_serve_every_statistic_with_masks_and_scales(statistic):
    """To the bit, at sizes of the ladder: 24 and 36 are three quarters of the scales."""
    job = StyleTransfer(small_vgg(), options=replace(QUICK, style_statistic=statistic))
    painting, other = photo(60, 52)[::-1].copy(), photo(44, 44)[:, ::-1].copy()
    measured = StyleTransfer(small_vgg(), options=QUICK).measure_style(painting, sizes=(24, 36))
    styles = (Style(each, scale=0.75, mask=HALF) for each in (painting, measured))
    expected, got = (
        job.run(photo(), [style, Style(other, weight=2)], keep=HALF[::-1] * 0.5) for style in styles
    )
    np.testing.assert_array_equal(got.image, expected.image)


def test_another_pooling_is_refused(tmp_path):
    """The small network takes maxima: asking for them is the same."""
    small = small_vgg()
    jobs = {name: StyleTransfer(small, options=replace(QUICK, pooling=name)) for name in (None, "max", "l2")}
    painting = photo(48, 48)
    measured = jobs["l2"].measure_style(painting)
    measured.save(tmp_path / "a.npz")
    read = type(measured).load(tmp_path / "a.npz")
    assert read.pooling == "l2"
    jobs["l2"].run(photo(), read)
    for name in (None, "max"):
        with pytest.raises(
            ImageError, match=r"a\.npz: measured with the pooling 'l2', but this run uses 'max'"
        ):
            jobs[name].run(photo(), read)
    jobs["max"].run(photo(), jobs[None].measure_style(painting))


@pytest.mark.parametrize("preserve", ["match", "luminance"])
def test_statistics_have_no_colours_to_change(folder, network, capfd, preserve):
    arguments = "--network", network, "--device", "cpu", "--threads", 1
    assert run("style", "painting.png", "-o", "a.npz", *arguments) == 0
    before = contents(folder)
    capfd.readouterr()
    assert paint(network, "--preserve-color", preserve, "--quiet", styles=("other.png", "a.npz")) == 2
    one_error(capfd, rf"a\.npz: preserve_color '{preserve}' changes the colours.*give the image itself")
    assert contents(folder) == before


def test_the_command_measures_with_a_pooling(folder, network, capfd, standard_input):
    standard_input("painting.png")
    arguments = "--network", network, "--device", "cpu", "--threads", 1, "--sizes", 24
    assert run("style", "-", "-o", "a.npz", "--pooling", "average", *arguments) == 0
    assert paint(network, "--pooling", "average") == 0
    assert paint(network, "--pooling", "average", styles=("a.npz",), output="same.png") == 0
    np.testing.assert_array_equal(images.read("same.png").rgb, images.read("out.png").rgb)
    capfd.readouterr()
    assert paint(network, "--pooling", "max", styles=("a.npz",)) == 2
    one_error(capfd, "measured with the pooling 'average', but this run uses 'max'")


# Streams of the sheets


def test_a_sheet_from_pipe_to_pipe(folder, network, capfdbinary, standard_input):
    arguments = "--network", network, "--size", 32, "--iterations", 1, "--threads", 1, "--quiet"
    standard_input("photo.png")
    assert run("reconstruct", "content", "-", "-o", "-", "--layers", "relu1_1", *arguments) == 0
    assert images.decode(capfdbinary.readouterr().out).rgb.shape[2] == 3
    standard_input("photo.png")
    assert run("grid", "-", "painting.png", "-o", "-", "--content-weights", "0.1,1", *arguments) == 0
    assert images.decode(capfdbinary.readouterr().out).rgb.shape[2] == 3
