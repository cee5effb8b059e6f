"""The terms of the loss: from features to values, and from the loss back to the picture.

Three steps, as ONNX nodes, which the graph of a whole picture (`graphs`) and the graphs of its tiles
(`tiled_graphs`) have in common:

1. what the terms depend on adds up over positions: squared distances of features, moments of features,
   differences of pixels (`content_differences`, `style_sums`, `pixel_sums`);
2. `assess` makes of these sums the value of each term, the loss, and the loss's derivative by each sum;
3. `picture_gradient` takes these derivatives back to the pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from ...graphs.autodiff import gradients
from ...graphs.builder import GraphBuilder
from ...graphs.network_graph import IMAGE
from ...settings.loss_forms import Factor
from . import distances as losses
from . import moments, style
from .terms import PIXEL_TERMS, SHARES, Moments, StylePart, TermNames, distance_name, features_name, positions

# --- sums over positions ---------------------------------------------------------------------------------


def content_differences(graph: GraphBuilder, terms: TermNames) -> tuple[dict[str, str], dict[str, str]]:
    """Declare the targets P of the content layers; return them and F − P, by layer."""
    targets = {layer: graph.input(features_name(layer), graph.shape(layer)) for layer in terms.content_layers}
    return targets, {layer: graph.op("Sub", layer, target) for layer, target in targets.items()}


def declare_masks(graph: GraphBuilder, terms: TermNames) -> dict[StylePart, str | None]:
    """Declare the masks, of the size of each layer's features; None for each part where there are none."""
    return {
        part: None if part.region is None else graph.input(part.mask, [1, 1, *graph.shape(part.layer)[2:]])
        for part in terms.parts
    }


def style_moments(
    graph: GraphBuilder, terms: TermNames, masks: Mapping[StylePart, str | None]
) -> dict[str, str]:
    """Add the moments of the whole picture, under the names of `TermNames.style_names`."""
    found: dict[str, str] = {}
    for part, mask in masks.items():
        _, channels, height, width = graph.shape(part.layer)
        own = moments.sums(graph, part.layer, channels, mean=terms.with_mean, mask=mask)
        if mask is None:
            own = moments.divided(graph, own, height * width)
        found |= dict(zip(terms.moments(part).names, own.names, strict=True))
    return found


def pixel_sums(graph: GraphBuilder, terms: TermNames, size: tuple[int, int]) -> dict[str, str]:
    """Add the sums of differences and of what is out of range, over the pixels of ``image``."""
    tv = losses.variation(graph, IMAGE, terms.tv_power, terms.form.variation, size)
    return {"tv": tv, "range": losses.excess(graph, IMAGE)}


# --- values and derivatives ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Assessed:
    """What `assess` made.

    Attributes
    ----------
    loss, terms : str
        The loss [] and each term without its weight [K].
    slopes : dict of str to str
        Name of a sum → dL/d of it.
    """

    loss: str
    terms: str
    slopes: dict[str, str]


def assess(
    graph: GraphBuilder,
    terms: TermNames,
    sums: Mapping[str, str],
    energies: Mapping[str, str],
    shapes: Mapping[str, tuple[int, int, int]],
    size: tuple[int, int],
) -> Assessed:
    """Make the terms of sums, and the derivatives of the loss by them.

    Declares the inputs ``weights`` [K], the targets of the style and, where there are masks, ``shares`` [R]:
    how much each region counts.

    Parameters
    ----------
    graph : GraphBuilder
        Gets the nodes.
    terms : TermNames
        The terms.
    sums : mapping of str to str
        ``distance_<layer>`` of each content layer, `TermNames.style_names`, ``tv`` and ``range`` → tensors.
    energies : mapping of str to str
        Content layer → tensor with ‖P‖².
    shapes : mapping of str to (int, int, int)
        Channels, height and width of each layer's features of the whole picture.
    size : (int, int)
        Height and width of the whole picture.
    """
    pixels = math.prod(size)
    scales = _scales(graph, terms, energies, shapes, pixels)
    distances = {
        part: _style_distance(graph, terms, part, sums, _factor(terms.form.style, shapes[part.layer], pixels))
        for part in terms.parts
    }
    shares = graph.input(SHARES, [terms.regions]) if terms.regions else None
    counted = {
        part: found.value
        if shares is None
        else graph.op("Mul", found.value, _item(graph, shares, part.region or 0))
        for part, found in distances.items()
    }
    plain = {name: graph.op("Mul", sums[name], scale) for name, scale in scales.items()}
    styles = [graph.total(counted[part] for part in terms.parts_of(layer)) for layer in terms.style_layers]
    content = [plain[distance_name(layer)] for layer in terms.content_layers]
    values = [*content, *styles, *(plain[name] for name in PIXEL_TERMS)]
    weights = graph.input("weights", [len(values)])
    stacked = graph.op("Concat", *(graph.reshape(value, [1]) for value in values), attributes={"axis": 0})
    loss = graph.reduce("ReduceSum", graph.op("Mul", stacked, weights))
    graph.infer_shapes()
    by_term = dict(zip(terms.names, range(len(values)), strict=True))
    slopes: dict[str, str] = {}
    for name, layer in _term_of(terms).items():
        slopes[name] = graph.op("Mul", _item(graph, weights, by_term[layer]), scales[name])
    for part, found in distances.items():
        d_value = _item(graph, weights, by_term[f"style {part.layer}"])
        if shares is not None:
            d_value = graph.op("Mul", d_value, _item(graph, shares, part.region or 0))
        own = _picked(terms, part, sums)
        by_moment = style.slopes_of(graph, found, own, d_value)
        slopes |= dict(zip(terms.moments(part).names, by_moment.names, strict=True))
    return Assessed(loss, stacked, slopes)


