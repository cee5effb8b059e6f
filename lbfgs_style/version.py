"""The version, the one place that says it, and those of the packages that a result depends on."""

__version__ = "0.1.0"

_OPENCV = ("opencv-python-headless", "opencv-python")
_PACKAGES = ("numpy", "scipy", "onnx", "onnxruntime", "onnxruntime-gpu", *_OPENCV)


def versions() -> dict[str, str]:
    """Return the versions of the packages that compute, by name."""
    from importlib import metadata  # with half of `email`: a fifth of the time this package takes to import

    versions: dict[str, str] = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # onnxruntime and OpenCV go by either name
            continue
    return versions
