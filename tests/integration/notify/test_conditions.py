"""What lasts is told once when it begins and once when it is over; and what is looked at."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import Engine, insert, update

from noctis.config import Settings
from noctis.db.models import Refusal
from noctis.facilities.registry import Registry
from noctis.notify import observers
from noctis.notify.conditions import CLEAR_SECONDS, Conditions, Observation
from noctis.notify.observers import RefusalWindow
from noctis.notify.rules import Rules
from noctis.repository.room import Space
from tests import tls
from tests.integration.notify.conftest import (
    Turned,
    facility_id,
    notifications,
    rule,
    tell_listeners,
    with_options,
)
from tests.integration.notify.test_deliveries import states
from tests.notifying import Receiver

Turn = Callable[..., Turned]
BAD = Observation("here:disk:1", True, "it is low", "it is well again")
NEAR = Observation("here:disk:1", False)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def conditions(engine: Engine, settings: Settings, rules: Rules, clock: Clock) -> Conditions:
    rules_kinds = ("disk-low", "refusal-burst", "silence", "listener-down", "certificate-expiring")
    rule(rules, None, *rules_kinds, recipients=("a@x.example",))
    return Conditions(engine, settings, clock)


def told(engine: Engine) -> list[tuple[str, str]]:
    return [(each["phase"], each["sentence"].split(" (after")[0]) for each in notifications(engine)]


# -- edges


def test_it_is_told_once_when_it_begins_and_once_when_it_is_over(
    conditions: Conditions, clock: Clock, engine: Engine
) -> None:
    for _ in range(3):
        conditions.update("disk-low", "here:", [BAD])
    assert told(engine) == [("begun", "it is low")]
    conditions.update("disk-low", "here:", [])
    clock.now += CLEAR_SECONDS - 1
    conditions.update("disk-low", "here:", [])
    assert len(told(engine)) == 1
    clock.now += 2
    for _ in range(3):
        conditions.update("disk-low", "here:", [])
    assert told(engine) == [("begun", "it is low"), ("over", "it is well again")]


def test_in_between_it_neither_begins_nor_ends(conditions: Conditions, clock: Clock, engine: Engine) -> None:
    conditions.update("disk-low", "here:", [NEAR])
    assert told(engine) == []
    conditions.update("disk-low", "here:", [BAD])
    for _ in range(5):
        clock.now += CLEAR_SECONDS
        conditions.update("disk-low", "here:", [NEAR])
    assert len(told(engine)) == 1


def test_one_that_comes_and_goes_makes_no_storm(conditions: Conditions, clock: Clock, engine: Engine) -> None:
    for _ in range(50):
        clock.now += 1
        conditions.update("disk-low", "here:", [BAD])
        clock.now += 1
        conditions.update("disk-low", "here:", [])
    assert len(told(engine)) == 1


def test_it_must_have_lasted(conditions: Conditions, clock: Clock, engine: Engine) -> None:
    slow = Observation("here:listener:a", True, "it is down", hold=60)
    conditions.update("listener-down", "here:", [slow])
    clock.now += 59
    conditions.update("listener-down", "here:", [])  # back for a moment
    clock.now += 2
    conditions.update("listener-down", "here:", [slow])
    assert told(engine) == []
    clock.now += 60
    conditions.update("listener-down", "here:", [slow])
    assert told(engine) == [("begun", "it is down")]


def test_one_kind_is_not_disturbed_by_another(conditions: Conditions, clock: Clock, engine: Engine) -> None:
    slow = Observation("here:listener:a", True, "it is down", "it is up", hold=60)
    for observed in ([slow], []):
        for _ in range(7):
            conditions.update("listener-down", "here:", observed)
            conditions.update("disk-low", "here:", [])
            clock.now += 10
    assert told(engine) == [("begun", "it is down"), ("over", "it is up")]


def test_another_process_tells_it_not_again(
    conditions: Conditions, clock: Clock, engine: Engine, settings: Settings
) -> None:
    conditions.update("disk-low", "here:", [BAD])
    after = Conditions(engine, settings, clock)
    after.update("disk-low", "here:", [BAD])
    after.update("disk-low", "elsewhere:", [])  # another machine, with the same database
    clock.now += 2 * CLEAR_SECONDS
    after.update("disk-low", "elsewhere:", [])
    assert told(engine) == [("begun", "it is low")]


# -- disks


def test_a_disk_is_low_below_the_reserve_or_a_part_of_it(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    free = 100
    monkeypatch.setattr(
        observers.Room, "space", lambda self, slug="": Space(1, cast(Any, self).root, free * 10**9, 1000 * 10**9)
    )
    options = {"storage": {"reserve_bytes": 30 * 10**9}, "notifications": {"disk_reserves": 2, "disk_percent": 5}}
    given = with_options(settings, **options)
    assert list(observers.disks(given)) == []
    free = 65  # the limit is 60 GB, and it is well again above 72
    (found,) = observers.disks(given)
    assert not found.bad
    free = 55
    (found,) = observers.disks(given)
    assert found.bad
    assert "the spool and the archive" in found.sentence
    assert found.data["free_bytes"] == 55 * 10**9


# -- certificates


def test_a_certificate_that_ends_soon(
    tmp_path: Path, settings: Settings, engine: Engine, conditions: Conditions, clock: Clock
) -> None:
    soon = tls.write(tls.client("Pages", days=10), tmp_path, "soon")
    given = with_options(settings, web={"certificate": str(soon.certificate), "private_key": str(soon.key)})
    (found,) = observers.certificates(given, {})
    assert "ends on" in found.sentence
    assert found.data["days"] in (9, 10)
    conditions.update("certificate-expiring", observers.HOST, [found])
    later = tls.write(tls.client("Pages", days=90), tmp_path, "soon")
    assert later.certificate == soon.certificate
    for _ in range(2):
        conditions.update("certificate-expiring", observers.HOST, observers.certificates(given, {}))
        clock.now += 2 * CLEAR_SECONDS
    assert [phase for phase, _ in told(engine)] == ["begun", "over"]


# -- listeners


def test_a_door_that_is_not_open(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert observers.listeners(settings, {}) is None  # no supervisor runs
    common = {"ae_title": "X", "restarts": 3, "last_error": "the port is taken"}
    status = {
        "listeners": [
            {"facility": None, "name": "(default)", "port": 1, "state": "running", **common},
            {"facility": "central", "name": "Central", "port": 2, "state": "backoff", **common},
            {"facility": "north", "name": "North", "port": 3, "state": "idle", **common},
        ]
    }
    monkeypatch.setattr(observers.Control, "status", lambda self: status)
    found = observers.listeners(settings, {"central": 7})
    assert found is not None
    assert [(each.facility_id, each.hold) for each in found] == [(7, 60.0)]
    assert found[0].sentence == "the listener of 'Central' on port 2 is not open: the port is taken"


# -- refusals


def refuse(engine: Engine, times: int, address: str = "192.0.2.9", port: int = 11113, *, ago: float = 0) -> None:
    """As the ledger counts."""
    now = datetime.now(UTC) - timedelta(seconds=ago)
    key = (Refusal.address == address, Refusal.port == port)
    with engine.begin() as connection:
        done = connection.execute(update(Refusal).where(*key).values(count=Refusal.count + times, last_seen=now))
        if not done.rowcount:
            values = {"called": "C", "calling": "<script>", "address": address, "port": port, "reason": "unknown"}
            connection.execute(insert(Refusal), values | {"count": times, "first_seen": now, "last_seen": now})


def seen(engine: Engine, settings: Settings, window: RefusalWindow, later: float = 0) -> dict[str, bool]:
    with engine.connect().execution_options(read_only=True) as connection:
        now = datetime.now(UTC) + timedelta(seconds=later)
        return {each.key: each.bad for each in observers.refusals(connection, settings, window, now)}


def test_a_burst_from_one_address(engine: Engine, settings: Settings, registry: Registry) -> None:
    window = RefusalWindow()
    refuse(engine, 9)
    assert seen(engine, settings, window) == {}
    refuse(engine, 5)
    assert seen(engine, settings, window) == {"refusals:11113:192.0.2.9": False}
    refuse(engine, 6)
    assert seen(engine, settings, window) == {"refusals:11113:192.0.2.9": True}
    with engine.connect().execution_options(read_only=True) as connection:
        (found,) = observers.refusals(connection, settings, window, datetime.now(UTC))
    assert found.facility_id == facility_id(engine, registry.get("11113").slug)
    assert found.data["count"] == 20
    assert seen(engine, settings, window, later=700) == {}


def test_what_was_before_is_no_burst(engine: Engine, settings: Settings) -> None:
    refuse(engine, 500, ago=7200)
    window = RefusalWindow()
    assert seen(engine, settings, window) == {}
    refuse(engine, 3)
    assert seen(engine, settings, window) == {}
    refuse(engine, 30)
    assert seen(engine, settings, window) == {"refusals:11113:192.0.2.9": True}


def test_a_restart_forgets_nothing(engine: Engine, settings: Settings) -> None:
    window = RefusalWindow()
    refuse(engine, 15)
    seen(engine, settings, window)
    refuse(engine, 15)
    assert seen(engine, settings, RefusalWindow.of(window.as_json())) == {"refusals:11113:192.0.2.9": True}


def test_many_addresses_are_told_of_together(engine: Engine, settings: Settings) -> None:
    for number in range(8):
        refuse(engine, 25, f"192.0.2.{number}")
    found = seen(engine, settings, RefusalWindow())
    assert [key for key, bad in found.items() if bad] == ["refusals:11113:*"]


def test_one_caller_from_ever_new_addresses_is_a_burst(engine: Engine, settings: Settings) -> None:
    for number in range(200):
        refuse(engine, 1, f"192.0.2.{number}")
    assert [key for key, bad in seen(engine, settings, RefusalWindow()).items() if bad] == ["refusals:11113:*"]


# -- all of it


def test_the_notifier_tells_of_a_burst_and_of_its_end(
    engine: Engine, settings: Settings, rules: Rules, registry: Registry, hook: Receiver, turn: Turn
) -> None:
    tell_listeners(settings, registry)
    rule(rules, hook, "refusal-burst", "silence", "disk-low", "certificate-expiring", "listener-down")
    turned = turn()
    turned.turn()
    refuse(engine, 30)
    turned.now += 60
    turned.until(lambda: hook.posted)
    document = hook.posted[0].document
    assert (document["type"], document["phase"], document["facility"]["slug"]) == ("refusal-burst", "begun", "central")
    assert "<script>" in document["text"]
    turned.settle()
    turned.again()  # killed, and started anew
    turned.now += 60
    turned.turn()
    turned.settle()
    assert len(hook.posted) == 1
    with engine.begin() as connection:
        connection.execute(update(Refusal).values(last_seen=datetime.now(UTC) - timedelta(hours=1)))
    for _ in range(3):
        turned.now += 60
        turned.turn(1)
    turned.until(lambda: len(hook.posted) == 2)
    assert hook.posted[1].document["phase"] == "over"
    turned.until(lambda: states(engine) == ["sent", "sent"])


@pytest.mark.usefixtures("registry")
def test_quarantine_is_told_of_together(
    engine: Engine, settings: Settings, rules: Rules, hook: Receiver, turn: Turn
) -> None:
    from noctis.repository import notices

    def quarantine(count: int, reason: str = "conflict", *, ago: float = 0) -> None:
        row = {"facility_id": facility_id(engine, "central"), "reason": reason}
        came = {"received_at": datetime.now(UTC) - timedelta(seconds=ago)}
        with engine.begin() as connection:
            notices.quarantined(connection, [row | came] * count)

    rule(rules, hook, "quarantine")
    turned = turn()
    quarantine(3)
    turned.until(lambda: hook.posted)
    for _ in range(5):
        quarantine(2)
        quarantine(1, "unparsable")
        turned.turn()
    quarantine(100, ago=200_000)  # the table is made again: no news
    turned.settle()
    assert len(hook.posted) == 1
    turned.now += settings.notifications.group_seconds + 1
    turned.until(lambda: len(hook.posted) == 2)
    assert hook.posted[0].data == {"instances": 3, "reasons": {"conflict": 3}}
    assert hook.posted[1].data == {"instances": 15, "reasons": {"conflict": 10, "unparsable": 5}}
