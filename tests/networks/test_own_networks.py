"""Networks as users bring them: skips, heads, names of any kind, operators at 0, layers without a picture."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from lbfgs_style import Options, StyleStatistics, StyleTransfer, images, networks, read_options
from lbfgs_style.errors import GraphError, NetworkError, OptionError
from lbfgs_style.graphs.autodiff import RULES
from lbfgs_style.graphs.builder import GraphBuilder
from lbfgs_style.graphs.operator_reach import REACH
from lbfgs_style.graphs.receptive_fields import receptive_fields, smallest_side
from lbfgs_style.images.formats.registry import read_text
from lbfgs_style.networks import lowering
from lbfgs_style.networks.model_checks import OPERATORS
from lbfgs_style.networks.pooling import with_pooling
from lbfgs_style.objective.losses.terms import LossTerms
from tests.helpers.command import one_error, paint, photo, run
from tests.helpers.own_networks import TERMS, Problem, around, far, network, node, weights


def skip(channels: int, *between) -> networks.FeatureNetwork:
    """z = conv(conv(r) + skip(r)): a plain operand meets what onnxruntime keeps in blocks."""
    constants = {"half": np.array(0.5, np.float32), "p": [0, 0, 1, 1, 0, 0, 1, 1]}
    constants |= {"s": [1, 1], "e": [-1, -1], "x": [2, 3]}
    conv = node("Conv", "r v", "k", pads=[1] * 4)
    return around(conv, *between, node("Add", "k sk", "m"), channels=channels, **constants)


def heads(channels: int, *side) -> networks.FeatureNetwork:
    """Return a network with a third layer y, made of r as z is."""
    return around(
        *side, node("Identity", "r", "m"), channels=channels, layers=("r", "z", "y"), u=weights(8, 8, 1, 1)
    )


SHAPES = {
    "a scaled skip": lambda: skip(16, node("Mul", "r half", "sk")),
    "a sliced skip": lambda: skip(16, node("Pad", "r p", "pd"), node("Slice", "pd s e x", "sk")),
    "a padded skip that others read": lambda: skip(
        16,
        node("Slice", "r s e x", "inner"),
        node("Pad", "inner p", "sk"),
        node("Relu", "sk", "other"),
        node("Mul", "other half", "unread"),
    ),
    "two heads": lambda: heads(8, node("Conv", "r u", "side"), node("Relu", "side", "y")),
    "branches of strides 2 and 3": lambda: around(
        node("MaxPool", "r", "m", kernel_shape=[2, 2], strides=[2, 2]),
        node("MaxPool", "r", "y", kernel_shape=[3, 3], strides=[3, 3]),
        layers=("r", "z", "y"),
    ),
    "a weight of two convolutions": lambda: around(
        node("Conv", "r v", "k", pads=[1] * 4), node("Relu", "k", "m"), channels=16
    ),
    "a weight in two groupings": lambda: around(
        node("Conv", "r depth", "k", pads=[1] * 4, group=8),
        node("ReduceSum", "k one", "sum"),
        node("Conv", "sum depth", "m", pads=[1] * 4),
        depth=weights(8, 1, 3, 3, seed=3),
        one=[1],
    ),
    "layers on two ways that wait for each other": lambda: around(
        node("Conv", "r v", "k", pads=[1] * 4),
        node("Relu", "k", "y"),
        node("Slice", "r one two one", "side"),
        node("Mul", "y half", "m"),
        layers=("r", "side", "y", "z"),
        one=[1],
        two=[7],
        half=np.array(0.5, np.float32),
    ),
    "a weight called as a turned one": lambda: around(
        node("Mul", "r v.turned", "m"), **{"v.turned": weights(8, 1, 1, seed=2)}
    ),
    "a tensor called as a turned one": lambda: around(
        node("Relu", "r", "v.turned"), node("Identity", "v.turned", "m")
    ),
}
"""What the graphs made of a network once stumbled over → such a network."""


@pytest.mark.parametrize("convolution", ["direct", "winograd"])
@pytest.mark.parametrize("name", SHAPES)
def test_a_network_of_any_shape_gives_right_numbers(name: str, convolution: str) -> None:
    """Whole, in tiles and in blocks, against float64 and its differences; the network stays as it is."""
    chosen = SHAPES[name]()
    terms = LossTerms(("z",), tuple(chosen.layers))
    before = chosen.model.SerializeToString()
    problem = Problem(chosen, (36, 42), terms, convolution)
    loss, gradient, slopes = problem.exact(slopes=1)
    assert_same_slopes(slopes)
    for actual in (problem.evaluate(), problem.evaluate(600), problem.blocks(900)):
        assert actual[0] == pytest.approx(loss, rel=1e-4)
        assert far(actual[1], gradient) < 1e-3
    assert chosen.model.SerializeToString() == before


def assert_same_slopes(slopes: list[tuple[float, float]], rel: float = 1e-5) -> None:
    assert [ours for ours, _ in slopes] == pytest.approx(
        [theirs for _, theirs in slopes],
        rel=rel,
        abs=1e-6,  # rounding of the loss over the step
    )


OURS = """
loss terms weights region_weights tile own_factor gradient_factor d_image tv range own_tv
rest_range constant_1 conv_7 mul_20
around_m around_image winograd_w winograd_v features_r gram_z d_gram_z mean_r mask_r_0 d_r distance_z energy_z
root_r height width net.a net.r v.turned m_squares m_mean m_positive m_at_zero tile_mean
"""
"""Names of our graphs' tensors, inputs and outputs."""


