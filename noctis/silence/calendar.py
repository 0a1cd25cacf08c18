"""Hours: of UTC, which are counted, and of the week by the local clock, which habits go by. Pure.

An *hour* is the number of hours since 1970-01-01 UTC; a *slot* one of the 168 hours of the local week, Monday 0 h
being slot 0. An hour belongs to the slot in which it begins by the local clock; so the hour that the autumn's change of
clocks has twice is looked at twice that week, and the one that the spring leaves out not at all.
"""

import time
from collections.abc import Collection
from datetime import UTC, date, datetime, tzinfo

WEEK = 168  # slots
OFF = 255  # in place of a slot: an hour of a day off


class Calendar:
    """Which hour belongs to which slot.

    Parameters
    ----------
    zone
        None: this machine's.
    days_off
        Local dates on which nothing is expected, and from which nothing is learned.
    """

    def __init__(self, zone: tzinfo | None = None, days_off: Collection[date] = ()) -> None:
        self.zone = zone
        self._days_off = frozenset(days_off)
        self._slots: dict[int, int] = {}
        self._spans: dict[tuple[int, int], bytes] = {}
        self._masks: dict[tuple[int, int], tuple[int, ...]] = {}

    def slot(self, hour: int) -> int:
        """The slot of an hour, or `OFF`."""
        found = self._slots.get(hour)
        if found is None:
            found = self._slots[hour] = self._look_up(hour)
        return found

    def slots(self, first: int, hours: int) -> bytes:
        """The slots of the `hours` from `first` on."""
        key = (first, hours)
        found = self._spans.get(key)
        if found is None:
            found = self._spans[key] = bytes(map(self.slot, range(first, first + hours)))
        return found

    def masks(self, first: int, hours: int) -> tuple[int, ...]:
        """For each slot: those of the `hours` from `first` on that belong to it, as bits."""
        key = (first, hours)
        found = self._masks.get(key)
        if found is None:
            made = [0] * (OFF + 1)
            for number, slot in enumerate(self.slots(first, hours)):
                made[slot] |= 1 << number
            found = self._masks[key] = tuple(made[:WEEK])
        return found

    def _look_up(self, hour: int) -> int:
        local = self.local(hour * 3600)
        return OFF if local.date() in self._days_off else local.weekday() * 24 + local.hour

    def local(self, seconds: float) -> datetime:
        """A time (seconds since 1970-01-01 UTC) by the local clock."""
        if self.zone is None:
            return datetime(*time.localtime(seconds)[:6])
        return datetime.fromtimestamp(seconds, self.zone)


def moment_of(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
