"""Looking at everything, over a real database: what is kept between looks, and what counts as silence."""

import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine, insert

from noctis.config import Settings
from noctis.db import models
from noctis.facilities.records import DeviceRecord
from noctis.facilities.registry import Registry
from noctis.silence import State, Watch, evaluate, watch
from noctis.silence.mutes import Mutes
from tests.habits import clinic_stopped, fill

NOON = datetime(2026, 6, 17, 12, tzinfo=UTC)  # a Wednesday
Found = dict[tuple[str, str], State]


@pytest.fixture
def facilities(registry: Registry) -> dict[str, int]:
    """central with two devices, and north."""
    registry.add_device("central", DeviceRecord("CT1", ""))
    registry.add_device("central", DeviceRecord("MR1", "10.0.0.0/8"))
    return {each.slug: each.id for each in registry.all()}


def found(states: list[State]) -> Found:
    return {(state.facility, state.device): state for state in states}


@pytest.fixture
def looker(engine: Engine, settings: Settings) -> Watch:
    return Watch(engine, settings, UTC)


def test_a_device_alarms_alone_and_is_covered_by_its_facility(
    facilities: dict[str, int], engine: Engine, looker: Watch
) -> None:
    fill(engine, facilities["central"], "CT1", clinic_stopped(NOON, timedelta(0)))
    fill(engine, facilities["central"], "MR1", clinic_stopped(NOON, timedelta(days=3)))
    states = found(looker.evaluate(NOON))
    assert list(states) == [("central", ""), ("central", "CT1"), ("central", "MR1"), ("north", "")]
    assert [state.alarm for state in states.values()] == [False, False, True, False]
    assert states["central", ""].last_at == NOON
    states = found(looker.evaluate(NOON + timedelta(days=2)))
    assert (states["central", ""].alarm, states["central", ""].raised) == (True, True)
    assert {(state.alarm, state.covered) for key, state in states.items() if key[1]} == {(False, True)}
    assert states["north", ""].sentence == "never sent"


def test_it_says_when_it_will_alarm_and_then_does(facilities: dict[str, int], engine: Engine, looker: Watch) -> None:
    fill(engine, facilities["north"], "US1", clinic_stopped(NOON, timedelta(0)))
    expected = found(looker.evaluate(NOON))["north", ""].alarm_at
    assert expected is not None
    assert NOON + timedelta(hours=1) < expected < NOON + timedelta(hours=5)
    before, after = (found(looker.evaluate(expected + timedelta(seconds=each)))["north", ""] for each in (-1, 1))
    assert (before.alarm, after.alarm) == (False, True)
    assert before.alarm_at == after.alarm_at == expected
    assert after.probability == pytest.approx(0.01, rel=0.01) or after.probability < 0.01  # type: ignore[operator]


def test_an_unregistered_caller_is_a_device_once_it_has_a_habit(
    facilities: dict[str, int], engine: Engine, looker: Watch
) -> None:
    fill(engine, facilities["north"], "US1", clinic_stopped(NOON, timedelta(0)))
    fill(engine, facilities["north"], "ONCE", [NOON.timestamp()])
    assert ("north", "US1") in found(looker.evaluate(NOON))
    assert ("north", "ONCE") not in found(looker.evaluate(NOON))


