"""Differentiation rules of elementwise operators, products and reductions.

Each rule gets a `RuleContext` and returns the cotangent of each input, or None where it is not needed. With
y = f(x) and g = dL/dy, it is dL/dx = (∂f/∂x)ᵀ g.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .builder import GraphBuilder
from .gradient_rule import LEAST, LEAST_NORM, RuleContext, step, unbroadcast

# --- elementwise -----------------------------------------------------------------------------------------


def d_identity(rule: RuleContext) -> Sequence[str]:
    """y = x: dx = g."""
    return [rule.g]


def d_cast(rule: RuleContext) -> Sequence[str]:
    """y = x in another floating-point type: dx = g. Graphs have one such type, so that it is the same."""
    from onnx import TensorProto

    if rule.attribute("to", 0) not in (TensorProto.FLOAT, TensorProto.DOUBLE):
        raise rule.refuse("it casts to another type than float or double")
    return [rule.g]


def d_dropout(rule: RuleContext) -> Sequence[str | None]:
    """y = x, as at inference: dx = g."""
    training = rule.constant_input(2)
    if training is not None and training.any():
        raise rule.refuse("it is in training mode; export the network for inference")
    return [rule.g, None, None]


def d_neg(rule: RuleContext) -> Sequence[str]:
    """y = −x: dx = −g."""
    return [rule.graph.op("Neg", rule.g)]


def d_relu(rule: RuleContext) -> Sequence[str]:
    """y = max(x, 0): dx = g where y > 0, else 0."""
    result = rule.graph.op("Mul", step(rule.graph, rule.y, at_zero=0), rule.g)
    rule.graph.composite("ReluGradient", [rule.y, rule.g], [result])
    return [result]


def d_abs(rule: RuleContext) -> Sequence[str]:
    """y = |x|: dx = g sign(x), 0 at x = 0."""
    return [rule.graph.op("Mul", rule.g, rule.graph.op("Sign", rule.x))]


def d_sqrt(rule: RuleContext) -> Sequence[str]:
    """y = √x: dx = g / 2y, and 0 at x = 0.

    At 0 the slope is infinite. After a ReLU, whole regions are 0, and the ReLU's gradient, which is 0 there,
    times an infinite one would be NaN.
    """
    if _is_positive(rule.graph, rule.x):
        return [rule.graph.op("Div", rule.graph.op("Mul", rule.g, rule.graph.constant(0.5)), rule.y)]
    doubled = rule.graph.op("Max", rule.graph.op("Add", rule.x, rule.x), rule.graph.constant(LEAST))
    return [rule.graph.op("Div", rule.graph.op("Mul", rule.g, rule.y), doubled)]


def _is_positive(graph: GraphBuilder, tensor: str) -> bool:
    """Return whether a tensor is the sum of a positive constant and a tensor that cannot be negative."""
    makers = {name: node for node in graph.nodes for name in node.output}

    def is_square(name: str) -> bool:
        node = makers.get(name)
        if node is None:
            return False
        if node.op_type in ("AveragePool", "ReduceMean", "ReduceSum"):
            return is_square(node.input[0])
        same = node.op_type == "Mul" and node.input[0] == node.input[1]
        return same or node.op_type in ("Abs", "Relu", "ReduceL1", "ReduceL2", "ReduceSumSquare")

    node = makers.get(tensor)
    if node is None or node.op_type != "Add":
        return False
    constants = [graph.constants[name] for name in node.input if name in graph.constants]
    others = [name for name in node.input if name not in graph.constants]
    return (
        all(each.astype(float).min() > 0 for each in constants) and len(others) == 1 and is_square(others[0])
    )


def d_add(rule: RuleContext) -> Sequence[str | None]:
    """y = a + b: da = g, db = g."""
    return [
        unbroadcast(rule.graph, rule.g, name, rule.y) if wanted else None
        for name, wanted in zip(rule.node.input, rule.active, strict=True)
    ]


def d_extreme(rule: RuleContext) -> Sequence[str | None]:
    """y = max(a, b, …) or min(a, b, …): the cotangent is shared by those that are equal to y."""
    graph, sign = rule.graph, "Max" if rule.node.op_type == "Max" else "Min"

    def reaches(name: str) -> str:
        pair = (name, rule.y) if sign == "Max" else (rule.y, name)
        return step(graph, graph.op("Sub", *pair), at_zero=1)

    masks = [reaches(name) for name in rule.node.input]
    share = graph.op("Div", rule.g, graph.total(masks))
    return [
        unbroadcast(graph, graph.op("Mul", share, mask), name, rule.y) if wanted else None
        for name, mask, wanted in zip(rule.node.input, masks, rule.active, strict=True)
    ]


def d_where(rule: RuleContext) -> Sequence[str | None]:
    """y = a where c, else b: da = g where c, else 0; db = 0 where c, else g."""
    graph, (condition, left, right), zero = rule.graph, rule.node.input, rule.graph.constant(0.0)
    to_left = to_right = None
    if rule.active[1]:
        to_left = unbroadcast(graph, graph.op("Where", condition, rule.g, zero), left, rule.y)
    if rule.active[2]:
        to_right = unbroadcast(graph, graph.op("Where", condition, zero, rule.g), right, rule.y)
    return [None, to_left, to_right]


def d_sub(rule: RuleContext) -> Sequence[str | None]:
    """y = a − b: da = g, db = −g."""
    graph, g, (left, right) = rule.graph, rule.g, rule.node.input
    return [
        unbroadcast(graph, g, left, rule.y) if rule.active[0] else None,
        unbroadcast(graph, graph.op("Neg", g), right, rule.y) if rule.active[1] else None,
    ]


def d_mul(rule: RuleContext) -> Sequence[str | None]:
    """y = a b: da = g b, db = g a."""
    graph, g, (left, right) = rule.graph, rule.g, rule.node.input
    return [
        unbroadcast(graph, graph.op("Mul", g, right), left, rule.y) if rule.active[0] else None,
        unbroadcast(graph, graph.op("Mul", g, left), right, rule.y) if rule.active[1] else None,
    ]


def d_div(rule: RuleContext) -> Sequence[str | None]:
    """y = a / b: da = g / b, db = −g y / b."""
    graph, (numerator, denominator) = rule.graph, rule.node.input
    ratio = graph.op("Div", rule.g, denominator)
    to_numerator = to_denominator = None
    if rule.active[0]:
        to_numerator = unbroadcast(graph, ratio, numerator, rule.y)
    if rule.active[1]:
        negative = graph.op("Neg", graph.op("Mul", ratio, rule.y))
        to_denominator = unbroadcast(graph, negative, denominator, rule.y)
    return [to_numerator, to_denominator]


def d_pow(rule: RuleContext) -> Sequence[str]:
    """y = xᵖ, p constant: dx = g p xᵖ⁻¹; for p < 1, where the slope at 0 is infinite, 0 at x = 0."""
    exponent = rule.constant_input(1)
    if exponent is None or exponent.size != 1:
        raise rule.refuse("its exponent is not one number")
    p = float(exponent.reshape(()))
    graph, x, g = rule.graph, rule.x, rule.g
    if p < 1:
        nonzero = graph.op("Abs", graph.op("Sign", x))
        g = graph.op("Mul", g, nonzero)
        x = graph.op("Add", x, graph.op("Sub", graph.constant(1.0), nonzero))  # 1 in place of 0
    slope = graph.op("Mul", graph.op("Pow", x, graph.constant(p - 1)), graph.constant(p))
    return [graph.op("Mul", g, slope)]


# --- products --------------------------------------------------------------------------------------------


def _transposed(graph: GraphBuilder, tensor: str, rank: int) -> str:
    order = [*range(rank - 2), rank - 1, rank - 2]
    return graph.op("Transpose", tensor, attributes={"perm": order})


def d_matmul(rule: RuleContext) -> Sequence[str | None]:
    """Y = A B: dA = G Bᵀ, dB = Aᵀ G."""
    graph, (left, right) = rule.graph, rule.node.input
    ranks = len(graph.shape(left)), len(graph.shape(right))
    if min(ranks) < 2:
        raise rule.refuse("one of its inputs is a vector")
    to_left = to_right = None
    if rule.active[0]:
        product = graph.op("MatMul", rule.g, _transposed(graph, right, ranks[1]))
        to_left = _sum_batch(rule, product, left)
    if rule.active[1]:
        product = graph.op("MatMul", _transposed(graph, left, ranks[0]), rule.g)
        to_right = _sum_batch(rule, product, right)
    return [to_left, to_right]


def _sum_batch(rule: RuleContext, product: str, tensor: str) -> str:
    """Append nodes that sum a product over the leading axes along which MatMul broadcast `tensor`."""
    shape, batch = rule.graph.shape(tensor), rule.graph.shape(rule.y)[:-2]
    rule.graph.shapes[product] = (*batch, *shape[-2:])
    return unbroadcast(rule.graph, product, tensor, product)


def d_gemm(rule: RuleContext) -> Sequence[str | None]:
    """Y = α A B + β C, A and B transposed or not: as for MatMul, times α; dC = β G."""
    graph, g, (a, b) = rule.graph, rule.g, rule.node.input[:2]
    alpha, beta = rule.attribute("alpha", 1.0), rule.attribute("beta", 1.0)
    flip_a, flip_b = int(bool(rule.attribute("transA", 0))), int(bool(rule.attribute("transB", 0)))

    def product(left: str, flip_left: int, right: str, flip_right: int) -> str:
        attributes = {"alpha": alpha, "transA": flip_left, "transB": flip_right}
        return graph.op("Gemm", left, right, attributes=attributes)

    result: list[str | None] = [None, None, None]
    if rule.active[0]:
        result[0] = product(b, flip_b, g, 1) if flip_a else product(g, 0, b, 1 - flip_b)
    if rule.active[1]:
        result[1] = product(g, 1, a, flip_a) if flip_b else product(a, 1 - flip_a, g, 0)
    if len(rule.active) > 2 and rule.active[2]:
        scaled = graph.op("Mul", g, graph.constant(beta))
        result[2] = unbroadcast(graph, scaled, rule.node.input[2], rule.y)
    return result


def d_einsum(rule: RuleContext) -> Sequence[str | None]:
    """Y = Σ A B over the indices that Y lacks: dA = Σ G B over those that A lacks, and dB likewise."""
    equation = rule.attribute("equation", b"")
    assert isinstance(equation, bytes)
    inputs, arrow, output = equation.decode().replace(" ", "").partition("->")
    terms = inputs.split(",")
    if len(terms) != 2 or not arrow or any(len(set(t)) < len(t) or "." in t for t in (*terms, output)):
        raise rule.refuse("only equations of two terms with different letters, as in ab,bc->ac, are covered")
    result: list[str | None] = [None, None]
    for i, (mine, other) in enumerate((terms, terms[::-1])):
        if not rule.active[i]:
            continue
        if set(mine) - set(output) - set(other):
            raise rule.refuse(f"it sums {mine!r} over an index that stands nowhere else")
        attributes = {"equation": f"{output},{other}->{mine}"}
        result[i] = rule.graph.op("Einsum", rule.g, rule.node.input[1 - i], attributes=attributes)
    return result


# --- reductions ------------------------------------------------------------------------------------------


def _reduced_axes(rule: RuleContext) -> list[int]:
    """Return the axes that a reduction reduces: without a list, all of them or none."""
    axes = rule.constant_input(1)
    rank = len(rule.graph.shape(rule.x))
    if axes is None or axes.size == 0:
        return [] if rule.attribute("noop_with_empty_axes", 0) else list(range(rank))
    return sorted(int(a) % rank for a in axes)


def _keep_axes(rule: RuleContext, tensor: str) -> str:
    """Append a Reshape of a reduced tensor, so that it broadcasts over the input of the node."""
    if rule.attribute("keepdims", 1):
        return tensor
    axes = _reduced_axes(rule)
    return rule.graph.reshape(tensor, [1 if i in axes else n for i, n in enumerate(rule.graph.shape(rule.x))])


def d_reduce_sum(rule: RuleContext) -> Sequence[str]:
    """y = Σ x: dx = g, repeated."""
    shape = rule.graph.constant(rule.graph.shape(rule.x), integer=True)
    return [rule.graph.op("Expand", _keep_axes(rule, rule.g), shape)]


def d_reduce_mean(rule: RuleContext) -> Sequence[str]:
    """y = Σ x / n: dx = g / n, repeated."""
    count = math.prod(rule.graph.shape(rule.x)[axis] for axis in _reduced_axes(rule))
    shape = rule.graph.constant(rule.graph.shape(rule.x), integer=True)
    share = rule.graph.op("Mul", rule.g, rule.graph.constant(1 / count))
    return [rule.graph.op("Expand", _keep_axes(rule, share), shape)]


def d_reduce_sum_square(rule: RuleContext) -> Sequence[str]:
    """y = Σ x²: dx = 2 g x."""
    doubled = rule.graph.op("Mul", _keep_axes(rule, rule.g), rule.graph.constant(2.0))
    return [rule.graph.op("Mul", rule.x, doubled)]


def d_reduce_l1(rule: RuleContext) -> Sequence[str]:
    """y = Σ |x|: dx = g sign(x)."""
    return [rule.graph.op("Mul", rule.graph.op("Sign", rule.x), _keep_axes(rule, rule.g))]


def d_reduce_l2(rule: RuleContext) -> Sequence[str]:
    """y = √Σ x²: dx = g x / y, and 0 where all x are 0."""
    norm = rule.graph.op("Max", _keep_axes(rule, rule.y), rule.graph.constant(LEAST_NORM))
    return [rule.graph.op("Mul", rule.graph.op("Div", rule.x, norm), _keep_axes(rule, rule.g))]


def d_reduce_extreme(rule: RuleContext) -> Sequence[str]:
    """y = max x or min x over some axes: the cotangent is shared by those that are equal to y."""
    y, g, axes = _keep_axes(rule, rule.y), _keep_axes(rule, rule.g), _reduced_axes(rule)
    pair = (rule.x, y) if rule.node.op_type == "ReduceMax" else (y, rule.x)
    mask = step(rule.graph, rule.graph.op("Sub", *pair), at_zero=1)
    ties = rule.graph.reduce("ReduceSum", mask, axes, keepdims=True) if axes else mask
    return [rule.graph.op("Mul", mask, rule.graph.op("Div", g, ties))]
