"""The scoreboard: what one process reports of itself, in memory that its parent shares.

An anonymous mapping made before the fork: the child counts, the parent reads, and a `kill -9` of the child loses
nothing. Counters run on over restarts of the child; `live` and `pid` begin anew. No file, no socket, no polling.
"""

import mmap
import struct
import threading
import time
from dataclasses import dataclass
from enum import IntEnum

ERROR_BYTES = 512
_WORD = struct.Struct("<q")


class Counter(IntEnum):
    """The position of each 64-bit word."""

    PID = 0
    STARTED_NS = 1  # time.time_ns() of this process's start
    RESTARTS = 2
    LIVE = 3  # associations open now
    ASSOCIATIONS = 4  # accepted
    REFUSED = 5
    ABORTED = 6
    ECHOES = 7
    INSTANCES = 8  # acknowledged with success (listener), filed (archiver); messages sent (audit)
    BYTES = 9
    FAILURES = 10  # C-STOREs answered with a failure
    DUPLICATES = 11
    CONFLICTS = 12
    QUARANTINED = 13
    LAST_INSTANCE_NS = 14
    LAST_ERROR_NS = 15
    PENDING = 16  # archiver: spool entries waiting; audit: rows whose messages wait
    OLDEST_NS = 17  # archiver: when the oldest of them came; audit: since when nothing can be sent; 0: none
    BATCHES = 18
    LAST_BATCH = 19  # instances in it
    LAST_BATCH_NS = 20
    HEARTBEAT_NS = 21


_ERROR_AT = 64 * _WORD.size


@dataclass(frozen=True)
class Reading:
    """The scoreboard at one moment."""

    counters: dict[Counter, int]
    last_error: str

    def __getitem__(self, counter: Counter) -> int:
        return self.counters[counter]


class Scoreboard:
    """One process's counters. `add` and `set` are for the process itself, `read` for anyone who shares the memory."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _ERROR_AT + ERROR_BYTES)
        self._lock = threading.Lock()

    def begin(self, pid: int) -> None:
        """A new process takes over: what was live is gone. Said again by the same process it changes nothing."""
        if self.get(Counter.PID) == pid:
            return
        self._lock = threading.Lock()  # the fork may have copied a held one
        if self.get(Counter.PID):
            self.add(Counter.RESTARTS)
        self.set(Counter.LIVE, 0)
        self.set(Counter.PID, pid)
        self.set(Counter.STARTED_NS, time.time_ns())

    def get(self, counter: Counter) -> int:
        value: int = _WORD.unpack_from(self._memory, counter * _WORD.size)[0]
        return value

    def set(self, counter: Counter, value: int) -> None:
        _WORD.pack_into(self._memory, counter * _WORD.size, value)

    def add(self, counter: Counter, amount: int = 1) -> None:
        with self._lock:
            self.set(counter, self.get(counter) + amount)

    def stored(self, size: int, instances: int = 1) -> None:
        """One more instance of `size` bytes was acknowledged or filed, or several that have it together."""
        with self._lock:
            self.set(Counter.INSTANCES, self.get(Counter.INSTANCES) + instances)
            self.set(Counter.BYTES, self.get(Counter.BYTES) + size)
            self.set(Counter.LAST_INSTANCE_NS, time.time_ns())

    def error(self, text: str) -> None:
        """The last error, cut at 512 bytes of UTF-8. Holds no patient's data: callers see to that."""
        encoded = text.encode("utf-8", "replace")[: ERROR_BYTES - 1]
        with self._lock:
            self._memory[_ERROR_AT : _ERROR_AT + ERROR_BYTES] = encoded.ljust(ERROR_BYTES, b"\0")
            self.set(Counter.LAST_ERROR_NS, time.time_ns())

    def read(self) -> Reading:
        error = self._memory[_ERROR_AT : _ERROR_AT + ERROR_BYTES].split(b"\0", 1)[0].decode("utf-8", "replace")
        return Reading({counter: self.get(counter) for counter in Counter}, error)
