"""The steps of first-order methods, as in the programs of the presets. L-BFGS needs far fewer steps.

A step has a state: make one for each minimisation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..settings.presets import Optimizer
from .variables import Flat

Memory = dict[str, NDArray[np.float64]]
"""The state of a step."""


class Step(Protocol):
    """The step of a method: variables and gradient → new variables.

    Attributes
    ----------
    memory : dict of str to array
        The state between steps; with the memory of another step, a step continues where that one stopped.
    """

    memory: Memory

    def __call__(self, x: Flat, gradient: Flat) -> Flat:
        """Return new variables [n], given the current ones and the gradient [n]."""
        ...


# Default learning rates, for pixels in [0,1]: those of the presets `tensorflow` and `keras`.
LEARNING_RATES = {"adam": 0.02, "sgd": 100 / 255**2}

# Constants of Adam, as in TensorFlow's tutorial.
_BETA1, _BETA2, _EPSILON = 0.99, 0.999, 0.1

# Decay of the learning rate of gradient descent, as in Keras' example: a factor, and the steps for each one.
_DECAY, _DECAY_STEPS = 0.96, 100


def make_step(optimizer: Optimizer, learning_rate: float | None) -> Step | None:
    """Make the step of a first-order method; return None for ``lbfgs``."""
    if optimizer == "lbfgs":
        return None
    rate = LEARNING_RATES[optimizer] if learning_rate is None else learning_rate
    return Adam(rate) if optimizer == "adam" else Sgd(rate)


def is_memory(
    memory: Mapping[str, NDArray[np.float64]], step: Step | None, variables: int, steps: int
) -> bool:
    """Return whether `memory` is a state of a method after `steps` steps with `variables` variables."""
    if memory.keys() != ({} if step is None else step.memory).keys():
        return False
    shapes = {name: () if name == "t" else (variables,) for name in memory}
    if any(memory[name].shape != shape for name, shape in shapes.items()):
        return False
    return bool(memory.get("t", steps) == steps and np.min(memory.get("v", 0)) >= 0)


class Adam:
    """The step of Adam, as in TensorFlow's tutorial: β₁ = 0.99, β₂ = 0.999, ε = 0.1, pixels clipped.

        m ← β₁ m + (1 − β₁) g,   v ← β₂ v + (1 − β₂) g²,
        x ← clip(x − rate · √(1 − β₂ᵗ) / (1 − β₁ᵗ) · m / (√v + ε))

    Kingma and Ba, "Adam: A Method for Stochastic Optimization" (ICLR 2015), in the form at the end of sec. 2
    that TensorFlow uses: ε is not divided by the bias correction. Differs from the paper: x is clipped to
    [0,1] after each step.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self.memory: Memory = {name: np.zeros(()) for name in ("t", "m", "v")}

    def __call__(self, x: Flat, gradient: Flat) -> Flat:
        """Return new variables."""
        t = float(self.memory["t"]) + 1
        m = _BETA1 * self.memory["m"] + (1 - _BETA1) * gradient
        v = _BETA2 * self.memory["v"] + (1 - _BETA2) * gradient**2
        self.memory = {"t": np.array(t), "m": m, "v": v}
        corrected = self._rate * math.sqrt(1 - _BETA2**t) / (1 - _BETA1**t)
        return np.clip(x - corrected * m / (np.sqrt(v) + _EPSILON), 0, 1)


class Sgd:
    """The step of gradient descent, as in Keras' example.

    x ← x − rate · 0.96^(t / 100) · g,   t = 0, 1, 2, …
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self.memory: Memory = {"t": np.zeros(())}

    def __call__(self, x: Flat, gradient: Flat) -> Flat:
        """Return new variables."""
        t = float(self.memory["t"])
        self.memory = {"t": np.array(t + 1)}
        return x - self._rate * _DECAY ** (t / _DECAY_STEPS) * gradient
