"""Distances between the moments of features, by the style statistic, as ONNX nodes.

The features of a layer are M vectors f_i ∈ R^C. Three statistics describe them:

- ``gram``: G = Σ f_i f_iᵀ / M, the second moment;
- ``mean-cov``: the mean μ = Σ f_i / M and the covariance Σ = G − μ μᵀ;
- ``wasserstein``: the same two, as those of a normal distribution, compared by optimal transport.

With a mask of weights w_i that sum to 1, sums become G = Σ w_i f_i f_iᵀ and μ = Σ w_i f_i: the guided Gram
matrices of Gatys et al., "Controlling Perceptual Factors in Neural Style Transfer" (CVPR 2017), sec. 4.
Differs from the paper: a position counts as much as the mask says, not the square of it; for masks of black
and white it is the same.

All are sums over positions, so they add up over tiles; `moments` computes them and leads back to features.
"""

from __future__ import annotations

from ...graphs.autodiff import gradients
from ...graphs.builder import GraphBuilder
from ...settings.options import StyleStatistic
from . import distances
from .distances import Distance
from .moments import covariance_of
from .terms import Moments
from .wasserstein import wasserstein

# Of ‖A‖², added to the energy of a covariance: that of a plain painting is nothing but rounding.
_FLAT = 1e-4


def distance(
    graph: GraphBuilder,
    statistic: StyleStatistic,
    own: Moments,
    target: Moments,
    *,
    root: str | None,
    factor: float | None,
) -> Distance:
    """Add the distance of moments from a target's.

    Parameters
    ----------
    graph : GraphBuilder
        Gets the nodes.
    statistic : {"gram", "mean-cov", "wasserstein"}
        ``gram``: ‖G − A‖² / ‖A‖², or times `factor`. ``mean-cov``: the mean of ‖μ − ν‖² / ‖ν‖² and
        ‖Σ − Τ‖² / (‖Τ‖² + 1e-4 ‖A‖²), finite for a target without variance. ``wasserstein``: see
        `wasserstein`.
    own, target : Moments
        G and μ; A and ν.
    root : str or None
        For ``wasserstein``, see there.
    factor : float or None
        None for relative distances.
    """
    if statistic == "gram":
        if factor is None:
            return Distance(distances.relative_distance(graph, own.gram, target.gram))
        squared = distances.squared_distance(graph, own.gram, target.gram)
        return Distance(graph.op("Mul", squared, graph.constant(factor)))
    assert own.mean is not None
    assert target.mean is not None
    if statistic == "wasserstein":
        assert root is not None
        return wasserstein(graph, own, target, root)
    covariance = covariance_of(graph, own.gram, own.mean)
    aim = covariance_of(graph, target.gram, target.mean)
    energies = [graph.reduce("ReduceSumSquare", matrix) for matrix in (aim, target.gram)]
    floor = graph.op("Mul", energies[1], graph.constant(_FLAT))
    spread = distances.relative(
        graph, distances.squared_distance(graph, covariance, aim), graph.op("Add", energies[0], floor)
    )
    both = graph.total([distances.relative_distance(graph, own.mean, target.mean), spread])
    return Distance(graph.op("Mul", both, graph.constant(0.5)))


def slopes_of(graph: GraphBuilder, found: Distance, own: Moments, d_value: str) -> Moments:
    """Add dL/d moments, given dL/d distance."""
    if found.slopes is not None:
        scaled = [
            None if s is None else graph.op("Mul", s, d_value) for s in (found.slopes.gram, found.slopes.mean)
        ]
        assert scaled[0] is not None
        return Moments(scaled[0], scaled[1])
    wanted = [name for name in (own.gram, own.mean) if name is not None]
    by_name = gradients(graph, {found.value: d_value}, wanted)
    return Moments(by_name[own.gram], None if own.mean is None else by_name[own.mean])
