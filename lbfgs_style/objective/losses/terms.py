"""What the terms of a loss are called: layers, regions, and the names of their tensors in all graphs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...settings.loss_forms import RELATIVE, LossForm
from ...settings.options import Options, StyleStatistic
from ..evaluation import Array

SHARES = "shares"
PIXEL_TERMS = ("tv", "range")


@dataclass(frozen=True, slots=True)
class Moments:
    """Tensors with the moments of some features.

    Attributes
    ----------
    gram : str
        G [C,C].
    mean : str or None
        μ [C,1]; None where the statistic needs none.
    """

    gram: str
    mean: str | None

    @property
    def names(self) -> tuple[str, ...]:
        """The tensors that there are."""
        return (self.gram,) if self.mean is None else (self.gram, self.mean)


@dataclass(frozen=True, slots=True)
class StylePart:
    """The moments of one layer in one region of the picture, and the names that the graphs use for them.

    Attributes
    ----------
    layer : str
        Layer of the network.
    region : int or None
        Which mask; None where there are none.
    """

    layer: str
    region: int | None = None

    @property
    def suffix(self) -> str:
        """What ends the names."""
        return self.layer if self.region is None else f"{self.layer}_{self.region}"

    @property
    def gram(self) -> str:
        """Name of the second moment G [C,C]: output of the statistics, target of the objective."""
        return f"gram_{self.suffix}"

    @property
    def mean(self) -> str:
        """Name of the mean [C,1]: output of the statistics, target of the objective."""
        return f"mean_{self.suffix}"

    @property
    def root(self) -> str:
        """Name of the square root [C,C] of the target's covariance, see `wasserstein.wasserstein`."""
        return f"root_{self.suffix}"

    @property
    def mask(self) -> str:
        """Name of the mask [1,1,h,w] of the layer's positions, whose values sum to 1."""
        return f"mask_{self.suffix}"


@dataclass(frozen=True, slots=True)
class TermNames:
    """The terms of an objective: layers, forms, and the names that the graphs use.

    Attributes
    ----------
    content_layers, style_layers : tuple of str
        Layers of the network, in the order of the weights.
    form : LossForm
        What distances are multiplied by.
    statistic : {"gram", "mean-cov", "wasserstein"}
        What the style is measured by.
    tv_power : float
        The exponent of the total variation.
    regions : int
        How many masks divide the picture among styles; 0 for none.
    """

    content_layers: tuple[str, ...]
    style_layers: tuple[str, ...]
    form: LossForm = RELATIVE
    statistic: StyleStatistic = "gram"
    tv_power: float = 2.0
    regions: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each term, in the order of the inputs ``weights`` and the output ``terms``."""
        content = (f"content {layer}" for layer in self.content_layers)
        style = (f"style {layer}" for layer in self.style_layers)
        return (*content, *style, *PIXEL_TERMS)

    def named(self, values: NDArray[np.float32]) -> dict[str, float]:
        """Return values [K] by the names of their terms."""
        return dict(zip(self.names, map(float, values), strict=True))

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers in use, each once."""
        return tuple(dict.fromkeys((*self.content_layers, *self.style_layers)))

    @property
    def with_mean(self) -> bool:
        """Whether the statistic has a mean beside the second moment."""
        return self.statistic != "gram"

    def parts_of(self, layer: str) -> tuple[StylePart, ...]:
        """Return the regions of a style layer."""
        if not self.regions:
            return (StylePart(layer),)
        return tuple(StylePart(layer, region) for region in range(self.regions))

    @property
    def parts(self) -> tuple[StylePart, ...]:
        """The regions of all style layers, layer by layer."""
        return tuple(part for layer in self.style_layers for part in self.parts_of(layer))

    def moments(self, part: StylePart) -> Moments:
        """Return the names of a part's moments."""
        return Moments(part.gram, part.mean if self.with_mean else None)

    def moment_shapes(self, channels: Mapping[str, int]) -> dict[str, tuple[int, int]]:
        """Return the shape of each moment, given each layer's number of channels."""
        shapes: dict[str, tuple[int, int]] = {}
        for part in self.parts:
            names, count = self.moments(part), channels[part.layer]
            shapes[names.gram] = (count, count)
            if names.mean is not None:
                shapes[names.mean] = (count, 1)
        return shapes

    @property
    def region_numbers(self) -> dict[str, int]:
        """The moments of regions → the region's number, from 0."""
        numbered = ((part, part.region) for part in self.parts if part.region is not None)
        return {name: region for part, region in numbered for name in self.moments(part).names}

    @property
    def style_names(self) -> tuple[str, ...]:
        """Names of the moments of all parts."""
        return tuple(name for part in self.parts for name in self.moments(part).names)


def positions(shape: tuple[int, int, int]) -> int:
    """Return M = h·w of features of `shape`, (C, h, w)."""
    return shape[1] * shape[2]


def features_name(layer: str) -> str:
    """Name of the tensor with a layer's features: output of the statistics, target of the objective."""
    return f"features_{layer}"


def distance_name(layer: str) -> str:
    """Name of the sum ‖F − P‖² of a content layer."""
    return f"distance_{layer}"


def energy_name(layer: str) -> str:
    """Name of ‖P‖² of a content layer."""
    return f"energy_{layer}"


def term_weights(options: Options, terms: TermNames) -> NDArray[np.float32]:
    """Return the factor of each term, in the order of `TermNames.names`."""
    (alpha, beta), is_mean = options.balance, terms.form.mean
    content, style = len(terms.content_layers), len(terms.style_layers)
    each = (
        *_layer_weights(alpha, options.content_layer_weights, content, is_mean=is_mean),
        *_layer_weights(beta, options.style_layer_weights, style, is_mean=is_mean),
    )
    return np.clip([*each, options.tv_weight, options.range_weight], 0, 1e38).astype(np.float32)


def _layer_weights(weight: float, each: Sequence[float] | None, count: int, *, is_mean: bool) -> list[float]:
    """Return the weight of each layer's term: shares of `weight`, or `weight` times each one's own."""
    if not count:  # terms without a weight are left out
        return []
    given = [1.0] * count if each is None else list(each)
    total = math.fsum(given) if is_mean else 1.0
    return [weight * own / total for own in given]


def blend_grams(statistics: Sequence[Mapping[str, Array]], shares: Sequence[float]) -> dict[str, Array]:
    """Mix the moments of several styles, in proportion to `shares`.

    Σ_k s_k ‖G − A_k‖² and ‖G − Σ_k s_k A_k‖² (with Σ s_k = 1) differ by a constant only, so one mean target
    does what a loss for each style would. Mixed means and Gram matrices are those of the pictures' features
    thrown together; so covariances must not be mixed instead.
    """
    factors = np.array(shares, np.float64)
    factors = (factors / factors.max() / (factors / factors.max()).sum()).astype(np.float32)
    return {
        name: np.einsum("k,kij->ij", factors, np.stack([each[name] for each in statistics]))
        for name in statistics[0]
    }
