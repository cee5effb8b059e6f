"""Compile the native operators: ``python tools/build/compiler.py``.

Needs GCC 11 or Clang 12, or newer, and nothing else. The environment variable CXX names another compiler than
the first one on the PATH. The result, a library next to lbfgs_style/native/library.py, needs only the C
library.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

# The folder of `library.py`, which looks for the library there.
NATIVE = Path(__file__).resolve().parents[2] / "lbfgs_style" / "native"
_SOURCE = NATIVE / "source"

# Compilers that are tried, in this order. MSVC has no vector types.
_COMPILERS = ("c++", "g++", "clang++")

# No -ffast-math: NaN must stay NaN, so that a diverging run is noticed. Products and sums may be fused.
_FLAGS = (
    *(
        "-std=c++17",
        "-O3",
        "-fvisibility=hidden",
        "-ffp-contract=fast",
        "-fno-math-errno",
        "-fno-trapping-math",
    ),
    *("-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics", "-Wall", "-Wextra", "-Werror=return-type"),
)

# Instruction set → flags, for the processors of a machine.
_X86 = {
    "avx512": ("-march=x86-64-v4", "-mprefer-vector-width=512"),
    "avx2": ("-march=x86-64-v3",),
    "baseline": (),
}
_OTHERS: Mapping[str, Sequence[str]] = {"baseline": ()}

# Seconds that one call of the compiler may take.
_TIMEOUT = 300


class CompilationError(Exception):
    """The library could not be compiled; the message says why."""


def compile_library(folder: Path = NATIVE, *, flags: Sequence[str] = ()) -> Path:
    """Compile the library and return its path; an old one is removed, the new one appears when it is whole.

    Parameters
    ----------
    folder : Path
        Where the library is written.
    flags : sequence of str
        More flags for compiler and linker, such as sanitizers.

    Raises
    ------
    CompilationError
        There is no compiler, it fails, or the result cannot be written.
    """
    try:
        return _compile(folder, flags)
    except (OSError, ValueError) as error:  # the disk, or a CXX that is no command
        raise CompilationError(f"{type(error).__name__}: {error}") from error


def remove_library(folder: Path = NATIVE) -> None:
    """Remove the library of an earlier build."""
    (folder / _constants()[1]).unlink(missing_ok=True)


def _compile(folder: Path, flags: Sequence[str]) -> Path:
    remove_library(folder)
    compiler = _compiler()
    version, name = _constants()
    is_x86 = platform.machine().lower() in ("x86_64", "amd64")
    common = [*_FLAGS, *flags, *([] if sys.platform == "win32" else ["-fPIC"])]
    with tempfile.TemporaryDirectory() as temporary:
        units = {"operators": ("operators.cpp", [f"-DLBFGS_OPERATORS_VERSION={version}"])}
        if is_x86:
            units["operators"][1].append("-DLBFGS_X86")
        for instructions, march in (_X86 if is_x86 else _OTHERS).items():
            defines = [f"-DKERNELS=kernels_{instructions}", f'-DNAME="{instructions}"']
            units[instructions] = ("kernels.cpp", [*march, *defines])
        objects = [str(Path(temporary, f"{unit}.o")) for unit in units]
        for target, (source, more) in zip(objects, units.values(), strict=True):
            _run([*compiler, *common, *more, "-c", str(_SOURCE / source), "-o", target])
        made = Path(temporary, name)
        # Nothing of the C++ library is used, so that one library serves every version of it.
        linking = [] if flags or sys.platform == "win32" else ["-nodefaultlibs", "-lc"]
        linking += ["-lgcc"] if linking and sys.platform == "linux" else []
        _run([*compiler, "-shared", *flags, "-o", str(made), *objects, *linking])
        whole = folder / f".{name}.{os.getpid()}"
        shutil.copyfile(made, whole)
        return whole.replace(folder / name)


def _constants() -> tuple[str, str]:
    """Return the version and the file name of the library, as in `library.py`, whose imports need NumPy."""
    text = (NATIVE / "library.py").read_text("utf-8")
    version = re.search(r"^VERSION = (\d+)$", text, re.MULTILINE)
    if version is None:
        raise CompilationError("lbfgs_style/native/library.py states no VERSION")
    return version[1], "operators" + {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")


def _compiler() -> list[str]:
    """Return the command of the compiler."""
    if wanted := shlex.split(os.environ.get("CXX", "")):
        return wanted
    for name in _COMPILERS:
        if path := shutil.which(name):
            return [path]
    raise CompilationError(f"no C++ compiler: none of {', '.join(_COMPILERS)} is on the PATH")


def _run(command: Sequence[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_TIMEOUT)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CompilationError(f"{command[0]}: {error}") from error
    except subprocess.CalledProcessError as error:
        raise CompilationError(f"{shlex.join(command)}:\n{error.stderr}") from error


if __name__ == "__main__":
    try:
        print(compile_library(flags=sys.argv[1:]))
    except CompilationError as error:
        sys.exit(f"error: {error}")
