"""Reverse-mode differentiation of ONNX graphs: one small rule for each operator.

`gradients` walks the nodes backwards from tensors whose cotangents (dL/d tensor) are known, and appends the
nodes that compute the cotangents of other tensors: the chain rule, as in Griewank and Walther, "Evaluating
Derivatives" (2008), chapter 3. Operators without a rule are refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..errors import GraphError
from . import rules_activations as activations
from . import rules_elementwise as algebra
from . import rules_normalization as normalization
from . import rules_shapes as shapes
from . import rules_windowed as windowed
from .builder import GraphBuilder
from .gradient_rule import RuleContext

Rule = Callable[[RuleContext], Sequence[str | None]]

Seed = str | Callable[[str | None], str]
"""A cotangent, or a function that appends its nodes when the walk reaches the tensor.

The argument of the function is the cotangent that the walk used last, where deeper nodes have contributed to
the tensor's cotangent, else None: the new one need not be computed before it.
"""

RULES: dict[str, Rule] = {
    # Elementwise.
    "Abs": algebra.d_abs,
    "Add": algebra.d_add,
    "Cast": algebra.d_cast,
    "Div": algebra.d_div,
    "Dropout": algebra.d_dropout,
    "Identity": algebra.d_identity,
    "Max": algebra.d_extreme,
    "Min": algebra.d_extreme,
    "Mul": algebra.d_mul,
    "Neg": algebra.d_neg,
    "Pow": algebra.d_pow,
    "Relu": algebra.d_relu,
    "Sqrt": algebra.d_sqrt,
    "Sub": algebra.d_sub,
    "Sum": algebra.d_add,
    "Where": algebra.d_where,
    # Activations.
    "Clip": activations.d_clip,
    "Elu": activations.d_elu,
    "Erf": activations.d_erf,
    "Exp": activations.d_exp,
    "HardSigmoid": activations.d_hard_sigmoid,
    "HardSwish": activations.d_hard_swish,
    "LeakyRelu": activations.d_leaky_relu,
    "Log": activations.d_log,
    "LogSoftmax": activations.d_log_softmax,
    "Mish": activations.d_mish,
    "PRelu": activations.d_prelu,
    "Selu": activations.d_selu,
    "Sigmoid": activations.d_sigmoid,
    "Softmax": activations.d_softmax,
    "Softplus": activations.d_softplus,
    "Tanh": activations.d_tanh,
    # Products and reductions.
    "Einsum": algebra.d_einsum,
    "Gemm": algebra.d_gemm,
    "MatMul": algebra.d_matmul,
    "ReduceL1": algebra.d_reduce_l1,
    "ReduceL2": algebra.d_reduce_l2,
    "ReduceMax": algebra.d_reduce_extreme,
    "ReduceMean": algebra.d_reduce_mean,
    "ReduceMin": algebra.d_reduce_extreme,
    "ReduceSum": algebra.d_reduce_sum,
    "ReduceSumSquare": algebra.d_reduce_sum_square,
    # Normalizations.
    "BatchNormalization": normalization.d_batch_normalization,
    "InstanceNormalization": normalization.d_instance_normalization,
    "LayerNormalization": normalization.d_layer_normalization,
    "LRN": normalization.d_lrn,
    # Windows and padding.
    "AveragePool": windowed.d_average_pool,
    "Conv": windowed.d_conv,
    "ConvTranspose": windowed.d_conv_transpose,
    "GlobalAveragePool": windowed.d_global_average_pool,
    "GlobalMaxPool": windowed.d_global_max_pool,
    "LpPool": windowed.d_lp_pool,
    "MaxPool": windowed.d_max_pool,
    "Pad": windowed.d_pad,
    # Shapes.
    "Concat": shapes.d_concat,
    "DepthToSpace": shapes.d_depth_to_space,
    "Expand": shapes.d_expand,
    "Flatten": shapes.d_reshape,
    "Gather": shapes.d_gather,
    "Reshape": shapes.d_reshape,
    "Resize": shapes.d_resize,
    "Slice": shapes.d_slice,
    "SpaceToDepth": shapes.d_space_to_depth,
    "Split": shapes.d_split,
    "Squeeze": shapes.d_reshape,
    "Tile": shapes.d_tile,
    "Transpose": shapes.d_transpose,
    "Unsqueeze": shapes.d_reshape,
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
        parts = [contributions(name) if name and name not in targets else [] for name in node.output]
        wanted = tuple(name in active for name in node.input)
        if not any(parts) or not any(wanted):
            continue
        rule = RULES.get(node.op_type)
        if rule is None or node.domain not in ("", "ai.onnx"):
            raise GraphError(
                f"Cannot differentiate {graph.label(node)}: there are rules for {', '.join(sorted(RULES))}."
            )
        if len(node.output) != 1 and node.op_type != "Split":
            raise GraphError(
                f"Cannot differentiate {graph.label(node)}: expected one output, got {len(node.output)}."
            )
        totals = tuple(graph.total(each) if each else None for each in parts)
        last = next(total for total in reversed(totals) if total is not None)
        cotangents = rule(RuleContext(graph, node, last, wanted, totals))
        for name, cotangent, is_wanted in zip(node.input, cotangents, wanted, strict=False):
            if is_wanted and cotangent is not None:
                pending.setdefault(name, []).append(cotangent)
    return {tensor: graph.total(contributions(tensor)) for tensor in wrt if tensor in pending}
