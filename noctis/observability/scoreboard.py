"""The scoreboard: what one process reports of itself, in memory that its parent shares.

A mapping made before the fork: the child counts, the parent reads, and a `kill -9` of either loses nothing. Counters
run on over restarts of the child, and of the parent where the mapping has a name (`observability.boards`); `live` and
`pid` begin anew. No socket, no polling.

A process that serves several facilities has a table besides: a row of the same words for each facility. What is
counted in a row is not counted in the board's own words, so a total is the sum of both (`PENDING` and `OLDEST_NS`,
which are looked at and not counted, are in both). One process at a time writes.
"""

import mmap
import threading
import time
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass

from noctis.observability.words import (
    BOARD_WORDS,
    FAILURES,
    LAYOUT,
    LAYOUT_AT,
    MOMENTARY,
    REFUSALS,
    ROW_WORDS,
    ROWS_ALLOWED_AT,
    ROWS_AT,
    Buckets,
    Counter,
    FailureKind,
    RefusalKind,
)

__all__ = ("BOARD_BYTES", "ROW_BYTES", "Buckets", "Counter", "Reading", "Scoreboard", "Words", "board_bytes")

WORD = 8  # bytes
ERROR_BYTES = 512
_ERROR_AT = BOARD_WORDS * WORD
BOARD_BYTES = 4096  # words, last error, and room up to the first row
ROW_BYTES = 512  # the slug, and its words
_SLUG_BYTES = ROW_BYTES - ROW_WORDS * WORD


def board_bytes(rows: int) -> int:
    """The size of a mapping with so many rows."""
    return BOARD_BYTES + rows * ROW_BYTES


@dataclass(frozen=True)
class Reading:
    """The scoreboard at one moment."""

    counters: dict[Counter, int]
    last_error: str

    def __getitem__(self, counter: Counter) -> int:
        return self.counters[counter]


class Words:
    """The figures of a process, or of one facility in it. `add` and its like are for the process itself."""

    def __init__(self, words: memoryview, lock: threading.Lock) -> None:
        self._words = words  # of 64 bits, each read and written as one
        self._lock = lock

    def get(self, position: int) -> int:
        value: int = self._words[position]
        return value

    def set(self, position: int, value: int) -> None:
        self._words[position] = value

    def add(self, position: int, amount: int = 1) -> None:
        with self._lock:
            self._words[position] += amount

    def stored(self, size: int, instances: int = 1) -> None:
        """One more instance of `size` bytes was acknowledged or filed, or several that have it together."""
        words = self._words
        with self._lock:
            words[Counter.INSTANCES] += instances
            words[Counter.BYTES] += size
            words[Counter.LAST_INSTANCE_NS] = time.time_ns()

    def observe(self, histogram: Buckets, value: float) -> None:
        """Count one value in a histogram."""
        words = self._words
        with self._lock:
            words[histogram.at + bisect_left(histogram.bounds, value)] += 1
            words[histogram.sum_at] += int(value * histogram.scale)

    def refused(self, kind: RefusalKind) -> None:
        """A caller was turned away."""
        self.add(REFUSALS[kind])

    def failed(self, kind: FailureKind | None) -> None:
        """A C-STORE was answered with a failure."""
        self.add(Counter.FAILURES)
        if kind is not None:
            self.add(FAILURES[kind])

    def all(self) -> list[int]:
        """Every word."""
        return self._words.tolist()


class Scoreboard(Words):
    """One process's figures. `read` is for anyone who shares the memory.

    Parameters
    ----------
    memory
        Of `board_bytes`, by default one of its own without rows.
    """

    def __init__(self, memory: mmap.mmap | None = None) -> None:
        self._memory = mmap.mmap(-1, BOARD_BYTES) if memory is None else memory
        self._view = memoryview(self._memory).cast("q")
        super().__init__(self._view[:BOARD_WORDS], threading.Lock())
        self._capacity = (len(self._memory) - BOARD_BYTES) // ROW_BYTES
        self._rows: dict[str, Words] = {}
        self._words[LAYOUT_AT] = LAYOUT

    def begin(self, pid: int) -> None:
        """A new process takes over: what was live is gone. Said again by the same process it changes nothing."""
        if self.get(Counter.PID) == pid:
            return
        self._lock = threading.Lock()  # the fork may have copied a held one
        self._rows.clear()
        if self.get(Counter.PID):
            self.add(Counter.RESTARTS)
        for each in (self, *self.rows().values()):
            each.set(Counter.LIVE, 0)
        self.set(Counter.OPEN, 0)
        self.set(Counter.PID, pid)
        self.set(Counter.STARTED_NS, time.time_ns())

    def forget_the_moment(self) -> None:
        """Nobody counts here: keep only what runs on."""
        for each in (self, *self.rows().values()):
            for counter in MOMENTARY:
                each.set(counter, 0)
        self._memory[_ERROR_AT : _ERROR_AT + ERROR_BYTES] = bytes(ERROR_BYTES)

    # -- rows

    def allow(self, rows: int) -> None:
        """So many rows may be used from now on."""
        self.set(ROWS_ALLOWED_AT, min(rows, self._capacity))

    def of(self, slug: str | None) -> Words:
        """Where a facility is counted: its row or, where there is no table (any more room), the board itself."""
        if not self._capacity or slug is None:
            return self
        return self._rows.get(slug) or self._claim(slug)

    def _claim(self, slug: str) -> Words:
        with self._lock:
            if slug in self.rows():
                return self._rows[slug]
            number, name = self.get(ROWS_AT), slug.encode()
            if number >= self.get(ROWS_ALLOWED_AT) or len(name) > _SLUG_BYTES:
                return self
            at = BOARD_BYTES + number * ROW_BYTES
            self._memory[at : at + _SLUG_BYTES] = name.ljust(_SLUG_BYTES, b"\0")
            self.set(ROWS_AT, number + 1)
            return self.rows()[slug]

    def rows(self) -> Mapping[str, Words]:
        """Slug → what is counted for that facility apart."""
        for number in range(len(self._rows), self.get(ROWS_AT)):
            at = BOARD_BYTES + number * ROW_BYTES
            slug = self._memory[at : at + _SLUG_BYTES].rstrip(b"\0").decode()
            first = (at + _SLUG_BYTES) // WORD
            self._rows[slug] = Words(self._view[first : first + ROW_WORDS], self._lock)
        return self._rows

    # -- what is said

    def error(self, text: str) -> None:
        """The last error, cut at 512 bytes of UTF-8. Holds no patient's data: callers see to that."""
        encoded = text.encode("utf-8", "replace")[: ERROR_BYTES - 1]
        with self._lock:
            self._memory[_ERROR_AT : _ERROR_AT + ERROR_BYTES] = encoded.ljust(ERROR_BYTES, b"\0")
            self.set(Counter.LAST_ERROR_NS, time.time_ns())

    def total(self, position: int) -> int:
        """A figure of the whole process, its rows included."""
        total = self.get(position)
        if position < ROW_WORDS:
            total += sum(row.get(position) for row in self.rows().values())
        return total

    def latest(self, position: int) -> int:
        """The largest of a figure: for times."""
        return max((self.get(position), *(row.get(position) for row in self.rows().values())))

    def read(self) -> Reading:
        error = self._memory[_ERROR_AT : _ERROR_AT + ERROR_BYTES].split(b"\0", 1)[0].decode("utf-8", "replace")
        return Reading({counter: self.get(counter) for counter in Counter}, error)
