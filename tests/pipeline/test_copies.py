"""A StyleTransfer that is pickled or copied, so that pools of processes and clusters can send it."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

from lbfgs_style import Options, StyleTransfer
from tests.helpers.command import photo
from tests.helpers.small_networks import small_vgg

OPTIONS = Options(size=32, iterations=3, device="cpu", threads=1, convolution="winograd")


def paint(job: StyleTransfer, content: np.ndarray) -> np.ndarray:
    return job.run(content, photo()[::-1]).image


@pytest.fixture
def job() -> StyleTransfer:
    """Return a job that has open sessions."""
    job = StyleTransfer(small_vgg(), options=OPTIONS)
    paint(job, photo())
    return job


@pytest.mark.parametrize("again", [lambda job: pickle.loads(pickle.dumps(job)), copy.copy, copy.deepcopy])
def test_a_copy_paints_the_same(job, again):
    made = again(job)
    assert (made.options, made.network.name) == (job.options, job.network.name)
    np.testing.assert_array_equal(paint(made, photo()), paint(job, photo()))


def test_a_pickle_does_not_grow_with_its_sessions(job):
    before = len(pickle.dumps(job))
    paint(job, photo(32, 32))
    assert len(pickle.dumps(job)) == before


def test_a_pool_of_processes(job):
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        results = list(pool.map(paint, [job] * 2, [photo(), photo()[:, ::-1]]))
    for picture, content in zip(results, (photo(), photo()[:, ::-1]), strict=True):
        np.testing.assert_array_equal(picture, paint(job, content))
