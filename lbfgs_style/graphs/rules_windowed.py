"""Differentiation rules of convolution, pooling and padding.

Each rule gets a `RuleContext` and returns the cotangent of each input, or None where it is not needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .builder import GraphBuilder
from .gradient_rule import LEAST_NORM, RuleContext, number, step

# Value of positions outside of the input of a MaxPool: below all features, and finite, since 0 times it is 0.
_OUTSIDE = -1e30

# --- convolution and pooling -----------------------------------------------------------------------------


def d_conv(rule: RuleContext) -> Sequence[str | None]:
    """Y = kernel ∗ X: dX = G convolved with the flipped kernel, channels swapped; the kernel is constant.

    With steps it is the transposed convolution of G, which puts zeros between its positions.
    """
    kernel = rule.constant_input(1)
    assert kernel is not None
    sizes = list(kernel.shape[2:])
    groups = rule.attribute("group", 1)
    assert isinstance(groups, int)
    window = window_of(rule, sizes)
    inverse = [r - p for r, p in zip(window.reaches * 2, (*window.fronts, *window.backs), strict=True)]
    if any(s != 1 for s in window.strides) or min(inverse, default=0) < 0:
        return [_transposed_convolution(rule, window, groups), None, None]
    outputs, inputs = kernel.shape[0] // groups, kernel.shape[1]
    swapped = kernel.reshape(groups, outputs, inputs, *sizes).swapaxes(1, 2)
    flipped = np.flip(swapped.reshape(groups * inputs, outputs, *sizes), tuple(range(2, kernel.ndim)))
    attributes = {"pads": inverse, "dilations": window.dilations, "group": groups, "kernel_shape": sizes}
    weight = _flipped_kernel(rule.graph, rule.node.input[1], np.ascontiguousarray(flipped))
    return [rule.graph.op("Conv", rule.g, weight, attributes=attributes), None, None]


def _transposed_convolution(rule: RuleContext, window: Window, groups: int) -> str:
    """Append the ConvTranspose of G, and zeros for what lies beyond the last window."""
    lengths, results = rule.graph.shape(rule.x)[2:], rule.graph.shape(rule.y)[2:]
    rest = [n - r for n, r in zip(lengths, window.lengths_before(results), strict=True)]
    attributes = {
        "strides": window.strides,
        "dilations": window.dilations,
        "group": groups,
        "kernel_shape": window.kernel,
        "pads": [*window.fronts, *window.backs],
    }
    if any(rest):
        attributes["output_padding"] = rest
    return rule.graph.op("ConvTranspose", rule.g, rule.node.input[1], attributes=attributes)


def d_conv_transpose(rule: RuleContext) -> Sequence[str | None]:
    """Y = transposed convolution of X: dX = the convolution of G."""
    kernel = rule.constant_input(1)
    assert kernel is not None
    if rule.attribute("auto_pad", b"NOTSET") != b"NOTSET" or rule.integers("output_shape", []):
        raise rule.refuse("its padding follows from a size; give explicit pads")
    sizes = list(kernel.shape[2:])
    attributes = {name: rule.integers(name, [1] * len(sizes)) for name in ("strides", "dilations")}
    attributes |= {
        "pads": rule.integers("pads", [0] * 2 * len(sizes)),
        "group": rule.attribute("group", 1),
        "kernel_shape": sizes,
    }
    return [rule.graph.op("Conv", rule.g, rule.node.input[1], attributes=attributes), None, None]


def _flipped_kernel(graph: GraphBuilder, kernel: str, array: np.ndarray) -> str:
    """Return the constant that holds a flipped kernel; nodes that share a kernel share it, too."""
    for name, source in graph.flipped.items():
        # With other groups, the same kernel has another flipped form.
        if source == kernel and np.array_equal(graph.constants[name], array):
            return name
    name = graph.constant(array)
    graph.flipped[name] = kernel
    return name


@dataclass(frozen=True, slots=True)
class Window:
    """What a convolution or pooling sees, along each spatial axis.

    Attributes
    ----------
    kernel, strides, dilations : list of int
        Positions of the window, steps from window to window, and steps within it.
    fronts, backs : list of int
        Positions added before and after the input.
    rounds_up : bool
        A last window that begins within the input or before it counts, even if it ends beyond.
    """

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    fronts: list[int]
    backs: list[int]
    rounds_up: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether the windows lie within the input, next to each other or not."""
        return not any((*self.fronts, *self.backs, self.rounds_up)) and all(d == 1 for d in self.dilations)

    @property
    def is_disjoint(self) -> bool:
        """Whether the windows are plain, and cover the input without overlap."""
        return self.is_plain and self.kernel == self.strides

    @property
    def reaches(self) -> list[int]:
        """Positions from the first of a window to its last."""
        return [d * (k - 1) for d, k in zip(self.dilations, self.kernel, strict=True)]

    def spans(self, results: Sequence[int]) -> list[int]:
        """Return the positions from the first of the first window to the last of the last one."""
        return [(m - 1) * s + r + 1 for m, s, r in zip(results, self.strides, self.reaches, strict=True)]

    def lengths_before(self, results: Sequence[int]) -> list[int]:
        """Return the least lengths of an input with this number of windows."""
        pads = zip(self.spans(results), self.fronts, self.backs, strict=True)
        return [span - front - back for span, front, back in pads]


