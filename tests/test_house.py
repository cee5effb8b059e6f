"""The house: which module may import which, how long modules are, how light the import is."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lbfgs_style

PACKAGE = Path(lbfgs_style.__file__).parent
MODULES = {path.stem: path for path in sorted(PACKAGE.glob("*.py"))}

# Data goes one way; a module imports only from floors below its own. A tenth is a step within a floor.
FLOORS = {
    "errors": 0,
    "version": 0,
    "telemetry": 0,
    "files": 0,
    "locks": 0,
    "archives": 0,
    "resources": 0,
    # What a user may choose; files and formats.
    "presets": 1,
    "preset_advice": 1.05,
    "budget": 1,
    "checks": 0.9,
    "options": 1.1,
    "onnx_format": 1,
    "onnx_checks": 1,
    "onnx_wire": 1,
    "onnx_shapes": 1.2,
    "operator_reach": 1.1,
    "known_networks": 1,
    "srgb": 0,
    "strips": 0,
    "tiff_tags": 0,
    "tiff_declared": 0.1,
    "tiff_parts": 0.2,
    "tiff_pixels": 0.3,
    "avif_boxes": 0,
    "bmp_masks": 0,
    "embedding": 0,
    "quick_png": 0.1,
    "icc": 1,
    "first_frames": 1.05,
    "color_codes": 1.1,
    "png_color": 1.15,
    "image_formats": 1,
    "image_headers": 1,
    "metadata": 1,
    "image_bytes": 1.1,
    "image_files": 1.2,
    "pillow_images": 1,
    "pictures": 1.1,
    "settings": 1.2,
    "torch_files": 1,
    "downloads": 1,
    "builder": 1.1,
    # Pictures, networks, derivatives.
    "resizing": 1,
    "hidden_pixels": 1.1,
    "images": 2,
    "color": 2,
    "sheets": 2.1,
    "networks": 2,
    "vgg": 2,
    "weights": 2.1,
    "pull": 2.2,
    "pooling": 2.1,
    "backward": 2,
    "rules_algebra": 2.1,
    "rules_spatial": 2.1,
    "autodiff": 2.2,
    "winograd": 2.2,
    "layout": 2.3,
    "footprint": 2.4,
    "tiles": 4.1,
    "costs": 4.2,
    "stages": 4.15,
    "tiled_graphs": 4.2,
    "tiled": 5.1,
    "blocks": 5.2,
    # From terms to steps of the optimiser.
    "losses": 3,
    "term_names": 3,
    "style_losses": 3.1,
    "terms": 3.2,
    "graphs": 4,
    "session": 5,
    "cancelling": 5.1,
    "objective": 6,
    "engine": 6.1,
    "scales": 7,
    "masks": 7,
    "parametrization": 7,
    "standing": 7.1,
    "first_order": 7.1,
    "subspace": 7.1,
    "blas": 7.1,
    "optimizer": 7.2,
    # The run and its faces.
    "sources": 1,
    "style_statistics": 7,
    "style_measuring": 7.1,
    "starts": 7.1,
    "records": 7.3,
    "snapshots": 7.4,
    "identity": 7.4,
    "checkpoints": 7.5,
    "course": 7.6,
    "sweeps": 7.3,
    "trouble": 7.4,
    "workplan": 7.4,
    "inputs": 7.4,
    "recipes": 7.4,
    "recording": 7.4,
    "html_report": 7.5,
    "pyramid": 8,
    "api": 9,
    "inspection": 9.1,
    "given": 9.1,
    "rerun": 9.2,
    "__init__": 9.3,
    "streams": 9.9,
    "progress": 10,
    "interrupts": 10,
    "cli_options": 10,
    "cli_values": 10,
    "decoder_words": 9.9,
    "cli_files": 10,
    "checkpoints_cli": 10.1,
    "networks_cli": 10.1,
    "presets_cli": 10.1,
    "runs_cli": 10.1,
    "transfer_cli": 10.2,
    "inspection_cli": 10.2,
    "rerun_cli": 10.2,
    "cli": 10.3,
    "__main__": 10.4,
}

ONLY = {
    "onnxruntime": {"session"},
    # The sheets write letters, and pack small pictures for pages; recordings are videos; the command hears
    # what decoders log.
    "cv2": {"decoder_words", "image_files", "recording", "resizing", "sheets"},
    "scipy": {"optimizer", "parametrization", "subspace"},
    "h5py": {"weights"},
    "typer": {
        "cli",
        "cli_options",
        "cli_values",
        "inspection_cli",
        "networks_cli",
        "rerun_cli",
        "runs_cli",
        "transfer_cli",
    },
    "rich": {"cli_values", "networks_cli", "progress"},
    "torch": set(),
    "torchvision": set(),
}

# The face: what may print and exit.
PRINTERS = {
    "__main__",
    "checkpoints_cli",
    "cli",
    "cli_files",
    "cli_values",
    "decoder_words",
    "inspection_cli",
    "interrupts",
    "networks_cli",
    "progress",
    "rerun_cli",
    "runs_cli",
    "streams",
    "transfer_cli",
}

HEAVY = ("onnx", "onnxruntime", "cv2", "scipy", "typer", "rich", "platformdirs", "h5py", "torch")


def imports(source: str) -> tuple[set[str], set[str]]:
    """Return the sibling modules and the top-level packages that a module imports, wherever it does."""
    siblings: set[str] = set()
    packages: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            stem = node.module or ""
            if node.level:
                stem = f"lbfgs_style.{stem}".rstrip(".")
            names = [f"{stem}.{a.name}" for a in node.names] if stem == "lbfgs_style" else [stem]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            if package == "lbfgs_style":
                module = rest.partition(".")[0]
                siblings.add(module if module in MODULES else "__init__")
            else:
                packages.add(package)
    return siblings, packages


def test_imports_are_found_wherever_they_are() -> None:
    source = """
