"""Classification networks as they are published become feature networks: `networks add`."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from lbfgs_style import networks
from lbfgs_style.errors import NetworkError
from lbfgs_style.networks import adapt
from lbfgs_style.objective.gradient_check import check_gradient
from lbfgs_style.objective.losses.terms import LossTerms
from tests.helpers.command import one_error, paint, run
from tests.helpers.own_networks import Problem, far

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def classifier(*, last: bool = False, side: int | str = 64, opset: int = 18) -> onnx.ModelProto:
    """Return a network of two strided convolutions, a maximum and a head; NHWC as tf2onnx writes it."""
    rng = np.random.default_rng(0)
    weights = {
        "w1": rng.normal(size=(8, 3, 3, 3)) / 5,
        "w2": rng.normal(size=(12, 8, 3, 3)) / 8,
        "w3": rng.normal(size=(10, 12)),
    }
    nodes = [
        helper.make_node("Transpose", ["input:0"], ["first"], perm=[0, 3, 1, 2]) if last else None,
        helper.make_node("Conv", ["first" if last else "input:0", "w1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["block1/Relu:0"]),
        helper.make_node(
            "MaxPool", ["block1/Relu:0"], ["p1"], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4
        ),
        helper.make_node("Conv", ["p1", "w2"], ["c2"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["c2"], ["block2/Relu:0"]),
        helper.make_node("GlobalAveragePool", ["block2/Relu:0"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w3"], ["logits"], transB=1),
    ]
    shape = ["N", side, side, 3] if last else ["N", 3, side, side]
    graph = helper.make_graph(
        [node for node in nodes if node is not None],
        "classifier",
        [helper.make_tensor_value_info("input:0", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def features_of(model: onnx.ModelProto, image: np.ndarray, name: str) -> np.ndarray:
    """Return a tensor of a model for an input."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return ReferenceEvaluator(probe).run(None, {probe.graph.input[0].name: image})[0]


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("bgr", [False, True])
@pytest.mark.parametrize("opset", [11, 18, 21])
def test_the_features_are_those_of_the_normalized_image(last: bool, bgr: bool, opset: int) -> None:
    original = classifier(last=last, opset=opset)
    colours = adapt.Colours(mean=(104.0, 117.0, 124.0), std=(50.0, 60.0, 70.0), range=255.0, is_bgr=bgr)
    network = networks.from_model(adapt.adapt(original, colours, name="mine", source="mine.onnx"))
    assert network.style_layers == ("block1/Relu:0", "block2/Relu:0")
    assert [value.name for value in network.model.graph.input] == ["image"]
    image = np.random.default_rng(1).random((1, 3, 64, 64)).astype(np.float32)
    seen = image[:, ::-1] if bgr else image
    seen = (255 * seen - np.reshape(colours.mean, (1, 3, 1, 1))) / np.reshape(colours.std, (1, 3, 1, 1))
    seen = np.float32(seen.transpose(0, 2, 3, 1) if last else seen)
    for layer in network.layers:
        expected = features_of(original, seen, layer)
        np.testing.assert_allclose(features_of(network.model, image, layer), expected, rtol=1e-3, atol=1e-3)
    assert check_gradient(network) < 0.05


def test_the_head_is_dropped_and_the_size_is_free() -> None:
    model = adapt.adapt(classifier(), adapt.Colours(), name="mine", source="x")
    assert not {"Gemm", "Flatten", "GlobalAveragePool"} & {node.op_type for node in model.graph.node}
    assert "w3" not in {tensor.name for tensor in model.graph.initializer}
    image = np.zeros((1, 3, 40, 72), np.float32)
    assert features_of(model, image, "block2/Relu:0").shape == (1, 12, 10, 18)


def test_style_and_content_layers_are_suggested_by_depth() -> None:
    """One activation of each stride, and for the content the middle of those of stride 8."""
    rows = [("a", 1), ("b", 2), ("c", 4), ("d", 4), ("e", 8), ("f", 8), ("g", 8), ("h", 16), ("i", 32)]
    layers = [adapt.Layer(name, "Relu", 8, stride) for name, stride in rows]
    layers.insert(2, adapt.Layer("no activation", "Conv", 8, 2))
    assert adapt.suggest(layers) == (("a", "b", "c", "e", "h"), "f")
    with pytest.raises(NetworkError, match="no activation"):
        adapt.suggest([adapt.Layer("a", "Conv", 8, 1)])


def save(model: onnx.ModelProto, name: str = "classifier.onnx") -> str:
    onnx.save(model, name)
    return name


