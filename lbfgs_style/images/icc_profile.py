"""ICC profiles (ICC.1:2010) of three primaries and tone curves, or of one grey curve, and their inverse.

A profile of this kind says what light the numbers of an image stand for: a tone curve for each channel, and
the colours of the primaries in CIE XYZ. From there one 3×3 matrix and sRGB's curve lead to sRGB
(relative colorimetric). Profiles that hold tables of colours instead, as printers and scanners have them, are
not read.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import row_strips, srgb

# Largest difference from sRGB of a profile that counts as sRGB with other rounding: one step of 8 bits.
_NEAR = 1 / 255

# Characters of a profile's name in messages.
_LONGEST_NAME = 80

# Parameters of each of the five parametric functions.
_PARAMETERS = (1, 3, 4, 5, 7)


@dataclass(frozen=True, slots=True)
class Formula:
    """The parametric curve: Y = (aX + b)^g + e from X = d on, cX + f below (ICC.1:2010, 10.16, type 4)."""

    g: float
    a: float = 1.0
    b: float = 0.0
    c: float = 0.0
    d: float = 0.0
    e: float = 0.0
    f: float = 0.0

    def forward(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the light of encoded values."""
        power = np.maximum(self.a * x + self.b, 0) ** self.g + self.e
        return np.where(x >= self.d, power, self.c * x + self.f)

    def inverse(self, y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the encoded values of light."""
        x = (np.maximum(y - self.e, 0) ** (1 / self.g) - self.b) / self.a
        if self.c == 0:
            return x
        bend = max(self.a * self.d + self.b, 0) ** self.g + self.e
        return np.where(y >= bend, x, (y - self.f) / self.c)


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A sampled curve, linear between its rising entries."""

    values: NDArray[np.float64]

    def forward(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the light of encoded values."""
        return np.interp(x, np.linspace(0, 1, len(self.values)), self.values)

    def inverse(self, y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the encoded values of light."""
        return np.interp(y, self.values, np.linspace(0, 1, len(self.values)))


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """A profile that can be converted to sRGB and back.

    Attributes
    ----------
    curves : tuple of Formula or Table
        Encoded → light: three of RGB, or one of grey.
    matrix : array, 3×3
        Linear RGB of the profile → linear sRGB; the identity for grey.
    """

    curves: tuple[Formula | Table, ...]
    matrix: NDArray[np.float64]

    def to_srgb(self, rgb: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return H×W×3 of the profile as sRGB; colours outside sRGB are clipped to [0, 1]."""

        def decode(strip: NDArray[np.float64]) -> NDArray[np.floating]:
            light = np.stack([c.forward(strip[:, i]) for i, c in enumerate(self._of_each())], axis=1)
            return srgb.to_encoded(np.clip(light @ self.matrix.T, 0, 1))

        return row_strips.map_pixels(decode, rgb)

    def from_srgb(self, rgb: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return H×W×3 of sRGB in the encoding of the profile: the inverse of `to_srgb`."""
        back = np.linalg.inv(self.matrix)

        def encode(strip: NDArray[np.float64]) -> NDArray[np.floating]:
            light = np.clip(srgb.to_linear(strip) @ back.T, 0, 1)
            return np.stack([c.inverse(light[:, i]) for i, c in enumerate(self._of_each())], axis=1)

        return row_strips.map_pixels(encode, rgb)

    def is_srgb(self) -> bool:
        """Tell whether the profile equals sRGB within rounding."""
        axis = np.linspace(0, 1, 9, dtype=np.float32)
        if len(self.curves) == 1:
            grid = np.repeat(axis.reshape(1, -1, 1), 3, axis=2)
        else:
            grid = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(1, -1, 3)
        return bool(np.abs(self.to_srgb(grid) - grid).max() < _NEAR)

    def _of_each(self) -> tuple[Formula | Table, ...]:
        return self.curves * (3 // len(self.curves))


def space(data: bytes) -> str:
    """Return the colour space of a profile, such as ``RGB``, ``GRAY`` or ``CMYK``; empty if unknown."""
    return data[16:20].decode("latin-1").strip() if data[36:40] == b"acsp" else ""


def parse(data: bytes) -> Profile | None:
    """Read a profile.

    Parameters
    ----------
    data : bytes
        The profile as image files hold it.

    Returns
    -------
    Profile or None
        None where it is damaged, or neither of three primaries and curves nor of one grey curve.
    """
    try:
        # Overflows are detected at the end.
        with np.errstate(all="ignore"):
            return _parse(data)
    except (struct.error, ValueError, ZeroDivisionError):  # NumPy's LinAlgError is a ValueError
        return None


def name(data: bytes) -> str:
    """Return the name in a profile, for messages."""
    try:
        text = bytes(_tags(data)[b"desc"])
    except (struct.error, KeyError):
        return "without a name"
    if text[:4] == b"mluc" and len(text) >= 28:  # one text for each language, in UTF-16; the first will do
        length, offset = struct.unpack_from(">II", text, 20)
        decoded = text[offset : offset + length].decode("utf-16-be", "replace")
    else:
        decoded = text[12:].split(b"\0")[0].decode("latin-1")
    return "".join(c for c in decoded[:_LONGEST_NAME] if c.isprintable()).strip() or "without a name"


def _parse(data: bytes) -> Profile | None:
    tags = _tags(data)
    if space(data) == "GRAY" and b"kTRC" in tags:
        return _checked(Profile((_curve(tags[b"kTRC"]),), np.eye(3)))
    if space(data) != "RGB" or not tags.keys() >= {b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC"}:
        return None
    curves = tuple(_curve(tags[channel + b"TRC"]) for channel in (b"r", b"g", b"b"))
    # Multiples of 1/65536 (s15Fixed16) after eight bytes of type; under D50, as `TO_XYZ_D50`.
    columns = [struct.unpack_from(">3i", tags[channel + b"XYZ"], 8) for channel in (b"r", b"g", b"b")]
    to_xyz = np.array(columns).T / 65536
    return _checked(Profile(curves, np.linalg.solve(srgb.TO_XYZ_D50, to_xyz).astype(np.float64)))


def _checked(profile: Profile) -> Profile:
    """Return a profile, or raise ValueError where it is not finite or its curves are not invertible."""
    if not np.isfinite(np.linalg.inv(profile.matrix)).all():
        raise ValueError("a matrix that cannot be undone")
    steps = np.linspace(0, 1, 256)
    for curve in profile.curves:
        light = curve.forward(steps)
        if not np.isfinite(light).all() or (np.diff(light) < 0).any() or light[-1] <= light[0]:
            raise ValueError("not a rising curve")
        # The inverse must be finite for every value: a result may have light that the curve does not reach.
        again = curve.forward(np.clip(curve.inverse(light), 0, 1))
        if not np.isfinite(curve.inverse(steps)).all() or not np.allclose(again, light, rtol=0, atol=_NEAR):
            raise ValueError("a curve that cannot be undone")
    return profile


def _tags(data: bytes) -> dict[bytes, memoryview]:
    (count,) = struct.unpack_from(">I", data, 128)
    entries = [struct.unpack_from(">4sII", data, 132 + 12 * i) for i in range(count)]
    view = memoryview(data)  # not copies: thousands of tags may all claim the whole of a profile
    return {tag: view[offset : offset + length] for tag, offset, length in entries}


def _curve(data: memoryview) -> Formula | Table:
    kind = bytes(data[:4])
    if kind == b"curv":
        (count,) = struct.unpack_from(">I", data, 8)
        if count == 0:
            return Formula(1.0)
        if count == 1:
            return Formula(struct.unpack_from(">H", data, 12)[0] / 256)
        values = np.frombuffer(data, ">u2", count, 12) / 65535.0
        return Table(values)
    if kind != b"para":
        raise ValueError("neither curv nor para")
    (number,) = struct.unpack_from(">H", data, 8)
    if number >= len(_PARAMETERS):
        raise ValueError("unknown function")
    p = [n / 65536 for n in struct.unpack_from(f">{_PARAMETERS[number]}i", data, 12)]
    if number == 0:
        return Formula(p[0])
    g, a, b = p[:3]
    if number in (1, 2):
        level = p[3] if number == 2 else 0.0
        return Formula(g, a, b, 0.0, -b / a, level, level)
    return Formula(*p)
