"""The graph's form for the CPU: same values, fewer changes of layout, gradients before masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from lbfgs_style.graphs import cpu_layout, winograd
from lbfgs_style.graphs.autodiff import gradients
from lbfgs_style.graphs.builder import GraphBuilder, is_plain
from lbfgs_style.graphs.peak_memory import peak_bytes
from lbfgs_style.objective.providers import NCHWC_PASS
from lbfgs_style.objective.whole_graphs import LossTerms, objective_builder, objective_graph
from tests.helpers.small_networks import small_vgg

DIRECT = partial(cpu_layout.optimize_for_cpu, choose=winograd.CHOICES["direct"])

SIZE = (48, 32)
TERMS = LossTerms(("relu2_1",), ("relu1_1", "relu2_1", "relu3_1"))


def optimized(
    model: onnx.ModelProto, folder: Path, disabled: Sequence[str] = ()
) -> tuple[onnxruntime.InferenceSession, Counter[str]]:
    """Open a session and count the operators of the graph that onnxruntime optimised."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(),
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=list(disabled),
    )
    graph = onnx.load(folder / "optimized.onnx").graph
    return session, Counter(node.op_type for node in graph.node)


@pytest.mark.parametrize("size", [SIZE, (47, 37)])  # in the second, every pooling leaves a row or column out
@pytest.mark.parametrize("pooling", ["max", "average"])
def test_values_are_the_same_and_layouts_change_less(tmp_path, pooling, size):
    model = small_vgg(widths=(16, 32, 32, 32, 32), pooling=pooling).model
    plain = objective_graph(model, size, TERMS)
    arranged = objective_graph(model, size, TERMS, rewrite=DIRECT)
    (one, before), (other, after) = optimized(plain, tmp_path), optimized(arranged, tmp_path)
    if not before["ReorderOutput"]:
        pytest.skip("onnxruntime has no blocked layout on this processor")
    reorders = ("ReorderInput", "ReorderOutput")
    assert sum(after[op] for op in reorders) < sum(before[op] for op in reorders)
    rng = np.random.default_rng(0)
    feeds = {i.name: rng.random(i.shape, dtype=np.float32) for i in one.get_inputs()}
    for expected, actual in zip(one.run(None, feeds), other.run(None, feeds), strict=True):
        assert np.linalg.norm(actual - expected) <= 1e-5 * np.linalg.norm(expected)


def test_shapes_are_known_behind_winograds_form():
    """Without them, cotangents would stay plain, and the memory would be estimated too low."""
    network = small_vgg(widths=(16, 32, 32, 32, 32)).model
    b = objective_builder(
        network,
        SIZE,
        TERMS,
        rewrite=partial(cpu_layout.optimize_for_cpu, choose=lambda i, o, h, w: min(i, o) >= 32),
    )
    b.infer_shapes()
    assert not b.is_plain
    elementwise = [
        node for node in b.nodes if node.op_type in ("Add", "Mul", "Relu", "HardSigmoid", "Gather")
    ]
    assert [node.output[0] for node in elementwise if node.output[0] not in b.shapes] == []


def test_without_direct_convolutions_all_tensors_stay_plain(tmp_path):
    """Only the convolution of the image is direct: forward a Conv, backward a ConvTranspose."""
    network = small_vgg(widths=(16, 32, 32, 32, 32)).model
    graph = objective_graph(
        network,
        SIZE,
        TERMS,
        rewrite=partial(cpu_layout.optimize_for_cpu, choose=lambda i, o, h, w: min(i, o) > 3),
    )
    assert is_plain(graph)
    (back,) = (node for node in graph.graph.node if node.op_type == "ConvTranspose")
    assert back.input[1] == "net.conv1_1.weight"
    _, one = optimized(graph, tmp_path)
    _, other = optimized(graph, tmp_path, [NCHWC_PASS])
    if not one["ReorderOutput"]:
        pytest.skip("onnxruntime has no blocked layout on this processor")
    assert not other["ReorderOutput"]
    assert not is_plain(objective_graph(network, SIZE, TERMS, rewrite=DIRECT))


@pytest.mark.parametrize(("pads", "dilation"), [([1, 1, 1, 1], 1), ([0, 1, 2, 0], 1), ([2, 1, 0, 2], 2)])
def test_the_image_gradient_by_conv_transpose_is_the_same(pads, dilation):
    """ConvTranspose gives the same as the convolution with the flipped kernel, whatever its padding."""
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(6, 3, 3, 3))
    results = []
    for scatter in (False, True):
        b = GraphBuilder()
        x = b.input("x", [1, 3, 9, 8])
        attributes = {"pads": pads, "dilations": [dilation] * 2}
        y = b.op("Conv", x, b.constant(kernel, name="k"), attributes=attributes)
        b.infer_shapes()
        shape = b.shape(y)
        b.output(gradients(b, {y: b.input("g", shape)}, [x])[x], "d_x")
        if scatter:
            cpu_layout.scatter_image_gradient(b)
            assert [node.op_type for node in b.nodes if "Conv" in node.op_type][-1] == "ConvTranspose"
        session = onnxruntime.InferenceSession(b.model().SerializeToString())
        g = np.random.default_rng(1).normal(size=shape).astype(np.float32)
        x_too = {"x": np.zeros((1, 3, 9, 8), np.float32)}
        results.append(session.run(["d_x"], {"g": g, **x_too})[0])
    np.testing.assert_allclose(results[1], results[0], rtol=1e-4, atol=1e-5)


