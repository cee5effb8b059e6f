"""Winograd's minimal filtering for 3×3 convolutions, as a rewrite of the graph.

F(4×4, 3×3) of Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR 2016): the input is
cut into tiles d of 6×6 that overlap by 2, and each gives 4×4 outputs

    Y = Aᵀ [ Σ_channels (G g Gᵀ) ⊙ (Bᵀ d B) ] A

with 36 products in place of 144. The sums over channels are 36 matrix products, one for each position in a
tile. The transforms follow from six interpolation points (Toom and Cook; Blahut, "Fast Algorithms for Signal
Processing", 2010, chapter 5). Differs from the paper: the points are 0, 1, −1, ½, −2, ∞ in place of 0, ±1,
±2, ∞. They give smaller rounding errors (Barabasz et al., "Error Analysis and Improving the Accuracy of
Winograd Convolution for Deep Neural Networks", 2020), and z ↦ −1/z permutes them: a flipped kernel, which the
gradient needs, has the same transform in another order. So one array of transformed weights, four times the
size of the kernel, serves both directions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .builder import GraphBuilder

if TYPE_CHECKING:
    import onnx

Array = NDArray[np.float32]
Matrix = NDArray[np.float64]

# Outputs of a tile along one axis.
OUTPUTS = 4

# Length of a kernel, and of a tile of inputs, along one axis.
_TAPS = 3
_TILE = OUTPUTS + _TAPS - 1

# Prefix of the inputs of a graph that take transformed kernels.
_PREFIX = "winograd_"

# Bytes of transformed data of a row band at most, see `row_bands`.
BAND_BYTES = 80 * 2**20

# Interpolation points; the sixth one is infinity.
_POINTS = (Fraction(0), Fraction(1), Fraction(-1), Fraction(1, 2), Fraction(-2))

Choose = Callable[[int, int, int, int], bool]
"""(inputs, outputs, height, width) of a convolution → whether it takes Winograd's form."""


def _is_faster(inputs: int, outputs: int, height: int, width: int) -> bool:
    """Return whether Winograd's form of a convolution is faster than the direct one.

    Measured in whole evaluations of VGG19 at 512×512: convolutions of 64 channels in this form gain nothing
    with AVX2, and lose 7 % with AVX-512.
    """
    return min(inputs, outputs) >= 128 and height * width >= 16 * 16


def _always(inputs: int, outputs: int, height: int, width: int) -> bool:
    return True


def _never(inputs: int, outputs: int, height: int, width: int) -> bool:
    return False


# Value of the option `convolution` → which convolutions take Winograd's form.
CHOICES: dict[str, Choose] = {"auto": _is_faster, "direct": _never, "winograd": _always}


@cache
def transform_matrices() -> tuple[Matrix, Matrix, Matrix]:
    """Return Aᵀ [4,6], G [6,3] and Bᵀ [6,6] of y = Aᵀ[(G g) ⊙ (Bᵀ d)], y_i = Σ_k g_k d_{i+k}.

    A evaluates polynomials at the points, G too, and divides by the denominators of the Lagrange polynomials;
    Bᵀ holds the coefficients of their numerators. All are computed in exact fractions.
    """
    n = _TILE

    def powers(count: int) -> list[list[Fraction]]:
        at_infinity = [Fraction(0)] * (count - 1) + [Fraction(1)]
        return [[p**k for k in range(count)] for p in _POINTS] + [at_infinity]

    def with_roots(roots: list[Fraction]) -> list[Fraction]:
        coefficients = [Fraction(1)]
        for root in roots:
            shifted, scaled = [Fraction(0), *coefficients], [root * c for c in coefficients] + [Fraction(0)]
            coefficients = [a - b for a, b in zip(shifted, scaled, strict=True)]
        return coefficients + [Fraction(0)] * (n - len(coefficients))

    others = [[q for q in _POINTS if q != p] for p in _POINTS]
    interpolation = [with_roots(roots) for roots in others] + [with_roots(list(_POINTS))]
    factors = [math.prod(p - q for q in roots) for p, roots in zip(_POINTS, others, strict=True)]
    kernel = [[v / f for v in row] for row, f in zip(powers(_TAPS), [*factors, Fraction(1)], strict=True)]
    a_t, g, b_t = (np.array(rows, np.float64) for rows in (powers(OUTPUTS), kernel, interpolation))
    return a_t.T, g, b_t


