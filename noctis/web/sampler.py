"""The sampler: asks the supervisor once a second, for everybody, and remembers an hour of what each port received.

A thread of the web process. What the pages show is its last answer, so many tabs are no load; where the thread does
not run, or is late, whoever asks takes a sample. Counters of the supervisor begin anew with it: only what they grow by
counts. At the start the hour before is filled from the ledger of associations, each spread evenly over its time.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from noctis.errors import NoctisError
from noctis.repository.counts import Received
from noctis.supervisor.control import Control

log = structlog.get_logger()

EVERY_SECONDS = 1.0
LATE_SECONDS = 2.0  # an older sample is taken anew by whoever asks
RATE_SECONDS = 5.0  # over which "now" is averaged
MINUTES = 60
FILL_SECONDS = 15.0  # between two tries to fill the hour, while the database is away
ARCHIVER = 0  # no port: what was filed


@dataclass(frozen=True)
class Sample:
    """What the supervisor said of itself, or why it said nothing."""

    at: float  # time.time()
    status: dict[str, Any] | None
    error: str = ""
    fix: str = ""

    @property
    def listeners(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.status["listeners"] if self.status else []
        return found


class Meter:
    """What one port received."""

    def __init__(self) -> None:
        self._total = 0
        self._last: int | None = None
        self._points: deque[tuple[float, int]] = deque(maxlen=round(RATE_SECONDS / EVERY_SECONDS) + 1)
        self._minutes: dict[int, float] = {}

    def count(self, counter: int, at: float, *, anew: bool) -> None:
        """`counter` stands there at `at` (time.time()); `anew`: it began at 0 since it was looked at last."""
        before = 0 if anew else counter if self._last is None else self._last
        grown = counter - before if counter >= before else counter
        self._last = counter
        self._total += grown
        self._points.append((at, self._total))
        if grown:
            self.add(int(at // 60), grown)
        for minute in [minute for minute in self._minutes if minute <= at // 60 - MINUTES]:
            del self._minutes[minute]

    def add(self, minute: int, instances: float) -> None:
        self._minutes[minute] = self._minutes.get(minute, 0) + instances

    def rate(self, at: float) -> float:
        """Instances a second, now."""
        points = [each for each in self._points if each[0] >= at - 2 * RATE_SECONDS]
        seconds = points[-1][0] - points[0][0] if len(points) > 1 else 0.0
        return (points[-1][1] - points[0][1]) / seconds if seconds > 0 else 0.0

    def minutes(self, at: float) -> list[int]:
        """Instances in each of the last `MINUTES` minutes, the one that runs last."""
        last = int(at // 60)
        return [round(self._minutes.get(minute, 0)) for minute in range(last - MINUTES + 1, last + 1)]


class Sampler:
    """Safe from several threads. Nothing runs before `start`.

    Parameters
    ----------
    history
        What associations that ended since a moment brought: see `repository.counts.received_since`.
    """

    def __init__(self, control: Control, history: Callable[[datetime], Iterable[Received]]) -> None:
        self._control = control
        self._history = history
        self._lock = threading.Lock()
        self._meters: dict[int, Meter] = {}
        self._sample: Sample | None = None
        self._supervisor: object = None  # which one counted
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(LATE_SECONDS)

    def _run(self) -> None:
        begun = datetime.now(UTC)
        filled, fill_at = False, 0.0
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                self.take()
                if not filled and began >= fill_at:
                    fill_at = began + FILL_SECONDS
                    filled = self._fill(begun)
            except Exception:
                log.exception("web.sampler_fault")  # the next second may be better
            self._stop.wait(max(0.1, EVERY_SECONDS - (time.monotonic() - began)))

    # -- what the pages ask

    def now(self) -> Sample:
        """The last sample, at most `LATE_SECONDS` old."""
        sample = self._sample
        if sample is None or not -1 <= time.time() - sample.at < LATE_SECONDS:
            sample = self.take()
        return sample

    def forget(self) -> None:
        """What runs is another thing now: the last sample says nothing of it."""
        self._sample = None

    def rate(self, port: int) -> float:
        """Instances a second that a port receives now, or (ARCHIVER) that are filed."""
        with self._lock:
            meter = self._meters.get(port)
            return meter.rate(time.time()) if meter else 0.0

    def minutes(self, port: int) -> list[int]:
        """Instances in each of the last `MINUTES` minutes, the one that runs last."""
        with self._lock:
            return self._meters.setdefault(port, Meter()).minutes(time.time())

    # -- sampling

    def take(self) -> Sample:
        """A new sample; many who ask at once get the same."""
        with self._lock:
            last = self._sample
            if last is not None and 0 <= time.time() - last.at < EVERY_SECONDS / 2:
                return last  # somebody was faster
            try:
                status = self._control.status()
                sample = Sample(time.time(), status)
                self._count(status, sample.at)
            except NoctisError as error:
                sample = Sample(time.time(), None, error.message, error.fix or "")
            self._sample = sample
            return sample

    def _count(self, status: dict[str, Any], at: float) -> None:
        supervisor = (status["pid"], status["started_at"])
        looked, anew = self._supervisor is not None, self._supervisor != supervisor
        counters = {each["port"]: each["instances"] for each in status["listeners"]}
        counters[ARCHIVER] = status["archiver"].get("filed", 0)
        for port, counter in counters.items():
            known = port in self._meters and self._meters[port]._last is not None
            # what a port counted before anybody looked is history, unless it, or its supervisor, came meanwhile
            self._meters.setdefault(port, Meter()).count(counter, at, anew=looked and (anew or not known))
        self._supervisor = supervisor

    def _fill(self, until: datetime) -> bool:
        """The hour before `until`; False: the database is away."""
        since = until - timedelta(minutes=MINUTES)
        try:
            rows = list(self._history(since))
        except NoctisError:
            return False
        with self._lock:
            for row in rows:
                meter = self._meters.setdefault(row.port, Meter())
                for minute, instances in spread(row, since, until):
                    meter.add(minute, instances)
        return True


def spread(row: Received, since: datetime, until: datetime) -> Iterable[tuple[int, float]]:
    """An association's instances, evenly over the minutes that it lasted, as far as these lie within a time."""
    begun, ended = row.started_at.timestamp(), row.ended_at.timestamp()
    ended = max(ended, begun + 0.001)
    first, last = max(begun, since.timestamp()), min(ended, until.timestamp())
    at = first
    while at < last:
        end = min(last, (at // 60 + 1) * 60)
        yield int(at // 60), row.instances * (end - at) / (ended - begun)
        at = end
