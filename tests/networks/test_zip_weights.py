"""Weights in the zip format that PyTorch writes since 1.6: read, or refused in one line."""

from __future__ import annotations

import pickle
import zipfile

import numpy as np
import pytest

from lbfgs_style.errors import NetworkError
from lbfgs_style.networks.torch_pickle import read_pth
from tests.helpers.vgg_weights import zip_pth

ARRAYS = {
    "features.0.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "other": np.ones(2, np.float32),
}


def read(tmp_path, data: bytes, **options):
    path = tmp_path / "weights.pth"
    path.write_bytes(data)
    return read_pth(path, **options)


def test_the_tensors_are_those_that_were_written(tmp_path) -> None:
    for name, array in read(tmp_path, zip_pth(ARRAYS)).items():
        np.testing.assert_array_equal(array, ARRAYS[name])
        assert array.dtype == np.float32


def test_tensors_without_the_prefix_are_not_read(tmp_path) -> None:
    data = zip_pth(ARRAYS, **{"data/1": b"cut"})
    assert list(read(tmp_path, data, prefix="features.")) == ["features.0.weight"]
    with pytest.raises(NetworkError, match="a storage of the wrong size"):
        read(tmp_path, data)


def flagged(data: bytes) -> bytes:
    """Return an archive whose directory says that each member is encrypted."""
    changed, place = bytearray(data), data.find(b"PK\1\2")
    while place >= 0:
        changed[place + 8] |= 1
        place = data.find(b"PK\1\2", place + 1)
    return bytes(changed)


HARMFUL = b"cos\nsystem\n(X\4\0\0\0truetR" + pickle.STOP
LARGE = {"features.0.weight": np.zeros(2**20, np.float32)}
CASES = {
    "compressed": (zip_pth(ARRAYS, compression=zipfile.ZIP_DEFLATED), "compressed or encrypted"),
    "encrypted": (flagged(zip_pth(ARRAYS)), "compressed or encrypted"),
    "of another byte order": (zip_pth(ARRAYS, byteorder=b"big"), "big-endian"),
    "without a storage": (zip_pth(ARRAYS, **{"data/0": None}), "data/0"),
    "without an object": (zip_pth(ARRAYS, **{"data.pkl": None}), "data.pkl"),
    "a storage larger than the file": (zip_pth(LARGE, **{"data/0": b"0000"}), "cut short"),
    "an object that runs a command": (zip_pth(ARRAYS, pickled=HARMFUL), r"Refused .*os\.system"),
    "an object that is no mapping": (zip_pth(ARRAYS, pickled=b"]" + pickle.STOP), "not a state dict"),
    "an archive cut short": (zip_pth(ARRAYS)[:-30], "damaged"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_torch_does_not_write_is_refused_in_one_line(name, tmp_path) -> None:
    data, says = CASES[name]
    with pytest.raises(NetworkError, match=says) as caught:
        read(tmp_path, data)
    assert str(caught.value).isprintable()


def test_a_changed_value_fails_its_checksum(tmp_path) -> None:
    data = zip_pth(ARRAYS)
    place = data.index(ARRAYS["features.0.weight"].tobytes())
    with pytest.raises(NetworkError, match="damaged"):
        read(tmp_path, data[: place + 4] + b"\1" + data[place + 5 :])
