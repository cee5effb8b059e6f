"""Numbers that a user chose: each is returned as Python's own, or refused with what was expected."""

from __future__ import annotations

import math
import sys
from numbers import Integral, Real  # NumPy's numbers are registered as such

from ..errors import OptionError

MAX_WEIGHT = 1e30
"""Losses are float32, whose numbers end at 3e38."""


def whole(name: str, value: object, least: int, most: int, otherwise: str = "") -> int:
    """Check a whole number; `otherwise` names what else there could be."""
    if isinstance(value, bool) or not isinstance(value, Integral) or not least <= int(value) <= most:
        raise OptionError(
            f"{name} must be a whole number from {least} to {most}{otherwise}, got {_shown(value)}."
        )
    return int(value)


def weight(name: str, value: object) -> float:
    """Check the weight of a term of the loss."""
    found = _real(value)
    if not 0 <= found <= MAX_WEIGHT:
        raise OptionError(
            f"{name} must be a finite number, 0 or larger and at most {MAX_WEIGHT:g}, got {_shown(value)}."
        )
    return found


def number(name: str, value: object, least: float, most: float) -> float:
    """Check a number between two others."""
    found = _real(value)
    if not least <= found <= most:
        raise OptionError(f"{name} must be a number from {least:g} to {most:g}, got {_shown(value)}.")
    return found


def positive(name: str, value: object, most: float = sys.float_info.max) -> float:
    """Check a number above 0."""
    found = _real(value)
    if not 0 < found <= most:
        up_to = f"larger than 0, at most {most:g}" if most <= MAX_WEIGHT else "a finite number larger than 0"
        raise OptionError(f"{name} must be {up_to}, got {_shown(value)}.")
    return found


def _real(value: object) -> float:
    """Return a real number as a float, one that no float holds as infinity, and what is none as NaN."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _shown(value: object) -> str:
    """Spell a value; whole numbers of thousands of digits have no text in Python."""
    return (
        "a number of over 300 digits" if math.isinf(_real(value)) and isinstance(value, int) else repr(value)
    )
