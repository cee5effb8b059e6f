"""sRGB: its transfer function, both ways, and the colours of its primaries (IEC 61966-2-1)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Linear sRGB → CIE XYZ under D50, the white of ICC profiles; the columns are those of the ICC's sRGB profile.
TO_XYZ_D50 = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])

TO_XYZ_D50.setflags(write=False)


def to_linear(encoded: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return linear light of encoded values; negative values are mirrored, so that no value is lost.

    L = V / 12.92 up to V = 0.04045, and ((V + 0.055) / 1.055)^2.4 above.
    """
    size = np.abs(encoded)
    light = np.where(size <= 0.04045, size / 12.92, ((size + 0.055) / 1.055) ** 2.4)
    return np.copysign(light, encoded)


def to_encoded(linear: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return encoded values of linear light: the inverse of `to_linear`."""
    size = np.abs(linear)
    encoded = np.where(size <= 0.04045 / 12.92, size * 12.92, 1.055 * size ** (1 / 2.4) - 0.055)
    return np.copysign(encoded, linear)
