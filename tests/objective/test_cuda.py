"""The CUDA device gives the numbers of the CPU; needs a card."""

from __future__ import annotations

import numpy as np
import pytest

from lbfgs_style import Options, StyleTransfer, networks
from lbfgs_style.objective.engine import Engine
from lbfgs_style.objective.losses.terms import LossTerms

pytestmark = pytest.mark.gpu


def picture(seed: int, size: int = 128) -> np.ndarray:
    coarse = np.random.default_rng(seed).uniform(0.2, 0.8, (3, 8, 8))
    return coarse.repeat(size // 8, 1).repeat(size // 8, 2).astype(np.float32)


def evaluation(device: str):
    network = networks.load("compact")
    engine = Engine(network, device=device, threads=0, keep_sessions=False)
    terms = LossTerms(network.content_layers, network.style_layers)
    targets = engine.statistics(picture(1), terms, what="picture")
    weights = np.ones(len(terms.names), np.float32)
    return engine, engine.objective((128, 128), terms, targets, weights)(picture(2))


def test_an_evaluation_is_that_of_the_cpu() -> None:
    (_, on_cpu), (engine, on_card) = evaluation("cpu"), evaluation("cuda")
    assert engine.provider == "CUDAExecutionProvider"
    assert on_card.loss == pytest.approx(on_cpu.loss, rel=1e-4)
    np.testing.assert_allclose(on_card.terms, on_cpu.terms, rtol=1e-3)
    difference = np.linalg.norm(on_card.gradient - on_cpu.gradient)
    assert difference < 1e-2 * np.linalg.norm(on_cpu.gradient)  # ReLUs near their kinks


def test_a_run_lowers_the_loss_as_on_the_cpu() -> None:
    photo, painting = (picture(seed).transpose(1, 2, 0) for seed in (1, 2))
    losses = [
        StyleTransfer("compact", options=Options(size=128, iterations=20, device=device))
        .run(photo, painting)
        .history[-1]
        for device in ("cpu", "cuda")
    ]
    assert losses[1] < 1.2 * losses[0]
