"""Statistics of a style image that take its place: moments of its features at several sizes.

Every style statistic is computed from means and second moments (Gram matrices), so that a file serves all; it
belongs to one network with one pooling, and to its features with or without smoothing.

A run resizes a style image to each of its scales and measures it there, because strokes of one width in
pixels have other statistics than strokes of twice that width. A file therefore holds the statistics at
several sizes, in steps of √2; a size between two of them takes their mean, weighted by its distance on a
logarithmic scale. A size that was measured gives exactly what the style image would.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError, ImageFileError, OptionError
from ..images import MAX_PIXELS, Picture, read
from ..objective.losses.terms import LossTerms
from ..system.files import atomic_write, not_a_path, read_file, why_unwritable
from ..system.npz import TooLarge, read_arrays, read_int, read_text

SUFFIX = ".npz"
_FORMAT = 1
_ABOUT = {"format", "network", "network_sha256", "pooling", "smooth_features", "layers", "size", "sides"}
# Bytes of the largest file, and of its arrays: all layers of VGG19 at 50 sizes.
MAX_BYTES = 2**29

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class StyleStatistics:
    """Moments of a style image at several sizes.

    Attributes
    ----------
    name : str
        Name in messages: the file.
    network, network_sha256 : str
        Network that measured, and the fingerprint of its weights.
    pooling : str
        Pooling of the network: ``max``, ``average``, ``l2`` or, of both kinds, ``mixed``.
    smooth_features : bool
        Whether the features were smoothed, see `lbfgs_style.networks.smoothing`.
    layers : tuple of str
        The style layers that were measured.
    size : (int, int)
        Height and width of the style image.
    sides : mapping of int to (mapping of str to array)
        Longer side in pixels → moments by name, ``gram_relu1_1`` [C,C] and ``mean_relu1_1`` [C,1], float32.
    """

    name: str
    network: str
    network_sha256: str
    pooling: str
    smooth_features: bool
    layers: tuple[str, ...]
    size: tuple[int, int]
    sides: Mapping[int, Mapping[str, Array]] = field(repr=False)

    def at(self, longest: int) -> dict[str, Array]:
        """Return the statistics of the style image resized to a longer side of `longest` pixels.

        Outside the measured sizes, those of the nearest size.
        """
        sizes = sorted(self.sides)
        longest = min(max(longest, sizes[0]), sizes[-1])
        above = next(side for side in sizes if side >= longest)
        if above == longest:
            return dict(self.sides[above])
        below = sizes[sizes.index(above) - 1]
        share = math.log(longest / below) / math.log(above / below)
        low, high = self.sides[below], self.sides[above]
        mixed = {name: (1 - share) * low[name] + share * high[name] for name in low}
        return {name: array.astype(np.float32) for name, array in mixed.items()}

    def check(
        self, network: str, network_sha256: str, pooling: str, smooth_features: bool, layers: Sequence[str]
    ) -> None:
        """Raise ImageError unless the statistics were measured with these features of this network."""
        if network_sha256 != self.network_sha256:
            raise ImageError(
                f"{self.name}: measured with the network {self.network!r} (weights "
                f"{self.network_sha256[:12]}…), but this run uses {network!r} (weights "
                f"{network_sha256[:12]}…): measure the style image again with "
                f"--network {network}, or give the style image itself."
            )
        if pooling != self.pooling:
            raise ImageError(
                f"{self.name}: measured with the pooling {self.pooling!r}, but this run uses {pooling!r}: "
                "measure the style image again with --pooling, or give the style image itself."
            )
        if smooth_features != self.smooth_features:
            ours, theirs = ("without", "with") if smooth_features else ("with", "without")
            raise ImageError(
                f"{self.name}: measured {ours} --smooth-features, but this run is {theirs} it: measure the "
                "style image again, or give the style image itself."
            )
        missing = [layer for layer in layers if layer not in self.layers]
        if missing:
            raise ImageError(
                f"{self.name}: holds no statistics of {', '.join(missing)}; expected all of "
                f"{', '.join(layers)}: measure the style image again with these style layers."
            )

    def save(self, path: Path | str) -> None:
        """Write an ``.npz`` file of plain arrays, completely or not at all.

        Raises
        ------
        OptionError
            The name does not end in ``.npz``.
        ImageFileError
            The file cannot be written.
        """
        check_output(path)
        arrays: dict[str, Any] = {
            "format": np.array(_FORMAT),
            "network": np.array(self.network),
            "network_sha256": np.array(self.network_sha256),
            "pooling": np.array(self.pooling),
            "smooth_features": np.array(int(self.smooth_features)),
            "layers": np.array(self.layers),
            "size": np.array(self.size),
            "sides": np.array(sorted(self.sides)),
        }
        for side, statistics in self.sides.items():
            arrays |= {f"{side}/{name}": array for name, array in statistics.items()}
        try:
            with atomic_write(path) as temporary, temporary.open("wb") as file:
                np.savez_compressed(file, **arrays)
        except OSError as error:
            raise ImageFileError(f"{path}: cannot be written: {error.strerror or error}") from error

    @classmethod
    def load(cls, path: Path | str) -> StyleStatistics:
        """Read what `save` wrote.

        Raises
        ------
        ImageFileError
            The file is missing, damaged, or of another kind.
        """
        return cls.decode(read_statistics(path), str(path))

    @classmethod
    def decode(cls, data: bytes, name: str) -> StyleStatistics:
        """Read the bytes of a file that `save` wrote; messages call it `name`.

        Raises
        ------
        ImageFileError
            The file is damaged, or of another kind.
        """
        try:
            return cls._of(read_arrays(io.BytesIO(data), most=MAX_BYTES, packed=True), name)
        except TooLarge as error:
            raise ImageFileError(f"{name}: {error}: measure the image again, at fewer sizes.") from error
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, ImageError):
                raise
            raise ImageFileError(
                f"{name}: damaged, or not a file of style statistics; expected a file of `lbfgs-style "
                "style`: measure the style image again."
            ) from error

    @classmethod
    def _of(cls, arrays: dict[str, NDArray[Any]], name: str) -> StyleStatistics:
        if read_int(arrays["format"]) != _FORMAT:
            raise ImageFileError(
                f"{name}: written by another version of lbfgs-style (format {arrays['format']}, expected "
                f"{_FORMAT}): measure the style image again."
            )
        height, width = map(read_int, arrays["size"])
        layers = tuple(map(read_text, arrays["layers"]))
        arrays.setdefault("smooth_features", np.array(0))  # files of earlier versions have no such entry
        numbers = list(map(read_int, arrays["sides"]))
        if not numbers or not layers or min(height, width, *numbers) < 1 or len(set(layers)) < len(layers):
            raise ValueError
        # Each size has the same arrays, of as many channels as the first one.
        channels = {layer: len(arrays[f"{numbers[0]}/gram_{layer}"]) for layer in layers}
        shapes = all_moments(layers).moment_shapes(channels)
        sides = {side: {name: arrays.pop(f"{side}/{name}") for name in shapes} for side in numbers}
        for moments in sides.values():
            if not all(_is_statistic(array, shapes[name]) for name, array in moments.items()):
                raise ValueError
        if set(arrays) != _ABOUT:
            raise ValueError
        return cls(
            name=name,
            network=read_text(arrays["network"]),
            network_sha256=read_text(arrays["network_sha256"]),
            pooling=read_text(arrays["pooling"]),
            smooth_features=bool(read_int(arrays["smooth_features"])),
            layers=layers,
            size=(height, width),
            sides=sides,
        )


def all_moments(layers: tuple[str, ...]) -> LossTerms:
    """Return terms whose moments serve every style statistic."""
    return LossTerms((), layers, statistic="mean-cov")


def _is_statistic(array: NDArray[Any], shape: tuple[int, int]) -> bool:
    is_one = array.dtype == np.float32 and array.shape == shape and array.size > 0
    return is_one and bool(np.isfinite(array).all())


def read_statistics(path: Path | str) -> bytes:
    """Return the bytes of a file of statistics.

    Raises
    ------
    ImageFileError
        The file is missing, unreadable or too large.
    """
    try:
        return read_file(path, most=MAX_BYTES)
    except FileNotFoundError as error:
        raise ImageFileError(f"{path}: {not_a_path(path) or 'no such file.'}") from error
    except OSError as error:
        raise ImageFileError(f"{path}: cannot be read: {error.strerror or error}.") from error


def check_output(path: Path | str) -> None:
    """Check before measuring that statistics can be written to `path`."""
    if Path(path).suffix.lower() != SUFFIX:
        raise OptionError(f"{path}: statistics are written as {SUFFIX}: try {path}{SUFFIX}")
    problem = why_unwritable(path)
    if problem is not None:
        raise ImageFileError(f"{path}: {problem}")


def read_style(path: Path | str, *, max_pixels: int = MAX_PIXELS) -> Picture | StyleStatistics:
    """Read a style image, or the statistics of one where the name ends in ``.npz``.

    Parameters
    ----------
    path : path
        The file.
    max_pixels : int
        See `lbfgs_style.images.read`.

    Raises
    ------
    ImageFileError
        As `StyleStatistics.load` and `lbfgs_style.images.read`.
    """
    if Path(path).suffix.lower() == SUFFIX:
        return StyleStatistics.load(path)
    return read(path, max_pixels=max_pixels)
