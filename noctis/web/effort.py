"""Work that keeps the processor busy for long, such as the elements of a large file: a few at a time.

Some wait for it; all others are told to come again, so that the pages go on for who wants something else. The files of
one facility have no more than half of the places, waiting ones included.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore, Lock

from noctis.errors import UnavailableError

AT_ONCE, WAITING_MAX = 2, 8
WAIT_SECONDS = 10.0
RETRY_SECONDS = 2


class TooMuchError(UnavailableError):
    """Enough others do this at the moment."""

    def __init__(self) -> None:
        super().__init__("too much is being asked for at once", seconds=RETRY_SECONDS)


class Effort:
    """Who works. Safe from several threads."""

    def __init__(self) -> None:
        self._working = BoundedSemaphore(AT_ONCE)
        self._inside: Counter[str] = Counter()  # by slug, waiting ones included
        self._lock = Lock()

    @contextmanager
    def of(self, slug: str) -> Iterator[None]:
        """Work on a facility's file.

        Raises
        ------
        TooMuchError
            Too many wait already, or it had to wait too long.
        """
        most = AT_ONCE + WAITING_MAX
        with self._lock:
            if self._inside.total() >= most or self._inside[slug] >= most // 2:
                raise TooMuchError
            self._inside[slug] += 1
        try:
            if not self._working.acquire(timeout=WAIT_SECONDS):
                raise TooMuchError
            try:
                yield
            finally:
                self._working.release()
        finally:
            with self._lock:
                self._inside[slug] -= 1
                self._inside += Counter()  # without those that have none
