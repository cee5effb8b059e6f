"""Open sessions of onnxruntime on the CPU or a card."""

from __future__ import annotations

import contextlib
import io
import logging
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import MemoryShortage, SessionError
from ..native.library import Library
from ..settings.options import Device

if TYPE_CHECKING:
    import onnxruntime

log = logging.getLogger(__name__)

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


def card_number(device: Device) -> int:
    """Return the number of the card that a device names, 0 if it names none."""
    return int(device.partition(":")[2] or 0)


def open_session(
    graph: bytes, device: Device, threads: int, *, plain: bool, operators: Library | None
) -> onnxruntime.InferenceSession:
    """Open a session.

    Parameters
    ----------
    graph : bytes
        A serialised model.
    device, threads, operators
        As in `lbfgs_style.objective.session.Session`.
    plain : bool
        Whether onnxruntime is to leave all tensors in the plain layout on the CPU.

    Raises
    ------
    SessionError
        `device` is ``cuda`` and CUDA does not work here, or onnxruntime refuses the graph.
    """
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


def _open_cuda(graph: bytes, options: Any, device: Device) -> onnxruntime.InferenceSession | None:
    """Open a session on CUDA; where that fails, return None if `device` is ``auto``, else raise SessionError.

    onnxruntime lists CUDA even where its libraries are missing, and then silently runs on the CPU. So the
    provider of the finished session decides.
    """
    import onnxruntime

    reason = "this onnxruntime is built without CUDA"
    settings = {**_CUDA_OPTIONS, "device_id": str(card_number(device))}
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
