from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from lbfgs_style.errors import NetworkError
from lbfgs_style.networks import vgg
from tests.helpers.vgg_weights import by_hand, small_weights


def build(arch="vgg19", **options):
    settings = {"normalization": vgg.TORCHVISION, "name": "small", "source": "test", "licence": "none"}
    weights = options.pop("weights", None) or small_weights(arch)
    return vgg.build(arch, weights, **(settings | options))


@pytest.mark.parametrize("pooling", ["max", "average"])
@pytest.mark.parametrize("normalization", ["torchvision", "caffe"])
@pytest.mark.parametrize(("arch", "size"), [("vgg16", (32, 48)), ("vgg19", (37, 21))])
def test_features_equal_a_computation_by_hand(arch, size, normalization, pooling):
    weights = small_weights(arch)
    row = {"torchvision": vgg.TORCHVISION, "caffe": vgg.CAFFE}[normalization]
    model = build(arch, weights=weights, normalization=row, pooling=pooling)
    image = np.random.default_rng(1).random((*size, 3))
    expected = by_hand(arch, image, weights, normalization, pooling)
    nchw = np.moveaxis(image, -1, 0)[None].astype(np.float32)
    values = ReferenceEvaluator(model).run(None, {"image": nchw})
    names = [output.name for output in model.graph.output]
    assert names == list(expected)
    for name, value in zip(names, values, strict=True):
        assert value.shape == (1, *expected[name].shape)
        scale = np.abs(expected[name]).max()
        assert scale > 0
        np.testing.assert_allclose(value[0], expected[name], atol=1e-5 * scale, rtol=0)


def test_torchvision_normalization_of_its_mean_is_zero():
    mean = np.array([0.485, 0.456, 0.406], np.float32)
    y = vgg.TORCHVISION.kernel()[..., 0, 0] @ mean + vgg.TORCHVISION.bias()
    np.testing.assert_allclose(y, 0, atol=1e-6)


def test_caffe_normalization_of_pure_red_is_bgr():
    red = np.array([1, 0, 0], np.float32)
    y = vgg.CAFFE.kernel()[..., 0, 0] @ red + vgg.CAFFE.bias()
    np.testing.assert_allclose(y, [-103.939, -116.779, 255 - 123.68], rtol=1e-6)


def test_the_checker_accepts_the_model_with_shapes():
    model = build()
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version == 10
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    dims = model.graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_value or dim.dim_param for dim in dims] == [1, 3, "height", "width"]


def test_nodes_and_initialisers_have_the_names_of_the_literature():
    model = build("vgg16")
    nodes = [node.name for node in model.graph.node]
    assert nodes[:6] == ["preprocess", "conv1_1", "relu1_1", "conv1_2", "relu1_2", "pool1"]
    assert nodes[-1] == "relu5_3"
    assert [node for node in nodes if node.startswith("pool")] == ["pool1", "pool2", "pool3", "pool4"]
    assert {"preprocess.weight", "preprocess.bias", "conv5_3.weight", "conv5_3.bias"} <= {
        tensor.name for tensor in model.graph.initializer
    }


def test_until_cuts_after_that_layer():
    model = build(until="relu3_1")
    assert [output.name for output in model.graph.output][-1] == "relu3_1"
    assert model.graph.node[-1].name == "relu3_1"
    assert not any(tensor.name.startswith("conv3_2") for tensor in model.graph.initializer)
    metadata = {prop.key: prop.value for prop in model.metadata_props}
    assert metadata["lbfgs_style.style_layers"] == "relu1_1,relu2_1,relu3_1"
    assert metadata["lbfgs_style.content_layers"] == "relu3_1"


@pytest.mark.parametrize(("arch", "convolutions"), [("vgg16", 13), ("vgg19", 16)])
def test_convolutions_are_as_many_as_the_name_says(arch, convolutions):
    # The three fully connected layers make up the rest of 16 and 19.
    assert len(vgg.convolution_names(arch)) == convolutions
    assert vgg.relu_names(arch)[0] == "relu1_1"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arch": "vgg91"}, "Did you mean 'vgg19'"),
        ({"until": "relu4_5"}, "no layer 'relu4_5'"),
        ({"pooling": "mean"}, "'max' or 'average'"),
    ],
)
def test_unknown_choices_are_refused(options, message):
    with pytest.raises(NetworkError, match=message):
        build(weights=small_weights("vgg19"), **options)


def test_a_missing_weight_is_named():
    weights = small_weights("vgg19")
    del weights["conv4_2"]
    with pytest.raises(NetworkError, match="'conv4_2'"):
        build(weights=weights)
    build(weights=weights, until="relu4_1")


def test_a_kernel_in_the_layout_of_keras_is_refused():
    weights = small_weights("vgg19")
    kernel, bias = weights["conv2_1"]
    weights["conv2_1"] = (kernel.transpose(2, 3, 1, 0), bias)
    with pytest.raises(NetworkError, match=r"conv2_1.*\[3, 3, 4, 4\]"):
        build(weights=weights)
