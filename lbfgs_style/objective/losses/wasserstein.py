"""The Wasserstein-2 distance of normal distributions as ONNX nodes, and the roots of covariances it needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...graphs.builder import GraphBuilder
from . import distances
from .distances import Distance
from .moments import covariance_of
from .terms import Moments, TermNames

NOISE = 1e-3
"""Variance that `wasserstein` adds in every direction, relative to the target's mean energy of a channel.

Directions in which features hardly vary have a square root without a slope; and where there are fewer
positions than channels, a covariance has no inverse.
"""

_DOUBLE = 11  # onnx.TensorProto.DOUBLE, without importing onnx


def wasserstein(graph: GraphBuilder, own: Moments, target: Moments, root: str) -> Distance:
    """Add the squared Wasserstein-2 distance of normal distributions, relative to the target's energy.

        W² = ‖μ − ν‖² + tr(Σ + Τ − 2 (Τ^½ Σ Τ^½)^½),  divided by tr A, the mean of ‖f‖² in the target

    (Dowson and Landau, "The Fréchet Distance between Multivariate Normal Distributions", 1982; as a style
    loss in crowsonkb/style-transfer-pytorch). With the transport map T = Τ^½ (Τ^½ Σ Τ^½)^(−½) Τ^½ its
    derivatives are I − T by Σ and 2 (μ − ν) by μ, and so I − T by G and 2 (T μ − ν) by μ at a given G. To
    both covariances `NOISE` · tr A / C · I is added. In double precision, whatever the features have: the
    condition number of a product of covariances is beyond float32.

    Differs from crowsonkb's: relative, and noise relative to the target, so that the unit of the features
    does not matter; the derivative from the inverse root, which the iteration gives along with the root.

    Parameters
    ----------
    graph : GraphBuilder
        Gets the nodes.
    own, target : Moments
        G and μ of the picture; A and ν of the target.
    root : str
        Τ^½ with the noise added, see `with_roots`.
    """
    assert own.mean is not None
    assert target.mean is not None
    channels = graph.shape(own.gram)[0]
    gram, mean, aim, nu, s = (
        _cast(graph, t, _DOUBLE) for t in (own.gram, own.mean, target.gram, target.mean, root)
    )
    eye, two, noise, tiny = (
        _cast(graph, graph.constant(value), _DOUBLE)
        for value in (np.eye(channels), 2.0, NOISE / channels, distances.TINY)
    )
    energy = graph.op("Add", graph.reduce("ReduceSum", graph.op("Mul", aim, eye)), tiny)
    noisy = graph.op(
        "Add", covariance_of(graph, gram, mean), graph.op("Mul", eye, graph.op("Mul", energy, noise))
    )
    product = graph.op("MatMul", graph.op("MatMul", s, noisy), s)
    product_root, inverse = square_roots(graph, product, eye)
    transport = graph.op("MatMul", graph.op("MatMul", s, inverse), s)
    cross = graph.reduce("ReduceSum", graph.op("Mul", product_root, eye))
    traces = graph.op(
        "Add", graph.reduce("ReduceSum", graph.op("Mul", noisy, eye)), graph.reduce("ReduceSumSquare", s)
    )
    spread = graph.op("Sub", traces, graph.op("Mul", cross, two))
    value = graph.op("Div", graph.op("Add", distances.squared_distance(graph, mean, nu), spread), energy)
    d_gram = graph.op("Div", graph.op("Sub", eye, transport), energy)
    d_mean = graph.op("Sub", graph.op("MatMul", transport, mean), nu)
    d_mean = graph.op("Mul", d_mean, graph.op("Div", two, energy))
    return Distance(_narrow(graph, value), Moments(_narrow(graph, d_gram), _narrow(graph, d_mean)))


def square_roots(graph: GraphBuilder, matrix: str, eye: str) -> tuple[str, str]:
    """Add A^½ and A^(−½) of a positive definite matrix by Newton and Schulz's iteration.

        X ← X T,  Z ← T Z,  T = ρ/2 (3 I − ρ² Z X),  from X = A / ‖A‖ and Z = I

    (Higham, "Functions of Matrices", 2008, eq. 6.35), each step scaled by the ρ that suits the smallest
    eigenvalue best (Chen and Chow, "A Stable Scaling of Newton-Schulz for Improving the Sign Function
    Computation of a Hermitian Matrix", 2014): 22 steps for eigenvalues down to 1e-14 of the largest, where
    plain ones would need 45.
    """
    three = _cast(graph, graph.constant(3.0), _DOUBLE)
    norm = graph.op("Sqrt", graph.reduce("ReduceSumSquare", matrix))
    x, z, thrice = graph.op("Div", matrix, norm), eye, graph.op("Mul", eye, three)
    for rho in scalings():
        squared, halved = (_cast(graph, graph.constant(value), _DOUBLE) for value in (rho**2, rho / 2))
        step = graph.op("Sub", thrice, graph.op("Mul", graph.op("MatMul", z, x), squared))
        step = graph.op("Mul", step, halved)
        x, z = graph.op("MatMul", x, step), graph.op("MatMul", step, z)
    scale = graph.op("Sqrt", norm)
    return graph.op("Mul", x, scale), graph.op("Div", z, scale)


def scalings(smallest: float = 1e-7) -> list[float]:
    """Return ρ of each step: for square roots from `smallest` to 1, until they are 1 but for rounding."""
    found: list[float] = []
    while 1 - smallest > 1e-15:
        found.append((3 / (1 + smallest + smallest**2)) ** 0.5)
        smallest = found[-1] / 2 * smallest * (3 - found[-1] ** 2 * smallest**2)
    return found


def root_of(gram: NDArray[Any], mean: NDArray[Any]) -> NDArray[np.float32]:
    """Return Τ^½ [C,C] for `wasserstein`, of A [C,C] and ν [C,1]."""
    aim, nu = gram.astype(np.float64), mean.astype(np.float64)
    noise = NOISE * (np.trace(aim) + distances.TINY) / len(aim)
    values, vectors = np.linalg.eigh(aim - nu @ nu.T)
    roots = np.sqrt(np.maximum(values, 0) + noise)
    return ((vectors * roots) @ vectors.T).astype(np.float32)


def with_roots(targets: Mapping[str, NDArray[Any]], terms: TermNames) -> dict[str, NDArray[Any]]:
    """Add to targets what the terms' distance needs of them: for ``wasserstein`` their `root_of`."""
    if terms.statistic != "wasserstein":
        return dict(targets)
    roots = {part.root: root_of(targets[part.gram], targets[part.mean]) for part in terms.parts}
    return {**targets, **roots}


def _cast(graph: GraphBuilder, tensor: str, kind: int) -> str:
    return graph.op("Cast", tensor, attributes={"to": kind})


def _narrow(graph: GraphBuilder, tensor: str) -> str:
    return _cast(graph, tensor, _DOUBLE if graph.dtype == np.float64 else 1)