def test_the_command_adds_a_network_that_paints(folder, capfd) -> None:
    add = ("networks", "add", save(classifier(last=True)), "--name", "mine")
    assert run(*add, "--mean", ",".join(map(str, MEAN)), "--std", ",".join(map(str, STD))) == 0
    out = capfd.readouterr().out
    assert "style layers block1/Relu:0 block2/Relu:0, content layer block2/Relu:0" in out
    assert paint("mine", "--content-weight", 0.5) == 0
    assert cv2.imread("out.png").shape == (27, 32, 3)
    assert run("networks", "info", "mine") == 0
    shown = capfd.readouterr().out
    assert "classifier.onnx" in shown
    assert "block2/Relu:0" in shown
    assert "12 channels, stride 4" in shown
    assert run(*add) == 2
    one_error(capfd, "is there already: choose another --name, or add --force")
    assert run(*add, "--force", "--layers", "block1/Relu:0", "--content", "block2/Relu:0") == 0


def residual(side: int | str = 64) -> onnx.ModelProto:
    """Return a residual network: a convolution, a normalization and a sum precede its ReLUs."""
    rng = np.random.default_rng(3)
    weights = {"w1": rng.normal(size=(16, 3, 3, 3)) / 4, "w2": rng.normal(size=(16, 16, 3, 3)) / 9}
    weights |= {name: rng.uniform(0.5, 1.5, 16) for name in ("scale", "shift", "mean", "var")}
    nodes = [
        helper.make_node("Conv", ["in", "w1"], ["conv1"], pads=[1] * 4),
        helper.make_node("BatchNormalization", ["conv1", "scale", "shift", "mean", "var"], ["bn1"]),
        helper.make_node("Relu", ["bn1"], ["relu1"]),
        helper.make_node("MaxPool", ["relu1"], ["pool"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["pool", "w2"], ["conv2"], pads=[1] * 4),
        helper.make_node("Add", ["conv2", "pool"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["relu2"]),
    ]
    graph = helper.make_graph(
        nodes,
        "residual",
        [helper.make_tensor_value_info("in", TensorProto.FLOAT, ["N", 3, side, side])],
        [helper.make_tensor_value_info("relu2", TensorProto.FLOAT, ["N", 16, None, None])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


BEFORE_RELUS = ("conv1", "bn1", "conv2", "sum")


@pytest.mark.parametrize(
    ("layers", "convolution"),
    [
        (BEFORE_RELUS, "auto"),
        *(((*BEFORE_RELUS, "relu1", "relu2"), form) for form in ("auto", "direct", "winograd")),
    ],
)
def test_layers_before_an_activation_are_exact_in_tiles_and_blocks(layers, convolution) -> None:
    adapted = adapt.adapt(
        residual(), adapt.Colours(), name="mine", source="x", layers=layers, content=layers[-1]
    )
    network = networks.from_model(adapted)
    assert set(network.layers) == set(layers)
    terms = LossTerms(network.content_layers, network.style_layers, statistic="moments")
    problem = Problem(network, (22, 26), terms, convolution)
    loss, gradient, slopes = problem.exact(slopes=1)
    for ours, theirs in slopes:
        assert ours == pytest.approx(theirs, rel=1e-4)
    for value, slope in (problem.evaluate(), problem.evaluate(300), problem.blocks(400)):
        assert value == pytest.approx(loss, rel=1e-4)
        assert far(slope, gradient) < 1e-3


def test_layers_before_an_activation_are_listed_added_and_painted_with(folder, capfd) -> None:
    file = save(residual(), "residual.onnx")
    assert run("networks", "info", file) == 0
    shown = capfd.readouterr().out
    assert "not a feature network: The network 'residual.onnx' must have one input named 'image'" in shown
    assert "\n  bn1: BatchNormalization, 16 channels, stride 1, sees 3 pixels across\n" in shown
    assert "\n  sum: Add, 16 channels, stride 2, sees 8 pixels across\n" in shown
    layers = ",".join(BEFORE_RELUS)
    assert run("networks", "add", file, "--name", "mine", "--layers", layers, "--content", "sum") == 0
    assert run("networks", "info", "mine") == 0
    assert "\n  bn1: 16 channels, stride 1" in capfd.readouterr().out
    assert paint("mine", "--style-layers", "conv1,bn1:2,sum", "--content-layers", "conv2,sum") == 0
    assert paint("mine", "--style-layers", "bn1,sum", "--smooth-features") == 0
    assert cv2.imread("out.png").shape == (27, 32, 3)


def test_info_refuses_what_is_no_network_of_images(folder, capfd) -> None:
    model = classifier()
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 4
    assert run("networks", "info", save(model)) == 2
    one_error(capfd, "must be an image of three channels")


REFUSED = [
    (("--name", "compact"), "that no known network has"),
    (("--name", "a/b"), "must be a word"),
    (("--name", "m", "--std", "0,1,1"), "three numbers above 0"),
    (("--name", "m", "--mean", "1,2"), "three numbers"),
    (("--name", "m", "--layers", "block1/Rely:0"), "Did you mean 'block1/Relu:0'"),
]


@pytest.mark.parametrize(("options", "says"), REFUSED)
def test_what_does_not_fit_is_refused_in_one_line(folder, capfd, options, says) -> None:
    assert run("networks", "add", save(classifier()), *options) == 2
    one_error(capfd, says)
    assert not list(Path(folder.with_name(f"{folder.name}-cache")).glob("*.onnx"))


def test_an_input_that_is_no_image_is_refused(folder, capfd) -> None:
    model = classifier()
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 4
    assert run("networks", "add", save(model), "--name", "m") == 2
    one_error(capfd, "must be an image of three channels")
    Path("text.onnx").write_text("no network")
    assert run("networks", "add", "text.onnx", "--name", "m") == 2
    assert run("networks", "add", "none.onnx", "--name", "m") == 2


def positioned(side: int = 64) -> onnx.ModelProto:
    """Return a network with a number for each position of images of one size, as a transformer has."""
    rng = np.random.default_rng(0)
    weights = {
        "w": (rng.normal(size=(8, 3, 4, 4)) / 7).astype(np.float32),
        "places": rng.normal(size=(1, 8, (side // 4) ** 2)).astype(np.float32),
        "flat": np.array([1, 8, -1]),
        "maps": np.array([1, 8, side // 4, side // 4]),
    }
    nodes = [
        helper.make_node("Conv", ["pixels", "w"], ["patches"], strides=[4, 4]),
        helper.make_node("Reshape", ["patches", "flat"], ["tokens"]),
        helper.make_node("Add", ["tokens", "places"], ["placed"]),
        helper.make_node("Reshape", ["placed", "maps"], ["seen"]),
        helper.make_node("Relu", ["seen"], ["relu"]),
    ]
    graph = helper.make_graph(
        nodes,
        "positioned",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, 3, side, side])],
        [helper.make_tensor_value_info("relu", TensorProto.FLOAT, [1, 8, side // 4, side // 4])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def test_a_network_that_fits_its_own_size_alone_is_kept_at_that_size(folder, capfd) -> None:
    network = networks.from_model(adapt.adapt(positioned(), adapt.Colours(), name="mine", source="x"))
    assert (network.size, network.layers) == ((64, 64), ("relu",))
    assert check_gradient(network) < 0.05
    assert run("networks", "add", save(positioned()), "--name", "mine") == 0
    assert "mine takes images of 64×64 pixels alone" in capfd.readouterr().out
    assert paint("mine") == 2
    one_error(capfd, "takes images of 64×64 pixels alone, got .* --size 64 --scales single")


@pytest.mark.parametrize("size", ["0x64", "64", "64x99999", "64x2000", "64x64x3", "-1x64", "\u0664x4"])
def test_a_size_in_the_metadata_that_is_none_is_refused(size) -> None:
    model = adapt.adapt(positioned(), adapt.Colours(), name="mine", source="x")
    next(prop for prop in model.metadata_props if prop.key.endswith(".size")).value = size
    with pytest.raises(NetworkError, match="expected height and width of at most 1024 pixels"):
        networks.from_model(model)


def test_a_reshape_to_another_number_of_values_is_refused() -> None:
    model = adapt.adapt(positioned(), adapt.Colours(), name="mine", source="x")
    next(prop for prop in model.metadata_props if prop.key.endswith(".size")).value = "32x32"
    with pytest.raises(NetworkError, match="does not fit an image of 32×32 pixels"):
        networks.from_model(model)


def _of_lengths(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model with a tensor of four dimensions that holds the image's lengths alone."""
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 1, 2, 2]), "square"))
    model.graph.node.insert(2, helper.make_node("Shape", ["block1/Relu:0"], ["lengths"]))
    model.graph.node.insert(3, helper.make_node("Cast", ["lengths"], ["numbers"], to=TensorProto.FLOAT))
    model.graph.node.insert(4, helper.make_node("Reshape", ["numbers", "square"], ["of_lengths"]))
    model.graph.output.append(helper.make_tensor_value_info("of_lengths", TensorProto.FLOAT, [1, 1, 2, 2]))
    return model


def test_what_the_conversion_of_an_opset_stumbles_over_is_refused() -> None:
    model = classifier(opset=11)
    model.graph.output[0].name = "w1"  # weights of another shape than it declares
    with pytest.raises(NetworkError, match=r"uses opset \[11\] and cannot be converted"):
        adapt.offered_layers(model, "mine.onnx")


@pytest.mark.parametrize("dims", [[], [64, 64], [1, 3, 64, 64, 64]])
def test_an_input_of_another_rank_is_refused(dims: list[int]) -> None:
    model = classifier()
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("input:0", TensorProto.FLOAT, dims))
    with pytest.raises(NetworkError, match="mine"):
        adapt.offered_layers(model, "mine.onnx")
    with pytest.raises(NetworkError, match="mine"):
        adapt.adapt(model, adapt.Colours(), name="mine", source="mine.onnx")


def test_lengths_of_the_image_are_no_layer() -> None:
    names = [layer.name for layer in adapt.offered_layers(_of_lengths(classifier()), "mine.onnx")]
    assert names == ["c1", "block1/Relu:0", "p1", "c2", "block2/Relu:0"]
