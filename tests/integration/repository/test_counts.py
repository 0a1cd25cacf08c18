"""Counts for all facilities at once, on both databases."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, insert

from noctis.config import Settings
from noctis.db import models
from noctis.facilities.naming import CHECKING
from noctis.facilities.registry import Registry
from noctis.repository import counts
from noctis.repository.counts import Growth, Received
from noctis.repository.firsts import First, firsts

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def ids(engine: Engine, settings: Settings) -> dict[str, int]:
    """Slug → id of three facilities."""
    registry = Registry(engine, settings, actor="tester")
    return {name: registry.add(name).id for name in ("central", "north", "empty")}


def put(engine: Engine, model: type[models.Base], **values: Any) -> None:
    with engine.begin() as connection:
        connection.execute(insert(model).values(**values))


def study(engine: Engine, facility_id: int, uid: str, first: datetime, last: datetime, **values: Any) -> None:
    times = {"first_received": first, "last_received": last}
    put(engine, models.Study, facility_id=facility_id, study_instance_uid=uid, **times, **values)


def association(engine: Engine, facility_id: int, number: int, **values: Any) -> None:
    known = {"port": 11113, "called": "CENTRAL", "calling": f"CT_{number}", "address": f"10.0.0.{number}"}
    known |= {"started_at": NOW + number * HOUR, "ended_at": NOW + (number + 0.5) * HOUR, "outcome": "released"}
    put(engine, models.AssociationRecord, association_id=str(number), facility_id=facility_id, **(known | values))


def test_studies_of_a_day_growth_and_the_last_instance(engine: Engine, ids: dict[str, int]) -> None:
    study(engine, ids["central"], "1.1", NOW - 30 * HOUR, NOW + HOUR, bytes=100)  # yesterday's, and late
    study(engine, ids["central"], "1.2", NOW - HOUR, NOW, bytes=20)
    study(engine, ids["central"], "1.3", NOW, NOW, bytes=3)
    study(engine, ids["north"], "1.1", NOW - 30 * HOUR, NOW - 30 * HOUR, bytes=7)
    assert counts.studies_since(engine, NOW - HOUR) == {"central": 2, "north": 0, "empty": 0}
    assert counts.last_received(engine) == {"central": NOW + HOUR, "north": NOW - 30 * HOUR}
    assert counts.growth(engine, NOW - 2 * HOUR) == {"central": Growth(23, NOW - HOUR)}


def test_refusals_are_callers_and_not_their_tries(engine: Engine, ids: dict[str, int]) -> None:
    for port, slug in ((20001, "central"), (20002, "central"), (20003, "north")):
        put(engine, models.UsedPort, port=port, slug=slug)
    for number, (port, back) in enumerate([(20001, 1), (20002, 2), (20003, 3), (20003, 30), (30000, 1)]):
        at = NOW - back * HOUR
        who = {"called": "X", "calling": f"S{number}", "address": "10.0.0.1", "reason": "unknown"}
        put(engine, models.Refusal, port=port, **who, count=100, first_seen=at, last_seen=at)
    assert counts.refusals_since(engine, NOW - 24 * HOUR) == {"central": 2, "north": 1, None: 1}


def test_quarantine_by_facility(engine: Engine, ids: dict[str, int]) -> None:
    for name in ("a", "b"):
        put(engine, models.Quarantined, facility_id=ids["north"], name=name, reason="conflict", received_at=NOW)
    assert counts.quarantined(engine) == {"north": 2}


def test_associations_that_brought_something(engine: Engine, ids: dict[str, int]) -> None:
    association(engine, ids["central"], 1, instances=5)
    association(engine, ids["central"], 2)
    association(engine, ids["central"], 3, instances=1)
    found = counts.received_since(engine, NOW + 1.5 * HOUR)
    assert found[-1] == Received(11113, NOW + HOUR, NOW + 1.5 * HOUR, 5)
    assert [each.instances for each in found] == [1, 5]


def test_what_was_done_first_and_never_by_ourselves(engine: Engine, ids: dict[str, int]) -> None:
    central = ids["central"]
    association(engine, central, 1, calling=CHECKING, echoes=1)
    association(engine, ids["north"], 2, echoes=1)
    nothing = firsts(engine, central, 11113)
    assert (nothing.connection, nothing.echo, nothing.instance, nothing.complete) == (None, None, None, None)
    association(engine, central, 3)
    association(engine, central, 4, echoes=1)
    association(engine, central, 5, echoes=1, instances=1)
    study(engine, central, "1.1", NOW, NOW)
    study(engine, central, "1.2", NOW + HOUR, NOW + HOUR, completed_at=NOW + 2 * HOUR)
    found = firsts(engine, central, 11113)
    assert found.connection == First(NOW + 3 * HOUR, "CT_3", "10.0.0.3")
    assert found.echo == First(NOW + 4 * HOUR, "CT_4", "10.0.0.4")
    assert found.instance == First(NOW)
    assert found.complete == First(NOW + 2 * HOUR)
    assert found.refused is None


def test_the_last_refusal_at_its_port(engine: Engine, ids: dict[str, int]) -> None:
    for number in (1, 2):
        who = {"called": "X", "calling": f"S{number}", "address": "10.0.0.1", "reason": "unknown", "fix": "add it"}
        at = NOW + number * HOUR
        put(engine, models.Refusal, port=11113, **who, first_seen=NOW, last_seen=at)
    refused = firsts(engine, ids["central"], 11113).refused
    assert refused is not None
    assert (refused.calling, refused.at, refused.fix) == ("S2", NOW + 2 * HOUR, "add it")
    assert firsts(engine, ids["central"], 11114).refused is None
