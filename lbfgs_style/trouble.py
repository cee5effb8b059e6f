"""What a run says when memory or numbers fail it, or when it changes what was given."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager

from .byte_sizes import spelled
from .errors import MemoryShortage
from .images import Picture
from .optimizer import STOP_REASONS
from .options import Options

log = logging.getLogger(__name__)

_LESS = 0.6
"""Share of what was too much that is recommended."""


@contextmanager
def enough_memory(size: tuple[int, int], expected: int) -> Generator[None]:
    """Say what to do where the system gives less memory than was planned for.

    Parameters
    ----------
    size : (int, int)
        Height and width in work.
    expected : int
        Bytes that the process was expected to take.

    Raises
    ------
    MemoryShortage
        In place of MemoryError.
    """
    try:
        yield
    except MemoryError as error:
        less = spelled(_LESS * expected).replace(" ", "")
        raise MemoryShortage(
            f"Not enough memory for {size[1]}×{size[0]} pixels, which were to take {spelled(expected)}: ask "
            f"for less with --memory {less} (memory={int(_LESS * expected)} in Python), or choose a "
            "smaller size."
        ) from error


def tell_of_lost_numbers(number: int, count: int, size: tuple[int, int]) -> None:
    """Log that a scale, `number` of `count`, ended because of a number that is none."""
    where = f"scale {number} of {count} ({size[1]}×{size[0]})"
    log.warning("%s ended early, with the best picture so far: %s", where, STOP_REASONS["non-finite"])


def tell_of_blocks_alone(size: tuple[int, int]) -> None:
    """Log that no smaller scale has painted the large forms, which blocks cannot paint evenly."""
    log.warning(
        "%d×%d is the first scale and painted block by block: large plain areas may show the blocks; let "
        "smaller scales come first (scales auto), or allow more memory.",
        size[1],
        size[0],
    )


def tell_of_changes(content: Picture, size: tuple[int, int], options: Options) -> None:
    """Log what a run changes of a content picture: it is enlarged to `size`, or its result is grey."""
    height, width = content.rgb.shape[:2]
    if size[0] > height:
        log.warning(
            "the content picture of %d×%d pixels is enlarged to %d×%d: --size full (size='full') keeps its "
            "size",
            *(width, height, size[1], size[0]),
        )
    if content.gray and options.preserve_color == "none":
        log.warning(
            "the content picture is grey, and so is the result: transfer --no-keep-gray (keep_gray=False) "
            "paints in colour"
        )