from . import images, __version__
from .errors import StyleError
import numpy as np
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import onnx.helper
    from lbfgs_style import vgg
def late():
    from scipy.optimize import minimize
    import lbfgs_style.api
"""
    siblings, packages = imports(source)
    assert siblings == {"images", "__init__", "errors", "vgg", "api"}
    assert packages == {"numpy", "typing", "onnx", "scipy"}


def test_every_module_has_a_floor() -> None:
    """A new module takes its place in `FLOORS`; the package has no folders of code."""
    assert set(FLOORS) == set(MODULES)
    assert {p.parent for p in PACKAGE.rglob("*.py")} == {PACKAGE}


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_only_from_floors_below(module: str) -> None:
    siblings, _ = imports(MODULES[module].read_text(encoding="utf-8"))
    wrong = {name for name in siblings if FLOORS[name] >= FLOORS[module]}
    assert not wrong, f"{module} (floor {FLOORS[module]}) must not import {wrong}"


@pytest.mark.parametrize("package", ONLY)
def test_package_is_imported_only_where_it_may(package: str) -> None:
    users = {name for name, path in MODULES.items() if package in imports(path.read_text("utf-8"))[1]}
    assert users <= ONLY[package]


def test_modules_are_short() -> None:
    """A module is one subject, of 100 to 400 lines."""
    lengths = {name: len(path.read_text("utf-8").splitlines()) for name, path in MODULES.items()}
    assert {name: n for name, n in lengths.items() if n > 400} == {}


LOUD = {"print", "input", "breakpoint", "exit", "quit", "SystemExit"}
LOUD |= {f"sys.{name}" for name in ("exit", "stdout", "stderr", "__stdout__", "__stderr__")}
LOUD |= {"os._exit", "os.abort", "os.write", "os.kill"}


def loud(source: str) -> set[str]:
    """Return what of `LOUD` a module mentions, under whatever name it was imported."""
    origins: dict[str, str] = {}
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            origins |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            origins |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    mentioned: set[str] = set(origins.values())
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            mentioned.add(origins.get(node.id, node.id))
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            mentioned.add(f"{origins.get(node.value.id, node.value.id)}.{node.attr}")
    return mentioned & LOUD


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("print('x')", "print"),
        ("show = print", "print"),
        ("import sys\nsys.exit(1)", "sys.exit"),
        ("import sys as s\ns.stdout.write('x')", "sys.stdout"),
        ("from sys import stderr as e\ne.write('x')", "sys.stderr"),
        ("import os\nos._exit(1)", "os._exit"),
        ("def f():\n    raise SystemExit", "SystemExit"),
        ("import sys\nsys.platform, self.print, log.exit", None),
    ],
)
def test_loud_code_is_found(source: str, found: str | None) -> None:
    assert loud(source) == ({found} - {None})


@pytest.mark.parametrize("module", sorted(set(MODULES) - PRINTERS))
def test_library_never_prints_or_exits(module: str) -> None:
    """Only the commands do."""
    assert loud(MODULES[module].read_text("utf-8")) == set()


def test_import_is_light() -> None:
    """What is heavy waits until it is needed: a fresh interpreter has none of it."""
    code = f"import sys, lbfgs_style; print([m for m in {HEAVY!r} if m in sys.modules])"
    path = str(PACKAGE.parent)
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {path!r}); {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