def window_of(rule: RuleContext, kernel: list[int]) -> Window:
    """Return the window of a node; SAME padding follows from the lengths of its input."""
    rank = len(kernel)
    strides, dilations = (rule.integers(name, [1] * rank) for name in ("strides", "dilations"))
    pads = rule.integers("pads", [0] * 2 * rank)
    mode = rule.attribute("auto_pad", b"NOTSET")
    if mode in (b"SAME_UPPER", b"SAME_LOWER"):
        lengths = rule.graph.shape(rule.x)[2:]
        totals = [
            max(0, (-(-n // s) - 1) * s + d * (k - 1) + 1 - n)
            for n, s, d, k in zip(lengths, strides, dilations, kernel, strict=True)
        ]
        less, more = [t // 2 for t in totals], [t - t // 2 for t in totals]
        pads = [*less, *more] if mode == b"SAME_UPPER" else [*more, *less]
    elif mode == b"VALID":
        pads = [0] * 2 * rank
    return Window(kernel, strides, dilations, pads[:rank], pads[rank:], bool(rule.attribute("ceil_mode", 0)))


def _pooling_window(rule: RuleContext) -> Window:
    kernel = rule.integers("kernel_shape", [])
    if len(kernel) != 2:
        raise rule.refuse("only windows of two axes are covered")
    window = window_of(rule, kernel)
    if window.rounds_up:
        # onnxruntime leaves such a window out, and shape inference counts it.
        for n, m, s, front in zip(
            rule.graph.shape(rule.x)[2:],
            rule.graph.shape(rule.y)[2:],
            window.strides,
            window.fronts,
            strict=True,
        ):
            if (m - 1) * s >= n + front:
                raise rule.refuse("its last window, rounded up, begins behind the input")
    return window


def _spread(rule: RuleContext, tensor: str, window: Window) -> str:
    """Append nodes that repeat each value of a pooled tensor over its window, with zeros between windows."""
    graph = rule.graph
    scales = graph.constant([1.0, 1.0, *window.kernel])
    if graph.dtype != np.float32:  # Resize takes scales of float32 only
        graph.constants[scales] = graph.constants[scales].astype(np.float32)
    attributes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return _grow_to(rule, graph.op("Resize", tensor, "", scales, attributes=attributes), window)


def _grow_to(rule: RuleContext, tensor: str, window: Window) -> str:
    """Append a Pad with zeros at the end of both axes, up to the size of the node's input."""
    graph, shape, pooled = rule.graph, rule.graph.shapes.get(rule.x), rule.graph.shapes.get(rule.y)
    if shape is not None and pooled is not None and None not in (*shape, *pooled):
        missing = [
            (n or 0) - ((m or 0) - 1) * s - k
            for n, m, s, k in zip(shape[2:], pooled[2:], window.strides, window.kernel, strict=True)
        ]
        return graph.pad(tensor, [0, 0, 0, 0], [0, 0, *missing]) if any(missing) else tensor
    after = graph.op("Sub", graph.op("Shape", rule.x), graph.op("Shape", tensor))
    before = graph.constant([0, 0, 0, 0], integer=True)
    return graph.op("Pad", tensor, graph.op("Concat", before, after, attributes={"axis": 0}))


def _as_batch(rule: RuleContext, tensor: str, lengths: Sequence[int]) -> str:
    """Append a Reshape of the channels into the batch, [N,C,h,w] → [N C,1,h,w]."""
    batch, channels = rule.graph.shape(rule.x)[:2]
    return rule.graph.reshape(tensor, [batch * channels, 1, *lengths])


def _one_hot(rule: RuleContext, window: Window) -> str:
    """Return the kernel [area,1,kh,kw] that copies the positions of a window to channels."""
    area = math.prod(window.kernel)
    return rule.graph.constant(np.eye(area).reshape(area, 1, *window.kernel))


def _scatter(rule: RuleContext, patches: str, window: Window) -> str:
    """Append nodes that add patches [N C,area,h,w] at the positions of their windows: [N,C,H,W]."""
    graph, lengths = rule.graph, rule.graph.shape(rule.x)[2:]
    attributes = {"strides": window.strides, "dilations": window.dilations}
    result = graph.op("ConvTranspose", patches, _one_hot(rule, window), attributes=attributes)
    for axis, (span, front, n) in enumerate(
        zip(window.spans(graph.shape(rule.y)[2:]), window.fronts, lengths, strict=True), start=2
    ):
        if front or span > n:
            result = graph.slice(result, axis, front, min(span, front + n))
        missing = front + n - span
        if missing > 0:
            after = [0] * 4
            after[axis] = missing
            result = graph.pad(result, [0] * 4, after)
    return graph.reshape(result, graph.shape(rule.x))


def _patches(rule: RuleContext, tensor: str, window: Window, filling: float) -> str:
    """Append nodes that take the windows out of a tensor like the input: [N C,area,h,w].

    Positions outside have the value `filling`.
    """
    graph, lengths = rule.graph, rule.graph.shape(rule.x)[2:]
    spans = window.spans(graph.shape(rule.y)[2:])
    backs = [max(0, s - f - n) for s, f, n in zip(spans, window.fronts, lengths, strict=True)]
    padded = _as_batch(rule, tensor, lengths)
    if any((*window.fronts, *backs)):
        pads = graph.constant([0, 0, *window.fronts, 0, 0, *backs], integer=True)
        padded = graph.op("Pad", padded, pads, graph.constant(filling))
    attributes = {"strides": window.strides, "dilations": window.dilations}
    return graph.op("Conv", padded, _one_hot(rule, window), attributes=attributes)


def _counts(rule: RuleContext, window: Window) -> np.ndarray:
    """Return how many positions the mean of each window divides by, [h,w]."""
    counts: list[np.ndarray] = []
    shapes = zip(rule.graph.shape(rule.x)[2:], rule.graph.shape(rule.y)[2:], strict=True)
    for axis, (length, results) in enumerate(shapes):
        starts = np.arange(results) * window.strides[axis] - window.fronts[axis]
        places = starts[:, np.newaxis] + window.dilations[axis] * np.arange(window.kernel[axis])
        least, most = 0, length
        if rule.attribute("count_include_pad", 0):
            least, most = -window.fronts[axis], length + window.backs[axis]
        counts.append(((places >= least) & (places < most)).sum(axis=1))
    return np.outer(*counts)


def _note_gradient(rule: RuleContext, window: Window, result: str) -> None:
    """Note that the nodes up to `result` are the gradient of a pooling over windows of 2×2."""
    if window.kernel == [2, 2]:
        rule.graph.composite(f"{rule.node.op_type}Gradient", [rule.x, rule.g], [result])


def d_average_pool(rule: RuleContext) -> Sequence[str]:
    """Y = means over windows: dx = Σ g / area over the windows that contain x."""
    window, graph = _pooling_window(rule), rule.graph
    area = math.prod(window.kernel)
    if window.is_disjoint:
        result = _spread(rule, graph.op("Mul", rule.g, graph.constant(1 / area)), window)
        _note_gradient(rule, window, result)
        return [result]
    share = graph.op("Mul", rule.g, graph.constant(1 / _counts(rule, window)))
    repeated = graph.op(
        "Mul", _as_batch(rule, share, graph.shape(rule.y)[2:]), graph.constant(np.ones((1, area, 1, 1)))
    )
    return [_scatter(rule, repeated, window)]


def d_max_pool(rule: RuleContext) -> Sequence[str]:
    """Y = maxima over windows: dx = g at the maximum of each window, shared equally by equal maxima.

    On a constant image that is the gradient of average pooling, the centre of the subdifferential. Deep
    learning frameworks choose one of the maxima.
    """
    graph, window = rule.graph, _pooling_window(rule)
    if window.is_disjoint:
        # x − max is 0 at a maximum and negative elsewhere; between windows, the spread g is 0. A factor for
        # each channel keeps onnxruntime's blocked layout, one factor for all channels does not.
        minus = graph.constant(np.full((graph.shapes[rule.y][1] or 1, 1, 1), -1.0))
        below = graph.op("Add", rule.x, _spread(rule, graph.op("Mul", rule.y, minus), window))
        mask = step(graph, below, at_zero=1)
        pooling = {"kernel_shape": window.kernel, "strides": window.strides}
        mean = graph.op("AveragePool", mask, attributes=pooling)
        ties = graph.op("Mul", mean, graph.constant(math.prod(window.kernel)))
        result = graph.op("Mul", mask, _spread(rule, graph.op("Div", rule.g, ties), window))
        _note_gradient(rule, window, result)
        return [result]
    results = graph.shape(rule.y)[2:]
    taken = _patches(rule, rule.x, window, _OUTSIDE)
    mask = step(graph, graph.op("Sub", taken, _as_batch(rule, rule.y, results)), at_zero=1)
    ties = graph.reduce("ReduceSum", mask, [1], keepdims=True)
    share = graph.op("Div", _as_batch(rule, rule.g, results), ties)
    return [_scatter(rule, graph.op("Mul", mask, share), window)]


def d_lp_pool(rule: RuleContext) -> Sequence[str]:
    """Y = (Σ |x|ᵖ)^(1/p) over windows: dx = |x|^(p−1) sign x Σ g y^(1−p) over those that contain x."""
    graph, window, p = rule.graph, _pooling_window(rule), number(rule, "p", 2)
    results, area = graph.shape(rule.y)[2:], math.prod(window.kernel)
    least = graph.constant(LEAST_NORM)  # where all x are 0, y^(1−p) would be infinite
    share = graph.op("Mul", rule.g, graph.op("Pow", graph.op("Max", rule.y, least), graph.constant(1 - p)))
    repeated = graph.op("Mul", _as_batch(rule, share, results), graph.constant(np.ones((1, area, 1, 1))))
    power = graph.op("Pow", graph.op("Abs", rule.x), graph.constant(p - 1))
    slope = graph.op("Mul", power, graph.op("Sign", rule.x))
    return [graph.op("Mul", slope, _scatter(rule, repeated, window))]


def d_global_average_pool(rule: RuleContext) -> Sequence[str]:
    """Y = mean of each channel: dx = g / n."""
    graph, shape = rule.graph, rule.graph.shape(rule.x)
    share = graph.op("Mul", rule.g, graph.constant(1 / math.prod(shape[2:])))
    return [graph.op("Expand", share, graph.constant(shape, integer=True))]


def d_global_max_pool(rule: RuleContext) -> Sequence[str]:
    """Y = maximum of each channel: dx = g at the maximum, shared equally by equal maxima."""
    graph = rule.graph
    mask = step(graph, graph.op("Sub", rule.x, rule.y), at_zero=1)
    axes = list(range(2, len(graph.shape(rule.x))))
    ties = graph.reduce("ReduceSum", mask, axes, keepdims=True)
    return [graph.op("Mul", mask, graph.op("Div", rule.g, ties))]


# --- padding ---------------------------------------------------------------------------------------------


def d_pad(rule: RuleContext) -> Sequence[str | None]:
    """Y = X with a border: dX = G without it; cotangents of copies (edge, reflect) go to their source."""
    mode = rule.attribute("mode", b"constant")
    pads, axes = rule.constant_input(1), rule.constant_input(3)
    if pads is None or axes is not None or min(pads) < 0 or mode not in (b"constant", b"edge", b"reflect"):
        raise rule.refuse(
            "only constant, edge and reflect padding without axes and without cropping is covered"
        )
    shape, g = rule.graph.shape(rule.x), rule.g
    for axis, length in enumerate(shape):
        before, after = int(pads[axis]), int(pads[axis + len(shape)])
        if before or after:
            g = _unpad_axis(rule, g, axis, length, (before, after), mode)
    return [g, None, None]


def _unpad_axis(
    rule: RuleContext, g: str, axis: int, length: int, pads: tuple[int, int], mode: object
) -> str:
    graph, rank, total = rule.graph, len(rule.graph.shape(rule.x)), length + sum(pads)
    parts = [graph.slice(g, axis, pads[0], pads[0] + length)]
    margins = ((0, pads[0], True), (pads[0] + length, total, False))
    for start, stop, at_front in margins:
        if mode == b"constant" or start == stop:
            continue
        if mode == b"edge":
            border = graph.reduce("ReduceSum", graph.slice(g, axis, start, stop), [axis], keepdims=True)
            first, size = (0 if at_front else length - 1), 1
        else:
            # Reversed; a Slice with negative step that includes index 0 ends at "minus infinity".
            border = graph.slice(g, axis, stop - 1, start - 1 if start else -(2**31), -1)
            size = stop - start
            first = 1 if at_front else length - 1 - size
        front, back = [0] * rank, [0] * rank
        front[axis], back[axis] = first, length - first - size
        parts.append(graph.pad(border, front, back))
    return graph.total(parts)
