from __future__ import annotations

import inspect
import json
import os
import re
import signal
import struct
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from small_networks import small_vgg
from typer.testing import CliRunner

import lbfgs_style
from lbfgs_style import OptionError, Options, StyleTransfer, cli, images

NOT_OFFERED = {"variables", "history"}
PARAMETERS = inspect.signature(cli.transfer).parameters


def photo(height=27, width=32):
    y, x = np.mgrid[:height, :width] / max(height, width)
    return np.rint(255 * np.stack([x, y, (x + y) / 2], axis=2)).astype(np.uint8)


@pytest.fixture(autouse=True)
def silent_opencv():
    """As `cli.main` has it, which is not called here."""
    logging = cv2.utils.logging
    level = logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    yield
    logging.setLogLevel(level)


def save(name, array):
    images.write(name, images.from_array(array))


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("networks") / "small.onnx"
    onnx.save(small_vgg().model, path)
    return str(path)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a photo and a painting in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LBFGS_STYLE_CACHE", str(tmp_path / "cache"))
    save("photo.png", photo())
    stripes = np.where(np.arange(24)[:, None, None] // 3 % 2, [200, 40, 20], [20, 60, 180])
    save("painting.png", np.broadcast_to(stripes, (24, 24, 3)).astype(np.uint8))
    return tmp_path


def run(*arguments):
    return cli._exit_code(lambda: cli.app([str(a) for a in arguments], standalone_mode=False))


def paint(network, *more, content="photo.png", styles=("painting.png",), output="out.png"):
    given = ("--network", network, "--size", 32, "--iterations", 2, "--device", "cpu", "--threads", 1)
    return run("transfer", content, *styles, "-o", output, *given, *more)


def contents(folder):
    return {path.name: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def start(*arguments, **options):
    """Start the command as a process of its own, as a shell would."""
    here = str(Path(lbfgs_style.__file__).parents[1])
    path = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, "-m", "lbfgs_style", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=os.environ | {"PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"},
        **options,
    )


# What it writes


@pytest.mark.parametrize(
    ("output", "begins"),
    [
        ("out.png", rb"\x89PNG\r\n"),
        ("out.jpg", rb"\xff\xd8\xff"),
        ("out.webp", rb"RIFF....WEBP"),
        ("out.tiff", rb"II\*\x00|MM\x00\*"),
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
        "program",
        "options",
        "size",
        "network",
        "provider",
        "versions",
        "seconds",
        "evaluations",
        "stop_reason",
        "stop_explanation",
        "scales",
        "history",
    }
    assert set(report["options"]) == {field.name for field in fields(Options)}
    assert report["size"] == [27, 32]
    assert [scale["size"] for scale in report["scales"]] == [[20, 24], [27, 32]]
    assert len(report["history"]) == 4
    assert set(contents(folder)) == {"photo.png", "painting.png", "out.png", "run.json"}


def test_the_bundled_network_paints_from_a_shell(folder):
    more = ("--size", 32, "--iterations", 2, "--threads", 1)
    process = start("transfer", "photo.png", "painting.png", "-o", "out.png", *more)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out == ""
    assert images.read("out.png").rgb.shape == (27, 32, 3)
    assert re.search(
        r"^lbfgs-style: out\.png: 32×27, \d+ evaluations in \d+\.\d s on \w+$", err, re.MULTILINE
    )


# What it says


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
            rf"scale 1/1 32×27  iteration {n}/5  loss \d+(\.\d+)?(e[+-]\d+)?  \d+:\d\d left", line
        )
    assert re.fullmatch(r"lbfgs-style: out\.png: 32×27, \d+ evaluations in \d+\.\d s on CPU", last)


def test_verbose_names_every_term(folder, network, capfd):
    assert paint(network, "--verbose", "--style-layers", "relu2_1", "--content-layers", "relu1_1") == 0
    line = capfd.readouterr().err.splitlines()[0]
    assert re.search(r"left  content relu1_1 \S+  style relu2_1 \S+  tv \S+$", line)


def test_the_version():
    result = CliRunner().invoke(cli.app, ["--version"])
    assert result.exit_code == 0
    assert result.output == f"lbfgs-style {lbfgs_style.__version__}\n"


def test_without_arguments_there_is_help_and_nothing_else(capfd):
    for arguments in ((), ("networks",)):
        assert run(*arguments) == 2
        out, err = capfd.readouterr()
        assert "Usage" in out
        assert err == ""


def test_help_names_every_option(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    result = CliRunner().invoke(cli.app, ["transfer", "--help"])
    assert result.exit_code == 0
    text = re.sub(r"\x1b\[[0-9;]*m", "", result.output)
    offered = [name for name in PARAMETERS if name not in ("content", "styles")]
    assert len(offered) > 15
    for name in offered:
        assert f"--{name.replace('_', '-')} " in text
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
    """Catch what the command hands to the library."""
    seen = {}

    class Caught:
        def __init__(self, network, *, options, keep_sessions):
            seen.update(network=network, options=options)

        def run(self, content, styles, *, init, on_iterate, cancel):
            seen.update(content=content, styles=styles, init=init)
            raise OptionError("enough")

    monkeypatch.setattr(cli, "StyleTransfer", Caught)
    return seen


def test_every_option_arrives(folder, network, monkeypatch):
    seen = captured(monkeypatch)
    given = {
        "--network": network,
        "--size": 48,
        "--scales": "24,36",
        "--iterations": "5,4,3",
        "--content-weight": 0.5,
        "--style-weight": 7,
        "--tv-weight": 0.25,
        "--content-layers": "relu2_1, relu2_2",
        "--style-layers": "relu1_1,relu3_1",
        "--init": "noise",
        "--seed": 12,
        "--device": "cpu",
        "--threads": 2,
        "--style-blend": "2,0.5",
    }
    save("other.png", photo(20, 20))
    flat = [part for pair in given.items() for part in pair]
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
        init="noise",
        seed=12,
        device="cpu",
        threads=2,
    )
    assert seen["network"] == network
    assert [style.weight for style in seen["styles"]] == [2, 0.5]
    assert [style.image.shape for style in seen["styles"]] == [(24, 24, 3), (20, 20, 3)]
    assert seen["content"].rgb.shape == (27, 32, 3)
    assert seen["init"] is None


def test_without_options_the_library_decides(folder, monkeypatch):
    seen = captured(monkeypatch)
    assert run("transfer", "photo.png", "painting.png", "-o", "out.png") == 2
    assert seen["options"] == Options()
    assert seen["network"] == "compact"
    assert [style.weight for style in seen["styles"]] == [1]


# What it refuses

FAILURES = [
    ("nothing.png painting.png -o out.png", r"nothing\.png: no such file"),
    ("phto.png painting.png -o out.png", r"Did you mean 'photo\.png'\?"),
    ("photo.png nothing.png -o out.png", r"nothing\.png: no such file"),
    ("text.jpg painting.png -o out.png", r"text\.jpg: damaged, cut short, or of a format"),
    ("photo.png text.jpg -o out.png", r"text\.jpg: damaged, cut short, or of a format"),
    ("folder painting.png -o out.png", r"folder: is a folder"),
    ("photo.png painting.png -o out.gif", r"'\.gif'; expected one of \.png"),
    ("photo.png painting.png -o out", r"no extension"),
    ("photo.png painting.png -o missing/out.png", r"missing does not exist: create it first"),
    ("photo.png painting.png -o folder", r"the output is a folder"),
    ("dot.png painting.png -o out.png --size full", r"content picture is too small.*got 1×1;"),
    ("photo.png dot.png -o out.png", r"style picture is too small.*got 1×1;"),
    ("line.png painting.png -o out.png", r"content picture is too small.*got \d+×1;"),
    ("photo.png line.png -o out.png", r"style picture is too small.*got \d+×1;"),
    ("photo.png painting.png -o out.png --content-layers relu41", r"no layer 'relu41'.*'relu4_1'\?"),
    ("photo.png painting.png -o out.png --style-layers relu1_1,", r"no layer ''"),
    ("photo.png painting.png -o out.png --device gpu", r"device must be one of auto, cpu, cuda, got 'gpu'"),
    ("photo.png painting.png -o out.png --init nois", r"--init must be content, noise or a picture file"),
    ("photo.png painting.png -o out.png --init text.jpg", r"text\.jpg: damaged"),
    ("photo.png painting.png -o out.png --network compct", r"Unknown network.*Did you mean 'compact'\?"),
    ("photo.png painting.png -o out.png --network no.onnx", r"no network file 'no\.onnx'"),
    ("photo.png painting.png -o out.png --network text.onnx", r"text\.onnx.*not an ONNX model"),
    ("photo.png painting.png -o out.png --size big", r"--size must be a whole number.*'big'"),
    ("photo.png painting.png -o out.png --size 4", r"size must be a whole number from 16.*got 4"),
    ("photo.png painting.png -o out.png --iterations ten", r"--iterations must be.*'ten'"),
    ("photo.png painting.png -o out.png --iterations 0", r"iterations must be.*got 0"),
    ("photo.png painting.png -o out.png --iterations 1,2", r"iterations must be.*one for each.*got 2"),
    (
        "photo.png painting.png -o out.png --scales 24 --iterations 1,2,3",
        r"iterations must be.*one for each.*got 3",
    ),
    ("photo.png painting.png -o out.png --scales small", r"--scales must be.*'small'"),
    ("photo.png painting.png -o out.png --scales 24,20", r"scales must grow"),
    ("photo.png painting.png -o out.png --style-blend half", r"--style-blend must be numbers.*'half'"),
    ("photo.png painting.png -o out.png --style-blend 1,2", r"expected 1, got 2"),
    ("photo.png painting.png painting.png -o out.png --style-blend 1", r"expected 2, got 1"),
    ("photo.png painting.png -o out.png --style-blend -1", r"weight must be.*larger than 0, got -1"),
    ("photo.png painting.png -o out.png --style-blend nan", r"weight must be.*larger than 0, got nan"),
    ("photo.png painting.png -o out.png --content-weight -1", r"content_weight must be.*got -1"),
    ("photo.png painting.png -o out.png --tv-weight much", r"--tv-weight.*--help"),
    ("photo.png painting.png -o out.png --seed -1", r"seed must be.*got -1"),
    ("photo.png painting.png -o photo.png", r"photo\.png.*one of the inputs: choose another"),
    ("photo.png painting.png -o folder/../painting.png", r"painting\.png.*one of the inputs: choose another"),
    ("photo.png painting.png -o dot.png --init dot.png", r"dot\.png.*one of the inputs: choose another"),
    ("photo.png painting.png -o out.png --report photo.png", r"photo\.png.*one of the inputs"),
    ("photo.png painting.png -o out.png --report ./out.png", r"both out\.png"),
    ("photo.png painting.png -o out.png --report missing/run.json", r"folder of the report does not exist"),
    ("photo.png painting.png -o out.png --report folder", r"report is a folder"),
    ("photo.png painting.png -o out.png --colour blue", r"No such option: --colour.*--help"),
    ("photo.png -o out.png", r"Missing argument.*--help"),
    ("photo.png painting.png", r"Missing option.*--output.*--help"),
]


@pytest.fixture
def full_folder(folder):
    """The current folder with what is needed to go wrong."""
    Path("folder").mkdir()
    Path("text.jpg").write_text("not a picture at all\n" * 20)
    Path("text.onnx").write_text("not a network at all\n" * 20)
    save("dot.png", np.zeros((1, 1, 3), np.uint8))
    save("line.png", np.zeros((1, 20_000, 3), np.uint8))
    return folder


def one_error(capfd, says):
    out, err = capfd.readouterr()
    assert out == ""
    assert err.endswith("\n")
    (line,) = err.splitlines()
    assert line.startswith("lbfgs-style: ")
    assert re.search(says, line)


@pytest.mark.parametrize(("arguments", "says"), FAILURES, ids=[arguments for arguments, _ in FAILURES])
def test_mistakes_are_one_line_and_leave_nothing(full_folder, network, capfd, arguments, says):
    given = "--network", network, "--size", 32, "--iterations", 1, "--device", "cpu", "--threads", 1
    before = contents(full_folder)
    assert run("transfer", *given, *arguments.split()) == 2
    one_error(capfd, says)
    assert contents(full_folder) == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("info vgg91", "Did you mean 'vgg19'"),
        ("path no.onnx", "no network file"),
        ("verify text.onnx", "not an ONNX model"),
        ("verify", "Missing argument"),
        ("lst", "No such command 'lst'"),
    ],
)
def test_mistakes_about_networks_are_one_line(full_folder, capfd, arguments, says):
    assert run("networks", *arguments.split()) == 2
    one_error(capfd, says)


