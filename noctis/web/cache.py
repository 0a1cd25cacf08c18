"""What many tabs ask for is worked out once, and then again when it is so many seconds old."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

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

    While one of them works a value out, the others get the last one; an outage (`NoctisError`) is kept like a value, so
    that a database which does not answer is not waited for by everybody.

    Parameters
    ----------
    seconds
        For how long a value is good.
    size
        How many keys are kept; those asked for least recently go.
    """

    def __init__(self, seconds: float, make: Callable[[Key], Value], size: int = 1) -> None:
        self._seconds = seconds
        self._make = make
        self._size = size
        self._entries: OrderedDict[Key, _Entry[Value]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Key) -> Value:
        """The value of `key`; raises what working it out raised."""
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            self._entries.move_to_end(key)
            while len(self._entries) > self._size:
                self._entries.popitem(last=False)
        if not self._is_fresh(entry) and entry.lock.acquire(blocking=not entry.is_there):
            try:
                if not self._is_fresh(entry):
                    self._work_out(key, entry)
            finally:
                entry.lock.release()
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

    def _is_fresh(self, entry: _Entry[Value]) -> bool:
        return entry.is_there and time.monotonic() - entry.made_at < self._seconds

    def _work_out(self, key: Key, entry: _Entry[Value]) -> None:
        try:
            entry.value, entry.error = self._make(key), None
        except NoctisError as error:
            entry.error = error
        entry.made_at, entry.is_there = time.monotonic(), True
