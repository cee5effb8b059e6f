"""Reconstructions and grids: which layers and weights each picture is made with, and what the sheet shows."""

from __future__ import annotations

import io
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lbfgs_style import NetworkError, Options, images, inspection, networks
from lbfgs_style.outputs.contact_sheet import Legend
from tests.helpers.command import contents, one_error, photo, run
from tests.helpers.small_networks import small_vgg

QUICK = Options(size=32, iterations=30, init="noise", device="cpu", threads=1)


@pytest.fixture(scope="module")
def small():
    return small_vgg()


def layers(panel):
    chosen = panel.result.settings["network"]
    return tuple(chosen["content_layers"]), tuple(chosen["style_layers"])


def test_layers_are_chosen_for_each_network(small):
    """`compact` ends at relu5_1."""
    compact = inspection.content_layers(networks.load("compact"))
    assert compact == ("relu1_2", "relu2_2", "relu3_2", "relu4_2", "relu5_1")
    assert inspection.content_layers(small) == ("relu1_2", "relu2_2", "relu3_2", "relu4_2", "relu5_2")


def test_content_comes_back_from_noise(small):
    announced = []
    panels = inspection.reconstruct_content(
        photo(),
        layers=("relu1_1", "relu4_1"),
        network=small,
        options=QUICK,
        announce=lambda *a: announced.append(a),
    )
    assert [panel.label for panel in panels] == ["relu1_1", "relu4_1"]
    assert [layers(panel) for panel in panels] == [(("relu1_1",), ()), (("relu4_1",), ())]
    assert announced == [(1, 2, "relu1_1"), (2, 2, "relu4_1")]
    errors = [np.abs(panel.rgb - photo() / 255).mean() for panel in panels]
    noise = np.random.default_rng(0).normal(0.5, 0.1, (27, 32, 3))
    assert errors[0] < 0.4 * np.abs(noise - photo() / 255).mean()  # a shallow layer keeps nearly everything
    assert errors[1] > 2 * errors[0]


def test_style_adds_one_layer_after_the_other(small):
    panels = inspection.reconstruct_style(
        photo(), layers=("relu1_1", "relu2_1", "relu3_1"), network=small, options=QUICK
    )
    assert [panel.label for panel in panels] == ["relu1_1", "+ relu2_1", "+ relu3_1"]
    assert [layers(panel)[0] for panel in panels] == [()] * 3
    assert [len(layers(panel)[1]) for panel in panels] == [1, 2, 3]
    for panel in panels:
        (scale,) = panel.result.scales
        assert scale.loss_end < 0.1 * scale.loss_start


@pytest.mark.parametrize("remake", [inspection.reconstruct_content, inspection.reconstruct_style])
def test_weights_and_layers_of_the_options_are_ignored(small, remake):
    weighted = replace(
        QUICK,
        iterations=2,
        strength=0.7,
        content_layers=("relu4_1",),
        content_layer_weights=(3,),
        style_layers=("relu1_1", "relu4_1"),
        style_layer_weights=(1, 5),
    )
    plain = replace(QUICK, iterations=2)
    panels = [remake(photo(), layers=("relu1_1",), network=small, options=o) for o in (weighted, plain)]
    np.testing.assert_array_equal(*(each[0].rgb for each in panels))


def test_the_grid_has_every_combination(small):
    options = Options(size=32, iterations=1, device="cpu", threads=1)
    panels = inspection.grid(
        photo(),
        photo()[::-1],
        content_layers=[("relu2_1",), ("relu3_1", "relu4_1")],
        style_layers=[("relu1_1",), ("relu1_1", "relu2_1")],
        content_weights=[0.5, 2],
        network=small,
        options=options,
    )
    made = [(*layers(panel), panel.result.settings["options"]["content_weight"]) for panel in panels]
    assert made == [
        (content, style, weight)
        for content in (("relu2_1",), ("relu3_1", "relu4_1"))
        for weight in (0.5, 2)
        for style in (("relu1_1",), ("relu1_1", "relu2_1"))
    ]