@cache
def flipped_transform_matrices() -> tuple[Matrix, Matrix]:
    """Return Aᵀ and Bᵀ for the flipped kernel with the same G: y_i = Σ_k g_{2−k} d_{i+k}.

    With D = diag(1, −1, 1, …) and J the reversal, G D J = S G up to the order of rows, where S scales rows,
    because z ↦ −1/z permutes the points. The signs D move to the data and the outputs.
    """
    a_t, g, b_t = transform_matrices()
    signs = (-1.0) ** np.arange(_TILE)
    flipped = (g * signs[:_TAPS])[:, ::-1]
    a_flipped, b_flipped = np.empty_like(a_t), np.empty_like(b_t)
    for row in range(_TILE):
        # Row `row` of G D J is `scale` times row `source` of G.
        cosines = (g @ flipped[row]) / np.linalg.norm(g, axis=1) / np.linalg.norm(flipped[row])
        source = int(np.argmax(np.abs(cosines)))
        scale = np.linalg.norm(flipped[row]) / np.linalg.norm(g[source]) * np.sign(cosines[source])
        a_flipped[:, source] = a_t[:, row] * signs[:OUTPUTS] * scale
        b_flipped[source] = b_t[row] * signs
    return a_flipped, b_flipped


def kernel_transform() -> Array:
    """Return the matrix [36,9] that transforms a flattened kernel g: G ⊗ G."""
    _, g, _ = transform_matrices()
    return np.kron(g, g).astype(np.float32)


def transform_kernel(kernel: Array) -> Array:
    """Return the weights G g Gᵀ of a kernel, float32 [out,in,3,3], as float32 [36,out,in]."""
    outputs, inputs = kernel.shape[:2]
    flat = kernel.reshape(outputs * inputs, _TAPS**2)
    return (kernel_transform() @ flat.T).reshape(_TILE**2, outputs, inputs)


def rewrite(graph: GraphBuilder, choose: Choose) -> bool:
    """Replace convolutions of stride 1 with 3×3 kernels and one pixel of padding by Winograd's form.

    The kernel becomes an input of the graph, ``winograd_<name of the kernel>``, which takes the result of
    `transform_kernel`: as an initialiser it would be copied into the model, and again into each session.

    Parameters
    ----------
    graph : GraphBuilder
        Its nodes are replaced.
    choose : function
        Which of these convolutions to replace.

    Returns
    -------
    bool
        Whether one was replaced.
    """
    graph.infer_shapes()
    old, graph.nodes = graph.nodes, []
    declared: set[str] = set()
    for node in old:
        kernel = _kernel(graph, node)
        if kernel is None or not choose(kernel.shape[1], kernel.shape[0], *graph.shape(node.output[0])[2:]):
            graph.nodes.append(node)
            continue
        source = graph.flipped.get(node.input[1], node.input[1])
        name = _PREFIX + graph.original_names.get(source, source)
        if name not in declared:
            declared.add(graph.input(name, [_TILE**2, *graph.shape(source)[:2]]))
        _convolve(graph, node, name, is_flipped=source != node.input[1])
    return bool(declared)


def kernel_inputs(model: onnx.ModelProto) -> dict[str, str]:
    """Return the inputs that `rewrite` added to a graph → the names of their kernels."""
    names = (value.name for value in model.graph.input)
    return {name: name.removeprefix(_PREFIX) for name in names if name.startswith(_PREFIX)}


def _kernel(graph: GraphBuilder, node: onnx.NodeProto) -> NDArray[np.generic] | None:
    """Return the kernel of a node if it is a convolution that can be replaced, else None."""
    from onnx import helper

    if node.op_type != "Conv" or node.input[1] not in graph.constants:
        return None
    kernel = graph.constants[node.input[1]]
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    plain: Mapping[str, object] = {"strides": [1, 1], "dilations": [1, 1], "group": 1, "auto_pad": b"NOTSET"}
    fits = all(attributes.get(key, value) == value for key, value in plain.items())
    fits = fits and kernel.shape[2:] == (_TAPS, _TAPS) and attributes.get("pads") == [1, 1, 1, 1]
    return kernel if fits else None


