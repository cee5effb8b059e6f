"""Find and load the compiled library of operators, and ask it what it has.

The library is a file next to this module, made when the package was built with a C++ compiler at hand. The
environment variable LBFGS_STYLE_NATIVE=0 leaves it out, 1 demands it.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..errors import SessionError

log = logging.getLogger(__name__)

# Domain of the operators.
DOMAIN = "lbfgs_style"

# Version of the operators, which the library must have: raised with every change of their inputs or weights.
VERSION = 1

# File of the library, next to this module.
FILE_NAME = "operators" + {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")
PATH = Path(__file__).with_name(FILE_NAME)


@dataclass(frozen=True, slots=True, eq=False)
class Library:
    """The loaded library.

    Attributes
    ----------
    path : Path
        Its file, which onnxruntime registers.
    """

    path: Path
    _functions: ctypes.CDLL

    @property
    def instructions(self) -> str:
        """The instruction set in use."""
        return self._functions.lbfgs_style_instructions().decode()

    def use(self, instructions: str) -> None:
        """Use one of the `available` instruction sets, in all sessions; meant for tests and measurements.

        Raises
        ------
        SessionError
            The processor does not have it.
        """
        if not self._functions.lbfgs_style_use(instructions.encode()):
            raise SessionError(
                f"Instructions {instructions!r}: expected one of {', '.join(self.available())}."
            )

    def available(self) -> tuple[str, ...]:
        """Return the instruction sets that this processor and the library have, the best first."""
        names: list[str] = []
        while (name := self._functions.lbfgs_style_available(len(names))) is not None:
            names.append(name.decode())
        return tuple(names)

    def onnxruntime_version(self) -> str | None:
        """Return the version of the onnxruntime that has registered the library; None before the first."""
        version = self._functions.lbfgs_style_onnxruntime_version()
        return None if version is None else version.decode()

    def convolution_scratch(
        self,
        x: Sequence[int | None],
        y: Sequence[int | None],
        is_flipped: bool,
        threads: int,
    ) -> int:
        """Return the bytes that a Convolution needs while it runs, for features x and y in blocks."""
        inputs, height, width, _ = (length or 0 for length in x)
        return self._functions.lbfgs_style_convolution_scratch(
            inputs, y[0] or 0, height, width, int(is_flipped), threads
        )

    def gram_scratch(self, x: Sequence[int | None], channels: int) -> int:
        """Return the bytes that a Gram needs while it runs, for features x in blocks."""
        inputs, height, width, _ = (length or 0 for length in x)
        return self._functions.lbfgs_style_gram_scratch(inputs, channels, height * width)


def find() -> Library | None:
    """Return the library, or None where it is not to be used or cannot be.

    Raises
    ------
    SessionError
        LBFGS_STYLE_NATIVE is 1, and the library cannot be used.
    """
    found = _look()
    if isinstance(found, Library):
        return found
    if os.environ.get("LBFGS_STYLE_NATIVE") == "1":
        raise SessionError(f"LBFGS_STYLE_NATIVE=1, but the native operators cannot be used: {found}.")
    return None


def require() -> Library:
    """Return the library, or raise SessionError with the reason why it cannot be used."""
    found = _look()
    if isinstance(found, Library):
        return found
    raise SessionError(f"The native operators cannot be used: {found}; use --convolution auto.")


def describe() -> str:
    """Return which operators run on a CPU: ours with their instruction set, or why not ours."""
    found = _look()
    if isinstance(found, Library):
        return f"native operators, {found.instructions}"
    return f"no native operators: {found}"


def _look() -> Library | str:
    """Return the library, or why it is not used."""
    return "LBFGS_STYLE_NATIVE=0" if os.environ.get("LBFGS_STYLE_NATIVE") == "0" else _load(PATH)


@cache
def _load(path: Path) -> Library | str:
    """Return the library in a file, or why it cannot be used."""
    if not path.exists():
        return "they were not compiled when the package was built"
    try:
        functions = ctypes.CDLL(str(path))
        version = functions.lbfgs_style_operators_version()
    except (OSError, AttributeError) as error:  # of another platform, or a newer C library; not ours
        reason = f"the library does not load: {' '.join(str(error).split())}"
    else:
        if version == VERSION:
            return _declare(path, functions)
        reason = f"the library has version {version}, expected {VERSION}: install the package again"
    log.warning("using onnxruntime's own operators: %s", reason)
    return reason


def _declare(path: Path, functions: ctypes.CDLL) -> Library:
    """Declare the types of the library's functions."""
    size = ctypes.c_size_t
    for name in ("lbfgs_style_instructions", "lbfgs_style_available", "lbfgs_style_onnxruntime_version"):
        getattr(functions, name).restype = ctypes.c_char_p
    functions.lbfgs_style_convolution_scratch.argtypes = [size, size, size, size, ctypes.c_int, size]
    functions.lbfgs_style_convolution_scratch.restype = size
    functions.lbfgs_style_gram_scratch.argtypes = [size, size, size]
    functions.lbfgs_style_gram_scratch.restype = size
    return Library(path, functions)
