"""Running graphs: devices, threads, memory, cancelling, errors."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest

from lbfgs_style import SessionError
from lbfgs_style.graphs.builder import GraphBuilder
from lbfgs_style.objective.session import Session
from lbfgs_style.system.threads import Cancellation, Cancelled

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"

without_cuda = pytest.mark.skipif(
    CUDA in onnxruntime.get_available_providers(), reason="is about machines without CUDA"
)
# onnxruntime's own remark when it is asked for a provider that it lacks.
missing_provider = pytest.mark.filterwarnings("ignore:Specified provider:UserWarning")


def doubling() -> onnx.ModelProto:
    """Return the graph y = 2 x + t for x and t of shape [3]."""
    b = GraphBuilder()
    x, t = b.input("x", [3]), b.input("t", [3])
    b.output(b.op("Add", b.op("Mul", x, b.constant(2.0)), t), "y")
    return b.model()


def long_chain(side: int = 1500, products: int = 200) -> onnx.ModelProto:
    """Return x · x · …, seconds of work in steps of tens of milliseconds."""
    b = GraphBuilder()
    x = y = b.input("x", [side, side])
    for _ in range(products):
        y = b.op("MatMul", y, x)
    b.output(y, "y")
    return b.model()


def averaging(side: int = 1500) -> dict[str, np.ndarray]:
    """Return the matrix of 1/n, which is its own square: no product overflows or dies out."""
    return {"x": np.full((side, side), 1 / side, np.float32)}


@pytest.mark.parametrize("device", ["cpu", pytest.param("auto", marks=without_cuda)])
def test_runs_on_the_cpu(device: str) -> None:
    session = Session(doubling(), device=device)
    assert session.provider == CPU
    placed = session.to_device({"t": np.array([1, 1, 2])})
    (y,) = session.run(["y"], {"x": np.array([1, 2, 3], np.float32)}, on_device=placed)
    np.testing.assert_array_equal(y, [3, 5, 8])
    assert y.dtype == np.float32


@pytest.mark.parametrize(("device", "card"), [("cuda", "0"), ("cuda:2", "2"), ("auto", "0")])
@pytest.mark.usefixtures("pretends_cuda")
def test_cuda_is_asked_for_the_card(monkeypatch: pytest.MonkeyPatch, device: str, card: str) -> None:
    asked: list[object] = []

    def refuse(*args: object, providers: list[object], **_: object) -> None:
        asked.append(providers[0])
        raise RuntimeError("no such card")

    monkeypatch.setattr(onnxruntime, "InferenceSession", refuse)
    with pytest.raises(SessionError, match="no such card"):
        Session(doubling(), device=device)
    name, settings = asked[0]
    assert (name, settings["device_id"]) == (CUDA, card)


@without_cuda
def test_cuda_is_an_error_without_it() -> None:
    commands = r"`pip uninstall -y onnxruntime`, then `pip install 'onnxruntime-gpu\[cuda,cudnn\]'`"
    with pytest.raises(SessionError, match=f"'cuda' is not available: .*{commands}.*'cpu'") as e:
        Session(doubling(), device="cuda")
    assert "\n" not in str(e.value)


@pytest.fixture
def pretends_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make onnxruntime list CUDA, as it does where the libraries of CUDA are missing."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])


@without_cuda
@missing_provider
@pytest.mark.usefixtures("pretends_cuda")
def test_silent_fall_back_is_an_error_for_cuda() -> None:
    with pytest.raises(SessionError, match="CUDA or cuDNN libraries could not be loaded; "):
        Session(doubling(), device="cuda")


@without_cuda
@missing_provider
@pytest.mark.usefixtures("pretends_cuda")
def test_silent_fall_back_is_allowed_for_auto() -> None:
    assert Session(doubling(), device="auto").provider == CPU


@without_cuda
@missing_provider
@pytest.mark.usefixtures("pretends_cuda")
def test_nothing_is_printed_where_cuda_cannot_be_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: print("Failed to load libcublas"), raising=False)  # noqa: T201
    Session(doubling(), device="auto")
    assert capsys.readouterr() == ("", "")


def test_cpu_never_asks_for_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> list[str]:
        raise AssertionError("asked for providers")

    monkeypatch.setattr(onnxruntime, "get_available_providers", refuse)
    assert Session(doubling(), device="cpu").provider == CPU


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_threads_and_memory_are_set(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    made: list[onnxruntime.SessionOptions] = []
    original = onnxruntime.InferenceSession

    def capture(graph: bytes, options: onnxruntime.SessionOptions, **more: object) -> object:
        made.append(options)
        return original(graph, options, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", capture)
    Session(doubling(), device="cpu", threads=threads)
    assert made[0].intra_op_num_threads == threads
    assert made[0].enable_mem_pattern is False


@pytest.mark.parametrize("plain", [False, True])
def test_a_plain_model_keeps_the_plain_layout(monkeypatch: pytest.MonkeyPatch, plain: bool) -> None:
    made = onnxruntime.InferenceSession
    disabled: list[object] = []

    def capture(graph: bytes, options: onnxruntime.SessionOptions, **more: object) -> object:
        disabled.append(more["disabled_optimizers"])
        return made(graph, options, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", capture)
    b = GraphBuilder()
    b.is_plain = plain
    b.output(b.op("Neg", b.input("x", [1])), "y")
    Session(b.model(), device="cpu")
    assert disabled == [["NchwcTransformer"] if plain else []]


def test_broken_graph_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    model = doubling()
    model.graph.node[0].op_type = "Mull"
    with pytest.raises(SessionError, match=r"refuses the graph.*Mull") as e:
        Session(model, device="cpu")
    assert "\n" not in str(e.value)
    assert capsys.readouterr().out == ""


def test_onnxruntime_tries_no_other_device(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Left to itself, onnxruntime prints a failure of CUDA and tries again without it."""
    tried: list[object] = []

    def fail(self: object, providers: object, *more: object) -> None:
        tried.append(providers)
        raise RuntimeError("CUDA failure 100")

    monkeypatch.setattr(onnxruntime.InferenceSession, "_create_inference_session", fail)
    with pytest.raises(SessionError, match="CUDA failure 100"):
        Session(doubling(), device="cpu")
    assert len(tried) == 1
    assert capsys.readouterr().out == ""


