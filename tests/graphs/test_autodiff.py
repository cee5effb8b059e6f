"""Each differentiation rule against central differences, in float64, by ONNX's reference evaluator."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from onnx import helper
from onnx.reference import ReferenceEvaluator

from lbfgs_style.errors import GraphError
from lbfgs_style.graphs.autodiff import RULES, gradients
from lbfgs_style.graphs.builder import GraphBuilder

Make = Callable[[GraphBuilder, str], str]


def loss_and_gradient(make: Make, x: np.ndarray) -> tuple[Callable[[np.ndarray], float], np.ndarray]:
    """Differentiate Σ c · make(x) for fixed uneven factors c."""
    b = GraphBuilder(np.float64)
    b.input("x", x.shape)
    y = make(b, "x")
    shape = b.shape(y)
    factors = b.constant(np.sin(1.0 + np.arange(np.prod(shape))).reshape(shape))
    loss = b.reduce("ReduceSum", b.op("Mul", y, factors))
    gradient = gradients(b, {loss: b.constant(1.0)}, ["x"])["x"]
    b.output(loss, "loss")
    b.output(gradient, "gradient")
    evaluator = ReferenceEvaluator(b.model())

    def run(value: np.ndarray) -> list[np.ndarray]:
        with np.errstate(over="ignore"):  # the steep HardSigmoid
            return evaluator.run(["loss", "gradient"], {"x": value})

    return lambda value: float(run(value)[0]), run(x)[1]


def assert_matches_differences(make: Make, x: np.ndarray, tolerance: float = 1e-8) -> None:
    loss, gradient = loss_and_gradient(make, x)
    expected = np.zeros_like(x)
    for index in np.ndindex(*x.shape):
        step = np.zeros_like(x)
        step[index] = 1e-6
        expected[index] = (loss(x + step) - loss(x - step)) / 2e-6
    assert gradient.shape == x.shape
    assert np.linalg.norm(gradient - expected) <= tolerance * np.linalg.norm(expected)
    assert np.linalg.norm(expected) > 0


def conv(weight_shape: tuple[int, ...], **attributes: object) -> Make:
    weight = np.random.default_rng(1).normal(size=weight_shape)
    return lambda b, x: b.op("Conv", x, b.constant(weight, name="weight"), attributes=attributes)


def pool(op_type: str, kernel: tuple[int, int], strides: tuple[int, int]) -> Make:
    attributes = {"kernel_shape": kernel, "strides": strides}
    return lambda b, x: b.op(op_type, x, attributes=attributes)


def reduce(op_type: str, axes: list[int] | None, keepdims: bool) -> Make:
    return lambda b, x: b.reduce(op_type, x, axes, keepdims=keepdims)


def pad(mode: str, pads: list[int]) -> Make:
    return lambda b, x: b.op("Pad", x, b.constant(pads, integer=True), attributes={"mode": mode})


def with_constant(op_type: str, shape: tuple[int, ...], *, first: bool = False) -> Make:
    value = np.random.default_rng(2).uniform(0.5, 2, shape)

    def make(b: GraphBuilder, x: str) -> str:
        other = b.constant(value)
        return b.op(op_type, other, x) if first else b.op(op_type, x, other)

    return make


def window(op_type: str, kernel: list[int], **attributes: object) -> Make:
    return lambda b, x: b.op(op_type, x, attributes={"kernel_shape": kernel, **attributes})


def transposed(weight_shape: tuple[int, ...], **attributes: object) -> Make:
    weight = np.random.default_rng(1).normal(size=weight_shape)
    return lambda b, x: b.op("ConvTranspose", x, b.constant(weight), attributes=attributes)


def activation(op_type: str, **attributes: object) -> Make:
    return lambda b, x: b.op(op_type, x, attributes=attributes)


def normalization(op_type: str, constants: int, **attributes: object) -> Make:
    """Scale, offset, and for BatchNormalization mean and variance of four channels."""

    def make(b: GraphBuilder, x: str) -> str:
        values = np.random.default_rng(4).uniform(0.5, 2, (constants, 4))
        return b.op(op_type, x, *map(b.constant, values), attributes=attributes)

    return make


def layer_normalization(shape: tuple[int, ...], **attributes: object) -> Make:
    scale = np.random.default_rng(5).uniform(0.5, 2, shape)
    return lambda b, x: b.op("LayerNormalization", x, b.constant(scale), attributes=attributes)


def einsum(equation: str) -> Make:
    other = np.random.default_rng(6).normal(size=(4, 5))
    return lambda b, x: b.op("Einsum", x, b.constant(other), attributes={"equation": equation})


def gather(indices: object, axis: int) -> Make:
    return lambda b, x: b.op("Gather", x, b.constant(indices, integer=True), attributes={"axis": axis})


def split(lengths: list[int]) -> Make:
    """Use the first part twice and the last once; nothing depends on the one between."""

    def make(b: GraphBuilder, x: str) -> str:
        names = [b.unique_name("part") for _ in lengths]
        sizes = b.constant(lengths, integer=True)
        b.nodes.append(helper.make_node("Split", [x, sizes], names, axis=1))
        return b.op("Add", b.op("Mul", names[0], names[0]), names[-1])

    return make


def resize(factors: tuple[float, float] = (2.0, 3.0), **attributes: object) -> Make:
    def make(b: GraphBuilder, x: str) -> str:
        scales = b.constant([1.0, 1.0, *factors])
        b.constants[scales] = b.constants[scales].astype(np.float32)
        return b.op("Resize", x, "", scales, attributes=attributes)

    return make


def gemm(flip_a: int, flip_b: int) -> Make:
    def make(b: GraphBuilder, x: str) -> str:
        other = b.constant(np.random.default_rng(3).normal(size=(4, 4)))
        left = b.op("Gemm", x, other, other, attributes={"alpha": 0.5, "transA": flip_a, "transB": flip_b})
        return b.op("Gemm", other, left, x, attributes={"beta": 2.0, "transA": flip_a, "transB": flip_b})

    return make


IMAGE = (1, 4, 5, 7)
CASES: dict[str, tuple[Make, tuple[int, ...]]] = {
    "Identity": (lambda b, x: b.op("Identity", x), (2, 3)),
    "Relu": (lambda b, x: b.op("Relu", x), IMAGE),
    "Abs": (lambda b, x: b.op("Abs", x), (3, 4)),
    "Sqrt": (lambda b, x: b.op("Sqrt", b.op("Mul", x, x)), (3, 4)),
    "Pow": (lambda b, x: b.op("Pow", b.op("Abs", x), b.constant(1.25)), (3, 4)),
    "Pow cubed": (lambda b, x: b.op("Pow", x, b.constant(3.0)), (3, 4)),
    "Add": (with_constant("Add", (3, 4)), (3, 4)),
    "Add itself": (lambda b, x: b.op("Add", x, x), (3, 4)),
    "Add broadcast": (with_constant("Add", (5, 3, 4)), (3, 1)),
    "Sub": (with_constant("Sub", (3, 4)), (3, 4)),
    "Sub from": (with_constant("Sub", (2, 3, 4), first=True), (3, 4)),
    "Mul": (with_constant("Mul", (3, 4)), (1, 4)),
    "Mul itself": (lambda b, x: b.op("Mul", x, x), (3, 4)),
    "Div": (with_constant("Div", (3, 4)), (3, 1)),
    "Div by": (with_constant("Div", (3, 4), first=True), (1, 4)),
    "MatMul": (with_constant("MatMul", (4, 5)), (3, 4)),
    "MatMul right": (with_constant("MatMul", (5, 3), first=True), (3, 4)),
    "MatMul batch": (with_constant("MatMul", (6, 4, 5)), (3, 4)),
    "MatMul both": (lambda b, x: b.op("MatMul", x, x), (4, 4)),
    "Gemm": (gemm(0, 0), (4, 4)),
    "Gemm transA": (gemm(1, 0), (4, 4)),
    "Gemm transB": (gemm(0, 1), (4, 4)),
    "Gemm both": (gemm(1, 1), (4, 4)),
    "Conv": (conv((3, 4, 3, 3), pads=[1, 1, 1, 1]), IMAGE),
    "Conv valid": (conv((3, 4, 3, 2)), IMAGE),
    "Conv uneven pads": (conv((3, 4, 3, 3), pads=[0, 2, 1, 0]), IMAGE),
    "Conv dilated": (conv((3, 4, 3, 3), dilations=[1, 2], pads=[1, 2, 1, 2]), IMAGE),
    "Conv groups": (conv((6, 2, 3, 3), group=2, pads=[1, 1, 1, 1]), IMAGE),
    "Conv 1x1": (conv((5, 4, 1, 1)), IMAGE),
    "MaxPool": (pool("MaxPool", (2, 2), (2, 2)), (1, 2, 6, 4)),
    "MaxPool odd": (pool("MaxPool", (2, 2), (2, 2)), (1, 2, 5, 7)),
    "MaxPool overlapping": (pool("MaxPool", (3, 3), (2, 2)), (1, 2, 6, 7)),
    "MaxPool gaps": (pool("MaxPool", (2, 1), (3, 2)), (1, 2, 6, 7)),
    "AveragePool": (pool("AveragePool", (2, 2), (2, 2)), (1, 2, 6, 4)),
    "AveragePool odd": (pool("AveragePool", (2, 2), (2, 2)), (1, 2, 5, 7)),
    "AveragePool 3x2": (pool("AveragePool", (3, 2), (3, 2)), (1, 2, 7, 7)),
    "AveragePool overlapping": (pool("AveragePool", (3, 3), (2, 1)), (1, 2, 6, 7)),
    "MaxPool pads": (window("MaxPool", [3, 3], strides=[2, 2], pads=[1, 1, 1, 1]), (1, 2, 6, 7)),
    "MaxPool uneven pads": (window("MaxPool", [3, 2], pads=[0, 1, 1, 0]), (1, 2, 5, 6)),
    "MaxPool ceil": (window("MaxPool", [3, 3], strides=[2, 2], ceil_mode=1), (1, 2, 6, 8)),
    "MaxPool dilations": (window("MaxPool", [2, 2], dilations=[2, 3], strides=[1, 2]), (1, 2, 6, 8)),
    "MaxPool same": (window("MaxPool", [3, 2], strides=[2, 2], auto_pad="SAME_UPPER"), (1, 2, 6, 7)),
    "MaxPool batch": (window("MaxPool", [3, 3], strides=[2, 2], pads=[1, 1, 1, 1]), (2, 2, 6, 7)),
    "AveragePool pads": (window("AveragePool", [3, 3], pads=[1, 1, 1, 1]), (1, 2, 5, 6)),
    "AveragePool counts pads": (
        window("AveragePool", [3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1),
        (1, 2, 6, 7),
    ),
    "AveragePool ceil": (window("AveragePool", [2, 3], strides=[2, 2], ceil_mode=1), (1, 2, 5, 8)),
    "AveragePool same": (window("AveragePool", [3, 3], strides=[2, 2], auto_pad="SAME_LOWER"), (1, 2, 6, 7)),
    "LpPool": (window("LpPool", [2, 2], strides=[2, 2], p=2), (1, 2, 4, 6)),
    "LpPool p 3": (window("LpPool", [3, 2], p=3, pads=[1, 0, 1, 0]), (1, 2, 4, 6)),
    "GlobalAveragePool": (lambda b, x: b.op("GlobalAveragePool", x), IMAGE),
    "GlobalMaxPool": (lambda b, x: b.op("GlobalMaxPool", x), IMAGE),
    "Conv stride": (conv((3, 4, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1]), IMAGE),
    "Conv stride odd": (conv((3, 4, 3, 2), strides=[3, 2]), (1, 4, 8, 8)),
    "Conv patches": (conv((3, 4, 2, 2), strides=[2, 2]), (1, 4, 4, 6)),
    "Conv depthwise": (conv((4, 1, 3, 3), strides=[2, 2], group=4, pads=[1, 1, 1, 1]), IMAGE),
    "Conv same upper": (conv((3, 4, 3, 3), strides=[2, 2], auto_pad="SAME_UPPER"), (1, 4, 6, 7)),
    "Conv same lower": (conv((3, 4, 4, 2), auto_pad="SAME_LOWER"), (1, 4, 6, 7)),
    "Conv pads far": (conv((3, 4, 2, 2), pads=[3, 2, 2, 3]), (1, 4, 4, 5)),
    "Conv of lines": (conv((3, 4, 3), strides=[2], pads=[1, 0]), (1, 4, 9)),
    "ConvTranspose": (transposed((4, 3, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1]), IMAGE),
    "ConvTranspose output": (transposed((4, 2, 3, 3), strides=[2, 3], output_padding=[1, 2]), IMAGE),
    "Neg": (lambda b, x: b.op("Neg", x), (2, 3)),
    "Cast": (lambda b, x: b.op("Cast", x, attributes={"to": 11}), (2, 3)),
    "Dropout": (lambda b, x: b.op("Dropout", x), (2, 3)),
    "Sum": (lambda b, x: b.op("Sum", x, x, b.constant([1.0, 2.0, 3.0])), (2, 3)),
    "Max": (lambda b, x: b.op("Max", x, b.op("Neg", x), b.constant([0.3, -1.0, 2.0])), (4, 3)),
    "Min": (lambda b, x: b.op("Min", b.constant(np.zeros((2, 4, 3))), x), (4, 3)),
    "Where": (
        lambda b, x: b.op("Where", b.op("Greater", x, b.constant(0.0)), b.op("Mul", x, x), x),
        (3, 4),
    ),
    "Exp": (lambda b, x: b.op("Exp", x), (3, 4)),
    "Log": (lambda b, x: b.op("Log", b.op("Abs", x)), (3, 4)),
    "Sigmoid": (lambda b, x: b.op("Sigmoid", x), (3, 4)),
    "HardSigmoid": (activation("HardSigmoid", alpha=0.4, beta=0.4), (5, 6)),
    "HardSwish": (lambda b, x: b.op("HardSwish", b.op("Mul", x, b.constant(4.0))), (5, 6)),
    "Mish": (lambda b, x: b.op("Mish", x), (5, 6)),
    "Tanh": (lambda b, x: b.op("Tanh", x), (3, 4)),
    "Softplus": (lambda b, x: b.op("Softplus", x), (3, 4)),
    "Elu": (activation("Elu", alpha=0.7), (5, 6)),
    "Selu": (activation("Selu"), (5, 6)),
    "LeakyRelu": (activation("LeakyRelu", alpha=0.2), (5, 6)),
    "PRelu": (with_constant("PRelu", (4, 1, 1)), IMAGE),
    "PRelu slope": (lambda b, x: b.op("PRelu", b.constant(np.linspace(-1, 1, 12).reshape(3, 4)), x), (3, 4)),
    "Clip": (lambda b, x: b.op("Clip", x, b.constant(-0.5), b.constant(0.8)), (5, 6)),
    "Clip above": (lambda b, x: b.op("Clip", x, "", b.constant(0.1)), (5, 6)),
    "Softmax": (activation("Softmax", axis=1), (2, 4, 3)),
    "LogSoftmax": (activation("LogSoftmax"), (2, 4, 3)),
    "BatchNormalization": (normalization("BatchNormalization", 4, epsilon=1e-3), IMAGE),
    "InstanceNormalization": (normalization("InstanceNormalization", 2), IMAGE),
    "LayerNormalization": (layer_normalization((7,)), IMAGE),
    "LayerNormalization axes": (layer_normalization((4, 5, 7), axis=1), IMAGE),
    "ReduceMax": (reduce("ReduceMax", [1], False), (3, 4, 2)),
    "ReduceMax all": (reduce("ReduceMax", None, True), (3, 4)),
    "ReduceMin": (reduce("ReduceMin", [-1, 0], True), (3, 4, 2)),
    "Einsum": (einsum("ab,bc->ac"), (3, 4)),
    "Einsum batch": (lambda b, x: b.op("Einsum", x, x, attributes={"equation": "nij,nkj->nik"}), (2, 3, 4)),
    "Flatten": (activation("Flatten", axis=2), (2, 3, 4)),
    "Squeeze": (lambda b, x: b.op("Squeeze", x, b.constant([1], integer=True)), (2, 1, 3)),
    "Unsqueeze": (lambda b, x: b.op("Unsqueeze", x, b.constant([0, 2], integer=True)), (2, 3)),
    "Expand": (lambda b, x: b.op("Expand", x, b.constant([4, 2, 3], integer=True)), (2, 1)),
    "Tile": (lambda b, x: b.op("Tile", x, b.constant([2, 1, 3], integer=True)), (2, 3, 2)),
    "Split": (split([1, 2, 1]), (3, 4)),
    "Gather": (gather([2, 0, 2, 2, -1], 1), (2, 4, 3)),
    "Gather one": (gather(1, 0), (3, 4)),
    "Gather table": (gather([[0, 1], [1, 2]], -1), (2, 3)),
    "DepthToSpace": (activation("DepthToSpace", blocksize=2), (1, 8, 2, 3)),
    "DepthToSpace CRD": (activation("DepthToSpace", blocksize=2, mode="CRD"), (1, 8, 2, 3)),
    "SpaceToDepth": (activation("SpaceToDepth", blocksize=2), (1, 2, 4, 6)),
    "Slice steps": (lambda b, x: b.slice(x, -1, 1, 7, 2), (3, 7)),
    "Slice backwards": (lambda b, x: b.slice(x, 0, -1, -(2**31), -2), (5, 3)),
    "Slice empty between": (lambda b, x: b.slice(b.slice(x, 0, 4, 0, -3), 1, 0, 3, 2), (5, 3)),
    "Resize": (
        resize(mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
        (1, 2, 3, 4),
    ),
    "Resize round": (resize(mode="nearest"), (1, 2, 3, 4)),
    "Resize linear": (resize(mode="linear"), (1, 2, 3, 4)),
    "Resize corners": (resize(mode="linear", coordinate_transformation_mode="align_corners"), (1, 2, 3, 4)),
    "Resize down": (
        resize((0.5, 0.7), mode="linear", coordinate_transformation_mode="pytorch_half_pixel"),
        (1, 2, 6, 7),
    ),
    "ReduceSum": (reduce("ReduceSum", [1], False), (3, 4, 2)),
    "ReduceSum all": (reduce("ReduceSum", None, True), (3, 4)),
    "ReduceMean": (reduce("ReduceMean", [-1, 0], True), (3, 4, 2)),
    "ReduceSumSquare": (reduce("ReduceSumSquare", [0, 2], False), (3, 4, 2)),
    "ReduceL1": (reduce("ReduceL1", [1], True), (3, 4)),
    "ReduceL2": (reduce("ReduceL2", [1], False), (3, 4)),
    "Transpose": (lambda b, x: b.op("Transpose", x, attributes={"perm": [2, 0, 1]}), (3, 4, 2)),
    "Transpose reversed": (lambda b, x: b.op("Transpose", x), (3, 4, 2)),
    "Reshape": (lambda b, x: b.reshape(x, [2, -1]), (3, 4)),
    "Concat": (
        lambda b, x: b.op("Concat", x, b.constant(np.ones((3, 2))), x, attributes={"axis": -1}),
        (3, 4),
    ),
    "Slice": (lambda b, x: b.slice(x, -1, 1, -2), (3, 6)),
    "Slice twice": (lambda b, x: b.op("Add", b.slice(x, 0, 0, 2), b.slice(x, 0, 1, 3)), (3, 6)),
    "Pad": (pad("constant", [0, 0, 1, 2, 0, 0, 0, 3]), (1, 2, 4, 5)),
    "Pad edge": (pad("edge", [0, 0, 2, 1, 0, 0, 1, 3]), (1, 2, 4, 5)),
    "Pad reflect": (pad("reflect", [0, 0, 2, 1, 0, 0, 1, 3]), (1, 2, 4, 5)),
}


@pytest.mark.parametrize("name", CASES)
def test_rule_matches_central_differences(name: str) -> None:
    make, shape = CASES[name]
    x = np.random.default_rng(0).normal(size=shape)
    # Attributes are float32: 1/6 is exact to 3e-8.
    tolerance = 1e-7 if name == "HardSwish" else 1e-8
    assert_matches_differences(make, x + 0.01 * np.sign(x), tolerance)  # away from kinks


def erf(x: np.ndarray) -> np.ndarray:
    return np.vectorize(math.erf)(x)


def lrn(size: int) -> Callable[[np.ndarray], np.ndarray]:
    """Krizhevsky's formula with α 0.5, β 0.6, k 2."""

    def formula(x: np.ndarray) -> np.ndarray:
        padded = np.pad(x * x, ((0, 0), ((size - 1) // 2, size // 2), (0, 0), (0, 0)))
        energy = sum(padded[:, i : i + x.shape[1]] for i in range(size))
        return x / (2 + 0.5 / size * energy) ** 0.6

    return formula


def convolution(weight: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Two groups, steps of 2 and 1, dilations of 2 and 1, no padding."""

    def formula(x: np.ndarray) -> np.ndarray:
        windows = sliding_window_view(x[0], (5, 3), (1, 2))[:, ::2, :, ::2]
        halves = zip(np.split(windows, 2), np.split(weight, 2), strict=True)
        return np.concatenate([np.einsum("chwij,ocij->ohw", w, k) for w, k in halves])[np.newaxis]

    return formula


GROUPED = np.random.default_rng(1).normal(size=(4, 2, 3, 3))

# Where ONNX's reference evaluator is wrong or computes in float32: a formula in its place.
FORMULAS: dict[str, tuple[Make, tuple[int, ...], Callable[[np.ndarray], np.ndarray]]] = {
    "Erf": (lambda b, x: b.op("Erf", x), (3, 4), erf),
    "LRN": (activation("LRN", size=3, alpha=0.5, beta=0.6, bias=2.0), IMAGE, lrn(3)),
    "Conv stride groups": (
        conv((4, 2, 3, 3), strides=[2, 1], group=2, dilations=[2, 1]),
        (1, 4, 7, 6),
        convolution(GROUPED),
    ),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_rule_matches_differences_of_a_formula(name: str) -> None:
    """The gradient in float32, by onnxruntime."""
    make, shape, formula = FORMULAS[name]
    x = np.random.default_rng(0).normal(size=shape)
    y, gradient = in_float32(make, x)
    np.testing.assert_allclose(y, formula(x), rtol=1e-4, atol=1e-5)
    factors = np.sin(1.0 + np.arange(y.size)).reshape(y.shape)
    expected = np.zeros_like(x)
    for index in np.ndindex(*x.shape):
        step = np.zeros_like(x)
        step[index] = 1e-6
        expected[index] = ((formula(x + step) - formula(x - step)) * factors).sum() / 2e-6
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-4)


def in_float32(make: Make, x: np.ndarray) -> list[np.ndarray]:
    """Return y and the gradient of `loss_and_gradient`, computed by onnxruntime in float32."""
    b = GraphBuilder()
    b.input("x", x.shape)
    y = make(b, "x")
    factors = b.constant(np.sin(1.0 + np.arange(math.prod(b.shape(y)))).reshape(b.shape(y)))
    b.output(b.op("Identity", y), "y")
    b.output(gradients(b, {y: factors}, ["x"])["x"], "gradient")
    session = onnxruntime.InferenceSession(b.model().SerializeToString())
    return session.run(["y", "gradient"], {"x": x.astype(np.float32)})


@pytest.mark.parametrize("name", sorted(set(CASES) - {"Cast"}))
def test_rule_in_float32_is_that_in_float64(name: str) -> None:
    """All nodes that a rule appends are among those that onnxruntime has."""
    make, shape = CASES[name]
    x = np.random.default_rng(0).normal(size=shape)
    x = np.float64(np.float32(x + 0.01 * np.sign(x)))
    expected = loss_and_gradient(make, x)[1]
    actual = in_float32(make, x)[1]
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_every_rule_is_tested() -> None:
    assert {name.split()[0] for name in (*CASES, *FORMULAS)} == set(RULES)


@pytest.mark.parametrize(("kernel", "strides"), [((2, 2), (2, 2)), ((3, 3), (2, 2)), ((2, 2), (1, 1))])
def test_equal_maxima_share_the_cotangent(kernel: tuple[int, int], strides: tuple[int, int]) -> None:
    """In a constant picture each window shares its cotangent equally, as average pooling does."""
    x = np.full((1, 2, 5, 5), 0.7)
    ours = loss_and_gradient(pool("MaxPool", kernel, strides), x)[1]
    average = loss_and_gradient(pool("AveragePool", kernel, strides), x)[1]
    np.testing.assert_allclose(ours, average, atol=1e-12)


def test_two_equal_maxima_get_half_each() -> None:
    x = np.array([[3.0, 1.0], [3.0, 2.0]]).reshape(1, 1, 2, 2)
    gradient = loss_and_gradient(pool("MaxPool", (2, 2), (2, 2)), x)[1]
    np.testing.assert_allclose(gradient[0, 0], np.sin(1.0) * np.array([[0.5, 0], [0.5, 0]]))


def test_relu_is_flat_at_zero() -> None:
    gradient = loss_and_gradient(lambda b, x: b.op("Relu", x), np.array([[0.0, -0.0, 1.0]]))[1]
    np.testing.assert_array_equal(gradient, [[0, 0, np.sin(3.0)]])


def test_paths_add_up_and_stop_at_inner_targets() -> None:
    b = GraphBuilder(np.float64)
    b.input("x", (2, 2))
    inner = b.op("Mul", "x", "x", name="inner")
    loss = b.reduce("ReduceSum", b.op("Add", b.op("Mul", inner, b.constant(3.0)), "x"))
    cotangents = gradients(b, {loss: b.constant(1.0)}, ["inner", "x"])
    for name, cotangent in cotangents.items():
        b.output(cotangent, f"d_{name}")
    d_inner, d_x = ReferenceEvaluator(b.model()).run(["d_inner", "d_x"], {"x": np.full((2, 2), 5.0)})
    np.testing.assert_array_equal(d_inner, np.full((2, 2), 3.0))
    np.testing.assert_array_equal(d_x, np.ones((2, 2)))  # only the path that does not pass the inner target


def test_a_seed_may_be_a_function() -> None:
    """y = x², z = y³: the seed of y is added to the cotangent from z, and gets the one that was used last."""
    b = GraphBuilder(np.float64)
    b.input("x", (2,))
    y = b.op("Mul", "x", "x", name="y")
    z = b.op("Mul", y, b.op("Mul", y, y), name="z")
    calls = []

    def seed(last: str | None) -> str:
        calls.append(last)
        return b.constant([10.0, 10.0])

    ones = b.constant([1.0, 1.0])
    b.output(gradients(b, {y: seed, z: ones}, ["x"])["x"], "d_x")
    x = np.array([1.0, 2.0])
    (d_x,) = ReferenceEvaluator(b.model()).run(["d_x"], {"x": x})
    np.testing.assert_allclose(d_x, (10 + 3 * x**4) * 2 * x)
    assert calls == [b.wait_for[y]]
    assert calls != [None]


def test_the_deepest_seed_waits_for_nothing() -> None:
    b = GraphBuilder()
    b.input("x", (2,))
    calls = []
    y = b.op("Mul", "x", "x")
    gradients(b, {y: lambda last: (calls.append(last), b.constant([1.0, 1.0]))[1]}, ["x"])
    assert calls == [None]
    assert not b.wait_for


def test_independent_tensor_has_no_gradient() -> None:
    b = GraphBuilder()
    b.input("x", (2,))
    b.input("z", (2,))
    loss = b.reduce("ReduceSum", "x")
    assert set(gradients(b, {loss: b.constant(1.0)}, ["x", "z"])) == {"x"}


def test_pooling_with_indices_is_refused_for_its_outputs() -> None:
    b = GraphBuilder(np.float64)
    b.input("x", (1, 1, 4, 4))
    b.nodes.append(helper.make_node("MaxPool", ["x"], ["y", "places"], kernel_shape=[2, 2]))
    with pytest.raises(GraphError, match="expected one output, got 2"):
        gradients(b, {b.reduce("ReduceSum", "y"): b.constant(1.0)}, ["x"])


REFUSED: dict[str, tuple[Make, str]] = {
    "operator": (lambda b, x: b.op("Sin", x), "Sin"),
    "pooling of lines": (
        lambda b, x: b.op("MaxPool", b.reshape(x, [1, 4, 35]), attributes={"kernel_shape": [2]}),
        "two axes",
    ),
    "cast": (
        lambda b, x: b.op("Cast", b.op("Cast", x, attributes={"to": 7}), attributes={"to": 11}),
        "casts",
    ),
    "trace": (
        lambda b, x: b.op(
            "Einsum",
            b.reshape(x, [10, 14]),
            b.constant(np.ones((10, 10))),
            attributes={"equation": "ab,cc->ab"},
        ),
        "different letters",
    ),
    "cubic": (resize(mode="cubic"), "nearest and linear"),
    "computed kernel": (
        lambda b, x: b.op("Conv", x, b.op("Identity", b.constant(np.ones((1, 4, 1, 1))))),
        "constant",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_nodes_without_a_rule_are_refused_by_name(name: str) -> None:
    make, word = REFUSED[name]
    with pytest.raises(GraphError, match=word):
        loss_and_gradient(make, np.ones(IMAGE))


AT_ZERO: dict[str, Make] = {
    "Sqrt": lambda b, x: b.op("Sqrt", x),
    "Pow 0.5": lambda b, x: b.op("Pow", x, b.constant(0.5)),
    "Pow 0": lambda b, x: b.op("Pow", x, b.constant(0.0)),
    "Pow 1.5": lambda b, x: b.op("Pow", x, b.constant(1.5)),
    "ReduceL2": lambda b, x: b.reduce("ReduceL2", x, [1], keepdims=True),
}


@pytest.mark.parametrize("name", AT_ZERO)
@pytest.mark.parametrize("through_relu", [True, False])
def test_a_gradient_at_zero_is_zero(name: str, through_relu: bool) -> None:
    """0 where all inputs are 0; elsewhere the gradient of the formula, in float32 and in float64."""
    x = np.array([[0.0, 0, 0], [0.5, 2, 1], [-1, -2, -3], [1e-12, 4, 1e6]])
    if not through_relu:
        x = np.maximum(x, 0)
    actual = []
    for dtype in (np.float64, np.float32):
        b = GraphBuilder(dtype)
        b.input("x", x.shape)
        y = AT_ZERO[name](b, b.op("Relu", "x") if through_relu else "x")
        seed = b.constant(np.full(b.shape(y), 3.0))
        b.output(gradients(b, {y: seed}, ["x"])["x"], "gradient")
        model = b.model()
        if dtype == np.float64:
            with np.errstate(over="ignore"):
                actual.append(ReferenceEvaluator(model).run(None, {"x": x})[0])
        else:
            session = onnxruntime.InferenceSession(model.SerializeToString())
            actual.append(session.run(None, {"x": x.astype(np.float32)})[0])
    positive = np.maximum(x, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = {
            "Sqrt": 0.5 / np.sqrt(positive),
            "Pow 0.5": 0.5 / np.sqrt(positive),
            "Pow 0": 0 * positive,
            "Pow 1.5": 1.5 * np.sqrt(positive),
            "ReduceL2": positive / np.linalg.norm(positive, axis=1, keepdims=True),
        }
    expected = np.where(positive > 0, 3 * slopes[name], 0)
    np.testing.assert_allclose(actual[0], expected, rtol=1e-12)
    np.testing.assert_allclose(actual[1], expected, rtol=1e-5)


@pytest.mark.parametrize("op_type", ["ReduceSum", "ReduceMean", "ReduceSumSquare", "ReduceL1", "ReduceL2"])
@pytest.mark.parametrize("axes", [None, []])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_a_reduction_over_no_axis(op_type: str, axes: list[int] | None, keepdims: int) -> None:
    """With ``noop_with_empty_axes`` each value is reduced alone, so the mean's gradient is not divided."""
    attributes = {"noop_with_empty_axes": 1, "keepdims": keepdims}

    def make(b: GraphBuilder, x: str) -> str:
        inputs = () if axes is None else (b.constant(axes, integer=True),)
        return b.op(op_type, x, *inputs, attributes=attributes)

    assert_matches_differences(make, np.random.default_rng(0).normal(size=(2, 3, 4)))
