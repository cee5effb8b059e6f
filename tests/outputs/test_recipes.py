"""Recipes: inside the files, on disk as TOML, and run again."""

from __future__ import annotations

import json
import re
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from lbfgs_style import Options, Style, StyleTransfer, images, read_options, recipes, rerun
from lbfgs_style.images.formats.registry import read_text, write_text
from tests.helpers.command import contents, one_error, paint, photo, run, save


def encoded(suffix):
    return cv2.imencode(suffix, photo())[1].tobytes()


# Inside the bytes

TEXT = '{"who": "Müller × 画", "n": 1}'


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tiff"])
def test_a_recipe_round_trips_and_leaves_the_pixels(suffix):
    plain = encoded(suffix)
    with_text = write_text(plain, TEXT)
    assert read_text(with_text) == TEXT
    assert read_text(plain) is None
    before, after = (
        cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) for data in (plain, with_text)
    )
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("suffix", [".webp", ".avif"])
def test_other_formats_stay_as_they_are(suffix):
    assert write_text(encoded(suffix), TEXT) == encoded(suffix)
    assert read_text(encoded(suffix)) is None


def test_the_png_chunk_is_as_the_specification_says():
    """PNG, third edition, 11.3.3.4: keyword, 0, compression flag and method, language, 0, translation, 0."""
    data, place, chunks = write_text(encoded(".png"), TEXT), 8, []
    while place < len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        body = data[place + 4 : place + 8 + length]
        assert struct.unpack(">I", data[place + 8 + length : place + 12 + length]) == (zlib.crc32(body),)
        chunks.append(body)
        place += 12 + length
    assert place == len(data)
    assert [chunk[:4] for chunk in chunks][:2] == [b"IHDR", b"iTXt"]
    assert chunks[1] == b"iTXtlbfgs-style\0\0\0\0\0" + TEXT.encode("utf-8")
    assert chunks[-1] == b"IEND"


def test_a_text_longer_than_a_segment_of_jpeg():
    text = "ä" * 100_000
    data = write_text(encoded(".jpg"), text)
    assert read_text(data) == text
    assert data.count(b"\xff\xfe") >= 4
    assert data[2:4] == b"\xff\xe0"  # JFIF's segment stays the first
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape == (27, 32, 3)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_foreign_texts_and_truncated_files_are_ignored(suffix):
    data = write_text(encoded(suffix), TEXT)
    assert read_text(data.replace(b"lbfgs-style", b"other-style")) is None
    for end in range(0, len(data), 7):
        text = read_text(data[:end])
        assert text is None or TEXT.startswith(text.rstrip("\N{REPLACEMENT CHARACTER}"))


# Options in a file


