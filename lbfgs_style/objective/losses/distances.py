"""Distances, total variation and range as ONNX nodes.

Gradients come from `autodiff`. Distances between style statistics are in `style_losses`; which terms there
are, and their factors, in `terms`.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...graphs.builder import GraphBuilder
from ...settings.loss_forms import Variation
from .terms import Moments

# Keeps a division by an all-zero target finite; far below the energy of any feature map.
TINY = 1e-20


def sum_all(graph: GraphBuilder, op_type: str, tensor: str) -> str:
    """Add a ReduceSum, ReduceSumSquare or ReduceL1 over all axes: a number.

    Sums over the last axis come first, then their sum: onnxruntime adds up a whole tensor in float32, which
    loses 1e-3 of a sum of 12.6 million squares, and 4e-3 of 50 million.
    """
    return graph.reduce("ReduceSum", graph.reduce(op_type, tensor, [-1]))


def squared_distance(graph: GraphBuilder, value: str, target: str) -> str:
    """Add ‖value − target‖², Euclidean or Frobenius: a number."""
    return sum_all(graph, "ReduceSumSquare", graph.op("Sub", value, target))


def relative(graph: GraphBuilder, distance: str, energy: str) -> str:
    """Add distance / energy, for a target that may be all zero."""
    return graph.op("Div", distance, graph.op("Add", energy, graph.constant(TINY)))


def relative_distance(graph: GraphBuilder, value: str, target: str) -> str:
    """Add ‖value − target‖² / ‖target‖², Euclidean or Frobenius: a number.

    For Gram matrices the style loss of a layer, for features the content loss. Differs from the paper
    (Gatys et al. 2016, eqs. 1 and 4): relative to the target's energy, so that 0.1 means a tenth of it for
    every layer, network and size.
    """
    return relative(graph, squared_distance(graph, value, target), sum_all(graph, "ReduceSumSquare", target))


def variation(graph: GraphBuilder, image: str, power: float, form: Variation, size: tuple[int, int]) -> str:
    """Add the sum of differences between neighbours over all pixels and channels: a number.

    Σ |a|^p + Σ |b|^p over vertical differences a and horizontal ones b, or with ``form.joint``
    Σ (a² + b²)^p over the pixels that have both. Mahendran and Vedaldi, "Understanding Deep Image
    Representations by Inverting Them" (CVPR 2015), sec. 3, have Σ (a² + b²)^(p/2). The factor of the sum is
    `Variation.at`: the mean over pixels by default, in place of the paper's sum.

    Parameters
    ----------
    graph : GraphBuilder
        Gets the nodes.
    image : str
        A tensor [1,3,H,W].
    power : float
        p, at least 1.
    form : Variation
        Of the preset.
    size : (int, int)
        H and W.
    """
    if form.joint:
        return joint_differences(graph, image, power) if min(size) > 1 else _nothing(graph, image)
    sums = [differences(graph, image, axis, power) for axis, n in zip((2, 3), size, strict=True) if n > 1]
    return graph.total(sums) if sums else _nothing(graph, image)


def _nothing(graph: GraphBuilder, image: str) -> str:
    """Add 0, for a picture that varies nowhere."""
    return graph.op("Mul", graph.reduce("ReduceSum", image), graph.constant(0.0))


def differences(graph: GraphBuilder, image: str, axis: int, power: float) -> str:
    """Add Σ |difference|^p of neighbours along one axis: a number."""
    difference = graph.op("Sub", graph.slice(image, axis, 1, 2**31 - 1), graph.slice(image, axis, 0, -1))
    if power == 2.0:
        return sum_all(graph, "ReduceSumSquare", difference)
    if power == 1.0:
        return sum_all(graph, "ReduceL1", difference)
    return sum_all(graph, "ReduceSum", graph.op("Pow", graph.op("Abs", difference), graph.constant(power)))


def joint_differences(graph: GraphBuilder, image: str, power: float) -> str:
    """Add Σ (a² + b²)^p, a and b the differences to the pixels below and beside: a number."""
    corner = graph.slice(graph.slice(image, 2, 0, -1), 3, 0, -1)
    below = graph.slice(graph.slice(image, 2, 1, 2**31 - 1), 3, 0, -1)
    beside = graph.slice(graph.slice(image, 2, 0, -1), 3, 1, 2**31 - 1)
    steps = [graph.op("Sub", other, corner) for other in (below, beside)]
    squares = graph.total(graph.op("Mul", step, step) for step in steps)
    return sum_all(
        graph, "ReduceSum", squares if power == 1.0 else graph.op("Pow", squares, graph.constant(power))
    )


def excess(graph: GraphBuilder, image: str) -> str:
    """Add Σ (distance of x from [0,1])²: a number.

    L-BFGS moves without bounds, and what lies outside [0,1] is cut off when the picture is written. Without
    this term a part of the style is painted where nobody sees it, and the written picture's loss is far
    above the one that was reached. It takes the place of the bounds of L-BFGS-B, which cost more than they
    help (see `optimizer`). Its mean over pixels is a term of the loss. Not in Gatys et al.
    """
    above = graph.op("Relu", graph.op("Sub", image, graph.constant(1.0)))
    below = graph.op("Relu", graph.op("Mul", image, graph.constant(-1.0)))
    return graph.total(sum_all(graph, "ReduceSumSquare", side) for side in (above, below))


@dataclass(frozen=True, slots=True)
class Distance:
    """A distance between moments.

    Attributes
    ----------
    value : str
        Tensor with the number.
    slopes : Moments or None
        Its derivatives by the moments, where they are known in closed form; None leaves them to `autodiff`.
    """

    value: str
    slopes: Moments | None = None
