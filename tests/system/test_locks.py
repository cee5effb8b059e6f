"""Locks: who holds one, who waits, what is reported, and what a process that ends leaves behind."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys

import pytest

from lbfgs_style.system import locks
from lbfgs_style.system.locks import is_locked, try_lock, wait_for_lock

POSIX = pytest.mark.skipif(os.name != "posix", reason="forks and links of POSIX")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("LBFGS_STYLE_CACHE", str(folder))
    return folder


@pytest.fixture
def path(tmp_path, cache):
    folder = tmp_path / "folder"
    folder.mkdir()
    return folder / "file"


def test_a_lock_has_one_holder(path):
    assert not is_locked(path)
    with try_lock(path) as first:
        assert first
        assert is_locked(path)
        with try_lock(path) as second, try_lock(path.with_name("other")) as third:
            assert (second, third) == (False, True)
        assert is_locked(path)
    assert not is_locked(path)


def test_nothing_is_left_next_to_the_file(path, cache):
    with try_lock(path):
        assert list(path.parent.iterdir()) == []
    assert list(path.parent.iterdir()) == []
    assert [file.name for file in cache.iterdir()] == ["locks"]


def test_checking_a_lock_leaves_no_file(path, cache):
    assert not is_locked(path)
    assert not cache.exists()


@POSIX
def test_all_names_of_a_file_have_one_lock(path):
    link = path.with_name("link")
    link.symlink_to(path)
    with try_lock(path), try_lock(link) as second:
        assert not second


def test_an_error_frees_the_lock(path):
    with pytest.raises(ZeroDivisionError), try_lock(path):
        raise ZeroDivisionError
    assert not is_locked(path)


def test_waiting_is_reported_once(path, monkeypatch):
    seen, calls = [], []
    with contextlib.ExitStack() as owner:
        assert owner.enter_context(try_lock(path))

        def sleep(seconds):
            seen.append(seconds)
            if len(seen) == 3:
                owner.close()

        monkeypatch.setattr(locks.time, "sleep", sleep)
        with wait_for_lock(path, on_wait=lambda: calls.append(len(seen)), poll=7):
            assert (calls, seen) == ([0], [7, 7, 7])
            assert is_locked(path)


def test_with_a_cache_that_cannot_be_written(path, cache, monkeypatch):
    """As in a container whose disk is read-only, but for the folder of the result."""
    monkeypatch.setattr(locks.os, "access", lambda *_: False)
    with try_lock(path) as first, try_lock(path) as second:
        assert (first, second) == (True, False)
        assert is_locked(path)
        (file,) = path.parent.iterdir()
        assert (file.name.startswith("."), file.suffix) == (True, ".lock")
    assert not is_locked(path)
    assert not cache.exists()


def test_with_a_file_in_place_of_the_cache(path, cache):
    cache.touch()
    with try_lock(path) as first, try_lock(path) as second:
        assert (first, second) == (True, False)


@POSIX
def test_a_disk_without_locks_gives_them_to_everybody(path, monkeypatch):
    import fcntl

    def fail(code):
        def flock(*_):
            raise OSError(code, os.strerror(code))

        return flock

    monkeypatch.setattr(fcntl, "flock", fail(errno.ENOLCK))
    with try_lock(path) as ours:
        assert ours
    monkeypatch.setattr(fcntl, "flock", fail(errno.EIO))
    with pytest.raises(OSError, match="Input/output"), try_lock(path):
        pass


# Several processes

OWNER = """
import sys, time
from pathlib import Path
from lbfgs_style.system.locks import try_lock
with try_lock(Path(sys.argv[1])) as ours:
    print(ours, flush=True)
    time.sleep(60)
"""

FORK = """
import os, sys
from pathlib import Path
from lbfgs_style.system.locks import is_locked, try_lock
path = Path(sys.argv[1])
with try_lock(path):
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        print(is_locked(path))
"""

HANDED_ON = """
import os, sys, time
from pathlib import Path
from lbfgs_style.system.locks import try_lock
with try_lock(Path(sys.argv[1])):
    if os.fork():
        os._exit(0)
    print(os.getpid(), flush=True)
    time.sleep(60)
"""


def test_a_lock_is_seen_by_other_processes_and_freed_when_its_owner_is_killed(path):
    with subprocess.Popen([sys.executable, "-c", OWNER, path], stdout=subprocess.PIPE, text=True) as owner:
        try:
            assert owner.stdout.readline().strip() == "True"
            assert is_locked(path)
        finally:
            owner.kill()
    assert not is_locked(path)
    with try_lock(path) as ours:
        assert ours


@POSIX
def test_a_fork_takes_no_lock_with_it(path):
    """A child that leaves the block frees nothing, and one that outlives its parent holds nothing."""
    done = subprocess.run([sys.executable, "-c", FORK, path], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
    with subprocess.Popen([sys.executable, "-c", HANDED_ON, path], stdout=subprocess.PIPE) as parent:
        child = int(parent.stdout.readline())
        try:
            parent.wait(60)
            assert not is_locked(path)
        finally:
            os.kill(child, signal.SIGKILL)
