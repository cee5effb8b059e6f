"""The house: which module may import which, how long modules are, how light the import is."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import lbfgs_style

PACKAGE = Path(lbfgs_style.__file__).parent
MODULES = {path.stem: path for path in sorted(PACKAGE.glob("*.py"))}

# A module imports only from its own room and from rooms to its left.
ROOMS = {
    "ground": "errors version",
    "system": "archives blas byte_sizes files locks resources telemetry",
    "settings": "checks loss_forms options preset_advice presets settings",
    "graphs": (
        "autodiff backward builder footprint layout network_graph operator_reach receptive_fields "
        "rules_algebra rules_spatial winograd"
    ),
    "images": (
        "avif_boxes bmp_masks color color_codes embedding first_frames hidden_pixels icc "
        "image_bytes image_files image_formats image_headers images metadata pictures pillow_images "
        "png_color quick_png resizing srgb strips tiff_declared tiff_parts tiff_pixels tiff_tags"
    ),
    "networks": (
        "downloads known_networks networks onnx_checks onnx_format onnx_shapes onnx_wire pooling pull "
        "torch_files vgg weights"
    ),
    "objective": (
        "block_graph blocks costs engine graphs losses moments objective session stages style_losses "
        "term_names terms tiled tiled_graphs tiles wasserstein"
    ),
    "optimization": "first_order held_variables optimizer parametrization standing subspace sweeps",
    "transfer": (
        "api budget checkpoints course identity inputs masks pyramid records scales snapshots starts "
        "style_measuring style_statistics styles workplan"
    ),
    "outputs": "given html_report inspection loss_curves recipes recording rerun sheets sources",
    "cli": (
        "checkpoints_cli cli cli_files cli_values inspection_cli interrupts measure_style_cli "
        "networks_cli presets_cli progress rerun_cli runs_cli streams transfer_cli"
    ),
}
ROOM_OF = {module: room for room, modules in ROOMS.items() for module in modules.split()}
ORDER = list(ROOMS)
# Pairs of rooms of which the first must not import from the second, though it stands to its left.
STRANGERS = {("networks", "images"), ("objective", "images"), ("optimization", "images")}

ONLY = {
    "onnxruntime": {"session"},
    # The sheets write letters, and pack small pictures for pages; recordings are videos; the command hears
    # what decoders log.
    "cv2": {"streams", "image_files", "recording", "resizing", "sheets"},
    "scipy": {"optimizer", "parametrization", "subspace"},
    "h5py": {"weights"},
    "typer": set(ROOMS["cli"].split()),
    "rich": set(ROOMS["cli"].split()),
    "torch": set(),
    "torchvision": set(),
}

# The face: what may print and exit.
PRINTERS = {"__main__", *ROOMS["cli"].split()}

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


def test_every_module_has_a_room() -> None:
    """A new module takes its place in `ROOMS`; the package has no folders of code."""
    assert set(ROOM_OF) == set(MODULES) - {"__init__", "__main__"}
    assert {p.parent for p in PACKAGE.rglob("*.py")} == {PACKAGE}


@pytest.mark.parametrize("module", sorted(ROOM_OF))
def test_module_imports_only_from_rooms_to_its_left(module: str) -> None:
    siblings, _ = imports(MODULES[module].read_text(encoding="utf-8"))
    room = ROOM_OF[module]
    others = {name: ROOM_OF[name] for name in siblings - {"__init__"}}
    allowed = set(ORDER[: ORDER.index(room) + 1]) - {right for left, right in STRANGERS if left == room}
    assert {name: other for name, other in others.items() if other not in allowed} == {}


def test_imports_go_in_no_circle() -> None:
    graph = {name: imports(MODULES[name].read_text(encoding="utf-8"))[0] & set(ROOM_OF) for name in ROOM_OF}
    graphlib.TopologicalSorter(graph).prepare()


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
