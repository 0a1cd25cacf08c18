"""What instance numbers tell; what names a study in an address."""

import pytest

from noctis.repository.study_details import SHOWN_MAX, numbers_of, path_part


def test_gaps_between_the_first_and_the_last_number() -> None:
    found = numbers_of(["3", "1", "7", " 8 ", "12"])
    assert (found.first, found.last) == (1, 12)
    assert found.missing == [(2, 2), (4, 6), (9, 11)]
    assert (found.missing_total, found.more_missing, found.sound) == (7, False, False)


def test_a_whole_series_is_sound() -> None:
    assert numbers_of([str(number) for number in range(100)]).sound
    assert numbers_of([]).sound
    assert not numbers_of(["2", "3"]).sound  # begins after 1


def test_what_is_no_number_is_counted() -> None:
    found = numbers_of(["", "x", "1.5", "1\\2", "9" * 40, "٣", "+4", "-2"])
    assert (found.unnumbered, found.numbered, found.first, found.last) == (6, 2, -2, 4)


def test_what_is_shown_is_bounded() -> None:
    found = numbers_of([str(number) for number in range(1, 1000, 2)] * 2)
    assert (len(found.missing), found.missing_total, found.more_missing) == (SHOWN_MAX, 499, True)
    assert (len(found.repeated), found.repeated_total) == (SHOWN_MAX, 500)
    assert numbers_of(["1", "999999999999"]).missing_total == 999_999_999_997


@pytest.mark.parametrize(
    ("uid", "part"),
    [
        ("1.2.3", "1.2.3"),
        ("a b", "a b"),
        ("..", "~7"),
        (".", "~7"),
        ("", "~7"),
        ("a/b", "~7"),
        ("~5", "~7"),
        ("%", "~7"),
    ],
)
def test_what_names_a_study_in_an_address(uid: str, part: str) -> None:
    assert path_part(7, uid) == part
