"""A small job, and runs of it that end before it is done."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from lbfgs_style import STOP, Checkpoint, Options, StyleTransfer
from tests.helpers.small_networks import small_vgg

RNG = np.random.default_rng(0)
PHOTO, PAINTING = (RNG.random((36, 48, 3)).astype(np.float32) for _ in range(2))
OPTIONS = Options(
    size=48,
    scales=(32,),
    iterations=(16, 12),
    threads=1,
    device="cpu",
    content_layers=("relu2_1",),
    style_layers=("relu1_1", "relu2_1"),
)


def job(options: Options = OPTIONS, **more: object) -> StyleTransfer:
    return StyleTransfer(small_vgg(), options=replace(options, **more))


def stop_after(count: int):
    """Return a callback that stops a run after `count` iterations in all."""
    seen: list[int] = []

    def on_iterate(iterate):
        seen.append(iterate.iteration)
        return STOP if len(seen) == count else None

    return on_iterate


def cut_off(path: Path, count: int, options: Options = OPTIONS) -> Checkpoint:
    """Leave a checkpoint of a run that ended after `count` iterations."""
    checkpoint = Checkpoint(path, every=1000)
    result = job(options).run(PHOTO, PAINTING, on_iterate=stop_after(count), checkpoint=checkpoint)
    assert (result.stop_reason, len(result.history), checkpoint.saved) == ("callback", count, True)
    return checkpoint
