"""Forms of the losses: factors of channels, positions and pixels, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Factor:
    """The factor number · C^channels · M^positions · (H·W)^pixels of a squared distance.

    Attributes
    ----------
    number : float
        Constant factor.
    channels, positions, pixels : int
        Exponents of the layer's channels C, its positions M, and of the pixels H·W of the image.
    """

    number: float = 1.0
    channels: int = 0
    positions: int = 0
    pixels: int = 0

    def at(self, channels: int, positions: int, pixels: int) -> float:
        """Return the factor for a layer and an image."""
        powers = ((channels, self.channels), (positions, self.positions), (pixels, self.pixels))
        value = self.number
        for base, exponent in powers:
            value *= float(base) ** exponent
        return value


@dataclass(frozen=True, slots=True)
class Variation:
    """The form of the total variation; its exponent p is an option.

    Attributes
    ----------
    joint : bool
        Σ (a² + b²)^p over the pixels that have a neighbour below (difference a) and to the right
        (difference b), in place of Σ |a|^p + Σ |b|^p.
    per_pixel : bool
        Divided by the number of pixels.
    white : float
        Pixel value of white in the source program: 1 or 255.
    number : float
        Additional constant factor.
    """

    joint: bool = False
    per_pixel: bool = True
    white: float = 1.0
    number: float = 1.0

    def at(self, power: float, pixels: int) -> float:
        """Return the factor of the sum over differences of pixel values in [0,1]."""
        unit = self.white ** (2 * power if self.joint else power)
        return self.number * unit / (pixels if self.per_pixel else 1)


@dataclass(frozen=True, slots=True)
class LossForm:
    """How distances become loss terms.

    Attributes
    ----------
    content : Factor or None
        Of ‖F − P‖²; None divides it by ‖P‖².
    style : Factor or None
        Of ‖G − A‖² with G = F Fᵀ / M; None divides it by ‖A‖².
    variation : Variation
        The total variation.
    mean : bool
        Whether layer weights are scaled to sum to 1.
    """

    content: Factor | None = None
    style: Factor | None = None
    variation: Variation = Variation()
    mean: bool = True


# The default form: relative distances, dimensionless.
RELATIVE = LossForm()
