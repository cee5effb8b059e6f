"""Colours that a file names by code (ITU-T H.273), or by primaries and a gamma, as profiles.

PNG names them in the chunks cICP, gAMA and cHRM, AVIF in its box colr.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..icc_profile import Formula, Profile

# Coordinates x and y (CIE 1931) of red, green, blue and white.
Chromaticities = tuple[float, float, float, float, float, float, float, float]

_D65 = (0.3127, 0.3290)
SRGB: Chromaticities = (0.640, 0.330, 0.300, 0.600, 0.150, 0.060, *_D65)

# ITU-T H.273, table 2, by code.
_PRIMARIES: dict[int, Chromaticities] = {
    1: SRGB,
    4: (0.67, 0.33, 0.21, 0.71, 0.14, 0.08, 0.310, 0.316),
    5: (0.64, 0.33, 0.29, 0.60, 0.15, 0.06, *_D65),
    6: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *_D65),
    7: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *_D65),
    9: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, *_D65),
    11: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, 0.314, 0.351),
    12: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, *_D65),
    22: (0.630, 0.340, 0.295, 0.605, 0.155, 0.077, *_D65),
}

SRGB_CURVE = Formula(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
LINEAR = Formula(1.0)

# ITU-T H.273, table 3. BT.709 and its relatives (1, 6, 14, 15) define how cameras encode light; how screens
# decode it is closest to sRGB's curve.
_CURVES = dict.fromkeys((1, 6, 13, 14, 15), SRGB_CURVE) | {4: Formula(2.2), 5: Formula(2.8), 8: LINEAR}

# Transfer functions of high dynamic range by code: their largest value is a highlight, far above white.
HDR = {16: "PQ", 18: "HLG"}

# Bradford: CIE XYZ → the responses of cones, by which a white is adapted to another.
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def by_code(primaries: int, transfer: int) -> Profile | None:
    """Return the profile of two codes of ITU-T H.273; None where one is unspecified or unknown."""
    known = _PRIMARIES.get(primaries), _CURVES.get(transfer)
    return None if known[0] is None or known[1] is None else by_chromaticities(known[0], known[1])


def by_chromaticities(primaries: Chromaticities, curve: Formula) -> Profile | None:
    """Return the profile of three primaries and a white; None where they span no colours.

    The white is adapted to sRGB's by Bradford's matrix (Lam, 1985).
    """
    if min(primaries[1::2]) <= 0:
        return None
    try:
        matrix = np.linalg.solve(_to_white(SRGB), _to_white(primaries)).astype(np.float64)
    except np.linalg.LinAlgError:
        return None
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-6:
        return None
    return Profile((curve,) * 3, matrix)


def linear() -> Profile:
    """Return the profile of linear light in the primaries of sRGB."""
    return Profile((LINEAR,) * 3, np.eye(3))


def _to_white(primaries: Chromaticities) -> NDArray[np.float64]:
    """Return linear RGB → CIE XYZ, adapted to a white of X = Y = Z = 1."""
    xy = np.array(primaries).reshape(4, 2)
    xyz = np.stack([xy[:, 0] / xy[:, 1], np.ones(4), (1 - xy.sum(axis=1)) / xy[:, 1]])
    scaled = xyz[:, :3] * np.linalg.solve(xyz[:, :3], xyz[:, 3])
    cones = (_BRADFORD @ np.ones(3)) / (_BRADFORD @ xyz[:, 3])
    return np.linalg.solve(_BRADFORD, cones[:, np.newaxis] * (_BRADFORD @ scaled)).astype(np.float64)
