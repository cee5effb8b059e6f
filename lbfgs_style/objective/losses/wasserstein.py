"""The Wasserstein-2 distance of normal distributions as ONNX nodes, and the square root that it needs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...graphs.builder import GraphBuilder
from . import distances
from .distances import Distance
from .moments import Moments, covariance

# Variance added in every direction, relative to the target's mean energy of a channel. Where features hardly
# vary, the square root has an infinite slope; with fewer positions than channels, a covariance is singular.
NOISE = 1e-3

# onnx.TensorProto.FLOAT and DOUBLE, without importing onnx.
_FLOAT, _DOUBLE = 1, 11


def wasserstein_distance(
    graph: GraphBuilder, own: Moments, target: Moments, factor: float | None
) -> Distance:
    """Append nodes for the squared Wasserstein-2 distance of normal distributions, relative to the target.

        W² = ‖μ − ν‖² + tr(Σ + Τ − 2 (Τ^½ Σ Τ^½)^½),  divided by tr A, the mean of ‖f‖² in the target

    (Dowson and Landau, "The Fréchet Distance between Multivariate Normal Distributions", 1982; as a style
    loss in crowsonkb/style-transfer-pytorch). With the transport map T = Τ^½ (Τ^½ Σ Τ^½)^(−½) Τ^½ its
    derivatives are I − T by Σ and 2 (μ − ν) by μ, and so I − T by G and 2 (T μ − ν) by μ at fixed G. To both
    covariances `NOISE` · tr A / C · I is added. Computed in double precision whatever the type of the
    features: the condition number of a product of covariances is beyond float32.

    Differs from crowsonkb's: the distance is relative, and the noise relative to the target, so that the unit
    of the features does not matter; the derivative is computed from the inverse root.

    Parameters
    ----------
    graph : GraphBuilder
        Gets the nodes.
    own, target : Moments
        G and μ of the image; A, ν and the `covariance_root` Τ^½ of the target.
    factor : None
        Not used: the distance is relative.
    """
    assert own.mean is not None
    assert target.mean is not None
    assert target.root is not None
    channels = graph.shape(own.gram)[0]
    gram, mean, target_gram, target_mean, root = (
        _cast(graph, tensor, _DOUBLE)
        for tensor in (own.gram, own.mean, target.gram, target.mean, target.root)
    )
    eye, two, noise, tiny = (
        _cast(graph, graph.constant(value), _DOUBLE)
        for value in (np.eye(channels), 2.0, NOISE / channels, distances.TINY)
    )
    energy = graph.op("Add", _trace(graph, target_gram, eye), tiny)
    added = graph.op("Mul", eye, graph.op("Mul", energy, noise))
    sigma = graph.op("Add", covariance(graph, gram, mean), added)
    product = graph.op("MatMul", graph.op("MatMul", root, sigma), root)
    product_root, inverse_root = square_roots(graph, product, eye)
    transport = graph.op("MatMul", graph.op("MatMul", root, inverse_root), root)
    traces = graph.op("Add", _trace(graph, sigma, eye), graph.reduce("ReduceSumSquare", root))
    spread = graph.op("Sub", traces, graph.op("Mul", _trace(graph, product_root, eye), two))
    squared = graph.op("Add", distances.squared_distance(graph, mean, target_mean), spread)
    value = graph.op("Div", squared, energy)
    d_gram = graph.op("Div", graph.op("Sub", eye, transport), energy)
    d_mean = graph.op("Sub", graph.op("MatMul", transport, mean), target_mean)
    d_mean = graph.op("Mul", d_mean, graph.op("Div", two, energy))
    dtype = _DOUBLE if graph.dtype == np.float64 else _FLOAT
    derivatives = Moments(_cast(graph, d_gram, dtype), _cast(graph, d_mean, dtype))
    return Distance(_cast(graph, value, dtype), derivatives)


def square_roots(graph: GraphBuilder, matrix: str, eye: str) -> tuple[str, str]:
    """Append nodes for A^½ and A^(−½) of a positive definite matrix, by the Newton–Schulz iteration.

        X ← X T,  Z ← T Z,  T = ρ/2 (3 I − ρ² Z X),  from X = A / ‖A‖ and Z = I

    (Higham, "Functions of Matrices", 2008, eq. 6.35), each step scaled by the ρ that is best for the smallest
    eigenvalue (Chen and Chow, "A Stable Scaling of Newton-Schulz for Improving the Sign Function Computation
    of a Hermitian Matrix", 2014): 22 steps for eigenvalues down to 1e-14 of the largest, in place of 45
    without scaling.
    """
    three = _cast(graph, graph.constant(3.0), _DOUBLE)
    norm = graph.op("Sqrt", graph.reduce("ReduceSumSquare", matrix))
    x, z, thrice = graph.op("Div", matrix, norm), eye, graph.op("Mul", eye, three)
    for rho in newton_schulz_scales():
        squared, halved = (_cast(graph, graph.constant(value), _DOUBLE) for value in (rho**2, rho / 2))
        step = graph.op("Sub", thrice, graph.op("Mul", graph.op("MatMul", z, x), squared))
        step = graph.op("Mul", step, halved)
        x, z = graph.op("MatMul", x, step), graph.op("MatMul", step, z)
    scale = graph.op("Sqrt", norm)
    return graph.op("Mul", x, scale), graph.op("Div", z, scale)


def newton_schulz_scales(smallest: float = 1e-7) -> list[float]:
    """Return ρ of each step, for square roots from `smallest` to 1, until they are 1 up to rounding."""
    scales: list[float] = []
    while 1 - smallest > 1e-15:
        scales.append((3 / (1 + smallest + smallest**2)) ** 0.5)
        smallest = scales[-1] / 2 * smallest * (3 - scales[-1] ** 2 * smallest**2)
    return scales


def covariance_root(gram: NDArray[Any], mean: NDArray[Any]) -> NDArray[np.float32]:
    """Return Τ^½ [C,C] of a target, with the noise added to Τ, from A [C,C] and ν [C,1]."""
    a, nu = gram.astype(np.float64), mean.astype(np.float64)
    noise = NOISE * (np.trace(a) + distances.TINY) / len(a)
    values, vectors = np.linalg.eigh(a - nu @ nu.T)
    roots = np.sqrt(np.maximum(values, 0) + noise)
    return ((vectors * roots) @ vectors.T).astype(np.float32)


def _trace(graph: GraphBuilder, matrix: str, eye: str) -> str:
    return graph.reduce("ReduceSum", graph.op("Mul", matrix, eye))


def _cast(graph: GraphBuilder, tensor: str, dtype: int) -> str:
    return graph.op("Cast", tensor, attributes={"to": dtype})
