"""Sessions of the graphs of one network: built when they are needed, kept where that is wanted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..graphs import winograd
from ..networks.network import FeatureNetwork
from ..settings.options import Convolution, Device
from ..system.memory import trim_heap
from .session import Session, release_memory, resolve_device

if TYPE_CHECKING:
    import onnx

Array = NDArray[np.float32]

BuildGraph = Callable[["winograd.Choose | None"], "onnx.ModelProto"]
"""Builds a graph, with the convolutions that take Winograd's form; None leaves the graph as it is."""


class SessionCache:
    """Sessions of one network on one device, which several threads may use at once.

    Parameters
    ----------
    network : FeatureNetwork
        Gives the weights.
    device, threads, convolution
        As in `lbfgs_style.settings.options.Options`.
    keep_sessions : bool
        Keep each session, and the memory that it holds, for the next graph of the same key.

    Attributes
    ----------
    provider : str or None
        onnxruntime's name of what the last session runs on; None before the first.
    """

    def __init__(
        self,
        network: FeatureNetwork,
        *,
        device: Device,
        threads: int,
        convolution: Convolution,
        keep_sessions: bool,
    ) -> None:
        self.provider: str | None = None
        self._network = network
        self._device: Device = device
        self._threads = threads
        self._convolution: Convolution = convolution
        self.transformed_kernels: dict[str, Array] = {}
        self.sessions: dict[object, Session] | None = {} if keep_sessions else None
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without sessions, which cannot be copied and are built again when needed."""
        sessions = None if self.sessions is None else {}
        return self.__dict__ | {"sessions": sessions, "transformed_kernels": {}, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore what `__getstate__` returned."""
        self.__dict__.update(state)
        self._lock = threading.Lock()

    @property
    def choose(self) -> winograd.Choose:
        """Which convolutions take Winograd's form on a CPU."""
        return winograd.CHOICES[self._convolution]

    def session(self, key: object, build: BuildGraph) -> Session:
        """Return the session of a graph, which is built unless a session with its key was kept."""
        with self._lock:
            session = None if self.sessions is None else self.sessions.get(key)
            if session is None:
                self._device = resolve_device(self._device)
                # On CUDA, cuDNN chooses the algorithm of each convolution.
                model = build(None if self._device == "cuda" else self.choose)
                weights = self._transformed_weights(model)
                session = Session(model, device=self._device, threads=self._threads, fixed=weights)
                del model
                trim_heap()
                if self.sessions is not None:
                    self.sessions[key] = session
            self.provider = session.provider
            return session

    def release_memory(self) -> None:
        """Return the memory of finished runs on the CPU to the system, unless sessions are kept."""
        if self.sessions is None and self._device == "cpu":
            release_memory()

    def _transformed_weights(self, model: onnx.ModelProto) -> dict[str, Array]:
        """Return the weights that a graph takes in Winograd's form; all graphs share the arrays."""
        from onnx import numpy_helper

        needed = winograd.kernel_inputs(model)
        missing = {kernel: name for name, kernel in needed.items() if name not in self.transformed_kernels}
        for tensor in self._network.model.graph.initializer:
            if tensor.name in missing:
                kernel = numpy_helper.to_array(tensor)
                self.transformed_kernels[missing[tensor.name]] = winograd.transform_kernel(kernel)
        return {name: self.transformed_kernels[name] for name in needed}
