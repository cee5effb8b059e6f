"""Time several sides in turn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

# Seconds between two sides, so that the idle threads of one do not spin while the next one works.
_PAUSE = 0.3


def timed_in_turn(sides: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median seconds of each side, the sides taking turns; the first round is a warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, side in sides.items():
            time.sleep(_PAUSE)
            start = time.perf_counter()
            side()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}
