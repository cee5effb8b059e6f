"""Run graphs with onnxruntime; the only module that imports it.

Runs are made in worker threads, because Python handles no signal while onnxruntime computes: so a Ctrl-C or a
cancellation terminates the run within tens of milliseconds.
"""

from __future__ import annotations

import contextlib
import io
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MemoryShortage, SessionError
from ..graphs.builder import GraphBuilder, is_plain
from ..native.library import DOMAIN, Library
from ..settings.options import Device
from ..system import workers
from ..system.memory import trim_heap
from ..system.threads import NEVER, Cancellation

if TYPE_CHECKING:
    import onnx
    import onnxruntime

log = logging.getLogger(__name__)

Array = NDArray[np.float32]

DeviceInputs = Mapping[str, "onnxruntime.OrtValue"]
"""Input of a graph → its value on the device of a session."""

CUDA = "CUDAExecutionProvider"

_CUDA_OPTIONS = {
    # TensorFloat-32 keeps 10 bits of the mantissa: too few for L-BFGS, which works with small differences.
    "use_tf32": "0",
    "cudnn_conv_algo_search": "HEURISTIC",
}

# Parts of onnxruntime's messages when it gets no memory.
_OUT_OF_MEMORY = ("bad_alloc", "bad allocation", "Failed to allocate memory", "bad array new length")

# onnxruntime's pass that moves features into its blocked NCHWc layout.
NCHWC_PASS = "NchwcTransformer"

# Whether the allocator that all sessions share has been registered, and the lock of that.
_is_shared = False
_sharing = threading.Lock()


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
        self.inference_session = _open(
            model.SerializeToString(), device, threads, plain=is_plain(model), operators=operators
        )
        self.provider: str = self.inference_session.get_providers()[0]
        self._device = "cuda" if self.provider == CUDA else "cpu"
        self._card = _card(device)
        self._fixed = self.to_device(fixed or {})
        self._cancellation = NEVER
        self._shrink = shrink and self._device == "cpu"

    def to_device(self, inputs: Mapping[str, NDArray[Any]]) -> DeviceInputs:
        """Copy inputs that stay the same over many runs to the device, for `run`.

        On the CPU an array that is float32 and C-contiguous is not copied: the caller must not change it.
        """
        import onnxruntime

        return {
            name: onnxruntime.OrtValue.ortvalue_from_numpy(
                np.ascontiguousarray(array, np.float32), self._device, self._card
            )
            for name, array in inputs.items()
        }

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
        import onnxruntime

        self._cancellation.check()
        binding = self.inference_session.io_binding()
        for name, value in {**self._fixed, **(on_device or {})}.items():
            binding.bind_ortvalue_input(name, value)
        for name, array in inputs.items():
            binding.bind_cpu_input(name, array)
        for name in outputs:
            binding.bind_output(name, "cpu")
        options = onnxruntime.RunOptions()
        if self._shrink:
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        work = partial(self.inference_session.run_with_iobinding, binding, options)
        run_interruptibly(work, options, self._cancellation)
        return binding.copy_outputs_to_cpu()


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


def _card(device: Device) -> int:
    """Return the number of the card, 0 if the device names none."""
    return int(device.partition(":")[2] or 0)


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


def _open(
    graph: bytes, device: Device, threads: int, *, plain: bool, operators: Library | None
) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised; a library does not print
    # Memory patterns double the memory of activations from the second run on, and gain no speed.
    options.enable_mem_pattern = False
    # With reuse, a buffer is kept for a later tensor of the same shape. In a graph whose backward pass
    # mirrors its forward pass, that keeps nearly all of them.
    options.enable_mem_reuse = False
    if device != "cpu":
        session = _open_cuda(graph, options, device)
        if session is not None:
            return session
    if operators is not None:
        options.register_custom_ops_library(str(operators.path))
    _share_memory()
    options.add_session_config_entry("session.use_env_allocators", "1")
    return _create(graph, options, ["CPUExecutionProvider"], [NCHWC_PASS] if plain else [])


