"""How often somebody may be wrong: counts in memory, of a bounded number of keys. Pure but for the clock.

An account's own count is in the database, so that a restart forgives nothing. What is counted here is what has no row
there: an address that tries many names, and names that nobody has, which are not to be told from somebody's.
"""

import ipaddress
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from threading import Lock

KEYS_MAX = 10_000  # the ones that were wrong longest ago are forgotten first
IPV6_PREFIX = 64  # bits: what one customer has

FAILURES_MAX = 5  # in a row, of one name
LOCK_SECONDS, LOCK_SECONDS_MAX = 60, 3600


def lock_seconds(failures: int) -> int:
    """How long a name is locked after so many wrong passwords in a row: each time twice as long, up to an hour."""
    if failures < FAILURES_MAX:
        return 0
    return min(LOCK_SECONDS << min(failures - FAILURES_MAX, 16), LOCK_SECONDS_MAX)


def network(address: str) -> str:
    """Who counts as one: an IPv4 address, or an IPv6 network of `IPV6_PREFIX` bits."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, IPV6_PREFIX), strict=False))
    return str(found)


class Throttle:
    """At most `limit` within `seconds` for each key. Safe from several threads."""

    def __init__(self, limit: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self._seconds = seconds
        self._clock = clock
        self._times: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = Lock()

    def take(self, key: str) -> float:
        """Count one for `key`; 0, or the seconds to wait if it has had all of them (nothing is counted then)."""
        now = self._clock()
        with self._lock:
            times = self._times.setdefault(key, deque())
            while times and times[0] <= now - self._seconds:
                times.popleft()
            if len(times) >= self.limit:
                return times[0] + self._seconds - now
            times.append(now)
            self._times.move_to_end(key)
            while len(self._times) > KEYS_MAX:
                self._times.popitem(last=False)
            return 0.0

    def give_back(self, key: str) -> None:
        """The last one was right: it does not count."""
        with self._lock:
            if times := self._times.get(key):
                times.pop()

    def is_used_up(self, key: str) -> bool:
        with self._lock:
            return len(self._times.get(key, ())) >= self.limit


class Strangers:
    """Names that nobody has are locked as those that somebody has. Safe from several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: OrderedDict[str, tuple[int, float]] = OrderedDict()  # name → failures, locked until
        self._lock = Lock()

    def locked(self, name: str) -> float:
        """For how many seconds still; 0: not."""
        with self._lock:
            return max(0.0, self._known.get(name, (0, 0.0))[1] - self._clock())

    def failed(self, name: str) -> None:
        now = self._clock()
        with self._lock:
            failures = self._known.pop(name, (0, 0.0))[0] + 1
            self._known[name] = (failures, now + lock_seconds(failures))
            while len(self._known) > KEYS_MAX:
                self._known.popitem(last=False)