def test_a_network_may_use_the_tensor_names_of_our_graphs() -> None:
    """As intermediate tensors, as weights and as both: the results are those with other names."""
    evaluations = []
    ours = OURS.split()
    for names in ([f"x{i}" for i in range(len(ours))], ours):
        half = len(names) // 2
        constants = {name: weights(8, 1, 1, seed=i) for i, name in enumerate(names[:half])}
        chain, tensor = [], "r"
        for number, name in enumerate(names[half:]):
            chain.append(node("Add", f"{tensor} {names[number]}", name))
            tensor = name
        pool = node("MaxPool", tensor, "m", kernel_shape=[2, 2], strides=[2, 2])
        chosen = with_pooling(around(*chain, pool, **constants), "l2")
        problem = Problem(chosen, (36, 42))
        evaluations.append([problem.evaluate(), problem.evaluate(600), problem.blocks(600)])
    for plain, ours in zip(*evaluations, strict=True):
        assert plain[0] == ours[0]
        np.testing.assert_array_equal(plain[1], ours[1])


@pytest.mark.parametrize(
    "name", ["loss", "tile", "own_factor", "gram_r", "d_r", "around_m", "native_v", "winograd_v"]
)
def test_a_layer_with_a_reserved_name_is_refused(name: str) -> None:
    with pytest.raises(NetworkError, match=f"calls a layer '{name}', a name that the graphs"):
        around(node("Relu", "r", "m"), node("Relu", "m", name), layers=("r", "z", name))


def test_names_of_our_graphs_are_unique() -> None:
    """Even if loading has not checked them: generated names avoid all others, fixed names raise an error."""
    b = GraphBuilder()
    b.extend(
        [node("Relu", "image", "relu_1"), node("Relu", "relu_1", "gram_z")], {}, ("image", "relu_1", "gram_z")
    )
    assert b.op("Relu", "image") != "relu_1"
    for declare in (lambda: b.input("gram_z", []), lambda: b.output("relu_1", "gram_z")):
        with pytest.raises(GraphError, match=r"needs the name 'gram_z'.*rename the layer"):
            declare()


# --- what operators see ----------------------------------------------------------------------------------


def test_every_operator_declares_its_reach() -> None:
    assert set(REACH) == OPERATORS


POOL = node("MaxPool", "r", "p", kernel_shape=[2, 2], strides=[2, 2])

