"""Differentiation rules of elementwise operators, products, reductions and changes of shape.

Each rule takes a `Backward` and returns a cotangent for each input, None where none is wanted. With y = f(x)
and g = dL/dy, each is dL/dx = (∂f/∂x)ᵀ g.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .builder import GraphBuilder
from .gradient_rule import Backward, step, unbroadcast

# Divisors are at least this, so that 0 / 0 becomes 0: the smallest normal float32, and a norm whose square is
# about as small.
_LEAST, _LEAST_NORM = 1.2e-38, 1.1e-19

# --- elementwise -----------------------------------------------------------------------------------------


def d_identity(v: Backward) -> Sequence[str]:
    """y = x: dx = g."""
    return [v.g]


def d_relu(v: Backward) -> Sequence[str]:
    """y = max(x, 0): dx = g where y > 0, else 0."""
    return [v.b.op("Mul", step(v.b, v.y, at_zero=0), v.g)]


def d_abs(v: Backward) -> Sequence[str]:
    """y = |x|: dx = g sign(x), 0 at x = 0."""
    return [v.b.op("Mul", v.g, v.b.op("Sign", v.x))]


def d_sqrt(v: Backward) -> Sequence[str]:
    """y = √x: dx = g / 2y, and 0 at x = 0.

    There the slope is infinite from the right. A ReLU before it hands 0 on for whole regions, and its own
    gradient, 0, cannot undo an infinite one.
    """
    if _is_positive(v.b, v.x):
        return [v.b.op("Div", v.b.op("Mul", v.g, v.b.constant(0.5)), v.y)]
    doubled = v.b.op("Max", v.b.op("Add", v.x, v.x), v.b.constant(_LEAST))
    return [v.b.op("Div", v.b.op("Mul", v.g, v.y), doubled)]


def _is_positive(b: GraphBuilder, tensor: str) -> bool:
    """Return whether a positive constant was added to what cannot be negative, as before most roots."""
    makers = {name: node for node in b.nodes for name in node.output}

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
    constants = [b.constants[name] for name in node.input if name in b.constants]
    others = [name for name in node.input if name not in b.constants]
    return (
        all(each.astype(float).min() > 0 for each in constants) and len(others) == 1 and is_square(others[0])
    )


def d_add(v: Backward) -> Sequence[str | None]:
    """y = a + b: da = g, db = g."""
    return [
        unbroadcast(v.b, v.g, name, v.y) if wanted else None
        for name, wanted in zip(v.node.input, v.active, strict=True)
    ]


def d_sub(v: Backward) -> Sequence[str | None]:
    """y = a − b: da = g, db = −g."""
    left, right = v.node.input
    return [
        unbroadcast(v.b, v.g, left, v.y) if v.active[0] else None,
        unbroadcast(v.b, v.b.op("Neg", v.g), right, v.y) if v.active[1] else None,
    ]


def d_mul(v: Backward) -> Sequence[str | None]:
    """y = a b: da = g b, db = g a."""
    left, right = v.node.input
    return [
        unbroadcast(v.b, v.b.op("Mul", v.g, right), left, v.y) if v.active[0] else None,
        unbroadcast(v.b, v.b.op("Mul", v.g, left), right, v.y) if v.active[1] else None,
    ]


def d_div(v: Backward) -> Sequence[str | None]:
    """y = a / b: da = g / b, db = −g y / b."""
    numerator, denominator = v.node.input
    share = v.b.op("Div", v.g, denominator)
    return [
        unbroadcast(v.b, share, numerator, v.y) if v.active[0] else None,
        unbroadcast(v.b, v.b.op("Neg", v.b.op("Mul", share, v.y)), denominator, v.y) if v.active[1] else None,
    ]


def d_pow(v: Backward) -> Sequence[str]:
    """y = xᵖ, p constant: dx = g p xᵖ⁻¹, and for p < 1 0 at x = 0, where the slope is infinite."""
    exponent = v.constant_input(1)
    if exponent is None or exponent.size != 1:
        raise v.refuse("its exponent is not one number")
    p = float(exponent.reshape(()))
    x, g = v.x, v.g
    if p < 1:
        nonzero = v.b.op("Abs", v.b.op("Sign", x))
        g = v.b.op("Mul", g, nonzero)
        x = v.b.op("Add", x, v.b.op("Sub", v.b.constant(1.0), nonzero))  # 1 in place of 0
    slope = v.b.op("Mul", v.b.op("Pow", x, v.b.constant(p - 1)), v.b.constant(p))
    return [v.b.op("Mul", g, slope)]


# --- products --------------------------------------------------------------------------------------------


def _transposed(b: GraphBuilder, tensor: str, rank: int) -> str:
    order = [*range(rank - 2), rank - 1, rank - 2]
    return b.op("Transpose", tensor, attributes={"perm": order})


def d_matmul(v: Backward) -> Sequence[str | None]:
    """Y = A B: dA = G Bᵀ, dB = Aᵀ G."""
    left, right = v.node.input
    ranks = len(v.b.shape(left)), len(v.b.shape(right))
    if min(ranks) < 2:
        raise v.refuse("one of its inputs is a vector")
    to_left = to_right = None
    if v.active[0]:
        product = v.b.op("MatMul", v.g, _transposed(v.b, right, ranks[1]))
        to_left = _sum_batch(v, product, left)
    if v.active[1]:
        product = v.b.op("MatMul", _transposed(v.b, left, ranks[0]), v.g)
        to_right = _sum_batch(v, product, right)
    return [to_left, to_right]


def _sum_batch(v: Backward, product: str, tensor: str) -> str:
    """Sum a product over the leading axes along which MatMul broadcast `tensor`."""
    shape, batch = v.b.shape(tensor), v.b.shape(v.y)[:-2]
    v.b.shapes[product] = (*batch, *shape[-2:])
    return unbroadcast(v.b, product, tensor, product)


def d_gemm(v: Backward) -> Sequence[str | None]:
    """Y = α A B + β C, A and B transposed or not: as for MatMul, times α; dC = β G."""
    a, c = v.node.input[0], v.node.input[1]
    alpha, beta = v.attribute("alpha", 1.0), v.attribute("beta", 1.0)
    flip_a, flip_c = int(bool(v.attribute("transA", 0))), int(bool(v.attribute("transB", 0)))

    def product(left: str, flip_left: int, right: str, flip_right: int) -> str:
        attributes = {"alpha": alpha, "transA": flip_left, "transB": flip_right}
        return v.b.op("Gemm", left, right, attributes=attributes)

    result: list[str | None] = [None, None, None]
    if v.active[0]:
        result[0] = product(c, flip_c, v.g, 1) if flip_a else product(v.g, 0, c, 1 - flip_c)
    if v.active[1]:
        result[1] = product(v.g, 1, a, flip_a) if flip_c else product(a, 1 - flip_a, v.g, 0)
    if len(v.active) > 2 and v.active[2]:
        scaled = v.b.op("Mul", v.g, v.b.constant(beta))
        result[2] = unbroadcast(v.b, scaled, v.node.input[2], v.y)
    return result


# --- reductions ------------------------------------------------------------------------------------------


def _reduced_axes(v: Backward) -> list[int]:
    """Return the axes that a reduction sums over: without any given, all of them or none."""
    axes = v.constant_input(1)
    rank = len(v.b.shape(v.x))
    if axes is None or axes.size == 0:
        return [] if v.attribute("noop_with_empty_axes", 0) else list(range(rank))
    return sorted(int(a) % rank for a in axes)


def _keep_axes(v: Backward, tensor: str) -> str:
    """Reshape a reduced tensor so that it broadcasts over the node's input."""
    if v.attribute("keepdims", 1):
        return tensor
    axes = _reduced_axes(v)
    return v.b.reshape(tensor, [1 if i in axes else n for i, n in enumerate(v.b.shape(v.x))])


