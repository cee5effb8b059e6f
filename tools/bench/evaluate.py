"""Time and accuracy of one evaluation of loss and gradient, and of single convolutions."""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection

import numpy as np
import torch

from lbfgs_style.graphs import winograd
from lbfgs_style.graphs.builder import GraphBuilder
from lbfgs_style.graphs.network_graph import with_network
from lbfgs_style.native import library
from lbfgs_style.networks import vgg
from lbfgs_style.objective.session import Session
from tools.bench.ours import WIDTHS, bench_network, our_objective, smooth_pictures, vgg19_of
from tools.bench.pytorch import TorchObjective
from tools.bench.timing import timed_in_turn

# Rows of the square matrices whose product measures what a library reaches, and bytes of the array that is
# copied.
_SIDE, _COPIED = 4096, 2**28

PRODUCTS = {f"({program}'s product)": program for program in ("onnxruntime", "NumPy", "PyTorch")}
COPY = "(copying)"


def matrix_product(program: str, threads: int) -> Callable[[], object]:
    """Return a large float32 matrix product in onnxruntime, NumPy or PyTorch."""
    matrix = np.ones((_SIDE, _SIDE), np.float32)
    if program == "PyTorch":
        tensor = torch.from_numpy(matrix)
        return lambda: tensor @ tensor
    if program == "NumPy":
        return lambda: matrix @ matrix
    b = GraphBuilder()
    b.output(b.op("MatMul", b.input("a", [_SIDE, _SIDE]), b.input("b", [_SIDE, _SIDE])), "c")
    session = Session(b.model(), device="cpu", threads=threads)
    return lambda: session.run(["c"], {"a": matrix, "b": matrix})


def evaluate(arguments: argparse.Namespace) -> dict[str, object]:
    """Time one evaluation of VGG19 (random weights) and of the bundled network, in PyTorch and here.

    Each side has a process of its own, as in normal use: the threads and the memory of one do not disturb
    the others. They take turns.
    """
    if arguments.instructions == "avx2":  # PyTorch, too, is held to them
        os.environ |= {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
    names = [f"{network}, {program}" for network in arguments.networks for program in arguments.programs]
    sides = {name: _Side(name, arguments) for name in (*names, *PRODUCTS, COPY)}
    seconds = timed_in_turn({name: side.call for name, side in sides.items()}, arguments.rounds)
    ratios: dict[str, float] = {}
    differences: dict[str, float] = {}
    for network in arguments.networks:
        base, *others = (f"{network}, {program}" for program in arguments.programs)
        loss, gradient = sides[base].result
        for name in others:
            ratios[f"{base} / {name.removeprefix(network + ', ')}"] = seconds[base] / seconds[name]
            other_loss, slope = sides[name].result
            differences[f"loss, {name}"] = abs(other_loss - loss) / loss
            differences[f"gradient, {name}"] = float(
                np.linalg.norm(slope - gradient) / np.linalg.norm(gradient)
            )
    work = {network: _work(network, arguments.size) for network in arguments.networks}
    speeds = {f"{program}, product": 2 * _SIDE**3 / seconds.pop(name) for name, program in PRODUCTS.items()}
    for network in arguments.networks:
        if (name := f"{network}, direct") in seconds:
            speeds[name] = work[network].direct / seconds[name]
    bandwidth = 2 * _COPIED / seconds.pop(COPY)
    for network, needed in work.items():
        seconds |= {
            f"(bound: {network}, products, direct)": needed.direct / max(speeds.values()),
            f"(bound: {network}, products, Winograd)": needed.winograd / max(speeds.values()),
            f"(bound: {network}, memory)": needed.bytes / bandwidth,
        }
    return {
        "title": f"one evaluation (loss and gradient) at {arguments.size}×{arguments.size}",
        "seconds": seconds,
        "ratios": ratios,
        "differences": {f"{k}, from the first (relative)": v for k, v in differences.items()},
        "GFLOP/s": {name: speed / 1e9 for name, speed in speeds.items()},
        "GB/s": {"copying, read and written": bandwidth / 1e9},
    }


@dataclass(frozen=True, slots=True)
class _Work:
    """What one evaluation has to do at least.

    Attributes
    ----------
    direct, winograd : float
        Multiplications and additions of convolutions, their gradients and Gram matrices; with Winograd's
        F(4×4, 3×3) a 3×3 convolution has a quarter.
    bytes : float
        Memory traffic of features that no cache holds: each is written and read, its cotangent too, and it is
        read once more as the mask of its ReLU.
    """

    direct: float
    winograd: float
    bytes: float


def _work(network: str, size: int) -> _Work:
    model = bench_network(network)
    layers = tuple(dict.fromkeys((*model.content_layers, *model.style_layers)))
    graph = with_network(model.model, (size, size), layers)
    direct = winograd_products = features = 0.0
    for node in graph.nodes:
        if node.op_type != "Conv":
            continue
        outputs, inputs, height, width = graph.constants[node.input[1]].shape
        positions = np.prod(graph.shape(node.output[0])[2:])
        products = 2 * 2.0 * outputs * inputs * height * width * positions
        direct += products
        winograd_products += products / (4 if (height, width) == (3, 3) and inputs > 4 else 1)
        features += 4.0 * outputs * positions
    grams = [4.0 * c**2 * h * w for _, c, h, w in (graph.shape(layer) for layer in model.style_layers)]
    return _Work(direct + sum(grams), winograd_products + sum(grams), 5 * features)


class _Side:
    """One side of `evaluate`, in a process of its own.

    Attributes
    ----------
    result : (float, array or None)
        Loss and gradient [3,H,W]; of a matrix product, 0 and None.
    """

    def __init__(self, name: str, arguments: argparse.Namespace) -> None:
        context = multiprocessing.get_context("spawn")
        self._line, far = context.Pipe()
        context.Process(target=_serve, args=(name, arguments, far), daemon=True).start()
        far.close()
        self.result = self._line.recv()

    def call(self) -> None:
        """Evaluate once."""
        self._line.send(None)
        self._line.recv()


def _serve(name: str, arguments: argparse.Namespace, line: Connection) -> None:
    """Evaluate a side once, send the result, and evaluate again at each message."""
    torch.set_num_threads(arguments.threads)
    if name in PRODUCTS:
        side = matrix_product(PRODUCTS[name], arguments.threads)
        line.send((0.0, None))
    elif name == COPY:
        source = torch.ones(_COPIED // 4)
        side = partial(torch.empty_like(source).copy_, source)
        line.send((0.0, None))
    else:
        network, program = name.split(", ", 1)
        content, style, current = smooth_pictures(arguments.size)
        chosen = bench_network(network)
        if program.startswith("PyTorch"):
            theirs = TorchObjective(chosen, content, style, compiled=program.endswith("compiled"))
            side = partial(theirs, current)
            loss, gradient = theirs(current)
            line.send((loss, gradient[0]))
        else:
            if program == "native" and arguments.instructions:
                library.require().use(arguments.instructions)
            ours = our_objective(chosen, content, style, arguments.threads, program)
            side = partial(ours, current[0])
            evaluation = ours(current[0])
            line.send((evaluation.loss, evaluation.gradient))
    while True:
        try:
            line.recv()
        except EOFError:  # the measurement is over
            return
        side()
        line.send(None)


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
    for convolution in ("direct", "winograd", "native"):
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
    """Time single 3×3 convolutions in both forms; `winograd.CHOICES["auto"]` comes from this."""
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
