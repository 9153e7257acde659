"""How much memory the computer has, and how much of it is free; without any package."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")  # a container's limit, which /proc/meminfo does not know


def ram() -> tuple[int, int]:
    """Free and total bytes. Free is what programs can have without swapping, file caches included.

    Where the system does not tell what is free (macOS), half of the total stands for it.
    """
    if sys.platform == "win32":
        return _windows()
    found = _meminfo(Path("/proc/meminfo"))
    if found is None:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return total // 2, total
    return _limited(found, _CGROUP)


def _meminfo(path: Path) -> tuple[int, int] | None:
    try:
        lines = dict(line.split(":", 1) for line in path.read_text(encoding="ascii").splitlines() if ":" in line)
        return tuple(int(lines[name].split()[0]) * 1024 for name in ("MemAvailable", "MemTotal"))
    except (OSError, KeyError, ValueError, IndexError):
        return None


def _limited(found: tuple[int, int], folder: Path) -> tuple[int, int]:
    """No more than the container may have (control groups, second version)."""
    free, total = found
    try:
        limit = int((folder / "memory.max").read_text(encoding="ascii"))
        used = int((folder / "memory.current").read_text(encoding="ascii"))
        cached = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines())
        left = limit - used + int(cached.get("inactive_file", 0))  # given up before anything is killed
    except (OSError, ValueError):  # no control group, or none with a limit
        return found
    return max(0, min(free, left)), min(total, limit)


def _windows() -> tuple[int, int]:
    import ctypes

    class Status(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ulong), ("load", ctypes.c_ulong)] + [
            (name, ctypes.c_ulonglong)
            for name in ("total", "free", "page_total", "page_free", "virtual_total", "virtual_free", "extended")
        ]

    status = Status(length=ctypes.sizeof(Status))
    ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
    return status.free, status.total
