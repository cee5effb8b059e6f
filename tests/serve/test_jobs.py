"""The queue of the server with painters of a moment: what is kept, what is forgotten, what fails."""

from __future__ import annotations

import logging
import threading
import time

import numpy as np
import pytest

from lbfgs_style import Options, StyleTransfer
from lbfgs_style.outputs.run_inputs import RunInputs, StyleInput
from lbfgs_style.serve import jobs as module
from lbfgs_style.serve.jobs import ENDED, ForgottenJob, Jobs, Painted, QueueFull, UnknownJob, Upload
from tests.helpers.small_networks import small_vgg

UPLOAD = Upload("photo.png", b"1234")
INPUTS = RunInputs(content=UPLOAD, styles=(StyleInput(UPLOAD),), network="compact")


@pytest.fixture(scope="module")
def result():
    options = Options(size=32, iterations=1, device="cpu", threads=1)
    gray = np.full((32, 32, 3), 0.5, np.float32)
    return StyleTransfer(small_vgg(), options=options).run(gray, gray)


@pytest.fixture
def serve():
    """Return a function that makes a queue, which is closed at the end."""
    made = []

    def serve(painter, most_waiting=100):
        made.append(Jobs(painter, most_waiting))
        return made[-1]

    yield serve
    for queue in made:
        queue.close()


def wait(*jobs):
    for _ in range(1000):
        if all(job.state in ENDED for job in jobs):
            return
        time.sleep(0.005)
    raise AssertionError([job.state for job in jobs])


def test_jobs_are_painted_in_their_order(serve, result):
    order = []

    def paint(job, on_iterate):
        order.append(job.id)
        return Painted(b"png", result)

    queue = serve(paint)
    jobs = [queue.submit(INPUTS, Options()) for _ in range(5)]
    wait(*jobs)
    assert order == [job.id for job in jobs]
    assert {job.state for job in jobs} == {"finished"}


def test_the_oldest_jobs_are_forgotten_and_differ_from_unknown_ones(serve, result, monkeypatch):
    monkeypatch.setattr(module, "MOST_KEPT", 3)
    queue = serve(lambda job, on_iterate: Painted(b"png", result))
    jobs = [queue.submit(INPUTS, Options()) for _ in range(5)]
    wait(*jobs)
    queue.submit(INPUTS, Options())
    with pytest.raises(ForgottenJob):
        queue.get(jobs[0].id)
    with pytest.raises(UnknownJob):
        queue.get("0123456789abcdef")
    assert queue.get(jobs[-1].id) is jobs[-1]


def test_the_files_of_kept_jobs_have_a_limit_in_bytes(serve, result, monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", 5000)
    queue = serve(lambda job, on_iterate: Painted(bytes(2000), result))
    jobs = [queue.submit(INPUTS, Options()) for _ in range(6)]
    wait(*jobs)
    queue.submit(INPUTS, Options())
    kept = [job for job in queue.all() if job.state in ENDED]
    assert jobs[-1] in kept
    assert sum(job.kept_bytes for job in kept) <= 5000


def test_jobs_taken_out_of_the_queue_are_forgotten_too(serve, result, monkeypatch):
    """While one job is painted for long, others that come and go must not fill the memory."""
    monkeypatch.setattr(module, "MOST_KEPT", 3)
    go = threading.Event()

    def paint(job, on_iterate):
        assert go.wait(20)
        return Painted(b"png", result)

    queue = serve(paint)
    first = queue.submit(INPUTS, Options())
    for _ in range(20):
        queue.cancel(queue.submit(INPUTS, Options()).id)
    assert len(queue.all()) <= 6
    go.set()
    wait(first)


def test_a_full_queue_refuses(serve):
    go = threading.Event()
    queue = serve(lambda job, on_iterate: go.wait(20) and None, most_waiting=2)
    first = queue.submit(INPUTS, Options())
    for _ in range(1000):
        if first.state == "running":
            break
        time.sleep(0.005)
    queue.submit(INPUTS, Options())
    queue.submit(INPUTS, Options())
    with pytest.raises(QueueFull):
        queue.submit(INPUTS, Options())
    go.set()


def test_a_defect_fails_its_job_alone_and_is_logged(serve, result, caplog):
    def paint(job, on_iterate):
        if job.options.seed == 1:
            raise ZeroDivisionError("secret /path")
        return Painted(b"png", result)

    queue = serve(paint)
    with caplog.at_level(logging.ERROR, "lbfgs_style"):
        jobs = [queue.submit(INPUTS, Options(seed=seed)) for seed in (1, 2)]
        wait(*jobs)
    assert [job.state for job in jobs] == ["failed", "finished"]
    assert "secret" not in jobs[0].error
    assert "ZeroDivisionError" in caplog.text


def test_listeners_hear_every_change_until_they_leave(serve, result):
    heard = []
    go = threading.Event()

    def paint(job, on_iterate):
        assert go.wait(20)
        return Painted(b"png", result)

    job = serve(paint).submit(INPUTS, Options())
    leave = job.listen(lambda: heard.append(job.state))
    go.set()
    wait(job)
    assert heard[-1] == "finished"
    leave()
    job.change(error="x")
    assert heard[-1] == "finished"


def test_closing_stops_the_job_that_is_painted(result):
    def paint(job, on_iterate):
        assert job.cancel.wait(20)

    queue = Jobs(paint, 4)
    job = queue.submit(INPUTS, Options())
    for _ in range(1000):
        if job.state == "running":
            break
        time.sleep(0.005)
    queue.close()
    assert job.state == "cancelled"


def test_jobs_without_an_image_are_forgotten_before_those_with_one(serve, result, monkeypatch):
    monkeypatch.setattr(module, "MOST_KEPT", 3)
    go = threading.Event()

    def paint(job, on_iterate):
        assert job.options.seed == 0 or go.wait(20)
        return Painted(b"png", result)

    queue = serve(paint)
    first = queue.submit(INPUTS, Options())
    wait(first)
    running = queue.submit(INPUTS, Options(seed=1))
    for _ in range(10):
        queue.cancel(queue.submit(INPUTS, Options()).id)
    assert queue.get(first.id) is first
    go.set()
    wait(running)
