"""The build hook of the wheel: compile the native operators where there is a C++ compiler.

Without one the package is complete, too, and uses onnxruntime's own operators. LBFGS_STYLE_NATIVE=0 leaves
the native ones out; with 1, not being able to compile them is an error.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).parent))
from compiler import NATIVE, CompilationError, compile_library, remove_library


class NativeOperators(BuildHookInterface[Any]):
    """Adds the compiled library to a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile the library, and give the wheel the tag of this platform."""
        wanted = os.environ.get("LBFGS_STYLE_NATIVE", "")
        if self.target_name != "wheel":
            return
        # An editable package finds the library in its sources; building a wheel leaves them as they are.
        if version == "editable":
            folder = NATIVE
            remove_library()
        else:
            self._temporary = tempfile.TemporaryDirectory()
            folder = Path(self._temporary.name)
        if wanted == "0":
            return
        try:
            library = compile_library(folder)
        except CompilationError as error:
            if wanted == "1":
                raise
            self.app.display_warning(f"The native operators are left out, {error}")
            return
        # Any Python 3, because the library does not use Python's C API.
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data |= {"pure_python": False, "tag": f"py3-none-{platform}"}
        if version != "editable":
            build_data["force_include"][str(library)] = f"lbfgs_style/native/{library.name}"
