"""The style statistics: which moments of the features each one needs, and its distance, as ONNX nodes.

The features of a layer are M vectors f_i ∈ R^C. The statistics are

- ``gram``: the Gram matrix, or second moment, G = Σ f_i f_iᵀ / M;
- ``mean-cov``: the mean μ = Σ f_i / M and the covariance Σ = G − μ μᵀ;
- ``moments``: the Gram matrix, the mean and the standard deviation of each channel;
- ``neighbours``: the same, and at the deepest layers the style's features that are nearest to each position,
  see `neighbours`;
- ``wasserstein``: mean and covariance, as those of a normal distribution, compared by optimal transport.

With a mask of weights w_i that sum to 1, G = Σ w_i f_i f_iᵀ and μ = Σ w_i f_i: the guided Gram matrices of
Gatys et al., "Controlling Perceptual Factors in Neural Style Transfer" (CVPR 2017), sec. 4. Differs from the
paper: a position counts by its weight, not by the square of it; for masks of 0 and 1 that is the same.

All moments are sums over positions, which add up over tiles; `moments` computes them. A new statistic is a
row of `STATISTICS` with its distance, and a name in `settings.options.StyleStatistic`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...graphs.autodiff import gradients
from ...graphs.builder import GraphBuilder
from ...settings.options import StyleStatistic
from . import distances
from .distances import Distance
from .moments import Moments, covariance
from .wasserstein import covariance_root, wasserstein_distance

# Fraction of ‖A‖² that is added to the energy of a covariance: that of a plain image is only rounding errors.
_FLAT = 1e-4


@dataclass(frozen=True, slots=True)
class StatisticKind:
    """A row of `STATISTICS`.

    Attributes
    ----------
    needs_mean : bool
        Whether the mean is needed; the Gram matrix always is.
    distance : function
        (graph, moments of the image, moments of the target, factor) → the `Distance` of the two. The factor
        is that of an absolute distance, or None for relative distances.
    matches : bool
        Whether features are compared with their nearest neighbours, too.
    target_root : function or None
        (A [C,C], ν [C,1]) of a target → a matrix [C,C] that its distance needs too, `Moments.root`.
    """

    needs_mean: bool
    distance: Callable[[GraphBuilder, Moments, Moments, float | None], Distance]
    matches: bool = False
    target_root: Callable[[NDArray[Any], NDArray[Any]], NDArray[np.float32]] | None = None


def gram_distance(graph: GraphBuilder, own: Moments, target: Moments, factor: float | None) -> Distance:
    """Append nodes for ‖G − A‖² / ‖A‖², or ‖G − A‖² times a factor."""
    if factor is None:
        return Distance(distances.relative_distance(graph, own.gram, target.gram))
    squared = distances.squared_distance(graph, own.gram, target.gram)
    return Distance(graph.op("Mul", squared, graph.constant(factor)))


def mean_covariance_distance(
    graph: GraphBuilder, own: Moments, target: Moments, factor: float | None
) -> Distance:
    """Append nodes for the mean of ‖μ − ν‖² / ‖ν‖² and ‖Σ − Τ‖² / (‖Τ‖² + 1e-4 ‖A‖²).

    The second summand of the divisor keeps it finite for a target without variance.
    """
    assert own.mean is not None
    assert target.mean is not None
    sigma, tau = (
        covariance(graph, gram, mean) for gram, mean in ((own.gram, own.mean), (target.gram, target.mean))
    )
    energies = [graph.reduce("ReduceSumSquare", matrix) for matrix in (tau, target.gram)]
    floor = graph.op("Mul", energies[1], graph.constant(_FLAT))
    spread = distances.relative(
        graph, distances.squared_distance(graph, sigma, tau), graph.op("Add", energies[0], floor)
    )
    both = graph.total([distances.relative_distance(graph, own.mean, target.mean), spread])
    return Distance(graph.op("Mul", both, graph.constant(0.5)))


def moments_distance(graph: GraphBuilder, own: Moments, target: Moments, factor: float | None) -> Distance:
    """Append nodes for the mean of the relative distances of Gram matrices, means and standard deviations.

    Galerne, Raad, Lezama and Morel, "Scaling Painting Style Transfer" (Computer Graphics Forum, 2024), add
    the mean and the standard deviation of each channel to the Gram loss. Differs from the paper: all three
    are relative, ‖·‖² of the difference divided by ‖·‖² of the target, with equal weights. 1e-4 of the
    target's energy is added to each variance, so that the root has a slope where a channel is constant.
    """
    assert own.mean is not None
    assert target.mean is not None
    energy = _diagonal(graph, target.gram)
    floor = graph.op("Mul", energy, graph.constant(_FLAT))
    sigma, tau = (_deviation(graph, each.gram, each.mean, floor) for each in (own, target) if each.mean)
    parts = ((own.gram, target.gram), (own.mean, target.mean), (sigma, tau))
    total = graph.total(distances.relative_distance(graph, value, aim) for value, aim in parts)
    return Distance(graph.op("Mul", total, graph.constant(1 / 3)))


def _diagonal(graph: GraphBuilder, matrix: str) -> str:
    """Append nodes for the diagonal [C,1] of a matrix [C,C]."""
    ones = graph.constant(np.eye(graph.shape(matrix)[0]))
    return graph.reduce("ReduceSum", graph.op("Mul", matrix, ones), [1], keepdims=True)


def _deviation(graph: GraphBuilder, gram: str, mean: str, floor: str) -> str:
    """Append nodes for √(max(diag G − μ², 0) + floor) [C,1]: rounding may make a variance negative."""
    variance = graph.op("Sub", _diagonal(graph, gram), graph.op("Mul", mean, mean))
    return graph.op("Sqrt", graph.op("Add", graph.op("Relu", variance), floor))


STATISTICS: Mapping[StyleStatistic, StatisticKind] = {
    "gram": StatisticKind(False, gram_distance),
    "mean-cov": StatisticKind(True, mean_covariance_distance),
    "moments": StatisticKind(True, moments_distance),
    "neighbours": StatisticKind(True, moments_distance, matches=True),
    "wasserstein": StatisticKind(True, wasserstein_distance, target_root=covariance_root),
}


def moment_derivatives(graph: GraphBuilder, distance: Distance, own: Moments, d_value: str) -> Moments:
    """Append nodes for dL/d moments, given dL/d distance."""
    known = distance.derivatives
    if known is not None:
        mean = None if known.mean is None else graph.op("Mul", known.mean, d_value)
        return Moments(graph.op("Mul", known.gram, d_value), mean)
    by_name = gradients(graph, {distance.value: d_value}, own.names)
    return Moments(by_name[own.gram], None if own.mean is None else by_name[own.mean])
