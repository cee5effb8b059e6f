"""Query how much memory a process may still take, and return unused heap to the system."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

# Files with limit and use of a container's memory, in bytes: cgroups version 2, version 1.
_CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def available_memory() -> int | None:
    """Return the bytes that this process can still take without forcing others to swap, or None if unknown.

    On Linux the available memory, within the limits of the container and of the process (``ulimit -v``); on
    Windows the free memory; on other systems half of the physical memory.
    """
    if sys.platform == "linux":
        known = [v for v in (bytes_from_meminfo(), bytes_from_cgroup(), bytes_from_rlimit()) if v is not None]
        return min(known, default=None)
    if sys.platform == "win32":
        return _from_windows()
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError, OSError):
        return None


def trim_heap() -> None:
    """Return freed heap memory to the system, where the C library is glibc.

    glibc keeps freed memory: after a graph is built, three times the size of the network's weights.
    """
    if sys.platform == "linux":
        malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # not in musl
        if malloc_trim is not None:
            malloc_trim(0)


def bytes_from_meminfo(path: str = "/proc/meminfo") -> int | None:
    """Return the bytes that Linux calls available, or None where it does not say."""
    try:
        lines = Path(path).read_text("ascii").splitlines()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(fields["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in fields else None


def bytes_from_cgroup() -> int | None:
    """Return the bytes left below the limit of the container, or None without a limit."""
    for limit_file, usage_file in _CGROUPS:
        try:
            limit, usage = (Path(name).read_text("ascii").strip() for name in (limit_file, usage_file))
        except OSError:
            continue
        # Without a limit, version 2 says "max".
        return max(0, int(limit) - int(usage)) if limit.isdigit() and usage.isdigit() else None
    return None


def bytes_from_rlimit() -> int | None:
    """Return the bytes left below the limit of the process (``ulimit -v``), or None without a limit."""
    if sys.platform != "linux":
        return None
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    try:
        used = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
    except OSError:
        return None
    return max(0, limit - used)


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
