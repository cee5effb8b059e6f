"""Differentiation rules of normalizations, at inference.

Each rule gets a `RuleContext` and returns the cotangent of the features; scales and offsets are constant.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .gradient_rule import RuleContext, number


def d_batch_normalization(rule: RuleContext) -> Sequence[str | None]:
    """y = s (x − μ) / √(σ² + ε) + b with constants for each channel: dx = g s / √(σ² + ε)."""
    if number(rule, "training_mode", 0):
        raise rule.refuse("it is in training mode; export the network for inference")
    scale, variance = rule.constant_input(1), rule.constant_input(4)
    assert scale is not None
    assert variance is not None
    factor = scale.astype(float) / np.sqrt(variance.astype(float) + number(rule, "epsilon", 1e-5))
    return [
        rule.graph.op("Mul", rule.g, rule.graph.constant(_of_channels(rule, factor))),
        None,
        None,
        None,
        None,
    ]


def _of_channels(rule: RuleContext, values: np.ndarray) -> np.ndarray:
    """Return a value for each channel in a shape that broadcasts over features [N,C,…]."""
    return values.reshape(-1, *[1] * (len(rule.graph.shape(rule.x)) - 2))


def _normalized(rule: RuleContext, x: str, g: str, axes: Sequence[int], epsilon: float) -> str:
    """Append the cotangent of x for y = (x − μ) / √(σ² + ε), μ and σ² over some axes, and g = dL/dy.

    dx = (g − mean g − y mean(g y)) / √(σ² + ε) (Ioffe and Szegedy, "Batch Normalization", 2015).
    """
    graph = rule.graph

    def mean(tensor: str) -> str:
        return graph.reduce("ReduceMean", tensor, axes, keepdims=True)

    centred = graph.op("Sub", x, mean(x))
    variance = mean(graph.op("Mul", centred, centred))
    deviation = graph.op("Sqrt", graph.op("Add", variance, graph.constant(epsilon)))
    y = graph.op("Div", centred, deviation)
    along = graph.op("Mul", y, mean(graph.op("Mul", g, y)))
    return graph.op("Div", graph.op("Sub", graph.op("Sub", g, mean(g)), along), deviation)


def d_instance_normalization(rule: RuleContext) -> Sequence[str | None]:
    """Y = s (X − μ) / √(σ² + ε) + b, over height and width of each channel."""
    scale = rule.constant_input(1)
    assert scale is not None
    g = rule.graph.op("Mul", rule.g, rule.graph.constant(_of_channels(rule, scale)))
    axes = list(range(2, len(rule.graph.shape(rule.x))))
    return [_normalized(rule, rule.x, g, axes, number(rule, "epsilon", 1e-5)), None, None]


def d_layer_normalization(rule: RuleContext) -> Sequence[str | None]:
    """Y = s (X − μ) / √(σ² + ε) + b, over the axes from `axis` on."""
    rank = len(rule.graph.shape(rule.x))
    axes = list(range(int(number(rule, "axis", -1)) % rank, rank))
    g = rule.graph.op("Mul", rule.g, rule.node.input[1])
    return [_normalized(rule, rule.x, g, axes, number(rule, "epsilon", 1e-5)), None, None]


def d_lrn(rule: RuleContext) -> Sequence[str]:
    """y = x S^−β with S = k + α/n Σ x² over n neighbouring channels (Krizhevsky et al., 2012).

    dx = g S^−β − 2 αβ/n x Σ g x S^−β−1, the sum over the channels whose S has x².
    """
    graph, size = rule.graph, int(number(rule, "size", 1))
    alpha, beta, bias = number(rule, "alpha", 1e-4), number(rule, "beta", 0.75), number(rule, "bias", 1.0)
    shape = graph.shape(rule.x)
    if len(shape) != 4:
        raise rule.refuse(f"its input has {len(shape)} axes; only [1, channels, height, width] is covered")
    place = np.arange(shape[1])
    offset = place[np.newaxis] - place[:, np.newaxis]  # of channel j from channel i
    window = (offset >= -((size - 1) // 2)) & (offset <= size // 2)
    squares = graph.op("Mul", rule.x, rule.x)
    energy = graph.op("Conv", squares, graph.constant(window[:, :, np.newaxis, np.newaxis]))
    s = graph.op("Add", graph.op("Mul", energy, graph.constant(alpha / size)), graph.constant(bias))
    direct = graph.op("Mul", rule.g, graph.op("Pow", s, graph.constant(-beta)))
    parts = graph.op("Mul", graph.op("Mul", direct, rule.x), graph.op("Pow", s, graph.constant(-1.0)))
    gathered = graph.op("Conv", parts, graph.constant(window.T[:, :, np.newaxis, np.newaxis]))
    back = graph.op("Mul", graph.op("Mul", rule.x, gathered), graph.constant(2 * alpha * beta / size))
    return [graph.op("Sub", direct, back)]
