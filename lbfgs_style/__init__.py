"""Neural style transfer with onnxruntime and SciPy's L-BFGS-B: no deep-learning framework at run time.

>>> from lbfgs_style import Options, transfer
>>> result = transfer(content, style, options=Options(size=512))  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .system.telemetry import turn_off as _turn_off
from .version import __version__

if TYPE_CHECKING:  # as X: exported, for type checkers
    from . import images as images
    from . import networks as networks
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
    from .outputs import html_report as html_report
    from .outputs import inspection as inspection
    from .outputs import recipes as recipes
    from .outputs import recording as recording
    from .outputs import rerun as rerun
    from .pipeline.checkpoints.checkpoint import Checkpoint as Checkpoint
    from .pipeline.plan.scales import ScaleResult as ScaleResult
    from .pipeline.results import STOP as STOP
    from .pipeline.results import Iterate as Iterate
    from .pipeline.results import Result as Result
    from .pipeline.style_statistics import StyleStatistics as StyleStatistics
    from .pipeline.style_transfer import StyleTransfer as StyleTransfer
    from .pipeline.style_transfer import transfer as transfer
    from .pipeline.styles import Style as Style
    from .settings.options import Options as Options
    from .settings.options_file import read_options as read_options
    from .settings.video_options import VideoOptions as VideoOptions
    from .video.video_transfer import VideoTransfer as VideoTransfer

_turn_off()  # before anything imports onnxruntime

# Public name → the module that defines it.
_DEFINED_IN = {
    "STOP": "pipeline.results",
    "Checkpoint": "pipeline.checkpoints.checkpoint",
    "CheckpointError": "errors",
    "GraphError": "errors",
    "ImageError": "errors",
    "ImageFileError": "errors",
    "Iterate": "pipeline.results",
    "MemoryShortage": "errors",
    "NetworkError": "errors",
    "NetworkFileError": "errors",
    "OptimizationError": "errors",
    "OptionError": "errors",
    "Options": "settings.options",
    "Result": "pipeline.results",
    "ScaleResult": "pipeline.plan.scales",
    "SessionError": "errors",
    "Style": "pipeline.styles",
    "StyleError": "errors",
    "StyleStatistics": "pipeline.style_statistics",
    "StyleTransfer": "pipeline.style_transfer",
    "VideoOptions": "settings.video_options",
    "VideoTransfer": "video.video_transfer",
    "read_options": "settings.options_file",
    "transfer": "pipeline.style_transfer",
}
# Public module → the module that it is.
_MODULES = {
    "html_report": "outputs.html_report",
    "images": "images",
    "inspection": "outputs.inspection",
    "networks": "networks",
    "recipes": "outputs.recipes",
    "recording": "outputs.recording",
    "rerun": "outputs.rerun",
}

__all__ = [  # pyright: ignore[reportUnsupportedDunderAll]
    "__version__",
    *_DEFINED_IN,
    *_MODULES,
]


def __getattr__(name: str) -> Any:
    """Import a public name at its first use, so that importing the package alone is fast."""
    if name in _DEFINED_IN:
        value = getattr(import_module(f".{_DEFINED_IN[name]}", __name__), name)
    elif name in _MODULES:
        value = import_module(f".{_MODULES[name]}", __name__)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
