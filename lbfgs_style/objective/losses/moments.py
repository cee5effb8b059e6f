"""Moments of the features as ONNX nodes: Gram matrices and means, and the way back to features."""

from __future__ import annotations

from ...graphs.builder import GraphBuilder
from .terms import Moments

# Positions that one product adds up. A product over 16.7 million in float32 is off by 2e-6 (Frobenius).
_POSITIONS = 2**20


def sums(
    graph: GraphBuilder, features: str, channels: int, *, mean: bool, mask: str | None = None
) -> Moments:
    """Add Σ w f fᵀ [C,C] and Σ w f [C,1] of feature maps [1,C,h,w]; w is 1, or a mask [1,1,h,w].

    Gatys, Ecker and Bethge, "Image Style Transfer Using Convolutional Neural Networks" (CVPR 2016), eq. 3.
    """
    shape = graph.shapes.get(features, ())
    if len(shape) < 4 or shape[2] is None or shape[3] is None:  # cut out of a window, whose size is limited
        return _sums_of(graph, features, channels, mean=mean, mask=mask)
    height, rows = shape[2], max(1, _POSITIONS // shape[3])
    if height <= rows:
        return _sums_of(graph, features, channels, mean=mean, mask=mask)
    parts: list[Moments] = []
    for top in range(0, height, rows):
        cut, inside = (tensor and graph.slice(tensor, 2, top, top + rows) for tensor in (features, mask))
        assert cut is not None
        parts.append(_sums_of(graph, cut, channels, mean=mean, mask=inside))
    # Sum, not Add: onnxruntime fuses MatMul and Add into one product that starts from the sum so far.
    means = [part.mean for part in parts if part.mean is not None]
    return Moments(graph.op("Sum", *(part.gram for part in parts)), graph.op("Sum", *means) if mean else None)


def _sums_of(graph: GraphBuilder, features: str, channels: int, *, mean: bool, mask: str | None) -> Moments:
    """Add `sums` by one product."""
    flat = graph.reshape(features, [channels, -1])
    weighted = flat if mask is None else graph.op("Mul", flat, graph.reshape(mask, [1, -1]))
    product = graph.op("MatMul", weighted, graph.op("Transpose", flat, attributes={"perm": [1, 0]}))
    if not mean:
        return Moments(product, None)
    # Row by row, like `losses.sum_all`: a sum over millions of positions at once loses 1e-4 of it.
    maps = features if mask is None else graph.op("Mul", features, mask)
    by_row = graph.reduce("ReduceSum", maps, [3])
    return Moments(product, graph.reshape(graph.reduce("ReduceSum", by_row, [2]), [channels, 1]))


def divided(graph: GraphBuilder, moments: Moments, count: int) -> Moments:
    """Divide sums by the number of positions: one pass over C² numbers instead of C·M features."""
    share = graph.constant(1 / count)
    mean = None if moments.mean is None else graph.op("Mul", moments.mean, share)
    return Moments(graph.op("Mul", moments.gram, share), mean)


def cotangent(
    graph: GraphBuilder, features: str, slopes: Moments, mask: str | None = None, after: str | None = None
) -> str:
    """Add dL/dF of `sums`, given dL/d of them: ((D + Dᵀ) F + d) ∘ w, in the shape of the features.

    It is as large as the features, and needed only after the tensor `after`.
    """
    shape = graph.shape(features)
    flat = graph.reshape(features, [shape[1], -1])
    symmetric = graph.op("Add", slopes.gram, graph.op("Transpose", slopes.gram, attributes={"perm": [1, 0]}))
    if after is not None:
        graph.wait_for[symmetric] = after
    result = graph.op("MatMul", symmetric, flat)
    if slopes.mean is not None:
        result = graph.op("Add", result, slopes.mean)
    if mask is not None:
        result = graph.op("Mul", result, graph.reshape(mask, [1, -1]))
    return graph.reshape(result, shape)


def covariance_of(graph: GraphBuilder, gram: str, mean: str) -> str:
    """Add the covariance G − μ μᵀ of a second moment [C,C] and a mean [C,1]."""
    return graph.op(
        "Sub", gram, graph.op("MatMul", mean, graph.op("Transpose", mean, attributes={"perm": [1, 0]}))
    )
