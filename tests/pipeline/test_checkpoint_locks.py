"""Two runs and one checkpoint: the second is refused, or not saved, and the first one loses nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from lbfgs_style import Checkpoint, CheckpointError
from lbfgs_style.cli import checkpoint as saving
from lbfgs_style.pipeline.checkpoints import checkpoint
from lbfgs_style.system.locks import is_locked, try_lock
from tests.helpers.command import contents, one_error, paint, start
from tests.helpers.interrupted_runs import PAINTING, PHOTO, cut_off, job, stop_after

IN_USE = (
    "in use by another run that is still going; expected a file of this run alone: wait for that run to end, "
    "or choose another file"
)
POSIX = pytest.mark.skipif(os.name != "posix", reason="signals and forks of POSIX")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.checkpoint"


def left(folder):
    return sorted(path.name for path in folder.iterdir())


# In one process


@pytest.mark.parametrize("resume", [False, True])
def test_a_second_run_is_refused(path, resume):
    """While the first one runs, and whether it has saved anything or not."""
    refused = []

    def second(iterate):
        if iterate.iteration in (1, 3):
            before = contents(path.parent)
            with pytest.raises(CheckpointError, match=IN_USE) as e:
                job().run(PHOTO, PAINTING, checkpoint=Checkpoint(path, resume=resume))
            assert contents(path.parent) == before
            refused.append(str(e.value))

    result = job().run(PHOTO, PAINTING, on_iterate=second, checkpoint=Checkpoint(path, every=0))
    assert len(refused) == 4
    assert "\n" not in refused[0]
    assert result.stop_reason == "iterations"
    assert left(path.parent) == ["run.checkpoint"]


def test_a_run_that_fails_leaves_no_lock(path):
    def fail(iterate):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        job().run(PHOTO, PAINTING, on_iterate=fail, checkpoint=Checkpoint(path, every=0))
    assert not is_locked(path)
    assert left(path.parent) == []


def test_a_run_may_resume_its_own_checkpoint(path):
    """Within ``with``, the lock is held after the run, until the result is safe."""
    with Checkpoint(path, every=0) as kept:
        job().run(PHOTO, PAINTING, on_iterate=stop_after(3), checkpoint=kept)
        with pytest.raises(CheckpointError, match=IN_USE):
            Checkpoint(path)
    with Checkpoint(path, resume=True) as again:
        assert job().run(PHOTO, PAINTING, checkpoint=again).report()["resumed"] == 1
        again.discard()
    assert left(path.parent) == []


def test_a_checkpoint_that_another_run_resumes_is_not_discarded(path):
    kept = cut_off(path, 3)
    before = path.read_bytes()
    with try_lock(path):
        kept.discard()
    assert path.read_bytes() == before


def test_a_run_that_came_in_between_is_not_replaced(path):
    """It began and was cut off after this one had looked."""
    late = Checkpoint(path)
    cut_off(path, 3)
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match=r"is there already: resume it"):
        job().run(PHOTO, PAINTING, checkpoint=late)
    assert path.read_bytes() == before


@pytest.mark.skipif(os.name != "posix", reason="links need rights on Windows")
def test_two_names_of_one_file_have_one_lock(path):
    link = path.with_name("link")
    link.symlink_to(path)
    with try_lock(path), pytest.raises(CheckpointError, match=IN_USE):
        Checkpoint(link)
    seen = []
    job().run(PHOTO, PAINTING, on_iterate=lambda _: seen.append(is_locked(path)), checkpoint=Checkpoint(link))
    assert all(seen)


@pytest.mark.parametrize("after", [None, 0.0])
def test_a_lock_that_cannot_be_made(path, monkeypatch, caplog, after):
    """A requested checkpoint is refused; without a request, the run continues without one."""

    @contextmanager
    def fail(path):
        raise PermissionError(13, "Permission denied")
        yield

    monkeypatch.setattr(checkpoint, "try_lock", fail)
    kept = Checkpoint(path, every=0, after=after)
    if after is None:
        with pytest.raises(CheckpointError, match=r"run\.checkpoint: cannot be locked: Permission denied: c"):
            job().run(PHOTO, PAINTING, checkpoint=kept)
        return
    assert job().run(PHOTO, PAINTING, checkpoint=kept).stop_reason == "iterations"
    assert "cannot be locked: Permission denied" in caplog.text
    assert "this run is not saved" in caplog.text
    assert left(path.parent) == []


# Several processes

OWNER = (
    "import sys, time; from pathlib import Path; from lbfgs_style.system.locks import try_lock\n"
    "with try_lock(Path(sys.argv[1])): print(flush=True); time.sleep(60)"
)


@contextmanager
def owned(path):
    """Let another process have the lock of a file."""
    with subprocess.Popen([sys.executable, "-c", OWNER, path], stdout=subprocess.PIPE) as owner:
        try:
            owner.stdout.readline()
            yield
        finally:
            owner.kill()


@pytest.mark.parametrize("arguments", ["--checkpoint c", "--checkpoint c --resume", "--checkpoint-every 0"])
def test_the_command_refuses_in_one_line(folder, network, capfd, arguments):
    name = "c" if " c" in arguments else "out.png.checkpoint"
    with owned(name):
        before = contents(folder)
        assert paint(network, *arguments.split()) == 2
        one_error(capfd, f"The checkpoint {name}: {IN_USE}")
        assert contents(folder) == before


def test_a_long_run_next_to_another_is_not_saved(folder, network, capfd, monkeypatch):
    """Its checkpoint was not requested, so a warning says so, and both pictures are painted."""
    monkeypatch.setattr(saving, "LONG", 0.0)
    with owned("out.png.checkpoint"):
        assert paint(network) == 0
    assert f"out.png.checkpoint: {IN_USE}" in " ".join(capfd.readouterr().err.split())


@POSIX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_a_killed_run_holds_no_lock(folder, network, capfd, number):
    arguments = ("--network", network, "--size", 32, "--device", "cpu", "--threads", 1, "--checkpoint", "c")
    many = (*arguments, "--iterations", 10**6, "--checkpoint-every", 0)
    process = start("transfer", "photo.png", "painting.png", "-o", "out.png", *many)
    try:
        until = time.monotonic() + 60
        while not Path("c").exists() and time.monotonic() < until:
            time.sleep(0.01)
        assert paint(network, "--checkpoint", "c", "--resume", "--iterations", 10**6) == 2
        one_error(capfd, IN_USE)
        process.send_signal(number)
        process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    # The lock is free: what is wrong now is another thing.
    assert paint(network, "--checkpoint", "c", "--resume", "--quiet") == 2
    one_error(capfd, "c was saved by another run: iterations was 1000000, now 2")
