"""Differentiation rules of convolution, pooling and padding.

Each rule takes a `Backward` and returns a cotangent for each input, None where none is wanted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .builder import GraphBuilder
from .gradient_rule import Backward, step

# --- convolution and pooling -----------------------------------------------------------------------------


def d_conv(v: Backward) -> Sequence[str | None]:
    """Convolve G with the kernel turned around, its channels swapped; the kernel itself gets no gradient."""
    kernel = v.constant_input(1)
    assert kernel is not None
    spatial = kernel.ndim - 2
    sizes = kernel.shape[2:]
    dilations = v.integers("dilations", [1] * spatial)
    pads = v.integers("pads", [0] * 2 * spatial)
    if any(s != 1 for s in v.integers("strides", [1] * spatial)):
        raise v.refuse("its stride is not 1")
    if v.attribute("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise v.refuse("auto_pad is set; give explicit pads")
    reach = [d * (k - 1) for d, k in zip(dilations, sizes, strict=True)]
    inverse = [r - p for r, p in zip(reach * 2, pads, strict=True)]
    if min(inverse, default=0) < 0:
        raise v.refuse("it pads more than its kernel reaches")
    groups = v.attribute("group", 1)
    assert isinstance(groups, int)
    outputs, inputs = kernel.shape[0] // groups, kernel.shape[1]
    swapped = kernel.reshape(groups, outputs, inputs, *sizes).swapaxes(1, 2)
    turned = np.flip(swapped.reshape(groups * inputs, outputs, *sizes), tuple(range(2, kernel.ndim)))
    attributes = {"pads": inverse, "dilations": dilations, "group": groups, "kernel_shape": list(sizes)}
    weight = _turned(v.b, v.node.input[1], np.ascontiguousarray(turned))
    return [v.b.op("Conv", v.g, weight, attributes=attributes), None, None]


def _turned(b: GraphBuilder, kernel: str, array: np.ndarray) -> str:
    """Return the constant with a kernel's values turned around; nodes that share a kernel share it, too."""
    for name, source in b.turned.items():
        # In other groups, the same kernel is turned in another way.
        if source == kernel and np.array_equal(b.constants[name], array):
            return name
    name = b.constant(array)
    b.turned[name] = kernel
    return name


@dataclass(frozen=True, slots=True)
class _Window:
    """Kernel and strides of a pooling node without padding."""

    kernel: list[int]
    strides: list[int]

    @property
    def disjoint(self) -> bool:
        return self.kernel == self.strides


def _window(v: Backward) -> _Window:
    kernel = v.integers("kernel_shape", [])
    strides = v.integers("strides", [1] * len(kernel))
    plain = not any(v.integers("pads", [0])) and not v.attribute("ceil_mode", 0)
    plain = plain and all(d == 1 for d in v.integers("dilations", [1]))
    if not plain or v.attribute("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID") or len(kernel) != 2:
        raise v.refuse("it pads, dilates or rounds up; only plain 2-D windows are covered")
    return _Window(kernel, strides)


def _spread(v: Backward, tensor: str, window: _Window) -> str:
    """Repeat each value of a pooled tensor over its window, with zeros where no window reached."""
    b = v.b
    scales = b.constant([1.0, 1.0, *window.kernel])
    if b.dtype != np.float32:  # the scales of Resize are float32 always
        b.constants[scales] = b.constants[scales].astype(np.float32)
    attributes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return _grow_to(v, b.op("Resize", tensor, "", scales, attributes=attributes), window)


def _grow_to(v: Backward, tensor: str, window: _Window) -> str:
    """Add zeros at the end of both axes up to the size of the node's input."""
    b, shape, pooled = v.b, v.b.shapes.get(v.x), v.b.shapes.get(v.y)
    if shape is not None and pooled is not None and None not in (*shape, *pooled):
        missing = [
            (n or 0) - ((m or 0) - 1) * s - k
            for n, m, s, k in zip(shape[2:], pooled[2:], window.strides, window.kernel, strict=True)
        ]
        return b.pad(tensor, [0, 0, 0, 0], [0, 0, *missing]) if any(missing) else tensor
    after = b.op("Sub", b.op("Shape", v.x), b.op("Shape", tensor))
    before = b.constant([0, 0, 0, 0], integer=True)
    return b.op("Pad", tensor, b.op("Concat", before, after, attributes={"axis": 0}))


def _as_batch(v: Backward, tensor: str, pooled: bool) -> str:
    """Move channels into the batch, [1,C,h,w] → [C,1,h,w], so that windows can be taken apart."""
    _, channels, height, width = v.b.shape(v.y if pooled else v.x)
    return v.b.reshape(tensor, [channels, 1, height, width])


