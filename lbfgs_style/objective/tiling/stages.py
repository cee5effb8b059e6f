"""Divide a network into stages at its poolings, for an image of which only one block is variable.

A deep feature near the block sees far beyond it, and a window of everything that it sees is much larger than
the block. But the pixels out there are fixed, and so are all features that do not see the block. So each
stage of the network, from one pooling to the next, is computed only where features see the block, with a
margin of a few positions. The result of a pooling is inserted into the values that the fixed part of the
image gives, its surroundings, which are computed once for each block. Pure functions and graphs; the loop is
in `blocks`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from ...graphs.builder import GraphBuilder, Rewrite
from ...graphs.network_graph import IMAGE, Shapes, append_network, needed_nodes, with_network
from ...graphs.receptive_fields import Field, alignment, find_misaligned, halo, trace_fields
from .tile_plan import Span

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of a network, from one pooling to the next.

    Attributes
    ----------
    source : str
        The tensor that all of it is computed from: ``image``, or the output of a pooling.
    field : Field
        Receptive field of the source.
    layers : frozenset of str
        The layers in use that it computes.
    step : int
        Its windows begin at multiples of this, in positions of the source.
    halo : int
        How far its windows reach beyond the positions that see the block, in positions of the source; see
        `receptive_fields.halo`.
    """

    source: str
    field: Field
    layers: frozenset[str]
    step: int
    halo: int


@dataclass(frozen=True, slots=True)
class Extent:
    """Positions of the source of a stage, along one axis.

    Attributes
    ----------
    changed : Span
        The positions that see the block.
    window : Span
        The positions that the stage is computed from.
    """

    changed: Span
    window: Span


@dataclass(frozen=True, slots=True)
class Join:
    """How the output of a pooling is inserted into its surroundings, along one axis.

    It is cut to `length` positions from `start` on, and padded with `before` and `after` zeros.
    """

    start: int
    length: int
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Form:
    """What the graph of a block depends on: the size of its window, and two `Join` for each later stage."""

    window: tuple[int, int]
    joins: tuple[tuple[Join, Join], ...]


@dataclass(frozen=True, slots=True)
class Area:
    """The position of a block in each stage: an `Extent` of rows and one of columns for each."""

    stages: tuple[Stage, ...]
    rows: tuple[Extent, ...]
    columns: tuple[Extent, ...]

    @property
    def form(self) -> Form:
        """What the block's graph depends on; blocks of the same form share their graph."""
        window = self.rows[0].window.length, self.columns[0].window.length
        return Form(window, tuple(zip(self._joins(self.rows), self._joins(self.columns), strict=True)))

    def _joins(self, extents: Sequence[Extent]) -> list[Join]:
        joins: list[Join] = []
        for (one, extent), (other, after) in pairwise(zip(self.stages, extents, strict=True)):
            begin = extent.window.start // (other.field.stride // one.field.stride)
            joins.append(
                Join(
                    start=after.changed.start - begin,
                    length=after.changed.length,
                    before=after.changed.start - after.window.start,
                    after=after.window.stop - after.changed.stop,
                )
            )
        return joins

    def pixels(self, layer: str) -> tuple[Span, Span]:
        """Return the rows and columns of the image that belong to the window of a layer or of ``image``."""
        index = next(
            i for i, stage in enumerate(self.stages) if layer == stage.source or layer in stage.layers
        )
        stride = self.stages[index].field.stride
        rows, columns = self.rows[index].window, self.columns[index].window
        return Span(rows.start * stride, rows.stop * stride), Span(
            columns.start * stride, columns.stop * stride
        )

    def seen(self, size: tuple[int, int]) -> tuple[Span, Span]:
        """Return the rows and columns of an image that the surroundings of all stages see."""
        rows, columns = (
            _seen(self.stages, extents, length)
            for extents, length in zip((self.rows, self.columns), size, strict=True)
        )
        return rows, columns


def split_network(model: onnx.ModelProto, layers: Sequence[str]) -> tuple[Stage, ...]:
    """Divide a network after each pooling whose output alone determines everything that follows.

    Returns
    -------
    tuple of Stage
        A single one if there is no such pooling.
    """
    nodes = needed_nodes(model, layers)
    fields = trace_fields(model, layers)
    misaligned = find_misaligned(model, layers, fields)
    last_use = {name: index for index, node in enumerate(nodes) for name in node.input}
    cuts: list[str] = []
    used_until = last_use[IMAGE]  # index of the last node that reads a tensor computed so far
    for index, node in enumerate(nodes[:-1]):
        is_pooling = node.op_type in ("MaxPool", "AveragePool")
        if is_pooling and used_until <= index and node.output[0] not in misaligned:
            cuts.append(node.output[0])
        used_until = max(used_until, *(last_use.get(name, index) for name in node.output))
    tensors = [name for node in nodes for name in node.output if name in fields]
    result: list[Stage] = []
    ends = [-1, *(tensors.index(name) for name in cuts), len(tensors) - 1]
    for source, (begin, end) in zip((IMAGE, *cuts), pairwise(ends), strict=True):
        names = tensors[begin + 1 : end + 1]
        inner = [_relative_field(fields[source], fields[name]) for name in names]
        layers_here = frozenset(names) & set(layers)
        result.append(Stage(source, fields[source], layers_here, alignment(inner), halo(inner)))
    return tuple(result)


