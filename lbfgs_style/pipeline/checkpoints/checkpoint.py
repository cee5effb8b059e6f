"""Checkpoints: save a run from time to time, and resume it after an interruption."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from numbers import Real  # NumPy's numbers are registered as such
from pathlib import Path
from typing import Any, Self

from ...errors import CheckpointError, OptionError, printable
from ...settings.options import Options
from ...system.files import why_unwritable
from ...system.locks import is_locked, try_lock
from ...system.threads import NEVER, Cancellation
from .snapshot import Snapshot, read, size_of, temporary_of, write

log = logging.getLogger(__name__)

# Seconds from one save to the next by default.
SELDOM = 30.0

# Share of the run's time that saving may take by default.
_SHARE = 0.02

# Seconds of a run before its whole time is estimated; setup dominates before.
_SETTLED = 10.0

# Bytes of a snapshot that is saved within a tenth of a second.
QUICK_BYTES = 2**25

# Differences that a message lists.
_MOST_CHANGES = 12

_IN_USE = (
    "in use by another run that is still going; expected a file of this run alone: wait for that run to end, "
    "or choose another file (--checkpoint)"
)


class Checkpoint:
    """A file to which `lbfgs_style.StyleTransfer.run` saves a run from time to time; serves one run.

    The run locks the file until its end, or within a ``with`` block until that ends, against other runs in
    this process and others.

    Parameters
    ----------
    path : path
        The file. It is always complete: each save is written to a temporary file that then replaces it.
    every : float, optional
        Seconds from one save to the next; 0 saves after each iteration. Without it 30, or more where saving
        would take over 2 % of the time.
    resume : bool
        Resume the run in the file, if there is one. Otherwise an existing file is never replaced.
    after : float, optional
        Save only a run that is expected to take more than this many seconds.
    announce : callable, optional
        Called once when the run is expected to take longer than `after`.

    Attributes
    ----------
    saved : bool
        Whether the file holds this run.

    Raises
    ------
    CheckpointError
        The file cannot be written, exists although `resume` is False, or another run has locked it.
    OptionError
        A number of seconds is negative or not finite.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        every: float | None = None,
        resume: bool = False,
        after: float | None = None,
        announce: Callable[[], None] | None = None,
    ) -> None:
        self.path, self.saved = Path(path), False
        self._every, self._after = _seconds("every", every), _seconds("after", after)
        self._resume, self._announce = resume, announce
        self._is_on = self._after is None
        self._identity: Callable[[], Mapping[str, Any]] | None = None
        self._latest: Snapshot | None = None
        self._cancellation = NEVER
        self._before, self._cost = time.monotonic(), 0.0
        self._lock, self._users, self._is_ours = ExitStack(), 0, False
        problem = why_unwritable(self.path)
        if problem is None and self._is_on and self.is_in_use():
            problem = _IN_USE
        if problem is not None:
            raise CheckpointError(f"The checkpoint {self.path}: {problem}.")
        self._refuse_what_is_there()

    def __enter__(self) -> Self:
        """Keep the lock, once the run has it, until the block ends."""
        self._users += 1
        return self

    def __exit__(self, *_: object) -> None:
        """Release the lock."""
        self._users -= 1
        if self._users == 0:
            self._is_ours = False
            self._lock.close()

    def is_in_use(self) -> bool:
        """Tell whether another run that is not finished has locked the file."""
        try:
            return is_locked(self.path.resolve())
        except OSError:  # reported when this run locks it
            return False

    def _take(self) -> str | None:
        """Lock the file against other runs; return why that failed, or None."""
        if self._is_ours:
            return None
        try:
            self._is_ours = self._lock.enter_context(try_lock(self.path.resolve()))
        except OSError as error:
            return f"cannot be locked: {error.strerror or error}: choose another name or folder"
        return None if self._is_ours else _IN_USE

    def _refuse_what_is_there(self) -> None:
        if self._is_on and not self._resume and self.path.exists():
            raise CheckpointError(
                f"The checkpoint {self.path} is there already: resume it (--resume), or delete it to start "
                "again."
            )

    def begin(
        self, identity: Callable[[], Mapping[str, Any]], cancellation: Cancellation = NEVER
    ) -> Snapshot | None:
        """Return the saved run to resume, or None for a new run.

        Parameters
        ----------
        identity : function
            () → the fingerprints of the run, see `fingerprint_run`. They take time: it is called when needed.
        cancellation : Cancellation, optional
            Ends a save with `Cancelled` once it is requested; the previous save stays.

        Raises
        ------
        CheckpointError
            The file is damaged, the saved run has other inputs or options, or another run has locked the
            file.
        """
        if self._is_on or self._resume:
            problem = self._take()
            if problem is not None:
                raise CheckpointError(f"The checkpoint {self.path}: {problem}.")
            self._refuse_what_is_there()  # another run may have been there since we looked
        known: list[Mapping[str, Any]] = []

        def once() -> Mapping[str, Any]:
            if not known:
                known.append(json.loads(json.dumps(identity())))
            return known[0]

        self._identity, self._cancellation = once, cancellation
        if not self._resume or not self.path.exists():
            return None
        snapshot, saved = read(self.path)
        changes = differences(saved, once())
        if changes:
            more = f"; and {len(changes) - _MOST_CHANGES} more" if len(changes) > _MOST_CHANGES else ""
            raise CheckpointError(
                f"{self.path} was saved by another run: {'; '.join(changes[:_MOST_CHANGES])}{more}. Give the "
                "same, or start again."
            )
        self._is_on = self.saved = True
        return snapshot

    def offer(self, snapshot: Snapshot, share: float) -> None:
        """Save the run if it is time to.

        Parameters
        ----------
        snapshot : Snapshot
            The run after an iteration.
        share : float
            Share of its work that is done, 0 to 1.
        """
        self._latest = snapshot
        if self._after is not None and not self._is_on:
            is_told = snapshot.seconds >= min(_SETTLED, self._after)
            if is_told and snapshot.seconds / share >= self._after:
                self._switch_on()
        pause = max(SELDOM, self._cost / _SHARE) if self._every is None else self._every
        if self._is_on and time.monotonic() - self._before >= pause:
            self.save_latest()

    def _switch_on(self) -> None:
        self._after = None
        problem = self._take()
        if problem is not None:
            log.warning("%s: %s; this run is not saved", self.path, problem)
            return
        if self.path.exists():
            self._is_ours = False
            self._lock.close()
            log.warning("%s: has another unfinished run, so this one is not saved", self.path)
            return
        self._is_on = True
        if self._announce is not None:
            self._announce()

    def save_cancelled(self) -> None:
        """Save a cancelled run where that is quick; of a large one the last save stays."""
        self._cancellation = NEVER
        if self._latest is not None and size_of(self._latest) <= QUICK_BYTES:
            self.save_latest()

    def save_latest(self) -> None:
        """Save the snapshot that was offered last, if the run is saved at all.

        A full disk does not end the run: the failure is logged and saving is tried again later.
        """
        if not self._is_on or self._latest is None or self._identity is None:
            return
        begin = time.monotonic()
        try:
            write(self.path, self._latest, self._identity(), self._cancellation)
            self._latest, self.saved = None, True
        except OSError as error:
            log.warning("%s: cannot be saved: %s", self.path, error.strerror or error)
        self._before = time.monotonic()
        self._cost = self._before - begin

    def forget(self) -> None:
        """Free the snapshot that was offered last, and with it the image: the run has ended."""
        self._latest = None

    def discard(self) -> None:
        """Delete the file, once the result of the run is safe; the file of another run stays."""
        if not self.saved:
            return
        with self:
            if self._take() is None:
                self.path.resolve().unlink(missing_ok=True)
                temporary_of(self.path).unlink(missing_ok=True)  # left by a process that was killed
        self.saved = False


