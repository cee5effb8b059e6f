"""Memory: what the machine has left, as the operating system tells it, and what it gets back."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

_CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
"""Limit and use of a container, versions 2 and 1."""


def available_memory() -> int | None:
    """Return the bytes that this process may still take without others having to give way.

    On Linux what is available, no more than the limit of a container or of the process (``ulimit -v``)
    leaves; on Windows what is free; on other systems half of what is built in. None where that cannot be
    found out.
    """
    if sys.platform == "linux":
        found = [v for v in (_from_meminfo(), _from_cgroup(), _from_limit()) if v is not None]
        return min(found, default=None)
    if sys.platform == "win32":
        return _from_windows()
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError, OSError):
        return None


def trim() -> None:
    """Give back what building a graph took: glibc keeps freed memory for itself, thrice the weights here."""
    if sys.platform == "linux":
        malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries do so themselves
        if malloc_trim is not None:
            malloc_trim(0)


def _from_meminfo(path: str = "/proc/meminfo") -> int | None:
    try:
        lines = Path(path).read_text("ascii").splitlines()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(fields["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in fields else None


def _from_cgroup() -> int | None:
    for limit, used in _CGROUPS:
        try:
            most, now = Path(limit).read_text("ascii").strip(), Path(used).read_text("ascii").strip()
        except OSError:
            continue
        return max(0, int(most) - int(now)) if most.isdigit() and now.isdigit() else None
    return None


def _from_limit() -> int | None:
    if sys.platform != "linux":
        return None
    import resource

    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most == resource.RLIM_INFINITY:
        return None
    try:
        used = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
    except OSError:
        return None
    return max(0, most - used)


def _from_windows() -> int | None:
    if sys.platform != "win32":
        return None

    class Status(ctypes.Structure):
        """MEMORYSTATUSEX of the Windows API."""

        _fields_ = [
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((name, ctypes.c_ulonglong) for name in ("total", "available", "a", "b", "c", "d", "e")),
        ]

    status = Status()
    status.length = ctypes.sizeof(Status)
    if not ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None
    return int(status.available)
