"""Differentiation rules of activations.

Each rule gets a `RuleContext` and returns the cotangent of each input, or None where it is not needed. With
y = f(x) and g = dL/dy, it is dL/dx = g f′(x). Where f has a kink, the slope is PyTorch's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .builder import GraphBuilder
from .gradient_rule import RuleContext, number, step, unbroadcast


def _times(rule: RuleContext, slope: str) -> list[str]:
    """Append g · slope."""
    return [rule.graph.op("Mul", rule.g, slope)]


def _one_minus(graph: GraphBuilder, tensor: str) -> str:
    return graph.op("Sub", graph.constant(1.0), tensor)


def _affine(graph: GraphBuilder, tensor: str, factor: float, offset: float) -> str:
    """Append factor · tensor + offset."""
    scaled = tensor if factor == 1 else graph.op("Mul", tensor, graph.constant(factor))
    return scaled if offset == 0 else graph.op("Add", scaled, graph.constant(offset))


def d_exp(rule: RuleContext) -> Sequence[str]:
    """y = eˣ: dx = g y."""
    return _times(rule, rule.y)


def d_log(rule: RuleContext) -> Sequence[str]:
    """y = ln x: dx = g / x."""
    return [rule.graph.op("Div", rule.g, rule.x)]


def d_sigmoid(rule: RuleContext) -> Sequence[str]:
    """y = 1 / (1 + e⁻ˣ): dx = g y (1 − y)."""
    return _times(rule, rule.graph.op("Mul", rule.y, _one_minus(rule.graph, rule.y)))


def d_tanh(rule: RuleContext) -> Sequence[str]:
    """y = tanh x: dx = g (1 − y²)."""
    return _times(rule, _one_minus(rule.graph, rule.graph.op("Mul", rule.y, rule.y)))


def d_softplus(rule: RuleContext) -> Sequence[str]:
    """y = ln(1 + eˣ): dx = g / (1 + e⁻ˣ)."""
    return _times(rule, rule.graph.op("Sigmoid", rule.x))


def d_erf(rule: RuleContext) -> Sequence[str]:
    """y = erf x: dx = g 2/√π e^(−x²)."""
    graph = rule.graph
    bell = graph.op("Exp", graph.op("Neg", graph.op("Mul", rule.x, rule.x)))
    return _times(rule, _affine(graph, bell, 2 / math.sqrt(math.pi), 0))


def d_elu(rule: RuleContext) -> Sequence[str]:
    """y = x for x > 0, else α (eˣ − 1): dx = g for x > 0, else g (y + α)."""
    return _exponential(rule, number(rule, "alpha", 1.0), 1.0)


def d_selu(rule: RuleContext) -> Sequence[str]:
    """y = γ x for x > 0, else γ α (eˣ − 1): dx = g γ for x > 0, else g (y + γ α)."""
    alpha, gamma = (
        number(rule, "alpha", 1.67326319217681884765625),
        number(rule, "gamma", 1.05070102214813232421875),
    )
    return _exponential(rule, gamma * alpha, gamma)


def _exponential(rule: RuleContext, asymptote: float, slope: float) -> list[str]:
    """Return the cotangent for y = slope · x above 0, and y + asymptote as the slope below."""
    graph = rule.graph
    above = step(graph, rule.x, at_zero=0)
    # Below 0 y + asymptote is the slope; above, the lesser of y and 0 leaves the asymptote, to be replaced.
    below = graph.op("Mul", _one_minus(graph, above), _affine(graph, _negative(graph, rule.y), 1, asymptote))
    return _times(rule, graph.op("Add", below, _affine(graph, above, slope, 0)))


def _negative(graph: GraphBuilder, tensor: str) -> str:
    """Append min(tensor, 0)."""
    return graph.op("Neg", graph.op("Relu", graph.op("Neg", tensor)))


def d_leaky_relu(rule: RuleContext) -> Sequence[str]:
    """y = x for x > 0, else α x: dx = g for x > 0, else α g."""
    alpha = number(rule, "alpha", 0.01)
    return _times(rule, _affine(rule.graph, step(rule.graph, rule.x, at_zero=0), 1 - alpha, alpha))


def d_prelu(rule: RuleContext) -> Sequence[str | None]:
    """y = x for x > 0, else s x: dx = g for x > 0, else g s; ds = g min(x, 0)."""
    graph, slope = rule.graph, rule.node.input[1]
    to_x = to_slope = None
    if rule.active[0]:
        above = step(graph, rule.x, at_zero=0)
        both = graph.op("Add", above, graph.op("Mul", _one_minus(graph, above), slope))
        to_x = _times(rule, both)[0]
    if rule.active[1]:
        to_slope = unbroadcast(graph, _times(rule, _negative(graph, rule.x))[0], slope, rule.y)
    return [to_x, to_slope]


def d_clip(rule: RuleContext) -> Sequence[str | None]:
    """y = x within [least, most], else the nearer bound: dx = g from bound to bound, else 0."""
    graph, slopes = rule.graph, list[str]()
    least, most = rule.constant_input(1), rule.constant_input(2)
    if least is not None and math.isfinite(least):
        slopes.append(step(graph, _affine(graph, rule.x, 1, -float(least)), at_zero=1))
    if most is not None and math.isfinite(most):
        slopes.append(step(graph, _affine(graph, rule.x, -1, float(most)), at_zero=1))
    g = rule.g
    for slope in slopes:
        g = graph.op("Mul", g, slope)
    return [g, None, None]


def _hard_sigmoid_slope(rule: RuleContext, alpha: float, beta: float) -> str:
    """Append the slope of max(0, min(1, α x + β)): α where that is between 0 and 1, else 0."""
    graph = rule.graph
    line = _affine(graph, rule.x, alpha, beta)
    inside = graph.op(
        "Mul", step(graph, line, at_zero=0), step(graph, _affine(graph, line, -1, 1), at_zero=0)
    )
    return _affine(graph, inside, alpha, 0)


def d_hard_sigmoid(rule: RuleContext) -> Sequence[str]:
    """y = max(0, min(1, α x + β)): dx = α g where y is between 0 and 1, else 0."""
    return _times(rule, _hard_sigmoid_slope(rule, number(rule, "alpha", 0.2), number(rule, "beta", 0.5)))


def d_hard_swish(rule: RuleContext) -> Sequence[str]:
    """y = x h(x) with h(x) = max(0, min(1, x / 6 + 1/2)): dx = g (h + x h′)."""
    graph = rule.graph
    gate = graph.op("HardSigmoid", rule.x, attributes={"alpha": 1 / 6, "beta": 0.5})
    return _times(rule, graph.op("Add", gate, graph.op("Mul", rule.x, _hard_sigmoid_slope(rule, 1 / 6, 0.5))))


def d_mish(rule: RuleContext) -> Sequence[str]:
    """y = x t with t = tanh(ln(1 + eˣ)): dx = g (t + x (1 − t²) / (1 + e⁻ˣ))."""
    graph = rule.graph
    t = graph.op("Tanh", graph.op("Softplus", rule.x))
    bend = graph.op("Mul", graph.op("Sigmoid", rule.x), _one_minus(graph, graph.op("Mul", t, t)))
    return _times(rule, graph.op("Add", t, graph.op("Mul", rule.x, bend)))


def d_softmax(rule: RuleContext) -> Sequence[str]:
    """y = eˣ / Σ eˣ: dx = y (g − Σ g y)."""
    graph, axis = rule.graph, int(number(rule, "axis", -1))
    shared = graph.reduce("ReduceSum", graph.op("Mul", rule.g, rule.y), [axis], keepdims=True)
    return [graph.op("Mul", rule.y, graph.op("Sub", rule.g, shared))]


def d_log_softmax(rule: RuleContext) -> Sequence[str]:
    """y = x − ln Σ eˣ: dx = g − eʸ Σ g."""
    graph, axis = rule.graph, int(number(rule, "axis", -1))
    shared = graph.reduce("ReduceSum", rule.g, [axis], keepdims=True)
    return [graph.op("Sub", rule.g, graph.op("Mul", graph.op("Exp", rule.y), shared))]
