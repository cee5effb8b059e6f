"""Time and accuracy of one evaluation of loss and gradient, and of single convolutions."""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import statistics
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection

import numpy as np
import torch

from lbfgs_style import networks
from lbfgs_style.graphs import winograd
from lbfgs_style.graphs.builder import GraphBuilder
from lbfgs_style.networks import vgg
from lbfgs_style.objective.session import Session
from tools.bench.ours import WIDTHS, our_objective, random_vgg19, smooth_pictures, vgg19_of
from tools.bench.pytorch import TorchObjective

# Multiplications and additions of VGG19 up to relu5_1 for each pixel, forward and backward: 2 · 2 · Σ 9·C·O
# over the convolutions, each at its size.
_CONVOLUTIONS = ((3, 64, 1), (64, 64, 1), (64, 128, 4), (128, 128, 4), (128, 256, 16), *[(256, 256, 16)] * 3)
_CONVOLUTIONS += ((256, 512, 64), *[(512, 512, 64)] * 3, (512, 512, 256))
VGG19_FLOPS = sum(4 * 9 * c * o / area for c, o, area in _CONVOLUTIONS)


def timed_in_turn(sides: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median seconds of each side, the sides taking turns; the first round is a warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, side in sides.items():
            start = time.perf_counter()
            side()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


# Rows of the square matrices whose product shows the speed that a library reaches.
_SIDE = 4096


def matrix_product(library: str, threads: int) -> Callable[[], object]:
    """Return a large float32 matrix product in onnxruntime, NumPy or PyTorch."""
    matrix = np.ones((_SIDE, _SIDE), np.float32)
    if library == "PyTorch":
        tensor = torch.from_numpy(matrix)
        return lambda: tensor @ tensor
    if library == "NumPy":
        return lambda: matrix @ matrix
    b = GraphBuilder()
    b.output(b.op("MatMul", b.input("a", [_SIDE, _SIDE]), b.input("b", [_SIDE, _SIDE])), "c")
    session = Session(b.model(), device="cpu", threads=threads)
    return lambda: session.run(["c"], {"a": matrix, "b": matrix})


PYTORCH, DIRECT, AUTO, SMALL = "vgg19, PyTorch", "vgg19, ours, direct", "vgg19, ours, auto", "compact, ours"
PRODUCTS = {f"({library}'s product)": library for library in ("onnxruntime", "NumPy", "PyTorch")}


def evaluate(arguments: argparse.Namespace) -> dict[str, object]:
    """Time one evaluation: VGG19 (random weights) in PyTorch and here, and the network `compact` here.

    Each side has a process of its own, so that the threads and the memory of one do not disturb the others.
    They take turns.
    """
    sides = {
        name: _Side(name, arguments.size, arguments.threads)
        for name in (PYTORCH, DIRECT, AUTO, SMALL, *PRODUCTS)
    }
    seconds = timed_in_turn({name: side.call for name, side in sides.items()}, arguments.rounds)
    loss, gradient = sides[PYTORCH].result
    differences: dict[str, float] = {}
    for name in (DIRECT, AUTO):
        our_loss, slope = sides[name].result
        differences[f"loss, {name}"] = abs(our_loss - loss) / loss
        differences[f"gradient, {name}"] = float(np.linalg.norm(slope - gradient) / np.linalg.norm(gradient))
    speeds = {f"{library}, product": 2 * _SIDE**3 / seconds.pop(name) for name, library in PRODUCTS.items()}
    speeds["ours, direct convolutions of vgg19"] = VGG19_FLOPS * arguments.size**2 / seconds[DIRECT]
    return {
        "title": f"one evaluation (loss and gradient) at {arguments.size}×{arguments.size}",
        "seconds": seconds,
        "ratios": {
            "PyTorch / ours": seconds[PYTORCH] / seconds[AUTO],
            "PyTorch / ours, direct": seconds[PYTORCH] / seconds[DIRECT],
            "vgg19 direct / compact": seconds[DIRECT] / seconds[SMALL],
            "vgg19 / compact": seconds[AUTO] / seconds[SMALL],
            "vgg19 PyTorch / compact": seconds[PYTORCH] / seconds[SMALL],
        },
        "differences": {f"{k}, from PyTorch (relative)": v for k, v in differences.items()},
        "GFLOP/s": {name: speed / 1e9 for name, speed in speeds.items()},
    }


class _Side:
    """One side of `evaluate`, in a process of its own.

    Attributes
    ----------
    result : (float, array or None)
        Loss and gradient [3,H,W]; of a matrix product, 0 and None.
    """

    def __init__(self, name: str, size: int, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other_end = context.Pipe()
        context.Process(target=_serve, args=(name, size, threads, other_end), daemon=True).start()
        other_end.close()
        self.result = self._connection.recv()

    def call(self) -> None:
        """Evaluate once."""
        self._connection.send(None)
        self._connection.recv()


def _serve(name: str, size: int, threads: int, connection: Connection) -> None:
    """Prepare a side, send its result, and evaluate again at each message."""
    torch.set_num_threads(threads)
    content, style, current = smooth_pictures(size)
    if name in PRODUCTS:
        side = matrix_product(PRODUCTS[name], threads)
        connection.send((0.0, None))
    elif name == PYTORCH:
        theirs = TorchObjective(random_vgg19(), content, style)
        side = partial(theirs, current)
        loss, gradient = theirs(current)
        connection.send((loss, gradient[0]))
    else:
        network = networks.load("compact") if name == SMALL else random_vgg19()
        convolution = "direct" if name == DIRECT else "auto"
        ours = our_objective(network, content, style, threads, convolution)
        side = partial(ours, current[0])
        evaluation = ours(current[0])
        connection.send((evaluation.loss, evaluation.gradient))
    while True:
        try:
            connection.recv()
        except EOFError:  # the measurement is over
            return
        side()
        connection.send(None)


def accuracy(arguments: argparse.Namespace) -> dict[str, object]:
    """Compare gradients with float64's, away from the kinks of the ReLUs.

    Where a rounding error turns a ReLU on or off, or makes another of four values the largest, the gradient
    jumps whatever the arithmetic. Here each bias lifts its channel above 0 all over the picture, so that no
    ReLU is near its kink, and pooling takes averages.
    """
    torch.set_num_threads(arguments.threads)
    content, style, current = smooth_pictures(arguments.size)
    network = vgg19_of(_lifted(current), "average")
    _, exact = TorchObjective(network, content, style, torch.float64)(current)
    differences = {}
    _, single = TorchObjective(network, content, style)(current)
    differences["PyTorch, float32"] = single[0]
    for convolution in ("direct", "winograd"):
        ours = our_objective(network, content, style, arguments.threads, convolution)
        differences[f"ours, {convolution}"] = ours(current[0]).gradient
    return {
        "title": f"gradient of vgg19 at {arguments.size}×{arguments.size}, away from kinks",
        "differences": {
            f"{name}, from float64 (relative)": float(np.linalg.norm(g - exact[0]) / np.linalg.norm(exact))
            for name, g in differences.items()
        },
    }


def _lifted(picture: np.ndarray) -> vgg.Weights:
    """Return random weights of VGG19 with biases that make every feature of a picture positive."""
    rng = np.random.default_rng(0)
    weights, x, block = {}, torch.from_numpy(picture).double(), "1"
    x = (x - torch.tensor(vgg.TORCHVISION.mean)[:, None, None]) / torch.tensor(vgg.TORCHVISION.std)[
        :, None, None
    ]
    for name in vgg.convolution_names("vgg19")[:13]:
        if name[4] != block:
            x, block = torch.nn.functional.avg_pool2d(x, 2), name[4]
        inputs, outputs = x.shape[1], WIDTHS[block]
        kernel = rng.normal(size=(outputs, inputs, 3, 3)) * np.sqrt(2 / (9 * inputs))
        y = torch.nn.functional.conv2d(x, torch.from_numpy(kernel), padding=1)
        bias = (0.1 * y.std() - y.amin((0, 2, 3))).numpy()
        weights[name] = (kernel.astype(np.float32), bias.astype(np.float32))
        x = y + torch.from_numpy(bias)[:, None, None]
    return weights


def convolution(arguments: argparse.Namespace) -> dict[str, object]:
    """Time single 3×3 convolutions in both forms; the rule for ``--convolution auto`` comes from this."""
    rng = np.random.default_rng(0)
    seconds: dict[str, float] = {}
    ratios: dict[str, float] = {}
    for channels in (16, 32, 64, 128, 256, 512):
        for side in (8, 16, 32, 64, 128, 256, 512):
            if channels**2 * side**2 > 512**2 * 128**2 or channels * side**2 < 2**13:
                continue
            kernel = (rng.normal(size=(channels, channels, 3, 3)) / channels).astype(np.float32)
            x = rng.normal(size=(1, channels, side, side)).astype(np.float32)
            runs = {
                form: _one_convolution(kernel, x, form, arguments.threads) for form in ("direct", "winograd")
            }
            medians = timed_in_turn(runs, arguments.rounds)
            name = f"{channels:3} → {channels:3} at {side:3}×{side:3}"
            seconds |= {f"{name}, {form}": value for form, value in medians.items()}
            ratios[name] = medians["direct"] / medians["winograd"]
            del runs
            gc.collect()
    return {"title": "3×3 convolution, direct / winograd", "seconds": seconds, "ratios": ratios}


def _one_convolution(kernel: np.ndarray, x: np.ndarray, form: str, threads: int) -> Callable[[], object]:
    """Return a function that runs a convolution, a ReLU and the convolution with the flipped kernel."""
    b = GraphBuilder()
    b.input("x", x.shape)
    flipped = np.flip(kernel.swapaxes(0, 1), (2, 3))
    forth = b.op("Conv", "x", b.constant(kernel, name="k"), attributes={"pads": [1] * 4})
    back = b.op("Conv", b.op("Relu", forth), b.constant(flipped, name="t"), attributes={"pads": [1] * 4})
    b.flipped["t"] = "k"
    b.output(b.reduce("ReduceSum", back), "y")
    if form == "winograd":
        winograd.rewrite(b, lambda *_: True)
    model = b.model()
    weights = {name: winograd.transform_kernel(kernel) for name in winograd.kernel_inputs(model)}
    session = Session(model, device="cpu", threads=threads, fixed=weights)
    return lambda: session.run(["y"], {"x": x})
