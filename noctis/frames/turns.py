"""Whose turn it is at the decoders: of the facility that has the fewest at work, whoever waits longest.

A few wait, in threads of the web process, and no longer than they are waited for. Half of the places are for others
than one facility: pictures of one which take long keep nobody from those of another.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from noctis.errors import UnavailableError
from noctis.frames.decoding import Decoder

WAITING_MAX = 24  # requests; of one facility half as many
WAIT_SECONDS = 12.0  # for a decoder: longer than one may be at work on a hostile file
LOOK_SECONDS = 0.25  # how often one that waits looks whether somebody still wants it
RETRY_SECONDS = 2  # what a browser is told
NOBODYS = ""  # in place of a slug: of no facility


class BusyError(UnavailableError):
    """All decoders are busy, and enough others wait for them."""

    def __init__(self) -> None:
        super().__init__("too many frames are being asked for at once", seconds=RETRY_SECONDS)


class GivenUpError(Exception):
    """Nobody waits for the picture any more."""


class _Waiting:
    """One that waits; `wanted` asks whether somebody still waits for it."""

    def __init__(self, slug: str, key: str, wanted: Callable[[], bool]) -> None:
        self.slug = slug
        self.key = key
        self.wanted = wanted
        self.over = threading.Event()
        self.outcome: Decoder | BusyError | GivenUpError | None = None  # set before `over`


class Turns:
    """The decoders, and who waits for them. Safe from several threads."""

    def __init__(self, decoders: Iterable[Decoder]) -> None:
        self._free = list(decoders)  # the one that was used last at the end
        self._queue: list[_Waiting] = []  # who came first in front; empty while a decoder is free
        self._at_work: Counter[str] = Counter()  # decoders, by slug
        self._closed = False
        self._lock = threading.Lock()

    @contextmanager
    def turn(self, slug: str, key: str, wanted: Callable[[], bool]) -> Iterator[Decoder]:
        """A decoder, for a picture of a facility.

        Parameters
        ----------
        key
            The bytes that are to be decoded.
        wanted
            Whether somebody still waits for it; asked now and then, as long as it has to wait, by any thread.

        Raises
        ------
        BusyError
            There is none for it now.
        GivenUpError
            It is not wanted any more.
        """
        decoder = self._decoder_at_once(slug, key) or self._decoder_in_turn(_Waiting(slug, key, wanted))
        try:
            yield decoder
        finally:
            self._give_back(slug, decoder)

    def warm(self) -> None:
        """Somebody will soon ask for pictures: start a decoder, if there is none. Waits for nothing."""
        with self._lock:
            if self._closed or not self._free or any(each.runs for each in self._free):
                return
            decoder = self._choose(NOBODYS, "")
        try:
            decoder.start()
        finally:
            self._give_back(NOBODYS, decoder)

    def close(self) -> None:
        """End the decoders that are free; the others end with their frames."""
        with self._lock:
            self._closed = True
            free, self._free = self._free, []
            for waiting in list(self._queue):
                self._end(waiting, BusyError())
        for decoder in free:
            with suppress(OSError):
                decoder.close()

    def _decoder_at_once(self, slug: str, key: str) -> Decoder | None:
        with self._lock:
            return self._choose(slug, key) if self._free else None

    def _decoder_in_turn(self, waiting: _Waiting) -> Decoder:
        deadline = time.monotonic() + WAIT_SECONDS
        self._stand_in_line(waiting)
        still = False
        try:
            while not waiting.over.wait(LOOK_SECONDS):
                if time.monotonic() > deadline:
                    with self._lock:
                        self._end(waiting, BusyError())
                else:
                    self._look([waiting])
            still = waiting.wanted()
        finally:
            if not still:
                self._leave(waiting)
        if not isinstance(waiting.outcome, Decoder):
            assert waiting.outcome is not None
            raise waiting.outcome
        if not still:
            raise GivenUpError
        return waiting.outcome

    def _leave(self, waiting: _Waiting) -> None:
        with self._lock:
            self._end(waiting, GivenUpError())
        if isinstance(waiting.outcome, Decoder):
            self._give_back(waiting.slug, waiting.outcome)

    def _stand_in_line(self, waiting: _Waiting) -> None:
        with self._lock:
            some = list(self._queue) if self._is_full(waiting.slug) else []
        self._look(some)  # a browser that scrolls gives up more than there is room for before they look by themselves
        with self._lock:
            if self._closed or self._is_full(waiting.slug):
                raise BusyError
            self._queue.append(waiting)
            self._hand_on()

    def _is_full(self, slug: str) -> bool:
        of_it = sum(each.slug == slug for each in self._queue)
        return len(self._queue) >= WAITING_MAX or of_it >= WAITING_MAX // 2

    def _look(self, some: list[_Waiting]) -> None:
        """Who of them is not waited for any more goes."""
        gone = [each for each in some if not each.wanted()]
        with self._lock:
            for each in gone:
                self._end(each, GivenUpError())

    def _give_back(self, slug: str, decoder: Decoder) -> None:
        with self._lock:
            self._at_work[slug] -= 1
            self._at_work += Counter()  # without those that have none
            closed = self._closed
            if not closed:
                self._free.append(decoder)
                self._hand_on()
        if closed:
            decoder.close()

    def _hand_on(self) -> None:
        """The lock is held, here and below."""
        while self._free and self._queue:
            waiting = min(self._queue, key=lambda each: self._at_work[each.slug])
            self._end(waiting, self._choose(waiting.slug, waiting.key))

    def _choose(self, slug: str, key: str) -> Decoder:
        """The one that has these bytes decoded, else the one that was used last: the others may end, idle."""
        found = next((each for each in self._free if key and each.key == key), self._free[-1])
        self._free.remove(found)
        self._at_work[slug] += 1
        return found

    def _end(self, waiting: _Waiting, outcome: Decoder | BusyError | GivenUpError) -> None:
        if waiting.outcome is None:
            waiting.outcome = outcome
            self._queue.remove(waiting)
            waiting.over.set()
