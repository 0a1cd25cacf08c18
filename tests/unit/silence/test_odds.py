"""When a silence alarms: exact where it can be, measured over simulated senders where it cannot."""

import random
import statistics
from bisect import bisect_right
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noctis.silence.calendar import Calendar
from noctis.silence.odds import alarm_at, alarm_weight, probability, weight
from tests.unit.silence.simulated import KINDS, MINIMUM, THRESHOLD, Sender, arrivals, clinic

BERLIN = ZoneInfo("Europe/Berlin")
FIRST, DAYS = date(2026, 1, 5), 364
HOLIDAYS = (date(2026, 4, 3), date(2026, 4, 6), date(2026, 5, 1), date(2026, 5, 14), date(2026, 5, 25))
SENDERS = 3  # of each kind


def senders(kind: str, off: tuple[date, ...] = (), told: tuple[date, ...] = ()) -> list[Sender]:
    calendar = Calendar(BERLIN, told)
    return [Sender(arrivals(KINDS[kind], seed, FIRST, DAYS, BERLIN, off), calendar) for seed in range(SENDERS)]


def local(*fields: int) -> float:
    return datetime(*fields, tzinfo=BERLIN).timestamp()  # type: ignore[misc, arg-type]


@pytest.fixture(scope="module")
def one() -> Sender:
    return senders("clinic")[0]


@pytest.mark.parametrize(
    ("kind", "most"),
    [("clinic", 1), ("practice", 4), ("hospital", 5), ("emergency", 9), ("mobile", 1), ("nightly", 1)],
)
def test_false_alarms_are_rare(kind: str, most: int) -> None:
    """In a year of three senders; docs/operators-guide.md has what was measured over more of them."""
    assert sum(len(each.false_alarms()) for each in senders(kind)) <= most


@pytest.mark.parametrize(
    ("kind", "hours"),
    [("clinic", 6), ("practice", 30), ("hospital", 6), ("emergency", 22), ("mobile", 6), ("nightly", 80)],
)
def test_a_failure_is_found(kind: str, hours: float) -> None:
    """Half of them within so many hours of the first association that did not come."""
    delays: list[float] = []
    for number, each in enumerate(senders(kind)):
        chance = random.Random(number)
        for _ in range(20):
            delay = each.delay(chance.uniform(each.times[0] + 70 * 86_400, each.times[-1] - 14 * 86_400))
            assert delay is not None
            delays.append(delay / 3600)
    assert statistics.median(delays) <= hours


def test_holidays_alarm_unless_they_are_told() -> None:
    untold = [alarm for each in senders("clinic", HOLIDAYS) for alarm in each.false_alarms()]
    assert {datetime.fromtimestamp(alarm, BERLIN).date() for alarm in untold} & set(HOLIDAYS)
    assert sum(len(each.false_alarms()) for each in senders("clinic", HOLIDAYS, HOLIDAYS)) <= 1


def test_a_holiday_before_does_not_hide_a_failure_after() -> None:
    closed = Sender(arrivals(clinic, 5, FIRST, DAYS, BERLIN, HOLIDAYS[:2]), Calendar(BERLIN))
    delay = closed.delay(local(2026, 4, 21, 9, 30))
    assert delay is not None
    assert delay < 10 * 3600


@pytest.mark.parametrize("day", [date(2026, 3, 30), date(2026, 10, 26)])
def test_the_morning_after_a_change_of_clocks_is_no_alarm_and_a_failure_is_one(one: Sender, day: date) -> None:
    """The habit is of local hours: nothing alarms an hour too early, nor does anything an hour later than ever."""
    opening = local(day.year, day.month, day.day, 8)
    usual = local(day.year, day.month, day.day + 1, 8) - 86_400
    assert opening == usual
    last = one.times[bisect_right(one.times, opening) - 1]  # on Friday
    alarm = one.alarm_at(last)
    assert alarm is not None
    assert opening + 1.5 * 3600 < alarm < opening + 5 * 3600


def test_nights_and_weekends_are_no_silence(one: Sender) -> None:
    friday = one.times[bisect_right(one.times, local(2026, 6, 12, 17)) - 1]
    habit = one.habit(friday)
    assert habit is not None
    until = local(2026, 6, 15, 8)
    assert weight(habit, one.calendar, friday, until) < alarm_weight(habit, THRESHOLD) / 2
    assert probability(habit, weight(habit, one.calendar, friday, until)) == 1.0


def test_never_before_the_minimum(one: Sender) -> None:
    last = one.times[-100]
    habit = one.habit(last)
    assert habit is not None
    alarm = alarm_at(habit, one.calendar, last, THRESHOLD, 30 * 3600.0)
    assert alarm is not None
    assert alarm >= last + 30 * 3600


@settings(deadline=None)
@given(seed=st.integers(0, 5), back=st.integers(1, 300), threshold=st.floats(0.0001, 0.5))
def test_at_its_alarm_a_silence_is_as_unlikely_as_was_asked(seed: int, back: int, threshold: float) -> None:
    found = _SENDERS.setdefault(seed, senders("practice")[0])
    last = found.times[-back]
    habit = found.habit(last)
    assert habit is not None
    alarm = alarm_at(habit, found.calendar, last, threshold, 0.0)
    assert alarm is not None
    assert weight(habit, found.calendar, last, alarm) == pytest.approx(alarm_weight(habit, threshold), rel=1e-6)
    assert probability(habit, weight(habit, found.calendar, last, alarm)) <= threshold * 1.001


_SENDERS: dict[int, Sender] = {}


@settings(deadline=None)
@given(st.floats(0, 3e6), st.floats(0, 3e6))
def test_a_longer_silence_is_never_likelier(one: Sender, first: float, second: float) -> None:
    last = one.times[-1]
    habit = one.habit(last)
    assert habit is not None
    short, long = (weight(habit, one.calendar, last, last + each) for each in sorted((first, second)))
    assert short <= long + 1e-9
    assert probability(habit, long) <= probability(habit, short)


def test_what_hardly_ever_sends_does_not_alarm_within_the_horizon() -> None:
    rare = Sender([FIRST_SECONDS + 86_400 * 5.1 * each for each in range(12)], Calendar(BERLIN))
    habit = rare.habit(rare.times[-1])
    assert habit is not None
    alarm = rare.alarm_at(rare.times[-1])
    assert alarm is None or alarm > rare.times[-1] + timedelta(days=7).total_seconds()


FIRST_SECONDS = datetime(2026, 1, 5, tzinfo=BERLIN).timestamp()
assert MINIMUM == 3600
