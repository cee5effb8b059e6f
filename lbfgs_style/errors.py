"""The exceptions of lbfgs_style, all below one root.

::

    StyleError
    ├── OptionError         (ValueError)  a value that a user chose
    ├── ImageError          (ValueError)  the contents of an image
    │   └── ImageFileError  (OSError)     an image file: path, format, reading, writing
    ├── NetworkError        (ValueError)  a feature network: unknown, damaged, unfit
    │   └── NetworkFileError (OSError)    its file: missing, unreadable, not downloadable
    ├── GraphError          (ValueError)  an ONNX graph that cannot be differentiated or built
    ├── CheckpointError     (ValueError)  a saved run that cannot be resumed
    ├── SessionError        (RuntimeError) a device that is not there, a session that cannot run
    │   └── MemoryShortage  (MemoryError) less memory than the run needs
    └── OptimizationError   (RuntimeError) numbers that cannot be optimised

A message is one line that says what is wrong, what was expected, what came instead, and how to fix it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class StyleError(Exception):
    """Root of everything that lbfgs_style raises on purpose."""


class OptionError(StyleError, ValueError):
    """A value that a user chose is outside what is allowed."""


class ImageError(StyleError, ValueError):
    """The contents of an image cannot be used."""


class ImageFileError(ImageError, OSError):
    """An image file cannot be found, read or written."""


class NetworkError(StyleError, ValueError):
    """A feature network is unknown, damaged or unfit for the request."""


class NetworkFileError(NetworkError, OSError):
    """The file of a feature network is missing, unreadable or cannot be downloaded."""


class GraphError(StyleError, ValueError):
    """An ONNX graph cannot be differentiated or built."""


class CheckpointError(StyleError, ValueError):
    """A saved run cannot be read, written or resumed."""


class SessionError(StyleError, RuntimeError):
    """The device asked for is not available, or a graph failed to run on it."""


class MemoryShortage(SessionError, MemoryError):
    """The system gives less memory than the run needs."""


class OptimizationError(StyleError, RuntimeError):
    """The optimisation met a NaN or infinity that it cannot continue from."""


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the choice nearest to `word`, or an empty string.

    Parameters
    ----------
    word : str
        What the user wrote.
    choices : iterable of str
        What would have been accepted.
    """
    near = nearest(word, choices)
    return f" Did you mean {near!r}?" if near else ""


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """Return the choice that is most like `word`, ignoring case, or None if none is like it."""
    folded: dict[str, str] = {}
    for choice in choices:
        folded.setdefault(choice.casefold(), choice)
    matches = difflib.get_close_matches(word.casefold(), folded, n=1, cutoff=0.6)
    return folded[matches[0]] if matches else None


def printable(text: str) -> str:
    """Return the first 100 characters of untrusted text, escaped as by `ascii` unless all are printable."""
    cut = text.strip()[:100]
    return cut if cut.isprintable() else ascii(cut)[1:-1]


def shown(text: str, most: int = 60) -> str:
    """Quote a name from a file, cut to `most` characters, with what is not printable escaped as by `repr`."""
    cut = text if len(text) <= most else text[:most] + "…"
    return repr(cut.encode("utf-8", "replace").decode())
