"""Winograd's minimal filtering for 3×3 convolutions, as a rewrite of the graph.

F(4×4, 3×3) of Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR 2016): the picture
is cut into tiles d of 6×6 that overlap by 2, and each gives 4×4 outputs

    Y = Aᵀ [ Σ_channels (G g Gᵀ) ⊙ (Bᵀ d B) ] A

with 36 products in place of 144. The sums over channels are 36 matrix products, one for each place in a
tile. The transforms follow from six points of interpolation (Toom and Cook; Blahut, "Fast Algorithms for
Signal Processing", 2010, chapter 5). Differs from the paper: the points are 0, 1, −1, ½, −2, ∞ in place of
0, ±1, ±2, ∞. They round less (Barabasz et al., "Error Analysis and Improving the Accuracy of Winograd
Convolution for Deep Neural Networks", 2020), and z ↦ −1/z maps them onto each other: a kernel that is turned
around, as the gradient needs it, has the same transform in another order. So one array of transformed
weights, four times the kernel's size, serves both directions.
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

OUTPUTS = 4
"""Outputs of a tile along one axis."""
_TAPS = 3
_TILE = OUTPUTS + _TAPS - 1
_PREFIX = "winograd_"
_STRIP_BYTES = 80 * 2**20
_POINTS = (Fraction(0), Fraction(1), Fraction(-1), Fraction(1, 2), Fraction(-2))  # and infinity

Choose = Callable[[int, int, int, int], bool]
"""(inputs, outputs, height, width) of a convolution → whether to rewrite it."""


def _pays(inputs: int, outputs: int, height: int, width: int) -> bool:
    """Return whether Winograd's form takes less time.

    `python -m tools.bench convolution` shows a clear gain from 128 channels on. With 64 a single layer comes
    out about even, but all of VGG19 (`python -m tools.bench evaluate`) is quicker with those included.
    """
    return min(inputs, outputs) >= 64 and height * width >= 16 * 16


def _always(inputs: int, outputs: int, height: int, width: int) -> bool:
    return True


def _never(inputs: int, outputs: int, height: int, width: int) -> bool:
    return False


CHOICES: dict[str, Choose] = {"auto": _pays, "direct": _never, "winograd": _always}
"""What ``--convolution`` offers → which convolutions are rewritten."""


@cache
def matrices() -> tuple[Matrix, Matrix, Matrix]:
    """Return Aᵀ [4,6], G [6,3] and Bᵀ [6,6] of y = Aᵀ[(G g) ⊙ (Bᵀ d)], y_i = Σ_k g_k d_{i+k}.

    G and A evaluate polynomials at the points, Bᵀ holds the coefficients of the Lagrange polynomials, all
    in exact fractions before they become floats.
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
def turned_matrices() -> tuple[Matrix, Matrix]:
    """Return Aᵀ and Bᵀ that go with the same G for the kernel turned around: y_i = Σ_k g_{2−k} d_{i+k}.

    With D = diag(1, −1, 1, …) and J the reversal, G D J = S G up to the order of rows, where S scales rows,
    since z ↦ −1/z permutes the points. The signs D go over to the data and the outputs.
    """
    a_t, g, b_t = matrices()
    signs = (-1.0) ** np.arange(_TILE)
    turned = (g * signs[:_TAPS])[:, ::-1]
    a_turned, b_turned = np.empty_like(a_t), np.empty_like(b_t)
    for row in range(_TILE):
        # Row `row` of G D J is `scale` times row `source` of G.
        cosines = (g @ turned[row]) / np.linalg.norm(g, axis=1) / np.linalg.norm(turned[row])
        source = int(np.argmax(np.abs(cosines)))
        scale = np.linalg.norm(turned[row]) / np.linalg.norm(g[source]) * np.sign(cosines[source])
        a_turned[:, source] = a_t[:, row] * signs[:OUTPUTS] * scale
        b_turned[source] = b_t[row] * signs
    return a_turned, b_turned


def transformed(kernel: Array) -> Array:
    """Return the weights G g Gᵀ of a kernel, float32 [out,in,3,3], as float32 [36,out,in]."""
    _, g, _ = matrices()
    both = np.einsum("au,bv->abuv", g, g).reshape(_TILE**2, _TAPS**2)
    outputs, inputs = kernel.shape[:2]
    flat = kernel.reshape(outputs * inputs, _TAPS**2)
    return (both.astype(np.float32) @ flat.T).reshape(_TILE**2, outputs, inputs)


