"""The version of this package, defined here alone, and those of the packages that a result depends on."""

__version__ = "0.1.0"

_OPENCV = ("opencv-python-headless", "opencv-python")
_PACKAGES = ("numpy", "scipy", "onnx", "onnxruntime", "onnxruntime-gpu", *_OPENCV)


def versions() -> dict[str, str]:
    """Return the versions of the installed packages that a result depends on, by name."""
    from importlib import metadata  # here: it imports half of `email`, a fifth of this package's import time

    versions: dict[str, str] = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # onnxruntime and OpenCV go by either name
            continue
    return versions
