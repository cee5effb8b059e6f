"""Assemble the loss as ONNX nodes: from features to the loss, and from there to the gradient of the image.

Three steps, which the graph of a whole image (`whole_graphs`) and those of its tiles (`tile_graphs`) share:

1. All terms depend on sums over positions: squared distances of features, moments of features, differences
   of pixels (`feature_differences`, `style_moments`, `pixel_sums`).
2. `add_loss` computes from these sums the terms, the loss, and the derivatives of the loss with respect to
the sums. 3. `image_gradient` computes from these derivatives the gradient of the image.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from ...graphs.autodiff import gradients
from ...graphs.builder import GraphBuilder
from ...graphs.network_graph import IMAGE, Shapes
from ...settings.loss_forms import Factor
from . import distances
from .distances import Distance
from .moments import Moments, divide_by_count, feature_cotangent, moment_sums
from .style import moment_derivatives
from .terms import (
    REGION_WEIGHTS,
    RELIABILITY,
    TEMPORAL_TARGET,
    FeatureTerm,
    LossTerms,
    StylePart,
    content_map_name,
    positions,
)

Masks = Mapping[StylePart, str | None]
"""Part of the style → tensor with its mask, or None."""

# --- sums over positions ---------------------------------------------------------------------------------


Differences = Mapping[FeatureTerm, str]
"""Term → tensor with F − P."""


def feature_differences(
    graph: GraphBuilder, terms: LossTerms
) -> tuple[dict[FeatureTerm, str], dict[FeatureTerm, str]]:
    """Declare the targets P of the feature terms, and append nodes for F − P; return both by term.

    With a map of weights w, the difference is √w ∘ (F − P), and the content loss Σ w (F − P)² / ‖P‖².
    """
    targets = {term: graph.input(term.target, graph.shape(term.layer)) for term in terms.feature_terms}
    differences = {term: graph.op("Sub", term.layer, target) for term, target in targets.items()}
    for term, difference in differences.items():
        if terms.has_map(term):
            roots = graph.input(content_map_name(term.layer), [1, 1, *graph.shape(term.layer)[2:]])
            differences[term] = graph.op("Mul", difference, roots)
    return targets, differences


def declare_masks(graph: GraphBuilder, terms: LossTerms) -> Masks:
    """Declare the mask of each part of the style, of the size of its layer's features."""
    return {
        part: None if part.region is None else graph.input(part.mask, [1, 1, *graph.shape(part.layer)[2:]])
        for part in terms.style_parts
    }


def style_moments(graph: GraphBuilder, terms: LossTerms, masks: Masks) -> dict[str, str]:
    """Append nodes for the moments of the whole image; return them by `LossTerms.moment_names`."""
    tensors: dict[str, str] = {}
    for part, mask in masks.items():
        _, channels, height, width = graph.shape(part.layer)
        moments = moment_sums(graph, part.layer, channels, mean=terms.kind.needs_mean, mask=mask)
        if mask is None:
            moments = divide_by_count(graph, moments, height * width)
        tensors |= dict(zip(terms.moments(part).names, moments.names, strict=True))
    return tensors


def pixel_sums(graph: GraphBuilder, terms: LossTerms, size: tuple[int, int]) -> dict[str, str]:
    """Append nodes for the sums over the pixels of ``image`` by `LossTerms.pixel_terms`.

    Declares the targets of the temporal term.
    """
    tv = distances.total_variation(graph, IMAGE, terms.tv_power, terms.form.variation, size)
    sums = {"tv": tv, "range": distances.range_excess(graph, IMAGE)}
    if terms.temporal:
        sums["temporal"] = distances.temporal_change(graph, IMAGE, *declare_temporal(graph, size))
    return sums


def declare_temporal(graph: GraphBuilder, size: tuple[int, int]) -> tuple[str, str]:
    """Declare w [1,3,H,W] and c [1,1,H,W] of the temporal term."""
    return graph.input(TEMPORAL_TARGET, [1, 3, *size]), graph.input(RELIABILITY, [1, 1, *size])


