"""What a style is measured by: moments of the features, and distances between them, as ONNX nodes.

The features of a layer are M vectors f_i ∈ R^C. Three statistics describe them:

- ``gram``: G = Σ f_i f_iᵀ / M, the second moment;
- ``mean-cov``: the mean μ = Σ f_i / M and the covariance Σ = G − μ μᵀ;
- ``wasserstein``: the same two, as those of a normal distribution, compared by optimal transport.

With a mask of weights w_i that sum to 1, sums become G = Σ w_i f_i f_iᵀ and μ = Σ w_i f_i: the guided Gram
matrices of Gatys et al., "Controlling Perceptual Factors in Neural Style Transfer" (CVPR 2017), sec. 4.
Differs from the paper: a position counts as much as the mask says, not the square of it; for masks of black
and white it is the same.

All are sums over positions, so they add up over tiles; `cotangent` is the way back from them to features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import losses
from .autodiff import gradients
from .builder import GraphBuilder
from .options import StyleStatistic
from .term_names import Moments, TermNames

NOISE = 1e-3
"""Variance that `wasserstein` adds in every direction, relative to the target's mean energy of a channel.

Directions in which features hardly vary have a square root without a slope; and where there are fewer
positions than channels, a covariance has no inverse.
"""

# Of ‖A‖², added to the energy of a covariance: that of a plain painting is nothing but rounding.
_FLAT = 1e-4

# Positions that one product adds up. A product over 16.7 million in float32 is off by 2e-6 (Frobenius).
_POSITIONS = 2**20

_DOUBLE = 11  # onnx.TensorProto.DOUBLE, without importing onnx


def sums(b: GraphBuilder, features: str, channels: int, *, mean: bool, mask: str | None = None) -> Moments:
    """Add Σ w f fᵀ [C,C] and Σ w f [C,1] of feature maps [1,C,h,w]; w is 1, or a mask [1,1,h,w].

    Gatys, Ecker and Bethge, "Image Style Transfer Using Convolutional Neural Networks" (CVPR 2016), eq. 3.
    """
    shape = b.shapes.get(features, ())
    if len(shape) < 4 or shape[2] is None or shape[3] is None:  # cut out of a window, whose size is limited
        return _sums_of(b, features, channels, mean=mean, mask=mask)
    height, rows = shape[2], max(1, _POSITIONS // shape[3])
    if height <= rows:
        return _sums_of(b, features, channels, mean=mean, mask=mask)
    parts: list[Moments] = []
    for top in range(0, height, rows):
        cut, inside = (tensor and b.slice(tensor, 2, top, top + rows) for tensor in (features, mask))
        assert cut is not None
        parts.append(_sums_of(b, cut, channels, mean=mean, mask=inside))
    # Sum, not Add: onnxruntime fuses MatMul and Add into one product that starts from the sum so far.
    means = [part.mean for part in parts if part.mean is not None]
    return Moments(b.op("Sum", *(part.gram for part in parts)), b.op("Sum", *means) if mean else None)


def _sums_of(b: GraphBuilder, features: str, channels: int, *, mean: bool, mask: str | None) -> Moments:
    """Add `sums` by one product."""
    flat = b.reshape(features, [channels, -1])
    weighted = flat if mask is None else b.op("Mul", flat, b.reshape(mask, [1, -1]))
    product = b.op("MatMul", weighted, b.op("Transpose", flat, attributes={"perm": [1, 0]}))
    if not mean:
        return Moments(product, None)
    # Row by row, like `losses.sum_all`: a sum over millions of positions at once loses 1e-4 of it.
    maps = features if mask is None else b.op("Mul", features, mask)
    by_row = b.reduce("ReduceSum", maps, [3])
    return Moments(product, b.reshape(b.reduce("ReduceSum", by_row, [2]), [channels, 1]))


def divided(b: GraphBuilder, moments: Moments, count: int) -> Moments:
    """Divide sums by the number of positions: one pass over C² numbers instead of C·M features."""
    share = b.constant(1 / count)
    mean = None if moments.mean is None else b.op("Mul", moments.mean, share)
    return Moments(b.op("Mul", moments.gram, share), mean)


def cotangent(
    b: GraphBuilder, features: str, slopes: Moments, mask: str | None = None, after: str | None = None
) -> str:
    """Add dL/dF of `sums`, given dL/d of them: ((D + Dᵀ) F + d) ∘ w, in the shape of the features.

    It is as large as the features, and needed only after the tensor `after`.
    """
    shape = b.shape(features)
    flat = b.reshape(features, [shape[1], -1])
    symmetric = b.op("Add", slopes.gram, b.op("Transpose", slopes.gram, attributes={"perm": [1, 0]}))
    if after is not None:
        b.later[symmetric] = after
    result = b.op("MatMul", symmetric, flat)
    if slopes.mean is not None:
        result = b.op("Add", result, slopes.mean)
    if mask is not None:
        result = b.op("Mul", result, b.reshape(mask, [1, -1]))
    return b.reshape(result, shape)


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


def distance(
    b: GraphBuilder,
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
    b : GraphBuilder
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
            return Distance(losses.relative_distance(b, own.gram, target.gram))
        squared = losses.squared_distance(b, own.gram, target.gram)
        return Distance(b.op("Mul", squared, b.constant(factor)))
    assert own.mean is not None
    assert target.mean is not None
    if statistic == "wasserstein":
        assert root is not None
        return wasserstein(b, own, target, root)
    covariance = _covariance(b, own.gram, own.mean)
    aim = _covariance(b, target.gram, target.mean)
    energies = [b.reduce("ReduceSumSquare", matrix) for matrix in (aim, target.gram)]
    floor = b.op("Mul", energies[1], b.constant(_FLAT))
    spread = losses.relative(b, losses.squared_distance(b, covariance, aim), b.op("Add", energies[0], floor))
    both = b.total([losses.relative_distance(b, own.mean, target.mean), spread])
    return Distance(b.op("Mul", both, b.constant(0.5)))


def slopes_of(b: GraphBuilder, found: Distance, own: Moments, d_value: str) -> Moments:
    """Add dL/d moments, given dL/d distance."""
    if found.slopes is not None:
        scaled = [
            None if s is None else b.op("Mul", s, d_value) for s in (found.slopes.gram, found.slopes.mean)
        ]
        assert scaled[0] is not None
        return Moments(scaled[0], scaled[1])
    wanted = [name for name in (own.gram, own.mean) if name is not None]
    by_name = gradients(b, {found.value: d_value}, wanted)
    return Moments(by_name[own.gram], None if own.mean is None else by_name[own.mean])


def _covariance(b: GraphBuilder, gram: str, mean: str) -> str:
    return b.op("Sub", gram, b.op("MatMul", mean, b.op("Transpose", mean, attributes={"perm": [1, 0]})))


def wasserstein(b: GraphBuilder, own: Moments, target: Moments, root: str) -> Distance:
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
    b : GraphBuilder
        Gets the nodes.
    own, target : Moments
        G and μ of the picture; A and ν of the target.
    root : str
        Τ^½ with the noise added, see `with_roots`.
    """
    assert own.mean is not None
    assert target.mean is not None
    channels = b.shape(own.gram)[0]
    gram, mean, aim, nu, s = (
        _cast(b, t, _DOUBLE) for t in (own.gram, own.mean, target.gram, target.mean, root)
    )
    eye, two, noise, tiny = (
        _cast(b, b.constant(value), _DOUBLE)
        for value in (np.eye(channels), 2.0, NOISE / channels, losses.TINY)
    )
    energy = b.op("Add", b.reduce("ReduceSum", b.op("Mul", aim, eye)), tiny)
    noisy = b.op("Add", _covariance(b, gram, mean), b.op("Mul", eye, b.op("Mul", energy, noise)))
    product = b.op("MatMul", b.op("MatMul", s, noisy), s)
    product_root, inverse = square_roots(b, product, eye)
    transport = b.op("MatMul", b.op("MatMul", s, inverse), s)
    cross = b.reduce("ReduceSum", b.op("Mul", product_root, eye))
    traces = b.op("Add", b.reduce("ReduceSum", b.op("Mul", noisy, eye)), b.reduce("ReduceSumSquare", s))
    spread = b.op("Sub", traces, b.op("Mul", cross, two))
    value = b.op("Div", b.op("Add", losses.squared_distance(b, mean, nu), spread), energy)
    d_gram = b.op("Div", b.op("Sub", eye, transport), energy)
    d_mean = b.op("Sub", b.op("MatMul", transport, mean), nu)
    d_mean = b.op("Mul", d_mean, b.op("Div", two, energy))
    return Distance(_narrow(b, value), Moments(_narrow(b, d_gram), _narrow(b, d_mean)))


