"""Senders as there are: simulated, seeded, by the local clock. And what the alarm makes of them."""

import random
from bisect import bisect_right
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo

from noctis.silence.calendar import Calendar
from noctis.silence.habit import WINDOW, Habit, learn
from noctis.silence.odds import alarm_at

Rate = Callable[[int, int], float]  # associations an hour by weekday and hour of the local day
THRESHOLD, MINIMUM = 0.01, 3600.0  # as noctis.sections has them


def clinic(weekday: int, hour: int) -> float:
    """Monday to Friday from 8 to 17 h, fewer at noon."""
    return (2.0 if hour == 12 else 6.0) if weekday < 5 and 8 <= hour < 17 else 0.0


def practice(weekday: int, hour: int) -> float:
    """A small one, closed at noon and on Wednesday afternoons."""
    closed = weekday >= 5 or hour in (12, 13) or (weekday == 2 and hour > 12)
    return 0.0 if closed or not 8 <= hour < 18 else 1.5


def hospital(weekday: int, hour: int) -> float:
    """Around the clock, less at night and at weekends."""
    return (12.0 if 7 <= hour < 19 else 3.0) / (2 if weekday >= 5 else 1)


def emergency(weekday: int, hour: int) -> float:
    """One scanner, around the clock, now and then."""
    return 1.2 if 7 <= hour < 23 else 0.3


def mobile(weekday: int, hour: int) -> float:
    """Thursdays from 9 to 13 h."""
    return 4.0 if weekday == 3 and 9 <= hour < 13 else 0.0


def nightly(weekday: int, hour: int) -> float:
    """Everything of the day at once, after 2 h."""
    return 3.0 if hour == 2 else 0.0


KINDS: dict[str, Rate] = {each.__name__: each for each in (clinic, practice, hospital, emergency, mobile, nightly)}


def arrivals(
    rate: Rate,
    seed: int,
    first: date,
    days: int,
    zone: tzinfo = UTC,
    off: Collection[date] = (),
    spread: float = 0.3,
) -> list[float]:
    """When associations ended (seconds since 1970-01-01 UTC): Poisson, each day busier or quieter than the others."""
    chance = random.Random(seed)
    found: list[float] = []
    begin = datetime(first.year, first.month, first.day, tzinfo=zone).timestamp()
    calendar = Calendar(zone)
    today, factor = None, 1.0
    for hour in range(int(begin // 3600), int(begin // 3600) + 24 * days):
        local = calendar.local(hour * 3600)
        if local.date() != today:
            today, factor = local.date(), max(0.3, chance.gauss(1, spread))
        if today in off:
            continue
        expected, moment = rate(local.weekday(), local.hour) * factor, hour * 3600.0
        while expected > 0:
            moment += chance.expovariate(expected) * 3600
            if moment >= (hour + 1) * 3600:
                break
            found.append(moment)
    return found


@dataclass
class Sender:
    """What one has sent, as the store would have it at any moment."""

    times: list[float]
    calendar: Calendar

    def __post_init__(self) -> None:
        self.base = int(self.times[0] // 86_400)
        self.bits = 0
        for hour in {int(time // 3600) for time in self.times}:
            self.bits |= 1 << (hour - 24 * self.base)
        self._habits: dict[int, Habit | None] = {}

    def habit(self, last: float) -> Habit | None:
        """As it was learned from what came before the day of `last`."""
        day = int(last // 86_400)
        if day not in self._habits:
            first = day - WINDOW // 24
            shift = 24 * (first - self.base)
            bits = (self.bits >> shift if shift >= 0 else self.bits << -shift) & ((1 << WINDOW) - 1)
            self._habits[day] = learn(bits, 24 * first, 24 * (day - self.base), self.calendar)
        return self._habits[day]

    def alarm_at(self, last: float, threshold: float = THRESHOLD) -> float | None:
        """When it alarms if nothing comes after `last`."""
        habit = self.habit(last)
        return None if habit is None else alarm_at(habit, self.calendar, last, threshold, MINIMUM)

    def false_alarms(self, threshold: float = THRESHOLD) -> list[float]:
        """When it was said to be silent, and was not."""
        found = []
        for last, following in zip(self.times, self.times[1:], strict=False):
            if following - last > MINIMUM:
                alarm = self.alarm_at(last, threshold)
                if alarm is not None and alarm < following:
                    found.append(alarm)
        return found

    def delay(self, failure: float, threshold: float = THRESHOLD) -> float | None:
        """Seconds from the first association that a failure kept away to the alarm."""
        place = bisect_right(self.times, failure)
        alarm = self.alarm_at(self.times[place - 1], threshold)
        return None if alarm is None else max(0.0, alarm - self.times[place])
