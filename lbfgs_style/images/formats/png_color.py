"""What the chunks of a PNG say of its colours, in their order of precedence: cICP, iCCP, sRGB, gAMA and cHRM.

The order is that of the PNG specification, third edition, 4.3 and 11.3.2.
"""

from __future__ import annotations

import logging
import struct

from ..icc_profile import Formula, Profile
from ..metadata import png_parts
from . import color_codes

log = logging.getLogger(__name__)

# Relative distance of an exponent from 1/2.2 that libpng, too, takes for none.
_NEAR = 0.05

# Exponents between 1/10 and 10 make sense: beyond, all grey is black, or white.
_LEAST, _MOST = 0.1, 10.0

_WHOLE = 100_000  # chunks count chromaticities and exponents in 1/100,000


def declared(data: bytes, name: str) -> tuple[Profile | None, bool]:
    """Return the profile by which a PNG is to be read, and whether an embedded ICC profile counts.

    Parameters
    ----------
    data : bytes
        The file.
    name : str
        What a warning calls it: one is logged where a code or an exponent is not applied.

    Returns
    -------
    profile : Profile or None
        None where the picture is sRGB, or an ICC profile speaks for it.
    icc_counts : bool
        False where cICP stands above the ICC profile.

    Raises
    ------
    ValueError
        The picture is of high dynamic range; the error's text names its transfer function.
    """
    found: dict[bytes, bytes] = {}
    for kind, body in png_parts(data):
        if kind == b"IDAT":
            break
        found.setdefault(kind, body)
    code = found.get(b"cICP", b"")
    if len(code) == 4:
        primaries, transfer, matrix, full_range = code
        if transfer in color_codes.HDR:
            raise ValueError(color_codes.HDR[transfer])
        profile = color_codes.by_code(primaries, transfer)
        if profile is not None and matrix == 0 and full_range == 1:
            return profile, False
        log.warning(
            "%s: the colour code %d-%d-%d-%d (cICP) is not known: %s taken in its place",
            *(name, *code, _instead(found)),
        )
    if b"iCCP" in found or b"sRGB" in found:
        return None, True
    exponent = _exponent(found.get(b"gAMA", b""), name)
    return _by_numbers(exponent, found.get(b"cHRM", b"")), True


def _instead(found: dict[bytes, bytes]) -> str:
    """Return in words what speaks for the colours where a code does not."""
    if b"iCCP" in found:
        return "its ICC profile (iCCP) is"
    numbers = [kind.decode() for kind in (b"gAMA", b"cHRM") if kind in found and b"sRGB" not in found]
    return f"{' and '.join(numbers)} {'are' if len(numbers) > 1 else 'is'}" if numbers else "sRGB is"


def _exponent(gamma: bytes, name: str) -> float | None:
    """Return the exponent of a chunk gAMA; None where there is none, or none that makes sense."""
    if len(gamma) != 4:
        return None
    exponent = struct.unpack(">I", gamma)[0] / _WHOLE
    if _LEAST <= exponent <= _MOST:
        return exponent
    log.warning(
        "%s: its gamma of %g (gAMA) makes no sense; expected %g to %g: sRGB's curve is taken in its place",
        *(name, exponent, _LEAST, _MOST),
    )
    return None


def _by_numbers(exponent: float | None, primaries: bytes) -> Profile | None:
    curve = None
    if exponent is not None and abs(exponent * 2.2 - 1) > _NEAR:
        curve = Formula(1 / exponent)
    own = _by_primaries(primaries, curve or color_codes.SRGB_CURVE)
    if own is not None or curve is None:
        return own
    return color_codes.by_chromaticities(color_codes.SRGB, curve)


def _by_primaries(primaries: bytes, curve: Formula) -> Profile | None:
    """Return the profile of a chunk cHRM; None where there is none, or its primaries span no colours."""
    if len(primaries) != 32:
        return None
    white_x, white_y, *rest = (value / _WHOLE for value in struct.unpack(">8I", primaries))
    red_x, red_y, green_x, green_y, blue_x, blue_y = rest
    own = (red_x, red_y, green_x, green_y, blue_x, blue_y, white_x, white_y)
    return color_codes.by_chromaticities(own, curve)
