"""The command: what it writes and prints, and how its options reach the library."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import re
import struct
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import typer
from onnx import numpy_helper
from typer.testing import CliRunner

import lbfgs_style
from lbfgs_style import OptionError, Options, StyleTransfer, images
from lbfgs_style.cli import app, transfer
from lbfgs_style.native import library
from tests.helpers.command import ROOT, contents, one_error, paint, photo, run, save, start

# The names of layers bring their weights along, and a preset its losses.
NOT_OFFERED = {"variables", "history", "range_weight", "content_layer_weights", "style_layer_weights", "loss"}
PARAMETERS = inspect.signature(transfer.transfer).parameters


# What it writes


@pytest.mark.parametrize(
    ("output", "begins"),
    [
        ("out.png", rb"\x89PNG\r\n"),
        ("out.jpg", rb"\xff\xd8\xff"),
        ("out.webp", rb"RIFF....WEBP"),
        ("out.tiff", rb"II\*\x00|MM\x00\*"),
        ("out.avif", rb"....ftypavif"),
    ],
)
def test_the_extension_chooses_the_format(folder, network, output, begins):
    assert paint(network, output=output) == 0
    assert re.match(begins, (folder / output).read_bytes(), re.DOTALL)
    assert images.read(output).rgb.shape == (27, 32, 3)


def test_the_command_paints_what_the_library_paints(folder, network):
    assert paint(network, "--content-weight", 0.01, "--scales", 24) == 0
    options = Options(size=32, scales=(24,), iterations=2, content_weight=0.01, device="cpu", threads=1)
    result = StyleTransfer(network, options=options).run(
        images.read("photo.png"), images.read("painting.png").rgb
    )
    written = np.rint(255 * images.read("out.png").rgb).astype(np.uint8)
    np.testing.assert_array_equal(written, result.image)


def test_the_longer_side_is_the_size(folder, network):
    save("upright.png", photo(40, 30))
    assert paint(network, content="upright.png") == 0
    assert images.read("out.png").rgb.shape == (32, 24, 3)
    assert paint(network, "--size", "full", content="upright.png") == 0
    assert images.read("out.png").rgb.shape == (40, 30, 3)


def test_16_bits_stay_16_bits(folder, network):
    save("deep.png", photo().astype(np.uint16) * 256 + 77)
    assert paint(network, content="deep.png") == 0
    written = cv2.imread("out.png", cv2.IMREAD_UNCHANGED)
    assert written.dtype == np.uint16
    assert (written % 257 != 0).mean() > 0.9  # not 8 bits blown up


def test_grey_stays_grey(folder, network):
    save("grey.png", photo()[..., 0])
    assert paint(network, content="grey.png", styles=("grey.png", "painting.png")) == 0
    assert cv2.imread("out.png", cv2.IMREAD_UNCHANGED).shape == (27, 32)


def test_alpha_is_kept(folder, network):
    alpha = np.arange(27 * 32).reshape(27, 32, 1) % 256
    save("glass.png", np.concatenate([photo(), alpha], axis=2).astype(np.uint8))
    assert paint(network, content="glass.png", styles=("glass.png",)) == 0
    written = cv2.imread("out.png", cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(written[..., 3], alpha[..., 0])


def test_a_photo_that_lies_on_its_side_is_put_upright(folder, network):
    _, encoded = cv2.imencode(".jpg", photo())
    # One directory entry: tag 0x0112 (orientation), type 3 (short), one value, 6 (turn clockwise).
    tiff = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    block = b"Exif\0\0" + tiff
    data = encoded.tobytes()
    segment = b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block
    Path("turned.jpg").write_bytes(data[:2] + segment + data[2:])
    assert paint(network, content="turned.jpg") == 0
    assert images.read("out.png").rgb.shape == (32, 27, 3)


def test_a_picture_to_start_from(folder, network):
    save("white.png", np.full((20, 20, 3), 255, np.uint8))
    assert paint(network, "--iterations", 1, "--init", "white.png") == 0
    assert images.read("out.png").rgb.mean() > 0.9
    assert paint(network, "--iterations", 1) == 0
    assert images.read("out.png").rgb.mean() < 0.6


def test_an_old_output_is_replaced(folder, network):
    Path("out.png").write_bytes(b"old")
    before = set(contents(folder))
    assert paint(network) == 0
    assert images.read("out.png").rgb.shape == (27, 32, 3)
    assert set(contents(folder)) == before


def test_the_report_is_complete(folder, network):
    assert paint(network, "--scales", 24, "--report", "run.json") == 0
    report = json.loads(Path("run.json").read_text())
    assert set(report) == {
        "files",
        "program",
        "options",
        "style_weights",
        "style_scales",
        "masks",
        "size",
        "network",
        "provider",
        "operators",
        "resumed",
        "versions",
        "seconds",
        "evaluations",
        "stop_reason",
        "stop_explanation",
        "scales",
        "history",
        "term_history",
        "sha256",
        "quality",
    }
    assert set(report["options"]) == {field.name for field in fields(Options)}
    assert report["files"] == {
        "content": "photo.png",
        "styles": ["painting.png"],
        "style_masks": [None],
        "painting_masks": [None],
        "keep_mask": None,
        "content_map": None,
        "face_mask": None,
        "init": None,
        "preview": None,
        "network": network,
        "output": "out.png",
    }
    assert (report["style_scales"], report["masks"]) == (
        [1],
        {"styles": [False], "paintings": [False], "keep": False, "content": False},
    )
    assert report["size"] == [27, 32]
    assert [scale["size"] for scale in report["scales"]] == [[20, 24], [27, 32]]
    assert len(report["history"]) == 4
    assert set(contents(folder)) == {"photo.png", "painting.png", "out.png", "run.json"}


def test_the_report_names_the_start_and_the_blend(folder, network):
    more = "--init", "painting.png", "--style-blend", "2,0.5", "--report", "run.json"
    assert paint(network, *more, styles=("painting.png", "photo.png")) == 0
    report = json.loads(Path("run.json").read_text())
    assert report["options"]["init"] == "picture"
    assert report["files"]["init"] == "painting.png"
    assert report["files"]["styles"] == ["painting.png", "photo.png"]
    assert report["style_weights"] == [2, 0.5]


def test_the_bundled_network_paints_from_a_shell(folder):
    more = ("--size", 32, "--iterations", 2, "--threads", 1)
    process = start("transfer", "photo.png", "painting.png", "-o", "out.png", *more)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out == ""
    assert images.read("out.png").rgb.shape == (27, 32, 3)
    assert re.search(
        r"^lbfgs-style: out\.png: 32×27, \d+ evaluations in \d+\.\d s on \w+: all iterations are done$",
        err,
        re.MULTILINE,
    )


def test_what_a_mask_keeps_is_the_photo_s(folder, network):
    """The left half by a mask of another size, then what is transparent."""
    photo_array = photo()
    save("left.png", np.tile(np.where(np.arange(64) < 32, 255, 0).astype(np.uint8), (54, 1)))
    assert paint(network, "--keep-mask", "left.png") == 0
    image = cv2.imread("out.png")[..., ::-1]
    np.testing.assert_array_equal(image[:, :16], photo_array[:, :16])
    assert np.abs(image[:, 16:].astype(int) - photo_array[:, 16:]).mean() > 1
    alpha = np.where(np.arange(32) < 8, 0, 255) * np.ones((27, 1))
    save("glass.png", np.dstack([photo_array, alpha.astype(np.uint8)]))
    assert paint(network, "--keep-mask", "alpha", content="glass.png") == 0
    image = cv2.imread("out.png", cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(image[:, :8, 2::-1], photo_array[:, :8])
    assert np.abs(image[:, 8:, 2::-1].astype(int) - photo_array[:, 8:]).mean() > 1
    np.testing.assert_array_equal(image[..., 3], alpha)


# What it prints


def test_presets_are_listed_one_on_a_line(capsys):
    assert run("presets") == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    names = ["default", "gatys", "keras", "tensorflow", "mean-squares", "gluon", "neural-style"]
    assert [row[0] for row in rows] == names
    assert {len(row) for row in rows} == {11}
    by_name = dict(zip(names, rows, strict=True))
    assert by_name["default"][3] == "‖F−P‖² / ‖P‖²"
    assert by_name["default"][4].startswith("moments: mean of ‖G−A‖² / ‖A‖²")
    assert by_name["keras"][5] == "Σ (a²+b²)^1.25, pixels of 0–255"
    assert by_name["keras"][4] == "0.02778 ‖G−A‖² M^2 (H W)^-2, mean of layers"
    assert by_name["tensorflow"][6] == "10000, 0.01, 30"
    assert by_name["gatys"][2] == "vgg19-caffe, average pooling"
    assert by_name["default"][10] == "–"
    assert by_name["gluon"][10].startswith("--style-weight 10000 --style-layers relu1_1:1,relu2_1:20,")


def test_presets_are_complete_on_a_narrow_terminal(capsys, monkeypatch):
    """Nothing is cut: formulas and layers are there to be read and typed again."""
    assert run("presets") == 0
    cells = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert run("presets") == 0
    lines = re.sub("\x1b\\[[0-9]+m", "", capsys.readouterr().out).splitlines()
    assert len(lines) == sum(map(len, cells))
    for line, cell in zip(lines, (cell for row in cells for cell in row), strict=True):
        assert line.endswith(cell)
    assert [line for line in lines if not line.startswith(" ")] == [row[0] for row in cells]


def test_a_preset_on_another_network_warns_about_its_units(folder, network, capfd):
    assert paint(network, "--preset", "gluon") == 0
    assert re.search(r"preset gluon are made for vgg16; .*--style-weight", capfd.readouterr().err)
    assert paint(network, "--preset", "gluon", "--content-layers", "relu9_1") == 2
    one_error(capfd, "no layer 'relu9_1'")  # no warning about units where nothing is painted
    assert paint(network, "--preset", "gluon", "--quiet") == 0
    assert capfd.readouterr() == ("", "")


def test_quiet_says_nothing(folder, network, capfd):
    assert paint(network, "--quiet") == 0
    assert capfd.readouterr() == ("", "")


def test_lines_for_a_log(folder, network, capfd):
    assert paint(network, "--iterations", 5) == 0
    out, err = capfd.readouterr()
    assert out == ""
    *progress, last = err.splitlines()
    assert len(progress) == 5
    for n, line in enumerate(progress, 1):
        assert re.fullmatch(
            rf"scale 1/1 32×27  iteration {n}/5  loss \d+(\.\d+)?(e[+-]\d+)?(  \d+:\d\d left)?", line
        )
    assert re.fullmatch(
        r"lbfgs-style: out\.png: 32×27, \d+ evaluations in \d+\.\d s on CPU: all .* done", last
    )


def test_verbose_names_every_term(folder, network, capfd):
    assert paint(network, "--verbose", "--style-layers", "relu2_1", "--content-layers", "relu1_1") == 0
    line = next(line for line in capfd.readouterr().err.splitlines() if line.startswith("scale"))
    assert re.search(
        r"loss \S+(  \S+ left)?  content relu1_1 \S+  style relu2_1 \S+  tv \S+  range \S+$", line
    )


def test_the_version():
    result = CliRunner().invoke(app.app, ["--version"])
    assert result.exit_code == 0
    assert result.output == f"lbfgs-style {lbfgs_style.__version__} ({library.describe()})\n"


def test_without_arguments_there_is_help_and_nothing_else(capfd):
    for arguments in ((), ("networks",)):
        assert run(*arguments) == 2
        out, err = capfd.readouterr()
        assert "Usage" in out
        assert err == ""


def test_help_names_every_option(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    result = CliRunner().invoke(app.app, ["transfer", "--help"])
    assert result.exit_code == 0
    text = re.sub(r"\x1b\[[0-9;]*m", "", result.output)
    command = typer.main.get_command(app.app).commands["transfer"]
    offered = [name for parameter in command.params for name in parameter.opts if name.startswith("--")]
    assert len(offered) > 15
    assert {"--content-weight", "--options", "--recipe"} < set(offered)
    for name in offered:
        assert f"{name} " in text
    assert "CONTENT" in text
    assert "STYLE" in text


def test_the_command_offers_the_library_s_options_with_its_defaults():
    defaults = Options()
    names = {field.name for field in fields(Options)}
    assert names - set(PARAMETERS) == NOT_OFFERED
    for name in names - NOT_OFFERED:
        expected = getattr(defaults, name)
        assert PARAMETERS[name].default in (expected, str(expected)), name
    assert PARAMETERS["network"].default == inspect.signature(StyleTransfer).parameters["network"].default


def captured(monkeypatch):
    """Record the arguments that the command passes to the library, and end the run there."""
    seen = {}

    class Caught:
        def __init__(self, network, *, options, keep_sessions):
            seen.update(network=network, options=options)

        def run(
            self,
            content,
            styles,
            *,
            init,
            preview,
            keep,
            content_map,
            face_mask,
            on_iterate,
            cancel,
            checkpoint,
        ):
            seen.update(content=content, styles=styles, init=init, keep=keep, content_map=content_map)
            seen.update(face_mask=face_mask)
            raise OptionError("enough")

    monkeypatch.setattr(transfer, "StyleTransfer", Caught)
    return seen


def test_every_option_arrives(folder, network, monkeypatch):
    seen = captured(monkeypatch)
    typed = {
        "--network": network,
        "--size": 48,
        "--scales": "24,36",
        "--iterations": "5,4,3",
        "--content-weight": 0.5,
        "--style-weight": 7,
        "--tv-weight": 0.25,
        "--content-layers": "relu2_1, relu2_2",
        "--style-layers": "relu1_1:2,relu3_1",
        "--init": "style",
        "--init-noise": 0.25,
        "--seed": 12,
        "--preserve-color": "match",
        "--color-match": "pca",
        "--device": "cpu",
        "--threads": 2,
        "--convolution": "direct",
        "--style-blend": "2,0.5",
        "--style-scale": "0.5,1",
        "--keep-mask": "photo.png",
        "--content-map": "other.png",
        "--face-mask": "photo.png",
        "--tv-power": 1.25,
        "--style-statistic": "wasserstein",
        "--pooling": "l2",
        "--optimizer": "adam",
        "--learning-rate": 0.5,
        "--memory": "1.5GB",
    }
    save("other.png", photo(20, 20))
    save("left.png", np.tile(np.where(np.arange(8) < 4, 255, 0).astype(np.uint8), (6, 1)))
    flat = [part for pair in typed.items() for part in pair]
    flat += ["--style-mask", "left.png", "--style-mask", "rest"]
    assert run("transfer", "photo.png", "painting.png", "other.png", "-o", "out.png", *flat) == 2
    assert seen["options"] == Options(
        size=48,
        scales=(24, 36),
        iterations=(5, 4, 3),
        content_weight=0.5,
        style_weight=7,
        tv_weight=0.25,
        content_layers=("relu2_1", "relu2_2"),
        style_layers=("relu1_1", "relu3_1"),
        style_layer_weights=(2, 1),
        tv_power=1.25,
        style_statistic="wasserstein",
        pooling="l2",
        optimizer="adam",
        learning_rate=0.5,
        memory=1_500_000_000,
        init="style",
        init_noise=0.25,
        seed=12,
        preserve_color="match",
        color_match="pca",
        device="cpu",
        threads=2,
        convolution="direct",
    )
    assert seen["network"].path == Path(network)
    assert [style.weight for style in seen["styles"]] == [2, 0.5]
    assert [style.image.rgb.shape for style in seen["styles"]] == [(24, 24, 3), (20, 20, 3)]
    assert [style.scale for style in seen["styles"]] == [0.5, 1]
    first, second = (style.mask for style in seen["styles"])
    assert (first.rgb[:, 3:5, 0] == [1, 0]).all()
    assert second is None
    assert seen["content_map"].rgb.shape == (20, 20, 3)
    assert seen["face_mask"].rgb.shape == (27, 32, 3)
    assert seen["keep"].rgb.shape == seen["content"].rgb.shape == (27, 32, 3)
    assert seen["init"] is None


def test_options_override_the_preset(folder, network, monkeypatch):
    """Also where it is the default's own value."""
    seen = captured(monkeypatch)
    more = (
        "--content-weight",
        0.1,
        "--optimizer",
        "lbfgs",
        "--style-layers",
        "relu1_1:3",
        "--network",
        network,
    )
    assert run("transfer", "photo.png", "painting.png", "-o", "out.png", "--preset", "keras", *more) == 2
    expected = dataclasses.replace(
        Options.preset("keras"),
        content_weight=0.1,
        optimizer="lbfgs",
        style_layers=("relu1_1",),
        style_layer_weights=(3,),
    )
    assert seen["options"] == expected
    assert expected.iterations == 4000


