"""Each differentiation rule on the test cases of ONNX: every form of an operator that its authors thought of.

The gradient of the first input, in float64, against central differences along random directions.
"""

from __future__ import annotations

import functools
import warnings

import numpy as np
import pytest
from onnx import version_converter
from onnx.reference import ReferenceEvaluator

from lbfgs_style.errors import GraphError
from lbfgs_style.graphs.autodiff import RULES, gradients
from lbfgs_style.graphs.builder import OPSET, GraphBuilder

# Operators whose reference computes in float32 or wrongly, see `FORMULAS` in test_autodiff.
UNRELIABLE = {"Erf", "LRN"}

# Cases that the reference evaluator computes otherwise than onnxruntime, or not at all in our opset.
DIFFERENT = {"test_resize_downsample_scales_linear_align_corners", "test_averagepool_2d_dilations"}

# Words of refusals → the cases that may be refused for that reason; the reasons are documented.
REFUSED = {
    "two axes": ("1d", "3d", "three", "globalmaxpool", "_pool_"),
    "only the modes nearest and linear": ("cubic", "antialias"),
    "it resizes other axes": ("resize",),
    "its coordinate_transformation_mode": ("tf_crop", "half_pixel_symmetric"),
    "different letters": ("einsum",),
    "stands nowhere else": ("einsum",),
    "expected one output": ("with_argmax", "mask", "training", "_indices", "layer_normalization"),
    "training mode": ("training", "dropout"),
    "casts": ("cast",),
    "follows from a size": ("convtranspose",),
    "constant, edge and reflect": ("wrap", "pad", "crop"),
    "its exponent": ("pow",),
    "is a vector": ("matmul",),
    "not a constant": ("conv",),
    "begins behind the input": ("ceil",),
}


@functools.cache
def cases():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        found = collect_testcases(None)
    return {case.name: case for case in found if is_of_a_rule(case) and case.name not in DIFFERENT}


def is_of_a_rule(case) -> bool:
    if case.model is None or len(case.model.graph.node) != 1 or not case.data_sets:
        return False
    inputs, outputs = case.data_sets[0]
    of_floats = all(isinstance(a, np.ndarray) for a in (*inputs[:1], *outputs))
    if not of_floats or not inputs or inputs[0].dtype != np.float32 or outputs[0].dtype != np.float32:
        return False
    node = case.model.graph.node[0]
    return (
        node.op_type in RULES
        and node.op_type not in UNRELIABLE
        and 0 < inputs[0].size <= 20_000
        and outputs[0].size > 0
    )


def graph_of(case) -> tuple[GraphBuilder, np.ndarray, str]:
    """Return a builder with the node of a case, all inputs but the first constant, and that input's value."""
    model = case.model
    if [entry.version for entry in model.opset_import if entry.domain == ""] != [OPSET]:
        model = version_converter.convert_version(model, OPSET)
    (inputs, _), graph = case.data_sets[0], GraphBuilder(np.float64)
    names = [value.name for value in case.model.graph.input]
    for name, value in zip(names[1:], inputs[1:], strict=True):
        graph.constant(value, name=name, integer=value.dtype.kind in "iu")
        if value.dtype == bool:
            graph.constants[name] = value
    x = inputs[0].astype(np.float64)
    graph.input(names[0], x.shape)
    for tensor in model.graph.initializer:
        from onnx import numpy_helper

        array = numpy_helper.to_array(tensor)
        graph.constant(array, name=tensor.name, integer=array.dtype.kind in "iu")
    graph.nodes.extend(model.graph.node)
    for name in names:
        if name in graph.constants and model.graph.node[-1].op_type == "Resize":
            graph.constants[name] = graph.constants[name].astype(
                np.int64 if graph.constants[name].dtype == np.int64 else np.float32
            )
    return graph, x, names[0]


def differentiate(graph, seeds, variable) -> tuple[str, str]:
    """Return the gradient's name, or why there is none."""
    try:
        return gradients(graph, seeds, [variable])[variable], ""
    except GraphError as error:
        return "", str(error)


def test_there_are_cases_of_nearly_every_rule() -> None:
    covered = {case.model.graph.node[0].op_type for case in cases().values()}
    assert set(RULES) - covered <= UNRELIABLE | {"Cast", "Einsum", "Where"}


@pytest.mark.parametrize("name", sorted(cases()))
def test_rule_matches_central_differences_on_the_case(name: str) -> None:
    try:
        graph, x, variable = graph_of(cases()[name])
    except (RuntimeError, IndexError) as error:
        pytest.skip(f"not to be had in opset {OPSET}: {str(error)[:60]}")
    y = graph.nodes[-1].output[0]
    shape = graph.shape(y)
    factors = graph.constant(np.sin(1.0 + np.arange(np.prod(shape))).reshape(shape))
    gradient, refusal = differentiate(graph, {y: factors}, variable)
    if refusal:
        reasons = [words for text, words in REFUSED.items() if text in refusal]
        assert any(word in name for words in reasons for word in words), refusal
        pytest.skip("refused by name")
    graph.output(graph.reduce("ReduceSum", graph.op("Mul", y, factors)), "loss")
    graph.output(gradient, "gradient")
    evaluator = ReferenceEvaluator(graph.model())

    def run(value):
        with np.errstate(all="ignore"):
            return evaluator.run(["loss", "gradient"], {variable: value})

    rng = np.random.default_rng(0)
    x = x + 1e-3 * rng.normal(size=x.shape)  # away from kinks and ties
    slope = run(x)[1]
    for _ in range(2):
        step = rng.normal(size=x.shape)
        difference = (run(x + 1e-6 * step)[0] - run(x - 1e-6 * step)[0]) / 2e-6
        assert abs(difference - (slope * step).sum()) <= 1e-5 * max(1, abs(difference), np.abs(slope).sum())
