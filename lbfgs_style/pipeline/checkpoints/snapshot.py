"""Snapshots: the state of a run as a file, from which another process can resume it.

A NumPy archive without pickles: the variables at full precision, the losses so far, and JSON for the rest.
The checksums of the archive detect a damaged file.
"""

from __future__ import annotations

import io
import json
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from ...errors import CheckpointError
from ...objective.evaluation import Value
from ...optimization.lbfgs import STOP_REASONS
from ...optimization.state import BlockwiseState, FinishedBlocks, OptimizerState
from ...system.files import atomic_write
from ...system.npz import (
    check_array,
    check_count,
    check_nonnegative,
    check_number,
    read_arrays,
    read_int,
    read_text,
)
from ...system.threads import NEVER, Cancellation
from ..plan.memory import MethodKind, ScaleMethod
from ..plan.scales import Scale, ScaleResult

_FORMAT = 3
# Characters of the JSON text.
_LONGEST = 2**24
# Bytes written between two syncs to disk.
_PIECE = 2**26


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """A run after one of its iterations.

    Attributes
    ----------
    scale : int
        The current scale, 0-based.
    scales, methods : tuple
        Every scale of the run, and its method.
    seconds, scale_seconds : float
        Spent on the run, and on the current scale.
    history : sequence of float
        The loss after each iteration, over all scales.
    term_history : sequence of array
        The terms after each iteration.
    results : tuple of ScaleResult
        The finished scales.
    resumed : int
        How many times the run was resumed.
    state : OptimizerState or BlockwiseState
        State of the optimiser.
    """

    scale: int
    scales: tuple[Scale, ...]
    methods: tuple[ScaleMethod, ...]
    seconds: float
    scale_seconds: float
    history: Sequence[float]
    term_history: Sequence[NDArray[np.float32]]
    results: tuple[ScaleResult, ...]
    resumed: int
    state: OptimizerState | BlockwiseState


def temporary_of(path: Path) -> Path:
    """Return the temporary path of a snapshot that will replace the one at `path`."""
    target = path.resolve()
    return target.with_name(f".{uuid.uuid5(uuid.NAMESPACE_URL, target.name).hex}.checkpoint")


def size_of(snapshot: Snapshot) -> int:
    """Return the bytes of a snapshot's file without the losses."""
    state, image = snapshot.state, 0
    if isinstance(state, BlockwiseState):
        image = state.image.nbytes + state.before.nbytes
        image += sum(array.nbytes for array in state.reference.values())
        state = state.block
    best = 0 if state.best_z is state.z else state.best_z.nbytes
    return image + state.z.nbytes + best + sum(array.nbytes for array in state.memory.values())


class _File(io.BufferedWriter):
    """A file whose writes raise `Cancelled` once the run is cancelled, and that is synced piece by piece.

    One sync at the end could take seconds in which nothing can be cancelled.
    """

    def __init__(self, path: Path, cancellation: Cancellation) -> None:
        super().__init__(io.FileIO(path, "wb"))
        self._cancellation, self._waiting = cancellation, 0

    def write(self, data: Any, /) -> int:
        self._cancellation.check()
        count = super().write(data)
        self._waiting += count
        if self._waiting > _PIECE:
            self.sync()
        return count

    def sync(self) -> None:
        self.flush()
        os.fsync(self.fileno())
        self._waiting = 0


def write(
    path: Path, snapshot: Snapshot, identity: Mapping[str, Any], cancellation: Cancellation = NEVER
) -> None:
    """Write a snapshot and the fingerprints of its run, completely or not at all.

    Raises
    ------
    OSError
        The file cannot be written.
    Cancelled
        `cancellation` was requested before the file was complete.
    """
    state, blocks = snapshot.state, None
    arrays: dict[str, Any] = {}
    if isinstance(state, BlockwiseState):
        done = state.finished
        blocks = {
            "done": None if done is None else asdict(done) | _values(done),
            "best": _value(state.best),
        }
        arrays |= {"image": state.image, "before": state.before}
        arrays |= {f"sum_{name}": array for name, array in state.reference.items()}
        state = state.block
    arrays["z"] = np.asarray(state.z, np.float64)
    if state.best_z is not state.z:
        arrays["best_z"] = np.asarray(state.best_z, np.float64)
    arrays |= {f"memory_{name}": array for name, array in state.memory.items()}
    about = {
        "identity": identity,
        "scale": snapshot.scale,
        "scales": [[*scale.size, scale.iterations] for scale in snapshot.scales],
        "ways": [_method_to_json(method) for method in snapshot.methods],
        "seconds": snapshot.seconds,
        "scale_seconds": snapshot.scale_seconds,
        "results": [asdict(result) for result in snapshot.results],
        "resumed": snapshot.resumed,
        "start": _value(state.start),
        "best": _value(state.best),
        "iterations": state.iterations,
        "evaluations": state.evaluations,
        "blocks": blocks,
    }
    arrays |= {
        "format": np.array(_FORMAT),
        "about": np.array(json.dumps(about)),
        "history": np.array(snapshot.history, np.float64),
        "term_history": np.array(snapshot.term_history, np.float32),
    }
    name = temporary_of(path).name
    with atomic_write(path, temporary_name=name) as temporary, _File(temporary, cancellation) as file:
        np.savez(file, **arrays)
        file.sync()  # the name must not reach the disk before the content


