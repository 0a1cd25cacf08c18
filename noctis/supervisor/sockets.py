"""Listening sockets: bound here, owned by the parent, and handed to its next image when it executes itself anew.

Takes the address and backlog of all ports. Refuses with a sentence for the operator: who holds the port, or what is
missing.
"""

import errno
import os
import socket
import stat
import time
from collections.abc import Iterable

from noctis.supervisor.ports import Holder, all_who_listen

HANDED_OVER = "_NOCTIS_LISTENING"  # environment: `address,port,descriptor;…` from the image before
HOLDERS_SECONDS = 2.0  # how long one look at all processes is good for: many ports may be taken at once


class Sockets:
    """The supply of listening sockets."""

    def __init__(self, address: str, backlog: int) -> None:
        self._address = address
        self._backlog = backlog
        self._inherited: dict[int, int] = {}  # port → descriptor
        self._holders: dict[int, list[Holder]] = {}
        self._holders_at = float("-inf")

    def adopt(self) -> None:
        """Take over what the image before this one has handed over, if there was one."""
        for part in filter(None, os.environ.pop(HANDED_OVER, "").split(";")):
            address, port, number = part.rsplit(",", 2)
            descriptor = int(number)
            if not _is_socket(descriptor):
                continue
            os.set_inheritable(descriptor, False)
            if address == self._address:
                self._inherited[int(port)] = descriptor
            else:
                os.close(descriptor)  # the address was changed

    def close_leftovers(self) -> None:
        """Close what was taken over and belongs to nobody any more."""
        for descriptor in self._inherited.values():
            os.close(descriptor)
        self._inherited.clear()

    def hand_over(self, sockets: Iterable[tuple[int, socket.socket]]) -> None:
        """Leave sockets, each with its port, to the next image."""
        kept = []
        for port, sock in sockets:
            sock.set_inheritable(True)
            kept.append(f"{self._address},{port},{sock.fileno()}")
        os.environ[HANDED_OVER] = ";".join(kept)

    def listen(self, port: int) -> socket.socket:
        """A listening socket, the one that was taken over if there is one.

        Raises
        ------
        OSError
            The port is taken, or the address is not this machine's.
        """
        descriptor = self._inherited.pop(port, None)
        if descriptor is None:
            return listen(self._address, port, self._backlog)
        sock = socket.socket(fileno=descriptor)
        sock.listen(self._backlog)  # which may have been changed
        sock.setblocking(False)
        return sock

    def explain(self, port: int, error: OSError) -> str:
        """Why `listen` failed, for the operator."""
        if error.errno == errno.EADDRINUSE:
            holders = ", ".join(str(holder) for holder in self._holders_of(port)) or "somebody who has just gone"
            return f"Port already in use: {port} is held by {holders}"
        if error.errno == errno.EACCES:
            return f"Permission denied: port {port} needs a privilege that this user has not"
        if error.errno == errno.EADDRNOTAVAIL:
            return f"port {port} cannot be bound: {self._address} is not an address of this machine"
        return f"port {port} cannot be bound: {error.strerror}"

    def _holders_of(self, port: int) -> list[Holder]:
        now = time.monotonic()
        if now - self._holders_at > HOLDERS_SECONDS:
            self._holders, self._holders_at = all_who_listen(), now
        return self._holders.get(port, [])


def _is_socket(descriptor: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(descriptor).st_mode)
    except OSError:
        return False


def listen(address: str, port: int, backlog: int) -> socket.socket:
    """A new listening socket; one on `::` takes IPv4 callers too.

    Raises
    ------
    OSError
        The port is taken, or the address is not this machine's.
    """
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind((address, port))
        sock.listen(backlog)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock
