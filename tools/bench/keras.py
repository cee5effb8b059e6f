"""Keras' published run: what its 4,000 steps of gradient descent are worth in evaluations of ours."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from lbfgs_style import Iterate, Options, StyleTransfer
from lbfgs_style.settings.preset_hints import ON_COMPACT
from tools.bench.convergence import reduced

# Steps after which the example prints its loss.
MARKS = (100, 200, 500, 1000, 3700, 4000)

# Steps for which each step size is tried.
_TRIAL = 200


def keras(arguments: argparse.Namespace) -> dict[str, object]:
    """Minimise the losses of the preset ``keras`` by its gradient descent and by L-BFGS on our variables.

    The network is `compact`, with the weights that balance the example's losses on it. There the example's
    step size would mean nothing, so 13 from 10⁴ to 10¹⁰ times that are tried: gradient descent gets the one
    with the lowest loss after 200 steps, and the example's decay.
    """
    photo, painting = (reduced(Path(p), arguments.size) for p in (arguments.photo, arguments.painting))
    preset, balance = Options.preset("keras"), ON_COMPACT["keras"]
    preset = replace(
        preset,
        style_weight=balance.style_weight,
        style_layer_weights=balance.style_layer_weights,
        tv_weight=balance.tv_weight,
        size=arguments.size,
        content_layers=("relu5_1",),  # the deepest that it has; the example's is relu5_2
        device="cpu",
        threads=arguments.threads,
    )

    def losses(options: Options) -> list[float]:
        """Return the lowest loss so far, after each evaluation but the first."""
        curve: list[float] = []

        def note(iterate: Iterate) -> None:
            # A line search of several evaluations ends with the loss of the last one.
            curve.extend([iterate.loss] * (iterate.evaluations - 1 - len(curve)))

        StyleTransfer("compact", options=options).run(photo, painting, on_iterate=note)
        return list(np.minimum.accumulate(curve))

    def descent(rate: float, iterations: int) -> list[float]:
        return losses(replace(preset, learning_rate=rate, iterations=iterations))

    published = preset.learning_rate
    assert published is not None
    rates = [published * 10 ** (power / 2) for power in range(8, 21)]
    rate = min(rates, key=lambda rate: _last(descent(rate, _TRIAL)))
    theirs = descent(rate, max(MARKS))
    ours = losses(
        replace(
            preset, optimizer="lbfgs", variables="spectral", learning_rate=None, iterations=arguments.ours
        )
    )
    counts: dict[str, float] = {}
    for mark in MARKS:
        reached = next((n for n, loss in enumerate(ours, 1) if loss <= theirs[mark - 1]), None)
        if reached is not None:
            counts[f"evaluations of ours for {mark} steps of gradient descent"] = reached
    return {
        "title": f"the preset keras at {arguments.size} px, compact; "
        f"step size {rate / published:.3g} times the example's",
        "counts": counts,
        "differences": {f"loss of gradient descent after {mark} steps": theirs[mark - 1] for mark in MARKS}
        | {f"loss of ours after {count} evaluations": ours[count - 1] for count in _shown(len(ours))},
    }


def _last(curve: list[float]) -> float:
    """Return the loss at the end; infinity for a run that diverged."""
    return curve[-1] if len(curve) == _TRIAL and np.isfinite(curve[-1]) else np.inf


def _shown(count: int) -> list[int]:
    return [shown for shown in (1, 10, 20, 50, 100, 200) if shown <= count]