def test_options_are_read(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('size = "full"\ncontent-weight = 0.5\niterations = [5, 4]\nstyle_layers = ["relu1_1"]\n')
    assert read_options(path) == Options(
        size="full", content_weight=0.5, iterations=(5, 4), style_layers=("relu1_1",)
    )


def test_what_is_typed_wins_over_the_file(folder, network):
    Path("mine.toml").write_text("size = 24\ncontent-weight = 0.5\nvariables = 'pixels'\niterations = 1\n")
    # `paint` gives --size 32 and --iterations 2.
    assert paint(network, "--options", "mine.toml", "--report", "run.json") == 0
    options = json.loads(Path("run.json").read_text())["options"]
    assert (options["size"], options["iterations"]) == (32, 2)
    assert (options["content_weight"], options["variables"]) == (0.5, "pixels")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "content-wieght = 1",
            r"mine\.toml: there is no option 'content-wieght'.*Did you mean 'content_weight'",
        ),
        ("size = 4", r"mine\.toml: size must be a whole number from 16.*got 4"),
        ("size = ", r"mine\.toml: not a TOML file"),
        (
            "variables = 'laplacian'",
            r"mine\.toml: variables must be.*no longer has it: use 'decorrelated'\.$",
        ),
        ("tv-weight = 1\ntv_weight = 2", r"tv_weight is given twice"),
        (b"\xff\xfe", r"mine\.toml: not a TOML file"),
        (
            "content-weight = " + "9" * 400,
            r"mine\.toml: content_weight must be.*got a number of over 300 digits",
        ),
        ("style-layers = ['relu1_1:2']", r"style_layers takes names alone.*style_layer_weights"),
        ("scales = '32,64'", r"mine\.toml: scales must be.*in TOML a list"),
    ],
)
def test_mistakes_in_the_file_are_one_line(folder, network, capfd, text, says):
    Path("mine.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    before = contents(folder)
    assert run("transfer", "photo.png", "painting.png", "-o", "out.png", "--options", "mine.toml") == 2
    one_error(capfd, says)
    assert contents(folder) == before


def test_a_file_of_a_windows_editor(folder, network):
    """Which begins with a mark of the order of bytes."""
    Path("mine.toml").write_bytes(b"\xef\xbb\xbfseed = 3\n")
    assert read_options("mine.toml").seed == 3


def test_no_file_of_options(folder, capfd):
    assert run("transfer", "photo.png", "painting.png", "-o", "out.png", "--options", "no.toml") == 2
    one_error(capfd, r"no\.toml: cannot be read as options: No such file")


# Made again


@pytest.mark.parametrize("output", ["out.png", "out.jpg"])
def test_a_rerun_is_identical(folder, network, capfd, output):
    more = "--init", "noise", "--seed", 5, "--content-weight", 0.3, "--scales", 24, "--style-blend", "2,1"
    assert paint(network, *more, styles=("painting.png", "photo.png"), output=output) == 0
    capfd.readouterr()
    assert run("rerun", output, "-o", f"again{output}") == 0
    assert Path(f"again{output}").read_bytes() == Path(output).read_bytes()
    assert re.search(rf"the same as {output}, pixel for pixel\n$", capfd.readouterr().err)


def test_options_without_a_command_line_option_are_kept(folder, network):
    Path("mine.toml").write_text("variables = 'pixels'\nhistory = 3\n")
    assert paint(network, "--options", "mine.toml") == 0
    assert recipes.read_recipe("out.png").options == Options(
        size=32, iterations=2, device="cpu", threads=1, variables="pixels", history=3
    )
    assert run("rerun", "out.png", "--quiet") == 0
    np.testing.assert_array_equal(images.read("out-rerun.png").rgb, images.read("out.png").rgb)


def test_a_report_and_a_start_serve_as_well(folder, network):
    assert paint(network, "--init", "painting.png", "--report", "run.json", output="out.webp") == 0
    assert run("rerun", "run.json", "-o", "again.webp") == 0
    np.testing.assert_array_equal(images.read("again.webp").rgb, images.read("out.webp").rgb)


def test_a_folder_may_move_as_a_whole(folder, network, monkeypatch):
    Path("old/results").mkdir(parents=True)
    Path("painting.png").rename("old/painting.png")
    Path("photo.png").rename("old/photo.png")
    (folder / "old" / "mine.onnx").write_bytes(Path(network).read_bytes())
    assert (
        paint(
            "old/mine.onnx",
            content="old/photo.png",
            styles=("old/painting.png",),
            output="old/results/out.png",
        )
        == 0
    )
    assert str(folder).encode() not in Path("old/results/out.png").read_bytes()
    Path("old").rename("new")
    monkeypatch.chdir(folder / "new" / "results")
    assert run("rerun", "out.png") == 0
    assert Path("out-rerun.png").is_file()


def test_inputs_may_move(folder, network, capfd):
    assert paint(network) == 0
    Path("photo.png").rename("moved.png")
    Path("painting.png").rename("art.png")
    capfd.readouterr()
    assert run("rerun", "out.png", "--style", "art.png") == 2
    one_error(capfd, r"photo\.png: the content of out\.png is not there: say where it is with --content")
    assert run("rerun", "out.png", "--content", "moved.png", "--style", "art.png") == 0
    assert run("rerun", "out.png", "--content", "moved.png", "--style", "a.png", "--style", "b.png") == 2


def test_a_changed_input_is_refused(folder, network, capfd):
    assert paint(network) == 0
    save("painting.png", photo())
    capfd.readouterr()
    before = contents(folder)
    assert run("rerun", "out.png") == 2
    one_error(capfd, r"painting\.png: has changed since out\.png was made.*--style")
    assert contents(folder) == before


def test_a_changed_network_is_refused(folder, network, capfd):
    model = onnx.load(network)
    Path("mine.onnx").write_bytes(Path(network).read_bytes())
    assert paint("mine.onnx") == 0
    weights = next(t for t in model.graph.initializer if t.name.startswith("conv1_1") and len(t.dims) == 4)
    changed = numpy_helper.to_array(weights).copy()
    changed.flat[0] += 1
    weights.CopyFrom(numpy_helper.from_array(changed, weights.name))
    onnx.save(model, "mine.onnx")
    capfd.readouterr()
    assert run("rerun", "out.png") == 2
    one_error(capfd, r"out\.png was made with other weights.*--network")
    assert run("rerun", "out.png", "--network", network) == 0


def test_pictures_without_a_recipe(folder, network, capfd):
    for options in ((), ("--no-recipe",)):
        if options:
            assert paint(network, *options) == 0
            capfd.readouterr()
        assert run("rerun", "out.png" if options else "photo.png") == 2
        one_error(capfd, "holds no recipe")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text[:50], "its recipe is damaged"),
        (lambda text: "[]", "its recipe is damaged"),
        (lambda text: text.replace('"size": 32', '"size": 3'), "size must be.*made by lbfgs-style"),
        (lambda text: text.replace('"seed"', '"sed"'), "no option 'sed'.*made by lbfgs-style"),
        (
            lambda text: text.replace('"variables": "decorrelated"', '"variables": "laplacian"'),
            "variables must be.*no longer has it: use 'decorrelated'.*made by lbfgs-style",
        ),
    ],
)
def test_a_damaged_recipe_is_one_line(folder, network, capfd, change, says):
    assert paint(network) == 0
    text = read_text(Path("out.png").read_bytes())
    Path("bad.png").write_bytes(write_text(encoded(".png"), change(text)))
    capfd.readouterr()
    assert run("rerun", "bad.png") == 2
    one_error(capfd, says)