def _share_memory() -> None:
    """Register one allocator for all sessions on the CPU, for the rest of the process.

    Sessions of tiles, scales and targets run in turn. With allocators of their own, each would hold the
    memory of its largest run.
    """
    import onnxruntime

    global _is_shared
    with _sharing:
        if _is_shared:
            return
        _is_shared = True
        kind = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR
        memory = onnxruntime.OrtMemoryInfo("Cpu", kind, 0, onnxruntime.OrtMemType.DEFAULT)
        defaults = dict.fromkeys(("arena_extend_strategy", "initial_chunk_size_bytes"), -1)
        settings = onnxruntime.OrtArenaCfg({"max_mem": 0, **defaults, "max_dead_bytes_per_chunk": -1})
        try:
            onnxruntime.create_and_register_allocator(memory, settings)
        except Exception as error:  # onnxruntime's exceptions share no narrower type
            # The host program has registered an allocator already, which serves as well.
            log.debug("sharing an allocator: %s", _one_line(error))


def release_memory() -> None:
    """Return the memory of finished runs on the CPU to the system.

    The shared allocator shrinks at the end of a run that asks for it, so a trivial graph is run.
    """
    graph = GraphBuilder()
    graph.output(graph.input("x", [1]), "y")
    identity = Session(graph.model(), device="cpu", threads=1, shrink=True)
    identity.run(["y"], {"x": np.zeros(1, np.float32)})
    trim_heap()


def _open_cuda(graph: bytes, options: Any, device: Device) -> onnxruntime.InferenceSession | None:
    """Open a session on CUDA; where that fails, return None if `device` is ``auto``, else raise SessionError.

    onnxruntime lists CUDA even where its libraries are missing, and then silently runs on the CPU. So the
    provider of the finished session decides.
    """
    import onnxruntime

    reason = "this onnxruntime is built without CUDA"
    settings = {**_CUDA_OPTIONS, "device_id": str(_card(device))}
    if CUDA in onnxruntime.get_available_providers():
        if hasattr(onnxruntime, "preload_dlls"):
            with contextlib.redirect_stdout(io.StringIO()) as printed:  # it prints what it cannot load
                onnxruntime.preload_dlls()
            log.debug("loading CUDA: %s", printed.getvalue().strip() or "done")
        try:
            session = _create(graph, options, [(CUDA, settings), "CPUExecutionProvider"])
        except SessionError as error:
            reason = str(error)
        else:
            if session.get_providers()[0] == CUDA:
                return session
            reason = "the CUDA or cuDNN libraries could not be loaded"
    if device != "auto":
        raise SessionError(
            f"Device {device!r} is not available: {reason}; `pip uninstall -y onnxruntime`, then "
            "`pip install 'onnxruntime-gpu[cuda,cudnn]'`, or use device 'cpu'."
        )
    log.debug("running on the CPU: %s", reason)
    return None


def _create(
    graph: bytes, options: Any, providers: list[Any], disabled: Sequence[str] = ()
) -> onnxruntime.InferenceSession:
    import onnxruntime

    try:
        # The fall-back would print, try again, and run on another device than asked for.
        session = onnxruntime.InferenceSession(
            graph, options, providers=providers, disabled_optimizers=list(disabled), enable_fallback=0
        )
    except Exception as error:  # onnxruntime's exceptions share no narrower type
        raise session_error("onnxruntime refuses the graph", error) from error
    # The bytes of the graph, with all weights, are kept for the fall-back only.
    session._model_bytes = None  # pyright: ignore[reportPrivateUsage]
    return session


def session_error(what: str, error: Exception) -> SessionError:
    """Convert an error of onnxruntime; it has no type for a shortage of memory, only messages."""
    text = _one_line(error)
    if isinstance(error, MemoryError) or any(part in text for part in _OUT_OF_MEMORY):
        return MemoryShortage("Not enough memory: choose a smaller size, or give a budget with --memory.")
    return SessionError(f"{what}: {text}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
