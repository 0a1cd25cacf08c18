"""Which doors the first page shows, and in which order."""

from datetime import UTC, datetime
from typing import Any

import pytest

from noctis.web.door_rows import COLUMNS, Condition, condition, rows
from noctis.web.doors import Door


def door(slug: str | None, state: str = "running", **values: Any) -> Door:
    blank: dict[str, Any] = {
        "slug": slug,
        "name": (slug or "Default port").title(),
        "ae_title": (slug or "NOCTIS_SERVER").upper(),
        "port": 11112,
        "enabled": state != "disabled",
        "state": state,
        "error": "",
        "error_at": None,
        "workers": 1,
        "live": 0,
        "live_default": 0,
        "rate": 0.0,
        "minutes": (0,) * 60,
        "last_instance": None,
        "today": 0,
        "refusals": 0,
        "quarantine": 0,
    }
    return Door(**blank | values)


def names(doors: list[Door], silent: tuple[str, ...] = (), **asked: str) -> list[str | None]:
    return [each.slug for each in rows(doors, silent, **asked).doors]


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("running", Condition.OPEN),
        ("idle", Condition.OPEN),
        ("starting", Condition.CHANGING),
        ("stopping", Condition.CHANGING),
        ("backoff", Condition.CLOSED),
        ("stopped", Condition.CLOSED),
        ("disabled", Condition.DISABLED),
        ("unknown", Condition.UNKNOWN),
    ],
)
def test_what_a_door_is_counted_as(state: str, expected: Condition) -> None:
    assert condition(door("a", state), ()) == expected


def test_an_open_door_through_which_nothing_comes_is_silent_and_a_closed_one_closed() -> None:
    assert condition(door("a"), ("a",)) == Condition.SILENT
    assert condition(door("a", "backoff"), ("a",)) == Condition.CLOSED
    assert condition(door("a", "disabled"), ("a",)) == Condition.DISABLED


def test_what_needs_somebody_comes_first() -> None:
    doors = [door(None), door("a"), door("b", "disabled"), door("c"), door("d", "backoff"), door("e")]
    assert names(doors, ("c",)) == ["d", "c", None, "a", "b", "e"]
    assert rows(doors, ("c",)).counts == {"closed": 1, "silent": 1, "open": 3, "disabled": 1}
    assert [each.value for each in rows(doors, ("c",)).counts] == ["closed", "silent", "open", "disabled"]


def test_those_of_one_condition_alone_and_how_many_are_hidden() -> None:
    doors = [door("a"), door("b", "backoff"), door("c")]
    found = rows(doors, (), show="closed")
    assert [each.slug for each in found.doors] == ["b"]
    assert found.hidden == 2
    assert found.counts == {"closed": 1, "open": 2}  # of all: it is what one can choose
    assert names(doors, show="nonsense") == ["b", "a", "c"]
    assert names(doors, show="open", q="C") == ["c"]


def test_by_a_column_and_the_other_way_round() -> None:
    early, late = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    doors = [door("b", last_instance=early, today=3), door("c", last_instance=late, today=None), door("a", today=9)]
    assert names(doors, sort="name") == ["a", "b", "c"]
    assert names(doors, sort="-name") == ["c", "b", "a"]
    assert names(doors, sort="last") == ["c", "b", "a"]  # the latest first
    assert names(doors, sort="-last") == ["a", "b", "c"]
    assert names(doors, sort="today") == ["a", "b", "c"]  # what is not known comes last
    assert names(doors, sort="nonsense") == names(doors)


@pytest.mark.parametrize("column", COLUMNS)
def test_every_column_can_be_sorted_by(column: str) -> None:
    doors = [door("a"), door(None, today=None, refusals=None, quarantine=None)]
    assert len(names(doors, sort=column)) == 2
