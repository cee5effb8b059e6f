"""What the tests of the command start with."""

from __future__ import annotations

import pytest
from command import enter, save_network


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return save_network(tmp_path_factory.mktemp("networks"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a photo and a painting in it."""
    return enter(tmp_path, monkeypatch)
