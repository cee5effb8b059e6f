"""Distances of features, total variation, range and changes from frame to frame as ONNX nodes.

Gradients come from `autodiff`. Distances between style statistics are in `style`; which terms a loss has is
in `terms`.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...graphs.builder import GraphBuilder
from ...settings.loss_forms import Variation
from .moments import Moments

# Added to energies, so that the distance from a target of zeros is finite; far below the energy of features.
TINY = 1e-20


@dataclass(frozen=True, slots=True)
class Distance:
    """Names of the tensors of a distance between moments.

    Attributes
    ----------
    value : str
        The distance, a scalar.
    derivatives : Moments or None
        Its derivatives by the moments, if they are known in closed form; else `autodiff` finds them.
    """

    value: str
    derivatives: Moments | None = None


def sum_all(graph: GraphBuilder, op_type: str, tensor: str) -> str:
    """Append a ReduceSum, ReduceSumSquare or ReduceL1 over all axes (scalar).

    The last axis is reduced first. onnxruntime adds up a whole tensor in float32 with an error of 1e-3 for
    12.6 million squares, and 4e-3 for 50 million.
    """
    return graph.reduce("ReduceSum", graph.reduce(op_type, tensor, [-1]))


def squared_distance(graph: GraphBuilder, value: str, target: str) -> str:
    """Append nodes for ‖value − target‖², Euclidean or Frobenius (scalar)."""
    return sum_all(graph, "ReduceSumSquare", graph.op("Sub", value, target))


def relative(graph: GraphBuilder, distance: str, energy: str) -> str:
    """Append nodes for distance / energy, finite where the energy is 0."""
    return graph.op("Div", distance, graph.op("Add", energy, graph.constant(TINY)))


def relative_distance(graph: GraphBuilder, value: str, target: str) -> str:
    """Append nodes for ‖value − target‖² / ‖target‖², Euclidean or Frobenius (scalar).

    Of Gram matrices it is the style loss of a layer, of features the content loss. Differs from the paper
    (Gatys et al. 2016, eqs. 1 and 4): relative to the energy of the target, so that 0.1 means a tenth of it
    for every layer, network and size.
    """
    return relative(graph, squared_distance(graph, value, target), sum_all(graph, "ReduceSumSquare", target))


def total_variation(
    graph: GraphBuilder, image: str, power: float, form: Variation, size: tuple[int, int]
) -> str:
    """Append nodes for the sum of differences between neighbours, over all pixels and channels (scalar).

    Σ |a|^p + Σ |b|^p over vertical differences a and horizontal differences b; with ``form.joint``
    Σ (a² + b²)^p over the pixels that have both. Mahendran and Vedaldi, "Understanding Deep Image
    Representations by Inverting Them" (CVPR 2015), sec. 3, have Σ (a² + b²)^(p/2). The sum is multiplied by
    `Variation.at`: by default that makes it a mean over pixels, where the paper has the sum.

    Parameters
    ----------
    graph : GraphBuilder
        Gets the nodes.
    image : str
        A tensor [1,3,H,W].
    power : float
        p, at least 1.
    form : Variation
        The form that the preset chooses.
    size : (int, int)
        H and W.
    """
    if form.joint:
        return joint_differences(graph, image, power) if min(size) > 1 else _zero(graph, image)
    sums = [differences(graph, image, axis, power) for axis, n in zip((2, 3), size, strict=True) if n > 1]
    return graph.total(sums) if sums else _zero(graph, image)


def _zero(graph: GraphBuilder, image: str) -> str:
    """Append nodes for 0, as a sum of no differences."""
    return graph.op("Mul", graph.reduce("ReduceSum", image), graph.constant(0.0))


def differences(graph: GraphBuilder, image: str, axis: int, power: float) -> str:
    """Append nodes for Σ |difference|^p of neighbours along one axis (scalar)."""
    difference = graph.op("Sub", graph.slice(image, axis, 1, 2**31 - 1), graph.slice(image, axis, 0, -1))
    if power == 2.0:
        return sum_all(graph, "ReduceSumSquare", difference)
    if power == 1.0:
        return sum_all(graph, "ReduceL1", difference)
    return sum_all(graph, "ReduceSum", graph.op("Pow", graph.op("Abs", difference), graph.constant(power)))


def joint_differences(graph: GraphBuilder, image: str, power: float) -> str:
    """Append nodes for Σ (a² + b²)^p, a and b the differences from the next row and column (scalar)."""
    pixel = graph.slice(graph.slice(image, 2, 0, -1), 3, 0, -1)
    below = graph.slice(graph.slice(image, 2, 1, 2**31 - 1), 3, 0, -1)
    right = graph.slice(graph.slice(image, 2, 0, -1), 3, 1, 2**31 - 1)
    steps = [graph.op("Sub", neighbour, pixel) for neighbour in (below, right)]
    squares = graph.total(graph.op("Mul", step, step) for step in steps)
    if power != 1.0:
        squares = graph.op("Pow", squares, graph.constant(power))
    return sum_all(graph, "ReduceSum", squares)


def range_excess(graph: GraphBuilder, image: str) -> str:
    """Append nodes for Σ (distance of x from [0,1])² (scalar); its mean over pixels is a term of the loss.

    L-BFGS runs without bounds, and values outside [0,1] are clipped when the image is written. Without this
    term, part of the style is painted outside the range, and the loss of the written image is far above the
    one that was reached. Bounds of L-BFGS-B would cost more than they help (see `optimization.lbfgs`). Not in
    Gatys et al.
    """
    above = graph.op("Relu", graph.op("Sub", image, graph.constant(1.0)))
    below = graph.op("Relu", graph.op("Mul", image, graph.constant(-1.0)))
    return graph.total(sum_all(graph, "ReduceSumSquare", side) for side in (above, below))


def temporal_change(graph: GraphBuilder, image: str, target: str, reliability: str) -> str:
    """Append nodes for Σ c (x − w)² (scalar); its mean over pixels is a term of the loss of a video's frame.

    w [1,3,H,W] is what the pixels were in another frame, and c [1,1,H,W] how reliable that is (Ruder,
    Dosovitskiy and Brox, "Artistic Style Transfer for Videos", 2016, eq. 7). Several frames are one pair, see
    `lbfgs_style.video.flow.fuse`. Differs from the paper: a mean over pixels, where the paper has one over
    all numbers.
    """
    difference = graph.op("Sub", image, target)
    return sum_all(graph, "ReduceSum", graph.op("Mul", graph.op("Mul", difference, difference), reliability))