# --- values and derivatives ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LossNodes:
    """Names of the tensors that `add_loss` appended.

    Attributes
    ----------
    loss : str
        The loss [].
    terms : str
        Each term without its weight [K].
    derivatives : dict of str to str
        Name of a sum → derivative of the loss with respect to it.
    """

    loss: str
    terms: str
    derivatives: dict[str, str]


def add_loss(
    graph: GraphBuilder,
    terms: LossTerms,
    sums: Mapping[str, str],
    energies: Mapping[FeatureTerm, str],
    shapes: Shapes,
    size: tuple[int, int],
) -> LossNodes:
    """Append nodes for the terms, the loss, and the derivatives of the loss with respect to the sums.

    Declares the inputs ``weights`` [K], the targets of the style and, with masks, ``region_weights`` [R].

    Parameters
    ----------
    graph : GraphBuilder
        Gets the nodes.
    terms : LossTerms
        The terms.
    sums : mapping of str to str
        `FeatureTerm.distance` of each feature term, `LossTerms.moment_names` and `LossTerms.pixel_terms` →
        tensors.
    energies : mapping of FeatureTerm to str
        Feature term → tensor with ‖P‖².
    shapes : Shapes
        Of all layers.
    size : (int, int)
        Height and width of the whole image.
    """
    pixels = math.prod(size)
    factors = _sum_factors(graph, terms, energies, shapes, pixels)
    style_distances = {
        part: _style_distance(graph, terms, part, sums, _factor(terms.form.style, shapes[part.layer], pixels))
        for part in terms.style_parts
    }
    region_weights = graph.input(REGION_WEIGHTS, [terms.regions]) if terms.regions else None

    def weighted(value: str, part: StylePart) -> str:
        if region_weights is None:
            return value
        return graph.op("Mul", value, _element(graph, region_weights, part.region or 0))

    part_values = {part: weighted(distance.value, part) for part, distance in style_distances.items()}
    products = {name: graph.op("Mul", sums[name], factor) for name, factor in factors.items()}
    features = [products[term.distance] for term in terms.feature_terms]
    style = [
        graph.total(part_values[part] for part in terms.layer_parts(layer)) for layer in terms.style_layers
    ]
    values = [*features, *style, *(products[name] for name in terms.pixel_terms)]
    weights = graph.input("weights", [len(values)])
    stacked = graph.op("Concat", *(graph.reshape(value, [1]) for value in values), attributes={"axis": 0})
    loss = graph.reduce("ReduceSum", graph.op("Mul", stacked, weights))
    graph.infer_shapes()
    index = {name: i for i, name in enumerate(terms.names)}
    derivatives: dict[str, str] = {}
    for name, term in _terms_of_sums(terms).items():
        derivatives[name] = graph.op("Mul", _element(graph, weights, index[term]), factors[name])
    for part, distance in style_distances.items():
        d_value = weighted(_element(graph, weights, index[f"style {part.layer}"]), part)
        by_moment = moment_derivatives(graph, distance, _moments_of(terms, part, sums), d_value)
        derivatives |= dict(zip(terms.moments(part).names, by_moment.names, strict=True))
    return LossNodes(loss, stacked, derivatives)


def _terms_of_sums(terms: LossTerms) -> dict[str, str]:
    """Return the sums that are terms up to a factor → the names of these terms."""
    features = {term.distance: term.name for term in terms.feature_terms}
    return features | {name: name for name in terms.pixel_terms}


def _sum_factors(
    graph: GraphBuilder, terms: LossTerms, energies: Mapping[FeatureTerm, str], shapes: Shapes, pixels: int
) -> dict[str, str]:
    """Return tensors with the factors of these sums."""
    factors: dict[str, str] = {}
    for term in terms.feature_terms:
        factor = _factor(terms.form.content, shapes[term.layer], pixels)
        factors[term.distance] = (
            distances.relative(graph, graph.constant(1.0), energies[term])
            if factor is None
            else graph.constant(factor)
        )
    factors["tv"] = graph.constant(terms.form.variation.at(terms.tv_power, pixels))
    factors |= {name: graph.constant(1 / pixels) for name in terms.pixel_terms if name != "tv"}
    return factors


