"""Saved runs as files: everything comes back, reaches the disk in order, and nothing in a file is trusted."""

from __future__ import annotations

import io
import json
import os
import zipfile
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from command import contents
from test_checkpoints import PAINTING, PHOTO, cut_off, job

from lbfgs_style import Checkpoint, CheckpointError, snapshots
from lbfgs_style.budget import Working
from lbfgs_style.objective import Value
from lbfgs_style.records import ScaleResult
from lbfgs_style.scales import Scale
from lbfgs_style.snapshots import Snapshot
from lbfgs_style.standing import BlocksStanding, Done, Standing

IDENTITY = {"options": {"size": 48}, "network": "00"}


def value(loss: float) -> Value:
    return Value(loss, np.array([loss / 3, 7], np.float32))


STANDING = Standing(
    z=np.arange(6) / 7,
    best_z=np.arange(6) / 9,
    start=value(9.5),
    best=value(0.1),
    iterations=5,
    evaluations=8,
    memory={"mean": np.ones(6), "square": np.arange(6.0)},
)
BLOCKS = BlocksStanding(
    image=np.arange(3 * 36 * 48, dtype=np.float32).reshape(3, 36, 48),
    done=Done(2, 9, 11, value(5.0), value(4.0)),
    block=replace(STANDING, memory={}),
)
SNAPSHOT = Snapshot(
    scale=1,
    scales=(Scale((24, 32), 16), Scale((36, 48), 12)),
    ways=(Working("whole", None, 10, 10**9), Working("blocks", 4500, 5, 0)),
    seconds=61.25,
    scale_seconds=2.5,
    history=[9.5, 1 / 3, 0.1],
    term_history=[np.array([1, number], np.float32) for number in range(3)],
    results=(
        ScaleResult((24, 32), 16, 18, 58.5, 9.5, 0.2, {"content": 1.5}, {"content": 0.5}, "iterations"),
    ),
    resumed=3,
    standing=STANDING,
)


def same(one: object, other: object) -> None:
    """Hold two values to be of one type and equal, arrays in dataclasses too."""
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
        for mine, theirs in zip(one, other, strict=True):
            same(mine, theirs)
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    else:
        assert one == other


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.checkpoint"


@pytest.mark.parametrize("standing", [STANDING, BLOCKS, replace(BLOCKS, done=None)])
def test_everything_comes_back(path, standing):
    snapshot = replace(SNAPSHOT, standing=standing)
    snapshots.write(path, snapshot, IDENTITY)
    again, identity = snapshots.read(path)
    same(again, snapshot)
    assert identity == IDENTITY


def test_what_is_best_and_latest_is_stored_once(path):
    snapshots.write(path, replace(SNAPSHOT, standing=replace(STANDING, best_z=STANDING.z)), IDENTITY)
    with np.load(path) as archive:
        assert "best_z" not in archive.files
    again, _ = snapshots.read(path)
    assert again.standing.best_z is again.standing.z


def test_the_contents_reach_the_disk_before_the_name(path, monkeypatch):
    seen, sync, put = [], os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda number: seen.append("contents") or sync(number))
    monkeypatch.setattr(Path, "replace", lambda self, target: seen.append("name") or put(self, target))
    snapshots.write(path, SNAPSHOT, IDENTITY)
    assert seen == ["contents", "name"]


def test_what_a_killed_process_left_is_taken_over(path):
    snapshots.temporary_of(path).write_bytes(b"half")
    snapshots.write(path, SNAPSHOT, IDENTITY)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="links need rights on Windows")
def test_a_finished_run_takes_everything_away(path):
    """The file behind a link, and what an earlier save of it left when it was killed."""
    link = path.with_name("link")
    link.symlink_to(path)
    kept = cut_off(link, 3)
    assert sorted(contents(path.parent)) == ["link", "run.checkpoint"]
    snapshots.temporary_of(link).write_bytes(b"half")
    kept.discard()
    assert [left.name for left in path.parent.iterdir() if not left.is_symlink()] == []


