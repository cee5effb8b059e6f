"""The graphs of tiles: a tile's share of the sums, what these make of the loss, and a tile's gradient.

See `tiles` for why they are exact and `tiled` for the loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...graphs import cpu_layout, winograd
from ...graphs.builder import GraphBuilder
from ...graphs.network_graph import IMAGE, with_network
from ...graphs.receptive_fields import Field
from ..losses import assembly as terms_of_loss
from ..losses import distances, moments
from ..losses.terms import PIXEL_TERMS, TermNames, distance_name, energy_name, features_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx

TILE = "tile"
_INT64 = 7  # onnx.TensorProto.INT64, without importing onnx


def tile_statistics_graph(
    model: onnx.ModelProto,
    window: tuple[int, int],
    terms: TermNames,
    fields: Mapping[str, Field],
    *,
    choose: winograd.Choose | None = None,
) -> onnx.ModelProto:
    """Build the graph of a tile's share of every sum.

    Parameters
    ----------
    model : onnx.ModelProto
        A feature network.
    window : (int, int)
        Height and width of the window.
    terms : TermNames
        The layers whose features (content) and moments (style) are wanted.
    fields : mapping of str to Field
        `receptive_fields.receptive_fields` of the layers.
    choose : function, optional
        As in `graphs.statistics_graph`.

    Returns
    -------
    onnx.ModelProto
        Inputs ``image`` [1,3,h,w], the window, ``tile`` [4]: top, left, bottom and right of the tile in
        it, and with masks ``mask_<layer>_<region>`` of the window. Outputs, of the tile alone:
        ``features_<layer>`` [1,C,·,·], moments under the names of `TermNames.style_names`, sums that are not
        divided by the number of positions, ``tv`` [] and ``range`` [], sums over pixels.
    """
    graph = with_network(model, window, terms.layers)
    tile = graph.op("Cast", graph.input(TILE, [4]), attributes={"to": _INT64})
    for layer in terms.content_layers:
        graph.output(_crop(graph, layer, tile, fields[layer].stride), features_name(layer))
    for part, mask in terms_of_loss.declare_masks(graph, terms).items():
        stride, channels = fields[part.layer].stride, graph.shape(part.layer)[1]
        features = _crop(graph, part.layer, tile, stride)
        inside = None if mask is None else _crop(graph, mask, tile, stride)
        own = moments.sums(graph, features, channels, mean=terms.with_mean, mask=inside)
        for name, tensor in zip(terms.moments(part).names, own.names, strict=True):
            graph.output(tensor, name)
    graph.output(_variation(graph, terms, tile), "tv")
    graph.output(distances.excess(graph, _crop(graph, IMAGE, tile, 1)), "range")
    if choose is not None:
        cpu_layout.optimize_for_cpu(graph, choose)
    return graph.model()


def _variation(graph: GraphBuilder, terms: TermNames, tile: str) -> str:
    """Add the tile's share of the variation.

    A difference belongs to the tile of its first pixel, so one more row or column takes part.
    """
    if terms.form.variation.joint:
        return distances.joint_differences(graph, _crop(graph, IMAGE, tile, 1, more=(1, 1)), terms.tv_power)
    down = _crop(graph, IMAGE, tile, 1, more=(1, 0))
    right = _crop(graph, IMAGE, tile, 1, more=(0, 1))
    return graph.total(
        distances.differences(graph, x, axis, terms.tv_power) for x, axis in ((down, 2), (right, 3))
    )


def assessment_graph(
    terms: TermNames, shapes: Mapping[str, tuple[int, int, int]], size: tuple[int, int]
) -> onnx.ModelProto:
    """Build the graph that makes the loss of the sums over all tiles.

    Parameters
    ----------
    terms : TermNames
        The terms.
    shapes : mapping of str to (int, int, int)
        Channels, height and width of each layer's features of the whole picture.
    size : (int, int)
        Height and width of the whole picture.

    Returns
    -------
    onnx.ModelProto
        Inputs: ``own_<name>`` for each sum, the moments divided by the number of positions;
        ``energy_<layer>`` [] for each content layer; ``weights`` and the targets of the style, as for
        `graphs.objective_graph`. Outputs ``loss`` [], ``terms`` [K], and ``d_<name>``, dL/d of each sum,
        undivided.
    """
    graph = GraphBuilder()
    sums = inputs_of_sums(graph, "own", terms, {layer: shapes[layer][0] for layer in terms.style_layers})
    energies = {layer: graph.input(energy_name(layer), []) for layer in terms.content_layers}
    found = terms_of_loss.assess(graph, terms, sums, energies, shapes, size)
    graph.output(found.loss, "loss")
    graph.output(found.terms, "terms")
    for name, slope in (found.slopes | terms_of_loss.by_sums(graph, terms, found.slopes, shapes)).items():
        graph.output(slope, f"d_{name}")
    return graph.model()


def scalar_sums(terms: TermNames) -> tuple[str, ...]:
    """Names of the sums that are numbers."""
    return (*map(distance_name, terms.content_layers), *PIXEL_TERMS)


def inputs_of_sums(
    graph: GraphBuilder, prefix: str, terms: TermNames, channels: Mapping[str, int]
) -> dict[str, str]:
    """Declare an input ``<prefix>_<name>`` for each sum that the loss depends on."""
    shapes = dict.fromkeys(scalar_sums(terms), ()) | terms.moment_shapes(channels)
    return {name: graph.input(f"{prefix}_{name}", shape) for name, shape in shapes.items()}


def tile_gradient_graph(
    model: onnx.ModelProto,
    window: tuple[int, int],
    terms: TermNames,
    *,
    choose: winograd.Choose | None = None,
) -> onnx.ModelProto:
    """Build the graph of a tile's gradient, given how the loss depends on the whole picture's statistics.

    Parameters
    ----------
    model, window, terms, choose
        As in `tile_statistics_graph`.

    Returns
    -------
    onnx.ModelProto
        Inputs ``image`` [1,3,h,w], the window; ``features_<layer>``, the content's features in the window;
        with masks ``mask_<layer>_<region>`` of the window; ``d_<name>``, as `assessment_graph` gives them.
        Output ``d_image`` [1,3,h,w], exact in the tile only.
    """
    graph = with_network(model, window, terms.layers)
    _, differences = terms_of_loss.content_differences(graph, terms)
    masks = terms_of_loss.declare_masks(graph, terms)
    pixels = terms_of_loss.pixel_sums(graph, terms, window)
    slopes = inputs_of_sums(graph, "d", terms, {layer: graph.shape(layer)[1] for layer in terms.style_layers})
    graph.infer_shapes()
    graph.output(terms_of_loss.picture_gradient(graph, terms, slopes, differences, masks, pixels), "d_image")
    if choose is not None:
        cpu_layout.optimize_for_cpu(graph, choose)
    return graph.model()


def _crop(graph: GraphBuilder, tensor: str, tile: str, stride: int, more: tuple[int, int] = (0, 0)) -> str:
    """Cut the tile out of a tensor [1,C,h,w] whose positions are `stride` pixels apart."""
    scaled = graph.op("Div", tile, graph.constant([stride] * 4, integer=True))
    start, stop = graph.slice(scaled, 0, 0, 2), graph.slice(scaled, 0, 2, 4)
    if any(more):
        stop = graph.op("Add", stop, graph.constant(list(more), integer=True))
    return graph.op("Slice", tensor, start, stop, graph.constant([2, 3], integer=True))
