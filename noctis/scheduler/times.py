"""When the scheduled verify is due: pure functions of the settings, the clock and the last run.

A *slot* is one scheduled moment: a date of the schedule at its time of day, by the local clock. Each date has exactly
one: a time that the spring's change of clocks leaves out is taken with the offset before it (02:30 becomes 03:30), one
that the autumn's has twice is the first. A verify is due when a slot has passed since the last one began; so one that
was missed, the machine being off, is made up for once, however many slots were missed. A clock that was far ahead
at the last run counts that run as of now: it is neither due at every look nor never again.
"""

from datetime import UTC, date, datetime, time, timedelta, tzinfo

from noctis.sections import ScheduleSettings

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
CLOCK_TOLERANCE = timedelta(days=1)  # a last run that is further ahead was noted by a wrong clock
_LOOK_DAYS = 9  # a week, and a day for each end


def period(schedule: ScheduleSettings) -> timedelta | None:
    """From one slot to the next; None: there is none."""
    return {"never": None, "daily": timedelta(days=1), "weekly": timedelta(days=7)}[schedule.verify]


def previous_slot(schedule: ScheduleSettings, now: datetime, zone: tzinfo | None = None) -> datetime | None:
    """The latest slot that is not after `now`, in UTC; None: nothing is scheduled.

    Parameters
    ----------
    now
        Aware.
    zone
        None: this machine's.
    """
    today = now.astimezone(zone).date()
    slots = (_slot(schedule, today + timedelta(days=1 - back), zone) for back in range(_LOOK_DAYS + 1))
    return next((slot for slot in slots if slot is not None and slot <= now), None)


def next_slot(schedule: ScheduleSettings, now: datetime, zone: tzinfo | None = None) -> datetime | None:
    """The first slot after `now`, in UTC; None: nothing is scheduled."""
    today = now.astimezone(zone).date()
    slots = (_slot(schedule, today + timedelta(days=ahead - 1), zone) for ahead in range(_LOOK_DAYS + 1))
    return next((slot for slot in slots if slot is not None and slot > now), None)


def trusted(last: datetime, now: datetime) -> datetime:
    """When the last run began, as far as it can be believed."""
    return now if last > now + CLOCK_TOLERANCE else last


def is_due(schedule: ScheduleSettings, last: datetime, now: datetime, zone: tzinfo | None = None) -> bool:
    """Whether a slot has passed since `last`: the last run's beginning or, before the first one, the first look."""
    slot = previous_slot(schedule, now, zone)
    return slot is not None and slot > trusted(last, now)


def _slot(schedule: ScheduleSettings, day: date, zone: tzinfo | None) -> datetime | None:
    """The slot of one date, in UTC."""
    if schedule.verify == "never" or (schedule.verify == "weekly" and WEEKDAYS[day.weekday()] != schedule.weekday):
        return None
    local = datetime.combine(day, time.fromisoformat(schedule.at))
    return (local if zone is None else local.replace(tzinfo=zone)).astimezone(UTC)
