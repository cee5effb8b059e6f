"""Nothing but what the README names is written to a user's home, and onnxruntime's telemetry is off."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lbfgs_style.networks import catalog
from tests.helpers.command import ROOT, photo, save, save_network

COMMANDS = """
import sys
from lbfgs_style.cli import app as cli

network = ["--network", sys.argv[1], "--size", "32", "--iterations", "1", "--device", "cpu"]
for line in (
    ["transfer", "photo.png", "painting.png", "-o", "out.png", *network],
    ["rerun", "out.png", "-o", "again.png"],
    ["style", "painting.png", "-o", "painting.style.npz", "--network", sys.argv[1]],
    ["reconstruct", "content", "photo.png", "-o", "content.png", "--layers", "relu1_1", *network],
    ["reconstruct", "style", "photo.png", "-o", "style.png", "--layers", "relu1_1", *network],
    ["grid", "photo.png", "painting.png", "-o", "grid.png", "--content-weights", "0.1,0.2", *network],
    ["presets"],
    ["networks", "list"],
    ["networks", "info", sys.argv[1]],
    ["networks", "verify", "compact"],
    ["networks", "path", "compact"],
):
    assert cli.exit_code(lambda: cli.app(line, standalone_mode=False)) == 0, line
"""

LIBRARY = """
import sys, numpy as np
from lbfgs_style import Options, transfer

picture = np.zeros((32, 32, 3), np.uint8)
picture[::3] = 200
transfer(picture, picture[::-1], network=sys.argv[1], options=Options(size=32, iterations=1))
"""

WORKERS = """
import multiprocessing, sys
import numpy as np
from lbfgs_style import Options, StyleTransfer

def paint(path):
    picture = np.full((32, 32, 3), 9, np.uint8)
    StyleTransfer(path, options=Options(size=32, iterations=1)).run(picture, picture)

if __name__ == "__main__":
    for method in ("spawn", "fork"):
        process = multiprocessing.get_context(method).Process(target=paint, args=(sys.argv[1],))
        process.start()
        process.join()
        assert process.exitcode == 0, method
"""

TOOL = """
import tools.export.vgg
from lbfgs_style.objective import session
session.resolve_device("auto")
"""


PULL = """
import sys
from dataclasses import replace
from lbfgs_style.cli import app as cli
from lbfgs_style.networks import catalog

name, url, size, known_hash = sys.argv[1:]
catalog.KNOWN = tuple(
    replace(row, url=url, size=int(size), known_hash=known_hash) if row.name == name else row
    for row in catalog.KNOWN
)
assert cli.exit_code(lambda: cli.app(["networks", "pull", name], standalone_mode=False)) == 0
"""


def run_at_home(folder: Path, code: str, *arguments: object, **environment: str) -> list[str]:
    """Run a script with a new home, as a user who is not in CI; return the files below that home."""
    home = folder / "home"
    home.mkdir()
    script = folder / "script.py"
    script.write_text(code)
    removed = {"CI", "ORT_DISABLE_TELEMETRY", "LBFGS_STYLE_CACHE"}
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in removed and not name.startswith(("XDG_", "GITHUB_"))
    }
    kept |= {"HOME": str(home), "PYTHONPATH": str(ROOT)} | environment
    command = [sys.executable, script, *arguments]
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, env=kept, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stderr
    return [str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()]


@pytest.fixture
def network(tmp_path):
    save(tmp_path / "photo.png", photo())
    save(tmp_path / "painting.png", photo()[::-1])
    return save_network(tmp_path)


@pytest.mark.parametrize("code", [COMMANDS, LIBRARY, WORKERS], ids=["commands", "library", "workers"])
def test_nothing_is_written_to_a_home(tmp_path, network, code):
    assert run_at_home(tmp_path, code, network) == []


@pytest.mark.skipif(sys.platform != "linux", reason="the cache folder of Linux")
def test_a_network_that_is_pulled_is_all_that_is_kept(tmp_path, published):
    published("vgg19-caffe")
    row = catalog.known("vgg19-caffe")
    written = run_at_home(tmp_path, PULL, row.name, row.url, row.size, row.known_hash)
    assert [name for name in written if "/locks/" not in name] == [".cache/lbfgs_style/vgg19-caffe.onnx"]


def test_tools_write_nothing_to_a_home(tmp_path):
    assert run_at_home(tmp_path, TOOL) == []


def test_a_host_program_that_has_imported_onnxruntime(tmp_path):
    """Its import has written by then; no event follows."""
    code = """
import sys, types
calls = []
fake = types.ModuleType("onnxruntime")
fake.disable_telemetry_events = lambda: calls.append(1)
sys.modules["onnxruntime"] = fake
import lbfgs_style
assert calls == [1]
"""
    assert run_at_home(tmp_path, code) == []


@pytest.mark.parametrize("value", ["0", "", "1"])
def test_a_variable_that_the_user_set_is_kept(tmp_path, value):
    code = """
import os, sys, types
calls = []
fake = types.ModuleType("onnxruntime")
fake.disable_telemetry_events = lambda: calls.append(1)
sys.modules["onnxruntime"] = fake
import lbfgs_style
assert calls == []
assert os.environ["ORT_DISABLE_TELEMETRY"] == sys.argv[1]
"""
    run_at_home(tmp_path, code, value, ORT_DISABLE_TELEMETRY=value)
