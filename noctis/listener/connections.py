"""The open connections of one listener, and which of them are not an association (yet).

Of those there may be only so many. One more gets in all the same, and the oldest of the address that has most of them
is displaced: so nobody keeps others out by connections that ask for nothing, however many addresses help him. A
connection that was rejected counts among them until it is closed, and so does a caller of no facility that may echo.
"""

import threading
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from noctis.listener.association import StreamingAssociation


class Displaced(Exception):
    """Closed for a newcomer's sake: there were too many connections without an association."""


class Connections:
    """Safe from several threads."""

    def __init__(self, max_unassociated: int) -> None:
        self._max = max_unassociated
        self._all: set[StreamingAssociation] = set()
        self._unassociated: dict[StreamingAssociation, None] = {}  # oldest first
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._all)

    def all(self) -> list["StreamingAssociation"]:
        with self._lock:
            return list(self._all)

    @property
    def associated(self) -> int:
        """How many are an association."""
        return len(self._all) - len(self._unassociated)

    @property
    def is_full(self) -> bool:
        """Whether one has to go before one more may come."""
        return len(self._unassociated) >= self._max

    def displace(self, *, patient: bool) -> "StreamingAssociation | None":
        """The one that has to go, whose `displaced` is set and which counts no more.

        Parameters
        ----------
        patient
            Take none that waits for us and not for its peer: many that come at once are answered one after the other.
            None when there is no other.
        """
        with self._lock:
            addresses = Counter(each.origin.address for each in self._unassociated)
            most = max(addresses.values(), default=0)
            for victim in self._unassociated:
                if addresses[victim.origin.address] == most and (not patient or victim.waits()):
                    victim.displaced = True
                    del self._unassociated[victim]
                    return victim
        return None

    def add(self, connection: "StreamingAssociation") -> None:
        """A new one."""
        with self._lock:
            self._all.add(connection)
            self._unassociated[connection] = None

    def associate(self, connection: "StreamingAssociation") -> bool:
        """It is an association from now on; False when it was displaced before."""
        with self._lock:
            self._unassociated.pop(connection, None)
            return not connection.displaced

    def remove(self, connection: "StreamingAssociation") -> None:
        """It was closed."""
        with self._lock:
            self._all.discard(connection)
            self._unassociated.pop(connection, None)