IN_PARTS = {
    "a kernel that is wide and low": around(
        node("Conv", "r k", "m", pads=[0, 2, 0, 2]), k=weights(8, 8, 1, 5)
    ),
    "a kernel that sees to one side": around(
        node("Conv", "r k", "m", pads=[0, 2, 2, 0]), k=weights(8, 8, 3, 3)
    ),
    "a shift": around(
        node("Slice", "r s e x", "cut"),
        node("Pad", "cut p", "m"),
        **{"s": [3, 0], "e": [2**31 - 1, -2], "x": [2, 3], "p": [0, 0, 0, 0, 0, 0, 3, 2]},
    ),
    "a window of 3 that moves by 2": around(
        node("Pad", "r p", "padded"),
        node("AveragePool", "padded", "m", kernel_shape=[3, 3], strides=[2, 2]),
        p=[0, 0, 0, 0, 0, 0, 1, 1],
    ),
    "copies around": around(
        POOL, node("Pad", "p b", "padded", mode="reflect"), node("Conv", "padded k", "m"),
        b=[0, 0, 2, 1, 0, 0, 2, 1], k=weights(8, 8, 5, 3),
    ),
    "a norm over channels": around(
        node("ReduceL2", "r x", "n"), node("Add", "n one", "o"), node("Div", "r o", "m"),
        x=[1], one=np.ones((), np.float32),
    ),
    "a gate for each channel": around(node("Mul", "r c", "m"), c=weights(8, 1, 1)),
    "1×1 alone": network(
        [node("Conv", "image u", "r"), node("Relu", "r", "z")], {"u": weights(4, 3, 1, 1)}, ("r", "z")
    ),
}  # fmt: skip
"""Networks that tiles and blocks are exact for."""


@pytest.mark.parametrize("name", IN_PARTS)
def test_windows_of_any_form_are_exact_in_parts(name: str) -> None:
    problem = Problem(IN_PARTS[name], (37, 52))
    whole = problem.evaluate()
    assert min(map(len, problem.engine.plan_cuts(problem.size, TERMS, 800))) > 1
    for actual in (problem.evaluate(800), problem.blocks(800)):
        assert actual[0] == pytest.approx(whole[0], rel=1e-5)
        assert far(actual[1], whole[1]) < 1e-4


def normed(*axes: int) -> networks.FeatureNetwork:
    """Return m = (r − mean) / deviation over some axes."""
    return around(
        node("ReduceMean", "r ax", "mu"), node("Sub", "r mu", "d"), node("Mul", "d d", "dd"),
        node("ReduceMean", "dd ax", "var"), node("Add", "var eps", "ve"), node("Sqrt", "ve", "sd"),
        node("Div", "d sd", "m"),
        ax=list(axes), eps=np.array(1e-3, np.float32),
    )  # fmt: skip


def flat(*nodes, **constants: object) -> networks.FeatureNetwork:
    """Return nodes that make `mixed` of r as [8, positions], which gets the shape of r again."""
    return around(
        node("Shape", "r", "shape"), node("Reshape", "r rows", "flat"), *nodes,
        node("Reshape", "mixed shape", "m"),
        rows=[8, -1], square=weights(8, 8), **constants,
    )  # fmt: skip