def _term_of(terms: TermNames) -> dict[str, str]:
    """Return each sum that makes a term by a factor alone, with the term."""
    content = {distance_name(layer): f"content {layer}" for layer in terms.content_layers}
    return content | {name: name for name in PIXEL_TERMS}


def _scales(
    graph: GraphBuilder,
    terms: TermNames,
    energies: Mapping[str, str],
    shapes: Mapping[str, tuple[int, int, int]],
    pixels: int,
) -> dict[str, str]:
    """Return these factors."""
    scales: dict[str, str] = {}
    for layer in terms.content_layers:
        factor = _factor(terms.form.content, shapes[layer], pixels)
        scales[distance_name(layer)] = (
            losses.relative(graph, graph.constant(1.0), energies[layer])
            if factor is None
            else graph.constant(factor)
        )
    scales["tv"] = graph.constant(terms.form.variation.at(terms.tv_power, pixels))
    scales["range"] = graph.constant(1 / pixels)
    return scales


def _factor(factor: Factor | None, shape: tuple[int, int, int], pixels: int) -> float | None:
    return None if factor is None else factor.at(shape[0], positions(shape), pixels)


def _picked(terms: TermNames, part: StylePart, tensors: Mapping[str, str]) -> Moments:
    names = terms.moments(part)
    return Moments(tensors[names.gram], None if names.mean is None else tensors[names.mean])


def _style_distance(
    graph: GraphBuilder, terms: TermNames, part: StylePart, sums: Mapping[str, str], factor: float | None
) -> style.Distance:
    """Declare the targets of a part and add its distance from them."""
    own, names = _picked(terms, part, sums), terms.moments(part)
    channels = graph.shape(own.gram)[0]
    target = Moments(
        graph.input(names.gram, [channels] * 2), names.mean and graph.input(names.mean, [channels, 1])
    )
    root = graph.input(part.root, [channels] * 2) if terms.statistic == "wasserstein" else None
    return style.distance(graph, terms.statistic, own, target, root=root, factor=factor)


def _item(graph: GraphBuilder, vector: str, index: int) -> str:
    return graph.reshape(graph.slice(vector, 0, index, index + 1), [])


def by_sums(
    graph: GraphBuilder,
    terms: TermNames,
    slopes: Mapping[str, str],
    shapes: Mapping[str, tuple[int, int, int]],
) -> dict[str, str]:
    """Add the derivatives by the moments' sums, given those by the moments."""
    found: dict[str, str] = {}
    for part in terms.parts:
        d_moments = _picked(terms, part, slopes)
        if part.region is None:
            d_moments = moments.divided(graph, d_moments, positions(shapes[part.layer]))
        found |= dict(zip(terms.moments(part).names, d_moments.names, strict=True))
    return found


# --- back to the picture ---------------------------------------------------------------------------------


def picture_gradient(
    graph: GraphBuilder,
    terms: TermNames,
    slopes: Mapping[str, str],
    differences: Mapping[str, str],
    masks: Mapping[StylePart, str | None],
    pixels: Mapping[str, str],
) -> str:
    """Add dL/d image, given the derivatives of the loss by each sum.

    Parameters
    ----------
    graph : GraphBuilder
        Has the network, and gets the nodes.
    terms : TermNames
        The terms.
    slopes : mapping of str to str
        As in `Assessed`, those of moments by their sums, undivided.
    differences, masks, pixels
        As `content_differences`, `declare_masks` and `pixel_sums` return them.
    """

    def cotangent(layer: str, after: str | None) -> str:
        found: list[str] = []
        if layer in differences:
            doubled = graph.op("Mul", slopes[distance_name(layer)], graph.constant(2.0))
            found.append(graph.op("Mul", differences[layer], doubled))
        for part, mask in masks.items():
            if part.layer == layer:
                d_moments = _picked(terms, part, slopes)
                found.append(moments.cotangent(graph, layer, d_moments, mask, after))
        return graph.total(found)

    of_pixels = gradients(graph, {tensor: slopes[name] for name, tensor in pixels.items()}, [IMAGE])
    of_layers = gradients(graph, {layer: partial(cotangent, layer) for layer in terms.layers}, [IMAGE])
    return graph.total(each[IMAGE] for each in (of_pixels, of_layers) if IMAGE in each)