def test_without_options_the_library_decides(folder, monkeypatch):
    seen = captured(monkeypatch)
    assert run("transfer", "photo.png", "painting.png", "-o", "out.png") == 2
    assert seen["options"] == Options()
    assert seen["network"].name == "compact"
    assert [style.weight for style in seen["styles"]] == [1]


# Networks


def test_networks_are_listed_one_on_a_line(folder, capsys):
    assert run("networks", "list") == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows] == [
        "compact",
        "vgg19",
        "vgg16",
        "vgg19-caffe",
        "vgg16-caffe",
        "squeezenet",
        "yunet",
    ]
    assert {len(row) for row in rows} == {4}
    assert rows[0][1].endswith("compact.onnx")
    assert "CC BY 4.0" in rows[3][3]


def test_networks_info_prints_the_metadata(network, capsys):
    assert run("networks", "info", network) == 0
    out = capsys.readouterr().out
    lines = dict(line.split(":", 1) for line in out.splitlines())
    lines = {key: value.strip() for key, value in lines.items()}
    assert lines["name"] == "small"
    assert lines["file"] == network
    assert lines["licence"] == "none"
    assert re.fullmatch("[0-9a-f]{64}", lines["weights sha256"])
    assert lines["style layers"] == "relu1_1 relu2_1 relu3_1 relu4_1 relu5_1"
    assert lines["content layers"] == "relu4_2"
    assert "layers:\n  relu1_1: 4 channels, stride 1, sees 3 pixels across\n  relu1_2: " in out


