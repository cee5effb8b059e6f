"""The loss as a function of variables in the memory of a card.

SciPy needs only coordinates and inner products. So image, gradient, variables and basis stay where the graph
is evaluated, and an evaluation takes a few numbers for each vector of the basis to the host and back. Nothing
here depends on CUDA: any device that onnxruntime runs on serves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..objective.device_arrays import DeviceArray
from ..objective.evaluation import DeviceObjective
from ..objective.session import Session
from . import vector_graphs
from .problem import Coordinates, Point, Projection
from .variables import Flat, Image, Pixels, Spectral


def has_device_vectors(objective: DeviceObjective) -> bool:
    """Return whether vectors are better kept on the device of an objective: whether it is a card.

    On the CPU the products with matrices of cosines take longer than SciPy's DCT.
    """
    return objective.session.is_on_card


@dataclass(frozen=True, slots=True, eq=False)
class DeviceGradient:
    """A gradient dL/dz on the device, divided by its largest absolute value.

    Attributes
    ----------
    vector : DeviceArray [1,n]
        The scaled gradient.
    length : float
        Its length.
    largest : float
        What it was divided by.
    """

    vector: DeviceArray
    length: float
    largest: float


class DeviceProblem:
    """A problem whose vectors are arrays [n] on the device of its objective.

    Parameters
    ----------
    objective : DeviceObjective
        The loss as a function of an image.
    parametrization : Pixels or Spectral
        The variables.
    """

    def __init__(self, objective: DeviceObjective, parametrization: Pixels | Spectral) -> None:
        self._objective, self._parametrization = objective, parametrization
        self._session = objective.session
        spectral = parametrization if isinstance(parametrization, Spectral) else None
        fixed = {} if spectral is None else self._session.to_device(vector_graphs.spectral_inputs(spectral))
        self._fixed = fixed
        self._decode = (
            None if spectral is None else self._session.sibling(vector_graphs.decode_graph(spectral))
        )
        self._pull_back = self._session.sibling(vector_graphs.pull_back_graph(spectral))

    def encode(self, image: Image) -> DeviceArray:
        """Map an image [3,H,W] to the variables that decode to it."""
        return self.vector(self._parametrization.encode(image))

    def decode(self, z: DeviceArray) -> Image:
        """Map variables to an image [3,H,W] in the memory of the CPU."""
        return np.asarray(self._image(z))[0]

    def vector(self, z: Flat) -> DeviceArray:
        """Copy variables [n] to the device, in float32."""
        return self._session.to_device({"z": z})["z"]

    def evaluate(self, z: DeviceArray) -> Point:
        """Evaluate the loss and its gradient."""
        image = self._image(z)
        value, d_image = self._objective(image)
        (largest, length), (d_z,) = self._pull_back.run_on_device(
            ["largest", "length"], {}, {"d_image": d_image, **self._fixed}, kept=["d_z"]
        )
        gradient = DeviceGradient(d_z.reshape(1, z.size), float(length), float(largest))
        is_finite = math.isfinite(gradient.length) and math.isfinite(gradient.largest)
        return Point(z, value, gradient if is_finite else None, image.reshape(*image.shape[1:]))

    def basis(self, capacity: int) -> DeviceBasis:
        """Make an empty basis."""
        return DeviceBasis(self._session, capacity)

    def _image(self, z: DeviceArray) -> DeviceArray:
        """Map variables to an image [1,3,H,W] on the device."""
        image = z.reshape(1, 3, *self._parametrization.size)
        if self._decode is None:
            return image
        return self._decode.run_on_device([], {}, {"z": image, **self._fixed}, kept=["image"])[1][0]


class DeviceBasis:
    """A basis of Gram and Schmidt on a device.

    Parameters
    ----------
    session : Session
        Runs on the device.
    capacity : int
        Number of vectors at most.

    Attributes
    ----------
    capacity : int
        As given.
    """

    def __init__(self, session: Session, capacity: int) -> None:
        self.capacity = capacity
        self._device = session
        self._combine = session.sibling(vector_graphs.combine_graph())
        self._project = session.sibling(vector_graphs.project_graph())
        self._vectors: DeviceArray | None = None

    def combine(self, origin: DeviceArray, coefficients: Coordinates) -> DeviceArray:
        """Return origin + Σ_k coefficients_k vector_k."""
        if self._vectors is None or not coefficients.size:
            return origin
        row = origin.reshape(1, origin.size)
        factors = np.ascontiguousarray(coefficients[None], np.float32)
        inputs = {"origin": row, "basis": self._vectors.rows(0, coefficients.size)}
        (z,) = self._combine.run_on_device([], {"coefficients": factors}, inputs, kept=["z"])[1]
        return z.reshape(origin.size)

    def project(self, gradient: DeviceGradient, count: int) -> Projection:
        """Project a gradient; its normalised rest is written behind the valid vectors."""
        if gradient.length == 0:
            return Projection(0.0, np.zeros(count), 0.0)
        if self._vectors is None:
            self._vectors = self._device.empty(self.capacity, gradient.vector.size)
        inputs = {"gradient": gradient.vector, "basis": self._valid(count)}
        length = np.array(gradient.length, np.float32)
        (coordinates, left), _ = self._project.run_on_device(
            ["coordinates", "left"],
            {"length": length},
            inputs,
            into={"row": self._vectors.rows(count, count + 1)},
        )
        found = coordinates[0, :count].astype(np.float64)
        return Projection(gradient.length * gradient.largest, found, float(left))

    def _valid(self, count: int) -> DeviceArray:
        """Return the valid vectors; in place of none, one of zeros: a product over 0 rows is a rare case."""
        assert self._vectors is not None
        if count:
            return self._vectors.rows(0, count)
        return self._device.to_device({"zeros": np.zeros((1, self._vectors.shape[1]), np.float32)})["zeros"]

    def rotate(self, rotation: NDArray[np.float64]) -> None:
        """Replace the vectors by rotation [m,count] · vectors [count,n]."""
        if self._vectors is None or not rotation.size:
            return
        directions, count = rotation.shape
        rotate = self._device.sibling(vector_graphs.rotate_graph())
        copy = self._device.sibling(vector_graphs.copy_graph())
        inputs = {"basis": self._vectors.rows(0, count)}
        turned = {"rotation": np.ascontiguousarray(rotation, np.float32)}
        (rows,) = rotate.run_on_device([], turned, inputs, kept=["rows"])[1]
        copy.run_on_device([], {}, {"array": rows}, into={"copy": self._vectors.rows(0, directions)})
