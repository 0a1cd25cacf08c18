"""What templates say: times and zones."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from noctis.web.templating import capital, clock, zone


@pytest.mark.parametrize(
    ("time", "said"),
    [
        ("091500", "09:15:00"),
        ("091500.250000", "09:15:00"),
        ("0915", "09:15"),
        ("", ""),
        ("09:15", "09:15"),
        ("9", "9"),
    ],
)
def test_a_time_of_dicom_as_people_read_it(time: str, said: str) -> None:
    assert clock(time) == said


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (UTC, "UTC"),
        (timezone(timedelta(hours=1), "CET"), "CET (UTC+01:00)"),
        (timezone(timedelta(hours=-3, minutes=-30), "-0330"), "UTC-03:30"),
    ],
)
def test_the_zone_in_which_times_are_shown(found: timezone, said: str) -> None:
    assert zone(datetime(2026, 1, 1, tzinfo=found)) == said


def test_a_capital_at_the_beginning_and_abbreviations_as_they_are() -> None:
    assert capital("a UID is missing") == "A UID is missing"
    assert capital("") == ""
