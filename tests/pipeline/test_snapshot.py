"""Saved runs as files: everything comes back, reaches the disk in order, and nothing in a file is trusted."""

from __future__ import annotations

import io
import json
import os
import weakref
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from lbfgs_style import Checkpoint, CheckpointError
from lbfgs_style.objective.evaluation import Value
from lbfgs_style.optimization.lbfgs import minimize
from lbfgs_style.optimization.problem import HostProblem
from lbfgs_style.optimization.state import BlockwiseState, FinishedBlocks, OptimizerState
from lbfgs_style.optimization.variables import Pixels
from lbfgs_style.pipeline.checkpoints import snapshot as snapshots
from lbfgs_style.pipeline.checkpoints.snapshot import Snapshot
from lbfgs_style.pipeline.plan import run_plan
from lbfgs_style.pipeline.plan.memory import ScaleMethod
from lbfgs_style.pipeline.plan.scales import Scale, ScaleResult
from lbfgs_style.pipeline.run_log import RunLog
from tests.helpers.command import contents
from tests.helpers.interrupted_runs import OPTIONS, PAINTING, PHOTO, cut_off, job, stop_after

IDENTITY = {"options": {"size": 48}, "network": "00"}


def value(loss: float) -> Value:
    return Value(loss, np.array([loss / 3, 7], np.float32))


STANDING = OptimizerState(
    z=np.arange(6) / 7,
    best_z=np.arange(6) / 9,
    start=value(9.5),
    best=value(0.1),
    iterations=5,
    evaluations=8,
    memory={"mean": np.ones(6), "square": np.arange(6.0)},
)
BLOCKS = BlockwiseState(
    image=np.arange(3 * 36 * 48, dtype=np.float32).reshape(3, 36, 48),
    before=np.arange(3 * 36 * 16, dtype=np.float32).reshape(3, 36, 16) / 3,
    reference={"tv": np.array(1 / 3), "gram_relu1_1": np.arange(9.0).reshape(3, 3) / 7},
    finished=FinishedBlocks(2, 9, 11, value(5.0), value(4.0)),
    best=value(3.5),
    block=replace(STANDING, memory={}),
)
SNAPSHOT = Snapshot(
    scale=1,
    scales=(Scale((24, 32), 16), Scale((36, 48), 12)),
    methods=(ScaleMethod("whole", None, 10, 10**9), ScaleMethod("tiles", 4500, 5, 0)),
    seconds=61.25,
    scale_seconds=2.5,
    history=[9.5, 1 / 3, 0.1] * 7,
    term_history=[np.array([1, number], np.float32) for number in range(21)],
    results=(
        ScaleResult((24, 32), 16, 18, 58.5, 9.5, 0.2, {"content": 1.5}, {"content": 0.5}, "iterations"),
    ),
    resumed=3,
    state=STANDING,
)
IN_BLOCKS = replace(
    SNAPSHOT,
    methods=(SNAPSHOT.methods[0], ScaleMethod("blocks", 4500, 5, 0)),
    history=[9.5, 1 / 3, 0.1] * 10,
    term_history=[np.array([1, number], np.float32) for number in range(30)],
    state=BLOCKS,
)
AT_FIRST = replace(
    IN_BLOCKS,
    history=SNAPSHOT.history,
    term_history=SNAPSHOT.term_history,
    state=replace(BLOCKS, finished=None),
)


def same(one: object, other: object) -> None:
    """Assert that two values have the same type and are equal, arrays in dataclasses too."""
    assert type(one) is type(other)
    if is_dataclass(one):
        for field in fields(one):
            same(getattr(one, field.name), getattr(other, field.name))
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for name in one:
            same(one[name], other[name])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for actual, expected in zip(one, other, strict=True):
            same(actual, expected)
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    else:
        assert one == other


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.checkpoint"


@pytest.mark.parametrize("snapshot", [SNAPSHOT, IN_BLOCKS, AT_FIRST])
def test_everything_comes_back(path, snapshot):
    snapshots.write(path, snapshot, IDENTITY)
    again, identity = snapshots.read(path)
    same(again, snapshot)
    assert identity == IDENTITY


