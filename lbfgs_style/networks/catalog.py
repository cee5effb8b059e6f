"""The table of known feature networks, and where their files are looked up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import NetworkError, NetworkFileError, did_you_mean
from ..system.cache import cache_folder
from ..system.files import not_a_path


@dataclass(frozen=True, slots=True)
class KnownNetwork:
    """A row of the table `KNOWN`.

    Attributes
    ----------
    name, summary, licence : str
        Name, description in a few words, licence of the weights.
    arch : str
        Architecture: ``vgg16``, ``vgg19``, ``squeezenet1_1``, ``compact`` or ``yunet``.
    url : str or None
        Address of the published weights; None for the bundled network.
    size : int or None
        Bytes of the download; None if unknown.
    known_hash : str or None
        ``algorithm:digest`` of the download.
    format : {"pth", "h5", "onnx"} or None
        Format of the download; ONNX is kept as it is.
    """

    name: str
    summary: str
    licence: str
    arch: str
    url: str | None = None
    size: int | None = None
    known_hash: str | None = None
    format: Literal["pth", "h5", "onnx"] | None = None

    @property
    def file_name(self) -> str:
        """Name of the ONNX file in the folders of `search_path`."""
        return f"{self.name}.onnx"


# Folders of the published files.
_TORCHVISION = "https://download.pytorch.org/models"
_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications"

# Licences of the weights.
_BSD = "BSD-3-Clause, as published by torchvision"
_CC_BY = "CC BY 4.0, Visual Geometry Group, University of Oxford"

KNOWN: tuple[KnownNetwork, ...] = (
    KnownNetwork("compact", "small network that comes with the package: works at once", "MIT", "compact"),
    KnownNetwork(
        name="vgg19",
        summary="VGG19, weights of torchvision",
        licence=_BSD,
        arch="vgg19",
        url=f"{_TORCHVISION}/vgg19-dcbb9e9d.pth",
        size=574_673_361,
        known_hash="sha256:dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
        format="pth",
    ),
    KnownNetwork(
        name="vgg16",
        summary="VGG16, weights of torchvision",
        licence=_BSD,
        arch="vgg16",
        url=f"{_TORCHVISION}/vgg16-397923af.pth",
        size=553_433_881,
        known_hash="sha256:397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
        format="pth",
    ),
    KnownNetwork(
        name="vgg19-caffe",
        summary="VGG19, the original weights (Gatys, neural-style, Keras, TensorFlow)",
        licence=_CC_BY,
        arch="vgg19",
        url=f"{_KERAS}/vgg19/vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
        size=80_134_624,
        known_hash="md5:253f8cb515780f3b799900260a226db6",
        format="h5",
    ),
    KnownNetwork(
        name="vgg16-caffe",
        summary="VGG16, the original weights",
        licence=_CC_BY,
        arch="vgg16",
        url=f"{_KERAS}/vgg16/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
        known_hash="md5:6d6bbae143d832006294945121d1f1fc",
        format="h5",
    ),
    KnownNetwork(
        name="squeezenet",
        summary="SqueezeNet 1.1, weights of torchvision: a download of 5 MB",
        licence=_BSD,
        arch="squeezenet1_1",
        url=f"{_TORCHVISION}/squeezenet1_1-b8a52dc0.pth",
        size=4_958_839,
        known_hash="sha256:b8a52dc049b60e4b6ab68ad0df457362afab8b6304b2febdc1650a5dab4d7e7b",
        format="pth",
    ),
)


# No feature network, but pulled like one; `images.faces` runs it.
FACE_DETECTOR = KnownNetwork(
    name="yunet",
    summary="finds faces for --face-mask find",
    licence="MIT, Shiqi Yu",
    arch="yunet",
    url="https://media.githubusercontent.com/media/opencv/opencv_zoo/main/models/face_detection_yunet/"
    "face_detection_yunet_2023mar.onnx",
    size=232_589,
    known_hash="sha256:8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
    format="onnx",
)

# Fingerprints of weights that `compact` had → the commit that has the file.
EARLIER_COMPACT = {"2553f7c0ab457833d7efb8fc10818e45d26352b87962779e212dff40b29746a5": "f14d042"}


def known(name: str) -> KnownNetwork:
    """Return the row of `KNOWN` that has this name, or `FACE_DETECTOR`.

    Raises
    ------
    NetworkError
        If there is none.
    """
    for row in (*KNOWN, FACE_DETECTOR):
        if row.name == name:
            return row
    names = [row.name for row in KNOWN]
    raise NetworkError(
        f"Unknown network {name!r}: expected one of {', '.join(names)}, or the path of an .onnx file."
        f"{did_you_mean(name, names)}"
    )


def search_path() -> tuple[Path, ...]:
    """Return the folders in which names are looked up, in this order."""
    return tuple(search_folders())


def search_folders() -> Iterator[Path]:
    """Yield ``models/`` of a clone of the repository, ``models/`` in the package, then `cache_folder`."""
    package = Path(__file__).resolve().parents[1]
    if (package.parent / "pyproject.toml").is_file():
        yield package.parent / "models"
    yield package / "models"
    # Last, and only when reached: it imports platformdirs, which the bundled network does not need.
    yield cache_folder()


def find(name_or_path: str | Path) -> Path:
    """Find the file of a network.

    Parameters
    ----------
    name_or_path : str or Path
        A name (the file ``<name>.onnx`` in a folder of `search_path`), or a path that ends in ``.onnx``.

    Raises
    ------
    NetworkError
        If the name is unknown.
    NetworkFileError
        If the file does not exist; the message says how to get it.
    """
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or text.lower().endswith(".onnx"):
        path = Path(name_or_path).expanduser()
        if path.is_file():
            return path
        problem = not_a_path(text)
        if problem:
            raise NetworkFileError(f"{text}: {problem}.")
        raise NetworkFileError(
            f"There is no network file {text!r}: expected a known name "
            f"({', '.join(row.name for row in KNOWN)}) or the path of an .onnx file."
        )
    if Path(text).name == text:
        for folder in search_folders():
            path = folder / f"{text}.onnx"
            if path.is_file():
                return path
    row = known(text)
    if row == FACE_DETECTOR:
        raise NetworkFileError(
            f"The face detector {text!r} is not on this computer: get it with `lbfgs-style networks pull "
            f"{text}`, or mark the faces in a mask."
        )
    if row.url is None:
        raise NetworkFileError(
            f"The bundled network {text!r} is missing from this installation: install lbfgs-style again."
        )
    raise NetworkFileError(
        f"The network {text!r} is not on this computer: get it with `lbfgs-style networks pull {text}` "
        f"or, in a clone, `python -m tools.export`; 'compact' works now."
    )
