"""Looking at what may hang, in bounded time: a database, a supervisor, a disk of another machine.

Each probe looks in a thread of its own, one at a time, and its result is good for a while; so a flood of questions
costs one look. Who asks waits for `patience` seconds at the most, counted from the beginning of the look: while one
hangs, everybody else is told so at once.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from noctis.errors import NoctisError

T = TypeVar("T")

PATIENCE_SECONDS = 3.0


@dataclass(frozen=True)
class Seen(Generic[T]):
    """What a look has come to."""

    value: T | None  # None: it could not be had
    error: str = ""  # why not
    seconds: float = 0.0  # that the look took


class Probe(Generic[T]):
    """Safe from several threads.

    Parameters
    ----------
    what
        Its name in a sentence.
    look
        Called in a thread that the program does not wait for at its end.
    fresh_seconds
        For which a result is good.
    """

    def __init__(
        self, what: str, look: Callable[[], T], fresh_seconds: float, patience: float = PATIENCE_SECONDS
    ) -> None:
        self._what = what
        self._look = look
        self._fresh = fresh_seconds
        self._patience = patience
        self._changed = threading.Condition()
        self._seen: Seen[T] = Seen(None, f"{what} was not looked at")
        self._seen_at = -fresh_seconds  # monotonic
        self._begun = 0.0  # monotonic; 0: nobody looks

    def start(self) -> None:
        """Begin a look, unless there is a good result or one is under way."""
        with self._changed:
            self._start()

    def _start(self) -> bool:
        now = time.monotonic()
        if self._begun or now - self._seen_at < self._fresh:
            return bool(self._begun)
        self._begun = now
        try:
            threading.Thread(target=self._run, name=f"probe: {self._what}", daemon=True).start()
        except RuntimeError as error:  # no more threads
            self._begun = 0.0
            self._seen, self._seen_at = Seen(None, f"{self._what} cannot be looked at: {error}"), now
        return bool(self._begun)

    def result(self) -> Seen[T]:
        """The result, a new one if the last is not good any more."""
        with self._changed:
            if not self._start():
                return self._seen
            begun = self._begun
            deadline = begun + self._patience
            while self._begun == begun and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
            if self._begun != begun:
                return self._seen
            return Seen(None, f"{self._what} does not answer", time.monotonic() - begun)

    def _run(self) -> None:
        begun = time.monotonic()
        try:
            value: T | None = self._look()
            error = ""
        except NoctisError as problem:
            value, error = None, problem.message
        except Exception as problem:  # noqa: BLE001 - whatever it is, this part is not well
            value, error = None, f"{self._what}: {type(problem).__name__}"
        with self._changed:
            self._seen = Seen(value, error, time.monotonic() - begun)
            self._seen_at = time.monotonic()
            self._begun = 0.0
            self._changed.notify_all()


def results(*probes: Probe[Any]) -> list[Seen[Any]]:
    """Of several, looked at side by side."""
    for each in probes:
        each.start()
    return [each.result() for each in probes]
