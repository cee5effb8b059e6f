"""Graphs rewritten for the native operators: the same numbers as the plain graphs, and what is written."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import onnx
import pytest
from onnx import helper

from lbfgs_style import networks
from lbfgs_style.graphs.builder import GraphBuilder
from lbfgs_style.graphs.peak_memory import peak_bytes
from lbfgs_style.native import layout, library, pairs
from lbfgs_style.networks import vgg
from lbfgs_style.networks.pooling import with_pooling
from lbfgs_style.objective.engine import Engine
from lbfgs_style.objective.losses.terms import LossTerms
from lbfgs_style.objective.whole_graphs import objective_builder, statistics_graph
from lbfgs_style.settings.presets import preset
from lbfgs_style.system.threads import Cancellation, Cancelled
from tests.helpers.own_networks import Problem

FOUND = library.find()
pytestmark = pytest.mark.skipif(FOUND is None, reason=library.describe())

STYLE = ("relu1_1", "relu2_1", "relu3_1")
TERMS = LossTerms(("relu2_2",), STYLE)


def lifted_vgg(pooling: vgg.Pooling = "average") -> networks.FeatureNetwork:
    """Return a VGG whose biases lift all features above 0: no ReLU is near its kink."""
    rng = np.random.default_rng(5)
    weights, inputs = {}, 3
    for name, outputs in zip(vgg.convolution_names("vgg19")[:5], (20, 16, 24, 40, 33), strict=True):
        kernel = rng.normal(0, 0.3 / np.sqrt(9 * inputs), (outputs, inputs, 3, 3)).astype(np.float32)
        weights[name] = (kernel, np.full(outputs, 5, np.float32))
        inputs = outputs
    model = vgg.build(
        "vgg19",
        weights,
        normalization=vgg.TORCHVISION,
        pooling=pooling,
        until="relu3_1",
        name="lifted",
        source="random",
        licence="none",
    )
    return networks.from_model(model)


def relative_distance(actual: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


FORMS = {
    "gram": TERMS,
    "mean and covariance": LossTerms(TERMS.content_layers, STYLE, statistic="mean-cov"),
    "moments": LossTerms(TERMS.content_layers, STYLE, statistic="moments"),
    "neighbours": LossTerms(TERMS.content_layers, STYLE, statistic="neighbours", matched_layers=STYLE[-2:]),
    "wasserstein": LossTerms(TERMS.content_layers, STYLE, statistic="wasserstein"),
    "content map": LossTerms(TERMS.content_layers, STYLE, content_map=True),
    "content alone": LossTerms(TERMS.content_layers, ()),
    "style alone": LossTerms((), STYLE),
    **{
        name: LossTerms(TERMS.content_layers, STYLE, form=preset(name).form)
        for name in ("gatys", "keras", "tensorflow", "neural-style")
    },
}


@pytest.mark.parametrize("size", [(24, 32), (27, 38)])
@pytest.mark.parametrize("form", FORMS)
def test_away_from_kinks_the_gradient_is_that_of_the_plain_graph(form: str, size: tuple[int, int]) -> None:
    problems = [Problem(lifted_vgg(), size, FORMS[form], convolution) for convolution in ("direct", "native")]
    (loss, gradient), (actual, slope) = (problem.evaluate() for problem in problems)
    assert actual == pytest.approx(loss, rel=1e-5)
    assert relative_distance(slope, gradient) < 1e-5


@pytest.mark.parametrize("pixels", [300, 500])
def test_tiles_and_blocks(pixels: int) -> None:
    plain, native = (Problem(lifted_vgg(), (40, 52), TERMS, form) for form in ("direct", "native"))
    loss, gradient = plain.evaluate()
    assert plain.engine.operators == "onnxruntime"
    native.evaluate()
    assert native.engine.operators == f"native ({library.require().instructions})"
    for actual, slope in (native.evaluate(pixels), native.blocks(pixels)):
        assert actual == pytest.approx(loss, rel=1e-5)
        assert relative_distance(slope, gradient) < 1e-5


@pytest.mark.parametrize("pooling", ["max", "average", "l2"])
def test_kinds_of_pooling(pooling: str) -> None:
    network = with_pooling(lifted_vgg("max"), pooling)
    plain, native = (Problem(network, (26, 30), TERMS, form).evaluate() for form in ("direct", "native"))
    assert native[0] == pytest.approx(plain[0], rel=1e-5)
    assert relative_distance(native[1], plain[1]) < 1e-5


def network_with_a_head() -> networks.FeatureNetwork:
    """Return a network whose layer z comes from two 1×1 convolutions, with all features far from 0."""
    rng = np.random.default_rng(6)
    shapes = {"a": (20, 3, 3, 3), "b": (40, 20, 1, 1), "c": (12, 40, 1, 1), "d": (16, 20, 3, 3)}
    arrays = [
        onnx.numpy_helper.from_array(rng.normal(0, 0.2, shape).astype(np.float32), f"k{name}")
        for name, shape in shapes.items()
    ]
    arrays += [
        onnx.numpy_helper.from_array(np.full(shape[0], 4, np.float32), f"b{name}")
        for name, shape in shapes.items()
    ]

    def convolution(x: str, name: str, y: str) -> onnx.NodeProto:
        return helper.make_node("Conv", [x, f"k{name}", f"b{name}"], [y], pads=[shapes[name][2] // 2] * 4)

    nodes = [
        convolution("image", "a", "x"),
        helper.make_node("Relu", ["x"], ["r"]),
        convolution("r", "b", "hidden"),
        helper.make_node("Relu", ["hidden"], ["between"]),
        convolution("between", "c", "z"),
        convolution("r", "d", "s"),
        helper.make_node("Relu", ["s"], ["t"]),
    ]
    outputs = [helper.make_tensor_value_info(name, 1, [1, n, "h", "w"]) for name, n in (("z", 12), ("t", 16))]
    image = helper.make_tensor_value_info("image", 1, [1, 3, "height", "width"])
    graph = helper.make_graph(nodes, "head", [image], outputs, arrays)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return networks.from_model(model)


@pytest.mark.parametrize("least", [1, 10**9])
def test_two_point_convolutions_are_one_step_where_much_is_between_them(
    monkeypatch: pytest.MonkeyPatch, least: int
) -> None:
    monkeypatch.setattr(pairs, "LARGE", least)
    terms, network = LossTerms(("t",), ("z", "t")), network_with_a_head()
    plain, native = (Problem(network, (21, 30), terms, form).evaluate() for form in ("direct", "native"))
    assert native[0] == pytest.approx(plain[0], rel=1e-5)
    assert relative_distance(native[1], plain[1]) < 1e-5
    rewrite = partial(layout.rewrite, library=library.require(), threads=1)
    counts = rewritten(objective_builder(network.model, (21, 30), terms, rewrite=rewrite))
    assert counts.get("PointPair", 0) == (2 if least == 1 else 0)
    assert counts["PointConvolution"] == (2 if least == 1 else 6)


def rewritten(graph: GraphBuilder) -> dict[str, int]:
    """Return how many nodes of each of our operators a graph has."""
    counts: dict[str, int] = {}
    for node in graph.nodes:
        if node.domain == library.DOMAIN:
            counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return counts


def test_a_vgg_is_written_with_our_operators_alone() -> None:
    """5 convolutions and their gradients; each pooling is done by a convolution; sums and masks by all."""
    rewrite = partial(layout.rewrite, library=library.require(), threads=2)
    graph = objective_builder(lifted_vgg().model, (32, 40), TERMS, rewrite=rewrite)
    assert rewritten(graph) == {
        "Convolution": 4 + 4,
        "ImageConvolution": 1 + 1,  # computed again for the gradient
        "ImageGradient": 1,
        "PoolGradient": 2,
        "Gram": 3,
        "PointConvolution": 3,  # gradients of the Gram matrices
        "ToBlocked": 1,  # the content's features
    }
    left = {node.op_type for node in graph.nodes if node.domain != library.DOMAIN}
    assert not left.intersection({"MaxPool", "AveragePool", "Resize", "ConvTranspose", "Where"})


def test_features_leave_the_blocks_where_they_are_outputs() -> None:
    rewrite = partial(layout.rewrite, library=library.require(), threads=1)
    model = statistics_graph(lifted_vgg().model, (20, 24), TERMS, rewrite=rewrite)
    assert [n.op_type for n in model.graph.node if n.op_type == "ToPlain"] == ["ToPlain"]


def test_a_network_without_such_convolutions_keeps_onnxruntimes_operators() -> None:
    kernel = np.random.default_rng(0).normal(size=(8, 3, 5, 5)).astype(np.float32)
    node = helper.make_node("Conv", ["image", "k"], ["c"], pads=[2] * 4)
    graph = helper.make_graph(
        [node, helper.make_node("Relu", ["c"], ["r"])],
        "net",
        [helper.make_tensor_value_info("image", 1, [1, 3, "h", "w"])],
        [helper.make_tensor_value_info("r", 1, [1, 8, "h", "w"])],
        [onnx.numpy_helper.from_array(kernel, "k")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    rewrite = partial(layout.rewrite, library=library.require(), threads=1)
    built = objective_builder(model, (20, 20), LossTerms(("r",), ("r",)), rewrite=rewrite)
    assert rewritten(built) == {}


def test_scratch_memory_is_part_of_the_peak() -> None:
    rewrite = partial(layout.rewrite, library=library.require(), threads=4)
    graph = objective_builder(lifted_vgg().model, (64, 64), TERMS, rewrite=rewrite)
    peak = peak_bytes(graph)
    scratch = max(graph.scratch.values())
    graph.scratch.clear()
    assert 0 < peak - peak_bytes(graph) <= scratch


def make_objective(threads: int = 0):
    problem = Problem(lifted_vgg(), (48, 64), TERMS, "native")
    engine = Engine(problem.network, device="cpu", threads=threads, keep_sessions=False, convolution="native")
    return engine, problem, engine.objective(problem.size, TERMS, problem.targets(), problem.weights)


@pytest.mark.parametrize("threads", [0, 1, 5])
def test_any_number_of_threads_gives_the_same(threads: int) -> None:
    """Sums are divided in the same way; onnxruntime's own sums are not."""
    _, problem, objective = make_objective(threads)
    reference = make_objective(2)[2](problem.x)
    actual = objective(problem.x)
    assert actual.loss == pytest.approx(reference.loss, rel=1e-6)
    assert relative_distance(actual.gradient, reference.gradient) < 1e-6


def test_two_sessions_at_once() -> None:
    """Each call has scratch memory of its own."""
    _, problem, first = make_objective()
    _, _, second = make_objective()
    expected = first(problem.x)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda i: (first, second)[i % 2](problem.x), range(40)))
    for result in results:
        assert result.loss == expected.loss
        np.testing.assert_array_equal(result.gradient, expected.gradient)


def test_a_run_is_cancelled_in_the_middle() -> None:
    problem = Problem(lifted_vgg(), (600, 800), TERMS, "native")
    event = threading.Event()
    engine = problem.engine.during(Cancellation(event))
    objective = engine.objective(problem.size, TERMS, problem.targets(), problem.weights)
    objective(problem.x)
    threading.Timer(0.02, event.set).start()

    def evaluate_until_cancelled() -> None:
        for _ in range(1000):
            objective(problem.x)

    with pytest.raises(Cancelled):
        evaluate_until_cancelled()
