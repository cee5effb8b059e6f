"""The loss terms as ONNX nodes: statistics of features, distances between them, total variation.

A term is two small functions: one adds its statistic to the forward graph, the other its distance from a
target. Gradients come from `autodiff`, except the Gram matrix's: `gram_cotangent` uses its symmetry and is
the "gradient given dL/dGram" that tiled pictures need apart from the statistic.

Every distance is relative, without a unit: see each function for its formula.
"""

from __future__ import annotations

from .builder import GraphBuilder

# Keeps a division by an all-zero target finite; far below the energy of any feature map.
TINY = 1e-20


def flat_features(b: GraphBuilder, features: str) -> str:
    """Reshape feature maps [1,C,h,w] to F [C,M], M = h·w."""
    _, channels, height, width = b.shape(features)
    return b.reshape(features, [channels, height * width])


def gram(b: GraphBuilder, features: str) -> str:
    """Add the Gram matrix G = F Fᵀ / M of feature maps [1,C,h,w], F ∈ R^{C×M}: [C,C].

    Gatys, Ecker and Bethge, "Image Style Transfer Using Convolutional Neural Networks" (CVPR 2016), eq. 3.
    Differs from the paper: divided by M, so that pictures of different sizes compare.
    """
    _, _, height, width = b.shape(features)
    flat = flat_features(b, features)
    # Dividing the small product, not the features: one pass over C² numbers instead of C·M.
    product = b.op("MatMul", flat, b.op("Transpose", flat, attributes={"perm": [1, 0]}))
    return b.op("Mul", product, b.constant(1 / (height * width)))


def gram_cotangent(b: GraphBuilder, features: str, d_gram: str) -> str:
    """Add dL/dF of G = F Fᵀ / M, given dL/dG: (dL/dG + (dL/dG)ᵀ) F / M, in the shape of the features."""
    shape = b.shape(features)
    symmetric = b.op("Add", d_gram, b.op("Transpose", d_gram, attributes={"perm": [1, 0]}))
    factor = b.op("Mul", symmetric, b.constant(1 / (shape[2] * shape[3])))
    return b.reshape(b.op("MatMul", factor, flat_features(b, features)), shape)


def relative_distance(b: GraphBuilder, value: str, target: str) -> str:
    """Add ‖value − target‖² / ‖target‖², Euclidean or Frobenius: a number.

    For Gram matrices the style loss of a layer, for features the content loss. Differs from the paper
    (Gatys et al. 2016, eqs. 1 and 4): relative to the target's energy, so that 0.1 means a tenth of it for
    every layer, network and size.
    """
    difference = b.reduce("ReduceSumSquare", b.op("Sub", value, target))
    energy = b.op("Add", b.reduce("ReduceSumSquare", target), b.constant(TINY))
    return b.op("Div", difference, energy)


def total_variation(b: GraphBuilder, image: str, power: float = 2.0) -> str:
    """Add the mean over pixels of Σ |difference|^p over both directions and the 3 channels: a number.

    Mahendran and Vedaldi, "Understanding Deep Image Representations by Inverting Them" (CVPR 2015), sec. 3.
    Differs from the paper: horizontal and vertical differences each to the power p (anisotropic), and the
    mean over pixels in place of the sum.
    """
    _, _, height, width = b.shape(image)
    axes = [axis for axis, length in ((2, height), (3, width)) if length > 1]
    if not axes:  # a single pixel varies nowhere
        return b.op("Mul", b.reduce("ReduceSum", image), b.constant(0.0))
    sums = [differences(b, image, axis, power) for axis in axes]
    return b.op("Mul", b.total(sums), b.constant(1 / (height * width)))


def differences(b: GraphBuilder, image: str, axis: int, power: float = 2.0) -> str:
    """Add Σ |difference|^p of neighbours along one axis: a number."""
    difference = b.op("Sub", b.slice(image, axis, 1, 2**31 - 1), b.slice(image, axis, 0, -1))
    if power == 2.0:
        return b.reduce("ReduceSumSquare", difference)
    if power == 1.0:
        return b.reduce("ReduceL1", difference)
    return b.reduce("ReduceSum", b.op("Pow", b.op("Abs", difference), b.constant(power)))


def out_of_range(b: GraphBuilder, image: str) -> str:
    """Add the mean over pixels of Σ_channels (distance of x from [0,1])²: a number.

    L-BFGS moves without bounds, and what lies outside [0,1] is cut off when the picture is written. Without
    this term a part of the style is painted where nobody sees it, and the written picture's loss is far
    above the one that was reached. It takes the place of the bounds of L-BFGS-B, which cost more than they
    help (see `optimizer`). Not in Gatys et al.
    """
    _, _, height, width = b.shape(image)
    return b.op("Mul", excess(b, image), b.constant(1 / (height * width)))


def excess(b: GraphBuilder, image: str) -> str:
    """Add Σ (distance of x from [0,1])²: a number."""
    above = b.op("Relu", b.op("Sub", image, b.constant(1.0)))
    below = b.op("Relu", b.op("Mul", image, b.constant(-1.0)))
    return b.total([b.reduce("ReduceSumSquare", above), b.reduce("ReduceSumSquare", below)])
