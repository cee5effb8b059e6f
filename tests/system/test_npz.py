"""Archives of arrays with false declarations: refused in one line, before memory is allocated."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lbfgs_style import ImageFileError, StyleError, StyleStatistics, StyleTransfer
from lbfgs_style.pipeline import style_statistics
from lbfgs_style.system import npz
from tests.helpers.command import contents, one_error, paint
from tests.helpers.interrupted_runs import PHOTO, job
from tests.helpers.small_networks import small_vgg

MIB = 2**20
GOOD = np.arange(12, dtype=np.float32).reshape(3, 4)


def npy(header_text: str, data: bytes = b"", version: int = 1) -> bytes:
    header = header_text.encode()
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + length + header + data


def header(descr: object = "<f4", shape: object = (2,), order: object = False) -> str:
    return repr({"descr": descr, "fortran_order": order, "shape": shape})


def zipped(members: dict[str, bytes], way: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", way) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def read(data: bytes, most: int = MIB, packed: bool = True):
    return npz.read_arrays(io.BytesIO(data), most=most, packed=packed)


def saved(**arrays: object) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize(
    "array",
    [
        GOOD,
        GOOD.T,
        np.array(7),
        np.array("größe"),
        np.array(["a", "bcd"]),
        np.zeros((0, 3)),
        GOOD.astype(">f8"),
        np.arange(3 * MIB, dtype=np.uint8),  # more than one piece
    ],
)
@pytest.mark.parametrize("pack", [np.savez, np.savez_compressed])
def test_files_of_numpy_are_read(array, pack):
    file = io.BytesIO()
    pack(file, one=array, other=GOOD)
    arrays = read(file.getvalue(), 4 * MIB)
    assert list(arrays) == ["one", "other"]
    np.testing.assert_array_equal(arrays["one"], array)
    assert (arrays["one"].dtype, arrays["one"].shape) == (array.dtype, array.shape)


def renamed(data: bytes) -> bytes:
    return data.replace(b"b.npy", b"a.npy")


def directory(change) -> bytes:
    """Return an archive whose directory was changed; it begins with PK12, then come 20 bytes to the sizes."""
    data = bytearray(zipped({"a.npy": npy(header(), bytes(8))}))
    change(data, data.index(b"PK\x01\x02"))
    return bytes(data)


def declare(size: int):
    return lambda data, at: struct.pack_into("<I", data, at + 24, size)


DAMAGED = {
    "empty": b"",
    "text": b"no archive at all",
    "no array": zipped({"a.npy": b"hello"}),
    "objects": saved(a=np.array([object(), 1], dtype=object)),
    "fields": saved(a=np.zeros(2, [("x", "f4"), ("y", "i4")])),
    "dates": saved(a=np.zeros(2, "M8[s]")),
    "complex": saved(a=np.zeros(2, complex)),
    "floats of three bytes": zipped({"a.npy": npy(header("<f3"), bytes(6))}),
    "a comma": zipped({"a.npy": npy(header("f4,f4"), bytes(16))}),
    "a list of types": zipped({"a.npy": npy(header([("x", "<f4")]), bytes(8))}),
    "a huge shape": zipped({"a.npy": npy(header("<f4", (2**30, 2**30)), bytes(8))}),
    "a shape beyond all numbers": zipped({"a.npy": npy(header("<f4", (10**4000,)), bytes(8))}),
    "a negative shape": zipped({"a.npy": npy(header("<f4", (-1, -2)), bytes(8))}),
    "a shape of truths": zipped({"a.npy": npy(header("<f4", (True, 2)), bytes(8))}),
    "a shape that is a list": zipped({"a.npy": npy(header("<f4", [2]), bytes(8))}),
    "a hundred dimensions": zipped({"a.npy": npy(header("<f4", (1,) * 100), bytes(4))}),
    "a huge text": zipped({"a.npy": npy(header("<U999999999"), bytes(8))}),
    "an order that is none": zipped({"a.npy": npy(header(order=3), bytes(8))}),
    "too short": zipped({"a.npy": npy(header(), bytes(7))}),
    "too long": zipped({"a.npy": npy(header(), bytes(9))}),
    "a header that is code": zipped({"a.npy": npy("__import__('os').abort()")}),
    "brackets within brackets": zipped({"a.npy": npy("(" * 9000)}),
    "a header without end": zipped({"a.npy": npy(" " * 20_000, version=2)}),
    "a header that lacks a key": zipped({"a.npy": npy("{'descr': '<f4'}")}),
    "a header that is a number": zipped({"a.npy": npy("3")}),
    "another version": zipped({"a.npy": npy(header(), bytes(8)).replace(b"NUMPY\1", b"NUMPY\7")}),
    "two of one name": renamed(zipped({"a.npy": npy(header(), bytes(8)), "b.npy": npy(header(), bytes(8))})),
    "bzip2": zipped({"a.npy": npy(header(), bytes(8))}, zipfile.ZIP_BZIP2),
    "lzma": zipped({"a.npy": npy(header(), bytes(8))}, zipfile.ZIP_LZMA),
    "a password": directory(lambda data, at: struct.pack_into("<H", data, at + 8, 1)),
    "a way that is none": directory(lambda data, at: struct.pack_into("<H", data, at + 10, 77)),
    "another checksum": directory(lambda data, at: struct.pack_into("<I", data, at + 16, 5)),
    "less than there is": directory(declare(len(npy(header(), b"")))),
    "more than there is": directory(declare(1000)),
    "a directory without end": zipped({f"{n:0120}": b"" for n in range(8000)}),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_invalid_archives_are_refused(name):
    with pytest.raises(ValueError, match=r"\w") as e:
        read(DAMAGED[name], 4 * MIB)
    assert not isinstance(e.value, npz.TooLarge)


def test_a_long_directory_is_not_read():
    with pytest.raises(ValueError, match="the directory is too long"):
        read(DAMAGED["a directory without end"])


def test_any_truncation_or_bit_flip_is_handled():
    data = saved(a=GOOD, b=np.array("text"))
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(600):
        bad = bytearray(data[: rng.integers(len(data))] if rng.random() < 0.3 else data)
        for place in rng.integers(0, max(len(bad), 1), rng.integers(1, 4)) if bad else ():
            bad[place] ^= 1 << int(rng.integers(8))
        try:
            read(bytes(bad))
        except ValueError:
            refused += 1
    assert refused > 400


BOMBS = {
    "it unpacks to 64 MiB": zipped({"a.npy": npy(header("|u1", (64 * MIB,)), bytes(64 * MIB))}),
    "it declares 4 GB": directory(declare(2**32 - 2)),
    "64 of a MiB": zipped({f"{n}.npy": npy(header("|u1", (MIB,)), bytes(MIB)) for n in range(64)}),
}


def peak(act) -> int:
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", BOMBS)
def test_a_zip_bomb_takes_no_memory(name):
    assert len(BOMBS[name]) < MIB / 4

    def act():
        with pytest.raises(npz.TooLarge, match=r"its arrays have \d{8,} bytes; expected at most 4194304"):
            read(BOMBS[name], 4 * MIB)

    assert peak(act) < 2 * MIB


@pytest.mark.parametrize("name", ["a huge shape", "a huge text", "less than there is", "more than there is"])
def test_a_declared_size_takes_no_memory(name):
    def act():
        with pytest.raises(ValueError, match=r"\w"):
            read(DAMAGED[name])

    assert peak(act) < 2 * MIB


@pytest.mark.parametrize("value", ["1", None, [1], {}, float("nan"), float("inf"), -float("inf"), 1e39])
def test_values_that_are_no_numbers_are_refused(value):
    for read_number in (npz.check_count, npz.check_number, npz.check_nonnegative):
        with pytest.raises(ValueError, match="not a"):
            read_number(value)


def test_numbers_below_zero_and_between():
    assert (npz.check_count(0), npz.check_number(-1.5), npz.check_nonnegative(0)) == (0, -1.5, 0.0)
    for value in (-1, 1.0, True):
        with pytest.raises(ValueError, match="not a count"):
            npz.check_count(value)
    with pytest.raises(ValueError, match="not a finite number"):
        npz.check_number(True)
    with pytest.raises(ValueError, match="a negative number"):
        npz.check_nonnegative(-0.5)


# Statistics of a style


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Return the arrays of a file of statistics."""
    path = tmp_path_factory.mktemp("statistics") / "a.npz"
    StyleTransfer(small_vgg()).measure_style(np.zeros((40, 40, 3), np.uint8), sizes=(24, 40)).save(path)
    with np.load(path) as arrays:
        return dict(arrays)


