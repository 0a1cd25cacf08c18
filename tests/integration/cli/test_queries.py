"""What lists are made of, on both databases."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event, insert, update

from noctis.config import Settings
from noctis.db import models
from noctis.errors import NotFoundError, UsageError
from noctis.facilities.registry import Registry
from noctis.repository import events, quarantine_list, queries, refusals
from noctis.repository.events import EventFilter
from noctis.repository.quarantine_list import QuarantineFilter
from noctis.repository.queries import StudyFilter
from noctis.repository.refusals import RefusalFilter

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def facility(engine: Engine, settings: Settings) -> int:
    return Registry(engine, settings, actor="tester").add("Central").id


def add_study(engine: Engine, facility: int, number: int, **values: object) -> None:
    when = NOW + timedelta(minutes=number)
    row = {"facility_id": facility, "study_instance_uid": f"1.{number}", "first_received": when, "last_received": when}
    with engine.begin() as connection:
        connection.execute(insert(models.Study), row | values)


def uids(engine: Engine, limit: int = 50, **wanted: object) -> list[str]:
    return [row["study_instance_uid"] for row in queries.studies(engine, StudyFilter(**wanted), limit)]  # type: ignore[arg-type]


def test_the_newest_first_and_no_more_than_asked_for(engine: Engine, facility: int) -> None:
    assert queries.last_received(engine) is None
    for number in (1, 2, 3):
        add_study(engine, facility, number)
    add_study(engine, facility, 4, status="complete", last_received=NOW + timedelta(minutes=3))
    assert queries.last_received(engine) == NOW + timedelta(minutes=3)
    with engine.begin() as connection:  # more of the oldest has come
        late = update(models.Study).where(models.Study.study_instance_uid == "1.1")
        connection.execute(late.values(last_received=NOW + timedelta(minutes=9)))
    assert uids(engine) == ["1.4", "1.3", "1.2", "1.1"]
    assert uids(engine, limit=2) == ["1.4", "1.3"]
    assert uids(engine, status="complete") == ["1.4"]
    assert uids(engine, status="receiving") == ["1.3", "1.2", "1.1"]
    assert queries.last_received(engine) == NOW + timedelta(minutes=9)
    (first, *_) = queries.studies(engine, StudyFilter(), 1)
    assert first["last_received"] == "2026-01-02T03:07:05+00:00"


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
@pytest.mark.parametrize("wanted", [{}, {"facility_id": 1}, {"status": "complete"}, {"modality": "CT"}])
def test_the_first_page_needs_no_sorting(engine: Engine, facility: int, wanted: dict[str, Any]) -> None:
    """Of a million studies that would take seconds."""
    asked: list[tuple[str, Any]] = []
    event.listen(engine, "before_cursor_execute", lambda _c, _u, sql, values, _x, _m: asked.append((sql, values)))
    uids(engine, **wanted)
    sql, values = next(each for each in asked if "FROM study" in each[0])
    with engine.connect() as connection:
        plan = [row[-1] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values)]
    assert not [step for step in plan if "TEMP B-TREE" in step], plan


def test_a_study_of_which_only_the_uid_is_known(engine: Engine, facility: int) -> None:
    add_study(engine, facility, 1)
    assert queries.one_study(engine, "1.1")["facility"] == "central"
    with pytest.raises(NotFoundError):
        queries.one_study(engine, "1.2")
    with pytest.raises(NotFoundError):
        queries.one_study(engine, "1.1", facility + 1)


@pytest.mark.parametrize(
    ("date", "found"),
    [
        ("20260102", ["1.2"]),
        ("20260101-20260102", ["1.2", "1.1"]),
        ("20260102-", ["1.3", "1.2"]),
        ("-20260102", ["1.2", "1.1"]),
    ],
)
def test_dates(engine: Engine, facility: int, date: str, found: list[str]) -> None:
    for number in (1, 2, 3):
        add_study(engine, facility, number, study_date=f"2026010{number}")
    add_study(engine, facility, 4, study_date="")
    assert uids(engine, date=date) == found


@pytest.mark.parametrize("date", ["-", "2026", "20260101-20260102-20260103", "２０２６０１０２", "today", "2026-01-02"])
def test_what_is_no_date(engine: Engine, date: str) -> None:
    with pytest.raises(UsageError, match="is no date"):
        uids(engine, date=date)


def test_patients_by_a_part_of_id_or_name(engine: Engine, facility: int) -> None:
    add_study(engine, facility, 1, patient_id="AB_12", patient_name="Šťastná^Žofia")
    add_study(engine, facility, 2, patient_id="ABx12", patient_name="Doe^Jane=山田^太郎")
    assert uids(engine, patient="ab_") == ["1.1"]  # _ and % are what they are
    assert uids(engine, patient="%") == []
    assert uids(engine, patient="DOE") == ["1.2"]
    assert uids(engine, patient="山田") == ["1.2"]
    assert uids(engine, patient="Žofia") == ["1.1"]


def test_sqlite_knows_the_case_of_every_letter(engine: Engine, facility: int, backend: str) -> None:
    add_study(engine, facility, 1, patient_name="Šťastná^Žofia")
    assert uids(engine, patient="žofia") == (["1.1"] if backend == "sqlite" else [])


def test_modality_accession_status(engine: Engine, facility: int) -> None:
    add_study(engine, facility, 1, modalities="CT\\SR", accession_number="A_1", status="complete")
    add_study(engine, facility, 2, modalities="CTX")
    assert uids(engine, modality="ct") == uids(engine, modality="SR") == ["1.1"]
    assert uids(engine, modality="C_") == []
    assert uids(engine, accession="A_1") == uids(engine, status="complete") == ["1.1"]
    assert uids(engine, facility_id=facility + 1) == []


def test_a_study_that_several_facilities_have(engine: Engine, settings: Settings, facility: int) -> None:
    other = Registry(engine, settings, actor="tester").add("North").id
    for each in (facility, other):
        add_study(engine, each, 1)
    assert queries.one_study(engine, "1.1", other)["facility"] == "north"
    with pytest.raises(UsageError, match=r"central, north|north, central"):
        queries.one_study(engine, "1.1")
    with pytest.raises(NotFoundError):
        queries.one_study(engine, "1.9")


def test_series_by_number(engine: Engine, facility: int) -> None:
    add_study(engine, facility, 1)
    study = queries.one_study(engine, "1.1")["id"]
    with engine.begin() as connection:
        for number, uid in (("10", "1.1.1"), ("2", "1.1.2"), ("", "1.1.3"), ("x", "1.1.4")):
            row = {"study_id": study, "series_instance_uid": uid, "series_number": number}
            connection.execute(insert(models.Series), row)
    found = queries.series_of(engine, study_uid="1.1")
    assert [row["series_instance_uid"] for row in found] == ["1.1.2", "1.1.1", "1.1.3", "1.1.4"]


def test_ledgers(engine: Engine, facility: int) -> None:
    with engine.begin() as connection:
        for number in (1, 2):
            when = NOW + timedelta(minutes=number)
            connection.execute(
                insert(models.Refusal),
                {
                    "port": 1,
                    "called": "C",
                    "calling": f"X{number}",
                    "address": "192.0.2.1",
                    "reason": "unknown",
                    "fix": "noctis device add …",
                    "count": number,
                    "first_seen": NOW,
                    "last_seen": when,
                },
            )
            connection.execute(
                insert(models.AssociationRecord),
                {
                    "association_id": str(number),
                    "facility_id": facility,
                    "port": 1,
                    "called": "C",
                    "calling": "X",
                    "address": "192.0.2.1",
                    "started_at": NOW,
                    "ended_at": when,
                    "outcome": "released",
                },
            )
            connection.execute(
                insert(models.Quarantined),
                {"facility_id": facility, "name": f"{number}.dcm", "reason": "conflict", "received_at": when},
            )
    (latest, _) = refusals.page(engine, RefusalFilter(), 10).rows
    assert {"called", "calling", "address", "reason", "fix", "count", "first_seen", "last_seen"} <= latest.keys()
    assert (latest["calling"], latest["count"]) == ("X2", 2)
    assert [row["association_id"] for row in queries.associations(engine, 10, facility_id=facility)] == ["2", "1"]
    quarantined = quarantine_list.page(engine, QuarantineFilter(facility_id=facility), 1)
    assert [row["name"] for row in quarantined.rows] == ["2.dcm"]
    rest = quarantine_list.page(engine, QuarantineFilter(), 1, quarantined.next)
    assert ([row["name"] for row in rest.rows], rest.next) == (["1.dcm"], None)
    assert quarantine_list.one(engine, "central", "1.dcm")["reason"] == "conflict"
    assert [row["action"] for row in events.stream(engine, EventFilter(facility_id=facility))] == ["facility.added"]
