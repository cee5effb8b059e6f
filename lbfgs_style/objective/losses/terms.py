"""Which terms a loss has, and the names of their tensors in all graphs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...settings.loss_forms import RELATIVE, LossForm
from ...settings.options import Options, StyleStatistic
from ..evaluation import Array
from .moments import Moments
from .style import STATISTICS, StatisticKind

# Input with the weight of each region [R], where masks divide the image among styles.
REGION_WEIGHTS = "region_weights"

# Inputs with w [1,3,H,W] and c [1,1,H,W] of the temporal term, see `distances.temporal_change`.
TEMPORAL_TARGET, RELIABILITY = "temporal_target", "reliability"

# Weight of all neighbours together, as a share of that of the style.
NEIGHBOURS_SHARE = 1 / 3


@dataclass(frozen=True, slots=True)
class FeatureTerm:
    """A term ‖F − P‖² / ‖P‖² over the features F of a layer: the names of its tensors.

    Attributes
    ----------
    layer : str
        Layer of the network.
    role : {"content", "neighbours"}
        Whether the target P are the features of the content image, or at each position those of the place of
        the style that is nearest to it, see `neighbours`.
    """

    layer: str
    role: Literal["content", "neighbours"] = "content"

    @property
    def name(self) -> str:
        """Name of the term."""
        return f"{self.role} {self.layer}"

    @property
    def target(self) -> str:
        """Name of P [1,C,h,w], an input of the objective; of the content also an output of statistics."""
        return features_name(self.layer) if self.role == "content" else f"neighbours_{self.layer}"

    @property
    def distance(self) -> str:
        """Name of the sum ‖F − P‖²."""
        return f"{self.role}_distance_{self.layer}"

    @property
    def energy(self) -> str:
        """Name of ‖P‖²."""
        return f"{self.role}_energy_{self.layer}"


@dataclass(frozen=True, slots=True)
class StylePart:
    """One style layer in one region of the image: the names of its tensors.

    Attributes
    ----------
    layer : str
        Layer of the network.
    region : int or None
        Number of the mask, 0-based; None if there are no masks.
    """

    layer: str
    region: int | None = None

    @property
    def suffix(self) -> str:
        """Suffix of the tensor names: layer and region."""
        return self.layer if self.region is None else f"{self.layer}_{self.region}"

    @property
    def gram(self) -> str:
        """Name of the second moment [C,C]: output of the statistics, target of the objective."""
        return f"gram_{self.suffix}"

    @property
    def mean(self) -> str:
        """Name of the mean [C,1]: output of the statistics, target of the objective."""
        return f"mean_{self.suffix}"

    @property
    def root(self) -> str:
        """Name of the square root [C,C] of the target's covariance, see `StatisticKind.target_root`."""
        return f"root_{self.suffix}"

    @property
    def mask(self) -> str:
        """Name of the mask [1,1,h,w] at the layer's positions, whose values sum to 1."""
        return f"mask_{self.suffix}"


