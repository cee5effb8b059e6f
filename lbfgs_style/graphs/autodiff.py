"""Reverse-mode differentiation of ONNX graphs: one small rule for each operator.

`gradients` walks the nodes backwards from tensors whose cotangents (dL/d tensor) are known, and appends the
nodes that compute the cotangents of other tensors: the chain rule, as in Griewank and Walther, "Evaluating
Derivatives" (2008), chapter 3. Operators without a rule are refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..errors import GraphError
from . import rules_elementwise as algebra
from . import rules_windowed as spatial
from .builder import GraphBuilder
from .gradient_rule import RuleContext

Rule = Callable[[RuleContext], Sequence[str | None]]

Seed = str | Callable[[str | None], str]
"""A cotangent, or a function that appends its nodes when the walk reaches the tensor.

The argument of the function is the cotangent that the walk used last, where deeper nodes have contributed to
the tensor's cotangent, else None: the new one need not be computed before it.
"""

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
"""Operator → its differentiation rule."""


def gradients(graph: GraphBuilder, seeds: Mapping[str, Seed], wrt: Sequence[str]) -> dict[str, str]:
    """Append the nodes that compute dL/d`wrt` and return the names of these cotangents.

    Parameters
    ----------
    graph : GraphBuilder
        Holds the forward graph; gets the nodes of the gradient.
    seeds : mapping of str to Seed
        Tensor of the forward graph → its cotangent, of the same shape. Contributions of deeper nodes are
        added to it.
    wrt : sequence of str
        Tensors to differentiate with respect to. Nodes that they depend on are not visited.

    Returns
    -------
    dict of str to str
        Tensor of `wrt` → its cotangent. Tensors that no seed depends on are missing.

    Raises
    ------
    GraphError
        If no rule covers an operator, or its attributes, or a shape that a rule needs is unknown.
    """
    targets = set(wrt)
    active = set(wrt)
    forward = list(graph.nodes)
    for node in forward:
        if any(name in active for name in node.input):
            active.update(node.output)
    pending: dict[str, list[Seed]] = {tensor: [seed] for tensor, seed in seeds.items()}
    last: str | None = None

    def contributions(tensor: str) -> list[str]:
        parts = pending.pop(tensor, [])
        names = [part for part in parts if isinstance(part, str)]
        functions = [part for part in parts if not isinstance(part, str)]
        if names and functions and last is not None:
            graph.wait_for[tensor] = last
        return names + [function(graph.wait_for.get(tensor)) for function in functions]

    for node in reversed(forward):
        parts = [c for name in node.output if name not in targets for c in contributions(name)]
        wanted = tuple(name in active for name in node.input)
        if not parts or not any(wanted):
            continue
        rule = RULES.get(node.op_type)
        if rule is None or node.domain not in ("", "ai.onnx"):
            raise GraphError(
                f"Cannot differentiate {graph.label(node)}: there are rules for {', '.join(sorted(RULES))}."
            )
        if len(node.output) != 1:
            raise GraphError(
                f"Cannot differentiate {graph.label(node)}: expected one output, got {len(node.output)}."
            )
        last = graph.total(parts)
        cotangents = rule(RuleContext(graph, node, last, wanted))
        for name, cotangent, is_wanted in zip(node.input, cotangents, wanted, strict=False):
            if is_wanted and cotangent is not None:
                pending.setdefault(name, []).append(cotangent)
    return {tensor: graph.total(contributions(tensor)) for tensor in wrt if tensor in pending}