def rewrite(b: GraphBuilder, choose: Choose) -> bool:
    """Put Winograd's form in place of convolutions of stride 1 with 3×3 kernels and one pixel of padding.

    A kernel becomes an input of the graph, ``winograd_<name of the kernel>``, which expects `transformed`:
    as an initialiser it would be copied into the model and again into each session.

    Parameters
    ----------
    b : GraphBuilder
        Its nodes are replaced.
    choose : function
        Which convolutions.

    Returns
    -------
    bool
        Whether any was replaced.
    """
    b.infer_shapes()
    old, b.nodes = b.nodes, []
    declared: set[str] = set()
    for node in old:
        kernel = _kernel(b, node)
        if kernel is None or not choose(kernel.shape[1], kernel.shape[0], *b.shape(node.output[0])[2:]):
            b.nodes.append(node)
            continue
        source = b.turned.get(node.input[1], node.input[1])
        name = _PREFIX + b.origins.get(source, source)
        if name not in declared:
            declared.add(b.input(name, [_TILE**2, *b.shape(source)[:2]]))
        _convolve(b, node, name, is_turned=source != node.input[1])
    return bool(declared)


def kernels(model: onnx.ModelProto) -> dict[str, str]:
    """Return the inputs of a graph that `rewrite` made → the names of their kernels."""
    names = (value.name for value in model.graph.input)
    return {name: name.removeprefix(_PREFIX) for name in names if name.startswith(_PREFIX)}


def _kernel(b: GraphBuilder, node: onnx.NodeProto) -> NDArray[np.generic] | None:
    """Return the kernel of a convolution that can be rewritten, else None."""
    from onnx import helper

    if node.op_type != "Conv" or node.input[1] not in b.constants:
        return None
    kernel = b.constants[node.input[1]]
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    plain: Mapping[str, object] = {"strides": [1, 1], "dilations": [1, 1], "group": 1, "auto_pad": b"NOTSET"}
    fits = all(attributes.get(key, value) == value for key, value in plain.items())
    fits = fits and kernel.shape[2:] == (_TAPS, _TAPS) and attributes.get("pads") == [1, 1, 1, 1]
    return kernel if fits else None


