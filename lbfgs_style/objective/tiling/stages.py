"""A network in stages, for a picture of which only a block is free, and all that surrounds it is known.

A deep feature near the block sees far beyond it, and a window that holds all it sees is much larger than the
block. But what lies out there is held, and so are all features that do not see the block. Between two
poolings the network is therefore computed only where features see the block, with a margin of a few
positions; what a pooling hands on is set into the values that the held part of the picture gives, its
surroundings, which are computed once for each block. Pure functions and graphs; the loop is in `blocks`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from ...graphs import cpu_layout, winograd
from ...graphs.builder import GraphBuilder
from ...graphs.network_graph import IMAGE, append_network, needed_nodes, with_network
from ...graphs.receptive_fields import Field, alignment, find_misaligned, halo, trace_fields
from .tile_plan import Span

if TYPE_CHECKING:
    import onnx

Shapes = Mapping[str, tuple[int, int, int]]
"""Tensor → channels, height and width for the whole picture."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of a network between two poolings.

    Attributes
    ----------
    source : str
        The tensor that all of it is made of: ``image``, or what a pooling gives.
    field : Field
        The source's receptive field.
    layers : frozenset of str
        The layers in use that it makes.
    step : int
        What its windows begin at multiples of, in positions of the source.
    halo : int
        How far its windows reach beyond what changes, in positions of the source; see `receptive_fields`.
    """

    source: str
    field: Field
    layers: frozenset[str]
    step: int
    halo: int


@dataclass(frozen=True, slots=True)
class Extent:
    """Positions of a stage's source along one axis.

    Attributes
    ----------
    changed : Span
        Those that see the block.
    window : Span
        Those that the stage is computed from.
    """

    changed: Span
    window: Span


@dataclass(frozen=True, slots=True)
class Join:
    """How what a pooling gives is laid into its surroundings along one axis: cut, then zeros around it."""

    start: int
    length: int
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Form:
    """What the graph of a block depends on: its window [h,w] and, for each later stage, two `Join`."""

    window: tuple[int, int]
    joins: tuple[tuple[Join, Join], ...]


@dataclass(frozen=True, slots=True)
class Area:
    """Where a free block lies in each stage: rows and columns."""

    stages: tuple[Stage, ...]
    rows: tuple[Extent, ...]
    columns: tuple[Extent, ...]

    @property
    def form(self) -> Form:
        """What the block has in common with others."""
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
        """Return the rows and columns of the picture that belong to a layer's features in its window."""
        index = next(i for i, stage in enumerate(self.stages) if layer in stage.layers)
        stride = self.stages[index].field.stride
        rows, columns = self.rows[index].window, self.columns[index].window
        return Span(rows.start * stride, rows.stop * stride), Span(
            columns.start * stride, columns.stop * stride
        )

    def seen(self, size: tuple[int, int]) -> tuple[Span, Span]:
        """Return the rows and columns of a picture that the surroundings of all stages see."""
        rows, columns = (
            _seen(self.stages, extents, length)
            for extents, length in zip((self.rows, self.columns), size, strict=True)
        )
        return rows, columns


def stages(model: onnx.ModelProto, layers: Sequence[str]) -> tuple[Stage, ...]:
    """Cut a network where all that follows is made of what one pooling gives.

    Returns
    -------
    tuple of Stage
        A single one where there is no such pooling.
    """
    nodes = needed_nodes(model, layers)
    fields = trace_fields(model, layers)
    odd = find_misaligned(model, layers, fields)
    last_use = {name: index for index, node in enumerate(nodes) for name in node.input}
    cuts: list[str] = []
    open_until = last_use[IMAGE]
    for index, node in enumerate(nodes[:-1]):
        if node.op_type in ("MaxPool", "AveragePool") and open_until <= index and node.output[0] not in odd:
            cuts.append(node.output[0])
        open_until = max(open_until, *(last_use.get(name, index) for name in node.output))
    made = [name for node in nodes for name in node.output if name in fields]
    found: list[Stage] = []
    ends = [-1, *(made.index(name) for name in cuts), len(made) - 1]
    for source, (begin, end) in zip((IMAGE, *cuts), pairwise(ends), strict=True):
        names = made[begin + 1 : end + 1]
        inside = [_beyond(fields[source], fields[name]) for name in names]
        found.append(
            Stage(source, fields[source], frozenset(names) & set(layers), alignment(inside), halo(inside))
        )
    return tuple(found)