def test_what_is_kept_between_looks_is_what_a_new_look_finds(
    facilities: dict[str, int], engine: Engine, settings: Settings, looker: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hours, days and a month of looks, with arrivals in between, some into the past."""
    monkeypatch.setattr(watch, "PART", 1)
    chance = random.Random(3)
    now = NOON
    fill(engine, facilities["central"], "CT1", clinic_stopped(now, timedelta(0)))
    fill(engine, facilities["north"], "US1", clinic_stopped(now, timedelta(days=1)))
    looker.evaluate(now)
    for step in (0.2, 3, 20, 1, 24, 70, 1, 300, 2):
        now += timedelta(hours=step)
        came = [(now - timedelta(hours=chance.uniform(0, 30))).timestamp() for _ in range(3)]
        fill(engine, facilities[chance.choice(["central", "north"])], chance.choice(["CT1", "US1"]), came)
        for _ in range(2):  # a day that had an arrival before what was known is learned from when its turn comes
            looker.evaluate(now)
        kept, new = (found(each) for each in (looker.evaluate(now), Watch(engine, settings, UTC).evaluate(now)))
        assert {key: (state.last_at, state.alarm) for key, state in kept.items()} == {
            key: (state.last_at, state.alarm) for key, state in new.items()
        }


def test_what_just_came_is_seen_at_the_next_look(
    facilities: dict[str, int], engine: Engine, looker: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "PART", 0)
    fill(engine, facilities["central"], "CT1", clinic_stopped(NOON, timedelta(days=3)))
    assert found(looker.evaluate(NOON))["central", ""].alarm
    fill(engine, facilities["central"], "CT1", [NOON.timestamp()])
    assert found(looker.evaluate(NOON))["central", "CT1"].last_at == NOON


def test_many_are_learned_anew_little_by_little(
    facilities: dict[str, int], engine: Engine, looker: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    for title in ("CT1", "MR1"):
        fill(engine, facilities["central"], title, clinic_stopped(NOON, timedelta(0)))
    first = found(looker.evaluate(NOON))
    later = NOON + timedelta(days=7)
    for title in ("CT1", "MR1"):
        fill(engine, facilities["central"], title, [later.timestamp()])
    monkeypatch.setattr(watch, "LEARN", 1)
    habits = [found(looker.evaluate(later)) for _ in range(3)]
    keys = [("central", ""), ("central", "CT1"), ("central", "MR1")]
    assert [sum(each[key].habit != first[key].habit for key in keys) for each in habits] == [1, 2, 3]
    assert all(each[key].last_at == later for each in habits for key in keys)


def test_what_a_wrong_clock_wrote_is_not_believed(facilities: dict[str, int], engine: Engine, looker: Watch) -> None:
    fill(engine, facilities["north"], "US1", clinic_stopped(NOON, timedelta(days=3)))
    fill(engine, facilities["north"], "US1", [(NOON + timedelta(days=400)).timestamp()])
    assert found(looker.evaluate(NOON))["north", ""].alarm


def test_an_open_association_that_brings_something_is_no_silence(
    facilities: dict[str, int], engine: Engine, looker: Watch
) -> None:
    """It is in the ledger only when it has ended. What is imported does not count."""
    fill(engine, facilities["central"], "CT1", clinic_stopped(NOON, timedelta(days=3)))
    assert found(looker.evaluate(NOON))["central", ""].alarm
    study = {"facility_id": facilities["central"], "first_received": NOON, "last_received": NOON}
    times = {"IMPORT": NOON, "NEW_1": NOON - timedelta(minutes=1)}
    for number, (calling, at) in enumerate(times.items()):
        with engine.begin() as connection:
            connection.execute(
                insert(models.Study).values(study | {"id": number + 1, "study_instance_uid": f"1.{number}"})
            )
            series = {"id": number + 1, "study_id": number + 1, "series_instance_uid": f"2.{number}"}
            connection.execute(insert(models.Series).values(series))
            connection.execute(
                insert(models.Instance).values(
                    facility_id=facilities["central"],
                    series_id=number + 1,
                    sop_instance_uid=f"3.{number}",
                    sop_class_uid="1",
                    transfer_syntax_uid="1",
                    path=f"{number}",
                    bytes=1,
                    sha256=str(number),
                    calling_ae_title=calling,
                    called_ae_title="C",
                    peer_address="",
                    received_at=at,
                )
            )
        state = found(looker.evaluate(NOON))["central", ""]
        assert state.alarm is (calling == "IMPORT")
    assert state.last_at == NOON - timedelta(minutes=1)


def test_what_was_said_holds_as_long_as_it_should(facilities: dict[str, int], engine: Engine, looker: Watch) -> None:
    now = datetime.now(UTC)
    for title in ("CT1", "MR1"):
        fill(engine, facilities["central"], title, clinic_stopped(now, timedelta(days=9)))
    mutes = Mutes(engine, "ada")
    mutes.acknowledge("central", reason="known")
    states = found(looker.evaluate(now))
    assert {(state.acknowledged, state.raised) for key, state in states.items() if key[0] == "central"} == {
        (True, False)
    }
    assert states["central", ""].mute is not None
    assert (states["central", ""].mute.actor, states["central", ""].mute.reason) == ("ada", "known")
    fill(engine, facilities["central"], "CT1", [(now - timedelta(hours=1)).timestamp()])
    states = found(looker.evaluate(now))
    assert not states["central", ""].acknowledged
    assert states["central", "MR1"].raised  # it was the facility's silence that was acknowledged
    mutes.mute("central", "MR1", now + timedelta(hours=2))
    assert found(looker.evaluate(now))["central", "MR1"].muted
    assert found(looker.evaluate(now + timedelta(hours=3)))["central", "MR1"].raised


def test_one_look_is_the_machines_own_zone(facilities: dict[str, int], engine: Engine, settings: Settings) -> None:
    fill(engine, facilities["north"], "US1", clinic_stopped(NOON, timedelta(0)))
    assert found(evaluate(engine, settings, NOON))["north", "US1"].habit is not None
    berlin = found(Watch(engine, settings, ZoneInfo("Europe/Berlin")).evaluate(NOON))["north", ""]
    assert "between 10 and 19 h" in berlin.sentence