def test_failing_run_is_reported_in_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    session = Session(doubling(), device="cpu")
    feeds = {"x": np.ones(3, np.float32), "t": np.ones((2, 2), np.float32)}
    with pytest.raises(SessionError, match="failed to run the graph") as e:
        session.run(["y"], feeds)
    assert "\n" not in str(e.value)
    assert capfd.readouterr() == ("", "")  # onnxruntime would print it as well


class Watched:
    """Stands in for onnxruntime's session: notes how a run ended, does something when it begins."""

    def __init__(self, session: Session, on_start: Callable[[], None] = lambda: None) -> None:
        self._inner, self._on_start = session.inference_session, on_start
        self.events: list[str] = []
        session.inference_session = self

    def io_binding(self) -> object:
        return self._inner.io_binding()

    def run_with_iobinding(self, binding: object, options: object) -> None:
        self.events.append("started")
        self._on_start()
        try:
            self._inner.run_with_iobinding(binding, options)
        except Exception:
            self.events.append("terminated")
            raise
        self.events.append("finished")


@pytest.mark.parametrize("when", ["before", "during"])
def test_cancel_ends_a_run(when: str) -> None:
    cancel = threading.Event()
    session = Session(long_chain(), device="cpu")
    if when == "before":
        cancel.set()
    watched = Watched(session, on_start=cancel.set)
    with pytest.raises(Cancelled):
        session.during(Cancellation(cancel)).run(["y"], averaging())
    assert watched.events == ([] if when == "before" else ["started", "terminated"])


def test_session_works_after_a_cancelled_run() -> None:
    session = Session(doubling(), device="cpu")
    feeds = {"x": np.ones(3, np.float32), "t": np.ones(3, np.float32)}
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled):
        session.during(Cancellation(cancel)).run(["y"], feeds)
    np.testing.assert_array_equal(session.run(["y"], feeds)[0], [3, 3, 3])


def test_ctrl_c_leaves_no_run_behind() -> None:
    class CtrlC(threading.Event):
        """Raises in the waiting thread, where a signal would."""

        def is_set(self) -> bool:
            if watched.events:
                raise KeyboardInterrupt
            return False

    session = Session(long_chain(), device="cpu")
    watched = Watched(session)
    with pytest.raises(KeyboardInterrupt):
        session.during(Cancellation(CtrlC())).run(["y"], averaging())
    assert watched.events == ["started", "terminated"]


def test_runs_from_several_threads_agree() -> None:
    session = Session(long_chain(side=64, products=20), device="cpu", threads=1)
    rng = np.random.default_rng(4)
    pictures = [rng.uniform(0, 2 / 64, (64, 64)).astype(np.float32) for _ in range(4)]
    alone = [session.run(["y"], {"x": x})[0] for x in pictures]
    together: dict[tuple[int, int], np.ndarray] = {}
    barrier = threading.Barrier(4)

    def work(index: int) -> None:
        barrier.wait()
        for turn in range(5):
            together[index, turn] = session.run(["y"], {"x": pictures[index]})[0]

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(together) == 20
    for (index, _), result in together.items():
        np.testing.assert_array_equal(result, alone[index])


def test_a_session_does_not_hold_its_graph_twice():
    """onnxruntime's Python class keeps the bytes that it was made of, for a fall-back that is turned off."""
    b = GraphBuilder()
    b.output(b.op("Add", b.input("x", [1000]), b.constant(np.ones(1000))), "y")
    session = Session(b.model(), device="cpu")
    held = vars(session.inference_session).values()
    assert not any(isinstance(value, bytes) for value in held)
    np.testing.assert_array_equal(session.run(["y"], {"x": np.zeros(1000, np.float32)})[0], np.ones(1000))