def test_networks_verify_accepts_the_bundled_network(capsys):
    assert run("networks", "path", "compact") == 0
    path = Path(capsys.readouterr().out.rstrip("\n"))
    assert path.is_file()
    assert run("networks", "verify", "compact") == 0
    assert capsys.readouterr().out == f"compact: ok ({path})\n"
    assert run("networks", "info", "compact") == 0
    assert "\nstyle layers:   relu1_1 " in capsys.readouterr().out


def test_networks_verify_detects_changed_weights(network, tmp_path, capfd):
    model = onnx.load(network)
    weights = next(t for t in model.graph.initializer if t.name.startswith("conv1_1") and len(t.dims) == 4)
    changed = numpy_helper.to_array(weights).copy()
    changed.flat[0] += 1
    weights.CopyFrom(numpy_helper.from_array(changed, weights.name))
    onnx.save(model, tmp_path / "changed.onnx")
    assert run("networks", "verify", tmp_path / "changed.onnx") == 2
    one_error(capfd, "'small' were damaged or changed")


def test_a_dry_run_says_what_would_be_done(folder, network, capfd):
    before = contents(folder)
    assert paint(network, "--scales", 24, "--iterations", "7,5", "--dry-run") == 0
    assert contents(folder) == before
    printed, errors = capfd.readouterr()
    head, coarse, fine, total = printed.splitlines()
    assert head.split() == ["scale", "size", "iterations", "work", "history", "memory", "time"]
    assert coarse.split()[:5] == ["1", "24×20", "7", "whole", "7"]
    assert fine.split()[:5] == ["2", "32×27", "5", "whole", "5"]
    assert re.fullmatch(r"about \d+ s and at most 2\d\d MB of memory", total)
    assert errors == ""


