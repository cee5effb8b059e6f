"""Operators of newer opsets, written as older ones: the same function, by ONNX's reference evaluator."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from lbfgs_style.graphs.builder import OPSET
from lbfgs_style.networks.lowering import lower
from lbfgs_style.networks.model_checks import to_opset

FLOAT = onnx.TensorProto.FLOAT
X = np.random.default_rng(0).normal(size=(1, 4, 5, 6)).astype(np.float32)


def model(op_type: str, opset: int, *constants: np.ndarray, **attributes: object) -> onnx.ModelProto:
    names = [f"c{i}" for i in range(len(constants))]
    node = helper.make_node(op_type, ["x", *names], ["y"], **attributes)
    values = [helper.make_tensor_value_info(name, FLOAT, [1, 4, None, None]) for name in "xy"]
    weights = [numpy_helper.from_array(array, name) for name, array in zip(names, constants, strict=True)]
    graph = helper.make_graph([node], "g", values[:1], values[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


SCALE, OFFSET = np.float32([1.5, 0.5, -1, 2]), np.float32([0.1, 0.2, 0.3, 0.4])
CASES = {
    "Gelu": model("Gelu", 20),
    "Gelu tanh": model("Gelu", 23, approximate="tanh"),
    "GroupNormalization": model("GroupNormalization", 21, SCALE, OFFSET, num_groups=2, epsilon=1e-2),
    "GroupNormalization all": model("GroupNormalization", 23, SCALE, OFFSET, num_groups=1),
    "GlobalMaxPool": model("GlobalMaxPool", 22),
}


@pytest.mark.parametrize("name", CASES)
def test_the_function_stays(name: str) -> None:
    before = CASES[name]
    after = to_opset(lower(before), OPSET, "test")
    onnx.checker.check_model(after, full_check=True)
    expected, actual = (ReferenceEvaluator(each).run(None, {"x": X})[0] for each in (before, after))
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_a_model_without_such_operators_is_the_same_object() -> None:
    plain = model("Relu", 23)
    assert lower(plain) is plain
    old = model("GlobalMaxPool", 18)
    assert lower(old) is old
