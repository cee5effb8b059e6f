"""Fingerprints of the inputs of a run: a saved run is resumed with the same inputs only."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..images import Picture
from ..settings.options import Options
from .inputs import RunImages
from .style_statistics import StyleStatistics
from .styles import StylePicture

# Options that may change on resume: they choose the hardware, not the result.
_ANYWHERE = ("device", "threads")


def fingerprint_run(
    options: Options,
    network_sha256: str,
    content: Picture,
    images: RunImages,
    styles: Sequence[StylePicture],
    init: Picture | None,
    preview: Picture | None,
) -> dict[str, Any]:
    """Return the options of a run and fingerprints of its other inputs, as a dictionary for JSON.

    Parameters
    ----------
    options, network_sha256, content, styles, init, preview
        What the user gave; `content` and `styles` in their own colours.
    images : RunImages
        Has the masks.
    """
    fingerprints: dict[str, Any] = {
        "options": {k: v for k, v in asdict(options).items() if k not in _ANYWHERE},
        "network": network_sha256,
        "content picture": fingerprint(content.rgb, content.alpha),
        "keep mask": fingerprint(images.keep),
        "init picture": None if init is None else fingerprint(init.rgb),
    }
    if images.content_map is not None:  # checkpoints of earlier versions have no such entry
        fingerprints["content map"] = fingerprint(images.content_map)
    if preview is not None:
        fingerprints["preview"] = fingerprint(preview.rgb)
    for number, style in enumerate(styles, 1):
        image = style.image
        if isinstance(image, StyleStatistics):
            ordered = sorted(image.sides.items())
            sha256 = fingerprint(*(m[name] for _, m in ordered for name in sorted(m)))
        else:
            sha256 = fingerprint(image)
        fingerprints |= {
            f"style picture {number}": sha256,
            f"weight of style {number}": style.weight,
            f"scale of style {number}": style.scale,
            f"mask of style {number}": fingerprint(style.mask),
        }
        if style.style_mask is not None:  # checkpoints of earlier versions have no such entry
            fingerprints[f"mask or transparency of style picture {number}"] = fingerprint(style.style_mask)
    return fingerprints


def fingerprint(*arrays: NDArray[Any] | None) -> str | None:
    """Return the sha256 of arrays and their shapes; None where all are None."""
    present = [np.ascontiguousarray(array) for array in arrays if array is not None]
    if not present:
        return None
    digest = hashlib.sha256()
    for array in present:
        digest.update(f"{array.dtype}{array.shape}".encode())
        pixels: Any = array.reshape(-1).view(np.uint8)  # a buffer, which NumPy's annotations do not tell
        digest.update(pixels)
    return digest.hexdigest()
