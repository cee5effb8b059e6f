"""Run single native operators, and what they must give, in float64."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from lbfgs_style.graphs.builder import GraphBuilder
from lbfgs_style.native import library
from lbfgs_style.native.packing import BLOCK, blocks
from lbfgs_style.objective.session import Session

Array = np.ndarray


def run(
    kind: str, *inputs: Array | None, outputs: int = 1, threads: int = 2, **attributes: int
) -> list[Array]:
    """Run one operator; None stands for an input that is left out."""
    graph = GraphBuilder()
    names = ["" if array is None else graph.input(f"x{i}", array.shape) for i, array in enumerate(inputs)]
    values = {"domain": library.DOMAIN, "threads": threads, **attributes}
    graph.op(kind, *names, name="y0", attributes=values)
    graph.nodes[-1].output.extend(f"y{i}" for i in range(1, outputs))
    graph.shapes |= {f"y{i}": None for i in range(outputs)}
    for i in range(outputs):
        graph.output(f"y{i}")
    session = Session(graph.model(), device="cpu", threads=threads, operators=library.require())
    arrays = {f"x{i}": np.ascontiguousarray(a, np.float32) for i, a in enumerate(inputs) if a is not None}
    return session.run([f"y{i}" for i in range(outputs)], arrays)


def blocked(x: Array) -> Array:
    """Return [1,C,H,W] as [C/16,H,W,16], with zeros beyond the last channel."""
    _, channels, height, width = x.shape
    padded = np.zeros((blocks(channels) * BLOCK, height, width), np.float32)
    padded[:channels] = x[0]
    return np.ascontiguousarray(padded.reshape(-1, BLOCK, height, width).transpose(0, 2, 3, 1))


def plain(y: Array, channels: int) -> Array:
    """Return [C/16,H,W,16] as [1,C,H,W]; what is beyond the last channel must be 0."""
    count, height, width, _ = y.shape
    moved = y.transpose(0, 3, 1, 2).reshape(count * BLOCK, height, width)
    assert not moved[channels:].any()
    return moved[np.newaxis, :channels]


def padded_bias(bias: Array) -> Array:
    """Return a bias with zeros up to whole blocks."""
    return np.pad(bias, (0, blocks(len(bias)) * BLOCK - len(bias)))


def convolve(x: Array, kernel: Array) -> Array:
    """Return the 3×3 convolution of [1,C,H,W] with one pixel of zeros around, in float64."""
    windows = sliding_window_view(np.pad(x[0].astype(float), ((0, 0), (1, 1), (1, 1))), (3, 3), (1, 2))
    return np.einsum("chwij,ocij->ohw", windows, kernel.astype(float), optimize=True)[np.newaxis]


def flipped(kernel: Array) -> Array:
    """Return the kernel of the gradient: flipped, its channels swapped."""
    return kernel.swapaxes(0, 1)[:, :, ::-1, ::-1]


def pooled(x: Array, mode: str) -> Array:
    """Return the maxima or means of windows of 2×2 of [1,C,H,W]; an odd last row or column is left out."""
    height, width = (length // 2 * 2 for length in x.shape[2:])
    windows = x[:, :, :height, :width].reshape(*x.shape[:2], height // 2, 2, width // 2, 2)
    return windows.max((3, 5)) if mode == "max" else windows.mean((3, 5))
