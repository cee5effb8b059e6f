"""The rounds of a scale: iterations between two searches for neighbours. Pure functions."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

# Iterations between two searches, about.
_ITERATIONS = 15


@dataclass(frozen=True, slots=True)
class Round:
    """Iterations of a scale with the same targets.

    Attributes
    ----------
    iterations : int
        Their number.
    by_layer : bool
        Whether each layer is searched by itself, which takes the dots out of plain areas.
    """

    iterations: int
    by_layer: bool = False


def plan_rounds(iterations: int, *, is_last: bool) -> tuple[Round, ...]:
    """Divide the iterations of a scale; the last round of the last scale searches layer by layer."""
    count = max(1, round(iterations / _ITERATIONS))
    ends = [iterations * number // count for number in range(count + 1)]
    lengths = [stop - start for start, stop in itertools.pairwise(ends)]
    last = count - 1 if is_last and count > 1 else count
    return tuple(Round(length, number == last) for number, length in enumerate(lengths))


def rounds_after(rounds: Sequence[Round], done: int, *, relearning: int) -> tuple[Round, ...]:
    """Return what is left of rounds after `done` iterations; the first one gets `relearning` more."""
    left: list[Round] = []
    for each in rounds:
        skipped = min(done, each.iterations)
        done -= skipped
        if each.iterations > skipped:
            more = 0 if left else relearning
            left.append(replace(each, iterations=each.iterations - skipped + more))
    return tuple(left)
