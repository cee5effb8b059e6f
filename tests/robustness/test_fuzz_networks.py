"""Damaged .onnx, .pth and .h5 files: read, or refused in one line; nothing else, whatever the damage."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lbfgs_style import networks
from lbfgs_style.errors import NetworkError
from lbfgs_style.networks.published_weights import read_keras_h5
from lbfgs_style.networks.torch_pickle import read_pth
from tests.helpers.command import ROOT
from tests.helpers.hostile_networks import corpus, plain
from tests.helpers.vgg_weights import keras_h5, legacy_pth, zip_pth

EXAMPLES = int(os.environ.get("LBFGS_STYLE_FUZZ", "150"))
"""Damaged files of each kind; `test_at_length` asks for more."""

LONG = 5000
"""As many at length, by each of `SEEDS`."""

SEEDS = range(4)

_SHARES = 1 << 16

Edit = tuple[str, int, int]

edits = st.lists(
    st.tuples(
        st.sampled_from(["flip", "set", "cut", "repeat", "end"]),
        st.integers(0, _SHARES - 1),  # where, as a share of the file: floats depend on the state of the CPU
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=6,
)


def damaged(data: bytes, how: list[Edit]) -> bytes:
    """Return the bytes with a few of them changed, cut out, repeated, or the end cut off."""
    result = bytearray(data)
    for way, share, value in how:
        place = share * len(result) // _SHARES
        length = 1 + value % 24
        if way == "flip" and result:
            result[place] ^= 1 << value % 8
        elif way == "set" and result:
            result[place] = value
        elif way == "cut":
            del result[place : place + length]
        elif way == "repeat":
            result[place:place] = result[place : place + length]
        elif way == "end":
            del result[place:]
    return bytes(result)


def is_refused(read: Callable[[Path], object], data: bytes, suffix: str) -> bool:
    """Read a file of these bytes and return whether it was refused in one line; other errors are raised."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"fuzz{suffix}"
        path.write_bytes(data)
        try:
            read(path)
        except NetworkError as error:
            if not str(error).isprintable() or len(str(error)) > 1500:
                raise ValueError(f"not one short line: {error}") from error
            return True
        return False


CORPUS = [plain().SerializeToString(), *(data for data, _ in corpus().values() if 0 < len(data) < 10_000)]
ARRAYS = {"a": np.arange(6, dtype=np.float32), "features.0.bias": np.ones((2, 2), np.float32)}
PTH, ZIP = legacy_pth(ARRAYS), zip_pth(ARRAYS)


@pytest.fixture(scope="module")
def h5(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    pytest.importorskip("h5py")
    ones = {"conv1_1": (np.ones((2, 3, 3, 3), np.float32), np.ones(2, np.float32))}
    return keras_h5(tmp_path_factory.mktemp("h5") / "whole.h5", ones).read_bytes()


quick = settings(
    max_examples=EXAMPLES,
    derandomize="LBFGS_STYLE_FUZZ" not in os.environ,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@quick
@given(how=edits, which=st.integers(0, 3 * len(CORPUS)))
def test_damaged_onnx(how: list[Edit], which: int) -> None:
    """Damage to hostile networks, and more often to the plain one."""
    is_refused(networks.load, damaged(CORPUS[which if which < len(CORPUS) else 0], how), ".onnx")


@quick
@given(how=edits)
def test_damaged_pth(how: list[Edit]) -> None:
    is_refused(read_pth, damaged(PTH, how), ".pth")


@quick
@given(how=edits)
def test_damaged_zip(how: list[Edit]) -> None:
    is_refused(read_pth, damaged(ZIP, how), ".pth")


@quick
@given(how=edits)
def test_damaged_h5(h5: bytes, how: list[Edit]) -> None:
    is_refused(read_keras_h5, damaged(h5, how), ".h5")


@quick
@given(data=st.binary(max_size=300))
def test_bytes_of_no_kind(data: bytes) -> None:
    """As a whole, and as the pickles behind the first two of a .pth file."""
    assert is_refused(networks.load, data, ".onnx")
    assert is_refused(read_pth, data, ".pth")
    assert is_refused(read_pth, PTH[:31] + data, ".pth")
    assert is_refused(read_pth, ZIP[:4] + data, ".pth")


def test_what_is_not_damaged_is_read(h5: bytes) -> None:
    assert not is_refused(networks.load, CORPUS[0], ".onnx")
    assert not is_refused(read_pth, PTH, ".pth")
    assert not is_refused(read_pth, ZIP, ".pth")
    assert not is_refused(read_keras_h5, h5, ".h5")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["onnx", "pth", "h5"])
@pytest.mark.parametrize("seed", SEEDS)
def test_at_length(seed: int, kind: str) -> None:
    """In a process of its own, which the crash of a library would end."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-m",
            "robustness",
            f"--hypothesis-seed={seed}",
            f"{__file__}::test_damaged_{kind}",
        ],
        cwd=ROOT,
        env=os.environ | {"LBFGS_STYLE_FUZZ": str(LONG)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
