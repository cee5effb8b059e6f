"""Run graphs with onnxruntime; only this module and `providers` import it.

Runs are made in worker threads, because Python handles no signal while onnxruntime computes: so a Ctrl-C or a
cancellation terminates the run within tens of milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import SessionError
from ..graphs.builder import GraphBuilder, is_plain
from ..native.library import DOMAIN, Library
from ..settings.options import Device
from ..system import workers
from ..system.memory import trim_heap
from ..system.threads import NEVER, Cancellation
from .device_arrays import DeviceArray, DeviceInputs
from .providers import CUDA, card_number, open_session, session_error

if TYPE_CHECKING:
    import onnx

Array = NDArray[np.float32]


class Session:
    """A graph that is ready to run.

    Parameters
    ----------
    model : onnx.ModelProto
        The graph.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:<number of the card>``; ``auto`` takes CUDA where it works, else
        the CPU.
    threads : int
        Threads of an operator; 0 leaves the choice to onnxruntime (one for each physical core).
    fixed : mapping of str to array, optional
        Inputs that are the same in every run. On the CPU the arrays are used in place, not copied.
    operators : Library, optional
        The native operators, for a graph that has them.
    shrink : bool
        Return the memory of tensors to the system after each run.

    Attributes
    ----------
    provider : str
        onnxruntime's name of what the graph runs on, as in ``CPUExecutionProvider``.
    operators : str
        "native" with the instruction set, if the graph has native operators, else "onnxruntime".

    Raises
    ------
    SessionError
        `device` is ``cuda`` and CUDA does not work here, or onnxruntime refuses the graph.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        *,
        device: Device = "auto",
        threads: int = 0,
        fixed: Mapping[str, NDArray[Any]] | None = None,
        operators: Library | None = None,
        shrink: bool = False,
    ) -> None:
        if not any(node.domain == DOMAIN for node in model.graph.node):
            operators = None
        self.operators = "onnxruntime" if operators is None else f"native ({operators.instructions})"
        self.inference_session = open_session(
            model.SerializeToString(), device, threads, plain=is_plain(model), operators=operators
        )
        self.provider: str = self.inference_session.get_providers()[0]
        self._device = "cuda" if self.provider == CUDA else "cpu"
        self._card, self._threads = card_number(device), threads
        self._fixed = self.to_device(fixed or {})
        self._cancellation = NEVER
        self._shrink = shrink and self._device == "cpu"

    @property
    def is_on_card(self) -> bool:
        """Whether the graph runs on a card, with a memory of its own."""
        return self._device != "cpu"

    def sibling(self, model: onnx.ModelProto, fixed: Mapping[str, NDArray[Any]] | None = None) -> Session:
        """Open another graph on the same device, with the same threads and the same cancellation."""
        device: Device = f"cuda:{self._card}" if self.is_on_card else "cpu"
        return Session(model, device=device, threads=self._threads, fixed=fixed).during(self._cancellation)

    def to_device(self, inputs: Mapping[str, NDArray[Any]]) -> DeviceInputs:
        """Copy inputs that stay the same over many runs to the device, for `run`.

        On the CPU an array that is float32 and C-contiguous is not copied: the caller must not change it.
        """
        import onnxruntime

        placed: dict[str, DeviceArray] = {}
        for name, array in inputs.items():
            numbers = np.ascontiguousarray(array, np.float32)
            value = onnxruntime.OrtValue.ortvalue_from_numpy(numbers, self._device, self._card)
            placed[name] = DeviceArray(value, numbers.shape)
        return placed

    def empty(self, *shape: int) -> DeviceArray:
        """Return an array on the device whose numbers are not set, for graphs to write into."""
        import onnxruntime

        value = onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, np.float32, self._device, self._card)
        return DeviceArray(value, shape)

    def during(self, cancellation: Cancellation) -> Session:
        """Return this session with a cancellation, which terminates the runs of its graph."""
        bound = copy(self)
        bound._cancellation = cancellation
        return bound

    def run(
        self,
        outputs: Sequence[str],
        inputs: Mapping[str, Array],
        *,
        on_device: DeviceInputs | None = None,
    ) -> list[Array]:
        """Run the graph.

        Parameters
        ----------
        outputs : sequence of str
            Names of the outputs to compute.
        inputs : mapping of str to array
            float32, C-contiguous.
        on_device : mapping, optional
            More inputs, made by `to_device`.

        Returns
        -------
        list of array
            The outputs, in the memory of the CPU.

        Raises
        ------
        SessionError
            If onnxruntime fails; `MemoryShortage` if it gets no memory.
        Cancelled
            If the session's cancellation was requested, see `during`.
        """
        return self.run_on_device(outputs, inputs, on_device or {})[0]

    def run_on_device(
        self,
        outputs: Sequence[str],
        inputs: Mapping[str, Array],
        on_device: DeviceInputs,
        *,
        kept: Sequence[str] = (),
        into: DeviceInputs | None = None,
    ) -> tuple[list[Array], list[DeviceArray]]:
        """Run the graph, and leave some outputs on the device.

        Parameters
        ----------
        outputs, inputs, on_device
            As in `run`.
        kept : sequence of str
            Names of more outputs, which stay on the device.
        into : mapping of str to DeviceArray, optional
            Names of more outputs → the arrays that they are written into.

        Returns
        -------
        outputs : list of array
            In the memory of the CPU.
        kept : list of DeviceArray
            On the device.

        Raises
        ------
        SessionError, Cancelled
            As in `run`.
        """
        import onnxruntime

        self._cancellation.check()
        binding = self.inference_session.io_binding()
        for name, array in {**self._fixed, **on_device}.items():
            self._bind(binding.bind_input, name, array)
        for name, array in inputs.items():
            binding.bind_cpu_input(name, array)
        for name in outputs:
            binding.bind_output(name, "cpu")
        for name in kept:
            binding.bind_output(name, self._device, self._card)
        for name, array in (into or {}).items():
            self._bind(binding.bind_output, name, array)
        options = onnxruntime.RunOptions()
        if self._shrink:
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        work = partial(self.inference_session.run_with_iobinding, binding, options)
        run_interruptibly(work, options, self._cancellation)
        if not kept and not into:
            return binding.copy_outputs_to_cpu(), []
        values = binding.get_outputs()
        left = values[len(outputs) : len(outputs) + len(kept)]
        return [value.numpy() for value in values[: len(outputs)]], [
            DeviceArray(value, tuple(value.shape()), session=self.inference_session) for value in left
        ]

    def _bind(self, bind: Callable[..., object], name: str, array: DeviceArray) -> None:
        bind(name, self._device, self._card, np.float32, list(array.shape), array.pointer)


