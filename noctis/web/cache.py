"""What many tabs ask for is worked out once, and then again when it is so many seconds old."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from noctis import errands
from noctis.errors import NoctisError

Key = TypeVar("Key")
Value = TypeVar("Value")


class _Entry(Generic[Value]):
    def __init__(self) -> None:
        self.lock = threading.Lock()  # held by whoever works it out
        self.made_at = 0.0  # monotonic
        self.value: Value | None = None
        self.error: NoctisError | None = None
        self.is_there = False


class Cache(Generic[Key, Value]):
    """Safe from several threads.

    While one of them works a value out, the others get the last one. A value that is old, but not too old, is given as
    it is and worked out anew meanwhile, so that nobody waits for it. An outage (`NoctisError`) is kept like a value, so
    that a database which does not answer is not waited for by everybody.

    Parameters
    ----------
    seconds
        For how long a value is good.
    kept
        For how many seconds it is given all the same while a thread works out the next one.
    size
        How many keys are kept; those asked for least recently go.
    """

    def __init__(self, seconds: float, make: Callable[[Key], Value], size: int = 1, *, kept: float = 0.0) -> None:
        self._seconds = seconds
        self._kept = kept
        self._make = make
        self._size = size
        self._entries: OrderedDict[Key, _Entry[Value]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Key) -> Value:
        """The value of `key`; raises what working it out raised."""
        entry = self._entry(key)
        if not self._is_fresh(entry):
            if self._is_fresh(entry, self._kept):
                self._start(key, entry)
            elif entry.lock.acquire(blocking=not entry.is_there):
                try:
                    if not self._is_fresh(entry):
                        self._work_out(key, entry)
                finally:
                    entry.lock.release()
        return self._said(entry)

    def soon(self, key: Key) -> Value | None:
        """The value, however old; None: it is being worked out for the first time. Nobody waits."""
        entry = self._entry(key)
        if not self._is_fresh(entry):
            self._start(key, entry)
        return self._said(entry)

    def _entry(self, key: Key) -> _Entry[Value]:
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            self._entries.move_to_end(key)
            while len(self._entries) > self._size:
                self._entries.popitem(last=False)
            return entry

    def _start(self, key: Key, entry: _Entry[Value]) -> None:
        """Work it out in a thread of its own, unless somebody does."""
        if entry.lock.acquire(blocking=False):

            def work() -> None:
                try:
                    self._work_out(key, entry)
                finally:
                    entry.lock.release()

            errands.start(work, "cache")

    def _said(self, entry: _Entry[Value]) -> Value:
        if entry.error is not None:
            raise entry.error
        return entry.value  # type: ignore[return-value]

    def peek(self, key: Key) -> Value | None:
        """The value, however old, if it was ever worked out: nobody waits."""
        with self._lock:
            entry = self._entries.get(key)
        return entry.value if entry is not None else None

    def forget(self) -> None:
        """Something has changed: work everything out anew."""
        with self._lock:
            self._entries.clear()

    def _is_fresh(self, entry: _Entry[Value], more: float = 0.0) -> bool:
        return entry.is_there and time.monotonic() - entry.made_at < self._seconds + more

    def _work_out(self, key: Key, entry: _Entry[Value]) -> None:
        try:
            entry.value, entry.error = self._make(key), None
        except NoctisError as error:
            entry.error = error
        entry.made_at, entry.is_there = time.monotonic(), True