def area(parts: tuple[Stage, ...], block: tuple[Span, Span], size: tuple[int, int], shapes: Shapes) -> Area:
    """Return where a block of rows and columns lies in each stage.

    Parameters
    ----------
    parts : tuple of Stage
        The network.
    block : (Span, Span)
        Its rows and columns of the picture.
    size : (int, int)
        Height and width of the picture.
    shapes : mapping of str to (int, int, int)
        Of the sources, for the whole picture.
    """
    heights, widths = ([shapes[part.source][axis] for part in parts[1:]] for axis in (1, 2))
    rows = _extents(parts, block[0], [size[0], *heights])
    return Area(parts, rows, _extents(parts, block[1], [size[1], *widths]))


def with_stages(
    model: onnx.ModelProto, layers: Sequence[str], parts: Sequence[Stage], form: Form, shapes: Shapes
) -> GraphBuilder:
    """Start a graph with a network in stages, as `network_graph.with_network` does with a whole one.

    Its inputs are ``image`` [1,3,h,w] and ``around_<source>`` [1,C,·,·] for each later stage, the values of a
    pooling with zeros where they see the block.
    """
    graph = GraphBuilder()
    graph.input(IMAGE, [1, 3, *form.window])
    append_network(graph, model, layers)
    joins = dict(zip((part.source for part in parts[1:]), form.joins, strict=True))
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
        joined[tensor] = graph.op("Add", inner, graph.input(around_name(name), [1, shapes[name][0], *size]))
    graph.infer_shapes()
    return graph


def around_name(source: str) -> str:
    """Name the input with the surroundings of a stage."""
    return f"around_{source}"


def surroundings_graph(
    model: onnx.ModelProto,
    window: tuple[int, int],
    parts: Sequence[Stage],
    *,
    choose: winograd.Choose | None = None,
) -> onnx.ModelProto:
    """Build the graph with an input ``image`` [1,3,h,w] whose outputs are the sources of all later stages."""
    sources = [part.source for part in parts[1:]]
    graph = with_network(model, window, sources)
    for source in sources:
        graph.output(source)
    if choose is not None:
        cpu_layout.optimize_for_cpu(graph, choose)
    return graph.model()


def _beyond(source: Field, layer: Field) -> Field:
    """Return the field of a layer in positions of a source that it is made of."""
    stride = source.stride
    return Field(
        layer.stride // stride, (layer.first - source.first) // stride, (layer.last - source.last) // stride
    )


def _extents(parts: Sequence[Stage], block: Span, lengths: Sequence[int]) -> tuple[Extent, ...]:
    """Follow a block through the stages along one axis, where the sources have these lengths."""
    found: list[Extent] = []
    changed = block
    for index, (part, length) in enumerate(zip(parts, lengths, strict=True)):
        if index:
            field = _beyond(parts[index - 1].field, part.field)
            first = min(length - 1, max(0, -(-(changed.start - field.last) // field.stride)))
            last = min(length - 1, max(first, (changed.stop - 1 - field.first) // field.stride))
            changed = Span(first, last + 1)
        start = max(0, changed.start - part.halo) // part.step * part.step
        stop = min(length, -(-(changed.stop + part.halo) // part.step) * part.step)
        found.append(Extent(changed, Span(start, stop)))
    return tuple(found)


def _seen(parts: Sequence[Stage], extents: Sequence[Extent], length: int) -> Span:
    step = max(part.field.stride for part in parts)
    start, stop = length, 0
    for part, extent in zip(parts[1:], extents[1:], strict=True):
        field, window = part.field, extent.window
        start = min(start, window.start * field.stride + field.first)
        stop = max(stop, (window.stop - 1) * field.stride + max(field.last, field.stride - 1) + 1)
    return Span(max(0, start) // step * step, min(length, -(-stop // step) * step))
