"""What the chunks of a PNG say of its colours, in their order of precedence: cICP, iCCP, sRGB, gAMA and cHRM.

The order is that of the PNG specification, third edition, 4.3 and 11.3.2.
"""

from __future__ import annotations

import logging
import struct

from . import color_codes
from .icc import Formula, Profile
from .metadata import png_parts

log = logging.getLogger(__name__)

# Relative distance of an exponent from 1/2.2 that libpng, too, takes for none.
_NEAR = 0.05

_WHOLE = 100_000  # chunks count chromaticities and exponents in 1/100,000


def declared(data: bytes, name: str) -> tuple[Profile | None, bool]:
    """Return the profile by which a PNG is to be read, and whether an embedded ICC profile counts.

    Parameters
    ----------
    data : bytes
        The file.
    name : str
        What a warning calls it: one is logged where a code is not applied.

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
        log.warning("%s: its colours of code %d-%d-%d-%d (cICP) are not applied", name, *code)
    if b"iCCP" in found or b"sRGB" in found:
        return None, True
    return _by_numbers(found.get(b"gAMA", b""), found.get(b"cHRM", b"")), True


def _by_numbers(gamma: bytes, primaries: bytes) -> Profile | None:
    exponent = struct.unpack(">I", gamma)[0] / _WHOLE if len(gamma) == 4 else 0
    curve = color_codes.SRGB_CURVE
    if exponent and abs(exponent * 2.2 - 1) > _NEAR:
        curve = Formula(1 / exponent)
    elif len(primaries) != 32:
        return None
    if len(primaries) != 32:
        return color_codes.by_chromaticities(color_codes.SRGB, curve)
    white_x, white_y, *rest = (value / _WHOLE for value in struct.unpack(">8I", primaries))
    red_x, red_y, green_x, green_y, blue_x, blue_y = rest
    own = (red_x, red_y, green_x, green_y, blue_x, blue_y, white_x, white_y)
    return color_codes.by_chromaticities(own, curve)
