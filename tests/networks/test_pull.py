from __future__ import annotations

import contextlib
import hashlib
import re
import socket
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator
from typer.testing import CliRunner

from lbfgs_style import networks
from lbfgs_style.cli.networks import app
from lbfgs_style.errors import NetworkError, NetworkFileError
from lbfgs_style.networks import catalog
from lbfgs_style.networks import download as downloads
from lbfgs_style.networks.download import DownloadPlan, download, plan_download
from lbfgs_style.networks.pull import pull
from lbfgs_style.system import locks
from lbfgs_style.system.locks import try_lock
from tests.helpers.local_server import DATA, SHA256
from tests.helpers.vgg_weights import by_hand


@pytest.fixture
def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def fetch(site, tmp_path, **options):
    settings = {"size": len(DATA), "known_hash": SHA256}
    return download(f"{site.url}/file.bin", tmp_path / "file.bin", **(settings | options))


def left(tmp_path):
    return sorted(path.name for path in tmp_path.iterdir() if path.name != "locks")


@pytest.mark.parametrize(
    ("installed", "part_bytes", "size", "expected"),
    [
        (True, 5, 10, DownloadPlan("up-to-date")),
        (False, 0, 10, DownloadPlan("fetch")),
        (False, 5, 10, DownloadPlan("resume", 5)),
        (False, 5, None, DownloadPlan("resume", 5)),
        (False, 10, 10, DownloadPlan("verify", 10)),
        (False, 11, 10, DownloadPlan("fetch")),
    ],
)
def test_the_plan_follows_from_the_state_of_the_disk(installed, part_bytes, size, expected):
    assert plan_download(installed=installed, part_bytes=part_bytes, size=size) == expected


