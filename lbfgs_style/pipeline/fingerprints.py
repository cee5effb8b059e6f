"""Fingerprints of what a run is made of, so that a saved run is resumed with nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..images import Picture
from ..settings.options import Options
from .style_statistics import StyleStatistics
from .styles import StylePicture

_ANYWHERE = ("device", "threads")
"""Options that may change on the way: they say where the work is done, not what it is."""


def identity_of(
    options: Options,
    network_sha256: str,
    content: Picture,
    styles: Sequence[StylePicture],
    keep: NDArray[np.float32] | None,
    init: Picture | None,
) -> dict[str, Any]:
    """Return what a run is made of, ready for JSON: its options, and fingerprints of all else."""
    found: dict[str, Any] = {
        "options": {k: v for k, v in asdict(options).items() if k not in _ANYWHERE},
        "network": network_sha256,
        "content picture": _fingerprint(content.rgb, content.alpha),
        "keep mask": _fingerprint(keep),
        "init picture": None if init is None else _fingerprint(init.rgb),
    }
    for number, style in enumerate(styles, 1):
        painting = style.painting
        if isinstance(painting, StyleStatistics):
            ordered = sorted(painting.sides.items())
            print_ = _fingerprint(*(m[name] for _, m in ordered for name in sorted(m)))
        else:
            print_ = _fingerprint(painting)
        found |= {
            f"style picture {number}": print_,
            f"weight of style {number}": style.weight,
            f"scale of style {number}": style.scale,
            f"mask of style {number}": _fingerprint(style.mask),
        }
        if style.style_mask is not None:  # checkpoints of before have no such entry
            found[f"mask or transparency of style picture {number}"] = _fingerprint(style.style_mask)
    return found


def _fingerprint(*arrays: NDArray[Any] | None) -> str | None:
    """Return the sha256 of arrays, of their shapes too; None if there is none of them."""
    there = [np.ascontiguousarray(array) for array in arrays if array is not None]
    if not there:
        return None
    digest = hashlib.sha256()
    for array in there:
        digest.update(f"{array.dtype}{array.shape}".encode())
        pixels: Any = array.reshape(-1).view(np.uint8)  # a buffer, which NumPy's annotations do not tell
        digest.update(pixels)
    return digest.hexdigest()
