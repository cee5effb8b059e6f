"""The graphs of one tile: its share of the statistics, and its gradient given those of the whole picture.

See `tiles` for why they are exact and `tiled` for the loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import layout, losses, winograd
from .autodiff import gradients
from .builder import GraphBuilder
from .graphs import IMAGE, TermNames, features_name, gram_name, with_network
from .tiles import Field

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
    tv_power: float = 2.0,
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
        The layers whose features (content) and Gram matrices (style) are wanted.
    fields : mapping of str to Field
        `tiles.receptive_fields` of the layers.
    tv_power : float
        The exponent of the total variation.
    choose : function, optional
        As in `graphs.statistics_graph`.

    Returns
    -------
    onnx.ModelProto
        Inputs ``image`` [1,3,h,w], the window, and ``tile`` [4]: top, left, bottom and right of the tile in
        it. Outputs, of the tile alone: ``features_<layer>`` [1,C,·,·], ``gram_<layer>`` [C,C], a sum that is
        not divided by the number of features, ``tv`` [] and ``range`` [], sums over pixels.
    """
    b = with_network(model, window, terms.layers)
    tile = b.op("Cast", b.input(TILE, [4]), attributes={"to": _INT64})
    for layer in terms.content_layers:
        b.output(_crop(b, layer, tile, fields[layer].stride), features_name(layer))
    for layer in terms.style_layers:
        features = _crop(b, layer, tile, fields[layer].stride)
        flat = b.reshape(features, [b.shape(layer)[1], -1])
        product = b.op("MatMul", flat, b.op("Transpose", flat, attributes={"perm": [1, 0]}))
        b.output(product, gram_name(layer))
    # A difference belongs to the tile of its first pixel, so one more row or column takes part.
    down = _crop(b, IMAGE, tile, 1, more=(1, 0))
    right = _crop(b, IMAGE, tile, 1, more=(0, 1))
    variation = [losses.differences(b, down, 2, tv_power), losses.differences(b, right, 3, tv_power)]
    b.output(b.total(variation), "tv")
    b.output(losses.excess(b, _crop(b, IMAGE, tile, 1)), "range")
    if choose is not None:
        layout.arrange(b, choose)
    return b.model()


def tile_gradient_graph(
    model: onnx.ModelProto,
    window: tuple[int, int],
    terms: TermNames,
    *,
    tv_power: float = 2.0,
    choose: winograd.Choose | None = None,
) -> onnx.ModelProto:
    """Build the graph of a tile's gradient, given how the loss depends on the whole picture's statistics.

    Parameters
    ----------
    model, window, terms, tv_power, choose
        As in `tile_statistics_graph`.

    Returns
    -------
    onnx.ModelProto
        Inputs ``image`` [1,3,h,w], the window; ``d_gram_<layer>`` [C,C], dL/d(F Fᵀ); ``features_<layer>``,
        the content's features in the window, and ``d_content_<layer>`` [], dL/d‖F − P‖²; ``d_tv`` [] and
        ``d_range`` [], dL/d of these sums. Output ``d_image`` [1,3,h,w], exact in the tile only.
    """
    b = with_network(model, window, terms.layers)
    seeds: dict[str, list[str]] = {}
    for layer in terms.content_layers:
        target = b.input(features_name(layer), b.shape(layer))
        factor = b.op("Mul", b.input(f"d_content_{layer}", []), b.constant(2.0))
        seeds.setdefault(layer, []).append(b.op("Mul", b.op("Sub", layer, target), factor))
    for layer in terms.style_layers:
        _, channels, height, width = b.shape(layer)
        d_gram = b.input(f"d_{gram_name(layer)}", [channels, channels])
        # `gram_cotangent` is of a mean over the features, this one of a sum.
        scaled = b.op("Mul", d_gram, b.constant(height * width))
        seeds.setdefault(layer, []).append(losses.gram_cotangent(b, layer, scaled))
    pixels: dict[str, str] = {}
    axes = [axis for axis, length in ((2, window[0]), (3, window[1])) if length > 1]
    d_tv = b.input("d_tv", [])
    for axis in axes:
        pixels[losses.differences(b, IMAGE, axis, tv_power)] = d_tv
    pixels[losses.excess(b, IMAGE)] = b.input("d_range", [])
    b.infer_shapes()
    found = [
        gradients(b, pixels, [IMAGE]),
        gradients(b, {layer: b.total(parts) for layer, parts in seeds.items()}, [IMAGE]),
    ]
    b.output(b.total(each[IMAGE] for each in found if IMAGE in each), "d_image")
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