def locate_block(
    stages: tuple[Stage, ...], block: tuple[Span, Span], size: tuple[int, int], shapes: Shapes
) -> Area:
    """Return the position of a block in each stage.

    Parameters
    ----------
    stages : tuple of Stage
        The network.
    block : (Span, Span)
        Rows and columns of the block, in pixels.
    size : (int, int)
        Height and width of the image.
    shapes : Shapes
        Of the sources of the later stages.
    """
    heights, widths = ([shapes[stage.source][axis] for stage in stages[1:]] for axis in (1, 2))
    rows = _extents(stages, block[0], [size[0], *heights])
    columns = _extents(stages, block[1], [size[1], *widths])
    return Area(stages, rows, columns)


def with_stages(
    model: onnx.ModelProto, layers: Sequence[str], stages: Sequence[Stage], form: Form, shapes: Shapes
) -> GraphBuilder:
    """Begin a graph with a network in stages, as `network_graph.with_network` does with a whole network.

    Its inputs are ``image`` [1,3,h,w] and ``around_<source>`` [1,C,·,·] for each later stage: the output of a
    pooling, with zeros at the positions that see the block.
    """
    graph = GraphBuilder()
    graph.input(IMAGE, [1, 3, *form.window])
    append_network(graph, model, layers)
    joins = dict(zip((stage.source for stage in stages[1:]), form.joins, strict=True))
    nodes, graph.nodes = graph.nodes, []
    joined: dict[str, str] = {}
    for node in nodes:
        node.input[:] = [joined.get(name, name) for name in node.input]
        graph.nodes.append(node)
        tensor = node.output[0]
        name = graph.original_names[tensor]
        if name not in joins:
            continue
        rows, columns = joins[name]
        inner = graph.slice(tensor, 2, rows.start, rows.start + rows.length)
        inner = graph.slice(inner, 3, columns.start, columns.start + columns.length)
        inner = graph.pad(inner, [0, 0, rows.before, columns.before], [0, 0, rows.after, columns.after])
        size = [join.before + join.length + join.after for join in (rows, columns)]
        joined[tensor] = graph.op(
            "Add", inner, graph.input(surroundings_name(name), [1, shapes[name][0], *size])
        )
    graph.infer_shapes()
    return graph


def surroundings_name(source: str) -> str:
    """Return the name of the input with the surroundings of a stage."""
    return f"around_{source}"


def surroundings_graph(
    model: onnx.ModelProto,
    window: tuple[int, int],
    stages: Sequence[Stage],
    *,
    rewrite: Rewrite | None = None,
) -> onnx.ModelProto:
    """Build the graph with an input ``image`` [1,3,h,w] whose outputs are the sources of all later stages."""
    sources = [stage.source for stage in stages[1:]]
    graph = with_network(model, window, sources)
    for source in sources:
        graph.output(source)
    if rewrite is not None:
        rewrite(graph)
    return graph.model()


def _relative_field(source: Field, tensor: Field) -> Field:
    """Return the receptive field of a tensor, in positions of a source that it is computed from."""
    stride = source.stride
    return Field(
        tensor.stride // stride,
        (tensor.first - source.first) // stride,
        (tensor.last - source.last) // stride,
    )


def _extents(stages: Sequence[Stage], block: Span, lengths: Sequence[int]) -> tuple[Extent, ...]:
    """Return the extents of a block in each stage along one axis; `lengths` are those of the sources."""
    extents: list[Extent] = []
    changed = block
    for index, (stage, length) in enumerate(zip(stages, lengths, strict=True)):
        if index:
            field = _relative_field(stages[index - 1].field, stage.field)
            first = min(length - 1, max(0, -(-(changed.start - field.last) // field.stride)))
            last = min(length - 1, max(first, (changed.stop - 1 - field.first) // field.stride))
            changed = Span(first, last + 1)
        start = max(0, changed.start - stage.halo) // stage.step * stage.step
        stop = min(length, -(-(changed.stop + stage.halo) // stage.step) * stage.step)
        extents.append(Extent(changed, Span(start, stop)))
    return tuple(extents)


def _seen(stages: Sequence[Stage], extents: Sequence[Extent], length: int) -> Span:
    """Return the pixels of an axis, of which there are `length`, that the windows of all stages see."""
    step = max(stage.field.stride for stage in stages)
    start, stop = length, 0
    for stage, extent in zip(stages[1:], extents[1:], strict=True):
        field, window = stage.field, extent.window
        start = min(start, window.start * field.stride + field.first)
        stop = max(stop, (window.stop - 1) * field.stride + max(field.last, field.stride - 1) + 1)
    return Span(max(0, start) // step * step, min(length, -(-stop // step) * step))
