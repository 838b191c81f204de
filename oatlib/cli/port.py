"""Check a port of this machine before something is started on it."""

from __future__ import annotations

import errno
import os
import socket

HOST = "127.0.0.1"
LAST = 65535  # the largest port
TRIED = 100  # ports after a busy one that are tried, to suggest a free one


def check_port(port: int) -> None:
    """Raise a ValueError if a server cannot listen on a port. Suggest one that is free.

    Args:
        port: A port of 127.0.0.1. 0 stands for any free one.
    """
    if port == 0:
        return
    failure = _failure(port)
    if not failure:
        return
    following = range(port + 1, min(port + TRIED, LAST) + 1)
    free = next((other for other in following if not _failure(other)), 0)
    remedy = f"use --port {free}, or leave" if free else "leave"
    raise ValueError(f"port {port} {failure}: {remedy} --port out for any free one")


def _failure(port: int) -> str:
    """Return why a server cannot listen on a port, or "" if it can."""
    with socket.socket() as probe:
        if os.name == "posix":
            # As servers do: a port whose last connection was closed a moment ago is free. On
            # Windows this option would allow to take over the port of another program.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM):
                return "is reserved for the system"
            return "is busy"
    return ""
