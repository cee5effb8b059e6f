"""Peak memory of graphs, counted by hand."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from lbfgs_style.graphs import cpu_layout, winograd
from lbfgs_style.graphs.builder import GraphBuilder
from lbfgs_style.graphs.peak_memory import peak_bytes
from lbfgs_style.objective.engine import Engine
from lbfgs_style.objective.losses.terms import LossTerms
from lbfgs_style.objective.whole_graphs import objective_builder
from tests.helpers.small_networks import small_vgg

UNIT = 4 * 2 * 8 * 8
"""Bytes of a tensor float32 [1,2,8,8]."""


def test_a_chain_has_two_tensors_at_once():
    """The input is not counted."""
    b = GraphBuilder()
    x = b.input("x", [1, 2, 8, 8])
    b.output(b.op("Abs", b.op("Exp", b.op("Neg", x))), "y")
    assert peak_bytes(b) == 2 * UNIT


def test_a_tensor_that_is_used_later_is_kept():
    """During the Add: the first tensor, the end of the chain, and the sum."""
    b = GraphBuilder()
    first = b.op("Neg", b.input("x", [1, 2, 8, 8]))
    b.output(b.op("Add", first, b.op("Abs", b.op("Exp", first))), "y")
    assert peak_bytes(b) == 3 * UNIT


def test_a_view_takes_no_memory():
    b = GraphBuilder()
    flat = b.reshape(b.op("Neg", b.input("x", [1, 2, 8, 8])), [2, 64])
    b.output(b.op("Exp", flat), "y")
    assert peak_bytes(b) == 2 * UNIT


def test_of_two_inputs_the_later_one_is_computed_first():
    """The long path first, so that the short one's tensor is not kept: two on the long path, then three."""
    b = GraphBuilder()
    x = b.input("x", [1, 2, 8, 8])
    short = b.op("Sign", x)
    long = b.op("Abs", b.op("Exp", b.op("Neg", x)))
    b.output(b.op("Mul", short, long), "y")
    assert peak_bytes(b) == 3 * UNIT
    turned = GraphBuilder()
    x = turned.input("x", [1, 2, 8, 8])
    long = turned.op("Abs", turned.op("Exp", turned.op("Neg", x)))
    half = turned.op("Concat", *[turned.op("Sign", x)] * 4, attributes={"axis": 1})
    small = turned.slice(
        half, 1, 0, 2
    )  # appended last, so it is computed first: five units, then one is kept
    turned.output(turned.op("Mul", long, small), "y")
    assert peak_bytes(turned) == 5 * UNIT


def test_changing_the_layout_takes_a_copy():
    """The convolution's blocked output, its plain copy, and the Neg's output; 16 channels are a block."""
    b = GraphBuilder()
    x = b.input("x", [1, 16, 8, 8])
    convolved = b.op("Conv", x, b.constant(np.ones((16, 16, 1, 1))))
    b.output(b.op("Neg", convolved), "y")
    assert peak_bytes(b) == 2 * 8 * UNIT  # convolution and copy, then copy and result


@pytest.mark.parametrize("convolution", ["direct", "winograd"])
def test_memory_grows_with_the_pixels(convolution):
    terms = LossTerms(("relu4_1",), ("relu1_1", "relu2_1", "relu3_1", "relu4_1"))
    model = small_vgg().model
    sizes = [(64, 64), (128, 128)]
    rewrite = partial(cpu_layout.optimize_for_cpu, choose=winograd.CHOICES[convolution])
    small, large = (peak_bytes(objective_builder(model, s, terms, rewrite=rewrite)) for s in sizes)
    assert 3.5 < large / small < 4.1
    engine = Engine(small_vgg(), device="cpu", threads=1, keep_sessions=False, convolution=convolution)
    assert engine.estimate_costs(terms, 0).per_pixel == pytest.approx(large / 128**2, rel=0.1)
    # relu4_1 of the small network: 7 channels at one position in 64, four bytes each.
    assert engine.estimate_costs(terms, 0).targets == pytest.approx(4 * 7 / 64)
