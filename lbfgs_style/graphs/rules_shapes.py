"""Differentiation rules of operators that move, copy or leave out values.

Each is linear in its input, and its rule the transposed map: a value that was copied sums the cotangents of
its copies, one that was left out gets 0. A rule gets a `RuleContext` and returns the cotangent of each input,
or None where it is not needed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .builder import GraphBuilder
from .gradient_rule import RuleContext, number, unbroadcast


def d_transpose(rule: RuleContext) -> Sequence[str]:
    """Y = transpose of X: dX = G, transposed back."""
    rank = len(rule.graph.shape(rule.x))
    order = rule.integers("perm", list(reversed(range(rank))))
    return [
        rule.graph.op("Transpose", rule.g, attributes={"perm": [order.index(axis) for axis in range(rank)]})
    ]


def d_reshape(rule: RuleContext) -> Sequence[str | None]:
    """Y = X in another shape, by Reshape, Flatten, Squeeze or Unsqueeze: dX = G in the shape of X."""
    return [rule.graph.reshape(rule.g, rule.graph.shape(rule.x)), None]


def d_concat(rule: RuleContext) -> Sequence[str | None]:
    """Y = [A, B, …]: dA, dB, … are the parts of G."""
    axis = rule.attribute("axis", 0)
    assert isinstance(axis, int)
    parts: list[str | None] = []
    start = 0
    for name, wanted in zip(rule.node.input, rule.active, strict=True):
        stop = start + rule.graph.shape(name)[axis]
        parts.append(rule.graph.slice(rule.g, axis, start, stop) if wanted else None)
        start = stop
    return parts


def d_split(rule: RuleContext) -> Sequence[str | None]:
    """Parts A, B, … of X: dX = [dA, dB, …], with zeros for parts that nothing depends on."""
    graph = rule.graph
    parts = [
        graph.constant(np.zeros(graph.shape(name))) if g is None else g
        for name, g in zip(rule.node.output, rule.cotangents, strict=True)
    ]
    return [graph.op("Concat", *parts, attributes={"axis": int(number(rule, "axis", 0))}), None]


def _put_back(graph: GraphBuilder, g: str, axis: int, places: np.ndarray, length: int) -> str:
    """Append nodes that add the entries of g along an axis at their places among `length`, 0 elsewhere.

    Each place gathers the entries that belong to it, one in a round, or a zero from behind the last entry.
    """
    rank, count = len(graph.shape(g)), len(places)
    after = [0] * rank
    after[axis] = 1
    padded = graph.pad(g, [0] * rank, after)
    rounds: list[str] = []
    left = {place: [i for i, p in enumerate(places) if p == place] for place in set(places.tolist())}
    while any(left.values()):
        order = [left[place].pop() if left.get(place) else count for place in range(length)]
        indices = graph.constant(order, integer=True)
        rounds.append(graph.op("Gather", padded, indices, attributes={"axis": axis}))
    return graph.total(rounds)


def d_slice(rule: RuleContext) -> Sequence[str | None]:
    """Y = a part of X: dX = G with zeros around, and between its entries where the step is not 1."""
    graph, shape = rule.graph, rule.graph.shape(rule.x)
    starts, stops, axes, steps = (rule.constant_input(index) for index in range(1, 5))
    assert starts is not None
    assert stops is not None
    listed = range(len(starts)) if axes is None else [int(axis) % len(shape) for axis in axes]
    strides = [1] * len(starts) if steps is None else [int(each) for each in steps]
    before, after, g = [0] * len(shape), [0] * len(shape), rule.g
    graph.shapes.setdefault(g, graph.shape(rule.y))
    for axis, start, stop, stride in zip(listed, starts, stops, strides, strict=True):
        places = np.arange(shape[axis])[int(start) : int(stop) : stride]
        if not places.size:
            return [graph.constant(np.zeros(shape)), *[None] * 4]
        if stride == 1:
            before[axis], after[axis] = int(places[0]), shape[axis] - 1 - int(places[-1])
        else:
            g = _put_back(graph, g, axis, places, shape[axis])
    return [graph.pad(g, before, after) if any(before + after) else g, *[None] * 4]


def d_gather(rule: RuleContext) -> Sequence[str | None]:
    """Y = entries of X along an axis, by constant indices: each entry sums the cotangents of its copies."""
    graph, shape, indices = rule.graph, rule.graph.shape(rule.x), rule.constant_input(1)
    assert indices is not None
    axis = int(number(rule, "axis", 0)) % len(shape)
    flat = [*shape[:axis], indices.size, *shape[axis + 1 :]]
    g = graph.reshape(rule.g, flat)
    graph.shapes[g] = tuple(flat)
    return [_put_back(graph, g, axis, indices.ravel() % shape[axis], shape[axis]), None]


def d_expand(rule: RuleContext) -> Sequence[str | None]:
    """Y = X, repeated along axes of length 1: dX = Σ G over them."""
    return [unbroadcast(rule.graph, rule.g, rule.x, rule.y), None]


def d_tile(rule: RuleContext) -> Sequence[str | None]:
    """Y = X, repeated along each axis: dX = Σ G over the repetitions."""
    graph, shape, repeats = rule.graph, rule.graph.shape(rule.x), rule.constant_input(1)
    assert repeats is not None
    parts = [length for pair in zip(repeats.tolist(), shape, strict=True) for length in pair]
    axes = list(range(0, len(parts), 2))
    return [graph.reduce("ReduceSum", graph.reshape(rule.g, parts), axes), None]


def d_depth_to_space(rule: RuleContext) -> Sequence[str]:
    """Y = channels moved into blocks of pixels: dX = the blocks moved back."""
    graph, block = rule.graph, int(number(rule, "blocksize", 1))
    if rule.attribute("mode", b"DCR") == b"DCR":
        return [graph.op("SpaceToDepth", rule.g, attributes={"blocksize": block})]
    batch, channels, height, width = graph.shape(rule.x)
    split = graph.reshape(rule.g, [batch, channels // block**2, height, block, width, block])
    order = graph.op("Transpose", split, attributes={"perm": [0, 1, 3, 5, 2, 4]})
    return [graph.reshape(order, [batch, channels, height, width])]


def d_space_to_depth(rule: RuleContext) -> Sequence[str]:
    """Y = blocks of pixels moved into channels: dX = the channels moved back."""
    return [
        rule.graph.op("DepthToSpace", rule.g, attributes={"blocksize": int(number(rule, "blocksize", 1))})
    ]


def d_resize(rule: RuleContext) -> Sequence[str | None]:
    """Y = A X Bᵀ, a map of the rows and one of the columns: dX = Aᵀ G B."""
    graph, before, after = rule.graph, rule.graph.shape(rule.x), rule.graph.shape(rule.y)
    if len(before) != 4 or before[:2] != after[:2]:
        raise rule.refuse("it resizes other axes than height and width")
    factors = [m / n for m, n in zip(after, before, strict=True)]
    scales = rule.constant_input(2)
    if scales is not None and scales.size:
        for axis, scale in zip(rule.integers("axes", range(len(before))), scales.tolist(), strict=True):
            factors[axis] = scale
    rows, columns = (resize_matrix(rule, before[axis], after[axis], factors[axis]) for axis in (2, 3))
    by_rows = graph.op("MatMul", graph.constant(rows.T), rule.g)
    return [graph.op("MatMul", by_rows, graph.constant(columns)), None, None, None]


def resize_matrix(rule: RuleContext, length: int, result: int, factor: float) -> np.ndarray:
    """Return the matrix [result, length] by which Resize maps an axis, by its specification in ONNX."""
    mode = rule.attribute("mode", b"nearest")
    if mode not in (b"nearest", b"linear") or rule.attribute("antialias", 0):
        raise rule.refuse("only the modes nearest and linear without antialiasing are covered")
    place = np.arange(result, dtype=float)
    centred = (place + 0.5) / factor - 0.5
    positions: dict[object, np.ndarray] = {
        b"half_pixel": centred,
        b"pytorch_half_pixel": centred if result > 1 else np.zeros(1),
        b"asymmetric": place / factor,
        b"align_corners": place * (length - 1) / max(result - 1, 1),
    }
    kind = rule.attribute("coordinate_transformation_mode", b"half_pixel")
    if kind not in positions:
        raise rule.refuse(f"its coordinate_transformation_mode is {kind!r}")
    x = positions[kind]
    matrix, rows = np.zeros((result, length)), np.arange(result)
    if mode == b"linear":
        lower = np.floor(x)
        for corner, weight in ((lower, 1 - (x - lower)), (lower + 1, x - lower)):
            np.add.at(matrix, (rows, np.clip(corner, 0, length - 1).astype(int)), weight)
        return matrix
    rounded: dict[object, np.ndarray] = {
        b"floor": np.floor(x),
        b"ceil": np.ceil(x),
        b"round_prefer_floor": np.ceil(x - 0.5),
        b"round_prefer_ceil": np.floor(x + 0.5),
    }
    nearest = rounded[rule.attribute("nearest_mode", b"round_prefer_floor")]
    matrix[rows, np.clip(nearest, 0, length - 1).astype(int)] = 1
    return matrix