def test_a_good_download_is_renamed_and_its_progress_reported(site, tmp_path):
    seen = []
    path = fetch(site, tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == DATA
    assert left(tmp_path) == ["file.bin"]
    assert seen[-1] == (len(DATA), len(DATA))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


def test_an_existing_file_is_not_downloaded_again(site, tmp_path):
    fetch(site, tmp_path)
    fetch(site, tmp_path)
    assert len(site.ranges) == 1
    (tmp_path / "file.bin").write_bytes(b"damaged")
    assert fetch(site, tmp_path).read_bytes() == DATA
    assert len(site.ranges) == 2


@pytest.mark.parametrize("announces_length", [True, False])
def test_an_interrupted_download_is_resumed(announces_length, site, tmp_path):
    site.cut_after, site.announces_length = 300_000, announces_length
    with pytest.raises(NetworkFileError, match="run the same command again"):
        fetch(site, tmp_path)
    assert (tmp_path / "file.bin.part").stat().st_size == 300_000
    site.cut_after = None
    assert fetch(site, tmp_path).read_bytes() == DATA
    assert site.ranges == [None, "bytes=300000-"]
    assert left(tmp_path) == ["file.bin"]


def test_a_silent_server_counts_as_interrupted(site, tmp_path):
    site.cut_after, site.silence = 300_000, threading.Event()
    with pytest.raises(NetworkFileError, match=r"was cut after [\d,]+ of 1,024,000 bytes: run the same"):
        fetch(site, tmp_path, timeout=0.2)
    assert site.ranges == [None]
    site.silence.set()
    site.cut_after = None
    kept = (tmp_path / "file.bin.part").stat().st_size
    assert kept > 200_000
    assert fetch(site, tmp_path).read_bytes() == DATA
    assert site.ranges == [None, f"bytes={kept}-"]


def test_an_invalid_content_length_is_ignored(site, tmp_path):
    site.length = "9" * 5000
    assert fetch(site, tmp_path).read_bytes() == DATA


def test_a_server_that_ignores_ranges_starts_afresh(site, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(b"x" * 1000)
    site.honours_ranges = False
    assert fetch(site, tmp_path).read_bytes() == DATA
    assert site.ranges == ["bytes=1000-"]


def test_a_range_that_the_server_does_not_have_starts_afresh(site, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(DATA + b"more")
    assert fetch(site, tmp_path, size=None).read_bytes() == DATA
    assert site.ranges == [f"bytes={len(DATA) + 4}-", None]


def test_a_server_that_sends_another_range_starts_afresh(site, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(DATA[:1000])
    site.range_error = 7
    assert fetch(site, tmp_path).read_bytes() == DATA
    assert site.ranges == ["bytes=1000-", None]


def test_a_complete_part_file_is_only_verified(site, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(DATA)
    assert fetch(site, tmp_path).read_bytes() == DATA
    assert site.ranges == []


def test_a_wrong_hash_shows_both_and_deletes_the_part(site, tmp_path):
    wrong = "sha256:" + 64 * "0"
    with pytest.raises(NetworkError) as caught:
        fetch(site, tmp_path, known_hash=wrong)
    assert wrong in str(caught.value)
    assert SHA256 in str(caught.value)
    assert left(tmp_path) == []


@pytest.mark.parametrize("known_hash", ["", SHA256[7:], "sha1024:00", "md5"])
def test_an_unknown_hash_is_refused(site, tmp_path, known_hash):
    with pytest.raises(NetworkError, match="Unknown hash"):
        fetch(site, tmp_path, known_hash=known_hash)
    assert not (tmp_path / "file.bin").exists()


def test_md5_is_understood(site, tmp_path):
    md5 = "md5:" + hashlib.md5(DATA).hexdigest().upper()
    assert fetch(site, tmp_path, known_hash=md5).is_file()


def test_another_size_is_refused_before_it_is_downloaded(site, tmp_path):
    with pytest.raises(NetworkError, match="a different file"):
        fetch(site, tmp_path, size=10)
    assert left(tmp_path) == []


def test_more_bytes_than_expected_are_not_written(site, tmp_path):
    site.announces_length = False
    with pytest.raises(NetworkError, match="more than 10 bytes"):
        fetch(site, tmp_path, size=10)
    assert not (tmp_path / "file.bin").exists()
    assert (tmp_path / "file.bin.part").stat().st_size <= 10


def test_a_download_of_unknown_length_has_an_end(site, tmp_path, monkeypatch):
    site.announces_length = False
    monkeypatch.setattr(downloads, "MAX_BYTES", 1000)
    with pytest.raises(NetworkError, match="sends more than 1,000 bytes"):
        fetch(site, tmp_path, size=None)
    assert (tmp_path / "file.bin.part").stat().st_size <= 1000


def test_no_network_names_what_works_now(closed_port, site, tmp_path):
    with pytest.raises(NetworkFileError, match=r"Cannot reach 127\.0\.0\.1.*'compact' works now"):
        download(f"http://127.0.0.1:{closed_port}/x", tmp_path / "x", size=1, known_hash=SHA256)


@pytest.mark.parametrize("path", ["größe", "a b"])
def test_an_invalid_address_is_refused_in_one_line(path, site, tmp_path):
    with pytest.raises(NetworkFileError, match=r"Cannot reach 127\.0\.0\.1") as caught:
        download(f"{site.url}/{path}", tmp_path / "x", size=1, known_hash=SHA256)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (b"SSH-2.0-OpenSSH_9.9\r\n", r"Cannot reach 127\.0\.0\.1 \(SSH"),
        (b"HTTP/1.1 404 \x1b[2Jgone" + b"!" * 999 + b"\r\n\r\n", r"answered 404 \\x1b\[2Jgone"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", "was cut after 0 of 1 bytes"),
    ],
)
def test_a_server_without_http_is_reported_in_one_line(tmp_path, response, message):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            with server.accept()[0] as connection:
                connection.recv(1 << 16)
                connection.sendall(response)

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/x"
        with pytest.raises(NetworkFileError, match=message) as caught:
            download(url, tmp_path / "x", size=1, known_hash=SHA256)
        thread.join()
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def test_a_missing_page_is_reported_with_its_status(site, tmp_path):
    with pytest.raises(NetworkFileError, match="answered 404"):
        download(f"{site.url}/none", tmp_path / "x", size=1, known_hash=SHA256)


@pytest.mark.parametrize("url", ["file:///etc/hosts", "ftp://host/x", "vgg19.pth", "http://", "http://[x"])
def test_other_schemes_are_refused(url, tmp_path):
    with pytest.raises(NetworkError, match=r"expected an http:// or https://|Not an address"):
        download(url, tmp_path / "x", size=1, known_hash=SHA256)
    assert left(tmp_path) == []


def test_a_redirect_is_followed_to_the_web_only(site, tmp_path):
    options = {"size": len(DATA), "known_hash": SHA256}
    site.redirect = f"{site.url}/file.bin"
    assert download(f"{site.url}/redirect", tmp_path / "x", **options).read_bytes() == DATA
    site.redirect = "ftp://127.0.0.1/file.bin"
    with pytest.raises(NetworkError, match="expected an http"):
        download(f"{site.url}/redirect", tmp_path / "y", **options)


def test_a_folder_that_cannot_be_written_is_reported(site, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(NetworkFileError, match="LBFGS_STYLE_CACHE"):
        fetch(site, tmp_path / "file")


def test_a_second_download_of_the_same_file_is_refused_and_harms_nothing(site, tmp_path):
    messages = []

    def second(_done, _total):
        if not messages:
            with pytest.raises(NetworkFileError, match="Another process") as caught:
                fetch(site, tmp_path)
            messages.append(str(caught.value))

    assert fetch(site, tmp_path, progress=second).read_bytes() == DATA
    assert "\n" not in messages[0]
    assert site.ranges == [None]
    assert left(tmp_path) == ["file.bin"]


@pytest.mark.parametrize("name", ["vgg19", "vgg16", "vgg19-caffe", "vgg16-caffe"])
def test_pull_gives_a_network_that_computes_the_published_features(name, published):
    weights, cache = published(name)
    path = pull(name)
    assert path == cache / f"{name}.onnx"
    assert left(cache) == [f"{name}.onnx"]
    network = networks.load(name)
    networks.verify(network)
    assert (network.name, network.licence) == (name, networks.known(name).licence)
    image = np.random.default_rng(2).random((16, 16, 3))
    normalization = "caffe" if name.endswith("caffe") else "torchvision"
    expected = by_hand(name[:5], image, weights, normalization, "max")
    nchw = np.moveaxis(image, -1, 0)[None].astype(np.float32)
    (value,) = ReferenceEvaluator(network.model).run(["relu3_1"], {"image": nchw})
    np.testing.assert_allclose(
        value[0], expected["relu3_1"], rtol=1e-3, atol=1e-4 * expected["relu3_1"].max()
    )


def test_pull_is_idempotent_unless_forced_or_damaged(site, published):
    published("vgg19")
    first = pull("vgg19").read_bytes()
    assert pull("vgg19").read_bytes() == first
    assert len(site.ranges) == 1
    assert pull("vgg19", force=True).read_bytes() == first
    assert len(site.ranges) == 2
    pull("vgg19").write_bytes(first[: len(first) // 2])
    assert pull("vgg19").read_bytes() == first
    assert len(site.ranges) == 3


def test_weights_that_changed_on_the_disk_are_pulled_again(site, published):
    """One bit of a weight: the file is valid ONNX, and only the fingerprint differs."""
    published("vgg19")
    path = pull("vgg19")
    whole = path.read_bytes()
    model = onnx.load(path)
    largest = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    largest.raw_data = bytes([largest.raw_data[0] ^ 1]) + largest.raw_data[1:]
    onnx.save(model, path)
    assert pull("vgg19").read_bytes() == whole
    assert len(site.ranges) == 2


def test_a_damaged_network_outside_the_cache_is_not_hidden(site, published, tmp_path, monkeypatch):
    """It would be found before the one that is pulled, and it is not ours to replace."""
    _, cache = published("vgg19")
    (tmp_path / "vgg19.onnx").write_bytes(b"damaged")
    monkeypatch.setattr(catalog, "search_folders", lambda: iter([tmp_path, cache]))
    with pytest.raises(NetworkError, match=re.escape(str(tmp_path / "vgg19.onnx"))):
        pull("vgg19")
    assert (tmp_path / "vgg19.onnx").read_bytes() == b"damaged"
    assert site.ranges == []


def test_a_disk_that_is_full_leaves_the_download(site, published, monkeypatch):
    _, cache = published("vgg16")

    def half(self, data):
        with self.open("wb") as file:
            file.write(data[:100])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", half)
        with pytest.raises(
            NetworkFileError, match=r"Cannot write .*vgg16\.onnx.*No space left on device; free"
        ):
            pull("vgg16")
    assert left(cache) == ["vgg16.pth"]
    pull("vgg16")
    assert left(cache) == ["vgg16.onnx"]
    assert len(site.ranges) == 1


def test_waiting_for_another_process_is_reported(published, monkeypatch, caplog):
    _, cache = published("vgg16")
    cache.mkdir()
    with contextlib.ExitStack() as other:
        other.enter_context(try_lock(cache / "vgg16.onnx"))
        monkeypatch.setattr(locks.time, "sleep", lambda seconds: other.close())
        pull("vgg16")
    assert [record.message for record in caplog.records] == [
        f"another process is pulling {cache / 'vgg16.onnx'}: waiting for it"
    ]


def test_pull_resumes_after_an_interruption(site, published):
    _, cache = published("vgg16")
    site.cut_after = 1000
    with pytest.raises(NetworkFileError, match="run the same command again"):
        pull("vgg16")
    assert left(cache) == ["vgg16.pth.part"]
    site.cut_after = None
    pull("vgg16")
    assert site.ranges[-1] == "bytes=1000-"
    assert left(cache) == ["vgg16.onnx"]


def test_pull_refuses_other_weights_from_another_address(site, published):
    _, cache = published("vgg19")
    site.files["/evil.pth"] = site.files["/vgg19.pth"][:-1] + b"\0"
    with pytest.raises(NetworkError, match="wrong hash"):
        pull("vgg19", url=f"{site.url}/evil.pth")
    assert left(cache) == []


def test_pull_uses_the_mirror_of_the_environment(site, published, monkeypatch):
    published("vgg19")
    site.files["/mirror/vgg19.pth"] = site.files.pop("/vgg19.pth")
    monkeypatch.setenv("LBFGS_STYLE_MIRROR", f"{site.url}/mirror/")
    assert pull("vgg19").is_file()
    with pytest.raises(NetworkFileError, match=r"/asked/for\.pth answered 404"):  # the address comes first
        pull("vgg19", force=True, url=f"{site.url}/asked/for.pth")


def test_pull_checks_for_h5py_before_it_downloads(site, published, monkeypatch):
    published("vgg19-caffe")
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(NetworkError, match="h5py"):
        pull("vgg19-caffe")
    assert site.ranges == []


def test_the_command_lists_pulls_verifies_and_describes(published):
    _, cache = published("vgg19")
    runner = CliRunner()

    def run(*arguments):
        result = runner.invoke(app, list(arguments), catch_exceptions=False)
        assert result.exit_code == 0
        return result

    assert "vgg19\tnot here\t" in run("list").stdout
    pulled = run("pull", "vgg19")
    assert pulled.stdout.strip() == str(cache / "vgg19.onnx")
    assert "vgg19: 100 %" in pulled.stderr
    assert f"vgg19\t{cache / 'vgg19.onnx'}\t" in run("list").stdout
    assert run("path", "vgg19").stdout.strip() == str(cache / "vgg19.onnx")
    assert run("verify", "vgg19").stdout.startswith("vgg19: ok")
    shown = run("info", "vgg19").stdout
    assert "style layers:   relu1_1 relu2_1 relu3_1 relu4_1 relu5_1" in shown
    assert "content layers: relu4_2" in shown


def test_the_face_detector_is_kept_as_it_is_published(site, tmp_path, monkeypatch):
    monkeypatch.setenv("LBFGS_STYLE_CACHE", str(tmp_path))
    row = replace(catalog.FACE_DETECTOR, url=f"{site.url}/file.bin", size=len(DATA), known_hash=SHA256)
    monkeypatch.setattr(catalog, "FACE_DETECTOR", row)
    path = pull("yunet")
    assert (path, path.read_bytes()) == (tmp_path / "yunet.onnx", DATA)
    assert pull("yunet") == path
    assert len(site.ranges) == 1
    path.write_bytes(DATA[:-1])
    assert pull("yunet").read_bytes() == DATA
    assert left(tmp_path) == ["yunet.onnx"]