def test_first_order_methods_have_no_history(folder, network, capfd):
    assert paint(network, "--optimizer", "adam", "--dry-run") == 0
    head, scale = capfd.readouterr().out.splitlines()[:2]
    assert scale[head.index("history") :].split() == scale.split()[-4:]  # amount, unit, seconds, unit


def test_a_dry_run_names_blocks(folder, network, capfd):
    save("large.png", np.resize(photo(), (700, 800, 3)))
    assert paint(network, "--size", "full", "--dry-run", "--memory", "420MB", content="large.png") == 0
    last = capfd.readouterr().out.splitlines()[-2]
    count, kind = last.split()[3:5]
    assert (int(count) > 1, kind) == (True, "blocks")


def test_too_little_memory_is_refused_before_the_run(folder, network, capfd):
    assert paint(network, "--memory", "100MB") == 2
    one_error(capfd, r"does not fit into 100 MB of memory: expected at least \d+ MB; .*--memory")
    assert "out.png" not in contents(folder)


def test_too_little_memory_is_reported_for_the_largest_scale(folder, network, capfd):
    assert paint(network, "--size", 4096, "--iterations", 4, "--memory", "300MB") == 2
    one_error(capfd, r"An image of 4096×3456 pixels does not fit into 300 MB of memory")


# Comforts


