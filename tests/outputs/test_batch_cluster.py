"""Batches on a Dask cluster: a scheduler and workers as processes, some of which are killed."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from lbfgs_style import OptionError, Options, StyleTransfer, images, networks
from lbfgs_style.outputs import batch_cluster, batch_workers
from lbfgs_style.outputs.batch_jobs import every_pair, is_painted
from lbfgs_style.outputs.batch_workers import Settings
from tests.helpers.command import one_error, photo, run, save, save_network
from tests.helpers.dask_cluster import Cluster

distributed = pytest.importorskip("distributed")

QUICK = Options(size=32, scales="single", iterations=3, device="cpu", threads=1)
# More than a second a picture, so that a worker can be killed within.
SLOW = replace(QUICK, size=96, iterations=250)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        cluster.add(2)
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Three photos and a painting, which no worker finds: theirs is another folder."""
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        save(f"{number}.png", photo(24, 32)[:, :: 1 - 2 * (number % 2)].copy())
    save("style.png", photo(32, 32)[::-1].copy())
    save_network(tmp_path)
    return tmp_path


def prepared(options, count=3):
    network = next(Path().glob("*.onnx")).name
    settings = Settings(network, options, 1.0, 95, images.MAX_PIXELS)
    jobs = every_pair([Path(f"{n}.png") for n in range(count)], [Path("style.png")], Path("out"), "png")
    Path("out").mkdir(exist_ok=True)
    sha256 = networks.weights_sha256(networks.load(network).model)
    return jobs, settings, batch_cluster.network_of(network, sha256)


def painting(cluster, options, count=3, **named):
    jobs, settings, network = prepared(options, count)
    named = {"cancel": threading.Event()} | named
    return batch_cluster.paint(jobs, settings, address=cluster.address, network=network, **named)


def kill_where(cluster, number, times=1):
    """Kill the worker that has begun the picture of a number; several times, each on another worker."""
    with distributed.Client(cluster.address, set_as_default=False) as client:
        deadline = time.monotonic() + 60
        for count in range(1, times + 1):
            begun = []
            while len(begun) < count:
                assert time.monotonic() < deadline
                time.sleep(0.02)
                keys = [str(key) for all_ in client.processing().values() for key in all_]
                topics = {key.rsplit("-", 2)[0] for key in keys if key.rsplit("-", 2)[1] == str(number)}
                reports = [report for topic in topics for _, report in client.get_events(topic)]
                begun = [
                    each["worker"] for each in reports if (each["number"], each["share"]) == (number, None)
                ]
            cluster.kill(begun[-1])


def test_pictures_are_those_of_this_machine(cluster, folder):
    jobs, settings, network = prepared(QUICK)
    Path("1.png").write_bytes(b"damaged")
    Path("local").mkdir()
    seen = []
    done = list(painting(cluster, QUICK, on_progress=seen.append))
    assert {each.job for each in done} == set(jobs)
    (failed,) = (each for each in done if each.error)
    assert failed.job == jobs[1]
    assert failed.error.startswith("1.png: ")
    assert seen[-1] == 3
    here = [replace(job, output=Path("local") / job.output.name) for job in jobs[::2]]
    list(batch_workers.paint(here, settings, processes=1, cancel=threading.Event()))
    for job, local in zip(jobs[::2], here, strict=True):
        np.testing.assert_array_equal(images.read(job.output).rgb, images.read(local.output).rgb)
        assert is_painted(job, QUICK, network.sha256, 1.0)


def test_other_weights_of_a_network_are_refused(cluster, folder):
    jobs, settings, network = prepared(QUICK, 1)
    other = replace(network, sha256="0" * 64)
    (done,) = batch_cluster.paint(
        jobs, settings, address=cluster.address, network=other, cancel=threading.Event()
    )
    assert "expected weights of sha256 000000000000…" in done.error
    assert list(Path("out").iterdir()) == []


def test_a_cancelled_batch_ends_at_the_workers(cluster, folder):
    cancel = threading.Event()
    endless = replace(SLOW, iterations=100_000)
    done = list(painting(cluster, endless, cancel=cancel, on_progress=lambda n: n > 0 and cancel.set()))
    assert done == []
    assert list(Path("out").iterdir()) == []
    with distributed.Client(cluster.address, set_as_default=False) as client:
        assert client.submit(int, "5", pure=False).result(timeout=20) == 5  # the threads are free again


def test_a_style_transfer_is_mapped(cluster, folder):
    job = StyleTransfer(prepared(QUICK)[1].network, options=QUICK)
    style = photo()[::-1].copy()
    photos = [photo(), photo()[:, ::-1].copy()]
    with distributed.Client(cluster.address, set_as_default=False) as client:
        results = client.gather(client.map(partial(job.run, styles=style), photos))
    for result, content in zip(results, photos, strict=True):
        np.testing.assert_array_equal(result.image, job.run(content, style).image)


def test_nothing_listens_beyond_loopback(cluster):
    psutil = pytest.importorskip("psutil")
    for process in (cluster.scheduler, *cluster.workers.values()):
        listening = [c for c in psutil.Process(process.pid).net_connections() if c.status == "LISTEN"]
        assert listening
        assert {each.laddr.ip for each in listening} == {"127.0.0.1"}


def test_the_command_paints_on_a_cluster(cluster, folder, capfd):
    network = next(Path().glob("*.onnx")).name
    arguments = ("0.png", "--styles", "style.png", "-o", "out", "--network", network, "--size", 32)
    more = ("--scales", "single", "--iterations", 3, "--cluster", cluster.address)
    assert run("batch", *arguments, *more) == 0
    assert "out: 1 painted, 0 there before, 0 failed" in capfd.readouterr().err
    assert run("batch", *arguments, *more) == 0
    assert "1 of 1 pictures are there already" in capfd.readouterr().err
    assert run("batch", *arguments, *more, "--processes", 1) == 2
    one_error(capfd, "--processes is of this machine")


@pytest.mark.parametrize("scheme", ["tcp://", "", "http://"])
def test_an_address_without_a_scheduler_is_one_line(folder, scheme):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"{scheme}127.0.0.1:{unused.getsockname()[1]}"
        jobs, settings, network = prepared(QUICK)
        paint = batch_cluster.paint(
            jobs, settings, address=address, network=network, cancel=threading.Event()
        )
        with pytest.raises(OptionError, match="no Dask scheduler answers there"):
            next(paint)


def test_a_picture_whose_worker_dies_is_painted_on_another(cluster, folder):
    killer = threading.Thread(target=kill_where, args=(cluster, 0))
    killer.start()
    done = list(painting(cluster, SLOW))
    killer.join()
    assert len(cluster.workers) == 1
    assert [each.error for each in done] == [""] * 3
    assert {path.name for path in Path("out").iterdir()} == {f"{n}--style.png" for n in range(3)}


def test_a_picture_whose_workers_die_twice_has_failed(cluster, folder):
    cluster.add(2)
    killer = threading.Thread(target=kill_where, args=(cluster, 0, 2))
    killer.start()
    done = list(painting(cluster, SLOW, 2))
    killer.join()
    assert len(cluster.workers) == 1
    assert {each.job.output.name: each.error for each in done} == {
        "0--style.png": "its worker died 2 times: too little memory, perhaps",
        "1--style.png": "",
    }
