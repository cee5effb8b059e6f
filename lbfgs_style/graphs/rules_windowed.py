"""Differentiation rules of convolution, pooling and padding.

Each rule gets a `RuleContext` and returns the cotangent of each input, or None where it is not needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .builder import GraphBuilder
from .gradient_rule import RuleContext, step

# --- convolution and pooling -----------------------------------------------------------------------------


def d_conv(rule: RuleContext) -> Sequence[str | None]:
    """Y = kernel ∗ X: dX = G convolved with the flipped kernel, channels swapped; the kernel is constant."""
    kernel = rule.constant_input(1)
    assert kernel is not None
    spatial = kernel.ndim - 2
    sizes = kernel.shape[2:]
    dilations = rule.integers("dilations", [1] * spatial)
    pads = rule.integers("pads", [0] * 2 * spatial)
    if any(s != 1 for s in rule.integers("strides", [1] * spatial)):
        raise rule.refuse("its stride is not 1")
    if rule.attribute("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise rule.refuse("auto_pad is set; give explicit pads")
    reach = [d * (k - 1) for d, k in zip(dilations, sizes, strict=True)]
    inverse = [r - p for r, p in zip(reach * 2, pads, strict=True)]
    if min(inverse, default=0) < 0:
        raise rule.refuse("it pads more than its kernel reaches")
    groups = rule.attribute("group", 1)
    assert isinstance(groups, int)
    outputs, inputs = kernel.shape[0] // groups, kernel.shape[1]
    swapped = kernel.reshape(groups, outputs, inputs, *sizes).swapaxes(1, 2)
    flipped = np.flip(swapped.reshape(groups * inputs, outputs, *sizes), tuple(range(2, kernel.ndim)))
    attributes = {"pads": inverse, "dilations": dilations, "group": groups, "kernel_shape": list(sizes)}
    weight = _flipped_kernel(rule.graph, rule.node.input[1], np.ascontiguousarray(flipped))
    return [rule.graph.op("Conv", rule.g, weight, attributes=attributes), None, None]


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
class _Window:
    """Kernel and strides of a pooling node without padding."""

    kernel: list[int]
    strides: list[int]

    @property
    def disjoint(self) -> bool:
        return self.kernel == self.strides


def _window(rule: RuleContext) -> _Window:
    kernel = rule.integers("kernel_shape", [])
    strides = rule.integers("strides", [1] * len(kernel))
    plain = not any(rule.integers("pads", [0])) and not rule.attribute("ceil_mode", 0)
    plain = plain and all(d == 1 for d in rule.integers("dilations", [1]))
    if not plain or rule.attribute("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID") or len(kernel) != 2:
        raise rule.refuse("it pads, dilates or rounds up; only plain 2-D windows are covered")
    return _Window(kernel, strides)


def _spread(rule: RuleContext, tensor: str, window: _Window) -> str:
    """Append nodes that repeat each value of a pooled tensor over its window, with zeros between windows."""
    graph = rule.graph
    scales = graph.constant([1.0, 1.0, *window.kernel])
    if graph.dtype != np.float32:  # Resize takes scales of float32 only
        graph.constants[scales] = graph.constants[scales].astype(np.float32)
    attributes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return _grow_to(rule, graph.op("Resize", tensor, "", scales, attributes=attributes), window)


def _grow_to(rule: RuleContext, tensor: str, window: _Window) -> str:
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


def _as_batch(rule: RuleContext, tensor: str, pooled: bool) -> str:
    """Append a Reshape of the channels into the batch, [1,C,h,w] → [C,1,h,w]."""
    _, channels, height, width = rule.graph.shape(rule.y if pooled else rule.x)
    return rule.graph.reshape(tensor, [channels, 1, height, width])


def _one_hot(rule: RuleContext, window: _Window) -> str:
    """Return the kernel [area,1,kh,kw] that copies the positions of a window to channels."""
    area = math.prod(window.kernel)
    return rule.graph.constant(np.eye(area).reshape(area, 1, *window.kernel))


def _scatter(rule: RuleContext, patches: str, window: _Window) -> str:
    """Append nodes that add patches [C,area,h,w] at the positions of their windows: [1,C,H,W]."""
    spread = rule.graph.op(
        "ConvTranspose", patches, _one_hot(rule, window), attributes={"strides": window.strides}
    )
    grown = _grow_to(rule, spread, window)
    return rule.graph.reshape(grown, rule.graph.shape(rule.x))


def _note_gradient(rule: RuleContext, window: _Window, result: str) -> None:
    """Note that the nodes up to `result` are the gradient of a pooling over windows of 2×2."""
    if window.kernel == [2, 2]:
        rule.graph.composite(f"{rule.node.op_type}Gradient", [rule.x, rule.g], [result])


def d_average_pool(rule: RuleContext) -> Sequence[str]:
    """Y = means over windows: dx = Σ g / area over the windows that contain x."""
    window = _window(rule)
    area = math.prod(window.kernel)
    share = rule.graph.op("Mul", rule.g, rule.graph.constant(1 / area))
    if window.disjoint:
        result = _spread(rule, share, window)
        _note_gradient(rule, window, result)
        return [result]
    repeated = rule.graph.op(
        "Mul", _as_batch(rule, share, pooled=True), rule.graph.constant(np.ones((1, area, 1, 1)))
    )
    return [_scatter(rule, repeated, window)]


def d_max_pool(rule: RuleContext) -> Sequence[str]:
    """Y = maxima over windows: dx = g at the maximum of each window, shared equally by equal maxima.

    On a constant image that is the gradient of average pooling, the centre of the subdifferential. Deep
    learning frameworks choose one of the maxima.
    """
    graph, window = rule.graph, _window(rule)
    if window.disjoint:
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
    taken = graph.op(
        "Conv",
        _as_batch(rule, rule.x, pooled=False),
        _one_hot(rule, window),
        attributes={"strides": window.strides},
    )
    mask = step(graph, graph.op("Sub", taken, _as_batch(rule, rule.y, pooled=True)), at_zero=1)
    ties = graph.reduce("ReduceSum", mask, [1], keepdims=True)
    share = graph.op("Div", _as_batch(rule, rule.g, pooled=True), ties)
    return [_scatter(rule, graph.op("Mul", mask, share), window)]


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