NOT_A_NUMBER = np.full((4, 4), np.nan, np.float32)


@pytest.mark.parametrize(
    "change",
    [
        {"24/gram_relu1_1": NOT_A_NUMBER},
        {"24/gram_relu1_1": np.full((4, 4), np.inf, np.float32)},
        {"24/gram_relu1_1": np.zeros((4, 4))},
        {"24/gram_relu1_1": np.zeros((4, 5), np.float32)},
        {"24/gram_relu1_1": np.zeros((5, 5), np.float32)},
        {"40/gram_relu1_1": np.zeros((3, 3), np.float32)},
        {"24/gram_relu1_1": np.zeros(16, np.float32)},
        {"24/gram_relu1_1": np.zeros((), np.float32)},
        {"24/mean_relu1_1": np.zeros((4, 2), np.float32)},
        {"24/mean_relu1_1": None},
        {"format": np.array([1, 1])},
        {"format": np.array(1.0)},
        {"sides": np.array([24, 0])},
        {"sides": np.array([24.0, np.inf])},
        {"sides": np.array([], int)},
        {"sides": np.array([24])},
        {"size": np.array([40, np.nan])},
        {"size": np.array([40])},
        {"size": np.array([40, -40])},
        {"layers": np.array([], "U1")},
        {"layers": np.array(["relu1_1", "relu1_1"])},
        {"layers": np.array(5)},
        {"network": np.array("n" * 300)},
        {"network": np.array(["a", "b"])},
        {"pooling": np.array(3)},
        {"more": GOOD},
    ],
    ids=str,
)
def test_invalid_statistics_are_refused(measured, tmp_path, change):
    arrays = {name: array for name, array in (measured | change).items() if array is not None}
    path = tmp_path / "a.npz"
    np.savez(path, **measured)
    StyleStatistics.load(path)
    np.savez(path, **arrays)
    with pytest.raises(ImageFileError, match="damaged, or not a file of style statistics; expected") as e:
        StyleStatistics.load(path)
    assert "\n" not in str(e.value)


