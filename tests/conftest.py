"""Fixtures of several rooms."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from lbfgs_style import networks
from lbfgs_style.networks import catalog
from tests.helpers import local_server
from tests.helpers.command import enter, save_network
from tests.helpers.vgg_weights import keras_h5, legacy_pth, small_weights, torchvision_arrays


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """Use a temporary cache folder in place of the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LBFGS_STYLE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return save_network(tmp_path_factory.mktemp("networks"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a photo and a painting in it."""
    return enter(tmp_path, monkeypatch)


@pytest.fixture
def site(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with local_server.serve() as state:
        yield state


@pytest.fixture
def published(site, tmp_path, monkeypatch):
    """Put small networks of the published formats on the local server and into the table."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("LBFGS_STYLE_CACHE", str(cache))
    monkeypatch.setattr(catalog, "search_folders", lambda: iter([cache]))

    def publish(name):
        row = networks.known(name)
        weights = small_weights(row.arch)
        if row.format == "pth":
            data = legacy_pth(torchvision_arrays(row.arch, weights))
        else:
            data = keras_h5(tmp_path / "made.h5", weights).read_bytes()
        site.files[f"/{name}.{row.format}"] = data
        changed = replace(
            row,
            url=f"{site.url}/{name}.{row.format}",
            size=len(data),
            known_hash="sha256:" + hashlib.sha256(data).hexdigest(),
        )
        rows = tuple(changed if old.name == name else old for old in catalog.KNOWN)
        monkeypatch.setattr(catalog, "KNOWN", rows)
        return weights, cache

    return publish