@dataclass(frozen=True, slots=True)
class _Strip:
    """Some rows of tiles of one convolution.

    Attributes
    ----------
    channels, outputs : int
        Of the convolution.
    start, stop : int
        The rows of the input that the tiles read, within the picture.
    above, below : int
        Rows of zeros that the first tile reads above them, the last one below.
    width : int
        Of input and output.
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
        """Rows of output; a last tile that reaches over the picture's edge gives some that are not wanted."""
        return self.rows * OUTPUTS - max(0, self.below - 1)

    @property
    def columns(self) -> int:
        """Columns of tiles."""
        return -(-self.width // OUTPUTS)


def strips(channels: int, outputs: int, height: int, width: int) -> list[_Strip]:
    """Cut a convolution into strips whose transformed data stay below `_STRIP_BYTES`.

    The products hold 2¼ times the features; a strip at a time, that is little beside the features. One strip
    is quickest, since strips are cut out and put together: VGG19 at 512 pixels takes 7 % less time with 80
    MiB than with 32, which takes 118 MB less memory (`bench.py evaluate`, `bench.py memory`).
    """
    rows, columns = -(-height // OUTPUTS), -(-width // OUTPUTS)
    row_bytes = 4 * _TILE**2 * max(channels, outputs) * columns
    count = -(-rows // max(1, _STRIP_BYTES // row_bytes))
    edges = [rows * i // count for i in range(count + 1)]
    cut: list[_Strip] = []
    for first, last in pairwise(edges):
        start, stop = first * OUTPUTS - 1, last * OUTPUTS + 1
        above, below = max(0, -start), max(0, stop - height)
        cut.append(_Strip(channels, outputs, start + above, stop - below, above, below, width))
    return cut


def _convolve(b: GraphBuilder, node: onnx.NodeProto, weights: str, *, is_turned: bool) -> None:
    """Add the nodes of one convolution, under the name of the node's output."""
    _, channels, height, width = b.shape(node.input[0])
    outputs = b.shape(node.output[0])[1]
    parts: list[str] = []
    for strip in strips(channels, outputs, height, width):
        whole = strip.stop - strip.start == height
        x = node.input[0]
        if not whole:  # a Gather has all threads copy, a Slice has one
            rows = b.constant(range(strip.start, strip.stop), integer=True)
            x = b.op("Gather", x, rows, attributes={"axis": 2})
        products = _products(b, x, weights, strip, is_turned=is_turned)
        parts.append(_assemble(b, products, strip, is_turned=is_turned))
    x = parts[0] if len(parts) == 1 else b.op("Concat", *parts, attributes={"axis": 2})
    if len(node.input) > 2:
        b.op("Add", x, b.reshape(node.input[2], [1, outputs, 1, 1]), name=node.output[0])
    else:
        b.op("Identity", x, name=node.output[0])


def _products(b: GraphBuilder, x: str, weights: str, strip: _Strip, *, is_turned: bool) -> str:
    """Transform the tiles of x [1,C,h,W] and multiply them by the weights: [36, O, tiles]."""
    b_t = turned_matrices()[1] if is_turned else matrices()[2]
    channels, height, width = strip.channels, strip.stop - strip.start, strip.width
    # The channels are the depth of a 3-D convolution: [1,1,C,h,W] → [6,1,C,rows,W] → [6,6,C,rows,columns].
    # Two passes with 6 products each take less time than one with 36.
    x = b.reshape(x, [1, 1, channels, height, width])
    vertical = {"strides": [1, OUTPUTS, 1], "pads": [0, strip.above, 0, 0, strip.below, 0]}
    x = b.op("Conv", x, b.constant(b_t.reshape(_TILE, 1, 1, _TILE, 1)), attributes=vertical)
    x = b.reshape(x, [_TILE, 1, channels, strip.rows, width])
    horizontal = {"strides": [1, 1, OUTPUTS], "pads": [0, 0, 1, 0, 0, strip.columns * OUTPUTS + 1 - width]}
    x = b.op("Conv", x, b.constant(b_t.reshape(_TILE, 1, 1, 1, _TILE)), attributes=horizontal)
    x = b.reshape(x, [_TILE**2, channels, strip.rows * strip.columns])
    if is_turned:  # the turned kernel has its channels swapped, too
        return b.op("FusedMatMul", weights, x, attributes={"domain": "com.microsoft", "transA": 1})
    return b.op("MatMul", weights, x)


def _assemble(b: GraphBuilder, products: str, strip: _Strip, *, is_turned: bool) -> str:
    """Transform products [36, O, tiles] into rows of the output: [1,O,height,W]."""
    a_t = turned_matrices()[0] if is_turned else matrices()[0]
    outputs, rows, columns = strip.outputs, strip.rows, strip.columns
    count = outputs * rows * columns
    # A tile's columns come to lie side by side as the rows of a turned product. Transpose would take several
    # times as long: with so few rows, the threads of onnxruntime's are in each other's way.
    # The other product comes last: types and shapes are inferred through it, not through the turned one.
    x = b.reshape(products, [_TILE, _TILE, count])
    x = b.op("FusedMatMul", x, b.constant(a_t.T), attributes={"domain": "com.microsoft", "transA": 1})
    x = b.op("MatMul", b.constant(a_t), b.reshape(x, [_TILE, count * OUTPUTS]))
    # Its rows move whole, [4, O, rows] → [O, rows, 4]; those below the picture are left out.
    x = b.reshape(x, [OUTPUTS * outputs * rows, columns * OUTPUTS])
    order = np.arange(OUTPUTS * outputs * rows).reshape(OUTPUTS, outputs, rows).transpose(1, 2, 0)
    order = order.reshape(outputs, rows * OUTPUTS)[:, : strip.height]
    x = b.op("Gather", x, b.constant(order, integer=True), attributes={"axis": 0})
    x = b.reshape(x, [1, outputs, strip.height, columns * OUTPUTS])
    return x if columns * OUTPUTS == strip.width else b.slice(x, 3, 0, strip.width)