def test_cuda_that_is_not_there_is_an_error(folder, network, capfd, monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    before = contents(folder)
    assert paint(network, "--device", "cuda") == 2
    one_error(capfd, "Device 'cuda' is not available")
    assert contents(folder) == before


def test_a_damaged_picture_is_one_line_from_a_shell(folder):
    # Only a process of its own shows what OpenCV's libraries write to stderr by themselves.
    whole = Path("photo.png").read_bytes()
    Path("photo.png").write_bytes(whole[: len(whole) // 2])
    process = start("transfer", "photo.png", "painting.png", "-o", "out.png")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert re.fullmatch(r"lbfgs-style: photo\.png: damaged.*\n", err)
    assert not Path("out.png").exists()


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OptionError("no good"), "no good"),
        (OSError(28, "No space left on device", "out.png"), r"out\.png: No space left on device"),
        (MemoryError(), "not enough memory.*smaller --size"),
    ],
)
def test_the_old_output_survives_a_failed_run(folder, network, capfd, monkeypatch, error, says):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(StyleTransfer, "run", fail)
    Path("out.png").write_bytes(b"old")
    before = contents(folder)
    assert paint(network) == 2
    one_error(capfd, says)
    assert contents(folder) == before


def test_the_old_output_survives_a_failed_write(folder, network, capfd, monkeypatch):
    def fail(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    Path("out.png").write_bytes(b"old")
    before = contents(folder)
    assert paint(network, "--quiet") == 2
    one_error(capfd, "No space left on device")
    assert contents(folder) == before


def test_mistakes_of_ours_are_not_hidden(folder, network, monkeypatch):
    def fail(*args, **kwargs):
        raise ZeroDivisionError

    monkeypatch.setattr(StyleTransfer, "run", fail)
    with pytest.raises(ZeroDivisionError):
        paint(network)


# Signals


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def harmless_signal(request):
    """A signal that does not end the tests if the command does not handle it."""
    missed = []
    previous = signal.signal(request.param, lambda number, frame: missed.append(number))
    handler = signal.getsignal(request.param)
    yield request.param
    assert signal.getsignal(request.param) is handler  # the command puts back what it found
    signal.signal(request.param, previous)
    assert not missed


def before_run(monkeypatch, action):
    original = StyleTransfer.run

    def signalled(*args, **kwargs):
        action()
        return original(*args, **kwargs)

    monkeypatch.setattr(StyleTransfer, "run", signalled)


def test_stopped_before_the_first_iteration(folder, network, capfd, monkeypatch, harmless_signal):
    before_run(monkeypatch, lambda: signal.raise_signal(harmless_signal))
    before = contents(folder)
    assert paint(network, "--report", "run.json") == 130
    one_error(capfd, "stopped before the first iteration: nothing is written")
    assert contents(folder) == before


def test_stopped_on_the_way(folder, network, capfd, monkeypatch, harmless_signal):
    @contextmanager
    def signalling(**kwargs):
        yield lambda iterate: iterate.iteration == 3 and signal.raise_signal(harmless_signal)

    monkeypatch.setattr(cli, "show_progress", signalling)
    assert paint(network, "--iterations", 1000, "--report", "run.json") == 130
    one_error(capfd, r"stopped: the best picture so far is in out\.png")
    report = json.loads(Path("run.json").read_text())
    assert report["stop_reason"] == "cancelled"
    assert len(report["history"]) == 3
    assert (images.read("out.png").rgb != images.read("photo.png").rgb).mean() > 0.5
    assert set(contents(folder)) == {"photo.png", "painting.png", "out.png", "run.json"}


def test_the_second_signal_ends_it_at_once(folder, network, monkeypatch, harmless_signal):
    codes = []
    monkeypatch.setattr(cli.os, "_exit", codes.append)

    def twice():
        signal.raise_signal(harmless_signal)
        assert codes == []
        signal.raise_signal(harmless_signal)

    before_run(monkeypatch, twice)
    paint(network)
    assert codes == [130]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to one process")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_from_outside(folder, network, number):
    save("photo.png", np.random.default_rng(1).integers(0, 256, (200, 200, 3)).astype(np.uint8))
    given = "--network", network, "--size", "full", "--scales", "128", "--iterations", 100_000
    process = start("transfer", "photo.png", "painting.png", "-o", "out.png", "--threads", 1, *given)
    try:
        assert "iteration 1/100000" in process.stderr.readline()
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert err.splitlines()[-1] == "lbfgs-style: stopped: the best picture so far is in out.png"
    assert "Traceback" not in err
    assert images.read("out.png").rgb.shape == (200, 200, 3)
    assert set(contents(folder)) == {"photo.png", "painting.png", "out.png"}


# Networks


def test_networks_are_listed_one_on_a_line(folder, capsys):
    assert run("networks", "list") == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows] == ["compact", "vgg19", "vgg16", "vgg19-caffe", "vgg16-caffe"]
    assert {len(row) for row in rows} == {4}
    assert rows[0][1].endswith("compact.onnx")
    assert "CC BY 4.0" in rows[3][3]