def _factor(factor: Factor | None, shape: tuple[int, int, int], pixels: int) -> float | None:
    return None if factor is None else factor.at(shape[0], positions(shape), pixels)


def _moments_of(terms: LossTerms, part: StylePart, tensors: Mapping[str, str]) -> Moments:
    """Return the moments of a part among tensors by `LossTerms.moment_names`."""
    names = terms.moments(part)
    return Moments(tensors[names.gram], None if names.mean is None else tensors[names.mean])


def _style_distance(
    graph: GraphBuilder, terms: LossTerms, part: StylePart, sums: Mapping[str, str], factor: float | None
) -> Distance:
    """Declare the targets of a part and append nodes for its distance from them."""
    own, names, kind = _moments_of(terms, part, sums), terms.moments(part), terms.kind
    channels = graph.shape(own.gram)[0]
    target = Moments(
        gram=graph.input(names.gram, [channels, channels]),
        mean=None if names.mean is None else graph.input(names.mean, [channels, 1]),
        root=None if kind.target_root is None else graph.input(part.root, [channels, channels]),
    )
    return kind.distance(graph, own, target, factor)


def _element(graph: GraphBuilder, vector: str, index: int) -> str:
    return graph.reshape(graph.slice(vector, 0, index, index + 1), [])


def derivatives_of_sums(
    graph: GraphBuilder, terms: LossTerms, derivatives: Mapping[str, str], shapes: Shapes
) -> dict[str, str]:
    """Append nodes for the derivatives by the sums of moments, given those by the moments."""
    tensors: dict[str, str] = {}
    for part in terms.style_parts:
        d_moments = _moments_of(terms, part, derivatives)
        if part.region is None:
            d_moments = divide_by_count(graph, d_moments, positions(shapes[part.layer]))
        tensors |= dict(zip(terms.moments(part).names, d_moments.names, strict=True))
    return tensors


# --- gradient of the image -------------------------------------------------------------------------------


def image_gradient(
    graph: GraphBuilder,
    terms: LossTerms,
    derivatives: Mapping[str, str],
    differences: Differences,
    masks: Masks,
    pixels: Mapping[str, str],
) -> str:
    """Append nodes for dL/d image, given the derivatives of the loss with respect to all sums.

    Parameters
    ----------
    graph : GraphBuilder
        Has the network, and gets the nodes.
    terms : LossTerms
        The terms.
    derivatives : mapping of str to str
        Name of a sum → tensor; those of moments by their undivided sums, see `derivatives_of_sums`.
    differences, masks, pixels
        The results of `feature_differences`, `declare_masks` and `pixel_sums`.
    """

    def layer_cotangent(layer: str, wait_for: str | None) -> str:
        parts: list[str] = []
        for term, difference in differences.items():
            if term.layer == layer:
                doubled = graph.op("Mul", derivatives[term.distance], graph.constant(2.0))
                cotangent = graph.op("Mul", difference, doubled)
                if terms.has_map(term):
                    cotangent = graph.op("Mul", cotangent, content_map_name(layer))
                parts.append(cotangent)
        for part, mask in masks.items():
            if part.layer == layer:
                d_moments = _moments_of(terms, part, derivatives)
                parts.append(feature_cotangent(graph, layer, d_moments, mask, wait_for))
        return graph.total(parts)

    pixel_seeds = {tensor: derivatives[name] for name, tensor in pixels.items()}
    layer_seeds = {layer: partial(layer_cotangent, layer) for layer in terms.layers}
    of_pixels, of_layers = gradients(graph, pixel_seeds, [IMAGE]), gradients(graph, layer_seeds, [IMAGE])
    return graph.total(each[IMAGE] for each in (of_pixels, of_layers) if IMAGE in each)