def test_a_misspelt_layer_is_refused_before_the_first_picture(small):
    announced = []
    with pytest.raises(NetworkError, match="no layer 'relu9_1'"):
        inspection.reconstruct_content(
            photo(), layers=("relu1_1", "relu9_1"), network=small, announce=lambda *a: announced.append(a)
        )
    assert announced == []


def test_the_sheet_has_the_original_and_all_panels(small):
    panels = inspection.reconstruct_content(
        photo(), layers=("relu1_1",), network=small, options=Options(size=32, iterations=1, threads=1)
    )
    picture = images.from_array(photo())
    sheet = inspection.reconstruction_sheet(picture, [*panels] * 3, Legend("t"), columns=3, height=27)
    assert sheet.shape[1] == 20 + 3 * 32 + 2 * 8 + 20
    where = [
        (y, x)
        for y in range(sheet.shape[0] - 26)
        for x in range(20, sheet.shape[1] - 51)
        if (sheet[y : y + 27, x : x + 32] == photo()).all()
    ]
    # From the photo on, a single layer of it has nothing to change.
    assert [x for _, x in where] == [20, 60, 100, 20]


# The commands


def quick(network):
    return "--network", network, "--size", 32, "--iterations", 2, "--device", "cpu", "--threads", 1


def test_reconstruct_writes_a_sheet(folder, network, capfd):
    for kind in ("content", "style"):
        assert run("reconstruct", kind, "photo.png", "-o", f"{kind}.png", *quick(network)) == 0
        err = capfd.readouterr().err
        assert re.search(rf"{kind}\.png: 5 images\n$", err)
        assert "5 of 5: " in err
        assert images.read(f"{kind}.png").rgb.shape[1] > 3 * 256
    more = "--layers", "relu1_1,relu2_1", "--columns", 1, "--quiet"
    assert run("reconstruct", "content", "photo.png", "-o", "tall.png", *more, *quick(network)) == 0
    assert images.read("tall.png").rgb.shape[0] > 3 * 256
    assert capfd.readouterr() == ("", "")


def test_grid_writes_a_sheet(folder, network, capfd):
    sets = "--style-layers", "relu1_1|relu1_1,relu2_1|relu3_1", "--content-layers", "relu2_1,relu4_1"
    more = "--content-weights", "0.1,1"
    arguments = "grid", "photo.png", "painting.png", "-o", "grid.png", *sets, *quick(network)
    assert run(*arguments, *more) == 0
    err = capfd.readouterr().err
    assert "12 of 12: relu4_1, content weight 1, relu3_1" in err
    both = images.read("grid.png").rgb.shape
    assert run(*arguments, "--quiet") == 0
    one = images.read("grid.png").rgb.shape
    assert both[0] - one[0] == 2 * (224 + 8)  # the weights add rows


def test_a_grid_without_options_has_strengths_and_strokes(folder, network, capfd):
    assert run("grid", "photo.png", "painting.png", "-o", "grid.png", *quick(network)) == 0
    err = capfd.readouterr().err
    assert "9 of 9: strength 0.7, strokes 2" in err
    assert "grid.png: 9 images" in err
    height, width = images.read("grid.png").rgb.shape[:2]
    assert height > 3 * 224
    assert width > 3 * 224
    panels = inspection.paint_strengths(photo(), photo()[::-1].copy(), network=network, options=QUICK)
    assert [panel.result.settings["options"]["strength"] for panel in panels] == [0.3] * 3 + [0.5] * 3 + [
        0.7
    ] * 3
    assert [panel.result.settings["style_scales"] for panel in panels[:3]] == [[0.5], [1.0], [2.0]]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("reconstruct content photo.png -o out.png --layers relu9_1", "no layer 'relu9_1'"),
        ("reconstruct style photo.png -o photo.png", "one of the inputs"),
        ("reconstruct styl photo.png -o out.png", "content or style, got 'styl'.*'style'"),
        ("reconstruct style photo.png -o out.gif", "expected one of"),
        ("reconstruct style nothing.png -o out.png", "no such file"),
        (
            "grid photo.png painting.png -o out.png --content-weights 1,much",
            "--content-weights must be numbers",
        ),
        ("grid photo.png painting.png -o out.png --content-weights -1", "content_weight must be"),
        ("grid photo.png painting.png -o out.png --style-layers relu1_1|", "no layer ''"),
        ("grid photo.png painting.png -o painting.png", "one of the inputs"),
    ],
)
def test_mistakes_are_one_line(folder, network, capfd, arguments, says):
    before = contents(folder)
    assert run(*arguments.split(), *quick(network)) == 2
    one_error(capfd, says)
    assert contents(folder) == before


