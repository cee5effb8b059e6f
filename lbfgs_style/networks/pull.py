"""Pull a published network: download its weights, convert them to an ONNX file, delete the download."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from ..errors import NetworkError, NetworkFileError
from ..system.cache import cache_folder
from ..system.files import atomic_write
from ..system.locks import wait_for_lock
from . import squeezenet, vgg
from .catalog import KnownNetwork, find, known
from .download import Progress, download, file_hash
from .network import load, verify
from .published_weights import read_keras_h5, require_h5py, vgg_weights
from .torch_pickle import read_pth

log = logging.getLogger(__name__)


def pull(name: str, *, progress: Progress | None = None, url: str | None = None, force: bool = False) -> Path:
    """Download a known network and convert it to ONNX, unless that has been done.

    The file is written to `lbfgs_style.networks.cache_folder`. The download is verified against the published
    hash, wherever it comes from, and deleted when it has been converted.

    Parameters
    ----------
    name : str
        A name of `lbfgs_style.networks.KNOWN`. For the bundled network, its path is returned.
    progress : callable, optional
        Called as ``progress(bytes so far, bytes in total or None)``.
    url : str, optional
        Another address of the file. Without it, the environment variable ``LBFGS_STYLE_MIRROR`` may name the
        folder of a mirror (``https://…/weights``), which has the files under their original names.
    force : bool, default False
        Download and convert even if the network exists.

    Returns
    -------
    Path
        The ONNX file.

    Raises
    ------
    NetworkError
        If the name is unknown, the download has the wrong hash or contents, h5py is missing for a
        ``-caffe`` network, or an existing file outside the cache is damaged.
    NetworkFileError
        If the download fails or the cache cannot be written.
    """
    row = known(name)
    if row.url is None:
        return find(name)
    target = cache_folder() / row.file_name
    existing = None if force else _find_valid(name, target)
    if existing is not None:
        return existing
    if row.format == "h5":
        require_h5py()  # fail before the download, not after it
    file_name = PurePosixPath(urlsplit(row.url).path).name
    source = url or _mirror_url(file_name) or row.url
    with _exclusive(target):
        # Another process may have pulled it while this one waited.
        existing = None if force else _find_valid(name, target)
        if existing is not None:
            return existing
        raw = download(
            source,
            target.with_name(file_name),
            size=row.size,
            known_hash=row.known_hash or "",
            progress=progress,
        )
        _write(target, convert(row, raw))
        raw.unlink(missing_ok=True)
    return target


def convert(row: KnownNetwork, raw: Path) -> bytes:
    """Convert published weights to a feature network, and return the bytes of its ONNX file.

    Parameters
    ----------
    row : KnownNetwork
        A network with a download.
    raw : Path
        The verified download.

    Raises
    ------
    NetworkError
        If the file does not contain the weights of `row`.
    """
    if row.format == "onnx":
        return raw.read_bytes()
    if row.arch == squeezenet.ARCH:
        arrays = read_pth(raw, prefix="features.")
        return squeezenet.build(
            arrays, name=row.name, source=row.url or "", licence=row.licence
        ).SerializeToString()
    if row.format == "pth":
        # Without the classifier, which is 85 % of the file.
        weights = vgg_weights(row.arch, read_pth(raw, prefix="features."), "pth")
        normalization = vgg.TORCHVISION
    else:
        weights = vgg_weights(row.arch, read_keras_h5(raw), "h5")
        normalization = vgg.CAFFE
    model = vgg.build(
        row.arch,
        weights,
        normalization=normalization,
        name=row.name,
        source=row.url or "",
        licence=row.licence,
    )
    return model.SerializeToString()


@contextmanager
def _exclusive(target: Path) -> Generator[None]:
    """Hold the lock of a network's file; other processes that pull it wait, and then find it."""

    def on_wait() -> None:
        log.warning("another process is pulling %s: waiting for it", target)

    with ExitStack() as stack:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(wait_for_lock(target, on_wait=on_wait))
        except OSError as error:
            raise _unwritable(target, error) from error
        yield


def _find_valid(name: str, target: Path) -> Path | None:
    """Return the path of a network if it exists and is undamaged, else None.

    A damaged file in another folder than the cache raises NetworkError: it would hide the one that is pulled.
    """
    try:
        path = find(name)
    except NetworkFileError:
        return None
    try:
        if known(name).format == "onnx":
            check_hash(known(name), path)
        else:
            verify(load(path))
    except NetworkError:
        if path == target:
            return None
        raise
    return path


def check_hash(row: KnownNetwork, path: Path) -> None:
    """Raise NetworkError unless a file that is kept as it was downloaded has the published hash."""
    expected = row.known_hash or ""
    actual = file_hash(path, expected)
    if actual != expected:
        raise NetworkError(
            f"{path}: not the published file: expected {expected}, got {actual}; get it again with "
            f"`lbfgs-style networks pull {row.name} --force`."
        )


def _mirror_url(file_name: str) -> str | None:
    mirror = os.environ.get("LBFGS_STYLE_MIRROR")
    return f"{mirror.rstrip('/')}/{file_name}" if mirror else None


def _write(target: Path, data: bytes) -> None:
    try:
        with atomic_write(target) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise _unwritable(target, error) from error


def _unwritable(target: Path, error: OSError) -> NetworkFileError:
    return NetworkFileError(
        f"Cannot write {str(target)!r}: {error.strerror or error}; free some space or set "
        "LBFGS_STYLE_CACHE to another folder."
    )
