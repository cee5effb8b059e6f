"""The CUDA device gives the numbers of the CPU; needs a card."""

from __future__ import annotations

import numpy as np
import pytest

from lbfgs_style import Options, StyleTransfer, networks
from lbfgs_style.objective.engine import Engine
from lbfgs_style.objective.losses.terms import LossTerms
from lbfgs_style.optimization.device_problem import DeviceProblem, has_device_vectors
from lbfgs_style.optimization.lbfgs import minimize
from lbfgs_style.optimization.problem import HostProblem
from lbfgs_style.optimization.variables import Spectral

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


def test_vectors_stay_on_the_card() -> None:
    """Those of L-BFGS cross to the host only where somebody asks for the image."""
    engine, _ = evaluation("cuda")
    network = engine.network
    terms = LossTerms(network.content_layers, network.style_layers)
    targets = engine.statistics(picture(1), terms, what="picture")
    objective = engine.objective((128, 128), terms, targets, np.ones(len(terms.names), np.float32))
    variables = Spectral((128, 128))
    assert has_device_vectors(objective.on_device)
    problem, on_host = DeviceProblem(objective.on_device, variables), HostProblem(objective, variables)
    outcomes = [minimize(each, picture(2), iterations=20, history=8) for each in (problem, on_host)]
    assert outcomes[0].end.loss < 1.2 * outcomes[1].end.loss
    np.testing.assert_allclose(problem.decode(problem.encode(picture(2))), picture(2), atol=1e-4)
