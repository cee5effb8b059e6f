"""A reader for PyTorch's legacy weight files that needs no PyTorch and trusts nothing in them.

The format: four pickles (magic number, protocol, system information, the object), a pickled list of storage
keys, then for each key an int64 count and that many raw values. The pickles are read with an unpickler that
knows four names and refuses every other.
"""

from __future__ import annotations

import math
import pickle
import struct
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from .errors import NetworkError, NetworkFileError

Array = NDArray[np.float32]

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
# Everything that a pickle of arbitrary bytes makes the unpickler raise.
_GARBLED = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)


class _FloatStorage:
    """Stands for ``torch.FloatStorage``: only its identity is used."""


@dataclass(frozen=True, slots=True)
class _Storage:
    key: str
    count: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_ignored: Any) -> _Tensor:
    """Stand for ``torch._utils._rebuild_tensor(_v2)``: note what to cut from which storage."""
    numbers = (offset, *shape, *stride)
    if not isinstance(storage, _Storage) or not all(isinstance(n, int) and n >= 0 for n in numbers):
        raise pickle.UnpicklingError("a tensor without a storage or with a wrong shape")
    dense = 1
    for size, step in zip(reversed(shape), reversed(stride), strict=True):
        if size > 1 and step != dense:
            raise pickle.UnpicklingError("a tensor that is not contiguous")
        dense *= size
    if offset + math.prod(shape) > storage.count:
        raise pickle.UnpicklingError("a tensor larger than its storage")
    return _Tensor(storage, offset, tuple(shape))


_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch", "FloatStorage"): _FloatStorage,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
}


class _Unpickler(pickle.Unpickler):
    """An unpickler that resolves four names to inert stand-ins and never imports anything."""

    def __init__(self, file: BinaryIO, label: str) -> None:
        # Files written by Python 2 hold byte strings where text is meant.
        super().__init__(file, encoding="utf-8")
        self._label = label

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        try:
            return _ALLOWED[module_name, global_name]
        except KeyError:
            raise NetworkError(
                f"Refused to read {self._label!r}: it asks for {module_name}.{global_name}, expected float32 "
                "tensors only; the file is not published weights, or it is harmful."
            ) from None

    def persistent_load(self, pid: Any, /) -> _Storage:
        kind, storage_type, key, _device, count, *view = pid
        if kind != "storage" or storage_type is not _FloatStorage or any(item is not None for item in view):
            raise pickle.UnpicklingError("an unknown kind of storage")
        if not isinstance(key, str) or not isinstance(count, int) or count < 0:
            raise pickle.UnpicklingError("a storage without key or size")
        return _Storage(key, count)


def read_pth(path: Path, *, prefix: str = "") -> dict[str, Array]:
    """Read the tensors of a PyTorch state dict in the legacy format, without PyTorch.

    Parameters
    ----------
    path : Path
        The ``.pth`` file: a mapping of str to float32 tensors.
    prefix : str, optional
        Read only the tensors whose name starts so; the others are skipped without being loaded.

    Returns
    -------
    dict of str to ndarray
        Contiguous float32 arrays.

    Raises
    ------
    NetworkError
        If the file is damaged, cut short, of another format, or asks for anything but tensors.
    NetworkFileError
        If it cannot be read.
    """
    label = str(path)
    try:
        with path.open("rb") as file:
            return _read_pth(file, path.stat().st_size, label, prefix)
    except NetworkError:
        raise
    except OSError as error:
        raise NetworkFileError(f"Cannot read the weights {label!r}: {error.strerror or error}.") from error
    except _GARBLED as error:
        raise NetworkError(
            f"{label!r} is not PyTorch weights in the legacy format, or is damaged ({error}): "
            "delete it and download it again."
        ) from error


def _read_pth(file: BinaryIO, file_size: int, label: str, prefix: str) -> dict[str, Array]:
    if file.read(4) == b"PK\x03\x04":
        raise NetworkError(
            f"{label!r} is in PyTorch's zip format: expected the legacy format that torchvision publishes; "
            "convert it with tools/export_vgg19.py."
        )
    file.seek(0)
    if _Unpickler(file, label).load() != _MAGIC or _Unpickler(file, label).load() != _PROTOCOL:
        raise pickle.UnpicklingError("wrong magic number")
    system = _Unpickler(file, label).load()
    if system["little_endian"] is not True:
        raise pickle.UnpicklingError("written on a big-endian machine")
    tensors = _Unpickler(file, label).load()
    keys = _Unpickler(file, label).load()
    if not isinstance(tensors, dict) or not isinstance(keys, list):
        raise pickle.UnpicklingError("not a state dict")
    wanted: dict[str, _Tensor] = {}
    for name, tensor in cast("dict[Any, Any]", tensors).items():
        if not isinstance(name, str) or not isinstance(tensor, _Tensor):
            raise pickle.UnpicklingError("not a state dict of tensors")
        if name.startswith(prefix):
            wanted[name] = tensor
    counts = {tensor.storage.key: tensor.storage.count for tensor in wanted.values()}
    storages = _read_storages(file, file_size, cast("list[Any]", keys), counts)
    return {
        name: storages[tensor.storage.key][tensor.offset :][: math.prod(tensor.shape)].reshape(tensor.shape)
        for name, tensor in wanted.items()
    }


def _read_storages(
    file: BinaryIO, file_size: int, keys: list[Any], counts: Mapping[str, int]
) -> dict[str, Array]:
    storages: dict[str, Array] = {}
    for key in keys:
        (count,) = struct.unpack("<q", file.read(8))
        # Checked against the file before memory is asked for: a damaged count may be anything.
        if not 0 <= 4 * count <= file_size - file.tell():
            raise pickle.UnpicklingError("cut short")
        if counts.get(key, count) != count:
            raise pickle.UnpicklingError("a storage of the wrong size")
        if key in counts:
            storages[key] = np.frombuffer(file.read(4 * count), "<f4").astype(np.float32, copy=False)
        else:
            file.seek(4 * count, 1)
    return storages