def test_a_run_that_has_ended_holds_no_image(path):
    image = BLOCKS.image.copy()
    held = weakref.ref(image)
    log = RunLog(checkpoint=Checkpoint(path), saved=replace(IN_BLOCKS, state=replace(BLOCKS, image=image)))
    assert log.checkpoint is not None
    log.checkpoint.offer(log.saved, share=0.5)
    del image
    log.finish()
    assert held() is None


def test_a_latest_that_is_the_best_is_stored_once(path):
    snapshots.write(path, replace(SNAPSHOT, state=replace(STANDING, best_z=STANDING.z)), IDENTITY)
    with np.load(path) as archive:
        assert "best_z" not in archive.files
    again, _ = snapshots.read(path)
    assert again.state.best_z is again.state.z


def test_the_contents_reach_the_disk_before_the_name(path, monkeypatch):
    seen, sync, put = [], os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda number: seen.append("contents") or sync(number))
    monkeypatch.setattr(Path, "replace", lambda self, target: seen.append("name") or put(self, target))
    snapshots.write(path, SNAPSHOT, IDENTITY)
    assert seen == ["contents", "name"]


def test_a_temporary_file_of_a_killed_process_is_reused(path):
    snapshots.temporary_of(path).write_bytes(b"half")
    snapshots.write(path, SNAPSHOT, IDENTITY)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="links need rights on Windows")
def test_discard_removes_all_files(path):
    """The file behind a link, and what an earlier save of it left when it was killed."""
    link = path.with_name("link")
    link.symlink_to(path)
    kept = cut_off(link, 3)
    assert sorted(contents(path.parent)) == ["link", "run.checkpoint"]
    snapshots.temporary_of(link).write_bytes(b"half")
    kept.discard()
    assert [left.name for left in path.parent.iterdir() if not left.is_symlink()] == []


def test_the_seconds_continue(path):
    cut_off(path, 3)
    snapshot, identity = snapshots.read(path)
    snapshots.write(path, replace(snapshot, seconds=1000.0, scale_seconds=400.0), identity)
    result = job().run(PHOTO, PAINTING, checkpoint=Checkpoint(path, resume=True))
    assert 1000 < result.seconds < 1300
    assert 400 < result.scales[0].seconds < 700


@pytest.mark.parametrize(
    "change",
    [
        {"scale": 2},
        {"scale": -1},
        {"scales": (Scale((36, 48), 12),)},
        {"scales": (Scale((24, 32), 16), Scale((36, 48), 13))},
        {"methods": SNAPSHOT.methods[:1]},
    ],
)
def test_other_scales_are_refused(path, change):
    """As another version might plan them for the same options."""
    cut_off(path, 3)
    snapshot, identity = snapshots.read(path)
    snapshots.write(path, replace(snapshot, **change), identity)
    with pytest.raises(CheckpointError, match=r"other scales than this run|damaged.*start again"):
        job().run(PHOTO, PAINTING, checkpoint=Checkpoint(path, resume=True))


# Files that are no checkpoints


