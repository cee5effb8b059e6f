"""The public names and modules of the package, as attributes and by import, and nothing else in `dir`."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import lbfgs_style

MODULES = ("html_report", "images", "inspection", "networks", "recipes", "recording", "rerun")
NAMES = [name for name in lbfgs_style.__all__ if name not in (*MODULES, "__version__")]


@pytest.mark.parametrize("name", MODULES)
def test_public_modules_are_attributes(name: str) -> None:
    """In a new process, where no test has imported them before."""
    code = f"import lbfgs_style; print(lbfgs_style.{name}.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith(f".{name}")


def test_public_names_are_where_the_table_says() -> None:
    for name in NAMES:
        value = getattr(lbfgs_style, name)
        assert getattr(value, "__name__", getattr(value, "name", None)) == name
        module = importlib.import_module(getattr(lbfgs_style, name).__module__)
        assert getattr(module, name) is getattr(lbfgs_style, name)


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(lbfgs_style.__file__).read_text("utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.asname for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == {*NAMES, *MODULES}


def test_dir_shows_what_is_public() -> None:
    assert dir(lbfgs_style) == sorted(lbfgs_style.__all__)
    assert {"Options", "Style", "StyleTransfer", "transfer", "StyleError", *MODULES} <= set(dir(lbfgs_style))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = lbfgs_style.nothing
