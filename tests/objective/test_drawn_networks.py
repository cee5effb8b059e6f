"""What holds for every network: whole, tiles and blocks agree with float64, or the operator is named."""

from __future__ import annotations

import os
import re
from contextlib import suppress

import numpy as np
import pytest

from lbfgs_style.errors import GraphError
from lbfgs_style.graphs.autodiff import RULES
from lbfgs_style.graphs.receptive_fields import receptive_fields
from lbfgs_style.objective.losses.terms import LossTerms
from tests.helpers.drawn_networks import drawn
from tests.helpers.own_networks import Problem, around, far, node

COUNT = int(os.environ.get("LBFGS_STYLE_DRAWN", "20"))
"""Networks that are drawn."""

SEEN = 200
"""Networks that are looked at without being run."""

# What is drawn.
OPERATORS = {
    *("Abs", "Add", "AveragePool", "Concat", "Conv", "Div", "Gemm", "Identity", "MatMul", "MaxPool", "Mul"),
    *("Pad", "Pow", "ReduceL1", "ReduceL2", "ReduceMean", "ReduceSum", "ReduceSumSquare", "Relu", "Reshape"),
    *("Slice", "Sqrt", "Sub", "Transpose"),
    *("BatchNormalization", "Clip", "ConvTranspose", "DepthToSpace", "Elu", "Gather", "HardSigmoid"),
    *(
        "HardSwish",
        "InstanceNormalization",
        "LeakyRelu",
        "Max",
        "Min",
        "Mish",
        "Neg",
        "PRelu",
        "Resize",
    ),
    *("Selu", "Sigmoid", "Softmax", "Softplus", "SpaceToDepth", "Split", "Tanh", "Where"),
}

SIZES = [(33, 47), (48, 32), (31, 36)]
"""Heights and widths, odd and even."""

NAMED = re.compile(
    r"the (Conv|ConvTranspose|MaxPool|AveragePool|Pad|Slice|Transpose|Reduce\w+|Reshape|MatMul|Gemm|Resize"
    r"|DepthToSpace|InstanceNormalization) node '\w+'"
)


@pytest.mark.parametrize("convolution", ["auto", "direct"])
@pytest.mark.parametrize("seed", range(COUNT))
def test_whole_tiles_and_blocks_agree_with_float64(seed: int, convolution: str) -> None:
    chosen = drawn(seed)
    first, *others = chosen.layers
    terms = LossTerms((others[-1],), (first, *others))
    problem = Problem(chosen, SIZES[seed % 3], terms, convolution)
    loss, gradient, slopes = problem.exact(slopes=1)
    for ours, theirs in slopes:
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5 * loss)
    evaluations = [problem.evaluate()]
    pixels = problem.x[0].size // 4
    refusal = ""
    try:
        evaluations += [problem.evaluate(pixels), problem.blocks(pixels)]
    except GraphError as error:
        refusal = str(error)
    assert not refusal or ("cannot be worked on in parts" in refusal and NAMED.search(refusal)), refusal
    for value, slope in evaluations:
        assert value == pytest.approx(loss, rel=1e-3)
        assert far(slope, gradient) < 1e-2


def test_the_drawn_networks_cover_all_operators() -> None:
    """Operators of networks like VGG occur, and many networks can be worked on in parts.

    The other rules are tested one by one, in tests/graphs, and in networks of torchvision.
    """
    operators, in_parts = set[str](), 0
    for seed in range(SEEN):
        chosen = drawn(seed)
        operators.update(node.op_type for node in chosen.model.graph.node)
        with suppress(GraphError):
            in_parts += len(receptive_fields(chosen.model, chosen.layers)) > 0
    assert operators >= OPERATORS
    assert set(RULES) >= OPERATORS
    assert in_parts > SEEN / 3


def test_a_constant_condition_and_constant_scales_keep_their_types() -> None:
    """The condition of a Where is bool, and Resize takes scales of float32, in graphs of float64, too."""
    chosen = around(
        node("Neg", "r", "n"),
        node("Where", "odd r n", "chosen"),
        node("Resize", "chosen - twice", "m", mode="linear"),
        odd=np.arange(8).reshape(1, 8, 1, 1) % 2 == 1,
        twice=np.float32([1, 1, 2, 2]),
    )
    problem = Problem(chosen, (17, 20))
    loss, gradient, slopes = problem.exact(slopes=1)
    for ours, theirs in slopes:
        assert ours == pytest.approx(theirs, rel=1e-4)
    value, slope = problem.evaluate()
    assert value == pytest.approx(loss, rel=1e-4)
    assert far(slope, gradient) < 1e-3
