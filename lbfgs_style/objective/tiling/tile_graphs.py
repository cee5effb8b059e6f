"""The graphs of tiles: a tile's part of the sums, the loss of the sums over all tiles, a tile's gradient.

`tile_plan` says why they are exact; the loop over the tiles is in `tile_runner`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...graphs.builder import GraphBuilder, Rewrite
from ...graphs.network_graph import IMAGE, Shapes, with_network
from ...graphs.receptive_fields import Field
from ..losses import assembly, distances
from ..losses.moments import moment_sums
from ..losses.terms import LossTerms, features_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx

# Input with the position of a tile in its window.
TILE = "tile"

# onnx.TensorProto.INT64, without importing onnx.
_INT64 = 7


def tile_statistics_graph(
    model: onnx.ModelProto,
    window: tuple[int, int],
    terms: LossTerms,
    fields: Mapping[str, Field],
    *,
    rewrite: Rewrite | None = None,
) -> onnx.ModelProto:
    """Build the graph of a tile's part of all sums.

    Parameters
    ----------
    model : onnx.ModelProto
        A feature network.
    window : (int, int)
        Height and width of the window.
    terms : LossTerms
        The layers whose features (content) and moments (style) are computed.
    fields : mapping of str to Field
        `receptive_fields.receptive_fields` of the layers.
    rewrite : function, optional
        As in `whole_graphs.statistics_graph`.

    Returns
    -------
    onnx.ModelProto
        Inputs ``image`` [1,3,h,w], the window; ``tile`` [4], top, left, bottom and right of the tile in the
        window; of the window, too, `LossTerms.pixel_targets` and, with masks, ``mask_<layer>_<region>``.
        Outputs, of the tile only: ``features_<layer>`` [1,C,·,·], sums of moments under
        `LossTerms.moment_names`, not divided by the number of positions, and the sums over pixels [] under
        `LossTerms.pixel_terms`.
    """
    graph = with_network(model, window, terms.layers)
    tile = graph.op("Cast", graph.input(TILE, [4]), attributes={"to": _INT64})
    for layer in terms.feature_layers:
        graph.output(_crop(graph, layer, tile, fields[layer].stride), features_name(layer))
    for part, mask in assembly.declare_masks(graph, terms).items():
        stride, channels = fields[part.layer].stride, graph.shape(part.layer)[1]
        features = _crop(graph, part.layer, tile, stride)
        weights = None if mask is None else _crop(graph, mask, tile, stride)
        moments = moment_sums(graph, features, channels, mean=terms.kind.needs_mean, mask=weights)
        for name, tensor in zip(terms.moments(part).names, moments.names, strict=True):
            graph.output(tensor, name)
    graph.output(_total_variation(graph, terms, tile), "tv")
    pixels = _crop(graph, IMAGE, tile, 1)
    graph.output(distances.range_excess(graph, pixels), "range")
    if terms.temporal:
        cropped = [_crop(graph, name, tile, 1) for name in assembly.declare_temporal(graph, window)]
        graph.output(distances.temporal_change(graph, pixels, *cropped), "temporal")
    if rewrite is not None:
        rewrite(graph)
    return graph.model()


def _total_variation(graph: GraphBuilder, terms: LossTerms, tile: str) -> str:
    """Append nodes for the tile's part of the total variation.

    A difference belongs to the tile of its first pixel, so the row below and the column to the right of the
    tile are needed, too.
    """
    if terms.form.variation.joint:
        pixels = _crop(graph, IMAGE, tile, 1, margin=(1, 1))
        return distances.joint_differences(graph, pixels, terms.tv_power)
    down = _crop(graph, IMAGE, tile, 1, margin=(1, 0))
    right = _crop(graph, IMAGE, tile, 1, margin=(0, 1))
    return graph.total(
        distances.differences(graph, x, axis, terms.tv_power) for x, axis in ((down, 2), (right, 3))
    )


def loss_graph(terms: LossTerms, shapes: Shapes, size: tuple[int, int]) -> onnx.ModelProto:
    """Build the graph that computes the loss from the sums over all tiles.

    Parameters
    ----------
    terms : LossTerms
        The terms.
    shapes : Shapes
        Of all layers.
    size : (int, int)
        Height and width of the whole image.

    Returns
    -------
    onnx.ModelProto
        Inputs ``own_<name>`` for each sum, those of moments divided by the number of positions;
        `FeatureTerm.energy` [] of each feature term; ``weights`` and the targets of the style, as in
        `whole_graphs.objective_graph`. Outputs ``loss`` [], ``terms`` [K], and ``d_<name>``, the derivative
        of the loss by each sum, undivided.
    """
    graph = GraphBuilder()
    sums = declare_sums(graph, "own", terms, {layer: shapes[layer][0] for layer in terms.style_layers})
    energies = {term: graph.input(term.energy, []) for term in terms.feature_terms}
    nodes = assembly.add_loss(graph, terms, sums, energies, shapes, size)
    graph.output(nodes.loss, "loss")
    graph.output(nodes.terms, "terms")
    of_sums = assembly.derivatives_of_sums(graph, terms, nodes.derivatives, shapes)
    for name, derivative in (nodes.derivatives | of_sums).items():
        graph.output(derivative, f"d_{name}")
    return graph.model()


def scalar_sums(terms: LossTerms) -> tuple[str, ...]:
    """Return the names of the sums that are scalars."""
    return (*(term.distance for term in terms.feature_terms), *terms.pixel_terms)


def declare_sums(
    graph: GraphBuilder, prefix: str, terms: LossTerms, channels: Mapping[str, int]
) -> dict[str, str]:
    """Declare an input ``<prefix>_<name>`` for each sum that the loss depends on; return them by name."""
    shapes = dict.fromkeys(scalar_sums(terms), ()) | terms.moment_shapes(channels)
    return {name: graph.input(f"{prefix}_{name}", shape) for name, shape in shapes.items()}


def tile_gradient_graph(
    model: onnx.ModelProto,
    window: tuple[int, int],
    terms: LossTerms,
    *,
    rewrite: Rewrite | None = None,
) -> onnx.ModelProto:
    """Build the graph of a tile's gradient, given the derivatives of the loss with respect to all sums.

    Parameters
    ----------
    model, window, terms, rewrite
        As in `tile_statistics_graph`.

    Returns
    -------
    onnx.ModelProto
        Inputs ``image`` [1,3,h,w], the window; the targets of the feature terms and the
        `LossTerms.pixel_targets` in the window; with masks ``mask_<layer>_<region>`` of the window;
        ``d_<name>``, the outputs of `loss_graph`. Output ``d_image`` [1,3,h,w], exact in the tile only.
    """
    graph = with_network(model, window, terms.layers)
    _, differences = assembly.feature_differences(graph, terms)
    masks = assembly.declare_masks(graph, terms)
    pixels = assembly.pixel_sums(graph, terms, window)
    channels = {layer: graph.shape(layer)[1] for layer in terms.style_layers}
    derivatives = declare_sums(graph, "d", terms, channels)
    graph.infer_shapes()
    graph.output(assembly.image_gradient(graph, terms, derivatives, differences, masks, pixels), "d_image")
    if rewrite is not None:
        rewrite(graph)
    return graph.model()


def _crop(graph: GraphBuilder, tensor: str, tile: str, stride: int, margin: tuple[int, int] = (0, 0)) -> str:
    """Append nodes that cut a tile out of a tensor [1,C,h,w] whose positions are `stride` pixels apart.

    `margin` is the number of rows below and of columns to the right of the tile that are included.
    """
    scaled = graph.op("Div", tile, graph.constant([stride] * 4, integer=True))
    start, stop = graph.slice(scaled, 0, 0, 2), graph.slice(scaled, 0, 2, 4)
    if any(margin):
        stop = graph.op("Add", stop, graph.constant(list(margin), integer=True))
    return graph.op("Slice", tensor, start, stop, graph.constant([2, 3], integer=True))
