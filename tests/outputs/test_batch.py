"""Batches: which pictures there are and which are done, and the processes that paint them."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lbfgs_style import ImageFileError, OptionError, Options, StyleTransfer, images, networks
from lbfgs_style.outputs.batch_jobs import (
    Job,
    every_pair,
    find_images,
    is_foreign,
    is_painted,
    name_jobs,
    read_pairs,
)
from lbfgs_style.outputs.batch_workers import Done, Settings, divide, paint
from lbfgs_style.pipeline.plan import run_plan
from tests.helpers.command import ROOT, photo, save, save_network

OPTIONS = Options(size=32, scales="single", iterations=4, threads=1, device="cpu")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with two photos, two paintings and a text in it."""
    monkeypatch.chdir(tmp_path)
    for name in ("photos", "paintings", "out"):
        Path(name).mkdir()
    for number in range(2):
        save(f"photos/{number}.png", photo(24, 32)[:, :: 1 - 2 * number].copy())
        save(f"paintings/p{number}.jpg", photo(32, 32)[:: 1 - 2 * number].copy())
    Path("photos/notes.txt").write_text("no image")
    return tmp_path


def test_files_folders_and_patterns(folder):
    expected = [Path("photos/0.png"), Path("photos/1.png")]
    assert find_images(["photos"], what="photos") == expected
    assert find_images(["photos/*.png"], what="photos") == expected
    assert find_images([str(folder / "photos" / "*.png")], what="photos") == [folder / p for p in expected]
    assert find_images(["photos/1.png", "photos"], what="photos") == expected[::-1]
    save("photos/.hidden.png", photo())
    assert find_images(["photos/notes.txt", "photos"], what="photos") == [Path("photos/notes.txt"), *expected]
    with pytest.raises(ImageFileError, match=r"missing\.png: there is no such file or folder of photos"):
        find_images(["missing.png"], what="photos")
    Path("paintings/a.style.npz").touch()
    assert len(find_images(["paintings"], what="paintings")) == 2
    assert len(find_images(["paintings"], what="paintings", statistics=True)) == 3
    with pytest.raises(ImageFileError, match=r"photos/\*\.webp: no file matches this pattern of photos"):
        find_images(["photos/*.webp"], what="photos")
    with pytest.raises(ImageFileError, match="out: this folder of paintings holds no images"):
        find_images(["out"], what="paintings")


def test_names_tell_the_pair_and_are_unique(tmp_path):
    photos = [Path("a/x.jpg"), Path("b/x.png"), Path("c/X.png"), Path("a/y.jpg")]
    jobs = every_pair(photos, [Path("scream.style.npz")], tmp_path, "png")
    assert [job.output.name for job in jobs] == [
        *("x--scream.png", "x-2--scream.png", "X-3--scream.png", "y--scream.png")
    ]
    jobs = every_pair(photos[:2], [Path("s.jpg"), Path("t.jpg")], tmp_path, "jpg")
    assert [job.painting.name for job in jobs] == ["s.jpg", "s.jpg", "t.jpg", "t.jpg"]


def test_a_file_of_pairs(folder):
    pairs = folder / "lists" / "pairs.csv"
    pairs.parent.mkdir()
    pairs.write_text(
        '\ufeff# photo, painting\n\n../photos/0.png, "../paintings/p1.jpg"\n'
        "../photos/0.png,../paintings/p1.jpg\n",
        "utf-8",
    )
    (job,) = read_pairs(pairs, folder / "out", "png")
    assert job.output == folder / "out" / "0--p1.png"
    assert job.photo.samefile("photos/0.png")
    pairs.write_text("a.png,b.png,c.png\n")
    for text in ("a.png,b.png,c.png\n", "a.png;b.png\n", "a\0b.png,c.png\n"):
        pairs.write_text(text)
        with pytest.raises(OptionError, match=r"pairs\.csv, line 1: expected photo,painting with a comma"):
            read_pairs(pairs, folder, "png")
    pairs.write_text("Photo,Painting\n../photos/0.png,../paintings/p1.jpg\n")
    assert len(read_pairs(pairs, folder, "png")) == 1
    pairs.write_text("# nothing\n")
    with pytest.raises(OptionError, match="holds no pairs"):
        read_pairs(pairs, folder, "png")
    pairs.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ImageFileError, match="cannot be read"):
        read_pairs(pairs, folder, "png")


@pytest.mark.parametrize(
    ("threads", "jobs", "budget", "expected"),
    [
        (4, 10, 10**10, (4, 1, 25 * 10**8)),
        (4, 2, 10**10, (2, 2, 5 * 10**9)),
        (4, 10, 25 * 10**8, (2, 2, 125 * 10**7)),
        (4, 10, 5 * 10**8, (1, 4, 10**9)),
    ],
)
def test_threads_and_memory_are_divided(threads, jobs, budget, expected, monkeypatch):
    monkeypatch.setattr(run_plan, "available_memory", lambda: budget / 0.8)
    count, options = divide(replace(OPTIONS, threads=threads), jobs, 10**9)
    assert (count, options.threads, options.memory) == expected
    assert divide(replace(OPTIONS, device="cuda"), jobs, 1)[0] == 1


@pytest.fixture
def settings(folder):
    return Settings(str(save_network(folder)), OPTIONS, 1.0, 95, images.MAX_PIXELS)


@pytest.fixture
def jobs(folder):
    return every_pair(
        find_images(["photos"], what=""), find_images(["paintings"], what=""), folder / "out", "png"
    )


def painted(jobs, settings, **named):
    return list(paint(jobs, settings, **{"processes": 2, "cancel": threading.Event()} | named))