def square_roots(b: GraphBuilder, matrix: str, eye: str) -> tuple[str, str]:
    """Add A^½ and A^(−½) of a positive definite matrix by Newton and Schulz's iteration.

        X ← X T,  Z ← T Z,  T = ρ/2 (3 I − ρ² Z X),  from X = A / ‖A‖ and Z = I

    (Higham, "Functions of Matrices", 2008, eq. 6.35), each step scaled by the ρ that suits the smallest
    eigenvalue best (Chen and Chow, "A Stable Scaling of Newton-Schulz for Improving the Sign Function
    Computation of a Hermitian Matrix", 2014): 22 steps for eigenvalues down to 1e-14 of the largest, where
    plain ones would need 45.
    """
    three = _cast(b, b.constant(3.0), _DOUBLE)
    norm = b.op("Sqrt", b.reduce("ReduceSumSquare", matrix))
    x, z, thrice = b.op("Div", matrix, norm), eye, b.op("Mul", eye, three)
    for rho in scalings():
        squared, halved = (_cast(b, b.constant(value), _DOUBLE) for value in (rho**2, rho / 2))
        step = b.op("Sub", thrice, b.op("Mul", b.op("MatMul", z, x), squared))
        step = b.op("Mul", step, halved)
        x, z = b.op("MatMul", x, step), b.op("MatMul", step, z)
    scale = b.op("Sqrt", norm)
    return b.op("Mul", x, scale), b.op("Div", z, scale)


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
    noise = NOISE * (np.trace(aim) + losses.TINY) / len(aim)
    values, vectors = np.linalg.eigh(aim - nu @ nu.T)
    roots = np.sqrt(np.maximum(values, 0) + noise)
    return ((vectors * roots) @ vectors.T).astype(np.float32)


def with_roots(targets: Mapping[str, NDArray[Any]], terms: TermNames) -> dict[str, NDArray[Any]]:
    """Add to targets what the terms' distance needs of them: for ``wasserstein`` their `root_of`."""
    if terms.statistic != "wasserstein":
        return dict(targets)
    roots = {part.root: root_of(targets[part.gram], targets[part.mean]) for part in terms.parts}
    return {**targets, **roots}


def _cast(b: GraphBuilder, tensor: str, kind: int) -> str:
    return b.op("Cast", tensor, attributes={"to": kind})


def _narrow(b: GraphBuilder, tensor: str) -> str:
    return _cast(b, tensor, _DOUBLE if b.dtype == np.float64 else 1)
