"""Evaluate the loss of an image of which one block at a time is variable, where L-BFGS lacks the memory.

L-BFGS keeps several vectors of the length of all its variables. Here its variables are the pixels of one
block, and the other pixels are fixed. The loss depends on sums over positions, which are known for the whole
image (see `block_graph`); features that do not see the block are computed once (see `stages`).

If each block minimised the loss of the image alone, it would try to make up for all other blocks: the first
ones would be painted too strongly, each in other colours. Instead, all blocks of a sweep start from the same
sums S, and each assumes that the others change like itself: with λ the block's fraction of the pixels, s its
own part of the sums and s₀ that part at the start, it minimises

    λ L(S + (s − s₀) / λ).

After all blocks, the sums are S + Σ (s − s₀), the mean of these arguments, weighted by λ. So a loss that is
convex in the sums is then at most the sum of the values that the blocks have reached. That is parallel
coordinate descent: Richtárik and Takáč, "Parallel Coordinate Descent Methods for Big Data Optimization"
(2016). At s = s₀ the gradient is that of the image.

A style with a mask has its own sums, and its own λ for them: the fraction of its region that lies in the
block. A region in a single block is changed by that block alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import CheckpointError
from ...graphs.network_graph import IMAGE
from ..device_arrays import DeviceInputs
from ..losses.terms import REGION_WEIGHTS, LossTerms
from .block_graph import GRADIENT_FACTOR, OWN_FACTOR
from .sessions import BlockSessions
from .stages import Area, surroundings_name
from .tile_graphs import scalar_sums
from .tile_plan import Span, Tile
from .tile_runner import LossInputs, Sums, TileRunner, copy_window, tile_in_image, tile_in_window

Array = NDArray[np.float32]

# Difference of pixel values that rounding causes when they are converted to variables and back.
_ROUNDING = 1e-5

# λ of a region is at least this fraction of the block's λ: a block may hardly touch a region, and λ divides.
_MIN_REGION_FRACTION = 1 / 8


class Blocks:
    """An image, its sums, and one variable block at a time.

    Parameters
    ----------
    runner : TileRunner
        Computes losses of sums, and cuts windows out of targets.
    sessions : BlockSessions
        Runs the graphs of blocks.
    image : array, float32, [3,H,W]
        The image; it is changed in place.
    terms : LossTerms
        The terms of the loss.
    inputs : LossInputs
        Targets and weights.
    sums : Sums
        The sums of the image.

    Attributes
    ----------
    image : array, float32, [3,H,W]
        The image in its current state.
    sums : dict of str to array
        Its sums.
    reference : Sums
        The sums that all blocks of this sweep start from.
    runner, sessions, terms, inputs
        As given.
    """

    def __init__(
        self,
        runner: TileRunner,
        sessions: BlockSessions,
        image: Array,
        terms: LossTerms,
        inputs: LossInputs,
        sums: Sums,
    ) -> None:
        self.image = image
        self.runner, self.sessions, self.terms, self.inputs = runner, sessions, terms, inputs
        self.sums = dict(sums)
        self.reference: Sums = self.sums

    def begin_sweep(self, reference: Sums | None = None) -> None:
        """Start a sweep from the current sums, or from those of an interrupted sweep.

        Raises CheckpointError if these are the sums of another loss.
        """
        reference = self.sums if reference is None else reference
        if {n: a.shape for n, a in reference.items()} != {n: a.shape for n, a in self.sums.items()}:
            raise CheckpointError("The checkpoint has other sums than this run: start again without it.")
        self.reference = dict(reference)

    def value(self) -> tuple[float, Array]:
        """Return loss and terms [K] of the image."""
        return self.runner.loss_of_sums(self.sums, self.inputs)

    def free(self, tile: Tile) -> FreeBlock:
        """Make the block of a tile variable, and evaluate its loss; all other pixels are fixed."""
        return FreeBlock(self, tile)

    def fractions(self, tile: Tile) -> NDArray[np.float64]:
        """Return λ of a block [1 + R]: its fraction of the image, then of each region."""
        fraction = tile.rows.length * tile.columns.length / self.image[0].size
        regions = self.runner.region_fractions(tile, self.inputs)
        return np.array([fraction, *(max(region, _MIN_REGION_FRACTION * fraction) for region in regions)])


class FreeBlock:
    """A block whose pixels are variable; made by `Blocks.free`, one at a time.

    Attributes
    ----------
    image : array, float32, [3,h,w]
        Its pixels, a view of the image.
    loss : float
        The function that it minimises, at these pixels.
    """

    def __init__(self, blocks: Blocks, tile: Tile) -> None:
        self._blocks = blocks
        self.image = blocks.image[tile_in_image(tile)]
        terms, sessions = blocks.terms, blocks.sessions
        area = sessions.locate(tile)
        rows, columns = area.rows[0].window, area.columns[0].window
        surroundings = _surroundings(blocks.image, area, sessions)
        self._session = sessions.block(area.form)
        self._window = copy_window(blocks.image, rows, columns)
        self._in_window = tile_in_window(tile, rows, columns)
        self._names = (*scalar_sums(terms), *terms.moment_names)
        fractions = blocks.fractions(tile)  # λ
        self._fixed = self._session.to_device(
            {
                **blocks.inputs.shared,
                **_weights_times(fractions, terms, blocks.inputs.shared),
                GRADIENT_FACTOR: (1 / fractions).astype(np.float32),
                **surroundings,
                **blocks.runner.window_inputs(blocks.inputs, area.pixels),
            }
        )
        # The window's part of the sums, s₀, and with it the rest, is an output of the first evaluation.
        self._own: list[Array] = []
        self._first: tuple[float, Array, Array] | None = self._run(
            self._rest_inputs(blocks.reference, 0 * fractions)
        )
        self.loss = self._first[0]
        own = dict(self._own_sums())
        self._rest = {name: blocks.sums[name] - part for name, part in own.items()}
        regions = terms.moment_regions
        supposed = {
            name: blocks.reference[name] - part / fractions[regions.get(name, -1) + 1]
            for name, part in own.items()
        }
        self._supposed = self._rest_inputs(supposed, 1 / fractions)

    def evaluate(self, pixels: Array) -> tuple[float, Array, Array]:
        """Evaluate the loss at pixels [3,h,w], if all blocks change like this one.

        Returns
        -------
        loss : float
            Σ λ L.
        terms : array [K]
            Each term without its weight.
        gradient : array [3,h,w]
            Of the loss by the pixels.
        """
        first, self._first = self._first, None
        if first is not None and _is_close(pixels, self.image):
            return first
        self._window[0][self._in_window] = pixels
        return self._run(self._supposed)

    def value(self) -> tuple[float, Array]:
        """Return loss and terms [K] of the whole image, with the pixels that were evaluated last."""
        return self._blocks.runner.loss_of_sums(self._sums(), self._blocks.inputs)

    def commit(self, pixels: NDArray[Any]) -> None:
        """Write pixels [3,h,w] into the image, and update its sums."""
        self.image[...] = pixels
        if not _is_close(self._window[0][self._in_window], self.image):  # not evaluated last
            self._window[0][self._in_window] = pixels
            self._run(self._supposed)
        self._blocks.sums.update(self._sums())

    def _run(self, inputs: DeviceInputs) -> tuple[float, Array, Array]:
        outputs = self._session.run(
            ["loss", "terms", "d_image", *(f"own_{name}" for name in self._names)],
            {IMAGE: self._window},
            on_device={**self._fixed, **inputs},
        )
        loss, terms, gradient, *self._own = outputs
        return float(loss), terms, gradient[0][self._in_window]

    def _rest_inputs(self, rest: Mapping[str, NDArray[Any]], own_factor: NDArray[np.float64]) -> DeviceInputs:
        named = {f"rest_{name}": value for name, value in rest.items()}
        return self._session.to_device(named | {OWN_FACTOR: own_factor})

    def _own_sums(self) -> Iterator[tuple[str, NDArray[np.float64]]]:
        """Yield each sum's name and the window's part of it at the pixels that were evaluated last."""
        for name, part in zip(self._names, self._own, strict=True):
            yield name, np.asarray(part, np.float64)

    def _sums(self) -> dict[str, NDArray[np.float64]]:
        """Return the sums of the image with the pixels that were evaluated last."""
        return {name: self._rest[name] + part for name, part in self._own_sums()}


def _is_close(pixels: NDArray[Any], others: NDArray[Any]) -> bool:
    """Return whether pixels differ by no more than rounding."""
    return np.allclose(pixels, others, rtol=0, atol=_ROUNDING)


def _weights_times(
    fractions: NDArray[np.float64], terms: LossTerms, shared: Mapping[str, Array]
) -> dict[str, Array]:
    """Return the weights of the terms and of the regions times λ."""
    factors = np.full(len(terms.names), fractions[0])
    region_weights: dict[str, Array] = {}
    if terms.regions:
        features, style = len(terms.feature_terms), len(terms.style_layers)
        factors[features : features + style] = 1  # the weights of the regions have the factor
        region_weights[REGION_WEIGHTS] = (fractions[1:] * shared[REGION_WEIGHTS]).astype(np.float32)
    return {"weights": (factors * shared["weights"]).astype(np.float32)} | region_weights


def _surroundings(image: Array, area: Area, sessions: BlockSessions) -> dict[str, Array]:
    """Return the surroundings of a block in each later stage, with zeros where they see the block."""
    later = area.stages[1:]
    if not later:
        return {}
    seen = area.seen((image.shape[1], image.shape[2]))
    sources = sessions.surroundings(copy_window(image, *seen))
    inputs: dict[str, Array] = {}
    for stage, values, rows, columns in zip(later, sources, area.rows[1:], area.columns[1:], strict=True):
        top, left = (span.start // stage.field.stride for span in seen)
        index = _relative(rows.window, top), _relative(columns.window, left)
        window = np.ascontiguousarray(values[:, :, *index])
        changed = _relative(rows.changed, rows.window.start), _relative(columns.changed, columns.window.start)
        window[:, :, *changed] = 0
        inputs[surroundings_name(stage.source)] = window
    return inputs


def _relative(span: Span, start: int) -> slice:
    return slice(span.start - start, span.stop - start)