def test_time_goes_on_where_it_was(path):
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
        {"ways": SNAPSHOT.ways[:1]},
    ],
)
def test_other_scales_are_refused(path, change):
    """As another version might plan them for the same options."""
    cut_off(path, 3)
    snapshot, identity = snapshots.read(path)
    snapshots.write(path, replace(snapshot, **change), identity)
    with pytest.raises(CheckpointError, match=r"other scales than this run|damaged.*begin anew"):
        job().run(PHOTO, PAINTING, checkpoint=Checkpoint(path, resume=True))


# Files that are none


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


def test_a_pickle_in_it_is_not_run(path, arrays):
    bait = path.with_name("touched")
    path.write_bytes(packed(arrays | {"z": np.array([Touched(bait)], object)}))
    with pytest.raises(CheckpointError, match="damaged, or no checkpoint"):
        snapshots.read(path)
    assert not bait.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"scale": None},
        {"scale": "first"},
        {"scale": float("inf")},
        {"scale": []},
        {"scales": [[1, 2]]},
        {"ways": [{"way": "whole"}]},
        {"results": [7]},
        {"blocks": 7},
        {"best": "none"},
        {"identity": {}},
        {"identity": {"options": 7}},
        {"identity": 7},
    ],
)
def test_a_text_that_lacks_something_is_refused(path, arrays, change):
    about = json.loads(str(arrays["about"])) | change
    about = {name: value for name, value in about.items() if value is not None}
    path.write_bytes(packed(arrays | {"about": np.array(json.dumps(about))}))
    with pytest.raises(CheckpointError, match="damaged, or no checkpoint"):
        snapshots.read(path)


def without(data: bytes, name: str) -> bytes:
    """Return an archive without one of its members."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w") as new:
        for member in old.namelist():
            if member != f"{name}.npy":
                new.writestr(member, old.read(member))
    return file.getvalue()


def marked(data: bytes, place: int, number: int) -> bytes:
    """Return an archive whose first member is marked in both of its heads (APPNOTE.TXT, 4.3.7 and 4.3.12)."""
    found, central = bytearray(data), data.index(b"PK\1\2")
    found[place] = found[central + place + 2] = number
    return bytes(found)


BROKEN = {
    "nothing": lambda data: b"",
    "a text": lambda data: b"a text",
    "an array alone": lambda data: data[data.index(b"\x93NUMPY") :],
    "a text that is no JSON": lambda data: data.replace(b"i\0\0\0d\0\0\0e", b"]\0\0\0d\0\0\0e", 1),
    "an archive without its directory": lambda data: data[: data.index(b"PK\1\2")],
    "a way of packing that nobody knows": lambda data: marked(data, 8, 99),
    "a password": lambda data: marked(data, 6, 1),
    "packed, and cut off": lambda data: marked(data, 8, 8),
    "brackets that do not close": lambda data: data.replace(b"'shape': (6,)", b"'shape': (6, ", 1),
    "brackets that do not open": lambda data: data.replace(b"'shape': (6,)", b"'shape': )6,)", 1),
    **{
        f"no {name}": lambda data, name=name: without(data, name)
        for name in ("format", "about", "z", "history")
    },
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_is_broken_is_refused(path, arrays, name):
    path.write_bytes(BROKEN[name](packed(arrays)))
    assert path.read_bytes() != packed(arrays)
    with pytest.raises(CheckpointError, match="damaged, or no checkpoint") as e:
        snapshots.read(path)
    assert "\n" not in str(e.value)


def test_every_bit_of_the_head_of_an_array(path, arrays):
    """NumPy reads it as Python before the archive's checksum has been looked at."""
    data = packed(arrays)
    begin = data.index(b"\x93NUMPY")
    for place in range(begin, begin + 100):
        for bit in range(8):
            turned = bytearray(data)
            turned[place] ^= 1 << bit
            path.write_bytes(turned)
            with pytest.raises(CheckpointError, match="damaged, or no checkpoint"):
                snapshots.read(path)


def test_a_file_that_cannot_be_read_is_told_apart(path):
    path.mkdir()
    with pytest.raises(CheckpointError, match="cannot be read: "):
        snapshots.read(path)
