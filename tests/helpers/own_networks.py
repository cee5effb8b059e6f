"""Networks of a few channels as users bring them, and their objective evaluated in every way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from lbfgs_style import networks
from lbfgs_style.objective.engine import Engine
from lbfgs_style.objective.losses.terms import LossTerms, complete_targets, content_map_name
from lbfgs_style.objective.whole_graphs import objective_graph

TERMS = LossTerms(("z",), ("r", "z"))
"""The terms of `around`, and of every network that has layers r and z."""


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    """Return random weights whose convolution keeps the size of features about the same."""
    scale = np.sqrt(2 / np.prod(shape[1:]))
    return np.random.default_rng(seed).normal(0, scale, shape).astype(np.float32)


def network(
    nodes: Sequence[onnx.NodeProto], constants: Mapping[str, object], layers: Sequence[str]
) -> networks.FeatureNetwork:
    """Return a network of some nodes; constants that are not arrays become int64."""
    return networks.from_model(model(nodes, constants, layers))


def model(
    nodes: Sequence[onnx.NodeProto], constants: Mapping[str, object], layers: Sequence[str]
) -> onnx.ModelProto:
    """Return the model of `network`, not checked."""
    arrays = {
        name: value if isinstance(value, np.ndarray) else np.asarray(value, np.int64)
        for name, value in constants.items()
    }
    graph = helper.make_graph(
        nodes,
        "own",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, "h", "w"])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, *[None] * 3]) for name in layers],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def node(op_type: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
    """Return a node of one output; `inputs` has spaces between the names, and ``-`` for one left out."""
    names = ["" if name == "-" else name for name in inputs.split()]
    return helper.make_node(op_type, names, [output], output, **attributes)


def around(
    *nodes: onnx.NodeProto, channels: int = 8, layers: Sequence[str] = ("r", "z"), **constants: object
) -> networks.FeatureNetwork:
    """Return the network r = relu(conv(image)), `nodes` that compute m from r, z = conv(m)."""
    first = [node("Conv", "image w", "a", pads=[1] * 4), node("Relu", "a", "r")]
    last = node("Conv", "m v", "z", pads=[1] * 4)
    kernels = {"w": weights(channels, 3, 3, 3), "v": weights(channels, channels, 3, 3, seed=1)}
    return network([*first, *nodes, last], {**kernels, **constants}, layers)


class Problem:
    """A network's objective at one size, with the targets of two random pictures.

    Parameters
    ----------
    chosen : FeatureNetwork
        The network.
    size : (int, int)
        Height and width.
    terms : LossTerms
        The terms; all have weights.
    convolution : str
        As in `lbfgs_style.settings.options.Options`.
    """

    def __init__(
        self,
        chosen: networks.FeatureNetwork,
        size: tuple[int, int],
        terms: LossTerms = TERMS,
        convolution: str = "auto",
    ) -> None:
        rng = np.random.default_rng(4)
        self.photo, self.painting, self.x = rng.uniform(0, 1, (3, 3, *size)).astype(np.float32)
        self.network, self.size, self.terms = chosen, size, terms
        self.engine = Engine(chosen, device="cpu", threads=1, keep_sessions=False, convolution=convolution)
        self.weights = np.linspace(0.5, 2, len(terms.names)).astype(np.float32)

    @cache  # noqa: B019  # problems live as long as a test
    def targets(self, pixels: int | None = None) -> dict[str, np.ndarray]:
        """Measure the targets, whole or in tiles."""
        content, style = (
            replace(self.terms, style_layers=(), content_map=False, matched_layers=()),
            replace(self.terms, content_layers=(), matched_layers=()),
        )
        statistics = self.engine.statistics(self.photo, content, what="photo", window_pixels=pixels)
        maps: dict[str, np.ndarray] = {}
        if self.terms.content_map:
            for layer in self.terms.content_layers:
                height, width = statistics[f"features_{layer}"].shape[2:]
                roots = np.linspace(0, 2, width) * np.ones((height, 1))
                maps[content_map_name(layer)] = roots.astype(np.float32)[None, None]
        matched = replace(content, content_layers=self.terms.matched_layers)
        features = self.engine.statistics(self.painting, matched, what="painting", window_pixels=pixels)
        statistics |= {name.replace("features", "neighbours"): array for name, array in features.items()}
        return (
            maps
            | statistics
            | self.engine.statistics(self.painting, style, what="painting", window_pixels=pixels)
        )

    def evaluate(self, pixels: int | None = None) -> tuple[float, np.ndarray]:
        """Return loss and gradient [3,H,W], whole or in tiles."""
        targets = self.targets(pixels)
        evaluation = self.engine.objective(
            self.size, self.terms, targets, self.weights, window_pixels=pixels
        )(self.x)
        return evaluation.loss, evaluation.gradient

    def blocks(self, pixels: int) -> tuple[float, np.ndarray]:
        """Return the loss and the gradient [3,H,W] that all blocks of one cut give together.

        Each block is first evaluated and committed with other pixels, then with its own again: the sums must
        be what they were.
        """
        blocks = self.engine.blocks(self.x.copy(), self.terms, self.targets(), self.weights, pixels)
        gradient = np.empty_like(self.x)
        for tile in self.engine.plan_cuts(self.size, self.terms, pixels)[0]:
            place = np.index_exp[:, tile.rows.start : tile.rows.stop, tile.columns.start : tile.columns.stop]
            pixels_before = self.x[place].copy()
            block = blocks.free(tile)
            block.evaluate(1 - pixels_before)
            block.commit(1 - pixels_before)
            again = blocks.free(tile)
            again.evaluate(pixels_before)
            again.commit(pixels_before)
            blocks.begin_sweep()
            gradient[place] = blocks.free(tile).evaluate(pixels_before)[2]
        return blocks.value()[0], gradient

    def exact(
        self, slopes: int = 3, step: float = 1e-9
    ) -> tuple[float, np.ndarray, list[tuple[float, float]]]:
        """Return loss and gradient in float64 by ONNX's evaluator, and slopes along random directions.

        Each slope comes twice: by the gradient, and by central differences of the loss.
        """
        model = objective_graph(self.network.model, self.size, self.terms, dtype=np.float64)
        feeds = complete_targets(self.targets(), self.terms) | {
            "weights": self.weights,
            "image": self.x[None],
        }
        feeds = {name: np.asarray(value, np.float64) for name, value in feeds.items()}
        evaluator, rng = ReferenceEvaluator(model), np.random.default_rng(5)

        def run(image: np.ndarray) -> tuple[float, np.ndarray]:
            with np.errstate(all="ignore"):  # steep HardSigmoids
                loss, gradient = evaluator.run(["loss", "d_image"], feeds | {"image": image})
            return float(loss), gradient[0]

        loss, gradient = run(feeds["image"])
        pairs: list[tuple[float, float]] = []
        for _ in range(slopes):
            direction = rng.normal(size=gradient.shape)
            ends = [run(feeds["image"] + sign * step * direction)[0] for sign in (1, -1)]
            pairs.append((float(np.vdot(gradient, direction)), (ends[0] - ends[1]) / (2 * step)))
        return loss, gradient, pairs


def far(actual: np.ndarray, expected: np.ndarray) -> float:
    """Return the relative distance ‖actual − expected‖ / ‖expected‖."""
    return float(np.linalg.norm(np.subtract(actual, expected)) / (np.linalg.norm(expected) or 1))
