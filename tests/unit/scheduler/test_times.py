"""When the scheduled verify is due, whatever the clock does."""

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from noctis.scheduler.times import is_due, next_slot, period, previous_slot
from noctis.sections import ScheduleSettings

BERLIN = ZoneInfo("Europe/Berlin")
WEEKLY = ScheduleSettings()  # Sunday, 02:00
DAILY = ScheduleSettings(verify="daily", at="02:30")
NEVER = ScheduleSettings(verify="never")
SUNDAY = datetime(2026, 11, 22, 2, 0, tzinfo=BERLIN)


def test_the_slots_around_a_moment() -> None:
    wednesday = datetime(2026, 11, 25, 17, 0, tzinfo=BERLIN)
    assert previous_slot(WEEKLY, wednesday, BERLIN) == SUNDAY
    assert next_slot(WEEKLY, wednesday, BERLIN) == SUNDAY + timedelta(days=7)
    assert previous_slot(WEEKLY, SUNDAY, BERLIN) == SUNDAY
    assert next_slot(WEEKLY, SUNDAY, BERLIN) == SUNDAY + timedelta(days=7)
    assert previous_slot(WEEKLY, SUNDAY - timedelta(seconds=1), BERLIN) == SUNDAY - timedelta(days=7)
    assert next_slot(DAILY, wednesday, BERLIN) == datetime(2026, 11, 26, 2, 30, tzinfo=BERLIN)


def test_nothing_is_scheduled() -> None:
    assert previous_slot(NEVER, SUNDAY) is None
    assert next_slot(NEVER, SUNDAY) is None
    assert period(NEVER) is None
    assert not is_due(NEVER, SUNDAY - timedelta(days=400), SUNDAY)


def test_it_is_due_once_a_slot_and_what_was_missed_once() -> None:
    begun = SUNDAY + timedelta(seconds=5)
    assert is_due(WEEKLY, SUNDAY - timedelta(days=7), SUNDAY, BERLIN)
    assert not is_due(WEEKLY, begun, SUNDAY + timedelta(days=6), BERLIN)
    late = SUNDAY + timedelta(days=30)  # the machine was off
    assert is_due(WEEKLY, begun, late, BERLIN)
    assert not is_due(WEEKLY, late, late + timedelta(hours=1), BERLIN)


def test_a_time_that_spring_leaves_out_is_taken_an_hour_later() -> None:
    midnight = datetime(2026, 3, 29, 0, 0, tzinfo=BERLIN)
    assert next_slot(DAILY, midnight, BERLIN) == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)  # 03:30 in Berlin


def test_a_time_that_autumn_has_twice_is_the_first() -> None:
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)  # 02:30, summer time
    second = first + timedelta(hours=1)  # 02:30, winter time
    assert next_slot(DAILY, first - timedelta(hours=3), BERLIN) == first
    assert not is_due(DAILY, first + timedelta(seconds=1), second + timedelta(seconds=1), BERLIN)
    assert next_slot(DAILY, first, BERLIN) == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)


def test_a_clock_set_back_neither_repeats_nor_stops_it() -> None:
    begun = SUNDAY + timedelta(seconds=5)
    assert not is_due(WEEKLY, begun, SUNDAY - timedelta(minutes=30), BERLIN)
    assert not is_due(WEEKLY, begun, SUNDAY + timedelta(seconds=1), BERLIN)  # the same slot again
    far_ahead = SUNDAY + timedelta(days=3650)  # the last run was noted by a clock ten years ahead
    assert not is_due(WEEKLY, far_ahead, SUNDAY + timedelta(days=1), BERLIN)


zones = st.sampled_from(
    [UTC, BERLIN, ZoneInfo("America/St_Johns"), ZoneInfo("Pacific/Apia"), timezone(timedelta(hours=14))]
)
moments = st.datetimes(datetime(2009, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))
schedules = st.builds(
    ScheduleSettings,
    verify=st.sampled_from(["daily", "weekly"]),
    weekday=st.sampled_from(["monday", "saturday", "sunday"]),
    at=st.times().map(lambda time: f"{time:%H:%M}"),
)


@given(schedules, moments, zones)
def test_every_moment_lies_between_two_slots_that_are_not_far_apart(
    schedule: ScheduleSettings, now: datetime, zone: tzinfo
) -> None:
    before, after = previous_slot(schedule, now, zone), next_slot(schedule, now, zone)
    every = period(schedule)
    assert before is not None
    assert after is not None
    assert every is not None
    assert before <= now < after
    assert timedelta(0) < after - before <= every + timedelta(days=1, hours=2)  # Apia has left out a day
    assert previous_slot(schedule, after, zone) == after
    assert not is_due(schedule, now, now, zone)
    assert not is_due(schedule, now, after - timedelta(seconds=1), zone)
    assert is_due(schedule, now, after, zone)