def d_reduce_sum(v: Backward) -> Sequence[str]:
    """y = Σ x: dx = g, repeated."""
    shape = v.b.constant(v.b.shape(v.x), integer=True)
    return [v.b.op("Expand", _keep_axes(v, v.g), shape)]


def d_reduce_mean(v: Backward) -> Sequence[str]:
    """y = Σ x / n: dx = g / n, repeated."""
    count = math.prod(v.b.shape(v.x)[axis] for axis in _reduced_axes(v))
    shape = v.b.constant(v.b.shape(v.x), integer=True)
    share = v.b.op("Mul", v.g, v.b.constant(1 / count))
    return [v.b.op("Expand", _keep_axes(v, share), shape)]


def d_reduce_sum_square(v: Backward) -> Sequence[str]:
    """y = Σ x²: dx = 2 g x."""
    doubled = v.b.op("Mul", _keep_axes(v, v.g), v.b.constant(2.0))
    return [v.b.op("Mul", v.x, doubled)]


def d_reduce_l1(v: Backward) -> Sequence[str]:
    """y = Σ |x|: dx = g sign(x)."""
    return [v.b.op("Mul", v.b.op("Sign", v.x), _keep_axes(v, v.g))]


def d_reduce_l2(v: Backward) -> Sequence[str]:
    """y = √Σ x²: dx = g x / y, and 0 where all x are 0."""
    norm = v.b.op("Max", _keep_axes(v, v.y), v.b.constant(_LEAST_NORM))
    return [v.b.op("Mul", v.b.op("Div", v.x, norm), _keep_axes(v, v.g))]


# --- shapes ----------------------------------------------------------------------------------------------


def d_transpose(v: Backward) -> Sequence[str]:
    """Y = transpose of X: dX = G, transposed back."""
    rank = len(v.b.shape(v.x))
    order = v.integers("perm", list(reversed(range(rank))))
    return [v.b.op("Transpose", v.g, attributes={"perm": [order.index(axis) for axis in range(rank)]})]


def d_reshape(v: Backward) -> Sequence[str | None]:
    """Y = X in another shape: dX = G in the shape of X."""
    return [v.b.reshape(v.g, v.b.shape(v.x)), None]


def d_concat(v: Backward) -> Sequence[str | None]:
    """Y = [A, B, …]: dA, dB, … are the parts of G."""
    axis = v.attribute("axis", 0)
    assert isinstance(axis, int)
    parts: list[str | None] = []
    start = 0
    for name, wanted in zip(v.node.input, v.active, strict=True):
        stop = start + v.b.shape(name)[axis]
        parts.append(v.b.slice(v.g, axis, start, stop) if wanted else None)
        start = stop
    return parts


def d_slice(v: Backward) -> Sequence[str | None]:
    """Y = a part of X: dX = G with zeros around."""
    shape = v.b.shape(v.x)
    starts, stops, axes, steps = (v.constant_input(index) for index in range(1, 5))
    assert starts is not None
    assert stops is not None
    if steps is not None and any(steps != 1):
        raise v.refuse("its steps are not 1")
    before, after = [0] * len(shape), [0] * len(shape)
    for axis, start, stop in zip(range(len(starts)) if axes is None else axes, starts, stops, strict=True):
        first, last, _ = slice(int(start), int(stop)).indices(shape[axis])
        before[axis], after[axis] = first, shape[axis] - last
    return [v.b.pad(v.g, before, after)]
