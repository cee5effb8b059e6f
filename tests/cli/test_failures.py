"""What stops the command (mistakes, failures, signals): one line, an exit code, nothing half written."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest

from lbfgs_style import OptionError, StyleTransfer, images, networks
from lbfgs_style.cli import signals, transfer
from tests.helpers.command import contents, one_error, paint, run, save, start


@pytest.fixture(autouse=True)
def silent_opencv():
    """As `cli.main` has it, which is not called here."""
    logging = cv2.utils.logging
    level = logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    yield
    logging.setLogLevel(level)


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
    ("dot.png painting.png -o out.png --size full", r"content image is too small.*got 1×1;"),
    ("dot.png painting.png -o out.png --size 96", r"content image is too small.*at least 16.*got 1×1;"),
    ("photo.png dot.png -o out.png", r"style image is too small.*got 1×1;"),
    ("line.png painting.png -o out.png", r"content image is too small.*got \d+×1;"),
    ("photo.png line.png -o out.png", r"style image is too small.*got \d+×1;"),
    ("photo.png painting.png -o out.png --content-layers relu41", r"no layer 'relu41'.*'relu4_1'\?"),
    ("photo.png painting.png -o out.png --style-layers relu1_1,", r"no layer ''"),
    ("photo.png painting.png -o out.png --device gpu", r"device must be one of auto, cpu, cuda, got 'gpu'"),
    (
        "photo.png painting.png -o out.png --init nois",
        r"--init must be content, noise, style or an image file",
    ),
    ("photo.png painting.png -o out.png --init text.jpg", r"text\.jpg: damaged"),
    ("photo.png painting.png -o out.png --network compct", r"Unknown network.*Did you mean 'compact'\?"),
    ("photo.png painting.png -o out.png --network no.onnx", r"no network file 'no\.onnx'"),
    ("photo.png painting.png -o out.png --network text.onnx", r"text\.onnx.*not an ONNX model"),
    ("photo.png painting.png -o out.png --size FULL", r"--size must be a whole number or 'full', got 'FULL'"),
    ("photo.png painting.png -o out.png --size 4", r"size must be a whole number from 16.*got 4"),
    ("photo.png painting.png -o out.png --iterations ten", r"--iterations must be.*'ten'"),
    ("photo.png painting.png -o out.png --iterations 0", r"iterations must be.*got 0"),
    ("photo.png painting.png -o out.png --iterations 1,2", r"iterations must be.*one for each.*got 2"),
    (
        "photo.png painting.png -o out.png --scales 24 --iterations 1,2,3",
        r"iterations must be.*one for each.*got 3",
    ),
    (
        "photo.png painting.png -o out.png --scales small",
        r"--scales must be 'auto', 'single' or whole.*'small'",
    ),
    ("photo.png painting.png -o out.png --scales 24,20", r"scales must grow"),
    ("photo.png painting.png -o out.png --style-blend half", r"--style-blend must be numbers.*'half'"),
    ("photo.png painting.png -o out.png --style-blend 1,2", r"expected 1, got 2"),
    ("photo.png painting.png painting.png -o out.png --style-blend 1", r"expected 2, got 1"),
    ("photo.png painting.png -o out.png --style-blend -1", r"--style-blend must be.*larger than 0, got -1"),
    ("photo.png painting.png -o out.png --style-blend nan", r"--style-blend must be.*larger than 0, got nan"),
    (
        "photo.png painting.png -o out.png --preset kers",
        r"preset must be one of default.*Did you mean 'keras'",
    ),
    ("photo.png painting.png -o out.png --preset keras --style-statistic mean-cov", r"'keras' compare Gram"),
    ("photo.png painting.png -o out.png --style-layers relu1_1:x", r"--style-layers must be.*relu1_1:x"),
    ("photo.png painting.png -o out.png --style-layers relu1_1:0", r"style_layer_weights must be.*got 0"),
    (
        "photo.png painting.png -o out.png --style-statistic mean",
        r"style_statistic must.*Did you mean 'mean-cov'",
    ),
    (
        "photo.png painting.png -o out.png --pooling avg",
        r"pooling must be one of max, average, l2, got 'avg'",
    ),
    ("photo.png painting.png -o out.png --optimizer adm", r"optimizer must be.*Did you mean 'adam'"),
    ("photo.png painting.png -o out.png --optimizer sgd --learning-rate 0", r"learning_rate must be.*got 0"),
    ("photo.png painting.png -o out.png --tv-power 3", r"tv_power must be a number from 1 to 2, got 3"),
    ("photo.png painting.png -o out.png --style-scale big", r"--style-scale must be numbers.*'big'"),
    ("photo.png painting.png -o out.png --style-scale 1,2", r"--style-scale.*expected 1, got 2"),
    ("photo.png painting.png -o out.png --style-scale 0", r"--style-scale must be.*larger than 0, got 0"),
    ("photo.png painting.png -o out.png --style-mask nothing.png", r"nothing\.png: no such file"),
    (
        "photo.png painting.png painting.png -o out.png --style-mask dot.png",
        r"--style-mask.*expected 2, got 1",
    ),
    (
        "photo.png painting.png -o out.png --style-mask dot.png",
        r"Nothing of the image is left for style 1:",
    ),
    ("photo.png painting.png -o out.png --keep-mask text.jpg", r"text\.jpg: damaged"),
    ("photo.png painting.png -o out.png --keep-mask alpha", r"has no alpha.*give a mask"),
    ("photo.png painting.png -o dot.png --keep-mask dot.png", r"dot\.png.*one of the inputs: choose another"),
    (
        "photo.png painting.png -o dot.png --style-mask dot.png",
        r"dot\.png.*one of the inputs: choose another",
    ),
    ("photo.png painting.png -o out.png --content-weight -1", r"content_weight must be.*got -1"),
    ("photo.png painting.png -o out.png --tv-weight much", r"--tv-weight.*--help"),
    ("photo.png painting.png -o out.png --seed -1", r"seed must be.*got -1"),
    ("photo.png painting.png -o photo.png", r"photo\.png.*one of the inputs: choose another"),
    ("photo.png painting.png -o folder/../painting.png", r"painting\.png.*one of the inputs: choose another"),
    ("photo.png painting.png -o dot.png --init dot.png", r"dot\.png.*one of the inputs: choose another"),
    ("photo.png painting.png -o out.png --options o.json --report o.json", r"o\.json.*one of the inputs"),
    ("photo.png painting.png -o out.png --report ./out.png", r"both out\.png"),
    ("photo.png painting.png -o out.png --report run.gif --video run.gif", r"both run\.gif"),
    ("photo.png painting.png -o frame-000002.png --frames .", r"frame-000002\.png could take the place"),
    ("photo.png painting.png -o out.png --report run.jpg", r"--report run\.jpg: expected.*\.json, \.html"),
    ("photo.png painting.png -o out.png --learning-rate 0.1", r"--learning-rate is the step of adam and sgd"),
    ("photo.png painting.png -o out.png --color-match pca", r"--color-match.*--preserve-color match"),
    ("photo.png painting.png -o out.png --checkpoint-every nan", r"--checkpoint-every must be.*got nan"),
    (
        "photo.png painting.png -o out.png --report missing/run.json",
        r"--report missing/run\.json: .*create it",
    ),
    ("photo.png painting.png -o out.png --report folder", r"--report folder: is a folder"),
    ("photo.png painting.png -o loop.png", r"loop\.png: is a symbolic link that leads back"),
    ("photo.png painting.png -o out.png --report loop.png", r"--report loop\.png: is a symbolic link that"),
    (
        "line.png painting.png -o out.webp --size full --style-layers relu1_1",
        r"20000×1 pixels does not fit \.webp",
    ),
    ("photo.png painting.png -o out.png --quiet --verbose", r"--quiet and --verbose contradict"),
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
    Path("loop.png").symlink_to("loop.png")
    Path("o.json").write_text("seed = 3")
    return folder


@pytest.mark.parametrize(("arguments", "says"), FAILURES, ids=[arguments for arguments, _ in FAILURES])
def test_mistakes_are_one_line_and_leave_nothing(full_folder, network, capfd, arguments, says):
    options = "--network", network, "--size", 32, "--iterations", 1, "--device", "cpu", "--threads", 1
    before = contents(full_folder)
    assert run("transfer", *options, *arguments.split()) == 2
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


@pytest.mark.parametrize("option", ["--report", "-o"])
def test_the_network_is_not_overwritten(folder, network, capfd, option):
    cache = networks.cache_folder()
    cache.mkdir()
    mine = cache / "mine.onnx"
    mine.write_bytes(Path(network).read_bytes())
    Path("link.png").symlink_to(mine)
    target = mine if option == "--report" else "link.png"
    options = (option, target) if option == "-o" else ("-o", "out.png", option, target)
    assert run("transfer", "photo.png", "painting.png", "--network", "mine", *options) == 2
    one_error(capfd, "would be overwritten, but is one of the inputs")
    assert mine.read_bytes() == Path(network).read_bytes()


def test_missing_cuda_is_an_error(folder, network, capfd, monkeypatch):
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


def test_internal_errors_are_not_hidden(folder, network, monkeypatch):
    def fail(*args, **kwargs):
        raise ZeroDivisionError

    monkeypatch.setattr(StyleTransfer, "run", fail)
    with pytest.raises(ZeroDivisionError):
        paint(network)


# Signals


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def harmless_signal(request, monkeypatch):
    """A signal that does not end the tests if the command does not handle it, or is slow to."""
    monkeypatch.setattr(signals, "GRACE_SECONDS", 600)
    missed = []
    previous = signal.signal(request.param, lambda number, frame: missed.append(number))
    handler = signal.getsignal(request.param)
    yield request.param
    assert signal.getsignal(request.param) is handler  # the command restores it
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

    monkeypatch.setattr(transfer, "show_progress", signalling)
    assert paint(network, "--iterations", 1000, "--report", "run.json") == 130
    one_error(capfd, r"stopped: the best image so far is in out\.png")
    report = json.loads(Path("run.json").read_text())
    assert report["stop_reason"] == "cancelled"
    assert len(report["history"]) == 3
    assert (images.read("out.png").rgb != images.read("photo.png").rgb).mean() > 0.5
    assert set(contents(folder)) == {"photo.png", "painting.png", "out.png", "run.json"}


def test_the_second_signal_ends_it_at_once(folder, network, monkeypatch, harmless_signal):
    codes = []
    monkeypatch.setattr(signals.os, "_exit", codes.append)
    monkeypatch.setattr(signals, "ONE_SECONDS", 0.0)

    def twice():
        signal.raise_signal(harmless_signal)
        assert codes == []
        time.sleep(0.1)  # or both could arrive together, as one
        signal.raise_signal(harmless_signal)

    before_run(monkeypatch, twice)
    paint(network)
    assert codes == [130]


@pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals are POSIX's")
def test_the_second_signal_leaves_a_cursor(folder, network, monkeypatch, harmless_signal):
    ours, theirs = os.openpty()
    monkeypatch.setattr(signals.os, "_exit", lambda code: None)
    monkeypatch.setattr(signals, "ONE_SECONDS", 0.0)

    def twice():
        signal.raise_signal(harmless_signal)
        os.write(theirs, b"once,")
        time.sleep(0.1)
        signal.raise_signal(harmless_signal)

    before_run(monkeypatch, twice)
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "__stderr__", terminal)
        paint(network)
        assert os.read(ours, 100) == b"once,\x1b[?25h"
    os.close(ours)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to one process")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_from_outside(folder, network, number):
    save("photo.png", np.random.default_rng(1).integers(0, 256, (200, 200, 3)).astype(np.uint8))
    options = "--network", network, "--size", "full", "--scales", "128", "--iterations", 100_000
    process = start("transfer", "photo.png", "painting.png", "-o", "out.png", "--threads", 1, *options)
    try:
        assert "iteration 1/100000" in process.stderr.readline()
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    # The next line of progress would come after 20,000 iterations: nothing else may be here.
    assert err.splitlines() == ["lbfgs-style: stopped: the best image so far is in out.png"]
    assert images.read("out.png").rgb.shape == (200, 200, 3)
    assert set(contents(folder)) == {"photo.png", "painting.png", "out.png"}
