"""Locks on open files. The operating system releases them when the process ends, however it ends.

So a lock that a killed process leaves behind never has to be cleaned up, or judged by its age.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

if sys.platform == "win32":
    import msvcrt

    FAR = 1 << 30  # position of the locked byte: Windows lets no other process read a locked byte
else:
    import fcntl


def open_for_lock(path: Path, flags: int = 0) -> int:
    """Open a file for reading and writing, and return its file descriptor.

    Args:
        path: The file.
        flags: Further flags of `os.open`, such as `os.O_CREAT`.
    """
    return os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0) | flags, 0o644)


def try_lock(handle: int) -> bool:
    """Lock an open file, unless it is locked through another descriptor, in any process.

    Args:
        handle: The file descriptor. Closing it releases the lock.

    Returns:
        Whether the file is locked through this descriptor now.

    Raises:
        OSError: If the file system has no locks.
    """
    try:
        if sys.platform == "win32":
            os.lseek(handle, FAR, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
            os.lseek(handle, 0, os.SEEK_SET)
        else:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def remove(handle: int, path: Path) -> None:
    """Remove a file that is locked through a descriptor, and close the descriptor.

    It is no error if the file cannot be removed.

    Args:
        handle: The file descriptor.
        path: Path of the same file.
    """
    # Windows removes no open file. Elsewhere the file goes first, so that no other process locks it
    # before it goes.
    if sys.platform == "win32":
        os.close(handle)
        with suppress(OSError):
            path.unlink()
    else:
        with suppress(OSError):
            path.unlink()
        os.close(handle)
