"""What is told, of which rows, and once each: SQLite and PostgreSQL."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, delete, insert, text, update

from noctis.audit import feed as feeds
from noctis.config import Settings
from noctis.db import models
from noctis.facilities.naming import IMPORTING
from noctis.facilities.records import DeviceRecord
from noctis.facilities.registry import Registry
from tests.auditing import SyslogServer
from tests.integration.audit.conftest import Auditor, Ledgers
from tests.support import wait_for

STUDY, PATIENT = "110180", "2"
CT = "1.2.840.10008.5.1.4.1.1.2"


def test_events_are_told_once(auditor: Auditor, ledgers: Ledgers, registry: Registry, server: SyslogServer) -> None:
    ledgers.event("application.started", pid=7)
    registry.add_device("central", DeviceRecord("CT9", ""))
    auditor.told(2)
    assert server.ids() == ["110100", "110113"]
    assert server.received[1].type == "110137"
    auditor.turn()
    auditor.restart()
    auditor.told(2)


def test_refusals_are_told_as_they_count(auditor: Auditor, ledgers: Ledgers, server: SyslogServer) -> None:
    ledgers.refusal()
    ledgers.refusal(calling="OTHER")
    auditor.told(2)
    for _ in range(3):
        ledgers.refusal()
    auditor.told(3)
    assert "refused 3 times (4 since" in server.received[2].text
    auditor.turn()
    auditor.restart()
    auditor.told(3)


def test_a_first_start_tells_nothing_of_before(
    registry: Registry, settings: Settings, ledgers: Ledgers, server: SyslogServer
) -> None:
    end = ledgers.receive("a0", {})
    ledgers.file()
    end()
    ledgers.refusal()
    ledgers.event("application.started")
    made = Auditor(settings, server)
    made.restart(since=datetime.now(UTC) + timedelta(seconds=2))
    made.turn()
    ledgers.refusal()
    ledgers.event("application.stopped", at=datetime.now(UTC) + timedelta(seconds=3))
    made.told(2)
    assert {"110113", "110100"} == set(server.ids())
    assert "refused once (2 since" in " ".join(each.text for each in server.received)
    assert made.service is not None
    made.service.close()


def test_what_an_association_brought(auditor: Auditor, ledgers: Ledgers, server: SyslogServer) -> None:
    end = ledgers.receive(
        "a1",
        {"study": "1.2.1", "patient_id": "P1"},
        {"study": "1.2.1", "patient_id": "P1"},
        {"study": "1.2.2", "patient_id": "P1"},
        {"study": "1.2.3", "patient_id": "P2"},
    )
    ledgers.file()
    end()
    auditor.told(2)
    first, second = server.received
    assert (first.objects(STUDY), first.objects(PATIENT)) == (["1.2.1", "1.2.2"], ["P1"])
    assert (second.objects(STUDY), second.objects(PATIENT)) == (["1.2.3"], ["P2"])
    assert second.classes == {CT: 1}


def test_an_association_is_told_of_when_its_instances_are_filed(
    auditor: Auditor, ledgers: Ledgers, server: SyslogServer
) -> None:
    ledgers.receive("a1", {"study": "1.2.1"})()
    ledgers.event("application.started")
    auditor.told(1)
    auditor.turn()
    auditor.restart()
    auditor.turn()
    assert server.ids() == ["110100"]
    ledgers.file()
    auditor.told(2)
    assert server.received[1].objects(STUDY) == ["1.2.1"]
    auditor.turn()
    auditor.told(2)


def test_one_that_waits_for_too_long_is_told_of_as_it_is(
    auditor: Auditor, ledgers: Ledgers, server: SyslogServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledgers.receive("a1", {"study": "1.2.1"})()
    auditor.turn()
    monkeypatch.setattr(feeds, "PATIENCE_SECONDS", 0.0)
    auditor.told(1)
    assert server.received[0].objects(STUDY) == []
    assert "1 instances acknowledged, 0 of them new" in server.received[0].text


def test_two_associations_of_one_caller_at_once(auditor: Auditor, ledgers: Ledgers, server: SyslogServer) -> None:
    end_first = ledgers.receive("a1", {"study": "1.2.1"}, {"study": "1.2.1"})
    end_second = ledgers.receive("a2", {"study": "1.2.2"})
    ledgers.receive("a3", {"study": "1.2.3"})  # is open still
    ledgers.file()
    end_first()
    end_second()
    auditor.told(2)
    assert [each.objects(STUDY) for each in server.received] == [["1.2.1"], ["1.2.2"]]
    assert [each.classes for each in server.received] == [{CT: 2}, {CT: 1}]


def test_other_facilities_and_callers_are_told_apart(auditor: Auditor, ledgers: Ledgers, server: SyslogServer) -> None:
    ends = [
        ledgers.receive("a1", {"study": "1.2.1"}),
        ledgers.receive("a2", {"study": "1.2.2"}, slug="north"),
        ledgers.receive("a3", {"study": "1.2.1"}, calling="MR1"),
    ]
    ledgers.file()
    for end in ends:
        end()
    auditor.told(3)
    told = {(each.users[0], *each.objects(STUDY)): each.classes for each in server.received}
    assert told == {("CT1", "1.2.1"): {CT: 1}, ("CT1", "1.2.2"): {CT: 1}, ("MR1", "1.2.1"): {CT: 1}}


def test_what_was_there_before_is_no_news(auditor: Auditor, ledgers: Ledgers, server: SyslogServer) -> None:
    same = {"study": "1.2.1", "sop_instance": "1.2.1.1.1"}
    for name in ("a1", "a2"):
        end = ledgers.receive(name, same)
        ledgers.file()
        end()
        auditor.turn()
    auditor.told(2)
    assert [each.action for each in server.received] == ["C", "R"]
    assert server.received[1].objects(STUDY) == []


def test_echoes_alone_are_not_told(auditor: Auditor, ledgers: Ledgers, server: SyslogServer) -> None:
    ledgers.receive("a1")()
    ledgers.receive("a2", failures=1)()
    auditor.told(1)
    assert server.received[0].outcome == "8"


def test_an_import_has_its_studies(auditor: Auditor, ledgers: Ledgers, server: SyslogServer) -> None:
    begun = datetime.now(UTC)
    ledgers.receive("", {"study": "1.2.1", "patient_id": "P1"}, calling=IMPORTING)
    ledgers.file()
    ledgers.event("import.done", began_at=begun.isoformat(), spooled=1, imported=1)
    ledgers.event("import.done", began_at="never")
    auditor.told(2)
    assert [each.id for each in server.received] == ["110107", "110107"]
    assert (server.received[0].objects(STUDY), server.received[0].objects(PATIENT)) == (["1.2.1"], ["P1"])


def test_what_leaves_the_quarantine_has_its_patient(auditor: Auditor, ledgers: Ledgers, server: SyslogServer) -> None:
    ledgers.receive("a1", {"study": "1.2.1", "patient_id": "P1"})
    ledgers.file()
    ledgers.event("quarantine.discarded", study_instance_uid="1.2.1")
    auditor.told(1)
    assert (server.received[0].objects(STUDY), server.received[0].objects(PATIENT)) == (["1.2.1"], ["P1"])


def test_a_transaction_that_commits_late_is_told_all_the_same(
    auditor: Auditor, ledgers: Ledgers, engine: Engine, server: SyslogServer, backend: str
) -> None:
    if backend == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    with engine.connect() as slow:
        slow.execute(insert(models.Event), {"actor": "slow", "action": "x.slow", "subject": "", "detail": {}})
        ledgers.event("x.fast")
        auditor.told(1)
        auditor.turn()
        auditor.restart()
        auditor.turn()
        slow.commit()
    auditor.told(2)
    assert "slow" in server.received[1].users[1]
    auditor.turn()
    auditor.told(2)


def test_ids_that_never_come_are_given_up(
    auditor: Auditor, ledgers: Ledgers, engine: Engine, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if backend == "sqlite":
        pytest.skip("SQLite has no gaps")
    with engine.connect() as slow:
        slow.execute(insert(models.Event), {"actor": "slow", "action": "x.slow", "subject": "", "detail": {}})
        slow.rollback()
    ledgers.event("x.fast")
    auditor.turn()
    assert auditor.service is not None
    assert len(auditor.service._sent.event.open) == 1
    monkeypatch.setattr(feeds, "PATIENCE_SECONDS", -1.0)
    auditor.turn()
    assert auditor.service._sent.event.open == {}


def test_a_restored_database_is_gone_on_with_from_its_time(
    auditor: Auditor, ledgers: Ledgers, engine: Engine, server: SyslogServer
) -> None:
    now = datetime.now(UTC)
    for number in range(3):
        ledgers.event("x.before", at=now + timedelta(seconds=number))
    auditor.told(3)
    auditor.turn()
    with engine.begin() as connection:  # as it was two events ago, and an operator has done something since
        connection.execute(delete(models.Event).where(models.Event.at >= now + timedelta(seconds=1)))
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT setval('event_id_seq', (SELECT max(id) FROM event))"))
    for number in range(5):
        ledgers.event("x.after", at=now + timedelta(seconds=10 + number))
    auditor.restart()
    auditor.told(8)
    assert auditor.service is not None
    with engine.begin() as connection:  # old rows are thrown away: nothing to go back for
        connection.execute(delete(models.Event).where(models.Event.at < now + timedelta(seconds=100)))
    auditor.turn()
    auditor.restart()
    ledgers.event("x.later", at=now + timedelta(seconds=200))
    auditor.turn()
    wait_for(lambda: len(server.received) >= 9)


def test_many_rows_are_told_by_and_by(
    auditor: Auditor, ledgers: Ledgers, server: SyslogServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "ROWS_MAX", 4)
    for number in range(10):
        ledgers.event("x.many", write=False)
        ledgers.refusal(calling=f"C{number}")
    auditor.told(20)


def test_a_detail_that_plain_sql_made(auditor: Auditor, ledgers: Ledgers, engine: Engine, server: SyslogServer) -> None:
    ledgers.event("x.odd")
    with engine.begin() as connection:
        connection.execute(update(models.Event).where(models.Event.action == "x.odd").values(detail=[1, 2]))
    auditor.told(1)
    assert "[1, 2]" in server.received[0].details[0]


def test_the_search_goes_by_what_was_touched_lately(settings: Settings, engine: Engine, registry: Registry) -> None:
    """The plan on SQLite, which has no statistics here: the index of `last_received`, then the indexes of the keys."""
    if engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL plans by its statistics")
    from noctis.audit import transfers

    plans: list[str] = []

    class Explaining:
        def execute(self, query: object, **_: object) -> list[object]:
            compiled = query.compile(engine, compile_kwargs={"literal_binds": True})  # type: ignore[attr-defined]
            with engine.connect() as connection:
                rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}")
                plans.extend(row[3] for row in rows)
            return []

    now = datetime.now(UTC)
    transfers._arrived(Explaining(), 1, now, now)  # type: ignore[arg-type]
    assert "ix_study_status_last_received (status=? AND last_received>?)" in plans[0]
    assert plans[1].endswith("(study_id=?)")
    assert "ix_instance_series_id" in plans[2]
