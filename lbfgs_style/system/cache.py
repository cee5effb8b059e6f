"""The folder for files that can be made again: networks that were pulled, lock files."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the cache folder: the environment variable ``LBFGS_STYLE_CACHE``, or the user's cache."""
    chosen = os.environ.get("LBFGS_STYLE_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    import platformdirs

    return platformdirs.user_cache_path("lbfgs_style")