def resolve_device(device: Device) -> Device:
    """Return the device that is used for `device` on this machine: ``cpu``, or ``cuda`` with the card.

    Raises
    ------
    SessionError
        `device` is ``cuda`` and CUDA does not work here.
    """
    if device == "cpu":
        return device
    graph = GraphBuilder()
    graph.output(graph.input("x", [1]), "y")
    if Session(graph.model(), device=device).provider != CUDA:
        return "cpu"
    return "cuda" if device == "auto" else device


def run_interruptibly(work: Callable[[], object], options: Any, cancellation: Cancellation) -> None:
    """Run onnxruntime in a worker thread, and terminate the run when it is cancelled or interrupted."""

    def stop() -> None:
        options.terminate = True

    def watch() -> None:
        if cancellation.is_requested:
            stop()

    try:
        # Interrupted, it ends after the run: no run may go on that writes into the caller's arrays.
        workers.run(work, watch=watch, stop=stop)
    except Exception as error:
        if isinstance(error, SessionError):  # there is no thread
            raise
        cancellation.check()
        raise session_error("onnxruntime failed to run the graph", error) from error
    cancellation.check()


def release_memory() -> None:
    """Return the memory of finished runs on the CPU to the system.

    The shared allocator shrinks at the end of a run that asks for it, so a trivial graph is run.
    """
    graph = GraphBuilder()
    graph.output(graph.input("x", [1]), "y")
    identity = Session(graph.model(), device="cpu", threads=1, shrink=True)
    identity.run(["y"], {"x": np.zeros(1, np.float32)})
    trim_heap()
