"""Read and spell amounts of memory, such as 2GB."""

from __future__ import annotations

from ..errors import OptionError

# Bytes: a smaller budget is one whose unit was forgotten.
LEAST_MEMORY = 10**6


def spelled(count: float) -> str:
    """Write a number of bytes as people do, as in 1.2 GB."""
    if count < 1e3:
        return f"{count:.0f} bytes"
    unit, factor = next((row for row in (("GB", 1e9), ("MB", 1e6)) if count >= row[1]), ("kB", 1e3))
    return f"{count / factor:.{1 if count < 10 * factor else 0}f} {unit}"


def parsed(text: str, name: str) -> int:
    """Read a number of bytes such as 2GB, 1.5 GiB or 800M; errors call it `name`."""
    units = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}
    plain = text.strip().upper().removesuffix("B")
    number = plain.rstrip("KMGI ")
    unit = plain[len(number) :].strip()
    try:
        count = int(float(number) * units[unit])
    except (ValueError, KeyError, OverflowError):  # int() refuses what is not finite
        raise OptionError(f"{name} must be an amount such as 2GB or 800MB, got {text!r}.") from None
    if count < LEAST_MEMORY:
        raise OptionError(
            f"{name} must be an amount with a unit such as 2GB or 800MB, at least "
            f"{spelled(LEAST_MEMORY)}, got {text!r}."
        )
    return count
