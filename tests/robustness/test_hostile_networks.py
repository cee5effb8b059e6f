"""Hostile networks: each is refused in one line before onnxruntime sees anything of it."""

from __future__ import annotations

import math

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator

from lbfgs_style import Options, StyleTransfer, networks
from lbfgs_style.errors import NetworkError, StyleError
from lbfgs_style.networks import model_checks, parse_limits
from tests.helpers.hostile_networks import ODD, corpus, links, plain

CORPUS = corpus()


@pytest.fixture
def no_onnxruntime(monkeypatch):
    """Fail the test if a session is opened."""

    class Poison:
        def __init__(self, *args, **kwargs):
            raise AssertionError("onnxruntime was reached")

    monkeypatch.setattr(onnxruntime, "InferenceSession", Poison)


@pytest.mark.parametrize("name", CORPUS)
def test_a_hostile_network_is_refused_in_one_line(name, tmp_path, no_onnxruntime):
    data, says = CORPUS[name]
    links(tmp_path)
    path = tmp_path / "network.onnx"
    path.write_bytes(data)
    with pytest.raises(NetworkError, match=says) as caught:
        StyleTransfer(path)
    message = str(caught.value)
    assert message.isprintable(), message
    assert len(message) < 1000


@pytest.mark.parametrize("error", [RuntimeError, ValueError])
@pytest.mark.parametrize(
    "function",
    ["checker.check_model", "shape_inference.infer_shapes", "version_converter.convert_version"],
)
def test_errors_of_the_onnx_package_are_refusals(function, error, monkeypatch):
    """Its C++ code raises exceptions of many types."""

    def fail(*args, **kwargs):
        raise error("at line 7\nof a file")

    model = plain()
    model.opset_import[0].version = 17
    monkeypatch.setattr(f"onnx.{function}", fail)
    with pytest.raises(NetworkError, match="plain") as caught:
        networks.from_model(model)
    assert str(caught.value).isprintable()


def test_a_valid_network_reaches_onnxruntime(tmp_path, no_onnxruntime):
    """So it is the refusals that keep the hostile ones from it."""
    onnx.save(plain(), tmp_path / "network.onnx")
    job = StyleTransfer(tmp_path / "network.onnx", options=Options(size=32, iterations=1, device="cpu"))
    picture = np.zeros((32, 32, 3), np.uint8)
    with pytest.raises(StyleError, match="onnxruntime was reached"):
        job.run(picture, picture)


@pytest.mark.parametrize("name", ODD)
def test_an_odd_network_is_accepted_and_gives_the_same_features(name, tmp_path):
    """Its features are those that ONNX's own evaluator gives for the file as it is."""
    model = plain()
    ODD[name](model)
    path = tmp_path / "odd.onnx"
    path.write_bytes(model.SerializeToString())
    network = networks.load(path)
    image = np.random.default_rng(1).random((1, 3, 14, 14)).astype(np.float32)
    layers = list(network.layers)
    expected = ReferenceEvaluator(model).run(layers, {"image": image})
    actual = ReferenceEvaluator(network.model).run(layers, {"image": image})
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    job = StyleTransfer(network, options=Options(size=32, iterations=2, device="cpu", threads=1))
    rng = np.random.default_rng(2)
    photo, painting = (rng.integers(0, 256, (32, 32, 3)).astype(np.uint8) for _ in range(2))
    result = job.run(photo, painting)
    assert math.isfinite(result.history[-1])


def test_an_attribute_reference_is_refused():
    """Functions are refused, so there is nothing that it could be replaced by."""
    model = plain()
    model.graph.node[0].attribute[0].ref_attr_name = "pads"
    with pytest.raises(NetworkError, match="of another kind that is not allowed"):
        model_checks.check_safety(model, "plain")


def test_a_varint_of_too_many_bytes_is_malformed():
    """Protocol Buffers have ten at the most; to add up millions would take for ever."""
    whole = memoryview(b"\xff" * 9 + b"\1")
    assert parse_limits.read_varint(whole, 0, 10) == (2**64 - 1, 10)
    endless = memoryview(b"\xff" * 10 + b"\1")
    with pytest.raises(parse_limits.Malformed):
        parse_limits.read_varint(endless, 0, 11)


def test_a_plain_file_is_walked_through_to_its_end():
    data = plain().SerializeToString()
    with pytest.raises(NetworkError, match="not an ONNX model"):  # a group: Protocol Buffers would take it
        parse_limits.parse(b"\x0b\x0c" + data, "grouped")
    assert parse_limits.parse(data, "plain") == plain()
    for length in range(1, len(data), 7):
        with pytest.raises(NetworkError, match="cut short"):
            parse_limits.parse(data[:length], "plain")