def test_pictures_are_those_of_single_runs(jobs, settings):
    seen = []
    done = painted(jobs, settings, on_progress=seen.append)
    assert {each.job for each in done} == set(jobs)
    assert all(each.seconds > 0 and each.loss > 0 and not each.error for each in done)
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(4)
    job = StyleTransfer(settings.network, options=OPTIONS)
    for each in jobs:
        expected = job.run(images.read(each.photo), images.read(each.painting)).picture
        np.testing.assert_array_equal(
            images.read(each.output).rgb, np.rint(255 * expected.rgb) / np.float32(255)
        )


def test_a_bad_file_fails_alone(jobs, settings):
    Path("photos/0.png").write_bytes(b"damaged")
    done = {each.job.output.name: each.error for each in painted(jobs, settings)}
    assert sorted(name for name, error in done.items() if error) == ["0--p0.png", "0--p1.png"]
    assert "photos/0.png" in done["0--p0.png"]
    assert sorted(path.name for path in Path("out").iterdir()) == ["1--p0.png", "1--p1.png"]


def test_a_picture_is_known_by_its_recipe(jobs, settings):
    sha256 = networks.load(settings.network).weights_sha256
    job = jobs[0]
    assert not is_painted(job, OPTIONS, sha256, 1.0)
    painted(jobs[:1], settings)
    assert is_painted(job, OPTIONS, sha256, 1.0)
    assert is_painted(job, replace(OPTIONS, threads=7, memory=10**10), sha256, 1.0)
    assert not is_painted(job, replace(OPTIONS, iterations=5), sha256, 1.0)
    assert not is_painted(job, OPTIONS, sha256, 0.5)
    assert not is_painted(job, OPTIONS, "0" * 64, 1.0)
    assert not is_painted(replace(job, photo=jobs[1].photo), OPTIONS, sha256, 1.0)
    assert not is_foreign(job)
    whole = job.output.read_bytes()
    job.output.write_bytes(whole[:-200])  # damaged, with its recipe
    assert not is_painted(job, OPTIONS, sha256, 1.0)
    assert not is_foreign(job)
    job.output.write_bytes(whole)
    images.write(job.output, images.read(job.output))  # without a recipe
    assert not is_painted(job, OPTIONS, sha256, 1.0)
    assert is_foreign(job)
    job.output.write_bytes(b"")
    assert not is_foreign(job)


def test_warnings_are_handed_on(jobs, settings):
    large = replace(settings, options=replace(OPTIONS, size=40))
    (done,) = painted(jobs[:1], large)
    assert "is enlarged to 40×30" in done.warnings[0]


def test_a_cancelled_batch_leaves_whole_pictures(jobs, settings):
    cancel = threading.Event()
    slow = replace(settings, options=replace(OPTIONS, iterations=100_000))
    done = painted(
        jobs, slow, cancel=cancel, processes=1, on_progress=lambda pictures: pictures and cancel.set()
    )
    assert done == []
    assert list(Path("out").iterdir()) == []


@pytest.mark.parametrize("times", [1, 100])
def test_a_process_that_dies_costs_its_picture_once(jobs, settings, times):
    slow = replace(settings, options=replace(OPTIONS, iterations=400))
    killed = []

    def kill(pictures):
        if len(killed) < times and 0 < pictures % 1 < 1:
            for process in multiprocessing.active_children():
                process.kill()
            killed.append(pictures)

    done = painted(jobs[:1], slow, processes=1, on_progress=kill)
    if times == 1:
        assert [(each.error, each.job.output.exists()) for each in done] == [("", True)]
    else:
        assert done == [Done(jobs[0], error="its process died: too little memory, perhaps")]
        assert list(Path("out").iterdir()) == []


def test_jobs_of_one_name(tmp_path):
    pairs = [
        (Path("a/1.jpg"), Path("s.jpg")),
        (Path("a/1.jpg"), Path("t.jpg")),
        (Path("b/1.jpg"), Path("s.jpg")),
    ]
    assert name_jobs(pairs, tmp_path, "png")[2] == Job(*pairs[2], tmp_path / "1-2--s.png")


# Paints the jobs of a file, and prints the numbers of its processes.
BATCH = """
import multiprocessing, pickle, sys, threading
from lbfgs_style.outputs.batch_workers import paint

def show(_):
    print(*[process.pid for process in multiprocessing.active_children()], flush=True)

if __name__ == "__main__":
    jobs, settings = pickle.load(open(sys.argv[1], "rb"))
    list(paint(jobs, settings, processes=2, cancel=threading.Event(), on_progress=show))
"""


@pytest.mark.skipif(os.name != "posix", reason="kills by signal")
def test_processes_end_with_the_one_that_started_them(jobs, settings, tmp_path):
    (tmp_path / "batch.py").write_text(BATCH)
    slow = replace(settings, options=replace(OPTIONS, iterations=1_000_000))
    (tmp_path / "jobs.pickle").write_bytes(pickle.dumps((jobs, slow)))
    command = [sys.executable, str(tmp_path / "batch.py"), str(tmp_path / "jobs.pickle")]
    more = {"stdout": subprocess.PIPE, "text": True, "env": os.environ | {"PYTHONPATH": str(ROOT)}}
    with subprocess.Popen(command, **more) as parent:
        pids = []
        while len(pids) < 2:
            pids = [int(pid) for pid in parent.stdout.readline().split()]
        parent.kill()
    until = time.monotonic() + 60
    while any(is_alive(pid) for pid in pids) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(is_alive(pid) for pid in pids)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")
