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

    def add(self, connection: "StreamingAssociation") -> "StreamingAssociation | None":
        """A new one; the one that has to go for it, whose `displaced` is set, if there is one."""
        with self._lock:
            self._all.add(connection)
            victim = self._oldest_of_most() if len(self._unassociated) >= self._max else None
            if victim is not None:
                victim.displaced = True
                del self._unassociated[victim]
            self._unassociated[connection] = None
            return victim

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

    def _oldest_of_most(self) -> "StreamingAssociation":
        addresses = Counter(each.origin.address for each in self._unassociated)
        most = max(addresses.values())
        return next(each for each in self._unassociated if addresses[each.origin.address] == most)
