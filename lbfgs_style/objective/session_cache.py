"""Sessions of the graphs of one network: built when they are needed, kept where that is wanted."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..graphs import cpu_layout, winograd
from ..graphs.builder import Rewrite
from ..native import layout, library, packing
from ..networks.network import FeatureNetwork
from ..settings.options import Convolution, Device
from ..system.memory import trim_heap
from .session import Session, release_memory, resolve_device

if TYPE_CHECKING:
    import onnx

Array = NDArray[np.float32]

BuildGraph = Callable[["Rewrite | None"], "onnx.ModelProto"]
"""Builds a graph, rewritten for the processor; None leaves the graph as it is."""

# The forms in which a graph may take the kernels of convolutions. Each has a function that returns the inputs
# of a graph → the kernels that they take, and one that transforms a kernel into this form.
_KERNEL_FORMS = (
    (winograd.kernel_inputs, winograd.transform_kernel),
    (packing.kernel_inputs, packing.pack_kernel),
)


# Style images whose moments are kept.
_MOST_STYLES = 2


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
    operators : str or None
        Which operators the last session has, see `Session`; None before the first.
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
        self.operators: str | None = None
        self._network = network
        self._device: Device = device
        self._threads = threads
        self._convolution: Convolution = convolution
        self.transformed_kernels: dict[str, Array] = {}
        self.sessions: dict[object, Session] | None = {} if keep_sessions else None
        self._styles: list[tuple[NDArray[Any], dict[object, dict[str, Array]]]] = []
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without sessions, which cannot be copied and are built again when needed."""
        sessions = None if self.sessions is None else {}
        return self.__dict__ | {
            "sessions": sessions,
            "transformed_kernels": {},
            "_styles": [],
            "_lock": None,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore what `__getstate__` returned."""
        self.__dict__.update(state)
        self._lock = threading.Lock()

    @property
    def rewrite(self) -> Rewrite:
        """The function that rewrites a graph for the CPU, by the option `convolution`.

        Raises
        ------
        SessionError
            The native operators are wanted and cannot be used.
        """
        operators = self._operators()
        if operators is None:
            return partial(cpu_layout.optimize_for_cpu, choose=winograd.CHOICES[self._convolution])
        return partial(layout.rewrite, library=operators, threads=self._threads or os.cpu_count() or 1)

    def _operators(self) -> library.Library | None:
        """Return the native operators if they are to be used."""
        if self._convolution == "native":
            return library.require()
        return library.find() if self._convolution == "auto" else None

    def session(self, key: object, build: BuildGraph) -> Session:
        """Return the session of a graph, which is built unless a session with its key was kept."""
        with self._lock:
            session = None if self.sessions is None else self.sessions.get(key)
            if session is None:
                self._device = resolve_device(self._device)
                # On CUDA, cuDNN chooses the algorithm of each convolution.
                is_cuda = self._device.startswith("cuda")
                model = build(None if is_cuda else self.rewrite)
                session = Session(
                    model,
                    device=self._device,
                    threads=self._threads,
                    fixed=self._transformed_weights(model),
                    operators=None if is_cuda else self._operators(),
                )
                del model
                trim_heap()
                if self.sessions is not None:
                    self.sessions[key] = session
            self.provider, self.operators = session.provider, session.operators
            return session

    def moments_of(self, image: NDArray[Any]) -> dict[object, dict[str, Array]]:
        """Return a dictionary for what is measured of a style image; those of the latest images are kept.

        An image is known by its identity: a `Picture` that is given again, not an array, which is copied.
        """
        with self._lock:
            for known, moments in self._styles:
                if known is image:
                    return moments
            self._styles.append((image, {}))
            del self._styles[:-_MOST_STYLES]
            return self._styles[-1][1]

    def release_memory(self) -> None:
        """Return the memory of finished runs on the CPU to the system, unless sessions are kept."""
        if self.sessions is None and self._device == "cpu":
            release_memory()

    def _transformed_weights(self, model: onnx.ModelProto) -> dict[str, Array]:
        """Return the kernels that a graph takes transformed, by input; all graphs share the arrays."""
        from onnx import numpy_helper

        weights: dict[str, Array] = {}
        for kernel_inputs, transform in _KERNEL_FORMS:
            needed = kernel_inputs(model)
            missing = {
                kernel: name for name, kernel in needed.items() if name not in self.transformed_kernels
            }
            for tensor in self._network.model.graph.initializer:
                if tensor.name in missing:
                    kernel = numpy_helper.to_array(tensor)
                    self.transformed_kernels[missing[tensor.name]] = transform(kernel)
            weights |= {name: self.transformed_kernels[name] for name in needed}
        return weights
