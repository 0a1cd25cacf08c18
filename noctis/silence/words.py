"""Habits and silences in plain words. Pure."""

from datetime import datetime

from noctis.silence.habit import Habit
from noctis.text import duration

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
USUAL = 0.5  # odds from which on an hour is one in which it usually sends
NEVER = "never sent"
NOT_ENOUGH = "not enough is known yet of its habit"


def usual(habit: Habit) -> str:
    """When it usually sends: `Monday to Friday 8-17 h, Saturday 9-12 h`."""
    hours = [_ranges(habit, day) for day in range(7)]
    parts, day = [], 0
    while day < 7:
        end = day
        while end + 1 < 7 and hours[end + 1] == hours[day]:
            end += 1
        if hours[day]:
            days = DAYS[day] if end == day else f"{DAYS[day]} to {DAYS[end]}" if end - day > 1 else _both(day)
            days = "every day" if (day, end) == (0, 6) else days
            parts.append(f"{days} {_spans(hours[day])}")
        day = end + 1
    return ", ".join(parts) or "at no fixed hours"


def sentence(habit: Habit | None, seconds: float | None, probability: float | None, local: datetime) -> str:
    """What a silence means; None: never sent, or too little is known.

    Parameters
    ----------
    local
        Now, by the local clock.
    """
    if seconds is None:
        return NEVER
    if habit is None or probability is None:
        return f"silent for {duration(seconds)}; {NOT_ENOUGH}"
    today = _ranges(habit, local.weekday())
    when = f"on {DAYS[local.weekday()]}s {_between(today)}" if today else usual(habit)
    return f"usually sends {when}; silent for {duration(seconds)}; {rarity(probability)}"


def rarity(probability: float) -> str:
    """How often a silence of this probability (that a week has one) comes."""
    if probability >= 0.75:
        return "this happens every week"
    weeks = 1 / max(probability, 1e-4)
    if probability < 1e-4:
        return "this happens less than once in 10000 weeks"
    rounded = round(weeks) if weeks < 20 else 10 * round(weeks / 10) if weeks < 200 else 100 * round(weeks / 100)
    return f"this happens once in {rounded} weeks"


def _ranges(habit: Habit, day: int) -> list[tuple[int, int]]:
    """From which hour to which (24: midnight) it usually sends on this day."""
    found: list[tuple[int, int]] = []
    for hour in range(24):
        if habit.odds[day * 24 + hour] >= USUAL:
            if found and found[-1][1] == hour:
                found[-1] = (found[-1][0], hour + 1)
            else:
                found.append((hour, hour + 1))
    return found


def _both(day: int) -> str:
    return f"{DAYS[day]} and {DAYS[day + 1]}"


def _spans(ranges: list[tuple[int, int]]) -> str:
    return "at all hours" if ranges == [(0, 24)] else " and ".join(f"{a}-{b} h" for a, b in ranges)


def _between(ranges: list[tuple[int, int]]) -> str:
    if ranges == [(0, 24)]:
        return "at all hours"
    return " and ".join(f"between {a} and {b} h" for a, b in ranges)
