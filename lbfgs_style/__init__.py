"""Neural style transfer with onnxruntime and SciPy's L-BFGS-B: no deep-learning framework at run time.

>>> from lbfgs_style import Options, transfer
>>> result = transfer(photo, painting, options=Options(size=512))  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .telemetry import turn_off as _turn_off
from .version import __version__

if TYPE_CHECKING:
    from . import images
    from .api import StyleTransfer, transfer
    from .checkpoints import Checkpoint
    from .errors import (
        CheckpointError,
        GraphError,
        ImageError,
        ImageFileError,
        MemoryShortage,
        NetworkError,
        NetworkFileError,
        OptimizationError,
        OptionError,
        SessionError,
        StyleError,
    )
    from .options import Options
    from .records import Iterate, Result, ScaleResult, Style
    from .settings import read_options
    from .style_statistics import StyleStatistics

_turn_off()  # before anything imports onnxruntime

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "GraphError",
    "ImageError",
    "ImageFileError",
    "Iterate",
    "MemoryShortage",
    "NetworkError",
    "NetworkFileError",
    "OptimizationError",
    "OptionError",
    "Options",
    "Result",
    "ScaleResult",
    "SessionError",
    "Style",
    "StyleError",
    "StyleStatistics",
    "StyleTransfer",
    "__version__",
    "images",
    "read_options",
    "transfer",
]

_MODULES = ("api", "checkpoints", "errors", "options", "records", "settings", "style_statistics")
"""Where the public names are."""


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: the import of the package alone takes no time."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "images":
        return import_module(".images", __name__)
    modules = (import_module(f".{module}", __name__) for module in _MODULES)
    found = next(vars(module)[name] for module in modules if name in vars(module))
    globals()[name] = found
    return found
