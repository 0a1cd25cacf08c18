"""When a disk will be full, as far as studies tell."""

from datetime import UTC, datetime, timedelta

from noctis.repository.counts import Growth
from noctis.web.live import foretell

NOW = datetime(2026, 11, 25, tzinfo=UTC)


def test_days_are_room_over_growth() -> None:
    grown = [Growth(70, NOW - timedelta(days=10)), Growth(30, NOW - timedelta(days=2))]
    assert foretell(1000, grown, NOW) == (10, 100.0, "")


def test_less_than_a_day_foretells_nothing() -> None:
    for grown in ([], [Growth(100, NOW - timedelta(hours=23))]):
        a_day, days, note = foretell(1000, grown, NOW)
        assert (a_day, days) == (None, None)
        assert note.startswith("not enough data")


def test_a_full_disk_and_one_that_hardly_fills() -> None:
    assert foretell(-5, [Growth(100, NOW - timedelta(days=1))], NOW) == (100, 0.0, "")
    assert foretell(1 << 50, [Growth(14, NOW - timedelta(days=14))], NOW) == (1, None, "more than a hundred years")
    assert foretell(1000, [Growth(0, NOW - timedelta(days=14))], NOW) == (0, None, "more than a hundred years")
