"""The recipe of a run as a document for JSON: settings, names of the inputs and their fingerprints.

`lbfgs_style.outputs.recipes` reads it back.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..system.files import read_file
from .styles import Style

# Name of an input that came on standard input.
STANDARD_INPUT = "-"

# Name of an input that was no file; it has no fingerprint.
ARRAY = "array"

# Keys of `Result.settings` that a recipe has.
_SETTINGS = ("program", "options", "style_weights", "style_scales", "network")


def document(
    settings: Mapping[str, Any],
    files: Mapping[str, Any],
    sha256: Mapping[str, Any],
    *,
    quality: int,
    folder: Path | None = None,
) -> dict[str, Any]:
    """Return a recipe as a dictionary for JSON.

    Parameters
    ----------
    settings : mapping
        `Result.settings`.
    files, sha256 : mapping
        Role → path and fingerprint, or a list of them; `files` has the network, too.
    quality : int
        Quality of the image file, 1 to 100.
    folder : Path, optional
        Folder of the image file: paths are made relative to it, so that the folder may move as a whole and
        an image that is passed on does not reveal where its maker keeps files. Without it paths are kept.
    """
    named = {
        role: [_relative(path, folder) for path in value]
        if isinstance(value, list)
        else _relative(value, folder)
        for role, value in files.items()
    }
    network = files["network"]
    named["network"] = _relative(network, folder) if network.lower().endswith(".onnx") else network
    # Words in place of files.
    named |= {role: word for role in ("keep_mask", "face_mask") if (word := files[role]) in ("alpha", "find")}
    return {key: settings[key] for key in _SETTINGS} | {
        "quality": quality,
        "files": named,
        "sha256": dict(sha256),
    }


def to_text(contents: Mapping[str, Any]) -> str:
    """Return a recipe as text for `lbfgs_style.images.write`."""
    text = json.dumps(contents, ensure_ascii=False)
    # A file name may have bytes that are not UTF-8: Python has surrogates for them, which are escaped.
    return re.sub("[\ud800-\udfff]", lambda match: f"\\u{ord(match[0]):04x}", text)


def name_inputs(
    network: str, content: Any, styles: list[Style], **others: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return names and fingerprints of inputs as `StyleTransfer.run` gets them; see `document`.

    Parameters
    ----------
    network : str
        Name or file.
    content, styles
        As given.
    **others
        Role, such as ``keep_mask`` → the input or None.
    """
    hashes: dict[str, str] = {}

    def name(value: Any) -> str | None:
        if value is None or (isinstance(value, str) and value in ("alpha", "find")):
            return value
        return str(value) if isinstance(value, str | Path) else ARRAY

    def fingerprint(value: Any) -> str | None:
        named = name(value)
        if named in (None, ARRAY, "alpha", "find"):
            return "" if named == ARRAY else named
        if named not in hashes:  # a file may be content and style
            hashes[named] = hashlib.sha256(read_file(Path(named))).hexdigest()
        return hashes[named]

    def each(of: Callable[[Any], str | None]) -> dict[str, Any]:
        return {
            "content": of(content),
            "styles": [of(style.image) for style in styles],
            "style_masks": [of(style.mask) for style in styles],
            "painting_masks": [of(style.style_mask) for style in styles],
        } | {role: of(value) for role, value in others.items()}

    return each(name) | {"network": network}, each(fingerprint)


def _relative(path: str | None, folder: Path | None) -> str | None:
    if folder is None or path in (None, STANDARD_INPUT, ARRAY):
        return path
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive of Windows
        return path
