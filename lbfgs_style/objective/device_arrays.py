"""Arrays in the memory of the device that a graph runs on, from one graph to the next without a copy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Bytes of a float32 number.
_FLOAT32 = 4


@dataclass(frozen=True, slots=True, eq=False)
class DeviceArray:
    """A C-contiguous float32 array in the memory of a card, or of the CPU; `numpy.asarray` copies it.

    `Session` makes such arrays. They are never changed, but for those that a graph is told to write into.

    Attributes
    ----------
    memory : onnxruntime.OrtValue
        Owns the memory, of which the array may be a part.
    shape : tuple of int
        Lengths of the axes.
    first : int
        Index of the first number in the memory.
    session : onnxruntime.InferenceSession, optional
        The session that computed it: onnxruntime does not promise that the memory outlives it.
    """

    memory: Any
    shape: tuple[int, ...]
    first: int = 0
    session: Any = None

    @property
    def size(self) -> int:
        """The number of its elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        return _FLOAT32 * self.size

    @property
    def pointer(self) -> int:
        """The address of its first number in the memory of the device."""
        return self.memory.data_ptr() + _FLOAT32 * self.first

    def reshape(self, *shape: int) -> DeviceArray:
        """Return the same memory with other lengths of axes."""
        if math.prod(shape) != self.size:
            raise ValueError(f"cannot reshape {self.shape} into {shape}")
        return DeviceArray(self.memory, shape, self.first, self.session)

    def rows(self, start: int, stop: int) -> DeviceArray:
        """Return the part ``[start:stop]`` of the first axis."""
        if not 0 <= start <= stop <= self.shape[0]:
            raise ValueError(f"rows {start} to {stop} of {self.shape[0]}")
        row = math.prod(self.shape[1:])
        shape = (stop - start, *self.shape[1:])
        return DeviceArray(self.memory, shape, self.first + start * row, self.session)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return a copy in the memory of the CPU."""
        if copy is False:
            raise ValueError("an array of a device is always copied")
        numbers = self.memory.numpy().reshape(-1)[self.first : self.first + self.size]
        return np.array(numbers.reshape(self.shape), dtype)


DeviceInputs = Mapping[str, DeviceArray]
"""Input of a graph → its value on the device of a session."""
