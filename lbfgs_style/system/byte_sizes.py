"""Parse and format numbers of bytes, such as ``2GB``."""

from __future__ import annotations

from ..errors import OptionError

# Bytes. No run fits into less: a smaller budget is one whose unit was forgotten.
MIN_MEMORY = 10**6


def format_bytes(count: float) -> str:
    """Format a number of bytes with a decimal unit, as in ``1.2 GB``."""
    if count < 1e3:
        return f"{count:.0f} bytes"
    unit, factor = next((row for row in (("GB", 1e9), ("MB", 1e6)) if count >= row[1]), ("kB", 1e3))
    return f"{count / factor:.{1 if count < 10 * factor else 0}f} {unit}"


def parse_bytes(text: str, name: str) -> int:
    """Parse a number of bytes such as ``2GB``, ``1.5 GiB`` or ``800M``.

    Parameters
    ----------
    text : str
        A number and a unit: K, M, G (powers of 1000) or Ki, Mi, Gi (powers of 1024), with or without B.
    name : str
        The option that the text was given for, as messages call it.

    Raises
    ------
    OptionError
        If the text is not such a number, or less than `MIN_MEMORY`.
    """
    units = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}
    plain = text.strip().upper().removesuffix("B")
    number = plain.rstrip("KMGI ")
    unit = plain[len(number) :].strip()
    try:
        count = int(float(number) * units[unit])
    except (ValueError, KeyError, OverflowError):  # int() raises for infinity and NaN
        raise OptionError(f"{name} must be an amount such as 2GB or 800MB, got {text!r}.") from None
    if count < MIN_MEMORY:
        raise OptionError(
            f"{name} must be an amount with a unit such as 2GB or 800MB, at least "
            f"{format_bytes(MIN_MEMORY)}, got {text!r}."
        )
    return count
