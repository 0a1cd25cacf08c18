"""What is learned: slots by the local clock, enough and not enough, days off."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noctis.silence.calendar import OFF, WEEK, Calendar
from noctis.silence.habit import ENOUGH_HOURS, WINDOW, Habit, learn
from noctis.silence.words import rarity, sentence, usual
from tests.unit.silence.simulated import Sender, arrivals, clinic

BERLIN = ZoneInfo("Europe/Berlin")
MONDAY = date(2026, 1, 5)


def hour_of(moment: datetime) -> int:
    return int(moment.timestamp() // 3600)


def hours(first: int, *numbers: int) -> int:
    return sum(1 << (number - first) for number in numbers)


def clinic_habit(zone: ZoneInfo = BERLIN, first: date = MONDAY, weeks: int = 10, off: tuple[date, ...] = ()) -> Habit:
    sender = Sender(arrivals(clinic, 1, first, 7 * weeks, zone), Calendar(zone, off))
    found = sender.habit(sender.times[-1])
    assert found is not None
    return found


def test_slots_are_hours_of_the_local_week() -> None:
    calendar = Calendar(BERLIN)
    assert calendar.slot(hour_of(datetime(2026, 1, 5, 0, 30, tzinfo=BERLIN))) == 0
    assert calendar.slot(hour_of(datetime(2026, 7, 8, 15, 0, tzinfo=BERLIN))) == 2 * 24 + 15
    assert Calendar(UTC).slot(hour_of(datetime(2026, 1, 11, 23, 59, tzinfo=UTC))) == WEEK - 1


def test_a_change_of_clocks_moves_no_slot() -> None:
    calendar = Calendar(BERLIN)
    first = hour_of(datetime(2026, 3, 29, tzinfo=BERLIN))
    assert [calendar.slot(first + each) % 24 for each in range(5)] == [0, 1, 3, 4, 5]  # 2 h is left out
    first = hour_of(datetime(2026, 10, 25, tzinfo=BERLIN))
    assert [calendar.slot(first + each) % 24 for each in range(5)] == [0, 1, 2, 2, 3]


@pytest.mark.parametrize("first", [date(2026, 2, 16), date(2026, 9, 14)])
def test_a_habit_across_a_change_of_clocks_is_the_same(first: date) -> None:
    assert usual(clinic_habit(first=first)) == "Monday to Friday 8-17 h"
    calendar = Calendar(BERLIN)
    assert sum(mask.bit_count() for mask in calendar.masks(hour_of(datetime(2026, 3, 1, tzinfo=UTC)), WINDOW)) == WINDOW


def test_a_half_hours_zone_has_whole_slots() -> None:
    assert usual(clinic_habit(zone=ZoneInfo("Asia/Kolkata"))) in ("Monday to Friday 8-17 h", "Monday to Friday 7-17 h")


def test_two_weeks_and_some_hours_are_needed() -> None:
    calendar = Calendar(UTC)
    bits = (1 << ENOUGH_HOURS) - 1 << WINDOW - 200
    assert learn(bits, 0, 14 * 24, calendar) is not None
    assert learn(bits, 0, 14 * 24 - 1, calendar) is None
    assert learn(bits & (bits - 1), 0, 14 * 24, calendar) is None
    assert learn(0, 0, WINDOW, calendar) is None


def test_days_off_are_neither_learned_from_nor_counted() -> None:
    off = tuple(MONDAY + timedelta(days=7 * week) for week in (2, 5, 8))
    closed = Sender(arrivals(clinic, 1, MONDAY, 70, BERLIN, off), Calendar(BERLIN, off))
    told = closed.habit(closed.times[-1])
    closed.calendar, closed._habits = Calendar(BERLIN), {}
    untold = closed.habit(closed.times[-1])
    assert told is not None
    assert untold is not None
    assert told.odds[10] > 0.9  # Monday, 10 h
    assert untold.odds[10] < 0.75
    assert Calendar(BERLIN, off).slot(hour_of(datetime(2026, 1, 19, 10, tzinfo=BERLIN))) == OFF


def test_the_nights_and_weekends_of_a_clinic_weigh_nothing() -> None:
    habit = clinic_habit()
    assert {habit.odds[day * 24 + hour] for day in range(5) for hour in range(6)} == {0.0}
    assert sum(habit.odds[5 * 24 :]) == 0.0


@settings(deadline=None)
@given(st.integers(0, (1 << WINDOW) - 1), st.integers(0, 2 * WINDOW), st.integers(400_000, 600_000))
def test_any_history_gives_odds_that_are_probabilities(bits: int, observed: int, first: int) -> None:
    looked = bits & ((1 << WINDOW) - (1 << WINDOW - min(observed, WINDOW)))
    habit = learn(looked, first, observed, Calendar(BERLIN))
    if habit is not None:
        assert all(0 <= each < 1 for each in habit.odds)
        assert habit.scale >= 1
        assert 0 <= habit.usual <= habit.longest + max(habit.weights)
        assert usual(habit)


@pytest.mark.parametrize(
    ("probability", "words"),
    [
        (1.0, "this happens every week"),
        (0.4, "this happens once in 2 weeks"),
        (0.01, "this happens once in 100 weeks"),
        (0.0043, "this happens once in 200 weeks"),
        (1e-9, "this happens less than once in 10000 weeks"),
    ],
)
def test_a_probability_in_plain_words(probability: float, words: str) -> None:
    assert rarity(probability) == words


def test_a_silence_in_plain_words() -> None:
    habit, monday = clinic_habit(), datetime(2026, 3, 16, 14)
    assert sentence(habit, 5 * 3600, 0.005, monday) == (
        "usually sends on Mondays between 8 and 17 h; silent for 5 h; this happens once in 200 weeks"
    )
    sunday = datetime(2026, 3, 15, 14)
    assert sentence(habit, 7200, 1.0, sunday).startswith("usually sends Monday to Friday 8-17 h; silent for 2 h")
    assert sentence(None, None, None, monday) == "never sent"
    assert "not enough" in sentence(None, 3.0, None, monday)