def test_short_flags_are_the_long_ones(folder, network, monkeypatch):
    seen = captured(monkeypatch)
    arguments = ("photo.png", "painting.png", "-o", "out.png", "-n", network, "-s", 48, "-i", 7, "-d", "cpu")
    assert run("transfer", *arguments, "-f", "-m", "2GB", "-t", 0.7) == 2
    assert seen["options"] == Options(
        size=48, iterations=7, device="cpu", fast=True, memory=2_000_000_000, strength=0.7
    )
    assert run("transfer", *arguments, "-l", "fine", "-c", 0.5, "-w", 2) == 2
    assert (seen["options"].content_weight, seen["options"].style_weight) == (0.5, 2)
    assert seen["styles"][0].scale == 0.5
    assert run("transfer", *arguments[:6], "-p", "gatys") == 2
    assert seen["options"].loss == "gatys"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("lbfgs-style transfer --pooling a", ["average"]),
        ("lbfgs-style transfer --style-statistic m", ["mean-cov", "moments"]),
        ("lbfgs-style transfer --look b", ["bold"]),
        ("lbfgs-style transfer --preset ke", ["keras"]),
        ("lbfgs-style transfer --network vgg16", ["vgg16", "vgg16-caffe"]),
        ("lbfgs-style ba", ["batch"]),
    ],
)
def test_values_are_completed(folder, words, expected):
    """As bash asks for them when TAB is pressed."""
    count = len(words.split()) - 1
    completion = {
        "_LBFGS_STYLE_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(count),
        "PYTHONPATH": str(ROOT),
    }
    code = "import sys; sys.argv[0] = 'lbfgs-style'; from lbfgs_style.__main__ import main; main()"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=os.environ | completion, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == expected


def test_help_has_examples_and_choices(folder, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    assert run("transfer", "--help") == 0
    out = capsys.readouterr().out
    assert "max|average|l2" in out
    for option in ("--fast", "--look bold", "--style-blend 2,1", "--face-mask faces.png"):
        assert option in out.partition("Examples:")[2]


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        (("transfer", "a", "b", "-o", "c", "--sizee", 3), "lbfgs-style transfer --help"),
        (("networks", "pull"), "lbfgs-style networks pull --help"),
        (("nonsense",), "lbfgs-style --help"),
    ],
)
def test_a_usage_error_names_its_help(folder, capfd, arguments, where):
    assert run(*arguments) == 2
    one_error(capfd, re.escape(f"(see {where})"))
