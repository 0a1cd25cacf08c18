"""What a reconcile would do, from two snapshots."""

from dataclasses import replace
from typing import Any

import pytest

from noctis.facilities.snapshot import Device, Facility, Snapshot
from noctis.supervisor.plan import ListenerSpec, make_plan, wanted

CENTRAL = Facility(1, "central", "Central", "CENTRAL", 11113)
NORTH = Facility(2, "north", "North", "NORTH", 11114)
OFF = Facility(3, "off", "Off", "OFF", 11115, enabled=False)


def changes(before: tuple[Facility, ...], after: tuple[Facility, ...]) -> dict[str, list[dict[str, Any]]]:
    """What differs; lists without changes left out."""
    plan = make_plan(Snapshot(before), Snapshot(after)).as_json()
    assert plan.keys() == {"started", "stopped", "rebound", "refreshed"}
    return {name: found for name, found in plan.items() if found}


def test_the_default_listener_and_the_enabled_ones_run() -> None:
    specs = wanted(Snapshot((CENTRAL, OFF, replace(NORTH, workers=3))), 11112)
    assert specs == {
        "default@11112": ListenerSpec(None, 11112),
        "central@11113": ListenerSpec("central", 11113),
        "north@11114": ListenerSpec("north", 11114, workers=3),
    }


def test_nothing_differs() -> None:
    assert changes((CENTRAL, NORTH, OFF), (CENTRAL, NORTH, OFF)) == {}


def test_added_and_removed() -> None:
    assert changes((NORTH,), (CENTRAL,)) == {
        "started": [{"facility": "central", "port": 11113}],
        "stopped": [{"facility": "north", "port": 11114}],
    }


def test_enabled_and_disabled_are_started_and_stopped() -> None:
    on = replace(OFF, enabled=True)
    assert changes((OFF,), (on,)) == {"started": [{"facility": "off", "port": 11115}]}
    assert changes((on,), (OFF,)) == {"stopped": [{"facility": "off", "port": 11115}]}


def test_what_is_disabled_does_not_matter() -> None:
    assert changes((OFF,), (replace(OFF, port=1, name="Other"),)) == {}


def test_another_port_is_a_rebind_only() -> None:
    moved = replace(CENTRAL, port=12000, name="Moved")
    assert changes((CENTRAL,), (moved,)) == {"rebound": [{"facility": "central", "port": 12000, "was": 11113}]}


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Other"},
        {"ae_title": "OTHER"},
        {"workers": 2},
        {"conflict": "replace"},
        {"quarantine_max_instances": 5},
        {"devices": (Device("CT1"),)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_everything_else_is_a_refresh(change: dict[str, Any]) -> None:
    assert changes((CENTRAL, NORTH), (replace(CENTRAL, **change), NORTH)) == {
        "refreshed": [{"facility": "central", "port": 11113}]
    }
