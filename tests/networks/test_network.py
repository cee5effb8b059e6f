from __future__ import annotations

import hashlib
import struct
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from lbfgs_style import Options, StyleTransfer, networks
from lbfgs_style.errors import NetworkError, NetworkFileError
from lbfgs_style.networks import catalog
from lbfgs_style.networks import network as network_module
from lbfgs_style.objective import whole_graphs
from lbfgs_style.objective.losses.terms import LossTerms


def tiny(outputs=("relu1_1", "other"), shape=(1, 3, "height", "width"), kind=TensorProto.FLOAT, opset=18):
    """A network with one weight, a scalar 2, and outputs image·2 and image·4."""
    nodes = [
        helper.make_node("Mul", ["image", "w"], [outputs[0]]),
        helper.make_node("Mul", [outputs[0], "w"], [outputs[1]]),
    ]
    free = ["n", 3, "h", "w"]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", kind, list(shape))],
        [helper.make_tensor_value_info(name, kind, free) for name in outputs],
        [
            numpy_helper.from_array(
                np.array([2], np.float64 if kind == TensorProto.DOUBLE else np.float32), "w"
            )
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def described(**options):
    settings = {
        "name": "tiny",
        "source": "a test",
        "licence": "none",
        "style_layers": ["relu1_1"],
        "content_layers": ["other"],
    }
    return networks.describe(tiny(), **(settings | options))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LBFGS_STYLE_CACHE", str(tmp_path))
    return tmp_path


def test_the_fingerprint_is_the_documented_formula():
    expected = hashlib.sha256(b"w\x001\x00" + struct.pack("<f", 2.0)).hexdigest()
    assert networks.weights_sha256(tiny()) == expected


def test_the_fingerprint_follows_names_not_the_order_of_the_file():
    a = numpy_helper.from_array(np.ones((2, 3), np.float32), "a")
    b = numpy_helper.from_array(np.zeros(4, np.float32), "b")
    shape = numpy_helper.from_array(np.array([1, 6]), "shape")
    one, two = onnx.ModelProto(), onnx.ModelProto()
    one.graph.initializer.extend([a, b])
    two.graph.initializer.extend([shape, b, a])
    assert networks.weights_sha256(one) == networks.weights_sha256(two)
    two.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.full(4, 1e-30, np.float32), "b"))
    assert networks.weights_sha256(one) != networks.weights_sha256(two)


def test_describe_and_from_model_round_trip():
    model = described()
    network = networks.from_model(model)
    assert network.model is model
    assert (network.name, network.source, network.licence) == ("tiny", "a test", "none")
    assert network.layers == ("relu1_1", "other")
    assert (network.style_layers, network.content_layers) == (("relu1_1",), ("other",))
    networks.verify(network)


def test_describe_twice_keeps_foreign_metadata_and_one_copy_of_ours():
    model = described()
    prop = model.metadata_props.add()
    prop.key, prop.value = "author", "someone"
    settings = {"style_layers": ["other"], "content_layers": ["other"]}
    networks.describe(model, name="again", source="", licence="", **settings)
    keys = [prop.key for prop in model.metadata_props]
    assert sorted(keys) == sorted(set(keys))
    assert "author" in keys
    assert networks.from_model(model).name == "again"


def test_describe_refuses_a_layer_that_is_no_output():
    with pytest.raises(NetworkError, match="'relu9_9'"):
        described(style_layers=["relu9_9"])


def test_verify_sees_one_changed_weight():
    model = described()
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array([2.0000002], np.float32), "w"))
    with pytest.raises(NetworkError, match="damaged or changed"):
        networks.verify(networks.from_model(model))


@pytest.mark.parametrize(
    ("layers", "style", "content"),
    [
        (("relu1_1", "relu4_1"), ("relu1_1", "relu4_1"), ("relu4_1",)),
        (("relu4_1", "relu4_2"), ("relu4_1",), ("relu4_2",)),
        (("stem", "body"), ("stem", "body"), ("body",)),
        (("relu2_1", "relu2_2"), ("relu2_1",), ("relu2_2",)),
    ],
)
def test_a_network_without_metadata_gets_default_layers_and_the_name_of_its_file(
    layers, style, content, tmp_path
):
    path = tmp_path / "mine.onnx"
    onnx.save(tiny(layers), path)
    network = networks.load(str(path))
    assert (network.name, network.path) == ("mine", path)
    assert (network.style_layers, network.content_layers) == (style, content)
    networks.verify(network)