def _seconds(name: str, value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) < math.inf:
        raise OptionError(f"{name} must be a number of seconds, 0 or more, got {value!r}.")
    return float(value)


def differences(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return a line for each difference between two runs, by their fingerprints (`fingerprint_run`)."""
    # A run that was saved before an option existed did what its default does.
    before, after = _DEFAULTS | dict(saved["options"]), _DEFAULTS | dict(now["options"])
    lines = [
        f"{printable(name)} was {_spelled(before.get(name))}, now {_spelled(after.get(name))}"
        for name in dict.fromkeys((*before, *after))
        if before.get(name) != after.get(name)
    ]
    for key in dict.fromkeys((*saved, *now)):
        was, is_now = saved.get(key), now.get(key)
        if key == "options" or was == is_now:
            continue
        name = printable(
            key.replace("init picture", "initial image").replace("picture", "image")
        )  # files say "picture"
        if isinstance(was, float) and isinstance(is_now, float):
            lines.append(f"{name} was {was:g}, now {is_now:g}")
        else:
            change = "is new" if was is None else "is gone" if is_now is None else "changed"
            lines.append(f"the {name} {change}")
    return lines


def _spelled(value: object) -> str:
    return printable(",".join(map(str, value)) if isinstance(value, list) else str(value))


_DEFAULTS: dict[str, Any] = asdict(Options())
