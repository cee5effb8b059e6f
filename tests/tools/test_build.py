"""Compiling the native operators, and not being able to."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tools.build import compiler

HAS_COMPILER = any(map(shutil.which, ("c++", "g++", "clang++")))


@pytest.fixture
def script(tmp_path: Path) -> str:
    """A compiler that does nothing and reports success."""
    path = tmp_path / "nothing"
    path.write_text("#!/bin/sh\nexit 0\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("false", "false"),
        ("/nonexistent/c++", "No such file"),
        ("c++ 'x", "No closing quotation"),
        ("script", "FileNotFoundError"),
    ],
)
def test_a_compiler_that_fails_is_an_error_with_a_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, command: str, message: str
) -> None:
    monkeypatch.setenv("CXX", script if command == "script" else command)
    with pytest.raises(compiler.CompilationError, match=message):
        compiler.compile_library(tmp_path)


def test_without_a_compiler_there_is_a_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", " ")
    with pytest.raises(compiler.CompilationError, match="no C\\+\\+ compiler: none of c\\+\\+"):
        compiler.compile_library(tmp_path)


def test_an_old_library_does_not_outlive_a_build_that_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from lbfgs_style.native import library

    old = tmp_path / library.FILE_NAME
    old.write_bytes(b"old")
    monkeypatch.setenv("CXX", "false")
    with pytest.raises(compiler.CompilationError):
        compiler.compile_library(tmp_path)
    assert not old.exists()


@pytest.mark.skipif(not HAS_COMPILER, reason="there is no compiler")
def test_the_library_is_compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from lbfgs_style.native import library

    monkeypatch.delenv("CXX", raising=False)
    path = compiler.compile_library(tmp_path, flags=["-O1"])
    assert path == tmp_path / library.FILE_NAME
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    monkeypatch.setattr(library, "PATH", path)
    assert library.require().available()[-1] == "baseline"
