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

from ..settings.presets import Pooling
from .network import FeatureNetwork

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
    taken = {name for node in model.graph.node for name in (*node.input, *node.output)}
    taken.update(tensor.name for tensor in model.graph.initializer)
    nodes = [new for node in model.graph.node for new in _replaced(node, pooling, model.graph, taken)]
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


def _replaced(
    node: onnx.NodeProto, pooling: Pooling, graph: onnx.GraphProto, taken: set[str]
) -> Iterator[onnx.NodeProto]:
    """Yield what stands for a node; names of new tensors are added to those `taken`."""
    from onnx import helper

    if node.op_type not in _KINDS:
        yield node
        return
    (x, y), shared = (node.input[0], node.output[0]), [a for a in node.attribute if a.name in _SHARED]
    if pooling == "l2":
        names = ("squares", "mean", "at_zero", "positive")
        squares, average, tiny, positive = (_unused(f"{y}_{name}", taken) for name in names)
        graph.initializer.append(helper.make_tensor(tiny, 1, [], [_AT_ZERO]))
        mean = helper.make_node("AveragePool", [squares], [average], name=average)
        mean.attribute.extend(shared)
        yield helper.make_node("Mul", [x, x], [squares], name=squares)
        yield mean
        yield helper.make_node("Add", [average, tiny], [positive], name=positive)
        yield helper.make_node("Sqrt", [positive], [y], name=node.name)
        return
    made = helper.make_node("MaxPool" if pooling == "max" else "AveragePool", [x], [y], name=node.name)
    made.attribute.extend(shared)
    yield made


def _unused(name: str, taken: set[str]) -> str:
    """Return `name`, longer where another tensor has it, and add it to those `taken`."""
    while name in taken:
        name += "_"
    taken.add(name)
    return name
