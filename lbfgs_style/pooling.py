"""Another pooling in place of a network's own.

Gatys et al. (CVPR 2016, sec. 2) replace maxima by averages, "which gives slightly more appealing results";
the root of the mean square lies between the two. Outputs keep the scale that the pooling gives them: some
programs double averages and take 0.78 times the root so that deeper layers get the numbers they were trained
with, Gatys et al. do not, and relative losses have no unit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from .networks import FeatureNetwork
from .presets import Pooling

if TYPE_CHECKING:
    import onnx

# Added to the mean square: the root has no slope at 0, and ReLU makes windows of zeros. A slope is at most
# half the cotangent whatever this is.
_AT_ZERO = 1e-12

_SHARED = ("kernel_shape", "strides", "pads", "dilations", "ceil_mode", "auto_pad")


_KINDS = {"MaxPool": "max", "AveragePool": "average"}


def with_pooling(network: FeatureNetwork, pooling: Pooling | None) -> FeatureNetwork:
    """Return a network whose every MaxPool and AveragePool is of one kind; None returns it as it is.

    ``l2`` is √(mean x²) over each window.
    """
    import onnx

    if pooling is None:
        return network
    model = onnx.ModelProto()
    model.CopyFrom(network.model)
    nodes = [new for node in model.graph.node for new in _replaced(node, pooling, model.graph)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return replace(network, model=model)


def pooling_of(network: FeatureNetwork, pooling: Pooling | None) -> str:
    """Name the pooling that `with_pooling` gives.

    A network of maxima alone has ``max``, asked for or not; ``mixed`` where a network's own is of both kinds.
    """
    if pooling is not None:
        return pooling
    kinds = {node.op_type for node in network.model.graph.node if node.op_type in _KINDS}
    return _KINDS[kinds.pop()] if len(kinds) == 1 else "mixed"


def _replaced(node: onnx.NodeProto, pooling: Pooling, graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    from onnx import helper

    if node.op_type not in _KINDS:
        yield node
        return
    (x, y), shared = (node.input[0], node.output[0]), [a for a in node.attribute if a.name in _SHARED]
    if pooling == "l2":
        tiny = helper.make_tensor(f"{y}_at_zero", 1, [], [_AT_ZERO])
        graph.initializer.append(tiny)
        mean = helper.make_node("AveragePool", [f"{y}_squares"], [f"{y}_mean"], name=f"{y}_mean")
        mean.attribute.extend(shared)
        yield helper.make_node("Mul", [x, x], [f"{y}_squares"], name=f"{y}_squares")
        yield mean
        yield helper.make_node("Add", [f"{y}_mean", tiny.name], [f"{y}_positive"], name=f"{y}_positive")
        yield helper.make_node("Sqrt", [f"{y}_positive"], [y], name=node.name)
        return
    made = helper.make_node("MaxPool" if pooling == "max" else "AveragePool", [x], [y], name=node.name)
    made.attribute.extend(shared)
    yield made
