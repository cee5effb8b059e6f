"""Reverse-mode differentiation of ONNX graphs: one small rule for each operator.

`gradients` walks the nodes backwards from tensors whose cotangents (dL/d tensor) are given, and appends the
nodes that compute the cotangents of other tensors: the chain rule, as in Griewank and Walther, "Evaluating
Derivatives" (2008), chapter 3. Operators without a rule are refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..errors import GraphError
from . import rules_elementwise as algebra
from . import rules_windowed as spatial
from .builder import GraphBuilder
from .gradient_rule import Backward, described

Rule = Callable[[Backward], Sequence[str | None]]

Seed = str | Callable[[str | None], str]
"""A cotangent, or a function that makes it once the walk is there. Its argument is the cotangent that the
walk used last, where another one has arrived from deeper: the new one need not be there before; else None."""

RULES: dict[str, Rule] = {
    "Abs": algebra.d_abs,
    "Add": algebra.d_add,
    "AveragePool": spatial.d_average_pool,
    "Concat": algebra.d_concat,
    "Conv": spatial.d_conv,
    "Div": algebra.d_div,
    "Gemm": algebra.d_gemm,
    "Identity": algebra.d_identity,
    "MatMul": algebra.d_matmul,
    "MaxPool": spatial.d_max_pool,
    "Mul": algebra.d_mul,
    "Pad": spatial.d_pad,
    "Pow": algebra.d_pow,
    "ReduceL1": algebra.d_reduce_l1,
    "ReduceL2": algebra.d_reduce_l2,
    "ReduceMean": algebra.d_reduce_mean,
    "ReduceSum": algebra.d_reduce_sum,
    "ReduceSumSquare": algebra.d_reduce_sum_square,
    "Relu": algebra.d_relu,
    "Reshape": algebra.d_reshape,
    "Slice": algebra.d_slice,
    "Sqrt": algebra.d_sqrt,
    "Sub": algebra.d_sub,
    "Transpose": algebra.d_transpose,
}
"""The operators that can be differentiated, each with its rule."""


def gradients(b: GraphBuilder, seeds: Mapping[str, Seed], wrt: Sequence[str]) -> dict[str, str]:
    """Append the nodes that compute dL/d`wrt` and return the names of these cotangents.

    Parameters
    ----------
    b : GraphBuilder
        Holds the forward graph; gets the nodes of the gradient.
    seeds : mapping of str to Seed
        Tensor of the forward graph → its cotangent, of the same shape. Contributions add up.
    wrt : sequence of str
        Tensors to differentiate for. The walk stops there: what lies before them is not visited.

    Returns
    -------
    dict of str to str
        Tensor of `wrt` → its cotangent. A tensor that no seed depends on is missing.

    Raises
    ------
    GraphError
        An operator, or a form of one, that no rule covers; or a shape that must be known and is not.
    """
    targets = set(wrt)
    active = set(wrt)
    forward = list(b.nodes)
    for node in forward:
        if any(name in active for name in node.input):
            active.update(node.output)
    pending: dict[str, list[Seed]] = {tensor: [seed] for tensor, seed in seeds.items()}
    last: str | None = None

    def arrivals(tensor: str) -> list[str]:
        parts = pending.pop(tensor, [])
        given = [part for part in parts if isinstance(part, str)]
        made = [part for part in parts if not isinstance(part, str)]
        if given and made and last is not None:
            b.later[tensor] = last
        return given + [part(b.later.get(tensor)) for part in made]

    for node in reversed(forward):
        arrived = [c for name in node.output if name not in targets for c in arrivals(name)]
        wanted = tuple(name in active for name in node.input)
        if not arrived or not any(wanted):
            continue
        rule = RULES.get(node.op_type)
        if rule is None or node.domain not in ("", "ai.onnx"):
            raise GraphError(
                f"Cannot differentiate {described(b, node)}: there are rules for {', '.join(sorted(RULES))}."
            )
        if len(node.output) != 1:
            raise GraphError(
                f"Cannot differentiate {described(b, node)}: expected one output, got {len(node.output)}."
            )
        last = b.total(arrived)
        cotangents = rule(Backward(b, node, last, wanted))
        for name, cotangent, is_wanted in zip(node.input, cotangents, wanted, strict=False):
            if is_wanted and cotangent is not None:
                pending.setdefault(name, []).append(cotangent)
    return {tensor: b.total(arrivals(tensor)) for tensor in wrt if tensor in pending}
