"""How unlikely a silence is, and when it will be too unlikely. Pure.

The hours of a silence are taken as independent: its probability is the product of (1 - odds) over them, parts of hours
in proportion. A sender begins `silences` silences a week, so one at least as long as this comes `silences` x
probability times a week: that number is compared with the threshold, so that it means the same for one that sends now
and then as for one that sends all day. As hours are not independent (whole days are off, work comes in bursts), nothing
alarms either that is not longer than the silences from which the habit was learned, but for one of them.
"""

from math import exp, log

from noctis.silence.calendar import OFF, Calendar
from noctis.silence.habit import Habit

HORIZON = 26 * 168  # hours; what does not alarm within these does not


def weight(habit: Habit, calendar: Calendar, since: float, until: float) -> float:
    """Of the silence between two times (seconds since 1970-01-01 UTC)."""
    first, last = int(since // 3600), int(until // 3600)
    found = 0.0
    for hour in range(first, min(last, first + HORIZON) + 1):
        slot = calendar.slot(hour)
        if slot != OFF:
            part = min(until, (hour + 1) * 3600) - max(since, hour * 3600)
            found += habit.weights[slot] * part / 3600
    return found


def probability(habit: Habit, weight: float) -> float:
    """That a week has a silence of at least this weight."""
    return min(1.0, habit.silences * exp(-weight))


def alarm_weight(habit: Habit, threshold: float) -> float:
    """From which weight on a silence alarms."""
    return max(log(habit.silences / threshold), habit.longest * 1.01)


def alarm_at(habit: Habit, calendar: Calendar, since: float, threshold: float, minimum: float) -> float | None:
    """When a silence since `since` alarms (seconds since 1970-01-01 UTC); None: not within the horizon.

    Parameters
    ----------
    threshold
        The probability that a week has a silence like it.
    minimum
        Seconds that it lasts at least.
    """
    left = alarm_weight(habit, threshold)
    first = int(since // 3600)
    for hour in range(first, first + HORIZON):
        slot = calendar.slot(hour)
        if slot == OFF:
            continue
        begin = max(since, hour * 3600)
        rate = habit.weights[slot] / 3600
        most = rate * ((hour + 1) * 3600 - begin)
        if most >= left:
            return max(begin + left / rate, since + minimum)
        left -= most
    return None
