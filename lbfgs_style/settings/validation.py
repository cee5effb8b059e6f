"""Check numbers that a user chose: return Python's own type, or raise OptionError with what was expected."""

from __future__ import annotations

import math
import sys
from numbers import Integral, Real  # NumPy's numbers are registered as such

from ..errors import OptionError

# Losses are float32, whose numbers end at 3e38.
MAX_WEIGHT = 1e30


def require_int(name: str, value: object, least: int, most: int, otherwise: str = "") -> int:
    """Return a whole number from `least` to `most`; `otherwise` tells what else the caller accepts."""
    if isinstance(value, bool) or not isinstance(value, Integral) or not least <= int(value) <= most:
        raise OptionError(
            f"{name} must be a whole number from {least} to {most}{otherwise}, got {_spelled(value)}."
        )
    return int(value)


def require_weight(name: str, value: object) -> float:
    """Return the weight of a loss term: a finite number, 0 or larger."""
    weight = _real(value)
    if not 0 <= weight <= MAX_WEIGHT:
        raise OptionError(
            f"{name} must be a finite number, 0 or larger and at most {MAX_WEIGHT:g}, got {_spelled(value)}."
        )
    return weight


def require_number(name: str, value: object, least: float, most: float) -> float:
    """Return a number from `least` to `most`."""
    number = _real(value)
    if not least <= number <= most:
        raise OptionError(f"{name} must be a number from {least:g} to {most:g}, got {_spelled(value)}.")
    return number


def require_positive(name: str, value: object, most: float = sys.float_info.max) -> float:
    """Return a number above 0, at most `most`."""
    number = _real(value)
    if not 0 < number <= most:
        up_to = f"larger than 0, at most {most:g}" if most <= MAX_WEIGHT else "a finite number larger than 0"
        raise OptionError(f"{name} must be {up_to}, got {_spelled(value)}.")
    return number


def require_layer_weights(
    name: str, weights: object, layers_name: str, layers: object
) -> tuple[float, ...] | None:
    """Return the weights of layers, one above 0 for each; None for None."""
    if weights is None:
        return None
    if not isinstance(weights, tuple) or not isinstance(layers, tuple) or len(weights) != len(layers):
        raise OptionError(
            f"{name} must be a tuple with a number for each of {layers_name}, got {weights!r} for {layers!r}."
        )
    return tuple(require_positive(f"each of {name}", each, MAX_WEIGHT) for each in weights)


def _real(value: object) -> float:
    """Return a real number as a float: infinity where no float holds it, NaN where it is not a number."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _spelled(value: object) -> str:
    """Return a value as text; Python refuses to spell whole numbers of thousands of digits."""
    return (
        "a number of over 300 digits" if math.isinf(_real(value)) and isinstance(value, int) else repr(value)
    )
