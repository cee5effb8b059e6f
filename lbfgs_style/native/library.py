"""Find and load the compiled library of operators, and ask it what it has.

The library is a file next to this module, made when the package was built with a C++ compiler at hand. The
environment variable LBFGS_STYLE_NATIVE=0 leaves it out, 1 demands it.
"""

from __future__ import annotations

import ctypes
import logging
import os
import struct
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..errors import SessionError

log = logging.getLogger(__name__)

# Domain of the operators.
DOMAIN = "lbfgs_style"

# Version of the operators, which the library must have: raised with every change of their inputs or weights.
VERSION = 2

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

    def scratch_bytes(
        self,
        kind: str,
        inputs: int,
        outputs: int,
        size: tuple[int, int],
        *,
        hidden: int = 0,
        is_flipped: bool = False,
        threads: int,
    ) -> int:
        """Return the bytes that an operator needs while it runs, besides its inputs and outputs.

        Parameters
        ----------
        kind : str
            Name of the operator.
        inputs, outputs, hidden : int
            Blocks of channels; `hidden` of what is between the convolutions of a PointPair.
        size : (int, int)
            Height and width of the features.
        is_flipped : bool
            Whether a Convolution is the gradient of one.
        threads : int
            Threads of the session.
        """
        return self._functions.lbfgs_style_scratch(
            kind.encode(), inputs, hidden, outputs, *size, int(is_flipped), threads
        )


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
    match os.environ.get("LBFGS_STYLE_NATIVE", ""):
        case "" | "1":
            return _load(PATH)
        case "0":
            return "LBFGS_STYLE_NATIVE=0"
        case other:
            return f"LBFGS_STYLE_NATIVE={other}: expected 0 or 1"


@cache
def _load(path: Path) -> Library | str:
    """Return the library in a file, or why it cannot be used."""
    if not path.exists():
        if (path.parents[2] / "pyproject.toml").is_file():  # Python looks there first, in that folder
            return "Python imports the clone, where they are not compiled: 'pip install -e .' compiles them"
        return "they were not compiled when the package was built"
    if _is_truncated(path):  # loading it would end the process
        return "the library is incomplete: install the package again"
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
    functions.lbfgs_style_scratch.argtypes = [ctypes.c_char_p, *[size] * 5, ctypes.c_int, size]
    functions.lbfgs_style_scratch.restype = size
    return Library(path, functions)


def _is_truncated(path: Path) -> bool:
    """Return whether an ELF file, of Linux, ends before the table of its sections, which is its last part."""
    with path.open("rb") as file:
        header = file.read(64)
        size = file.seek(0, os.SEEK_END)
    if not header.startswith(b"\x7fELF\x02\x01"):  # 64 bits, little-endian
        return False
    if len(header) < 64:
        return True
    (table,) = struct.unpack_from("<Q", header, 40)
    entry, count = struct.unpack_from("<HH", header, 58)
    return size < table + entry * count
