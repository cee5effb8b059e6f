"""Replace the pooling of a network.

Gatys et al. (CVPR 2016, sec. 2) replace maxima by averages, "which gives slightly more appealing results";
the root of the mean square lies between the two. The results are not rescaled: some programs double averages
and multiply roots by 0.78, so that deeper layers get values as in training; Gatys et al. do not, and relative
losses do not depend on the scale.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import NetworkError, shown
from ..settings.presets import Pooling
from .network import FeatureNetwork

if TYPE_CHECKING:
    import onnx

# Added to the mean square, because the root has no slope at 0, and after a ReLU whole windows are 0. With 2×2
# windows the gradient is at most half the cotangent, whatever this value.
_AT_ZERO = 1e-12

# Attributes that MaxPool and AveragePool have in common.
_SHARED = ("kernel_shape", "strides", "pads", "dilations", "ceil_mode", "auto_pad")

# Operator → name of the pooling.
_KINDS = {"MaxPool": "max", "AveragePool": "average"}


def with_pooling(network: FeatureNetwork, pooling: Pooling | None) -> FeatureNetwork:
    """Replace every MaxPool and AveragePool of a network by one kind of pooling.

    Parameters
    ----------
    network : FeatureNetwork
        Not changed.
    pooling : {"max", "average", "l2"} or None
        ``l2`` is √(mean x²) over each window. None returns the network itself.
    """
    import onnx

    if pooling is None:
        return network
    model = onnx.ModelProto()
    model.CopyFrom(network.model)
    taken = tensor_names(model)
    nodes = [new for node in model.graph.node for new in _replaced(node, pooling, model.graph, taken)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return replace(network, model=model)


def pooling_of(network: FeatureNetwork, pooling: Pooling | None) -> str:
    """Return the kind of pooling that a network has after `with_pooling`; ``mixed`` if it has both."""
    if pooling is not None:
        return pooling
    kinds = {node.op_type for node in network.model.graph.node if node.op_type in _KINDS}
    return _KINDS[kinds.pop()] if len(kinds) == 1 else "mixed"


def _replaced(
    node: onnx.NodeProto, pooling: Pooling, graph: onnx.GraphProto, taken: set[str]
) -> Iterator[onnx.NodeProto]:
    """Yield the nodes that replace a node; add the names of new tensors to `taken`."""
    from onnx import helper

    if node.op_type not in _KINDS:
        yield node
        return
    (x, y), shared = (node.input[0], node.output[0]), [a for a in node.attribute if a.name in _SHARED]
    if pooling != "max":
        # Our opset's AveragePool has no dilations; exporters write those of 1, too.
        if any(set(a.ints) - {1} for a in shared if a.name == "dilations"):
            raise NetworkError(
                f"The {node.op_type} node {shown(y)} has dilations, with which there is no {pooling} "
                "pooling: take --pooling max."
            )
        shared = [a for a in shared if a.name != "dilations"]
    if pooling == "l2":
        names = ("squares", "mean", "at_zero", "positive")
        squares, average, tiny, positive = (unused_name(f"{y}_{name}", taken) for name in names)
        graph.initializer.append(helper.make_tensor(tiny, 1, [], [_AT_ZERO]))
        mean = helper.make_node("AveragePool", [squares], [average], name=average)
        mean.attribute.extend(shared)
        yield helper.make_node("Mul", [x, x], [squares], name=squares)
        yield mean
        yield helper.make_node("Add", [average, tiny], [positive], name=positive)
        yield helper.make_node("Sqrt", [positive], [y], name=node.name)
        return
    replacement = helper.make_node("MaxPool" if pooling == "max" else "AveragePool", [x], [y], name=node.name)
    replacement.attribute.extend(shared)
    yield replacement


def tensor_names(model: onnx.ModelProto) -> set[str]:
    """Return the names of all tensors of a model."""
    taken = {name for node in model.graph.node for name in (*node.input, *node.output)}
    return taken | {tensor.name for tensor in model.graph.initializer}


def unused_name(name: str, taken: set[str]) -> str:
    """Return `name`, made longer if a tensor has it, and add it to `taken`."""
    while name in taken:
        name += "_"
    taken.add(name)
    return name
