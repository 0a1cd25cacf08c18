"""Places: how many associations there are, counted over all processes by locks that the kernel keeps.

Takes a file of the home (`run/associations`). A place is one byte of it, locked by whoever holds it; the bytes from
`group << 32` on are one group's, and a group's limit is how many of them may be locked. The kernel gives a place back
when its process ends, in whatever way, so none can leak and there is nothing to recover at a start.

The locks are of the open file (F_OFD_SETLK) and not of the process: several listeners in one process count apart, and
closing another descriptor of the file loses none. The lowest free place is taken, so that a limit which was lowered
counts those that hold on. Where the file cannot be had or locked, this process counts for itself and says so once:
counting never stops receiving.
"""

import errno
import fcntl
import os
import struct
import threading
from pathlib import Path

import structlog

log = structlog.get_logger()

ALL = 0  # the group of all facilities together; a facility's is its id and one
_STRIDE = 32  # bits
_FLOCK = struct.Struct("hhqqi0q")  # struct flock: type, whence, start, length, pid
_SET, _GET = fcntl.F_OFD_SETLK, fcntl.F_OFD_GETLK
_TAKEN = (errno.EAGAIN, errno.EACCES)


class Places:
    """One listener's share. Safe from several threads; must not be forked once it has been made."""

    def __init__(self, path: Path) -> None:
        self._ours: set[int] = set()
        self._first: dict[int, int] = {}  # group → its first place that is not ours
        self._lock = threading.Lock()
        self._descriptor = -1  # none: this process counts for itself
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            self._count_alone(error)

    def take(self, group: int, limit: int) -> int | None:
        """A place of the group's first `limit`, or None when all are held. Two system calls for each run that is."""
        end = (group << _STRIDE) + limit
        with self._lock:
            at = self._behind_ours(self._first.get(group, group << _STRIDE))
            self._first[group] = at
            while at < end:
                after = self._try(at)
                if after == at:
                    self._ours.add(at)
                    return at
                at = self._behind_ours(after)
        return None

    def give_back(self, place: int) -> None:
        """One that `take` gave."""
        with self._lock:
            self._ours.discard(place)
            self._first[place >> _STRIDE] = min(self._first[place >> _STRIDE], place)
            if self._descriptor >= 0:
                try:
                    fcntl.fcntl(self._descriptor, _SET, _FLOCK.pack(fcntl.F_UNLCK, os.SEEK_SET, place, 1, 0))
                except OSError as error:
                    self._count_alone(error)

    def close(self) -> None:
        """Give back whatever is held."""
        with self._lock:
            self._ours.clear()
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def _behind_ours(self, at: int) -> int:
        """`at`, or the first place behind it that is not ours."""
        while at in self._ours:
            at += 1
        return at

    def _try(self, at: int) -> int:
        """`at` if it is ours now, else the first place behind it that its holder has not."""
        if self._descriptor < 0:
            return at
        wanted = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, at, 1, 0)
        try:
            fcntl.fcntl(self._descriptor, _SET, wanted)
            return at
        except OSError as error:
            if error.errno not in _TAKEN:
                self._count_alone(error)
                return at
        kind, _, start, length, _ = _FLOCK.unpack(fcntl.fcntl(self._descriptor, _GET, wanted))
        return at + 1 if kind == fcntl.F_UNLCK else max(at + 1, start + length)  # a neighbour's run is one lock

    def _count_alone(self, error: OSError) -> None:
        log.error("associations.counted_alone", reason=error.strerror or str(error))
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