def _one_hot(v: Backward, window: _Window) -> str:
    """Return the kernel [area,1,kh,kw] that takes windows apart into channels."""
    area = math.prod(window.kernel)
    return v.b.constant(np.eye(area).reshape(area, 1, *window.kernel))


def _scatter(v: Backward, patches: str, window: _Window) -> str:
    """Add the values of patches [C,area,h,w] onto the positions they were taken from: [1,C,H,W]."""
    spread = v.b.op("ConvTranspose", patches, _one_hot(v, window), attributes={"strides": window.strides})
    grown = _grow_to(v, spread, window)
    return v.b.reshape(grown, v.b.shape(v.x))


def d_average_pool(v: Backward) -> Sequence[str]:
    """Y = means over windows: each x of a window gets its share g / area."""
    window = _window(v)
    area = math.prod(window.kernel)
    share = v.b.op("Mul", v.g, v.b.constant(1 / area))
    if window.disjoint:
        return [_spread(v, share, window)]
    repeated = v.b.op("Mul", _as_batch(v, share, pooled=True), v.b.constant(np.ones((1, area, 1, 1))))
    return [_scatter(v, repeated, window)]


def d_max_pool(v: Backward) -> Sequence[str]:
    """Y = maxima over windows: the maximum gets g, and equal maxima share it equally.

    So a constant picture has the gradient of an average: the centre of the subdifferential. Frameworks pick
    one of the maxima instead.
    """
    b, window = v.b, _window(v)
    if window.disjoint:
        # x − max is 0 at a maximum and negative elsewhere. Where no window reached, the spread g is 0.
        # A factor for each channel stays in onnxruntime's blocked layout, one for all does not.
        minus = b.constant(np.full((b.shapes[v.y][1] or 1, 1, 1), -1.0))
        below = b.op("Add", v.x, _spread(v, b.op("Mul", v.y, minus), window))
        mask = step(b, below, at_zero=1)
        pooling = {"kernel_shape": window.kernel, "strides": window.strides}
        mean = b.op("AveragePool", mask, attributes=pooling)
        ties = b.op("Mul", mean, b.constant(math.prod(window.kernel)))
        return [b.op("Mul", mask, _spread(v, b.op("Div", v.g, ties), window))]
    taken = b.op(
        "Conv", _as_batch(v, v.x, pooled=False), _one_hot(v, window), attributes={"strides": window.strides}
    )
    mask = step(b, b.op("Sub", taken, _as_batch(v, v.y, pooled=True)), at_zero=1)
    ties = b.reduce("ReduceSum", mask, [1], keepdims=True)
    share = b.op("Div", _as_batch(v, v.g, pooled=True), ties)
    return [_scatter(v, b.op("Mul", mask, share), window)]


# --- padding ---------------------------------------------------------------------------------------------


def d_pad(v: Backward) -> Sequence[str | None]:
    """Cut the padding off; for copies (edge, reflect), add their cotangents to where they came from."""
    mode = v.attribute("mode", b"constant")
    pads, axes = v.constant_input(1), v.constant_input(3)
    if pads is None or axes is not None or min(pads) < 0 or mode not in (b"constant", b"edge", b"reflect"):
        raise v.refuse("only constant, edge and reflect padding without axes and without cropping is covered")
    shape, g = v.b.shape(v.x), v.g
    for axis, length in enumerate(shape):
        before, after = int(pads[axis]), int(pads[axis + len(shape)])
        if before or after:
            g = _unpad_axis(v, g, axis, length, (before, after), mode)
    return [g, None, None]


def _unpad_axis(v: Backward, g: str, axis: int, length: int, pads: tuple[int, int], mode: object) -> str:
    b, rank, total = v.b, len(v.b.shape(v.x)), length + sum(pads)
    parts = [b.slice(g, axis, pads[0], pads[0] + length)]
    margins = ((0, pads[0], True), (pads[0] + length, total, False))
    for start, stop, at_front in margins:
        if mode == b"constant" or start == stop:
            continue
        if mode == b"edge":
            strip = b.reduce("ReduceSum", b.slice(g, axis, start, stop), [axis], keepdims=True)
            first, size = (0 if at_front else length - 1), 1
        else:
            # Backwards; a Slice that runs down to index 0 ends at "minus infinity".
            strip = b.slice(g, axis, stop - 1, start - 1 if start else -(2**31), -1)
            size = stop - start
            first = 1 if at_front else length - 1 - size
        front, back = [0] * rank, [0] * rank
        front[axis], back[axis] = first, length - first - size
        parts.append(b.pad(strip, front, back))
    return b.total(parts)
