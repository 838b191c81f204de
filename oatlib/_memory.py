"""Compare the memory that data need with the memory that is available.

A data set is held in memory as a whole. Without this check, too many images first fill the memory
for minutes, and then the operating system ends the program.
"""

from __future__ import annotations

import ctypes
import math
import os
import sys
from pathlib import Path

# Limits of a container, in bytes: control groups of version 2 and of version 1.
CONTAINER_LIMITS = (
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
)


def check_memory(
    name: str, sizes: dict[str, int], shape: tuple[int, int, int], copies: float
) -> None:
    """Raise a ValueError if images would not fit into the available memory.

    Args:
        name: Name of the data set, for the message.
        sizes: Number of images by split.
        shape: Shape (C, H, W) of one image.
        copies: Largest memory in use while they are loaded, in multiples of the float32 images.
    """
    count = sum(sizes.values())
    needed = count * math.prod(shape) * 4 * copies
    available = available_memory()
    if needed > available:
        wanted = ", ".join(f"n_{part}={n}" for part, n in sizes.items())
        raise ValueError(
            f"{name}: {count:,} images of {'x'.join(map(str, shape))} ({wanted}) need about "
            f"{_gigabytes(needed)} of memory, and {_gigabytes(available)} are available: ask for "
            "fewer or smaller images"
        )


def available_memory() -> float:
    """Return how many bytes of memory a program can still use on this machine.

    Without a system call for it (macOS), it is the memory of the machine. Infinity if nothing is
    known.
    """
    if sys.platform == "win32":
        return _of_windows()
    limits = [_of_linux() or _of_machine()]
    for path in CONTAINER_LIMITS:
        text = _text(path)
        if text.isdigit():
            limits.append(float(text))
    return min(limits)


def _of_linux() -> float:
    """Return the entry MemAvailable of Linux in bytes, or 0 if there is none.

    `os.sysconf` only knows free memory without the caches, which the system gives back on demand.
    """
    for line in _text("/proc/meminfo").splitlines():
        key, _, value = line.partition(":")
        if key == "MemAvailable":
            return 1024.0 * int(value.split()[0])  # given in KiB
    return 0.0


def _of_machine() -> float:
    """Return the memory of this machine in bytes, or infinity if the system does not say."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return math.inf


def _of_windows() -> float:
    """Return the available physical memory of Windows in bytes."""

    class Status(ctypes.Structure):  # MEMORYSTATUSEX of the Windows API
        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            ("total", ctypes.c_ulonglong),
            ("available", ctypes.c_ulonglong),
            ("others", ctypes.c_ulonglong * 5),
        )

    status = Status(length=ctypes.sizeof(Status))
    kernel = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined]
    if not kernel.GlobalMemoryStatusEx(ctypes.byref(status)):
        return math.inf
    return float(status.available)


def _text(path: str) -> str:
    """Return the content of a file of the system, or "" if it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _gigabytes(size: float) -> str:
    """Return a number of bytes as text, such as "1,400 GB" or "0.3 GB"."""
    value = size / 1e9
    return f"{value:,.0f} GB" if value >= 10 else f"{value:.1f} GB"