def test_a_grid_takes_statistics_in_place_of_the_painting(folder, network, monkeypatch, capfd):
    """The pictures are those of the painting; the legend has nothing to show of it."""
    arguments = "--network", network, "--device", "cpu", "--threads", 1
    assert run("style", "painting.png", "-o", "stripes.style.npz", "--sizes", 24, "--quiet", *arguments) == 0
    assert capfd.readouterr() == ("", "")
    seen = []
    monkeypatch.setattr(inspection, "grid_sheet", lambda *args, **kwargs: seen.append(args) or photo())
    weights = ("--content-weights", "0.1", "--quiet")
    for style in ("painting.png", "stripes.style.npz"):
        assert run("grid", "photo.png", style, "-o", "grid.png", *weights, *quick(network)) == 0
    (painted, legend), (measured, other) = seen
    np.testing.assert_array_equal(measured[0].rgb, painted[0].rgb)
    assert [name for _, name in legend.inputs] == ["content", "style"]
    assert [name for _, name in other.inputs] == ["content"]
    assert other.title == "photo in the style of stripes"


def test_standard_input_is_named_on_the_sheet(folder, network, monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(Path("photo.png").read_bytes())))
    seen = []
    monkeypatch.setattr(inspection, "reconstruction_sheet", lambda *args, **_: seen.append(args) or photo())
    assert run("reconstruct", "style", "-", "-o", "out.png", "--quiet", *quick(network)) == 0
    assert seen[0][2].title == "Style of standard input, each with the layers before it"


@pytest.mark.parametrize(
    "command",
    [
        "reconstruct content photo.png -o there.png",
        "reconstruct style photo.png -o there.png",
        "grid photo.png painting.png -o there.png",
        "rerun made.png -o there.png",
        "rerun there.png",
        "style painting.png -o there.npz",
    ],
)
def test_no_overwrite_is_for_every_command_that_writes(folder, network, capfd, command):
    arguments = quick(network)
    assert run("transfer", "photo.png", "painting.png", "-o", "made.png", "--quiet", *arguments) == 0
    for name in ("there.png", "there-rerun.png", "there.npz"):
        Path(name).write_bytes(Path("made.png").read_bytes())
    before = contents(folder)
    capfd.readouterr()
    more = {"rerun": (), "style": arguments[:2]}.get(command.split()[0], arguments)
    assert run(*command.split(), "--no-overwrite", *more) == 2
    one_error(capfd, r"there(-rerun)?\.(png|npz) is there already: choose another name")
    assert contents(folder) == before


def test_stopped_on_the_way(folder, network, capfd, monkeypatch):
    run_all = inspection.StyleTransfer.run
    done = []

    def stops_at_the_third(self, *args, cancel, **kwargs):
        done.append(1)
        if len(done) == 3:
            cancel.set()
        return run_all(self, *args, cancel=cancel, **kwargs)

    monkeypatch.setattr(inspection.StyleTransfer, "run", stops_at_the_third)
    assert run("reconstruct", "style", "photo.png", "-o", "out.png", "--quiet", *quick(network)) == 130
    one_error(capfd, r"stopped: the first 2 of 5 images are in out\.png")
    assert Path("out.png").is_file()
