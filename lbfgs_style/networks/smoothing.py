"""Smooth the features of layers by a softmax over their channels, as the losses compare them.

Wang, Li and Vasconcelos, "Rethinking and Improving the Robustness of Image Style Transfer" (CVPR 2021), find
that the features of residual networks hold their energy in few peaks, which then rule Gram matrices, and send
them through a softmax before the losses. Here, for features x_c of one position, c = 1 … C:

    y_c = C exp(x_c / s) / Σ_k exp(x_k / s),    s² = mean_k x_k² + ε

Differs from the paper: the softmax is taken over the channels of each position, not over the whole layer, of
which a tile sees a part only; and the features are divided by their root mean square there, so that the
result does not depend on the scale of a network's weights. The factor C keeps the mean at 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..graphs.network_graph import feature_shapes
from .network import FeatureNetwork
from .pooling import tensor_names, unused_name

if TYPE_CHECKING:
    import onnx

# ε, added to the mean square of the features of a position: where all are 0, the root has no slope.
_AT_ZERO = 1e-6

# Side, in pixels, of the image for which the channels of layers are counted.
_SIDE = 256


def with_smoothing(network: FeatureNetwork, layers: Sequence[str]) -> FeatureNetwork:
    """Replace the features of layers by smooth ones; what the network computes from them stays as it was.

    Parameters
    ----------
    network : FeatureNetwork
        Not changed.
    layers : sequence of str
        Layers of it, which keep their names; none returns the network itself.
    """
    import onnx
    from onnx import numpy_helper

    if not layers:
        return network
    model = onnx.ModelProto()
    model.CopyFrom(network.model)
    taken = tensor_names(model)
    channels = {layer: shape[0] for layer, shape in feature_shapes(model, (_SIDE, _SIDE), layers).items()}
    plain = {layer: unused_name(f"{layer} before smoothing", taken) for layer in layers}
    axis, tiny = (unused_name(f"smoothing_{name}", taken) for name in ("axis", "at_zero"))
    constants = {axis: np.array([1], np.int64), tiny: np.array(_AT_ZERO, np.float32)}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        made = [name for name in node.output if name in plain]
        node.input[:] = [plain.get(name, name) for name in node.input]
        node.output[:] = [plain.get(name, name) for name in node.output]
        nodes.append(node)
        for layer in made:  # at once, so that a network can still be divided at the pooling that follows
            count = unused_name(f"{layer}_channels", taken)
            constants[count] = np.array(channels[layer], np.float32)
            nodes.extend(_softmax(plain[layer], layer, (axis, tiny, count), taken))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    return replace(network, model=model)


def _softmax(
    x: str, layer: str, constants: tuple[str, str, str], taken: set[str]
) -> Iterator[onnx.NodeProto]:
    """Yield the nodes that compute the smooth features `layer` of x."""
    from onnx import helper

    axis, tiny, count = constants
    names = ("squares", "mean", "positive", "root", "scaled", "softmax")
    squares, mean, positive, root, scaled, softmax = (unused_name(f"{layer}_{n}", taken) for n in names)
    yield helper.make_node("Mul", [x, x], [squares], squares)
    yield helper.make_node("ReduceMean", [squares, axis], [mean], mean, keepdims=1)
    yield helper.make_node("Add", [mean, tiny], [positive], positive)
    yield helper.make_node("Sqrt", [positive], [root], root)
    yield helper.make_node("Div", [x, root], [scaled], scaled)
    yield helper.make_node("Softmax", [scaled], [softmax], softmax, axis=1)
    yield helper.make_node("Mul", [softmax, count], [layer], layer)
