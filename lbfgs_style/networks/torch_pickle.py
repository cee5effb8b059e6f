"""Read untrusted weight files in PyTorch's two formats, without PyTorch.

The legacy format: four pickles (magic number, protocol, system information, the object), a pickled list of
storage keys, then for each key an int64 count and that many raw values. The format since PyTorch 1.6: a zip
archive of a folder with ``data.pkl``, the pickled object, and ``data/KEY``, the raw values of each storage,
not compressed. The unpickler knows four names and refuses all others, never sets the state of an object, and
reads no more bytes than the pickles of a network have, because the lengths in a pickle may be anything.
"""

from __future__ import annotations

import math
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from ..errors import NetworkError, NetworkFileError, printable

Array = NDArray[np.float32]

# The first two pickles of a file.
_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001

# Limits: bytes of a pickle, axes of a tensor, values of lengths and offsets.
_MAX_PICKLE = 1_000_000
_MAX_DIMS = 8
_MAX_NUMBER = 1 << 48

# Exceptions that arbitrary bytes make the unpickler raise.
_GARBLED = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
    NotImplementedError,
    struct.error,
    zipfile.BadZipFile,
)

# The first bytes of a zip archive, and the bit of a member's flags that says that it is encrypted.
_ZIP = b"PK\x03\x04"
_ENCRYPTED = 1


class FloatStorage:
    """Replaces ``torch.FloatStorage``; only its identity is used."""


@dataclass(frozen=True, slots=True)
class _Storage:
    key: str
    count: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]


def rebuild_tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_ignored: Any) -> _Tensor:
    """Replace ``torch._utils._rebuild_tensor(_v2)``: return which part of which storage a tensor is."""
    numbers = (offset, *shape, *stride)
    plain = len(shape) <= _MAX_DIMS and all(isinstance(n, int) and 0 <= n < _MAX_NUMBER for n in numbers)
    if not isinstance(storage, _Storage) or not plain:
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
    ("torch", "FloatStorage"): FloatStorage,
    ("torch._utils", "_rebuild_tensor"): rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): rebuild_tensor,
}


class BoundedFile:
    """A file from which at most `_MAX_PICKLE` bytes can be read.

    Parameters
    ----------
    file : binary file
        Read from its current position.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._left = _MAX_PICKLE

    def read(self, size: int) -> bytes:
        """Read `size` bytes, or raise before memory is allocated if that is more than is left."""
        if not 0 <= size <= self._left:
            raise pickle.UnpicklingError("a pickle that is too long")
        self._left -= size
        return self._file.read(size)

    def readline(self) -> bytes:
        """Read a line, or the part of it within the limit."""
        line = self._file.readline(self._left)
        self._left -= len(line)
        return line


# Code of an instruction → method that executes it.
_INSTRUCTIONS: dict[int, Any] = pickle._Unpickler.dispatch  # pyright: ignore[reportPrivateUsage]

# Codes of the instructions that make tuples.
_TUPLES = pickle.TUPLE + pickle.TUPLE1 + pickle.TUPLE2 + pickle.TUPLE3


def _shallow(load: Callable[[Any], None]) -> Callable[[Any], None]:
    """Wrap an instruction that makes a tuple, so that tuples are nested two levels deep at most.

    Hashing a tuple hashes its items recursively: deeply nested tuples overflow the stack of the interpreter,
    and tuples that contain the same tuple twice, level by level, take exponential time.
    """

    def load_shallow(unpickler: Any) -> None:
        load(unpickler)
        inner = [item for item in unpickler.stack[-1] if isinstance(item, tuple)]
        if any(isinstance(item, tuple) for each in inner for item in cast("tuple[Any, ...]", each)):
            raise pickle.UnpicklingError("tuples in tuples in tuples")

    return load_shallow


# The unpickler in Python, not the one in C: that one allocates memory for the largest memo index in a pickle,
# 34 GB for five bytes. And the instructions of this one can be replaced.
class _Unpickler(pickle._Unpickler):  # pyright: ignore[reportPrivateUsage, reportUntypedBaseClass]
    """An unpickler that resolves four names to inert objects, imports nothing and sets no state."""

    def __init__(self, file: IO[bytes], label: str) -> None:
        # Files written by Python 2 have byte strings in place of text.
        super().__init__(BoundedFile(file), encoding="utf-8")
        self._label = label

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            asked = f"{module}.{name}"
            raise NetworkError(
                f"Refused to read {self._label!r}: it asks for {printable(asked)}, expected float32 tensors "
                "only; the file is not published weights, or it is harmful."
            ) from None

    def get_extension(self, code: int) -> None:
        raise NetworkError(
            f"Refused to read {self._label!r}: it asks for the extension {code} of another program, expected "
            "float32 tensors only; the file is not published weights, or it is harmful."
        )

    def load_build(self) -> None:
        """Skip the state of an object: the state of the mapping of tensors has only versions."""
        stack: list[Any] = self.stack  # pyright: ignore[reportAttributeAccessIssue]  # set by `load`
        stack.pop()
        if not isinstance(stack[-1], OrderedDict):
            raise pickle.UnpicklingError("the state of an object that is not a mapping")

    dispatch: ClassVar[dict[int, Any]] = {
        **_INSTRUCTIONS,
        **{code: _shallow(_INSTRUCTIONS[code]) for code in _TUPLES},
        pickle.BUILD[0]: load_build,
    }

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage_type, key, _device, count, *view = pid
        if kind != "storage" or storage_type is not FloatStorage or any(item is not None for item in view):
            raise pickle.UnpicklingError("an unknown kind of storage")
        if not isinstance(key, str) or not isinstance(count, int) or count < 0:
            raise pickle.UnpicklingError("a storage without key or size")
        return _Storage(key, count)


def read_pth(path: Path, *, prefix: str = "") -> dict[str, Array]:
    """Read the tensors of a PyTorch state dict, in the legacy format or in the one since PyTorch 1.6.

    Parameters
    ----------
    path : Path
        The ``.pth`` file: a mapping of str to float32 tensors.
    prefix : str, optional
        Read only the tensors whose names start with it; the others are not loaded.

    Returns
    -------
    dict of str to ndarray
        Contiguous float32 arrays.

    Raises
    ------
    NetworkError
        If the file is damaged, cut short, of another format, or contains anything but float32 tensors.
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
        why = "cut short" if isinstance(error, EOFError) else printable(str(error) or type(error).__name__)
        raise NetworkError(
            f"{label!r} is not PyTorch weights, or is damaged ({why}): delete it and download it again."
        ) from error


