"""After Ctrl-C nothing new begins, and work that takes seconds at large sizes is left out."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from lbfgs_style import Checkpoint, images
from lbfgs_style.cli import files as cli_files
from lbfgs_style.cli import transfer
from lbfgs_style.images import row_strips, to_array
from lbfgs_style.objective import session
from lbfgs_style.objective.engine import Engine
from lbfgs_style.objective.tiling.blocks import Blocks
from lbfgs_style.pipeline import results
from lbfgs_style.pipeline.checkpoints import snapshot as snapshots
from lbfgs_style.pipeline.plan import run_plan
from lbfgs_style.pipeline.plan.memory import ScaleMethod
from lbfgs_style.system.threads import NEVER, Cancellation, Cancelled
from tests.helpers.command import paint
from tests.helpers.interrupted_runs import OPTIONS, PAINTING, PHOTO, cut_off, job

RNG = np.random.default_rng(3)
LARGE_PHOTO, LARGE_PAINTING = (RNG.random((96, 128, 3)).astype(np.float32) for _ in range(2))
WAYS = ["whole", "tiles", "blocks"]


@pytest.fixture
def large(monkeypatch):
    """Return a function that runs a scale in one of three ways until `cancel` is set."""

    def run(way, **more):
        ways = lambda *a: [ScaleMethod(way, None if way == "whole" else 4500, 5, 0) for _ in a[3]]  # noqa: E731
        monkeypatch.setattr(run_plan, "choose_methods", ways)
        options = replace(OPTIONS, size=128, scales="single", iterations=24)
        return job(options).run(LARGE_PHOTO, LARGE_PAINTING, **more)

    return run


def test_a_block_in_preparation_is_not_waited_for(large, monkeypatch):
    """Building the graphs of a later block takes seconds and cannot be cancelled."""
    cancel, released, prepared = threading.Event(), threading.Event(), []
    plain = Blocks.free

    def free(self, tile):
        block = plain(self, tile)
        if len(prepared) == 2:
            cancel.set()
            released.wait(20)
        prepared.append(block)
        return block

    monkeypatch.setattr(Blocks, "free", free)
    result = large("blocks", cancel=cancel)
    assert len(prepared) == 2
    released.set()
    assert result.stop_reason == "cancelled"
    assert result.history


@pytest.fixture
def runs(monkeypatch):
    """Record for each run of onnxruntime whether it was cancelled before it began and when it ended."""
    recorded = []
    sound = session.run_interruptibly

    def noting(work, options, cancellation):
        if cancellation is NEVER:  # the loss of sums takes no time
            return sound(work, options, cancellation)
        begun_after = cancellation.is_requested
        place = len(recorded)
        recorded.append(None)
        try:
            sound(lambda: before(place, work), options, cancellation)
        finally:
            recorded[place] = (begun_after, options.terminate)
        return None

    def before(place, work):
        noting.at(place)
        work()

    noting.at = lambda place: None
    monkeypatch.setattr(session, "run_interruptibly", noting)
    return recorded, noting


@pytest.mark.parametrize("way", WAYS)
def test_no_evaluation_begins_after_cancellation(large, runs, way):
    recorded, _ = runs
    cancel, counts = threading.Event(), []

    def on_iterate(iterate):
        if iterate.iteration == 3:
            cancel.set()
            counts.append(len(recorded))

    result = large(way, on_iterate=on_iterate, cancel=cancel)
    assert (result.stop_reason, len(result.history)) == ("cancelled", 3)
    assert counts == [len(recorded)]
    assert np.isfinite(result.image).all()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("number", [0, 1, 2, 10, 20, 25])
def test_a_run_of_onnxruntime_is_ended(large, runs, way, number):
    """Whatever it is for: targets, the sums of all tiles, or an evaluation; they come in this order."""
    recorded, noting = runs
    cancel, waiting = threading.Event(), threading.Event()

    def at(place):
        if place == number:
            cancel.set()
            waiting.wait(0.2)  # until the main thread has looked

    noting.at = at
    result = large(way, cancel=cancel)
    assert result.stop_reason == "cancelled"
    until = time.monotonic() + 60
    while recorded[number] is None and time.monotonic() < until:  # preparations end by themselves
        time.sleep(0.01)
    assert recorded[number] == (False, True)
    assert len(recorded) == number + 1


def test_the_arena_is_not_released_after_ctrl_c(large, monkeypatch):
    """Nor anything else: the process is about to end. At the end of other runs it is."""
    order = []
    monkeypatch.setattr(Engine, "release_memory", lambda self: order.append("given back"))
    cancel = threading.Event()

    def note(_):
        order.append("iterate")
        return order.count("iterate") == 2

    large("whole", on_iterate=lambda _: (order.append("iterate"), cancel.set())[1], cancel=cancel)
    assert order[-1] == "iterate"
    order.clear()
    large("whole", on_iterate=note)
    assert order[-2:] == ["iterate", "given back"]


def test_the_array_is_made_when_it_is_asked_for(monkeypatch):
    called = []
    monkeypatch.setattr(results, "to_array", lambda picture: called.append(picture) or to_array(picture))
    result = job().run(PHOTO, PAINTING)
    assert called == []
    assert result.image is result.image
    assert len(called) == 1
    assert result.image.shape == (36, 48, 3)


# Saving


def test_a_save_is_ended(path):
    cut_off(path, 20)
    before, (snapshot, identity) = path.read_bytes(), snapshots.read(path)
    cancel = threading.Event()
    snapshots.write(path, snapshot, identity, Cancellation(cancel))
    assert path.read_bytes() == before
    cancel.set()
    with pytest.raises(Cancelled):
        snapshots.write(path, snapshot, identity, Cancellation(cancel))
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_run_that_is_cancelled_while_it_saves_ends(path, monkeypatch):
    """The previous checkpoint is kept, or the last iteration is saved if that is quick."""
    cancel, count = threading.Event(), []
    sound = snapshots.np.savez

    def savez(file, **arrays):
        count.append(1)
        if len(count) == 3:
            cancel.set()
        sound(file, **arrays)

    monkeypatch.setattr(snapshots.np, "savez", savez)
    result = job().run(PHOTO, PAINTING, cancel=cancel, checkpoint=Checkpoint(path, every=0))
    assert (result.stop_reason, len(result.history)) == ("cancelled", 3)
    assert snapshots.read(path)[0].history == list(result.history)


def test_a_large_run_stays_as_it_was_saved_last(path, monkeypatch):
    monkeypatch.setattr("lbfgs_style.pipeline.checkpoints.checkpoint.QUICK_BYTES", 41_000)
    cancel = threading.Event()

    def stop_at(number):
        cancel.clear()
        return lambda iterate: cancel.set() if iterate.iteration == number else None

    kept = Checkpoint(path, every=1000)
    job().run(PHOTO, PAINTING, on_iterate=stop_at(3), cancel=cancel, checkpoint=kept)
    assert kept.saved  # 24·32·3 numbers of 8 bytes, and the best once
    path.unlink()
    large = replace(OPTIONS, scales="single", iterations=9)
    kept = Checkpoint(path, every=1000)
    job(large).run(PHOTO, PAINTING, on_iterate=stop_at(3), cancel=cancel, checkpoint=kept)
    assert not kept.saved  # 36·48·3
    assert list(path.parent.iterdir()) == []


def test_the_size_of_a_snapshot(path):
    cut_off(path, 20)
    snapshot, _ = snapshots.read(path)
    assert 0 < path.stat().st_size - snapshots.size_of(snapshot) < 16_000  # the losses, and text


# Writing


@pytest.fixture
def small_strips(monkeypatch):
    monkeypatch.setattr(row_strips, "SHORT_STRIP", 80)


def test_strips_come_from_top_to_bottom(small_strips):
    assert list(row_strips.map_rows(lambda a, b: (a, b), 7, 40)) == [(0, 2), (2, 4), (4, 6), (6, 7)]
    assert list(row_strips.map_rows(lambda a, b: (a, b), 2, 1000)) == [(0, 1), (1, 2)]


def test_a_strip_that_fails_is_reported(small_strips):
    def fail(start, stop):
        raise MemoryError(f"at {start}")

    with pytest.raises(MemoryError, match="at 0"):
        list(row_strips.map_rows(fail, 100, 40))


@pytest.mark.parametrize("suffix", ["webp", "avif", "jpg"])
@pytest.mark.parametrize("interrupted", [False, True])
def test_a_png_stands_in_for_what_takes_seconds(folder, network, capfd, monkeypatch, suffix, interrupted):
    """The file of the requested name is not changed."""
    monkeypatch.setattr(cli_files, "SLOW_PIXELS", 100)
    output = folder / f"out.{suffix}"
    output.write_bytes(b"before")
    cancel = threading.Event()
    if interrupted:
        stop = lambda **_: _always(lambda _: cancel.set())  # noqa: E731
        monkeypatch.setattr(transfer, "show_progress", stop)
        monkeypatch.setattr(transfer, "cancelled_by_signals", lambda **_: _always(cancel))
    assert paint(network, output=output.name) == (130 if interrupted else 0)
    stands_in = interrupted and suffix != "jpg"
    assert (output.read_bytes() == b"before") is stands_in
    beside = folder / f"out.{suffix}.png"
    assert beside.exists() is stands_in
    if stands_in:
        images.read(beside)
        assert beside.name in capfd.readouterr().err
    assert [file.name for file in folder.iterdir() if file.name.startswith(".")] == []


class _always:
    """A context that gives something."""

    def __init__(self, value):
        self.value = value

    def __enter__(self):
        return self.value

    def __exit__(self, *_):
        pass
