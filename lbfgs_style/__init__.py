"""Neural style transfer with onnxruntime and SciPy's L-BFGS-B: no deep-learning framework at run time.

>>> from lbfgs_style import Options, transfer
>>> result = transfer(photo, painting, options=Options(size=512))  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .telemetry import turn_off as _turn_off
from .version import __version__

if TYPE_CHECKING:  # as X: exported, for type checkers
    from . import html_report as html_report
    from . import images as images
    from . import inspection as inspection
    from . import networks as networks
    from . import recipes as recipes
    from . import recording as recording
    from . import rerun as rerun
    from .api import StyleTransfer as StyleTransfer
    from .api import transfer as transfer
    from .checkpoints import Checkpoint as Checkpoint
    from .errors import CheckpointError as CheckpointError
    from .errors import GraphError as GraphError
    from .errors import ImageError as ImageError
    from .errors import ImageFileError as ImageFileError
    from .errors import MemoryShortage as MemoryShortage
    from .errors import NetworkError as NetworkError
    from .errors import NetworkFileError as NetworkFileError
    from .errors import OptimizationError as OptimizationError
    from .errors import OptionError as OptionError
    from .errors import SessionError as SessionError
    from .errors import StyleError as StyleError
    from .options import Options as Options
    from .records import Iterate as Iterate
    from .records import Result as Result
    from .scales import ScaleResult as ScaleResult
    from .settings import read_options as read_options
    from .style_statistics import StyleStatistics as StyleStatistics
    from .styles import Style as Style

_turn_off()  # before anything imports onnxruntime

# Public name → the module that defines it.
_DEFINED_IN = {
    "Checkpoint": "checkpoints",
    "CheckpointError": "errors",
    "GraphError": "errors",
    "ImageError": "errors",
    "ImageFileError": "errors",
    "Iterate": "records",
    "MemoryShortage": "errors",
    "NetworkError": "errors",
    "NetworkFileError": "errors",
    "OptimizationError": "errors",
    "OptionError": "errors",
    "Options": "options",
    "Result": "records",
    "ScaleResult": "scales",
    "SessionError": "errors",
    "Style": "styles",
    "StyleError": "errors",
    "StyleStatistics": "style_statistics",
    "StyleTransfer": "api",
    "read_options": "settings",
    "transfer": "api",
}
# Public module → the module that it is.
_MODULES = {
    "html_report": "html_report",
    "images": "images",
    "inspection": "inspection",
    "networks": "networks",
    "recipes": "recipes",
    "recording": "recording",
    "rerun": "rerun",
}

__all__ = [  # pyright: ignore[reportUnsupportedDunderAll]
    "__version__",
    *_DEFINED_IN,
    *_MODULES,
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: the import of the package alone takes no time."""
    if name in _DEFINED_IN:
        found = getattr(import_module(f".{_DEFINED_IN[name]}", __name__), name)
    elif name in _MODULES:
        found = import_module(f".{_MODULES[name]}", __name__)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
