"""The graph of a block: the loss of the whole image, and the gradient of one block of its pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...graphs.builder import GraphBuilder, Rewrite
from ...graphs.network_graph import Shapes
from ..losses import assembly, distances
from ..losses.moments import moment_sums
from ..losses.terms import LossTerms, positions
from .stages import Form, Stage, with_stages
from .tile_graphs import declare_sums

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx

# Inputs [1 + R] with factors of sums over the whole image (the first one) and over each region: of the
# window's part of the sums, and of the derivatives by it.
OWN_FACTOR = "own_factor"
GRADIENT_FACTOR = "gradient_factor"


def block_graph(
    model: onnx.ModelProto,
    stages: Sequence[Stage],
    form: Form,
    terms: LossTerms,
    shapes: Shapes,
    size: tuple[int, int],
    *,
    rewrite: Rewrite | None = None,
) -> onnx.ModelProto:
    """Build the graph of the loss of the whole image, where only the pixels of one block are variable.

    Every sum is the window's part of it plus the rest. What the window's part lacks or counts wrongly,
    because the image continues beyond the window, does not depend on the block. As the rest is the true sum
    less the window's part, it cancels.

    Parameters
    ----------
    model, terms, rewrite
        As in `tile_graphs.tile_statistics_graph`.
    stages, form
        The network's `stages.split_network`, and the `stages.Form` of the block.
    shapes, size
        As in `tile_graphs.loss_graph`; `shapes` also of the sources of the stages.

    Returns
    -------
    onnx.ModelProto
        Inputs ``image`` [1,3,h,w], the window; ``around_<source>`` of each later stage, see
        `stages.with_stages`; targets of the feature and pixel terms, and masks, of the windows of the stages;
        ``rest_<name>`` for each sum, undivided; ``own_factor`` [1 + R], by which the window's part is
        multiplied before it is added to the rest; ``gradient_factor`` [1 + R], by which the derivatives by
        the window's part are multiplied; `FeatureTerm.energy`, ``weights`` and the targets of the style as
        in `tile_graphs.loss_graph`. Outputs ``loss`` [] and ``terms`` [K] of the whole image,
        ``own_<name>``, the window's part of each sum, and ``d_image`` [1,3,h,w], exact in the block only.
    """
    graph = with_stages(model, terms.layers, stages, form, shapes)
    _, differences = assembly.feature_differences(graph, terms)
    masks = assembly.declare_masks(graph, terms)
    pixels = assembly.pixel_sums(graph, terms, form.window)
    own = dict(pixels)
    for term, difference in differences.items():
        own[term.distance] = distances.sum_all(graph, "ReduceSumSquare", difference)
    channels = {layer: graph.shape(layer)[1] for layer in terms.style_layers}
    for part, mask in masks.items():
        moments = moment_sums(graph, part.layer, channels[part.layer], mean=terms.kind.needs_mean, mask=mask)
        own |= dict(zip(terms.moments(part).names, moments.names, strict=True))
    rest = declare_sums(graph, "rest", terms, channels)
    scaled = _multiplied(graph, OWN_FACTOR, terms, own)
    totals = {name: graph.op("Add", rest[name], tensor) for name, tensor in scaled.items()}
    for name, tensor in own.items():
        graph.output(tensor, f"own_{name}")
    for part in terms.style_parts:
        if part.region is None:
            share = graph.constant(1 / positions(shapes[part.layer]))
            for name in terms.moments(part).names:
                totals[name] = graph.op("Mul", totals[name], share)
    energies = {term: graph.input(term.energy, []) for term in terms.feature_terms}
    nodes = assembly.add_loss(graph, terms, totals, energies, shapes, size)
    graph.output(nodes.loss, "loss")
    graph.output(nodes.terms, "terms")
    graph.infer_shapes()
    of_sums = assembly.derivatives_of_sums(graph, terms, nodes.derivatives, shapes)
    derivatives = _multiplied(graph, GRADIENT_FACTOR, terms, nodes.derivatives | of_sums)
    graph.output(assembly.image_gradient(graph, terms, derivatives, differences, masks, pixels), "d_image")
    if rewrite is not None:
        rewrite(graph)
    return graph.model()


def _multiplied(
    graph: GraphBuilder, factor_name: str, terms: LossTerms, tensors: Mapping[str, str]
) -> dict[str, str]:
    """Declare an input of factors [1 + R], and append nodes that multiply each sum by its region's factor."""
    factors = graph.input(factor_name, [1 + terms.regions])
    elements = [graph.reshape(graph.slice(factors, 0, i, i + 1), []) for i in range(1 + terms.regions)]
    regions = terms.moment_regions
    return {
        name: graph.op("Mul", tensor, elements[regions.get(name, -1) + 1]) for name, tensor in tensors.items()
    }