def test_another_opset_is_converted_and_keeps_its_metadata():
    model = tiny(opset=13)
    settings = {"style_layers": ["relu1_1"], "content_layers": ["other"]}
    networks.describe(model, name="old", source="s", licence="l", **settings)
    network = networks.from_model(model)
    assert [entry.version for entry in network.model.opset_import] == [18]
    assert networks.from_model(network.model).name == "old"
    networks.verify(network)


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ((1, 3, 224, 224), TensorProto.FLOAT),
        ((1, 1, "h", "w"), TensorProto.FLOAT),
        ((2, 3, "h", "w"), TensorProto.FLOAT),
        ((3, "h", "w"), TensorProto.FLOAT),
        ((1, 3, "h", "w"), TensorProto.DOUBLE),
    ],
)
def test_another_input_is_refused(shape, kind):
    with pytest.raises(NetworkError, match="input 'image'"):
        networks.from_model(tiny(shape=shape, kind=kind))


def renamed(model):
    model.graph.input[0].name = model.graph.node[0].input[0] = "picture"


def external(model):
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../secret"


def external_constant(model):
    tensor = numpy_helper.from_array(np.ones(1, np.float32), "hidden")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    model.graph.node.insert(0, helper.make_node("Constant", [], ["hidden"], value=tensor))


def foreign(model):
    model.graph.node[0].domain = "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))


def unmade(model):
    model.graph.output[0].name = "relu7_1"


def passed_through(model):
    model.graph.output[0].name = "w"


def broken(model):
    model.graph.node[0].op_type = "Mull"


def newer(model):
    prop = model.metadata_props.add()
    prop.key, prop.value = "lbfgs_style.format", "2"


def lacking(model):
    prop = model.metadata_props.add()
    prop.key, prop.value = "lbfgs_style.format", "1"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (renamed, "'picture'"),
        (external, "another file"),
        (external_constant, "another file"),
        (foreign, "com.example.Mul"),
        (unmade, "'relu7_1'"),
        (passed_through, "computed by a node"),
        (broken, "'Mull'"),
        (newer, "format '2'"),
        (lacking, "lbfgs_style.name"),
    ],
)
def test_an_unfit_model_is_refused_in_one_line(change, message):
    model = tiny()
    change(model)
    with pytest.raises(NetworkError, match=message) as caught:
        networks.from_model(model)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not a model", bytes(1000)])
def test_junk_is_refused_in_one_line(content, tmp_path):
    path = tmp_path / "junk.onnx"
    path.write_bytes(content)
    with pytest.raises(NetworkError) as caught:
        networks.load(path)
    assert "\n" not in str(caught.value)


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "short.onnx"
    path.write_bytes(described().SerializeToString()[:-40])
    with pytest.raises(NetworkError):
        networks.load(path)


def test_a_file_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "large.onnx"
    onnx.save(tiny(), path)
    monkeypatch.setattr(network_module, "MAX_BYTES", path.stat().st_size - 1)
    with pytest.raises(NetworkError, match="at most"):
        networks.load(path)


def test_names_are_found_in_the_cache_folder(cache):
    assert networks.search_path()[-1] == cache
    onnx.save(described(), cache / "tiny.onnx")
    assert networks.find("tiny") == cache / "tiny.onnx"
    assert networks.load("tiny").name == "tiny"


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("vgg91", NetworkError, "Did you mean 'vgg19'"),
        ("vgg16-caffe", NetworkFileError, "lbfgs-style networks pull vgg16-caffe"),
        ("missing.onnx", NetworkFileError, "no network file"),
        ("../vgg19", NetworkError, "Unknown network"),
    ],
)
def test_a_missing_network_is_reported_with_the_remedy(name, error, message, cache, monkeypatch):
    monkeypatch.setattr(catalog, "search_folders", lambda: iter([cache]))
    with pytest.raises(error, match=message):
        networks.find(name)


def test_the_table_of_known_networks_is_complete():
    assert [row.name for row in networks.KNOWN] == [
        "compact",
        "vgg19",
        "vgg16",
        "vgg19-caffe",
        "vgg16-caffe",
        "squeezenet",
    ]
    for row in networks.KNOWN[1:]:
        assert row.url is not None
        assert row.url.startswith("https://")
        algorithm, digest = row.known_hash.split(":")
        assert len(digest) == {"sha256": 64, "md5": 32}[algorithm]
        # torchvision puts the first 8 digits of the sha256 into the name.
        if row.format == "pth":
            assert digest[:8] in row.url