def read(path: Path) -> tuple[Snapshot, dict[str, Any]]:
    """Read what `write` wrote.

    Raises
    ------
    CheckpointError
        The file cannot be read, is damaged, or of another kind or version.
    """
    try:
        with path.open("rb") as file:
            # Arrays that are not compressed take no more memory than disk.
            arrays = read_arrays(file, most=path.stat().st_size, packed=False)
        if read_int(arrays["format"]) != _FORMAT:
            raise CheckpointError(
                f"{path}: saved by another version of lbfgs-style (format {arrays['format']}, expected "
                f"{_FORMAT}): resume with that version, or start again."
            )
        about: dict[str, Any] = json.loads(read_text(arrays["about"], _LONGEST))
        identity = dict(about["identity"])
        return _snapshot(about, arrays), identity | {"options": dict(identity["options"])}
    except (
        ArithmeticError,
        AttributeError,
        IndexError,
        KeyError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f"{path}: damaged, or no checkpoint; expected a file that a run saved: start again without it."
        ) from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}.") from error


def _snapshot(about: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Snapshot:
    """Return the snapshot in a file, or raise ValueError where its parts do not belong to one run."""
    index, blocks = check_count(about["scale"]), about["blocks"]
    scales = tuple(Scale((height, width), iterations) for height, width, iterations in about["scales"])
    methods = tuple(map(_method, about["ways"]))
    results = tuple(map(_result, about["results"]))
    terms = check_array(arrays["term_history"], np.float32)
    history = check_array(arrays["history"], np.float64, terms.shape[:1])
    z = check_array(arrays["z"], np.float64)
    state: OptimizerState | BlockwiseState = OptimizerState(
        z=z,
        best_z=check_array(arrays.get("best_z", z), np.float64, z.shape),
        start=_restored(about["start"]),
        best=_restored(about["best"]),
        iterations=check_count(about["iterations"]),
        evaluations=check_count(about["evaluations"]),
        memory=_family(arrays, "memory_"),
    )
    values, made = [state.start, state.best], [*(r.iterations for r in results), state.iterations]
    if blocks is not None:
        done = None if blocks["done"] is None else _done(blocks["done"])
        if done is not None:
            values += [done.start, done.end]
            made.append(done.iterations)
        image = check_array(arrays["image"], np.float32, (3, *scales[index].size))
        before = check_array(arrays["before"], np.float32)
        values.append(_restored(blocks["best"]))
        state = BlockwiseState(image, before, _family(arrays, "sum_"), done, values[-1], state)
    if any(value.terms.shape != terms.shape[1:] for value in values):
        raise ValueError("other terms at one time than at another")
    if sum(made) != len(history) or [r.size for r in results] != [s.size for s in scales[:index]]:
        raise ValueError("other iterations than the run made")
    if len(methods) != len(scales) or (methods[index].kind == "blocks") != (blocks is not None):
        raise ValueError("method of another run")
    return Snapshot(
        scale=index,
        scales=scales,
        methods=methods,
        seconds=check_nonnegative(about["seconds"]),
        scale_seconds=check_nonnegative(about["scale_seconds"]),
        history=history.tolist(),
        term_history=list(terms),
        results=results,
        resumed=check_count(about["resumed"]),
        state=state,
    )


def _family(arrays: dict[str, NDArray[Any]], begin: str) -> dict[str, NDArray[np.float64]]:
    """Return the arrays whose names begin with `begin`, by the rest of their names."""
    family = {name.removeprefix(begin): array for name, array in arrays.items() if name.startswith(begin)}
    return {name: check_array(array, np.float64) for name, array in family.items()}


def _method_to_json(method: ScaleMethod) -> dict[str, Any]:
    return {"way": method.kind} | {k: v for k, v in asdict(method).items() if k != "kind"}


def _method(values: dict[str, Any]) -> ScaleMethod:
    fields = dict(values)
    method = ScaleMethod(kind=fields.pop("way"), **fields)
    if method.kind not in get_args(MethodKind) or (method.kind == "whole") != (method.window_pixels is None):
        raise ValueError("unknown method of a scale")
    for number in (method.history, method.bytes, method.window_pixels or 0):
        check_count(number)
    return method


def _result(values: dict[str, Any]) -> ScaleResult:
    if values["stop_reason"] not in STOP_REASONS:
        raise ValueError("unknown stop reason")
    start, end = (
        {str(term): check_number(value) for term, value in values[key].items()}
        for key in ("terms_start", "terms_end")
    )
    return ScaleResult(
        size=tuple(values["size"]),
        iterations=check_count(values["iterations"]),
        evaluations=check_count(values["evaluations"]),
        seconds=check_nonnegative(values["seconds"]),
        loss_start=check_number(values["loss_start"]),
        loss_end=check_number(values["loss_end"]),
        terms_start=start,
        terms_end=end,
        stop_reason=values["stop_reason"],
    )


def _done(values: dict[str, Any]) -> FinishedBlocks:
    counts = {name: check_count(values[name]) for name in ("blocks", "iterations", "evaluations")}
    return FinishedBlocks(**counts, start=_restored(values["start"]), end=_restored(values["end"]))


def _values(done: FinishedBlocks) -> dict[str, Any]:
    return {"start": _value(done.start), "end": _value(done.end)}


def _value(value: Value) -> dict[str, Any]:
    # Python writes numbers so that they come back the same, bit for bit.
    return {"loss": value.loss, "terms": [float(term) for term in value.terms]}


def _restored(value: dict[str, Any]) -> Value:
    return Value(
        check_number(value["loss"]), np.array([check_number(term) for term in value["terms"]], np.float32)
    )
