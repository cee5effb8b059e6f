"""The compiled library: found or not, loaded or not, and what is said about it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from lbfgs_style.errors import SessionError
from lbfgs_style.native import library
from lbfgs_style.objective.engine import Engine
from tests.helpers import operators
from tests.helpers.small_networks import small_vgg


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return another path at which the library is looked for; nothing is there yet."""
    monkeypatch.delenv("LBFGS_STYLE_NATIVE", raising=False)
    monkeypatch.setattr(library, "PATH", tmp_path / library.FILE_NAME)
    return tmp_path / library.FILE_NAME


def make_engine(convolution: str) -> Engine:
    return Engine(small_vgg(), device="cpu", threads=1, keep_sessions=False, convolution=convolution)


def test_a_package_without_the_library_uses_onnxruntimes_operators(elsewhere: Path) -> None:
    assert library.find() is None
    assert library.describe() == "no native operators: they were not compiled when the package was built"
    with pytest.raises(
        SessionError, match="were not compiled when the package was built; use --convolution auto"
    ):
        make_engine("native").cache.rewrite  # noqa: B018


def test_a_clone_without_the_library_says_what_compiles_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setattr(library, "PATH", tmp_path / "lbfgs_style" / "native" / library.FILE_NAME)
    assert "'pip install -e .' compiles them" in library.describe()


def test_a_library_that_does_not_load_is_reported_once(
    elsewhere: Path, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere.write_bytes(b"no library")
    with caplog.at_level(logging.WARNING):
        assert library.find() is None
        assert library.find() is None
    (record,) = caplog.records
    assert record.message.startswith("using onnxruntime's own operators: the library does not load: ")


def test_the_environment_leaves_the_library_out_or_demands_it(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LBFGS_STYLE_NATIVE", "1")
    with pytest.raises(
        SessionError, match="LBFGS_STYLE_NATIVE=1, but the native operators cannot be used: they"
    ):
        library.find()
    assert library.describe().startswith("no native operators: they were not compiled")
    monkeypatch.setenv("LBFGS_STYLE_NATIVE", "0")
    assert library.find() is None
    assert library.describe() == "no native operators: LBFGS_STYLE_NATIVE=0"
    monkeypatch.setenv("LBFGS_STYLE_NATIVE", "off")
    assert library.describe() == "no native operators: LBFGS_STYLE_NATIVE=off: expected 0 or 1"


@pytest.mark.skipif(library.find() is None, reason=library.describe())
class TestTheLibrary:
    def test_its_instruction_sets(self) -> None:
        found = library.require()
        assert found.available()[-1] == "baseline"
        assert found.instructions in found.available()
        with pytest.raises(SessionError, match=r"'mmx': expected one of .*baseline"):
            found.use("mmx")

    def test_onnxruntimes_table_is_read_at_the_right_positions(self) -> None:
        """The version comes from the structure before the table; the operators call each function in it.

        Their results are compared in test_operators.
        """
        ones = np.ones((1, 16, 4, 4))
        (blocks,) = operators.run("ToBlocked", ones)
        products, sums = operators.run("Gram", blocks, ones[:, :1], outputs=2, channels=16)
        assert (products == 16).all()
        assert (sums == 16).all()
        with pytest.raises(SessionError, match="number of channels is not that of the features"):
            operators.run("Gram", blocks, channels=40)
        assert library.require().onnxruntime_version() == onnxruntime.__version__

    @pytest.mark.parametrize("kept", [0.0, 0.001, 0.3, 0.9, 0.999])
    def test_a_truncated_one_is_not_loaded(self, elsewhere: Path, kept: float) -> None:
        """Loading it would end the process."""
        whole = Path(library.__file__).with_name(library.FILE_NAME).read_bytes()
        elsewhere.write_bytes(whole[: int(kept * len(whole))])
        assert library.find() is None
        assert "no native operators: the library " in library.describe()

    def test_one_of_another_version_is_not_used(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        copy = tmp_path / library.FILE_NAME
        copy.write_bytes(library.PATH.read_bytes())
        monkeypatch.setattr(library, "PATH", copy)
        monkeypatch.setattr(library, "VERSION", library.VERSION + 1)
        assert library.find() is None
        assert f"has version {library.VERSION - 1}, expected {library.VERSION}" in caplog.text