class Touched:
    """Unpickled, it would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def arrays(path):
    """What a whole checkpoint holds, which tests change."""
    snapshots.write(path, SNAPSHOT, IDENTITY)
    with np.load(path) as archive:
        return dict(archive)


def packed(arrays: dict[str, np.ndarray]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def changed(path: Path, change: dict[str, object]) -> None:
    """Replace arrays or entries of the text of a checkpoint; None removes one."""
    with np.load(path) as archive:
        arrays: dict[str, np.ndarray | None] = dict(archive)
    about = json.loads(str(arrays["about"]))
    arrays |= {name: value for name, value in change.items() if name not in about}
    about |= {name: value for name, value in change.items() if name in about}
    removed = {name for name, value in change.items() if value is None}
    arrays["about"] = np.array(
        json.dumps({name: value for name, value in about.items() if name not in removed})
    )
    path.write_bytes(packed({name: array for name, array in arrays.items() if name not in removed}))


def refused(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="damaged, or no checkpoint") as e:
        snapshots.read(path)
    assert "\n" not in str(e.value)


def test_a_pickle_in_it_is_not_run(path, arrays):
    bait = path.with_name("touched")
    refused(path, packed(arrays | {"z": np.array([Touched(bait)], object)}))
    assert not bait.exists()


WHOLE = {"way": "whole", "window_pixels": None, "history": 10, "bytes": 0}
RESULT = {
    "size": [24, 32],
    "iterations": 16,
    "evaluations": 18,
    "seconds": 58.5,
    "loss_start": 9.5,
    "loss_end": 0.2,
    "terms_start": {"content": 1.5},
    "terms_end": {"content": 0.5},
    "stop_reason": "iterations",
}
DONE = {
    "blocks": 2,
    "iterations": 9,
    "evaluations": 11,
    "start": {"loss": 5, "terms": [5 / 3, 7]},
    "end": {"loss": 4, "terms": [4 / 3, 7]},
}

BEST = {"loss": 3.5, "terms": [3.5 / 3, 7]}


def other(sound: dict[str, object], *changes: dict[str, object]) -> list[dict[str, object]]:
    return [sound | change for change in changes]


OF_NO_RUN = [
    *({name: None} for name in ("scale", "format", "about", "z", "history", "term_history")),
    *({"scale": value} for value in ("first", float("inf"), [], 1.9, -1, 7)),
    *({"identity": value} for value in ({}, {"options": 7}, 7)),
    {"scales": [[1, 2]]},
    {"format": np.array([1.0])},
    # More or fewer values than losses, or values that are no numbers.
    *({"iterations": value} for value in (6, 5.0)),
    *({"evaluations": value} for value in (-1, True)),
    {"resumed": "3"},
    {"seconds": float("nan")},
    {"scale_seconds": -1},
    *({"start": {"loss": loss, "terms": [1, 7]}} for loss in ("0.1", float("inf"), 1e300)),
    *({"best": {"loss": 0.1, "terms": terms}} for terms in (1, [1], [float("nan"), 7])),
    {"best": "none"},
    # Scales and blocks that went otherwise.
    *({"results": value} for value in ([], [7], [["whole"]])),
    *({"results": [value]} for value in other(RESULT, {"size": [32, 24]}, {"size": [24]}, {"size": 24})),
    *({"results": [value]} for value in other(RESULT, {"iterations": 16.0}, {"evaluations": None})),
    *({"results": [value]} for value in other(RESULT, {"seconds": "long"}, {"loss_start": None})),
    *({"results": [value]} for value in other(RESULT, {"loss_end": float("nan")}, {"stop_reason": "a whim"})),
    *({"results": [RESULT | {"terms_start": value}]} for value in (7, {"content": "1.5"})),
    *({"ways": [WHOLE, value]} for value in other(WHOLE, {"window_pixels": 9}, {"way": "tiles"})),
    *(
        {"ways": [WHOLE, value]}
        for value in other(WHOLE, {"history": -1}, {"history": 1.5}, {"bytes": "all"})
    ),
    *({"ways": [WHOLE, WHOLE | {"way": way, "window_pixels": 9}]} for way in ("blocks", "strips")),
    *({"ways": [WHOLE, WHOLE | {"way": "tiles", "window_pixels": pixels}]} for pixels in (-9, "x")),
    *({"ways": value} for value in ([WHOLE], [{"way": "whole"}] * 2, [["whole", None, 10, 1]] * 2)),
    # Arrays of other numbers.
    *({"history": np.ones(shape)} for shape in (22, 20, (21, 1))),
    *({"history": value} for value in (np.full(21, np.nan), np.array(["1"] * 21))),
    *({"term_history": np.ones(shape, np.float32)} for shape in (21, (21, 3), (20, 2))),
    {"term_history": np.full((21, 2), np.inf, np.float32)},
    *({"z": value} for value in (np.ones(6, np.float32), np.full(6, np.nan))),
    {"best_z": np.ones(7)},
    {"memory_mean": np.full(6, np.nan)},
]
OF_NO_BLOCKS = [
    *(
        {"image": np.full(shape, value, np.float32)}
        for shape, value in ([(3, 36, 47), 0], [(3, 36, 48), np.nan])
    ),
    {"image": None},
    *({"before": value} for value in (None, np.ones((3, 36, 16)), np.full((3, 36, 16), np.nan, np.float32))),
    *({"sum_tv": value} for value in (np.array(np.inf), np.array(1, np.float32))),
    {"blocks": 7},
    *(
        {"blocks": {"done": value, "best": BEST}}
        for value in other(DONE, {"blocks": -1}, {"blocks": "2"}, {"iterations": 8})
    ),
    {"blocks": {"done": DONE | {"end": {"loss": 4, "terms": [4 / 3, 7, 1]}}, "best": BEST}},
    {"blocks": {"done": DONE}},
    {"blocks": {"done": DONE, "best": {"loss": 4, "terms": [4 / 3, 7, 1]}}},
    {"blocks": {"done": DONE, "best": {"loss": "4", "terms": [4 / 3, 7]}}},
]


@pytest.mark.parametrize(
    ("snapshot", "change"),
    [*((SNAPSHOT, change) for change in OF_NO_RUN), *((IN_BLOCKS, change) for change in OF_NO_BLOCKS)],
    ids=str,
)
def test_inconsistent_checkpoints_are_refused(path, snapshot, change):
    sound = {"results": [RESULT], "blocks": None if snapshot is SNAPSHOT else {"done": DONE, "best": BEST}}
    snapshots.write(path, snapshot, IDENTITY)
    changed(path, {name: value for name, value in sound.items() if value is not None})
    same(snapshots.read(path)[0], snapshot)
    changed(path, change)
    refused(path, path.read_bytes())


OF_ANOTHER_RUN = [
    ("lbfgs", "variables", lambda z: {"z": z[1:]}),
    ("lbfgs", "variables", lambda z: {"z": np.append(z, z)}),
    ("lbfgs", "variables", lambda z: {"z": z.reshape(3, 36, 48)}),
    ("lbfgs", "variables", lambda z: {"memory_t": np.array(4.0)}),
    ("sgd", "variables", lambda z: {"memory_t": None}),
    ("sgd", "variables", lambda z: {"memory_t": np.full_like(z, 4)}),
    ("sgd", "variables", lambda z: {"memory_t": np.array(-1.0)}),
    ("adam", "variables", lambda z: {"memory_m": np.zeros(())}),
    ("adam", "variables", lambda z: {"memory_v": -z}),
    ("lbfgs", "another history", lambda z: {"ways": [WHOLE | {"history": 0}] * 2}),
    ("lbfgs", "another history", lambda z: {"ways": [WHOLE | {"history": 101}] * 2}),
    ("lbfgs", "no image", lambda z: {"z": np.full_like(z, 1e300)}),
    ("lbfgs", "no image", lambda z: {"z": np.full_like(z, 1e6)}),
]


@pytest.mark.parametrize(("optimizer", "says", "change"), OF_ANOTHER_RUN)
def test_a_state_that_does_not_fit_the_run_is_refused(path, optimizer, says, change):
    options = replace(OPTIONS, optimizer=optimizer)
    cut_off(path, 20, options)
    with np.load(path) as archive:
        z = archive["z"]
    changed(path, {"best_z": None} | change(z))
    with pytest.raises(CheckpointError, match=rf"The checkpoint has .*{says}.*: start again without it\.$"):
        job(options).run(PHOTO, PAINTING, checkpoint=Checkpoint(path, resume=True))


def test_terms_of_another_run_are_refused(path):
    cut_off(path, 20)
    snapshot, identity = snapshots.read(path)
    values = np.ones(6, np.float32)  # one more than there are
    state = replace(snapshot.state, start=Value(1.0, values), best=Value(1.0, values))
    snapshots.write(path, replace(snapshot, state=state, term_history=[values] * 20), identity)
    with pytest.raises(CheckpointError, match=r"other terms .*: start again without it\.$"):
        job().run(PHOTO, PAINTING, checkpoint=Checkpoint(path, resume=True))


def test_a_block_of_another_length_is_refused():
    """Where the picture fits, but not what is in work."""
    wrong = OptimizerState(np.zeros(30), np.zeros(30), value(1), value(1), 1, 1, {})
    with pytest.raises(CheckpointError, match="has other variables than this run"):
        minimize(
            HostProblem(lambda _: None, Pixels((4, 4))),
            np.zeros((3, 4, 4)),
            iterations=1,
            history=5,
            resume=wrong,
        )


@pytest.mark.parametrize(
    ("says", "change"),
    [
        ("no image", lambda now: now.image.__setitem__((0, 0, 0), -2e4)),
        ("no image", lambda now: now.image.__setitem__((0, 0, 0), 2e4)),
        ("no image", lambda now: now.before.__setitem__((0, 0, 0), -2e4)),
        ("no image", lambda now: now.before.__setitem__((0, 0, 0), 2e4)),
        ("other blocks", lambda now: replace(now, before=now.before[:, 1:])),
        (
            "other blocks",
            lambda now: replace(now, finished=FinishedBlocks(99, 0, 0, now.block.start, now.block.start)),
        ),
        ("other sums", lambda now: replace(now, reference=dict(list(now.reference.items())[1:]))),
        ("other sums", lambda now: replace(now, reference={n: a[None] for n, a in now.reference.items()})),
    ],
)
def test_blocks_of_another_run_are_refused(path, monkeypatch, says, change):
    monkeypatch.setattr(
        run_plan, "choose_methods", lambda *a: [ScaleMethod("blocks", 4500, 5, 0) for _ in a[3]]
    )
    painter = job(scales="single", iterations=2)
    painter.run(PHOTO, PAINTING, on_iterate=stop_after(1), checkpoint=Checkpoint(path, every=0))
    snapshot, identity = snapshots.read(path)
    state = change(snapshot.state) or snapshot.state
    snapshots.write(path, replace(snapshot, state=state), identity)
    with pytest.raises(CheckpointError, match=f"The checkpoint has {says}.*: start again without it"):
        painter.run(PHOTO, PAINTING, checkpoint=Checkpoint(path, resume=True))


def compressed(data: bytes) -> bytes:
    file = io.BytesIO()
    with np.load(io.BytesIO(data)) as archive:
        np.savez_compressed(file, **archive)
    return file.getvalue()


def marked(data: bytes, place: int, number: int) -> bytes:
    """Return an archive whose first member is marked in both of its heads (APPNOTE.TXT, 4.3.7 and 4.3.12)."""
    result, central = bytearray(data), data.index(b"PK\1\2")
    result[place] = result[central + place + 2] = number
    return bytes(result)


BROKEN = {
    "nothing": lambda data: b"",
    "a text": lambda data: b"a text",
    "an array alone": lambda data: data[data.index(b"\x93NUMPY") :],
    "a text that is no JSON": lambda data: data.replace(b"i\0\0\0d\0\0\0e", b"]\0\0\0d\0\0\0e", 1),
    "an archive without its directory": lambda data: data[: data.index(b"PK\1\2")],
    "a way of packing that nobody knows": lambda data: marked(data, 8, 99),
    "a password": lambda data: marked(data, 6, 1),
    "packed": compressed,
    "packed, and cut off": lambda data: marked(data, 8, 8),
    "brackets that do not close": lambda data: data.replace(b"'shape': (6,)", b"'shape': (6, ", 1),
    "brackets that do not open": lambda data: data.replace(b"'shape': (6,)", b"'shape': )6,)", 1),
    "text within text": lambda data: packed({"format": np.array(3), "about": np.array("[" * 100_000)}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_is_broken_is_refused(path, arrays, name):
    data = BROKEN[name](packed(arrays))
    assert data != packed(arrays)
    refused(path, data)


def test_every_bit_of_the_head_of_an_array(path, arrays):
    """NumPy parses it as Python before the archive's checksum is verified."""
    data = packed(arrays)
    begin = data.index(b"\x93NUMPY")
    for place in range(begin, begin + 100):
        for bit in range(8):
            turned = bytearray(data)
            turned[place] ^= 1 << bit
            refused(path, turned)


def test_an_unreadable_checkpoint_is_refused(path):
    path.mkdir()
    with pytest.raises(CheckpointError, match="cannot be read: "):
        snapshots.read(path)
