"""Graphs of what L-BFGS does with vectors, for vectors in the memory of a card.

- `decode_graph`: variables → image;
- `pull_back_graph`: gradient of the image → gradient of the variables, and its length;
- `combine_graph`: coefficients → point of the affine subspace;
- `project_graph`: gradient → its coordinates in the basis, and the next basis vector;
- `rotate_graph`: basis → another basis of a part of its span;
- `copy_graph`: array → the same array elsewhere.

Vectors are rows [1,n], a basis is [k,n], and both lengths are free. Nothing here runs a graph.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..graphs.builder import GraphBuilder
from .variables import OPPONENT, Spectral

if TYPE_CHECKING:
    import onnx

# Where a length may be 0, this is the least that a vector is divided by.
_TINY = 1e-30


def cosines(length: int) -> NDArray[np.float32]:
    """Return the matrix [length,length] of the orthonormal DCT-II: row k is the cosine of frequency k."""
    number, position = np.arange(length)[:, None], np.arange(length) + 0.5
    rows = np.cos(np.pi / length * number * position) * np.sqrt(2 / length)
    rows[0] = np.sqrt(1 / length)
    return rows.astype(np.float32)


def spectral_inputs(variables: Spectral) -> dict[str, NDArray[np.float32]]:
    """Return the inputs that `decode_graph` and `pull_back_graph` take in addition to vectors."""
    height, width = variables.size
    colors = np.eye(3) if variables.chroma is None else OPPONENT
    return {
        "cosines_down": cosines(height),
        "cosines_across": cosines(width),
        "weights": np.broadcast_to(variables.weights, (3, height, width)),
        "colors": colors.astype(np.float32),
    }


def _declare_spectral_inputs(graph: GraphBuilder, variables: Spectral) -> tuple[str, str, str, str]:
    height, width = variables.size
    down = graph.input("cosines_down", [height, height])
    across = graph.input("cosines_across", [width, width])
    weights = graph.input("weights", [3, height, width])
    return down, across, weights, graph.input("colors", [3, 3])


def _mixed(graph: GraphBuilder, matrix: str, channels: str, size: tuple[int, int]) -> str:
    """Append nodes for matrix [3,3] · channels [1,3,H,W]."""
    flat = graph.op("MatMul", matrix, graph.reshape(channels, [3, -1]))
    return graph.reshape(flat, [1, 3, *size])


def _transposed(graph: GraphBuilder, matrix: str) -> str:
    return graph.op("Transpose", matrix, attributes={"perm": [1, 0]})


def decode_graph(variables: Spectral) -> onnx.ModelProto:
    """Build the graph of `Spectral.decode`: ``z`` [1,3,H,W] → ``image`` [1,3,H,W].

    The inverse DCT is two products with matrices of cosines, Aᵀ (s ∘ z) B; then the channels are mixed.
    """
    graph = GraphBuilder()
    z = graph.input("z", [1, 3, *variables.size])
    down, across, weights, colors = _declare_spectral_inputs(graph, variables)
    columns = graph.op("MatMul", _transposed(graph, down), graph.op("Mul", z, weights))
    channels = graph.op("MatMul", columns, across)
    graph.output(_mixed(graph, _transposed(graph, colors), channels, variables.size), "image")
    return graph.model()


def pull_back_graph(variables: Spectral | None) -> onnx.ModelProto:
    """Build the graph of the adjoint of `decode_graph`, or of the identity for pixels.

    Returns
    -------
    onnx.ModelProto
        Input ``d_image`` [1,3,H,W]; outputs ``largest`` [], the largest absolute value of the gradient of the
        variables, ``d_z`` [1,3,H,W], that gradient divided by it, and ``length`` [] of ``d_z``. So squares do
        not overflow. ``length`` is not finite if a number is not.
    """
    graph = GraphBuilder()
    if variables is None:
        gradient = graph.input("d_image", [1, 3, "height", "width"])
    else:
        gradient = graph.input("d_image", [1, 3, *variables.size])
        down, across, weights, colors = _declare_spectral_inputs(graph, variables)
        columns = graph.op("MatMul", down, _mixed(graph, colors, gradient, variables.size))
        gradient = graph.op("Mul", graph.op("MatMul", columns, _transposed(graph, across)), weights)
    largest = graph.reduce("ReduceMax", graph.op("Abs", gradient))
    scaled = graph.op("Div", gradient, graph.op("Max", largest, graph.constant(_TINY)))
    graph.output(largest, "largest")
    graph.output(scaled, "d_z")
    graph.output(_length(graph, scaled), "length")
    return graph.model()


def _length(graph: GraphBuilder, vector: str) -> str:
    return graph.op("Sqrt", graph.reduce("ReduceSumSquare", vector))


def combine_graph() -> onnx.ModelProto:
    """Build the graph of a point: ``origin`` [1,n], ``coefficients`` [1,k], ``basis`` [k,n] → ``z`` [1,n]."""
    graph = GraphBuilder()
    origin, coefficients = graph.input("origin", [1, "n"]), graph.input("coefficients", [1, "k"])
    basis = graph.input("basis", ["k", "n"])
    graph.output(graph.op("Add", origin, graph.op("MatMul", coefficients, basis)), "z")
    return graph.model()


def project_graph() -> onnx.ModelProto:
    """Build the graph of a projection by Gram and Schmidt, made twice.

    A second projection takes away what rounding left by the first ("twice is enough": Giraud, Langou and
    Rozložník, "The Loss of Orthogonality in the Gram-Schmidt Orthogonalization Process", Computers &
    Mathematics with Applications, 2005). Where it is not needed it costs little on a card, and no number has
    to reach the host for a decision.

    Returns
    -------
    onnx.ModelProto
        Inputs ``gradient`` [1,n], its ``length`` [], ``basis`` [k,n]; outputs ``coordinates`` [1,k] of the
        gradient divided by its length, ``left`` [], the length of its part outside the basis, and ``row``
        [1,n], that part divided by its length.
    """
    graph = GraphBuilder()
    gradient, length = graph.input("gradient", [1, "n"]), graph.input("length", [])
    basis = graph.input("basis", ["k", "n"])
    rest = graph.op("Div", gradient, length)
    parts: list[str] = []
    for _ in range(2):
        parts.append(graph.op("Gemm", rest, basis, attributes={"transB": 1}))
        rest = graph.op("Sub", rest, graph.op("MatMul", parts[-1], basis))
    left = _length(graph, rest)
    graph.output(graph.total(parts), "coordinates")
    graph.output(left, "left")
    graph.output(graph.op("Div", rest, graph.op("Max", left, graph.constant(_TINY))), "row")
    return graph.model()


def rotate_graph() -> onnx.ModelProto:
    """Build the graph of another basis: ``rotation`` [m,k], ``basis`` [k,n] → ``rows`` [m,n]."""
    graph = GraphBuilder()
    rotation, basis = graph.input("rotation", ["m", "k"]), graph.input("basis", ["k", "n"])
    graph.output(graph.op("MatMul", rotation, basis), "rows")
    return graph.model()


def copy_graph() -> onnx.ModelProto:
    """Build the graph of a copy: ``array`` [m,n] → ``copy`` [m,n]."""
    graph = GraphBuilder()
    graph.output(graph.input("array", ["m", "n"]), "copy")
    return graph.model()