def test_importing_is_light():
    code = (
        "import sys, lbfgs_style.networks, lbfgs_style.networks.pull\n"
        "heavy = {'onnx', 'onnxruntime', 'platformdirs', 'h5py', 'cv2', 'scipy', 'torch'}\n"
        "heavy &= set(sys.modules)\n"
        "sys.exit(' '.join(sorted(heavy)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


def with_constant(value, attribute="value"):
    """Return `tiny` with its weight in a Constant node."""
    model = tiny()
    del model.graph.initializer[:]
    model.graph.node.insert(0, helper.make_node("Constant", [], ["w"], **{attribute: value}))
    return model


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("value", numpy_helper.from_array(np.array([2], np.float32), "unused")),
        ("value_floats", [2.0]),
        ("value_float", 2.0),
    ],
)
def test_constant_nodes_become_initialisers(attribute, value):
    model = with_constant(value, attribute)
    network = networks.from_model(model)
    assert [node.op_type for node in network.model.graph.node] == ["Mul", "Mul"]
    (weight,) = network.model.graph.initializer
    assert weight.name == "w"
    assert numpy_helper.to_array(weight).ravel().tolist() == [2.0]
    assert model.graph.node[0].op_type == "Constant"  # the caller's model is untouched
    shape = "" if attribute == "value_float" else "1"
    formula = hashlib.sha256(f"w\0{shape}\0".encode() + struct.pack("<f", 2.0)).hexdigest()
    assert network.weights_sha256 == networks.weights_sha256(model) == formula
    networks.verify(network)


def constant_convolution(*, padded):
    """A convolution to two channels by an all-ones 1×1 kernel, constants in nodes."""
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, "h", "w"])
    output = helper.make_tensor_value_info("relu1_1", TensorProto.FLOAT, [1, 2, "a", "b"])
    kernel = numpy_helper.from_array(np.ones((2, 3, 1, 1), np.float32))
    nodes = [
        helper.make_node("Constant", [], ["pads"], value_ints=[0, 0, 1, 1, 0, 0, 1, 1]),
        helper.make_node("Constant", [], ["kernel"], value=kernel),
        helper.make_node("Pad", ["image", "pads"], ["padded"]),
        helper.make_node("Conv", ["padded" if padded else "image", "kernel"], ["relu1_1"]),
    ]
    graph = helper.make_graph(nodes, "constants", [image], [output])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def test_a_kernel_in_a_constant_node_can_be_differentiated():
    """Each of three channels goes once into each of two: the gradient of their sum is 2."""
    network = networks.from_model(constant_convolution(padded=False))
    gradient = whole_graphs.gradient_graph(network.model, ["relu1_1"])
    feeds = {
        "image": np.zeros((1, 3, 4, 4), np.float32),
        "d_relu1_1": np.ones((1, 2, 4, 4), np.float32),
    }
    (actual,) = ReferenceEvaluator(gradient).run(["d_image"], feeds)
    np.testing.assert_array_equal(actual, np.full((1, 3, 4, 4), 2, np.float32))


def test_pads_in_a_constant_node_can_be_differentiated():
    network = networks.from_model(constant_convolution(padded=True))
    terms = LossTerms(("relu1_1",), ())
    objective = whole_graphs.objective_graph(network.model, (4, 5), terms)
    assert "d_image" in [value.name for value in objective.graph.output]


def with_logits():
    """Return `tiny` with its second output reduced to [n, 3]."""
    model = tiny(outputs=("stem", "deep"))
    model.graph.node.append(helper.make_node("ReduceMean", ["deep", "axes"], ["logits"], keepdims=0))
    model.graph.initializer.append(numpy_helper.from_array(np.array([2, 3]), "axes"))
    model.graph.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3]))
    return model


def test_only_feature_maps_are_layers():
    network = networks.from_model(with_logits())
    assert network.layers == ("stem", "deep")
    assert (network.style_layers, network.content_layers) == (("stem", "deep"), ("deep",))


def test_logits_are_refused_by_name():
    network = networks.from_model(with_logits())
    with pytest.raises(
        NetworkError, match=r"no layer 'logits'.*stem, deep \(the outputs of four dimensions\)"
    ):
        StyleTransfer(network, options=Options(style_layers=("logits",)))


def test_metadata_that_names_logits_are_refused():
    settings = {"style_layers": ["stem"], "content_layers": ["logits"]}
    model = networks.describe(with_logits(), name="x", source="", licence="", **settings)
    with pytest.raises(NetworkError, match=r"'logits'.*four dimensions \(stem, deep\)"):
        networks.from_model(model)


def test_a_network_of_logits_only_is_refused():
    model = with_logits()
    del model.graph.output[:2]
    with pytest.raises(NetworkError, match="'logits' of 2 dimensions"):
        networks.from_model(model)
