"""Steps of first-order methods, as the sources of the presets take them. L-BFGS needs far fewer.

A step maps variables and gradient to new variables, and remembers what it must: make one for each run.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .parametrization import Flat
from .presets import Optimizer

Step = Callable[[Flat, Flat], Flat]
"""(variables, gradient) → new variables."""

LEARNING_RATES = {"adam": 0.02, "sgd": 100 / 255**2}
"""Step sizes where none is chosen: those of the presets ``tensorflow`` and ``keras``, for pixels in [0,1]."""

_BETA1, _BETA2, _EPSILON = 0.99, 0.999, 0.1
_DECAY, _DECAY_STEPS = 0.96, 100


def make_step(optimizer: Optimizer, learning_rate: float | None) -> Step | None:
    """Return the step of a first-order method; None for ``lbfgs``."""
    if optimizer == "lbfgs":
        return None
    rate = LEARNING_RATES[optimizer] if learning_rate is None else learning_rate
    return adam(rate) if optimizer == "adam" else sgd(rate)


def adam(rate: float) -> Step:
    """Return Adam's step as TensorFlow's tutorial takes it: β₁ = 0.99, β₂ = 0.999, ε = 0.1, pixels clipped.

        m ← β₁ m + (1 − β₁) g,   v ← β₂ v + (1 − β₂) g²,
        x ← clip(x − rate · √(1 − β₂ᵗ) / (1 − β₁ᵗ) · m / (√v + ε))

    Kingma and Ba, "Adam: A Method for Stochastic Optimization" (ICLR 2015), in the form at the end of sec. 2,
    which TensorFlow has: ε is not divided by the bias correction. Differs from the paper: x is clipped to
    [0,1] after each step.
    """
    steps = 0
    m = v = np.float64(0)

    def step(x: Flat, gradient: Flat) -> Flat:
        nonlocal steps, m, v
        steps += 1
        m = _BETA1 * m + (1 - _BETA1) * gradient
        v = _BETA2 * v + (1 - _BETA2) * gradient**2
        corrected = rate * math.sqrt(1 - _BETA2**steps) / (1 - _BETA1**steps)
        return np.clip(x - corrected * m / (np.sqrt(v) + _EPSILON), 0, 1)

    return step


def sgd(rate: float) -> Step:
    """Return gradient descent as Keras' example has it.

    x ← x − rate · 0.96^(t / 100) · g,   t = 0, 1, 2, …
    """
    steps = 0

    def step(x: Flat, gradient: Flat) -> Flat:
        nonlocal steps
        decayed = rate * _DECAY ** (steps / _DECAY_STEPS)
        steps += 1
        return x - decayed * gradient

    return step