WHOLE = {
    "normed over the picture": (normed(2, 3), "ReduceMean node 'mu' sees the whole image"),
    "normed over rows": (normed(-1), "ReduceMean node 'mu' sees the whole image"),
    "normed over all": (normed(), "ReduceMean node 'mu' sees the whole image"),
    "attention": (flat(node("MatMul", "square flat", "mixed")), "Reshape node 'flat' sees the whole image"),
    "a product": (flat(node("Gemm", "square flat", "mixed")), "Reshape node 'flat' sees the whole image"),
    "height and width exchanged": (
        around(node("Transpose", "r", "m", perm=[0, 1, 3, 2])),
        "Transpose node 'm' sees the whole image",
    ),
    "the first 20 columns": (
        around(node("Slice", "r s e x", "m"), s=[0], e=[20], x=[3]),
        "Slice node 'm' sees the whole image",
    ),
    "a valid window": (
        around(node("Conv", "r k", "m"), k=weights(8, 8, 3, 3)),
        "Conv node 'm' gives the layer 'z' another height or width",
    ),
    "a crop": (
        around(node("Slice", "r s e x", "m"), s=[2, 3], e=[2**31 - 1] * 2, x=[2, 3]),
        "Slice node 'm' gives the layer 'z' another height or width",
    ),
    "a padding": (
        around(node("Pad", "r p", "m"), p=[0, 0, 1, 1, 0, 0, 1, 1]),
        "Pad node 'm' gives the layer 'z' another height or width",
    ),
    "a pooling that leaves out the end": (
        around(node("MaxPool", "r", "m", kernel_shape=[3, 3], strides=[2, 2])),
        "MaxPool node 'm' gives the layer 'z' another height or width",
    ),
    "unequal strides": (
        around(node("MaxPool", "r", "m", kernel_shape=[2, 1], strides=[2, 1])),
        "MaxPool node 'm' has one stride in height and another in width",
    ),
}  # fmt: skip
"""Networks that are exact on whole pictures alone → why."""


@pytest.mark.parametrize("name", WHOLE)
def test_operators_that_see_the_whole_picture_are_refused_in_parts(name: str) -> None:
    """Evaluated whole it is exact; if the memory requires parts, the run is refused before it starts."""
    chosen, why = WHOLE[name]
    problem = Problem(chosen, (30, 35))
    loss, gradient, slopes = problem.exact(slopes=1)
    assert_same_slopes(slopes)
    actual = problem.evaluate()
    assert actual[0] == pytest.approx(loss, rel=1e-4)
    assert far(actual[1], gradient) < 2e-3
    for work in (problem.evaluate, problem.blocks):
        with pytest.raises(GraphError, match=why):
            work(400)
    options = Options(size=640, scales="single", memory=310 * 10**6, device="cpu", iterations=1)
    options = replace(options, pooling=None, style_statistic="gram")
    picture = np.zeros((480, 640, 3), np.uint8)
    says = f"640×480 pixels does not fit into 310 MB.*at least [34].. MB; allow more with --memory.*{why}"
    with pytest.raises(OptionError, match=says):
        StyleTransfer(chosen, options=options).run(picture, picture, on_iterate=pytest.fail)


def test_a_picture_for_a_constant_of_one_size_is_not_cut() -> None:
    """A weight for each place fits pictures of one size alone, in which a tile has another place."""
    places = np.random.default_rng(0).uniform(0.5, 1, (1, 1, 1, 512)).astype(np.float32)
    with pytest.raises(GraphError, match="the Mul node 'm' sees the whole image"):
        receptive_fields(around(node("Mul", "r places", "m"), places=places).model, ["z"])


def test_a_picture_must_be_as_large_as_a_crop_needs() -> None:
    crop = around(node("Slice", "r s e x", "m"), s=[2, 3], e=[-1, 2**31 - 1], x=[2, 3])
    assert smallest_side(crop.model, ["z"]) == 4  # 2 + 1 rows and 3 columns are cut off
    copies = around(node("Pad", "r p", "m", mode="reflect"), p=[0, 0, 4, 4, 0, 0, 4, 4])
    assert smallest_side(copies.model, ["z"]) == 5


@pytest.mark.parametrize("op_type", sorted(OPERATORS - set(RULES) - lowering.NAMES - {"Constant"}))
def test_operators_without_a_gradient_are_refused_by_name(op_type: str) -> None:
    """If a layer depends on them; outputs that are no features are never layers."""
    inputs = {"Gather": "r zero", "PRelu": "r one", "BatchNormalization": "r c c c c", "Unsqueeze": "r zero"}
    inputs |= {"InstanceNormalization": "r c c", "Max": "r one", "Min": "r one", "Sum": "r r"}
    attributes = {"to": 1} if op_type == "Cast" else {"axis": 1} if "Softmax" in op_type else {}
    odd = node(op_type, inputs.get(op_type, "r"), "odd", **attributes)
    constants = {"zero": [0], "one": np.ones((1, 1, 1), np.float32), "c": np.ones(8, np.float32)}
    with pytest.raises((NetworkError, GraphError)) as caught:
        Problem(around(odd, node("Mul", "odd r", "m"), **constants), (16, 16)).evaluate()
    if op_type not in ("Flatten", "Shape", "Squeeze", "Unsqueeze", "Gather"):  # these give no features
        assert f"Cannot differentiate the {op_type} node 'odd'" in str(caught.value)


