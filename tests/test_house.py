"""The structure of the package: which module may import which, how long modules and functions are."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lbfgs_style

PACKAGE = Path(lbfgs_style.__file__).parent

# A room imports only from rooms to its left.
ORDER = (
    *("errors", "version", "system", "settings", "graphs", "native", "images", "networks", "objective"),
    *("optimization", "pipeline", "video", "outputs", "serve", "cli"),
)
# Pairs of rooms of which the first must not import from the second, though that stands to its left.
STRANGERS = {("networks", "images"), ("objective", "images"), ("optimization", "images")}

# Package of others → the rooms or modules that may import it.
ONLY = {
    "onnxruntime": ("objective.providers", "objective.session"),
    "onnx": ("graphs", "native", "networks", "objective", "optimization.vector_graphs"),
    # Contact sheets have labels, recordings are videos, and the command captures what decoders log.
    "cv2": ("images", "video", "outputs.contact_sheet", "outputs.recording", "cli.streams"),
    "av": ("video.encoder",),
    "scipy": ("optimization", "system.threads"),
    "h5py": ("networks.published_weights",),
    "starlette": ("serve.app",),
    "uvicorn": ("serve.server",),
    "dask": ("outputs.batch_cluster",),
    "distributed": ("outputs.batch_cluster", "outputs.cluster_tasks"),
    "typer": ("cli",),
    "rich": ("cli",),
    "torch": (),
    "torchvision": (),
}

HEAVY = (
    "av",
    "onnx",
    "onnxruntime",
    "cv2",
    "scipy",
    "typer",
    "rich",
    "platformdirs",
    "h5py",
    "torch",
    "distributed",
)


def name_of(path: Path) -> str:
    """Return the name of a module within the package; that of a room for its ``__init__``."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
ROOMS = sorted(set(MODULES) - {"__init__", "__main__"})


def imports(source: str, module: str) -> tuple[set[str], set[str]]:
    """Return what a module imports, wherever it does: modules of the package, and packages of others."""
    inside: set[str] = set()
    packages: set[str] = set()
    is_package = module in MODULES and MODULES[module].name == "__init__.py"
    here = ["lbfgs_style", *module.split("."), *(["__init__"] if is_package else [])]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            stem = ".".join(
                [*here[: -node.level], *filter(None, [node.module])] if node.level else [node.module]
            )
            names = [f"{stem}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            if package == "lbfgs_style":
                # `from .module import name` is an import of the module.
                inside.add(rest if rest in MODULES else rest.rpartition(".")[0] or "__init__")
            else:
                packages.add(package)
    return inside, packages


def imported(module: str) -> tuple[set[str], set[str]]:
    return imports(MODULES[module].read_text("utf-8"), module)


def test_imports_are_detected_wherever_they_are() -> None:
    source = """
from .. import images, __version__
from ..errors import StyleError
from .losses import style
import numpy as np
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import onnx.helper
    from lbfgs_style.networks import vgg
def late():
    from scipy.optimize import minimize
    import lbfgs_style.pipeline.styles
"""
    inside, packages = imports(source, "objective.engine")
    assert inside == {
        *("images", "__init__", "errors", "objective.losses.style", "networks.vgg", "pipeline.styles")
    }
    assert packages == {"numpy", "typing", "onnx", "scipy"}


@pytest.mark.parametrize("module", ROOMS)
def test_module_imports_only_from_rooms_to_its_left(module: str) -> None:
    room = module.partition(".")[0]
    allowed = set(ORDER[: ORDER.index(room) + 1]) - {right for left, right in STRANGERS if left == room}
    inside = imported(module)[0] - {"__init__"}
    assert {name for name in inside if name.partition(".")[0] not in allowed} == set()


def test_imports_go_in_no_circle() -> None:
    graphlib.TopologicalSorter({name: imported(name)[0] & set(ROOMS) for name in ROOMS}).prepare()


@pytest.mark.parametrize("package", ONLY)
def test_package_is_imported_only_where_it_may(package: str) -> None:
    users = [name for name in MODULES if package in imported(name)[1]]
    assert [name for name in users if not f"{name}.".startswith(tuple(f"{r}." for r in ONLY[package]))] == []


def test_modules_are_short() -> None:
    """A module is one subject, of 100 to 400 lines."""
    lengths = {name: len(path.read_text("utf-8").splitlines()) for name, path in MODULES.items()}
    assert {name: n for name, n in lengths.items() if n > 400} == {}


def test_room_lists_its_modules() -> None:
    """The docstring of a room names each module and each room in it."""
    for name, path in MODULES.items():
        if path.name == "__init__.py" and name != "__init__":
            listed = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
            inner = {
                other.removeprefix(f"{name}.").partition(".")[0]
                for other in MODULES
                if other.startswith(f"{name}.")
            }
            assert {word for word in inner if word not in listed} == set(), name


TESTS = sorted(Path(__file__).parent.rglob("*.py"))


def test_no_test_module_imports_another() -> None:
    """What several of them need is a helper or a fixture."""
    for path in TESTS:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert [name for name in names if ".test_" in f".{name}"] == [], path


# Of other packages: objects whose underscore names tests use, and such names.
FOREIGN = {"self", "os", "pickle", "_utils", "models", "InferenceSession", "state"}


def private_names(source: str) -> set[str]:
    """Return the underscore names that a test imports, reads from something, or sets by ``setattr``."""
    used = re.findall(r"([\w)\]]+)(?:\.|, [\"'])(_[a-z]\w*)", source, re.IGNORECASE)
    imported = re.findall(
        r"^from lbfgs_style.* import .*?\b(_[a-z]\w*)", source, re.IGNORECASE | re.MULTILINE
    )
    return {name for owner, name in used if not FOREIGN & {owner, name}} | set(imported)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from lbfgs_style.cli.app import _run", {"_run"}),
        ("engine._session", {"_session"}),
        ("monkeypatch.setattr(files, '_LARGE', 1)", {"_LARGE"}),
        ("monkeypatch.setattr('lbfgs_style.cli.files._LARGE', 1)", {"_LARGE"}),
        ("CODE = 'import lbfgs_style.cli.app as a; a._run()'", {"_run"}),
        ("os._exit(1); self._own; x.__dict__", set()),
    ],
)
def test_private_names_are_detected(source: str, expected: set[str]) -> None:
    assert private_names(source) == expected


def test_tests_use_no_private_names_of_the_package() -> None:
    """What a test needs to see or to set is public: a parameter, a constant, an attribute."""
    used = {path.name: private_names(path.read_text("utf-8")) for path in TESTS if path != Path(__file__)}
    assert {name: names for name, names in used.items() if names} == {}


def test_functions_are_short() -> None:
    """A function has at most 80 lines and 12 parameters, and shares no local state with another."""
    long: list[str] = []
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Nonlocal):
                long.append(f"{name}: nonlocal {', '.join(node.names)}")
            if isinstance(node, ast.FunctionDef):
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                count = len([each for each in arguments if each.arg not in ("self", "cls")])
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > 80 or count > 12:
                    long.append(f"{name}.{node.name}: {lines} lines, {count} parameters")
    assert long == []


def test_import_is_light() -> None:
    """Heavy packages are imported when they are needed: `import lbfgs_style` alone imports none of them."""
    code = f"import sys, lbfgs_style; print([m for m in {HEAVY!r} if m in sys.modules])"
    path = str(PACKAGE.parent)
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {path!r}); {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