def test_a_network_tells_about_itself(network, capsys):
    assert run("networks", "info", network) == 0
    told = dict(line.split(":", 1) for line in capsys.readouterr().out.splitlines())
    told = {key: value.strip() for key, value in told.items()}
    assert told["name"] == "small"
    assert told["file"] == network
    assert told["licence"] == "none"
    assert re.fullmatch("[0-9a-f]{64}", told["weights sha256"])
    assert told["style layers"] == "relu1_1 relu2_1 relu3_1 relu4_1 relu5_1"
    assert told["content layers"] == "relu4_2"
    assert told["layers"].startswith("relu1_1 relu1_2 relu2_1")


def test_the_bundled_network_is_whole(capsys):
    assert run("networks", "path", "compact") == 0
    path = Path(capsys.readouterr().out.rstrip("\n"))
    assert path.is_file()
    assert run("networks", "verify", "compact") == 0
    assert capsys.readouterr().out == f"compact: ok ({path})\n"
    assert run("networks", "info", "compact") == 0
    assert "\nstyle layers:   relu1_1 " in capsys.readouterr().out


def test_changed_weights_are_found(network, tmp_path, capfd):
    model = onnx.load(network)
    weights = next(t for t in model.graph.initializer if t.name.startswith("conv1_1") and len(t.dims) == 4)
    changed = numpy_helper.to_array(weights).copy()
    changed.flat[0] += 1
    weights.CopyFrom(numpy_helper.from_array(changed, weights.name))
    onnx.save(model, tmp_path / "changed.onnx")
    assert run("networks", "verify", tmp_path / "changed.onnx") == 2
    one_error(capfd, "'small' were damaged or changed")