@dataclass(frozen=True, slots=True)
class _RowBand:
    """Consecutive rows of tiles of one convolution.

    Attributes
    ----------
    channels, outputs : int
        Channels of input and output.
    start, stop : int
        Rows of the input that the tiles read.
    above, below : int
        Rows of zeros that the first tiles read above the input, the last ones below it.
    width : int
        Columns of input and output.
    """

    channels: int
    outputs: int
    start: int
    stop: int
    above: int
    below: int
    width: int

    @property
    def rows(self) -> int:
        """Rows of tiles."""
        return (self.above + self.stop - self.start + self.below - _TAPS + 1) // OUTPUTS

    @property
    def height(self) -> int:
        """Rows of output; tiles that reach over the last row compute more, which are dropped."""
        return self.rows * OUTPUTS - max(0, self.below - 1)

    @property
    def columns(self) -> int:
        """Columns of tiles."""
        return -(-self.width // OUTPUTS)


def row_bands(channels: int, outputs: int, height: int, width: int) -> list[_RowBand]:
    """Divide a convolution into bands whose transformed data stay below `BAND_BYTES`.

    Transformed data and products take 2¼ times the memory of the features; in bands, little compared to the
    features. Cutting and joining bands takes time: VGG19 at 512 pixels takes 7 % less time with 80 MiB than
    with 32 MiB, and 118 MB more memory.
    """
    rows, columns = -(-height // OUTPUTS), -(-width // OUTPUTS)
    row_bytes = 4 * _TILE**2 * max(channels, outputs) * columns
    count = -(-rows // max(1, BAND_BYTES // row_bytes))
    edges = [rows * i // count for i in range(count + 1)]
    bands: list[_RowBand] = []
    for first, last in pairwise(edges):
        start, stop = first * OUTPUTS - 1, last * OUTPUTS + 1
        above, below = max(0, -start), max(0, stop - height)
        bands.append(_RowBand(channels, outputs, start + above, stop - below, above, below, width))
    return bands


def _convolve(graph: GraphBuilder, node: onnx.NodeProto, weights: str, *, is_flipped: bool) -> None:
    """Append the nodes of one convolution; its output keeps the name of the node's output."""
    _, channels, height, width = graph.shape(node.input[0])
    outputs = graph.shape(node.output[0])[1]
    parts: list[str] = []
    for band in row_bands(channels, outputs, height, width):
        x = node.input[0]
        if band.stop - band.start != height:  # Gather copies with all threads, Slice with one
            rows = graph.constant(range(band.start, band.stop), integer=True)
            x = graph.op("Gather", x, rows, attributes={"axis": 2})
        products = _products(graph, x, weights, band, is_flipped=is_flipped)
        parts.append(_assemble(graph, products, band, is_flipped=is_flipped))
    x = parts[0] if len(parts) == 1 else graph.op("Concat", *parts, attributes={"axis": 2})
    if len(node.input) > 2:
        graph.op("Add", x, graph.reshape(node.input[2], [1, outputs, 1, 1]), name=node.output[0])
    else:
        graph.op("Identity", x, name=node.output[0])


def _products(graph: GraphBuilder, x: str, weights: str, band: _RowBand, *, is_flipped: bool) -> str:
    """Append nodes that transform the tiles of x [1,C,h,W] and multiply them by the weights: [36,O,tiles]."""
    b_t = flipped_transform_matrices()[1] if is_flipped else transform_matrices()[2]
    channels, height, width = band.channels, band.stop - band.start, band.width
    # The channels become the depth of a 3-D convolution: [1,1,C,h,W] → [6,1,C,rows,W] → [6,6,C,rows,columns].
    # Two passes with 6 products each are faster than one with 36.
    x = graph.reshape(x, [1, 1, channels, height, width])
    vertical = {"strides": [1, OUTPUTS, 1], "pads": [0, band.above, 0, 0, band.below, 0]}
    x = graph.op("Conv", x, graph.constant(b_t.reshape(_TILE, 1, 1, _TILE, 1)), attributes=vertical)
    x = graph.reshape(x, [_TILE, 1, channels, band.rows, width])
    horizontal = {"strides": [1, 1, OUTPUTS], "pads": [0, 0, 1, 0, 0, band.columns * OUTPUTS + 1 - width]}
    x = graph.op("Conv", x, graph.constant(b_t.reshape(_TILE, 1, 1, 1, _TILE)), attributes=horizontal)
    x = graph.reshape(x, [_TILE**2, channels, band.rows * band.columns])
    if is_flipped:  # its channels are swapped, too
        return graph.op("FusedMatMul", weights, x, attributes={"domain": "com.microsoft", "transA": 1})
    return graph.op("MatMul", weights, x)


def _assemble(graph: GraphBuilder, products: str, band: _RowBand, *, is_flipped: bool) -> str:
    """Append nodes that transform products [36,O,tiles] into rows of the output: [1,O,height,W]."""
    a_t = flipped_transform_matrices()[0] if is_flipped else transform_matrices()[0]
    outputs, rows, columns = band.outputs, band.rows, band.columns
    count = outputs * rows * columns
    # The transposed product moves the columns of a tile next to each other. A Transpose would take several
    # times as long: with so few rows, onnxruntime's threads contend. The plain product comes last because
    # shapes can be inferred through it, unlike through FusedMatMul.
    x = graph.reshape(products, [_TILE, _TILE, count])
    x = graph.op("FusedMatMul", x, graph.constant(a_t.T), attributes={"domain": "com.microsoft", "transA": 1})
    x = graph.op("MatMul", graph.constant(a_t), graph.reshape(x, [_TILE, count * OUTPUTS]))
    # Rows move as a whole, [4,O,rows] → [O,rows,4]; those below the last row of the output are left out.
    x = graph.reshape(x, [OUTPUTS * outputs * rows, columns * OUTPUTS])
    order = np.arange(OUTPUTS * outputs * rows).reshape(OUTPUTS, outputs, rows).transpose(1, 2, 0)
    order = order.reshape(outputs, rows * OUTPUTS)[:, : band.height]
    x = graph.op("Gather", x, graph.constant(order, integer=True), attributes={"axis": 0})
    x = graph.reshape(x, [1, outputs, band.height, columns * OUTPUTS])
    return x if columns * OUTPUTS == band.width else graph.slice(x, 3, 0, band.width)
