"""Files are written completely or not at all, and obstacles are reported beforehand."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest

from lbfgs_style import ImageFileError, images
from lbfgs_style.system import files

POSIX = pytest.mark.skipif(os.name != "posix", reason="permissions and links as POSIX has them")


def test_replacing_renames_at_the_end_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")
    with files.atomic_write(path) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".json"
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_replacing_cleans_up_after_an_interrupt(tmp_path: Path) -> None:
    path = tmp_path / "report.json"

    def interrupted() -> None:
        with files.atomic_write(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


@POSIX
def test_a_link_stays_and_its_file_is_replaced(tmp_path: Path) -> None:
    real, link = tmp_path / "real.txt", tmp_path / "link.txt"
    real.write_text("old")
    link.symlink_to(real)
    with files.atomic_write(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink()
    assert real.read_text() == "new"


@POSIX
@pytest.mark.parametrize("mode", [0o600, 0o664])
def test_a_replaced_file_hands_its_permissions_on(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "private.txt"
    path.touch()
    path.chmod(mode)
    with files.atomic_write(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_disk_without_permissions_is_written_all_the_same(tmp_path: Path, monkeypatch) -> None:
    def refuse(*args: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(files.shutil, "copymode", refuse)
    path = tmp_path / "report.json"
    path.write_text("old")
    with files.atomic_write(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"


@POSIX
@pytest.mark.parametrize("says_so", [True, False])
def test_a_circular_link_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says_so: bool) -> None:
    """Python up to 3.12 raises an error for it; later versions, simulated here, return the link."""
    if not says_so:
        monkeypatch.setattr(Path, "resolve", Path.absolute)
    loop = tmp_path / "loop.png"
    loop.symlink_to(loop)
    assert re.search("leads back to itself", files.why_unwritable(loop) or "")
    with pytest.raises(ImageFileError, match=r"loop\.png: is a symbolic link that leads back to itself"):
        images.check_output(loop)
    with pytest.raises(OSError, match=r"loop\.png"), files.atomic_write(loop) as temporary:
        temporary.write_text("new")
    assert list(tmp_path.iterdir()) == [loop]


@pytest.mark.parametrize(
    ("name", "says"), [("", "is a folder"), ("missing/a.txt", "missing does not exist"), ("a.txt", None)]
)
def test_obstacles_are_reported_beforehand(tmp_path: Path, name: str, says: str | None) -> None:
    problem = files.why_unwritable(tmp_path / name)
    assert problem is None if says is None else says in (problem or "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("folder", "says"), [(True, "no permission"), (False, "write-protected")])
def test_a_locked_place_is_an_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: bool, says: str
) -> None:
    path = tmp_path / "a.txt"
    path.touch()
    assert files.why_unwritable(path) is None
    monkeypatch.setattr(os, "access", lambda place, mode: Path(place).is_dir() != folder)
    assert says in (files.why_unwritable(path) or "")


# Reading


def test_contents_are_those_of_the_file(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(bytes(range(256)) * 200_000)  # more than one piece
    assert files.read_file(path) == bytes(range(256)) * 200_000
    path.write_bytes(b"")
    assert files.read_file(path) == b""


def test_too_large_a_file_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(bytes(9))
    monkeypatch.setattr(files, "MAX_BYTES", 9)
    assert files.read_file(path) == bytes(9)
    monkeypatch.setattr(files, "MAX_BYTES", 8)
    monkeypatch.setattr(files, "first_bytes", pytest.fail)
    with pytest.raises(OSError, match="more than 8 bytes: make it smaller"):
        files.read_file(path)


@pytest.mark.skipif(os.name != "posix", reason="a device that has no end")
@pytest.mark.parametrize("name", ["/dev/zero", "/dev/null", "zero\0byte"])
def test_other_things_than_files_are_not_read(name):
    with pytest.raises(OSError, match=r"a named pipe, a socket or a device|no file can have this name"):
        files.read_file(name)


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="pipes by their number")
@pytest.mark.parametrize("limit", ["MAX_BYTES", "_MAX_PIPE_BYTES"])
def test_an_endless_pipe_is_not_read_to_its_end(monkeypatch, limit):
    monkeypatch.setattr(files, limit, 4)
    reader, writer = os.pipe()
    try:
        os.write(writer, b"five!")
        with pytest.raises(OSError, match="more than 4 bytes"):  # and the writer is still there
            files.read_file(f"/dev/fd/{reader}")
    finally:
        os.close(reader)
        os.close(writer)
