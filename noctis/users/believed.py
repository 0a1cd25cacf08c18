"""Who was let in a moment ago, for a while in which the database is away. In memory, of a bounded number.

What changes or ends in this process is forgotten at once; what does so elsewhere cannot be known while the database is
away, which is why it is for `OUTAGE_SECONDS` alone, and for looking alone.
"""

import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar

OUTAGE_SECONDS = 600.0  # for which one who was let in is believed in while the database is away
AWAY_SECONDS = 5.0  # for which the database is not asked again for those who are believed in
KNOWN_MAX = 1000

T = TypeVar("T")


@dataclass(frozen=True)
class _Known(Generic[T]):
    """Who it was when the database was asked last."""

    value: T
    account_id: int
    expires_at: datetime | None
    at: float  # monotonic


class Believed(Generic[T]):
    """What the database said last of each digest. Safe from several threads."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, _Known[T]] = OrderedDict()  # the one seen last at the end
        self._away_until = 0.0  # monotonic

    def of(self, digest: str) -> T | None:
        known = self._known.get(digest)
        if known is None or time.monotonic() - known.at > OUTAGE_SECONDS:
            return None
        return known.value if known.expires_at is None or known.expires_at > datetime.now(UTC) else None

    @property
    def is_away(self) -> bool:
        """Whether the database was away a moment ago."""
        return time.monotonic() < self._away_until

    def went_away(self) -> None:
        self._away_until = time.monotonic() + AWAY_SECONDS

    def came_back(self) -> None:
        self._away_until = 0.0

    def remember(self, digest: str, value: T, account_id: int, expires_at: datetime | None) -> None:
        self._known.pop(digest, None)
        self._known[digest] = _Known(value, account_id, expires_at, time.monotonic())
        while len(self._known) > KNOWN_MAX:
            with suppress(KeyError):
                self._known.popitem(last=False)

    def drop(self, digest: str) -> None:
        self._known.pop(digest, None)

    def forget(self, account_id: int) -> None:
        """Whatever an account had has ended or is another thing now."""
        for digest, known in list(self._known.items()):
            if known.account_id == account_id:
                self._known.pop(digest, None)