def test_the_command_refuses_a_zip_bomb_in_one_line(folder, network, capfd, monkeypatch):
    monkeypatch.setattr(style_statistics, "MAX_BYTES", 4 * MIB)
    Path("bomb.npz").write_bytes(BOMBS["it unpacks to 64 MiB"])
    before = contents(folder)
    assert paint(network, styles=("bomb.npz",)) == 2
    one_error(capfd, r"bomb\.npz: its arrays have \d+ bytes; expected at most 4194304: measure the image")
    with Path("large.npz").open("wb") as file:
        file.truncate(4 * MIB + 1)
    assert paint(network, styles=("large.npz",)) == 2
    one_error(capfd, r"large\.npz: cannot be read: it has more than 4194304 bytes")
    Path("large.npz").unlink()
    assert contents(folder) == before


def test_statistics_of_other_channels_are_refused(measured):
    """The file names the network, but its statistics do not fit it."""
    style = StyleTransfer(small_vgg()).measure_style(np.zeros((40, 40, 3), np.uint8))
    sides = {
        side: {name: np.ones((7, 7 if name.startswith("gram") else 1), np.float32) for name in arrays}
        for side, arrays in style.sides.items()
    }
    with pytest.raises(StyleError) as e:
        job().run(PHOTO, replace(style, sides=sides))
    assert "\n" not in str(e.value)