def _read_pth(file: BinaryIO, file_size: int, label: str, prefix: str) -> dict[str, Array]:
    is_zip = file.read(len(_ZIP)) == _ZIP
    file.seek(0)
    read = _read_zip if is_zip else _read_legacy
    wanted, storages = read(file, file_size, label, prefix)
    return {
        name: storages[tensor.storage.key][tensor.offset :][: math.prod(tensor.shape)].reshape(tensor.shape)
        for name, tensor in wanted.items()
    }


def _select(tensors: Any, prefix: str, file_size: int) -> tuple[dict[str, _Tensor], dict[str, int]]:
    """Return the tensors of a state dict whose names start with `prefix`, and their storages' counts."""
    if not isinstance(tensors, dict):
        raise pickle.UnpicklingError("not a state dict")
    wanted: dict[str, _Tensor] = {}
    for name, tensor in cast("dict[Any, Any]", tensors).items():
        if not isinstance(name, str) or not isinstance(tensor, _Tensor):
            raise pickle.UnpicklingError("not a state dict of tensors")
        if name.startswith(prefix):
            wanted[name] = tensor
    counts = {tensor.storage.key: tensor.storage.count for tensor in wanted.values()}
    # Compared with the file before memory is allocated: in a damaged file, a count may be anything.
    if 4 * sum(counts.values()) > file_size:
        raise pickle.UnpicklingError("cut short")
    return wanted, counts


def _read_zip(
    file: BinaryIO, file_size: int, label: str, prefix: str
) -> tuple[dict[str, _Tensor], dict[str, Array]]:
    with zipfile.ZipFile(file) as archive:
        members = {member.filename.partition("/")[2]: member for member in archive.infolist()}

        def opened(name: str) -> IO[bytes]:
            member = members[name]
            if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & _ENCRYPTED:
                raise pickle.UnpicklingError(f"{name} is compressed or encrypted")
            return archive.open(member)

        if "byteorder" in members:  # since PyTorch 2.1
            with opened("byteorder") as order:
                if order.read(len("little")) != b"little":
                    raise pickle.UnpicklingError("written on a big-endian machine")
        with opened("data.pkl") as pickled:
            wanted, counts = _select(_Unpickler(pickled, label).load(), prefix, file_size)
        storages: dict[str, Array] = {}
        for key, count in counts.items():
            with opened(f"data/{key}") as values:
                if members[f"data/{key}"].file_size != 4 * count:
                    raise pickle.UnpicklingError("a storage of the wrong size")
                storages[key] = np.frombuffer(values.read(), "<f4").astype(np.float32, copy=False)
    return wanted, storages


def _read_legacy(
    file: BinaryIO, file_size: int, label: str, prefix: str
) -> tuple[dict[str, _Tensor], dict[str, Array]]:
    if _Unpickler(file, label).load() != _MAGIC or _Unpickler(file, label).load() != _PROTOCOL:
        raise pickle.UnpicklingError("wrong magic number")
    system = _Unpickler(file, label).load()
    if system["little_endian"] is not True:
        raise pickle.UnpicklingError("written on a big-endian machine")
    tensors = _Unpickler(file, label).load()
    keys = _Unpickler(file, label).load()
    wanted, counts = _select(tensors, prefix, file_size)
    if not isinstance(keys, list):
        raise pickle.UnpicklingError("not a state dict")
    return wanted, _read_storages(file, file_size, cast("list[Any]", keys), counts)


def _read_storages(
    file: BinaryIO, file_size: int, keys: list[Any], counts: Mapping[str, int]
) -> dict[str, Array]:
    storages: dict[str, Array] = {}
    for key in keys:
        (count,) = struct.unpack("<q", file.read(8))
        if not 0 <= 4 * count <= file_size - file.tell():
            raise pickle.UnpicklingError("cut short")
        if counts.get(key, count) != count:
            raise pickle.UnpicklingError("a storage of the wrong size")
        if key in counts:
            storages[key] = np.frombuffer(file.read(4 * count), "<f4").astype(np.float32, copy=False)
        else:
            file.seek(4 * count, 1)
    return storages
