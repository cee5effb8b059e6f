"""Where the optimiser stands in the middle of a scale: what it needs to go on from there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..objective.evaluation import Value
from .variables import Flat

_COLLECTING = 10
"""Iterations until L-BFGS knows the curvature well again."""


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """Where a minimisation stands after an iteration.

    Attributes
    ----------
    z, best_z : array [n]
        The variables, and the best so far.
    start, best : Value
        At the first picture and at the best.
    iterations, evaluations : int
        How many were made.
    memory : mapping of str to array
        What a first-order step remembers; empty for L-BFGS-B.
    """

    z: Flat
    best_z: Flat
    start: Value
    best: Value
    iterations: int
    evaluations: int
    memory: Mapping[str, NDArray[np.float64]]

    def lost(self) -> int:
        """Return the iterations that going on from here needs beside those that were left.

        SciPy takes no curvature in: L-BFGS-B has to learn it again. They are no more in all, however often a
        scale is cut.
        """
        return 0 if self.memory else min(self.iterations, _COLLECTING)


@dataclass(frozen=True, slots=True, eq=False)
class Done:
    """What the finished blocks of a picture add up to.

    Attributes
    ----------
    blocks, iterations, evaluations : int
        How many, over all sweeps.
    start, end : Value
        Before the first block and after the last.
    """

    blocks: int
    iterations: int
    evaluations: int
    start: Value
    end: Value


@dataclass(frozen=True, slots=True, eq=False)
class BlocksStanding:
    """Where the optimisation of a picture block by block stands.

    Attributes
    ----------
    image : array, float32, [3,H,W]
        The picture, which is in work.
    before : array, float32, [3,h,w]
        The block as it was before.
    reference : mapping of str to array
        See `lbfgs_style.objective.tiling.blocks.Blocks`.
    done : Done or None
        The blocks before this one.
    best : Value
        Of the picture with the best that was found for this block.
    block : Standing
        Of the block in work.
    """

    image: NDArray[np.float32]
    before: NDArray[np.float32]
    reference: Mapping[str, NDArray[np.float64]]
    done: Done | None
    best: Value
    block: Standing

    def lost(self) -> int:
        """Return the iterations that going on from here needs, see `Standing.lost`."""
        return self.block.lost()
