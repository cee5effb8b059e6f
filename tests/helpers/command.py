"""Run the command, in this process or in one of its own, on small files."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx

import lbfgs_style
from lbfgs_style import images
from lbfgs_style.cli import app
from tests.helpers.small_networks import small_vgg

# The folder of the package, which processes that tests start need on their path.
ROOT = Path(lbfgs_style.__file__).parents[1]
DATA = Path(__file__).parents[1] / "data"


def photo(height=27, width=32):
    y, x = np.mgrid[:height, :width] / max(height, width)
    return np.rint(255 * np.stack([x, y, (x + y) / 2], axis=2)).astype(np.uint8)


def save(name, array):
    images.write(name, images.from_array(array))


def save_network(folder):
    path = folder / "small.onnx"
    onnx.save(small_vgg().model, path)
    return str(path)


def enter(folder, monkeypatch):
    """Make a folder the current one, with a photo and a painting in it."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("LBFGS_STYLE_CACHE", str(folder.with_name(f"{folder.name}-cache")))
    save("photo.png", photo())
    stripes = np.where(np.arange(24)[:, None, None] // 3 % 2, [200, 40, 20], [20, 60, 180])
    save("painting.png", np.broadcast_to(stripes, (24, 24, 3)).astype(np.uint8))
    return folder


def run(*arguments):
    return app.exit_code(lambda: app.app([str(a) for a in arguments], standalone_mode=False))


def paint(network, *more, content="photo.png", styles=("painting.png",), output="out.png"):
    options = ("--network", network, "--size", 32, "--iterations", 2, "--device", "cpu", "--threads", 1)
    return run("transfer", content, *styles, "-o", output, *options, *more)


def contents(folder):
    return {path.name: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def start(*arguments, **options):
    """Start the command in a process of its own, as a shell would."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, "-m", "lbfgs_style", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=os.environ | {"PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"},
        **options,
    )


def one_error(capfd, says):
    out, err = capfd.readouterr()
    assert out == ""
    assert err.endswith("\n")
    (line,) = err.splitlines()
    assert line.startswith("lbfgs-style: ")
    assert re.search(says, line)