def test_the_original_is_never_overwritten(folder, network, capfd):
    assert paint(network) == 0
    for target in ("out.png", "photo.png"):
        capfd.readouterr()
        assert run("rerun", "out.png", "-o", target) == 2
        one_error(capfd, "would be overwritten, but is one of the inputs")


def test_another_version_is_reported(folder, network, capfd):
    assert paint(network) == 0
    text = read_text(Path("out.png").read_bytes())
    old = json.dumps(json.loads(text) | {"program": "lbfgs-style 0.0.1"})
    Path("old.png").write_bytes(write_text(encoded(".png"), old))
    capfd.readouterr()
    assert run("rerun", "old.png") == 0
    err = capfd.readouterr().err
    assert "made by lbfgs-style 0.0.1, and this is" in err
    assert "differs from old.png by" in err


def test_from_python(folder, network):
    options = Options(size=32, iterations=2, device="cpu", threads=1)
    result = StyleTransfer(network, options=options).run(
        images.read("photo.png"), images.read("painting.png").rgb
    )
    recipes.save("out.jpg", result, recipes.inputs_of("photo.png", ["painting.png"], network=network))
    again = rerun.prepare("out.jpg")
    assert again.recipe.options == replace(options)
    np.testing.assert_array_equal(again.run().image, result.image)


def test_the_layers_of_a_recipe_are_those_of_its_run(folder, network, capfd):
    """The network's own choice may be another by now; the layers of the run are what is repeated."""
    assert paint(network) == 0
    model = onnx.load(network)
    for entry in model.metadata_props:
        if entry.key == "lbfgs_style.style_layers":
            before, entry.value = entry.value, entry.value.split(",")[0]
    onnx.save(model, network)
    assert run("rerun", "out.png", "-o", "again.png", "--quiet") == 0
    np.testing.assert_array_equal(images.read("again.png").rgb, images.read("out.png").rgb)
    assert recipes.read_recipe("again.png").options.style_layers == tuple(before.split(","))


@pytest.mark.parametrize("is_known", [True, False])
def test_a_recipe_of_an_earlier_network_says_where_it_is(folder, network, capfd, monkeypatch, is_known):
    assert paint(network) == 0
    sha256 = recipes.read_recipe("out.png").network_sha256
    monkeypatch.setattr(rerun, "EARLIER_COMPACT", {sha256: "f14d042"} if is_known else {})
    capfd.readouterr()
    assert run("rerun", "out.png", "--network", "compact") == 2
    says = r"an earlier 'compact', which `git show f14d042:models/compact\.onnx > old\.onnx` gets"
    one_error(capfd, says if is_known else "name the network with --network")


# From Python

SMALL_RUN = Options(size=32, iterations=2, device="cpu", threads=1)


def test_a_result_that_python_saves_has_its_recipe(folder, network):
    """Of files the names and fingerprints, relative to the folder of the image."""
    Path("results").mkdir()
    job = StyleTransfer(network, options=SMALL_RUN)
    result = job.run("photo.png", [Path("painting.png")])
    result.save("results/out.png")
    recipe = recipes.read_recipe("results/out.png")
    assert recipe.inputs.content.path == "../photo.png"
    assert recipe.options == SMALL_RUN
    assert run("rerun", "results/out.png", "-o", "again.png", "-q") == 0
    np.testing.assert_array_equal(cv2.imread("again.png"), cv2.imread("results/out.png"))
    result.save("plain.png", recipe=False)
    assert read_text(Path("plain.png").read_bytes()) is None


def test_the_recipe_of_arrays_asks_for_their_files(folder, network, capfd):
    job = StyleTransfer(network, options=SMALL_RUN)
    style = Style(images.read("painting.png"), weight=2, scale=0.5, mask="photo.png")
    job.run(images.to_array(images.read("photo.png")), style).save("out.png")
    recipe = recipes.read_recipe("out.png")
    assert [source.path for _, source in recipe.inputs] == ["array", "array", "photo.png"]
    assert run("rerun", "out.png", "-o", "again.png") == 2
    one_error(capfd, "The content of out.png was an array: name a file that has it with --content")
    named = ("--content", "photo.png", "--style", "painting.png")
    assert run("rerun", "out.png", "-o", "again.png", *named, "-q") == 0
    np.testing.assert_array_equal(cv2.imread("again.png"), cv2.imread("out.png"))


def test_a_file_that_changed_is_noticed_in_the_recipe_of_python(folder, network, capfd):
    StyleTransfer(network, options=SMALL_RUN).run("photo.png", "painting.png").save("out.jpg", quality=80)
    assert recipes.read_recipe("out.jpg").quality == 80
    save("photo.png", photo()[::-1])
    assert run("rerun", "out.jpg") == 2
    one_error(capfd, "photo.png: has changed since out.jpg was made")
