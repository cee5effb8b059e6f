"""The graph of a block: the loss of the whole picture and the gradient for one block of its pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...graphs import cpu_layout, winograd
from ..losses import assembly as terms_of_loss
from ..losses import distances, moments
from ..losses.terms import TermNames, distance_name, energy_name, positions
from .stages import Form, Stage, with_stages
from .tile_graphs import inputs_of_sums

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx


OWN_SHARE = "own_share"

LIKEWISE = "likewise"


def block_graph(
    model: onnx.ModelProto,
    parts: Sequence[Stage],
    form: Form,
    terms: TermNames,
    shapes: Mapping[str, tuple[int, int, int]],
    size: tuple[int, int],
    *,
    choose: winograd.Choose | None = None,
) -> onnx.ModelProto:
    """Build the graph of the whole picture's loss while only a block of its pixels is free.

    Every sum is what the windows of the stages have of it and the rest. What a window gets wrong, because the
    picture goes on beyond it, does not depend on the block: the rest, as the difference of the true sum and
    the window's own, takes it away again.

    Parameters
    ----------
    model, terms, choose
        As in `tile_statistics_graph`.
    parts, form
        The network's `stages.stages`, and the `stages.Form` of the block.
    shapes, size
        As in `assessment_graph`; `shapes` of the stages' sources, too.

    Returns
    -------
    onnx.ModelProto
        Inputs ``image`` [1,3,h,w], the window; ``around_<source>`` of each later stage, see
        `stages.with_stages`; ``features_<layer>`` and masks of the stages' windows; ``rest_<name>``
        for each sum, undivided; ``own_share`` [1 + R], how often the window's part is added to the rest, for
        sums over the whole picture and for those of each region; ``likewise`` [1 + R], the same for the
        gradient;
        ``energy_<layer>``, ``weights`` and the targets of the style as in `assessment_graph`. Outputs
        ``loss`` [] and ``terms`` [K] of the whole picture, ``own_<name>``, the window's part of each sum, and
        ``d_image`` [1,3,h,w], exact in the block only.
    """
    graph = with_stages(model, terms.layers, parts, form, shapes)
    _, differences = terms_of_loss.content_differences(graph, terms)
    masks = terms_of_loss.declare_masks(graph, terms)
    pixels = terms_of_loss.pixel_sums(graph, terms, form.window)
    own = dict(pixels)
    for layer, difference in differences.items():
        own[distance_name(layer)] = distances.sum_all(graph, "ReduceSumSquare", difference)
    channels = {layer: graph.shape(layer)[1] for layer in terms.style_layers}
    for part, mask in masks.items():
        sums = moments.sums(graph, part.layer, channels[part.layer], mean=terms.with_mean, mask=mask)
        own |= dict(zip(terms.moments(part).names, sums.names, strict=True))
    rest = inputs_of_sums(graph, "rest", terms, channels)
    numbers = terms.region_numbers

    def times(often: str, tensors: Mapping[str, str]) -> dict[str, str]:
        factors = graph.input(often, [1 + terms.regions])
        each = [graph.reshape(graph.slice(factors, 0, i, i + 1), []) for i in range(1 + terms.regions)]
        return {name: graph.op("Mul", t, each[numbers.get(name, -1) + 1]) for name, t in tensors.items()}

    totals = {name: graph.op("Add", rest[name], part) for name, part in times(OWN_SHARE, own).items()}
    for name, tensor in own.items():
        graph.output(tensor, f"own_{name}")
    for part in terms.parts:
        if part.region is None:
            for name in terms.moments(part).names:
                count = positions(shapes[part.layer])
                totals[name] = graph.op("Mul", totals[name], graph.constant(1 / count))
    energies = {layer: graph.input(energy_name(layer), []) for layer in terms.content_layers}
    found = terms_of_loss.assess(graph, terms, totals, energies, shapes, size)
    graph.output(found.loss, "loss")
    graph.output(found.terms, "terms")
    graph.infer_shapes()
    slopes = times(LIKEWISE, found.slopes | terms_of_loss.by_sums(graph, terms, found.slopes, shapes))
    graph.output(terms_of_loss.picture_gradient(graph, terms, slopes, differences, masks, pixels), "d_image")
    if choose is not None:
        cpu_layout.optimize_for_cpu(graph, choose)
    return graph.model()
