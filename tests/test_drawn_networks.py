"""What holds for every network: whole, tiles and blocks agree with float64, or the operator is named."""

from __future__ import annotations

import os
import re

import pytest
from drawn_networks import drawn
from own_networks import Problem, far

from lbfgs_style.errors import GraphError
from lbfgs_style.term_names import TermNames

COUNT = int(os.environ.get("LBFGS_STYLE_DRAWN", "40"))
"""Networks that are drawn."""

SIZES = [(33, 47), (48, 32), (31, 36)]
"""Heights and widths, odd and even."""

NAMED = re.compile(
    r"the (Conv|MaxPool|AveragePool|Pad|Slice|Transpose|Reduce\w+|Reshape|MatMul|Gemm) node '\w+'"
)


@pytest.mark.parametrize("seed", range(COUNT))
def test_all_ways_give_the_numbers_of_float64(seed: int) -> None:
    chosen = drawn(seed)
    first, *others = chosen.layers
    problem = Problem(chosen, SIZES[seed % 3], TermNames((others[-1],), (first, *others)))
    loss, gradient, slopes = problem.exact(slopes=1)
    for ours, theirs in slopes:
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5 * loss)
    found = [problem.evaluate()]
    pixels = problem.x[0].size // 4
    refusal = ""
    try:
        found += [problem.evaluate(pixels), problem.blocks(pixels)]
    except GraphError as error:
        refusal = str(error)
    assert not refusal or ("cannot be worked on in parts" in refusal and NAMED.search(refusal)), refusal
    for value, slope in found:
        assert value == pytest.approx(loss, rel=1e-3)
        assert far(slope, gradient) < 1e-2
