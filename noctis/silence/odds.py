"""How unlikely a silence is, and when it will be too unlikely. Pure.

A silence has a *weight*: the sum over its hours of -ln(1 - odds), parts of hours in proportion. Were the hours
independent, its probability would be exp(-weight). They are not (whole days are slow, work comes in bursts), so the
sender's own silences tell what a weight means: `habit.often` a week exceed `habit.usual`, and what exceeds it falls off
by `habit.scale`. That gives how often a week has a silence of this weight, whether the sender sends all day or on
Thursdays alone; and none alarms that is not longer than those from which the habit was learned, but for `FORGIVEN`.
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
    return min(1.0, habit.often * exp(-(weight - habit.usual) / habit.scale))


def alarm_weight(habit: Habit, threshold: float) -> float:
    """From which weight on a silence alarms."""
    return max(habit.usual + habit.scale * log(habit.often / threshold), habit.longest * 1.01)


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
