"""Who may speak on the control socket: the user whom the supervisor runs as, and root. The kernel says who it is.

The socket's mode keeps others out already; this holds when mode or folder were opened by mistake.
"""

import os
import socket
import struct
from collections.abc import Callable
from typing import Any

import structlog

log = structlog.get_logger()

_CREDENTIALS = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid, as they were at connect(2)


def credentials(connection: socket.socket) -> tuple[int, int]:
    """pid and uid of the other end of a UNIX socket (SO_PEERCRED)."""
    pid, uid, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return pid, uid


def may_speak(uid: int) -> bool:
    return uid in (0, os.geteuid())


def guarded(channel: Callable[..., Any]) -> Callable[..., Any]:
    """What makes a channel of an accepted connection, for those alone who may speak; others are closed, unanswered."""

    def make(server: Any, connection: socket.socket, address: Any) -> Any:
        try:
            pid, uid = credentials(connection)
        except OSError:  # it has gone
            connection.close()
            return None
        if not may_speak(uid):
            log.warning("control.refused", uid=uid, pid=pid)
            connection.close()
            return None
        return channel(server, connection, address)

    return make