# --- names with colons -----------------------------------------------------------------------------------


def tensorflow(folder) -> str:
    """Save a network that calls its layers as tf2onnx does, one of them with a weight's look and a comma."""
    made = around(node("Relu", "r", "m"), node("Relu", "m", "b/Relu:0"), layers=("r", "z", "b/Relu:0"))
    first = node("Relu", "b/Relu:0", "b,2:1")
    made.model.graph.node.append(first)
    made.model.graph.output.append(made.model.graph.output[0])
    made.model.graph.output[-1].name = "b,2:1"
    onnx.save(made.model, folder / "tf.onnx")
    return str(folder / "tf.onnx")


CHOICES = [
    ("b/Relu:0", ("b/Relu:0",), None),
    ("b/Relu:0:2,r", ("b/Relu:0", "r"), (2.0, 1.0)),
    (r"b/Relu\:0", ("b/Relu:0",), None),
    (r"b/Relu\:0:2, r:3", ("b/Relu:0", "r"), (2.0, 3.0)),
    (r"b\,2:1,r", ("b,2:1", "r"), None),
    (r"b\,2\:1:4,z:0.5", ("b,2:1", "z"), (4.0, 0.5)),
    ("r:2,z", ("r", "z"), (2.0, 1.0)),
]


@pytest.mark.parametrize(("text", "layers", "layer_weights"), CHOICES)
def test_layers_with_colons_are_chosen_by_the_command(text, layers, layer_weights, folder) -> None:
    """The recipe holds the names as they are, and a rerun takes them again."""
    path = tensorflow(folder)
    arguments = ("--style-layers", text, "--content-layers", r"b/Relu:0", "--scales", "single")
    assert paint(path, *arguments) == 0
    options = json.loads(read_text(Path("out.png").read_bytes()) or "")["options"]
    assert (options["style_layers"], options["content_layers"]) == (list(layers), ["b/Relu:0"])
    assert options["style_layer_weights"] == (None if layer_weights is None else list(layer_weights))
    assert run("rerun", "out.png", "-o", "again.png") == 0
    np.testing.assert_array_equal(images.read("again.png").rgb, images.read("out.png").rgb)


def test_layers_with_colons_are_chosen_in_files_and_in_python(folder) -> None:
    path = tensorflow(folder)
    (folder / "own.toml").write_text('style-layers = ["b/Relu:0", "b,2:1"]\nstyle-layer-weights = [2, 1]\n')
    options = read_options(folder / "own.toml")
    assert options == Options(style_layers=("b/Relu:0", "b,2:1"), style_layer_weights=(2.0, 1.0))
    job = StyleTransfer(path, options=replace(options, size=32, iterations=1))
    statistics = job.measure_style(photo(), sizes=[32])
    statistics.save(folder / "style.npz")
    job.run(photo(), StyleStatistics.load(folder / "style.npz"))
    assert paint(path, "--options", "own.toml") == 0
    assert run("reconstruct", "content", "photo.png", "-o", "sheet.png", "--network", path, "--layers",
               r"b/Relu:0,b\,2:1", "--size", 32, "--iterations", 1) == 0  # fmt: skip


def test_a_missing_layer_with_a_weight_in_its_name_is_explained(folder, capfd) -> None:
    path = tensorflow(folder)
    with pytest.raises(NetworkError, match=r"style_layers takes names alone.*style_layer_weights"):
        StyleTransfer(path, options=Options(style_layers=("r:2",)))
    assert paint(path, "--style-layers", "b/Relu:x") == 2
    one_error(capfd, r"--style-layers must be.*numbers after the colons, or with \\: for a colon in a name")
