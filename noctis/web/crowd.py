"""Who is connected: at most so many at once, and who makes room when one more comes.

Counted from accept(2) on, so that a TLS handshake that does not come to its end counts too. When all places are taken,
somebody who only waits or keeps us waiting is put out for the newcomer: of the address that has the most connections
the one that has done so for longest. So nobody keeps the others out by holding connections, which costs nothing; a
request that is being answered is never cut off.
"""

import contextlib
import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol

from noctis.users.throttle import network

SWEEP_SECONDS = 1.0  # between two looks at who has gone by itself


class Peer(Protocol):
    """A connection whose handshake is over."""

    @property
    def is_waiting(self) -> bool:
        """Whether nothing is done for it: its request is not there whole, or it does not take its answer."""


class Guest:
    """One connection."""

    def __init__(self, sock: socket.socket, address: str) -> None:
        self.sock = sock
        self.address = address
        self.peer: Peer | None = None

    @property
    def is_waiting(self) -> bool:
        return self.peer is None or self.peer.is_waiting

    @property
    def has_gone(self) -> bool:
        return self.sock.fileno() < 0


class Crowd:
    """The connections of one event loop. Somebody who comes when all places are taken costs some microseconds."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.most = most
        self._clock = clock
        self._guests: dict[int, Guest] = {}  # by descriptor
        self._of: dict[str, OrderedDict[int, Guest]] = {}  # by address; the one that has waited longest first
        self._swept_at = 0.0

    def enter(self, sock: socket.socket, address: str) -> bool:
        """Whether there is a place for it; somebody may have been put out."""
        if len(self._guests) >= self.most and not self._make_room():
            return False
        descriptor, guest = sock.fileno(), Guest(sock, network(address))
        if (before := self._guests.get(descriptor)) is not None:  # which has gone by itself
            self._forget(descriptor, before)
        self._guests[descriptor] = guest
        self._of.setdefault(guest.address, OrderedDict())[descriptor] = guest
        return True

    def guest(self, descriptor: int) -> Guest | None:
        return self._guests.get(descriptor)

    def rest(self, guest: Guest) -> None:
        """A request of it has been answered: it waits since now."""
        descriptor = guest.sock.fileno()
        if self._guests.get(descriptor) is guest:
            self._of[guest.address].move_to_end(descriptor)

    def _make_room(self) -> bool:
        now = self._clock()
        if now - self._swept_at >= SWEEP_SECONDS:
            self._swept_at = now
            for descriptor, guest in list(self._guests.items()):
                if guest.has_gone:
                    self._forget(descriptor, guest)
            if len(self._guests) < self.most:
                return True
        for address in sorted(self._of, key=lambda each: len(self._of[each]), reverse=True):
            for descriptor, guest in self._of[address].items():
                if guest.has_gone or guest.is_waiting:
                    self._forget(descriptor, guest)
                    with contextlib.suppress(OSError):
                        guest.sock.shutdown(socket.SHUT_RDWR)  # the event loop sees its end, whatever state it is in
                    return True
        return False

    def _forget(self, descriptor: int, guest: Guest) -> None:
        del self._guests[descriptor]
        of_address = self._of[guest.address]
        del of_address[descriptor]
        if not of_address:
            del self._of[guest.address]


class Door(socket.socket):
    """A listening socket that lets in whom the crowd has a place for. Takes the descriptor of `listening` over."""

    def __init__(self, listening: socket.socket, crowd: Crowd) -> None:
        super().__init__(listening.family, listening.type, listening.proto, fileno=listening.detach())
        self._crowd = crowd

    def accept(self) -> tuple[socket.socket, Any]:
        """Raises `ConnectionAbortedError` when there is no place."""
        sock, address = super().accept()
        if not self._crowd.enter(sock, str(address[0])):
            sock.close()
            raise ConnectionAbortedError
        return sock, address
