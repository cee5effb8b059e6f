"""The state of an optimisation in the middle of a scale: everything that is needed to resume it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..objective.device_arrays import DeviceArray
from ..objective.evaluation import Value
from .variables import Flat

# Maximum number of extra iterations after a resume, in which L-BFGS relearns the curvature.
_LEARNING = 10


@dataclass(frozen=True, slots=True, eq=False)
class OptimizerState:
    """The state of a minimisation after an iteration.

    Attributes
    ----------
    z, best_z : array or DeviceArray [n]
        The current variables, and the best ones so far.
    start, best : Value
        Values of the first image and of the best one.
    iterations, evaluations : int
        Number of iterations and evaluations so far.
    memory : mapping of str to array
        State of the step of a first-order method; empty for L-BFGS-B.
    """

    z: Flat | DeviceArray
    best_z: Flat | DeviceArray
    start: Value
    best: Value
    iterations: int
    evaluations: int
    memory: Mapping[str, NDArray[np.float64]]

    def relearning_iterations(self) -> int:
        """Return the additional iterations of a minimisation that is resumed here.

        SciPy cannot be given a curvature, so L-BFGS-B has to learn it again. The total is bounded however
        often a scale is interrupted.
        """
        return 0 if self.memory else min(self.iterations, _LEARNING)


@dataclass(frozen=True, slots=True, eq=False)
class FinishedBlocks:
    """The totals of the finished blocks of an image.

    Attributes
    ----------
    blocks, iterations, evaluations : int
        Numbers over all sweeps.
    start, end : Value
        Values of the image before the first block and after the last one.
    """

    blocks: int
    iterations: int
    evaluations: int
    start: Value
    end: Value


@dataclass(frozen=True, slots=True, eq=False)
class BlockwiseState:
    """The state of a block-by-block minimisation after an iteration.

    Attributes
    ----------
    image : array, float32, [3,H,W]
        The image, with the current pixels of the current block.
    before : array, float32, [3,h,w]
        The current block before its minimisation.
    reference : mapping of str to array
        The sums that the sweep started from, see `lbfgs_style.objective.tiling.blocks.Blocks`.
    finished : FinishedBlocks or None
        The blocks before the current one.
    best : Value
        Value of the image with the best pixels of the current block.
    block : OptimizerState
        State of the minimisation of the current block.
    """

    image: NDArray[np.float32]
    before: NDArray[np.float32]
    reference: Mapping[str, NDArray[np.float64]]
    finished: FinishedBlocks | None
    best: Value
    block: OptimizerState

    def relearning_iterations(self) -> int:
        """Return the additional iterations when resumed, see `OptimizerState.relearning_iterations`."""
        return self.block.relearning_iterations()
