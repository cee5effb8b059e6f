"""Moments of features as ONNX nodes: Gram matrices and means, and the gradient back to the features."""

from __future__ import annotations

from dataclasses import dataclass

from ...graphs.builder import GraphBuilder

# Positions that one matrix product adds up at most. A float32 product over 16.7 million positions has an
# error of 2e-6 (Frobenius).
_POSITIONS = 2**20


@dataclass(frozen=True, slots=True)
class Moments:
    """Names of the tensors with the moments of some features.

    Attributes
    ----------
    gram : str
        Second moment G [C,C].
    mean : str or None
        Mean μ [C,1]; None where the style statistic needs none.
    root : str or None
        Square root [C,C] of the covariance, for targets where the style statistic needs it.
    """

    gram: str
    mean: str | None
    root: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of second moment and mean."""
        return (self.gram,) if self.mean is None else (self.gram, self.mean)


def moment_sums(
    graph: GraphBuilder, features: str, channels: int, *, mean: bool, mask: str | None = None
) -> Moments:
    """Append nodes for Σ w f fᵀ [C,C] and Σ w f [C,1] over the positions of features [1,C,h,w].

    Gatys, Ecker and Bethge, "Image Style Transfer Using Convolutional Neural Networks" (CVPR 2016), eq. 3.

    Parameters
    ----------
    graph : GraphBuilder
        Gets the nodes.
    features : str
        The features f.
    channels : int
        C.
    mean : bool
        Whether to compute Σ w f.
    mask : str, optional
        The weights w [1,1,h,w]; 1 without it.
    """
    moments = _banded_sums(graph, features, channels, mean=mean, mask=mask)
    graph.composite("Gram", [features, mask], [moments.gram, moments.mean])
    return moments


def _banded_sums(
    graph: GraphBuilder, features: str, channels: int, *, mean: bool, mask: str | None
) -> Moments:
    """Append the nodes of `moment_sums`, with one matrix product for each band of rows."""
    shape = graph.shapes.get(features, ())
    if len(shape) < 4 or shape[2] is None or shape[3] is None:  # a tile cut out of a window, never large
        return _product_sums(graph, features, channels, mean=mean, mask=mask)
    height, rows = shape[2], max(1, _POSITIONS // shape[3])
    if height <= rows:
        return _product_sums(graph, features, channels, mean=mean, mask=mask)
    parts: list[Moments] = []
    for top in range(0, height, rows):
        band, weights = (tensor and graph.slice(tensor, 2, top, top + rows) for tensor in (features, mask))
        assert band is not None
        parts.append(_product_sums(graph, band, channels, mean=mean, mask=weights))
    # Sum, not Add: onnxruntime fuses MatMul and Add into one product that accumulates into the previous sum.
    means = [part.mean for part in parts if part.mean is not None]
    return Moments(graph.op("Sum", *(part.gram for part in parts)), graph.op("Sum", *means) if mean else None)


def _product_sums(
    graph: GraphBuilder, features: str, channels: int, *, mean: bool, mask: str | None
) -> Moments:
    """Append the nodes of `moment_sums` with one matrix product."""
    flat = graph.reshape(features, [channels, -1])
    weighted = flat if mask is None else graph.op("Mul", flat, graph.reshape(mask, [1, -1]))
    product = graph.op("MatMul", weighted, graph.op("Transpose", flat, attributes={"perm": [1, 0]}))
    if not mean:
        return Moments(product, None)
    # Row by row, as in `distances.sum_all`: one sum over millions of positions has an error of 1e-4.
    maps = features if mask is None else graph.op("Mul", features, mask)
    by_row = graph.reduce("ReduceSum", maps, [3])
    return Moments(product, graph.reshape(graph.reduce("ReduceSum", by_row, [2]), [channels, 1]))


def divide_by_count(graph: GraphBuilder, moments: Moments, count: int) -> Moments:
    """Append nodes that divide sums by the number of positions: C² values in place of C·M features."""
    factor = graph.constant(1 / count)
    mean = None if moments.mean is None else graph.op("Mul", moments.mean, factor)
    return Moments(graph.op("Mul", moments.gram, factor), mean)


def covariance(graph: GraphBuilder, gram: str, mean: str) -> str:
    """Append nodes for the covariance G − μ μᵀ of a second moment [C,C] and a mean [C,1]."""
    transposed = graph.op("Transpose", mean, attributes={"perm": [1, 0]})
    return graph.op("Sub", gram, graph.op("MatMul", mean, transposed))


def feature_cotangent(
    graph: GraphBuilder,
    features: str,
    derivatives: Moments,
    mask: str | None = None,
    wait_for: str | None = None,
) -> str:
    """Append nodes for dL/dF, given the derivatives D and d of L by the `moment_sums` of F.

        dL/dF = ((D + Dᵀ) F + d) ∘ w,  in the shape of the features

    Parameters
    ----------
    graph : GraphBuilder
        Gets the nodes.
    features : str
        F [1,C,h,w].
    derivatives : Moments
        D [C,C] and d [C,1].
    mask : str, optional
        w [1,1,h,w].
    wait_for : str, optional
        A tensor that should be computed first: the cotangent is as large as the features, and only needed
        after it.
    """
    shape = graph.shape(features)
    flat = graph.reshape(features, [shape[1], -1])
    transposed = graph.op("Transpose", derivatives.gram, attributes={"perm": [1, 0]})
    symmetric = graph.op("Add", derivatives.gram, transposed)
    if wait_for is not None:
        graph.wait_for[symmetric] = wait_for
    result = graph.op("MatMul", symmetric, flat)
    if derivatives.mean is not None:
        result = graph.op("Add", result, derivatives.mean)
    if mask is not None:
        result = graph.op("Mul", result, graph.reshape(mask, [1, -1]))
    cotangent = graph.reshape(result, shape)
    graph.composite("GramGradient", [features, derivatives.gram, derivatives.mean, mask], [cotangent])
    return cotangent
