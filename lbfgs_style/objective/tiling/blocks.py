"""A picture of which one block at a time is free: the way past the memory that an optimiser needs.

L-BFGS keeps several vectors as long as all its variables. Here its variables are the pixels of one block, and
the rest of the picture is held. What the loss depends on are sums over positions, and these are known of the
whole picture (see `block_graph.block_graph`); features that the block does not reach are made once (see
`stages`).

A block that lowered the loss of the whole by itself would do in its place what all should do: the first ones
would be painted too strongly, and each in colours of its own. So all blocks of a sweep go from the same sums
S, and each takes for granted that the others change as it does: with λ = pixels of the block / of the
picture, it minimises λ L(S + (s − s₀) / λ), s its own part of the sums and s₀ what that was before. What all
of them do together is S + Σ (s − s₀): the mean of those arguments, each weighted by its λ. A loss that is
convex in its sums is there at most the sum of what the blocks have reached. Parallel coordinate descent:
Richtárik and Takáč, "Parallel Coordinate Descent Methods for Big Data Optimization" (2016). With s = s₀ the
gradient is the picture's own.

A style with a mask has sums of its own, and a λ of its own for them: the part of its region that lies in the
block. What lies in one block alone is that block's to change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import CheckpointError
from ...graphs.network_graph import IMAGE
from ..losses.terms import SHARES, TermNames
from ..session import Session
from .block_graph import LIKEWISE, OWN_SHARE
from .stages import Area, Form, around_name
from .tile_graphs import scalar_sums
from .tile_plan import Span, Tile
from .tile_runner import TileRunner, inside_window, of_picture, window_of

Array = NDArray[np.float32]

_ROUNDING = 1e-5
"""Of pixel values that became variables and came back."""

_LEAST_PART = 1 / 8
"""Of a block's part of the picture: its λ at least for a region that it hardly touches, since λ divides."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """The free block.

    Attributes
    ----------
    image : array, float32, [3,h,w]
        Its pixels, a view of the picture.
    loss : float
        What it minimises, at those pixels.
    evaluate : function
        Pixels [3,h,w] → Σ λ L if all blocks changed like this one, its terms [K], gradient [3,h,w].
    value : function
        () → loss of the whole picture and its terms [K] with the pixels that were evaluated last.
    keep : function
        Pixels [3,h,w] → None: puts them into the picture.
    """

    image: Array
    loss: float
    evaluate: Callable[[Array], tuple[float, Array, Array]]
    value: Callable[[], tuple[float, Array]]
    keep: Callable[[NDArray[Any]], None]


class Blocks:
    """A picture, its sums, and one block of it at a time.

    Parameters
    ----------
    tiles : TileRunner
        Cuts windows out of targets.
    place : function
        A block → where it lies in the stages of the network.
    session : function
        A form → session of its `block_graph.block_graph`.
    surroundings : function
        A window [1,3,h,w] and names → those outputs of its `stages.surroundings_graph`.
    image : array, float32, [3,H,W]
        The picture; it is changed in place.
    terms, targets, weights
        As in `lbfgs_style.objective.evaluation.Engine.objective`.
    totals : mapping of str to array
        The sums of the whole picture, as `TileRunner.totals` gives them.

    Attributes
    ----------
    image : array, float32, [3,H,W]
        The picture as it is now.
    reference : mapping of str to array
        The sums that all blocks of this sweep go from.
    """

    def __init__(
        self,
        tiles: TileRunner,
        place: Callable[[Tile], Area],
        session: Callable[[Form], Session],
        surroundings: Callable[[Array, Sequence[str]], list[Array]],
        image: Array,
        terms: TermNames,
        targets: Mapping[str, Array],
        weights: Array,
        totals: Mapping[str, NDArray[np.float64]],
    ) -> None:
        self.image = image
        self._tiles, self._terms, self._targets = tiles, terms, targets
        self._place, self._session, self._surroundings = place, session, surroundings
        self._of_all = tiles.of_all(terms, targets, weights)
        self._names = (*scalar_sums(terms), *terms.style_names)
        self._regions = terms.region_numbers
        self._totals = dict(totals)
        self.reference: Mapping[str, NDArray[np.float64]] = self._totals

    def begin_sweep(self, reference: Mapping[str, NDArray[np.float64]] | None = None) -> None:
        """Let the blocks from now on go from the sums as they are, or as they were when a sweep began.

        Raises CheckpointError where those are sums of another loss.
        """
        reference = self._totals if reference is None else reference
        if {n: a.shape for n, a in reference.items()} != {n: a.shape for n, a in self._totals.items()}:
            raise CheckpointError("The checkpoint has other sums than this run: start again without it.")
        self.reference = dict(reference)

    def value(self) -> tuple[float, Array]:
        """Return loss and terms [K] of the picture."""
        return self._assessed(self._totals)

    def _assessed(self, totals: Mapping[str, NDArray[np.float64]]) -> tuple[float, Array]:
        size = (self.image.shape[1], self.image.shape[2])
        return self._tiles.assess(totals, self._terms, self._of_all, size)[:2]

    def free(self, tile: Tile) -> Block:
        """Free the block that a tile covers, and hold all else."""
        area = self._place(tile)
        rows, columns = area.rows[0].window, area.columns[0].window
        around = self._around(area)
        session = self._session(area.form)
        window, inside = window_of(self.image, rows, columns), inside_window(tile, rows, columns)
        parts = self._parts(tile)  # λ
        placed = session.to_device(
            self._of_all
            | self._weighted(parts)
            | {LIKEWISE: (1 / parts).astype(np.float32)}
            | around
            | self._tiles.of_window(area.pixels, self._terms, self._targets)
        )
        own: list[Array] = []

        def run(rest: dict[str, Any]) -> tuple[float, Array, Array]:
            nonlocal own
            loss, values, gradient, *own = session.run(
                ["loss", "terms", "d_image", *(f"own_{name}" for name in self._names)],
                {IMAGE: window},
                on_device=placed | rest,
            )
            return float(loss), values, gradient[0][inside]

        # What the window has of the sums, and with it the rest, comes with the first evaluation.
        first: tuple[float, Array, Array] | None = run(_placed(session, self.reference, 0 * parts))
        rest = {name: self._totals[name] - part for name, part in self._named(own)}
        supposed = {
            name: self.reference[name] - part / parts[self._regions.get(name, -1) + 1]
            for name, part in self._named(own)
        }
        held = _placed(session, supposed, 1 / parts)

        def evaluate(block: Array) -> tuple[float, Array, Array]:
            nonlocal first
            known, first = first, None
            if known is not None and np.allclose(block, self.image[of_picture(tile)], rtol=0, atol=_ROUNDING):
                return known
            window[0][inside] = block
            return run(held)

        def value() -> tuple[float, Array]:
            return self._assessed({name: rest[name] + part for name, part in self._named(own)})

        def keep(block: NDArray[Any]) -> None:
            self.image[of_picture(tile)] = block
            if not np.array_equal(window[0][inside], self.image[of_picture(tile)]):  # not evaluated last
                window[0][inside] = block
                run(held)
            for name, part in self._named(own):
                self._totals[name] = rest[name] + part

        return Block(self.image[of_picture(tile)], first[0], evaluate, value, keep)

    def _parts(self, tile: Tile) -> NDArray[np.float64]:
        """Return λ of a block [1 + R]: its part of the picture, then of each region."""
        part = tile.rows.length * tile.columns.length / self.image[0].size
        regions = self._tiles.parts_of_regions(tile, self._terms, self._targets)
        return np.array([part, *(max(of_region, _LEAST_PART * part) for of_region in regions)])

    def _weighted(self, parts: NDArray[np.float64]) -> dict[str, Array]:
        """Return the weights of the terms and the shares of the regions times λ."""
        factors, shares = np.full(len(self._terms.names), parts[0]), dict[str, Array]()
        if self._terms.regions:
            content, style = len(self._terms.content_layers), len(self._terms.style_layers)
            factors[content : content + style] = 1  # λ goes to the regions
            shares[SHARES] = (parts[1:] * self._of_all[SHARES]).astype(np.float32)
        return {"weights": (factors * self._of_all["weights"]).astype(np.float32)} | shares

    def _named(self, own: list[Array]) -> Iterator[tuple[str, NDArray[np.float64]]]:
        """Yield the name of each sum and a window's part of it."""
        for name, part in zip(self._names, own, strict=True):
            yield name, np.asarray(part, np.float64)

    def _around(self, area: Area) -> dict[str, Array]:
        """Return the surroundings of a block in the later stages; zeros where it changes them."""
        later = area.stages[1:]
        if not later:
            return {}
        seen = area.seen((self.image.shape[1], self.image.shape[2]))
        found = self._surroundings(window_of(self.image, *seen), [stage.source for stage in later])
        around: dict[str, Array] = {}
        for stage, values, rows, columns in zip(later, found, area.rows[1:], area.columns[1:], strict=True):
            top, left = (span.start // stage.field.stride for span in seen)
            cut = _within(rows.window, top), _within(columns.window, left)
            own = np.ascontiguousarray(values[:, :, *cut])
            own[
                :, :, _within(rows.changed, rows.window.start), _within(columns.changed, columns.window.start)
            ] = 0
            around[around_name(stage.source)] = own
        return around


def _within(span: Span, start: int) -> slice:
    return slice(span.start - start, span.stop - start)


def _placed(
    session: Session, rest: Mapping[str, NDArray[Any]], own_share: NDArray[np.float64]
) -> dict[str, Any]:
    """Bring the rest of the sums to the device, for `Session.run`."""
    named = {f"rest_{name}": value for name, value in rest.items()}
    return session.to_device(named | {OWN_SHARE: own_share})