@dataclass(frozen=True, slots=True)
class LossTerms:
    """The terms of a loss.

    Attributes
    ----------
    content_layers, style_layers : tuple of str
        Layers of the network, in the order of the weights.
    form : LossForm
        The factors of the distances.
    statistic : {"gram", "mean-cov", "moments", "neighbours", "wasserstein"}
        A key of `style.STATISTICS`.
    tv_power : float
        Exponent of the total variation.
    regions : int
        Number of masks that divide the image among styles; 0 for none.
    content_map : bool
        Whether the content loss has a weight for each position.
    matched_layers : tuple of str
        Style layers whose features are compared with their nearest neighbours in the style, finest first.
    temporal : bool
        Whether the pixels are compared with those of other frames of a video.
    """

    content_layers: tuple[str, ...]
    style_layers: tuple[str, ...]
    form: LossForm = RELATIVE
    statistic: StyleStatistic = "gram"
    tv_power: float = 2.0
    regions: int = 0
    content_map: bool = False
    matched_layers: tuple[str, ...] = ()
    temporal: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each term, in the order of the input ``weights`` and the output ``terms``."""
        features = (term.name for term in self.feature_terms)
        style = (f"style {layer}" for layer in self.style_layers)
        return (*features, *style, *self.pixel_terms)

    @property
    def pixel_terms(self) -> tuple[str, ...]:
        """The terms that are sums over pixels."""
        return ("tv", "range", "temporal") if self.temporal else ("tv", "range")

    @property
    def pixel_targets(self) -> tuple[str, ...]:
        """Inputs of the size of the image that these terms need."""
        return (TEMPORAL_TARGET, RELIABILITY) if self.temporal else ()

    @property
    def feature_terms(self) -> tuple[FeatureTerm, ...]:
        """The terms that compare features position by position."""
        content = (FeatureTerm(layer) for layer in self.content_layers)
        return (*content, *(FeatureTerm(layer, "neighbours") for layer in self.matched_layers))

    @property
    def feature_layers(self) -> tuple[str, ...]:
        """The layers of `feature_terms`, each once."""
        return tuple(dict.fromkeys(term.layer for term in self.feature_terms))

    def has_map(self, term: FeatureTerm) -> bool:
        """Return whether a term has a weight for each position."""
        return self.content_map and term.role == "content"

    def by_name(self, values: NDArray[np.float32]) -> dict[str, float]:
        """Return the values [K] of the terms by name."""
        return dict(zip(self.names, map(float, values), strict=True))

    @property
    def layers(self) -> tuple[str, ...]:
        """All layers in use, each once."""
        return tuple(dict.fromkeys((*self.content_layers, *self.style_layers, *self.matched_layers)))

    @property
    def kind(self) -> StatisticKind:
        """The row of the style statistic."""
        return STATISTICS[self.statistic]

    def layer_parts(self, layer: str) -> tuple[StylePart, ...]:
        """Return the parts of a style layer, one for each region."""
        if not self.regions:
            return (StylePart(layer),)
        return tuple(StylePart(layer, region) for region in range(self.regions))

    @property
    def style_parts(self) -> tuple[StylePart, ...]:
        """The parts of all style layers, layer by layer."""
        return tuple(part for layer in self.style_layers for part in self.layer_parts(layer))

    def moments(self, part: StylePart) -> Moments:
        """Return the names of the moments of a part."""
        return Moments(part.gram, part.mean if self.kind.needs_mean else None)

    @property
    def moment_names(self) -> tuple[str, ...]:
        """Names of the moments of all parts."""
        return tuple(name for part in self.style_parts for name in self.moments(part).names)

    def moment_shapes(self, channels: Mapping[str, int]) -> dict[str, tuple[int, int]]:
        """Return the shape of each moment, given the number of channels of each layer."""
        shapes: dict[str, tuple[int, int]] = {}
        for part in self.style_parts:
            names, count = self.moments(part), channels[part.layer]
            shapes[names.gram] = (count, count)
            if names.mean is not None:
                shapes[names.mean] = (count, 1)
        return shapes

    @property
    def moment_regions(self) -> dict[str, int]:
        """Moment → the number of its region; empty without masks."""
        numbered = ((part, part.region) for part in self.style_parts if part.region is not None)
        return {name: region for part, region in numbered for name in self.moments(part).names}


def positions(shape: tuple[int, int, int]) -> int:
    """Return the number of positions h·w of features of `shape`, (C, h, w)."""
    return shape[1] * shape[2]


def features_name(layer: str) -> str:
    """Return the name of a layer's features: output of the statistics, target of the content loss."""
    return f"features_{layer}"


def content_map_name(layer: str) -> str:
    """Return the name of the roots of the content's weights [1,1,h,w] at a layer's positions."""
    return f"content_map_{layer}"


def term_weights(options: Options, terms: LossTerms, temporal: float = 0.0) -> NDArray[np.float32]:
    """Return the weight of each term [K], in the order of `LossTerms.names`.

    `temporal` is that of the temporal term, which no option has: only frames of videos have that term.
    """
    (alpha, beta), is_mean = options.balance, terms.form.mean
    content, style = len(terms.content_layers), len(terms.style_layers)
    matched = len(terms.matched_layers)
    weights = (
        *_layer_weights(alpha, options.content_layer_weights, content, is_mean=is_mean),
        *_layer_weights(NEIGHBOURS_SHARE * beta, None, matched, is_mean=True),
        *_layer_weights(beta, options.style_layer_weights, style, is_mean=is_mean),
        options.tv_weight,
        options.range_weight,
        *((temporal,) if terms.temporal else ()),
    )
    return np.clip(weights, 0, 1e38).astype(np.float32)


def _layer_weights(
    weight: float, factors: Sequence[float] | None, count: int, *, is_mean: bool
) -> list[float]:
    """Return the weight of each layer: `weight` times its factor, divided by their sum if `is_mean`."""
    if not count:
        return []
    chosen = [1.0] * count if factors is None else list(factors)
    total = math.fsum(chosen) if is_mean else 1.0
    return [weight * factor / total for factor in chosen]


def blend_grams(statistics: Sequence[Mapping[str, Array]], shares: Sequence[float]) -> dict[str, Array]:
    """Return the weighted mean of the moments of several styles, the weights in proportion to `shares`.

    Σ_k s_k ‖G − A_k‖² and ‖G − Σ_k s_k A_k‖² (with Σ s_k = 1) differ by a constant, so one mean target is as
    good as a loss for each style. Means of first and second moments are the moments of the features of all
    styles together; means of covariances would not be.
    """
    weights = np.array(shares, np.float64)
    weights /= weights.max()  # the sum of the largest numbers would be infinite
    weights = (weights / weights.sum()).astype(np.float32)
    return {
        name: np.einsum("k,kij->ij", weights, np.stack([each[name] for each in statistics]))
        for name in statistics[0]
    }


def complete_targets(targets: Mapping[str, NDArray[Any]], terms: LossTerms) -> dict[str, NDArray[Any]]:
    """Return targets with the matrices that the style statistic derives from their moments."""
    target_root = terms.kind.target_root
    if target_root is None:
        return dict(targets)
    roots = {part.root: target_root(targets[part.gram], targets[part.mean]) for part in terms.style_parts}
    return {**targets, **roots}
