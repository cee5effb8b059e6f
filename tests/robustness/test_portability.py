"""What other systems do differently: names, locks, and calls that they have not."""

from __future__ import annotations

import ast
import contextlib
import os
import sys
import types
from pathlib import Path

import pytest

import lbfgs_style
from lbfgs_style.system import locks
from lbfgs_style.system.files import is_reserved, why_unwritable

POSIX = pytest.mark.skipif(os.name != "posix", reason="flock is POSIX's")


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
def test_names_that_windows_takes(name):
    assert not is_reserved(name)


@pytest.fixture
def windows_locks(monkeypatch):
    """`lbfgs_style.system.locks` as Windows runs it, on a msvcrt of ours that says no as that one does."""
    import fcntl

    fake = types.ModuleType("msvcrt")
    fake.LK_NBLCK = 2

    def locking(descriptor: int, mode: int, count: int) -> None:
        assert (mode, count) == (fake.LK_NBLCK, 1)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PermissionError(13, "Permission denied") from None

    fake.locking = locking
    monkeypatch.setitem(sys.modules, "msvcrt", fake)
    monkeypatch.setattr(sys, "platform", "win32")
    module = types.ModuleType("lbfgs_style.locks_of_windows")
    exec(compile(Path(locks.__file__).read_text("utf-8"), "locks.py", "exec"), vars(module))
    return module


@POSIX
def test_the_locks_of_windows(windows_locks, tmp_path, monkeypatch):
    path = tmp_path / "file"
    opened, original = [], Path.unlink

    def unlink(self, **kwargs):
        assert all(file.closed for file in opened)  # or Windows would refuse
        original(self, **kwargs)

    monkeypatch.setattr(Path, "unlink", unlink)
    monkeypatch.setattr(
        windows_locks, "_lock", lambda file, lock=windows_locks._lock: opened.append(file) or lock(file)
    )
    with windows_locks.try_lock(path) as ours:
        assert ours
        with windows_locks.try_lock(path) as again:
            assert not again
        assert [p.name for p in tmp_path.iterdir()] == ["file.lock"]
    assert list(tmp_path.iterdir()) == []
    with windows_locks.try_lock(path) as ours:
        assert ours


@POSIX
def test_a_lock_file_that_lasts_for_a_moment_on_windows(windows_locks, tmp_path, monkeypatch):
    refused = [0]
    original = Path.open

    def opened(self, *args, **kwargs):
        if self.name.endswith(".lock") and refused[0] < 3:
            refused[0] += 1
            raise PermissionError(13, "Permission denied")
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", opened)
    with windows_locks.try_lock(tmp_path / "file") as ours:
        assert ours
    assert refused == [3]


@POSIX
@pytest.mark.parametrize("is_made_anew", [False, True])
def test_a_lock_file_that_its_owner_has_just_deleted_is_none(tmp_path, monkeypatch, is_made_anew):
    """It goes between our opening and our locking it; what we lock then must be the one that others see."""
    path, files, lock = tmp_path / "file", [], locks._lock

    def late(file):
        if not files:
            (tmp_path / "file.lock").unlink()
            if is_made_anew:
                (tmp_path / "file.lock").touch()
        files.append(file)
        return lock(file)

    monkeypatch.setattr(locks, "_lock", late)
    with locks.try_lock(path) as ours:
        assert ours
        assert [file.closed for file in files] == [True, False]
        with locks.try_lock(path) as again:
            assert not again


def test_who_waits_for_a_turn_is_told_once(tmp_path, monkeypatch):
    path, seen = tmp_path / "file", []
    with contextlib.ExitStack() as owner:
        assert owner.enter_context(locks.try_lock(path))

        def sleep(seconds):
            seen.append(seconds)
            if len(seen) == 3:
                owner.close()

        monkeypatch.setattr(locks.time, "sleep", sleep)
        told = []
        with locks.wait_for_lock(path, on_wait=lambda: told.append(len(seen)), poll=7):
            assert (told, seen) == ([0], [7, 7, 7])
            with locks.try_lock(path) as ours:
                assert not ours


def test_a_lock_file_that_cannot_be_deleted_harms_nothing(tmp_path, monkeypatch):
    """As on Windows, while another process looks at it."""

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch, locks.try_lock(tmp_path / "file") as ours:
        patch.setattr(Path, "unlink", refuse)
        assert ours
    with locks.try_lock(tmp_path / "file") as ours:
        assert ours


@POSIX
def test_a_disk_without_locks_gives_them_to_everybody(tmp_path, monkeypatch):
    import errno
    import fcntl

    def fail(code):
        def flock(*args):
            raise OSError(code, os.strerror(code))

        return flock

    monkeypatch.setattr(fcntl, "flock", fail(errno.ENOLCK))
    with locks.try_lock(tmp_path / "file") as ours:
        assert ours
    monkeypatch.setattr(fcntl, "flock", fail(errno.EIO))
    with pytest.raises(OSError, match="Input/output"), locks.try_lock(tmp_path / "file"):
        pass


# What Windows has not; and what a guard looks like.
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
    found: set[str] = set()

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
                found.update({a.name.partition(".")[0] for a in child.names} & OF_ONE_SYSTEM)
            elif isinstance(child, ast.ImportFrom):
                module = child.module or ""
                found.update({module} & OF_ONE_SYSTEM)
                found.update(
                    f"{module}.{a.name}" for a in child.names if a.name in ONLY_POSIX.get(module, ())
                )
            elif isinstance(child, ast.Attribute) and child.attr in ONLY_POSIX.get(
                ast.unparse(child.value), ()
            ):
                found.add(ast.unparse(child))
            look(child)

    look(ast.parse(source))
    return found


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
def test_calls_of_one_system_are_found(source, expected):
    assert unguarded(source) == expected


@pytest.mark.parametrize(
    "path", sorted(Path(lbfgs_style.__file__).parent.glob("*.py")), ids=lambda path: path.stem
)
def test_no_module_needs_one_system(path):
    assert unguarded(path.read_text("utf-8")) == set()
