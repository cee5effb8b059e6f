"""Differences of other systems: reserved names, and calls that they lack."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import lbfgs_style
from lbfgs_style.system.files import is_reserved, why_unwritable


@pytest.mark.parametrize(
    "name",
    [
        *(
            "NUL.png",
            "con.jpg",
            "aux",
            "COM1.png",
            "lpt9.tiff",
            "a:b.png",
            "what?.png",
            "end.png.",
            "end.png ",
        ),
        *("NUL .png", "COM¹.png", "conin$", "bell\a.png"),
    ],
)
def test_names_that_windows_keeps_are_refused_there(name, tmp_path, monkeypatch):
    assert is_reserved(name)
    assert why_unwritable(tmp_path / name) is None
    monkeypatch.setattr(sys, "platform", "win32")
    assert "Windows keeps for itself" in str(why_unwritable(tmp_path / name))


@pytest.mark.parametrize("name", ["null.png", "console.jpg", "com10.png", "größe.png", "a.b.png", ".png"])
def test_other_names_are_allowed_on_windows(name):
    assert not is_reserved(name)


# Modules and attributes that Windows lacks, and the expressions of a guard.
OS = """
fork forkpty getuid geteuid getgid setuid setgid killpg mkfifo mknod nice openpty pathconf sysconf statvfs
uname wait register_at_fork posix_fallocate sched_getaffinity chown fchmod O_NONBLOCK
"""
SIGNAL = """
SIGKILL SIGHUP SIGALRM SIGUSR1 SIGUSR2 SIGPIPE SIGXFSZ SIGCHLD alarm setitimer pthread_sigmask pthread_kill
sigwait siginterrupt
"""
ONLY_POSIX = {"os": OS.split(), "signal": SIGNAL.split()}
OF_ONE_SYSTEM = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
OF_ONE_SYSTEM |= {"msvcrt", "winreg", "winsound"}


def unguarded(source: str) -> set[str]:
    """Return what a module uses of one system alone, outside of guards.

    A guard is an ``if`` that names ``sys.platform``, ``os.name`` or ``hasattr`` (with its ``else``, and,
    where it returns, what follows in its block), or a ``try`` that catches AttributeError or ImportError.
    """
    names: set[str] = set()

    def is_guard(node: ast.stmt) -> bool:
        if isinstance(node, ast.If):
            test = ast.unparse(node.test)
            return any(word in test for word in ("sys.platform", "os.name", "hasattr"))
        if isinstance(node, ast.Try):
            caught = " ".join(ast.unparse(each.type) for each in node.handlers if each.type is not None)
            return "AttributeError" in caught or "ImportError" in caught
        return False

    def look(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt) and is_guard(child):
                if isinstance(child, ast.If) and isinstance(child.body[-1], ast.Return | ast.Raise):
                    return
                continue
            if isinstance(child, ast.Import):
                names.update({a.name.partition(".")[0] for a in child.names} & OF_ONE_SYSTEM)
            elif isinstance(child, ast.ImportFrom):
                module = child.module or ""
                names.update({module} & OF_ONE_SYSTEM)
                names.update(
                    f"{module}.{a.name}" for a in child.names if a.name in ONLY_POSIX.get(module, ())
                )
            elif isinstance(child, ast.Attribute) and child.attr in ONLY_POSIX.get(
                ast.unparse(child.value), ()
            ):
                names.add(ast.unparse(child))
            look(child)

    look(ast.parse(source))
    return names


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import os\nos.fork()", {"os.fork"}),
        ("import fcntl", {"fcntl"}),
        ("import signal\ndef f():\n    return signal.SIGKILL", {"signal.SIGKILL"}),
        ("from signal import SIGALRM", {"signal.SIGALRM"}),
        ("import sys\nif sys.platform == 'win32':\n    import msvcrt\nelse:\n    import fcntl", set()),
        (
            "import sys\ndef f():\n    if sys.platform != 'linux':\n        return 0\n    import resource",
            set(),
        ),
        ("import os\nif hasattr(os, 'fork'):\n    os.fork()", set()),
        ("import os\ntry:\n    os.sysconf('x')\nexcept AttributeError:\n    pass", set()),
        ("import os, sys\nif sys.argv:\n    os.fork()", {"os.fork"}),
    ],
)
def test_calls_of_one_system_are_detected(source, expected):
    assert unguarded(source) == expected


@pytest.mark.parametrize(
    "path", sorted(Path(lbfgs_style.__file__).parent.glob("*.py")), ids=lambda path: path.stem
)
def test_no_module_needs_one_system(path):
    assert unguarded(path.read_text("utf-8")) == set()
