"""Running a graph: the only module that knows onnxruntime; devices, threads, memory, cancelling.

A run happens in a worker thread, since onnxruntime lets no signal in until it is done: a Ctrl-C, or an event
that another thread sets, terminates it within tens of milliseconds.
"""

from __future__ import annotations

import contextlib
import io
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MemoryShortage, SessionError
from ..graphs.builder import GraphBuilder, is_plain
from ..settings.options import Device
from ..system.memory import trim_heap
from ..system.threads import Cancelled

if TYPE_CHECKING:
    import onnx
    import onnxruntime

log = logging.getLogger(__name__)

Array = NDArray[np.float32]

CUDA = "CUDAExecutionProvider"

_CUDA_OPTIONS = {
    # TensorFloat-32 keeps 10 bits of the mantissa: too few for the differences that L-BFGS lives on.
    "use_tf32": "0",
    "cudnn_conv_algo_search": "HEURISTIC",
}


# What onnxruntime says when the system gives it no memory.
_WANT_OF_MEMORY = ("bad_alloc", "bad allocation", "Failed to allocate memory", "bad array new length")

# The step of onnxruntime's that puts features into blocks of channels.
_INTO_BLOCKS = "NchwcTransformer"

_sharing = threading.Lock()
_is_shared = False


class Session:
    """A graph made ready to run.

    Parameters
    ----------
    model : onnx.ModelProto
        The graph.
    device : {"auto", "cpu", "cuda"}
        ``auto`` takes CUDA where it works, else the CPU.
    threads : int
        Threads of an operator; 0 leaves the choice to onnxruntime (one for each physical core).
    fixed : mapping of str to array, optional
        Inputs that are the same in every run. On the CPU they are used where they lie, not copied.
    shrink : bool
        Give the memory of tensors back after each run: for sessions that take turns.

    Attributes
    ----------
    provider : str
        What really runs, as in ``CPUExecutionProvider``.

    Raises
    ------
    SessionError
        CUDA was asked for and does not work here, or onnxruntime refuses the graph.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        *,
        device: Device = "auto",
        threads: int = 0,
        fixed: Mapping[str, NDArray[Any]] | None = None,
        shrink: bool = False,
    ) -> None:
        self._session = _open(model.SerializeToString(), device, threads, is_plain(model))
        self.provider: str = self._session.get_providers()[0]
        self._where = "cuda" if self.provider == CUDA else "cpu"
        self._fixed = self.place(fixed or {})
        self._shrink = shrink and self._where == "cpu"

    def place(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, onnxruntime.OrtValue]:
        """Bring inputs that stay the same over many runs to the device, for `run`.

        On the CPU an array that is float32 and C-contiguous stays where it is: leave it unchanged.
        """
        import onnxruntime

        return {
            name: onnxruntime.OrtValue.ortvalue_from_numpy(
                np.ascontiguousarray(array, np.float32), self._where
            )
            for name, array in inputs.items()
        }

    def run(
        self,
        outputs: Sequence[str],
        inputs: Mapping[str, Array],
        *,
        placed: Mapping[str, onnxruntime.OrtValue] | None = None,
        cancel: threading.Event | None = None,
    ) -> list[Array]:
        """Run the graph.

        Parameters
        ----------
        outputs : sequence of str
            Names of the outputs wanted.
        inputs : mapping of str to array
            float32, C-contiguous.
        placed : mapping, optional
            More inputs, made by `place`.
        cancel : threading.Event, optional
            Once set, the run ends with `Cancelled`.

        Returns
        -------
        list of array
            The outputs, on the CPU.

        Raises
        ------
        SessionError
            If onnxruntime fails, for instance for want of memory.
        Cancelled
            If `cancel` was set.
        """
        import onnxruntime

        if cancel is not None and cancel.is_set():
            raise Cancelled
        binding = self._session.io_binding()
        for name, value in {**self._fixed, **(placed or {})}.items():
            binding.bind_ortvalue_input(name, value)
        for name, array in inputs.items():
            binding.bind_cpu_input(name, array)
        for name in outputs:
            binding.bind_output(name, "cpu")
        options = onnxruntime.RunOptions()
        if self._shrink:
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        _run_interruptibly(lambda: self._session.run_with_iobinding(binding, options), options, cancel)
        return binding.copy_outputs_to_cpu()


def resolved(device: Device) -> Device:
    """Return what `device` comes down to here: ``cpu`` or ``cuda``.

    Raises
    ------
    SessionError
        CUDA was asked for and does not work here.
    """
    if device == "cpu":
        return device
    b = GraphBuilder()
    b.output(b.input("x", [1]), "y")
    return "cuda" if Session(b.model(), device=device).provider == CUDA else "cpu"


def _run_interruptibly(work: Callable[[], object], options: Any, cancel: threading.Event | None) -> None:
    failures: list[Exception] = []

    def target() -> None:
        try:
            work()
        except Exception as error:  # handed to the caller's thread below
            failures.append(error)

    worker = threading.Thread(target=target, name="onnxruntime", daemon=True)
    try:
        worker.start()
    except RuntimeError as error:  # a limit of threads or of memory
        raise SessionError(
            "The system starts no more threads: end other programs, or raise the limit of processes or of "
            "memory."
        ) from error
    try:
        while worker.is_alive():
            worker.join(0.05)
            if cancel is not None and cancel.is_set():
                options.terminate = True
    except BaseException:  # KeyboardInterrupt: leave no run behind that still writes into our arrays
        options.terminate = True
        worker.join()
        raise
    if cancel is not None and cancel.is_set():
        raise Cancelled
    if failures:
        raise _failure("onnxruntime failed to run the graph", failures[0]) from failures[0]


def _open(graph: bytes, device: Device, threads: int, plain: bool) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what fails is raised; printing is not the library's to do
    # Planning memory by pattern doubles the memory of activations from the second run on, for no speed.
    options.enable_mem_pattern = False
    # A buffer that another tensor of its shape will take over later is not given back in between: a graph
    # whose way back mirrors its way forth then keeps nearly all of them.
    options.enable_mem_reuse = False
    if device != "cpu":
        session = _open_cuda(graph, options, required=device == "cuda")
        if session is not None:
            return session
    _share_memory()
    options.add_session_config_entry("session.use_env_allocators", "1")
    return _create(graph, options, ["CPUExecutionProvider"], [_INTO_BLOCKS] if plain else [])


def _share_memory() -> None:
    """Let all sessions on the CPU take their memory from one allocator, for the rest of the process.

    Sessions of tiles, of scales and of targets take turns: each with an allocator of its own would hold
    what its largest run took.
    """
    import onnxruntime

    global _is_shared
    with _sharing:
        if _is_shared:
            return
        _is_shared = True
        kind = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR
        where = onnxruntime.OrtMemoryInfo("Cpu", kind, 0, onnxruntime.OrtMemType.DEFAULT)
        defaults = dict.fromkeys(("arena_extend_strategy", "initial_chunk_size_bytes"), -1)
        settings = onnxruntime.OrtArenaCfg({"max_mem": 0, **defaults, "max_dead_bytes_per_chunk": -1})
        try:
            onnxruntime.create_and_register_allocator(where, settings)
        except Exception as error:  # onnxruntime's exceptions share no narrower type
            # The program around us has registered one already: that one will do.
            log.debug("sharing an allocator: %s", _one_line(error))


def give_back() -> None:
    """Return to the system what runs on the CPU have taken and no session holds any more."""
    b = GraphBuilder()
    b.output(b.input("x", [1]), "y")
    nothing = Session(b.model(), device="cpu", threads=1, shrink=True)
    nothing.run(["y"], {"x": np.zeros(1, np.float32)})
    trim_heap()


def _open_cuda(graph: bytes, options: Any, *, required: bool) -> onnxruntime.InferenceSession | None:
    """Open a session on CUDA; where that fails, return None or raise.

    onnxruntime lists CUDA even where its libraries are missing, and then runs on the CPU in silence: what
    the session says after it was made is what counts.
    """
    import onnxruntime

    reason = "this onnxruntime is built without CUDA"
    if CUDA in onnxruntime.get_available_providers():
        if hasattr(onnxruntime, "preload_dlls"):
            with contextlib.redirect_stdout(io.StringIO()) as printed:  # it prints what it cannot load
                onnxruntime.preload_dlls()
            log.debug("loading CUDA: %s", printed.getvalue().strip() or "done")
        try:
            session = _create(graph, options, [(CUDA, _CUDA_OPTIONS), "CPUExecutionProvider"])
        except SessionError as error:
            reason = str(error)
        else:
            if session.get_providers()[0] == CUDA:
                return session
            reason = "the CUDA or cuDNN libraries could not be loaded"
    if required:
        raise SessionError(
            f"Device 'cuda' is not available: {reason}; `pip uninstall -y onnxruntime`, then "
            "`pip install 'onnxruntime-gpu[cuda,cudnn]'`, or use device 'cpu'."
        )
    log.debug("running on the CPU: %s", reason)
    return None


def _create(
    graph: bytes, options: Any, providers: list[Any], disabled: Sequence[str] = ()
) -> onnxruntime.InferenceSession:
    import onnxruntime

    try:
        # Its fall-back prints, tries again and runs elsewhere than asked.
        session = onnxruntime.InferenceSession(
            graph, options, providers=providers, disabled_optimizers=list(disabled), enable_fallback=0
        )
    except Exception as error:  # onnxruntime's exceptions share no narrower type
        raise _failure("onnxruntime refuses the graph", error) from error
    # It keeps the graph for that fall-back alone: all weights once more.
    session._model_bytes = None  # pyright: ignore[reportPrivateUsage]
    return session


def _failure(what: str, error: Exception) -> SessionError:
    """Return the error of ours for one of onnxruntime's, which has no type for a want of memory."""
    text = _one_line(error)
    if isinstance(error, MemoryError) or any(word in text for word in _WANT_OF_MEMORY):
        return MemoryShortage("Not enough memory: choose a smaller size, or give a budget with --memory.")
    return SessionError(f"{what}: {text}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
