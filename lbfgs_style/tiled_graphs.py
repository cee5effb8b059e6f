"""The graphs of tiles: a tile's share of the sums, what these make of the loss, and a tile's gradient.

See `tiles` for why they are exact and `tiled` for the loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import layout, losses, style_losses, winograd
from . import terms as terms_of_loss
from .builder import GraphBuilder
from .graphs import with_network
from .stages import Form, Stage, with_stages
from .term_names import IMAGE, PIXEL_TERMS, TermNames, distance_name, energy_name, features_name, positions
from .tiles import Field

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx

TILE = "tile"
OWN_SHARE = "own_share"
LIKEWISE = "likewise"
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
        `tiles.receptive_fields` of the layers.
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
    b = with_network(model, window, terms.layers)
    tile = b.op("Cast", b.input(TILE, [4]), attributes={"to": _INT64})
    for layer in terms.content_layers:
        b.output(_crop(b, layer, tile, fields[layer].stride), features_name(layer))
    for part, mask in terms_of_loss.declare_masks(b, terms).items():
        stride, channels = fields[part.layer].stride, b.shape(part.layer)[1]
        features = _crop(b, part.layer, tile, stride)
        inside = None if mask is None else _crop(b, mask, tile, stride)
        own = style_losses.sums(b, features, channels, mean=terms.with_mean, mask=inside)
        for name, tensor in zip(terms.moments(part).names, own.names, strict=True):
            b.output(tensor, name)
    b.output(_variation(b, terms, tile), "tv")
    b.output(losses.excess(b, _crop(b, IMAGE, tile, 1)), "range")
    if choose is not None:
        layout.arrange(b, choose)
    return b.model()


def _variation(b: GraphBuilder, terms: TermNames, tile: str) -> str:
    """Add the tile's share of the variation.

    A difference belongs to the tile of its first pixel, so one more row or column takes part.
    """
    if terms.form.variation.joint:
        return losses.joint_differences(b, _crop(b, IMAGE, tile, 1, more=(1, 1)), terms.tv_power)
    down = _crop(b, IMAGE, tile, 1, more=(1, 0))
    right = _crop(b, IMAGE, tile, 1, more=(0, 1))
    return b.total(losses.differences(b, x, axis, terms.tv_power) for x, axis in ((down, 2), (right, 3)))


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
    b = GraphBuilder()
    sums = _inputs_of_sums(b, "own", terms, {layer: shapes[layer][0] for layer in terms.style_layers})
    energies = {layer: b.input(energy_name(layer), []) for layer in terms.content_layers}
    found = terms_of_loss.assess(b, terms, sums, energies, shapes, size)
    b.output(found.loss, "loss")
    b.output(found.terms, "terms")
    for name, slope in (found.slopes | terms_of_loss.by_sums(b, terms, found.slopes, shapes)).items():
        b.output(slope, f"d_{name}")
    return b.model()


def scalar_sums(terms: TermNames) -> tuple[str, ...]:
    """Names of the sums that are numbers."""
    return (*map(distance_name, terms.content_layers), *PIXEL_TERMS)


def _inputs_of_sums(
    b: GraphBuilder, prefix: str, terms: TermNames, channels: Mapping[str, int]
) -> dict[str, str]:
    """Declare an input ``<prefix>_<name>`` for each sum that the loss depends on."""
    shapes = dict.fromkeys(scalar_sums(terms), ()) | terms.moment_shapes(channels)
    return {name: b.input(f"{prefix}_{name}", shape) for name, shape in shapes.items()}


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
    b = with_network(model, window, terms.layers)
    _, differences = terms_of_loss.content_differences(b, terms)
    masks = terms_of_loss.declare_masks(b, terms)
    pixels = terms_of_loss.pixel_sums(b, terms, window)
    slopes = _inputs_of_sums(b, "d", terms, {layer: b.shape(layer)[1] for layer in terms.style_layers})
    b.infer_shapes()
    b.output(terms_of_loss.picture_gradient(b, terms, slopes, differences, masks, pixels), "d_image")
    if choose is not None:
        layout.arrange(b, choose)
    return b.model()


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
    b = with_stages(model, terms.layers, parts, form, shapes)
    _, differences = terms_of_loss.content_differences(b, terms)
    masks = terms_of_loss.declare_masks(b, terms)
    pixels = terms_of_loss.pixel_sums(b, terms, form.window)
    own = dict(pixels)
    for layer, difference in differences.items():
        own[distance_name(layer)] = losses.sum_all(b, "ReduceSumSquare", difference)
    channels = {layer: b.shape(layer)[1] for layer in terms.style_layers}
    for part, mask in masks.items():
        sums = style_losses.sums(b, part.layer, channels[part.layer], mean=terms.with_mean, mask=mask)
        own |= dict(zip(terms.moments(part).names, sums.names, strict=True))
    rest = _inputs_of_sums(b, "rest", terms, channels)
    numbers = terms.region_numbers

    def times(often: str, tensors: Mapping[str, str]) -> dict[str, str]:
        factors = b.input(often, [1 + terms.regions])
        each = [b.reshape(b.slice(factors, 0, i, i + 1), []) for i in range(1 + terms.regions)]
        return {name: b.op("Mul", t, each[numbers.get(name, -1) + 1]) for name, t in tensors.items()}

    totals = {name: b.op("Add", rest[name], part) for name, part in times(OWN_SHARE, own).items()}
    for name, tensor in own.items():
        b.output(tensor, f"own_{name}")
    for part in terms.parts:
        if part.region is None:
            for name in terms.moments(part).names:
                count = positions(shapes[part.layer])
                totals[name] = b.op("Mul", totals[name], b.constant(1 / count))
    energies = {layer: b.input(energy_name(layer), []) for layer in terms.content_layers}
    found = terms_of_loss.assess(b, terms, totals, energies, shapes, size)
    b.output(found.loss, "loss")
    b.output(found.terms, "terms")
    b.infer_shapes()
    slopes = times(LIKEWISE, found.slopes | terms_of_loss.by_sums(b, terms, found.slopes, shapes))
    b.output(terms_of_loss.picture_gradient(b, terms, slopes, differences, masks, pixels), "d_image")
    if choose is not None:
        layout.arrange(b, choose)
    return b.model()


def _crop(b: GraphBuilder, tensor: str, tile: str, stride: int, more: tuple[int, int] = (0, 0)) -> str:
    """Cut the tile out of a tensor [1,C,h,w] whose positions are `stride` pixels apart."""
    scaled = b.op("Div", tile, b.constant([stride] * 4, integer=True))
    start, stop = b.slice(scaled, 0, 0, 2), b.slice(scaled, 0, 2, 4)
    if any(more):
        stop = b.op("Add", stop, b.constant(list(more), integer=True))
    return b.op("Slice", tensor, start, stop, b.constant([2, 3], integer=True))
