"""Neural style transfer with onnxruntime and SciPy's L-BFGS-B: no deep-learning framework at run time.

>>> from lbfgs_style import Options, transfer
>>> result = transfer(photo, painting, options=Options(size=512))  # doctest: +SKIP
"""

from .api import StyleTransfer, transfer
from .errors import (
    GraphError,
    ImageError,
    ImageFileError,
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
from .version import __version__

__all__ = [
    "GraphError",
    "ImageError",
    "ImageFileError",
    "Iterate",
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
    "read_options",
    "transfer",
]