def test_plain_cotangents_are_converted_where_they_meet_blocks():
    b = GraphBuilder()
    x, plain = b.input("x", [1, 16, 8, 8]), b.input("plain", [1, 16, 8, 8])
    convolved = b.op("Conv", x, b.constant(np.ones((16, 16, 1, 1))))
    cotangent = b.op("Neg", plain)
    b.output(b.op("Add", convolved, cotangent), "y")
    cpu_layout.optimize_for_cpu(b, winograd.CHOICES["direct"])
    (add,) = (node for node in b.nodes if node.op_type == "Add")
    (pool,) = (node for node in b.nodes if node.op_type == "MaxPool")
    assert list(pool.input) == [cotangent]
    assert list(add.input) == [convolved, pool.output[0]]


def test_channels_that_fill_no_block_stay_plain():
    b = GraphBuilder()
    x, plain = b.input("x", [1, 16, 8, 8]), b.input("plain", [1, 3, 8, 8])
    convolved = b.op("Conv", x, b.constant(np.ones((3, 16, 1, 1))))
    b.output(b.op("Add", convolved, b.op("Neg", plain)), "y")
    cpu_layout.optimize_for_cpu(b, winograd.CHOICES["direct"])
    assert "MaxPool" not in {node.op_type for node in b.nodes}


def test_nodes_are_sorted_by_depth():
    b = GraphBuilder()
    x = b.input("x", [1, 2, 3, 3])
    deep = b.op("Neg", b.op("Abs", b.op("Exp", x)))
    late = b.op("Relu", x)  # depth 1, written last
    b.output(b.op("Add", deep, late), "y")
    cpu_layout.optimize_for_cpu(b, winograd.CHOICES["direct"])
    assert [node.op_type for node in b.nodes] == ["Exp", "Relu", "Abs", "Neg", "Add", "Identity"]


def ancestors(b: GraphBuilder, tensor: str) -> set[str]:
    """Return a tensor and the tensors that it is computed from."""
    makers = {name: node for node in b.nodes for name in node.output}
    result, stack = set(), [tensor]
    while stack:
        name = stack.pop()
        if name not in result:
            result.add(name)
            stack.extend(makers[name].input if name in makers else [])
    return result


def test_a_small_factor_waits_for_the_awaited_tensor():
    """The small factor of a large product depends on the awaited tensor, and has the same values."""
    b = GraphBuilder()
    factor, features = b.input("factor", [2, 2]), b.input("features", [2, 20])
    awaited = b.op("Neg", b.input("x", [1, 4, 3, 5]), name="awaited")
    product = b.op("MatMul", b.op("Abs", factor, name="small"), features)
    b.output(product, "product")
    b.output(awaited, "y")
    b.wait_for["small"] = awaited
    cpu_layout.optimize_for_cpu(b, winograd.CHOICES["direct"])
    assert "awaited" in ancestors(b, "product")
    rng = np.random.default_rng(0)
    feeds = {
        "factor": rng.normal(size=(2, 2)).astype(np.float32),
        "features": rng.normal(size=(2, 20)).astype(np.float32),
        "x": rng.normal(size=(1, 4, 3, 5)).astype(np.float32),
    }
    session = onnxruntime.InferenceSession(b.model().SerializeToString())
    expected = np.abs(feeds["factor"]) @ feeds["features"]
    np.testing.assert_allclose(session.run(["product"], feeds)[0], expected, rtol=1e-5)


def test_first_features_are_recomputed_and_cotangents_late(monkeypatch):
    """Only the next convolution reads the first features; Gram matrix and backward pass read a copy."""
    model = small_vgg(widths=(16, 32, 32, 32, 32)).model
    late = objective_builder(model, SIZE, TERMS, rewrite=DIRECT)
    readers = {node.output[0] for node in late.nodes if "relu1_1" in node.input}
    assert readers
    assert readers <= ancestors(late, late.wait_for["relu1_1"])
    monkeypatch.setattr(cpu_layout, "delay_readers", lambda b: None)
    early = objective_builder(model, SIZE, TERMS, rewrite=DIRECT)
    assert peak_bytes(late) < 0.85 * peak_bytes(early)
