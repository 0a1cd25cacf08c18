"""The journal's lines in the tables: counted, bounded, and never stopped by a bad one."""

import json
import os
import threading
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, select

from noctis.archiver import ledger
from noctis.archiver.ledger import forget_old_associations, write_ledgers
from noctis.config import Settings
from noctis.db import models
from noctis.facilities.registry import Registry
from noctis.repository import refusals
from noctis.repository.journal import Journal
from noctis.repository.refusals import RefusalFilter
from tests.books import rows
from tests.integration.archiver import journals

MORNING, NOON = "2026-01-02T08:00:00+00:00", "2026-01-02T12:00:00+00:00"


@pytest.fixture
def folder(registry: Registry, settings: Settings) -> Path:
    return settings.paths.journal


@pytest.fixture
def journal(folder: Path) -> Journal:
    return Journal(folder, "central-1")


def refuse(journal: Journal, **changes: Any) -> None:
    line = {
        "at": MORNING,
        "port": 11113,
        "called": "WRONG",
        "calling": "CT1",
        "address": "192.0.2.7",
        "reason": "No facility found for AE title 'WRONG'",
        "fix": "noctis facility add",
    }
    assert journal.append("refusal", **{**line, **changes})


def associate(journal: Journal, number: int, **changes: Any) -> None:
    times = (changes.pop("started_at", MORNING), changes.pop("ended_at", NOON))
    journals.associate(journal, number, *times, **({"bytes": 1 << 40, "echoes": 1} | changes))


def test_repeated_refusals_are_counted(journal: Journal, folder: Path, engine: Engine) -> None:
    for _ in range(3):
        refuse(journal)
    refuse(journal, calling="CT2")
    assert write_ledgers(engine, folder) == {"refusal"}
    refuse(journal, at=NOON, fix="noctis device add")
    write_ledgers(engine, folder)
    found = {row["calling"]: row for row in rows(engine, models.Refusal)}
    assert (found["CT1"]["count"], found["CT2"]["count"]) == (4, 1)
    assert found["CT1"]["first_seen"] == datetime.fromisoformat(MORNING)
    assert found["CT1"]["last_seen"] == datetime.fromisoformat(NOON)
    assert found["CT1"]["fix"] == "noctis device add"
    assert list(folder.iterdir()) == []


def test_what_would_let_it_in_is_kept_and_follows_the_last_refusal(
    journal: Journal, folder: Path, engine: Engine
) -> None:
    refuse(journal, at=NOON, remedy={"kind": "add-device", "facilities": ["central"], "device": "CT1"})
    refuse(journal, at=MORNING, remedy={"kind": "call"})
    refuse(journal, calling="OLD")
    refuse(journal, calling="BAD", remedy={"kind": "add-device", "device": ["x"]})
    refuse(journal, calling="ODD", remedy={"kind": "add-device", "device": "\0\ud800" + "x" * 5000})
    write_ledgers(engine, folder)
    found = {row["calling"]: row["remedy"] for row in rows(engine, models.Refusal)}
    assert found["CT1"] == {"kind": "add-device", "facilities": ["central"], "device": "CT1"}
    assert (found["OLD"], found["BAD"]) == ({}, {})
    assert found["ODD"]["device"].startswith("\ufffd")
    assert len(found["ODD"]["device"]) <= ledger.TEXT_MAX
    refuse(journal, at="2026-01-02T13:00:00+00:00", remedy={"kind": "call"})
    write_ledgers(engine, folder)
    assert {row["calling"]: row["remedy"] for row in rows(engine, models.Refusal)}["CT1"] == {"kind": "call"}


def test_who_was_let_in_after_its_refusal_was_mended(journal: Journal, folder: Path, engine: Engine) -> None:
    for calling in ("CT1", "CT2", "CT3", "CT4", "CT5"):
        refuse(journal, calling=calling, at=MORNING)
    write_ledgers(engine, folder)
    found = {row["calling"]: row["id"] for row in refusals.page(engine, RefusalFilter(), 10).rows}
    for calling in ("CT1", "CT2", "CT3", "CT4"):
        refusals.mark_mended(engine, found[calling], "anna", "central")
    later = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    associate(journal, 1, calling="CT1", started_at=later, ended_at=later)
    associate(journal, 2, calling="CT2", started_at=MORNING, ended_at=later)  # it was in before
    associate(journal, 3, calling="CT3", started_at=later, ended_at=later, slug="north")
    associate(journal, 4, calling="CT4", started_at=later, ended_at=later, address="192.0.2.8")
    associate(journal, 5, calling="CT5", started_at=later, ended_at=later)  # nobody has done anything about it
    write_ledgers(engine, folder)
    states = {row["calling"]: row["state"] for row in refusals.page(engine, RefusalFilter(), 10).rows}
    assert states == {"CT1": "let-in", "CT2": "waiting", "CT3": "waiting", "CT4": "waiting", "CT5": "open"}
    again = (datetime.now(UTC) + timedelta(seconds=9)).isoformat()
    refuse(journal, calling="CT1", at=again)
    refuse(journal, calling="CT2", at=again)
    write_ledgers(engine, folder)
    states = {row["calling"]: row["state"] for row in refusals.page(engine, RefusalFilter(), 10).rows}
    assert (states["CT1"], states["CT2"]) == ("open", "open")


def test_associations_and_events_are_written_once(journal: Journal, folder: Path, engine: Engine) -> None:
    associate(journal, 1)
    associate(journal, 1)
    associate(journal, 2, slug="nobody")
    journal.append("event", at=MORNING, actor="listener", action="test", slug="north", subject="x", detail={"a": 1})
    journal.append("quarantined")
    assert write_ledgers(engine, folder) == {"association", "event", "quarantined"}
    (association,) = rows(engine, models.AssociationRecord)
    assert (association["instances"], association["bytes"]) == (3, 1 << 40)
    assert association["ended_at"] == datetime(2026, 1, 2, 12, tzinfo=UTC)
    event = next(row for row in rows(engine, models.Event) if row["action"] == "test")
    assert (event["actor"], event["subject"], event["detail"]) == ("listener", "x", {"a": 1})


@pytest.mark.parametrize(
    "bad",
    [
        {"at": "yesterday"},
        {"at": None},
        {"port": "many"},
        {"port": 1 << 40},
        {"port": -1},
        {"at": 5},
    ],
)
def test_a_malformed_line_is_left_out(bad: dict[str, Any], journal: Journal, folder: Path, engine: Engine) -> None:
    refuse(journal, **bad)
    associate(journal, 1, port=bad.get("port", 11113), started_at=bad.get("at", MORNING))
    refuse(journal, calling="GOOD")
    with (folder / "central-1.jsonl").open("ab") as file:
        file.write(
            b'[1, 2]\n"text"\n{"kind": "refusal"}\n{"kind": "association"}\n{"kind": "event"}\n{"kind": 7}\n{tor'
        )
    write_ledgers(engine, folder)
    assert [row["calling"] for row in rows(engine, models.Refusal)] == ["GOOD"]
    assert rows(engine, models.AssociationRecord) == []
    assert list(folder.iterdir()) == []


def test_what_callers_make_up_is_cut_and_cleaned(journal: Journal, folder: Path, engine: Engine) -> None:
    refuse(journal, called="A\0B" + "x" * 5000, calling="\ud800", reason=7)
    associate(journal, 1, outcome="z" * 99, association_id="y" * 99, calling="\0")
    write_ledgers(engine, folder)
    (refusal,) = rows(engine, models.Refusal)
    assert refusal["called"].startswith("A\ufffdBx")
    assert len(refusal["called"]) == ledger.TEXT_MAX
    assert len(rows(engine, models.AssociationRecord)) == 1


def test_the_table_of_refusals_is_bounded(
    journal: Journal, folder: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "REFUSALS_MAX", 10)
    for number in range(30):
        refuse(journal, calling=f"CT{number}", at=f"2026-01-02T08:00:{number:02}+00:00")
    write_ledgers(engine, folder)
    assert {row["calling"] for row in rows(engine, models.Refusal)} == {f"CT{number}" for number in range(20, 30)}
    for number in range(20):  # all at one time
        refuse(journal, calling=f"MR{number}", at=NOON)
    write_ledgers(engine, folder)
    assert len(rows(engine, models.Refusal)) == 10


def test_the_table_of_associations_is_bounded(
    journal: Journal, folder: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "ASSOCIATIONS_MAX", 10)
    for number in range(30):
        associate(journal, number)
    write_ledgers(engine, folder)
    forget_old_associations(engine)
    assert sorted(row["association_id"] for row in rows(engine, models.AssociationRecord)) == [
        f"a{number:05}" for number in range(20, 30)
    ]


def test_a_file_that_the_database_refuses_is_set_aside(
    journal: Journal, folder: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    associate(journal, 1)
    other = Journal(folder, "north-1")
    refuse(other)
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "_association", lambda *_: {"association_id": "a1"})  # NOT NULL is violated
        write_ledgers(engine, folder)
    assert len(rows(engine, models.Refusal)) == 1
    (refused,) = folder.iterdir()
    assert refused.name.endswith(".refused")
    assert json.loads(refused.read_text())["association_id"] == "a00001"


def test_no_line_is_lost_or_counted_twice_while_others_write(folder: Path, engine: Engine) -> None:
    """Two processes and several threads append, to files of their own and a shared one, while they are taken."""
    engine.dispose()
    per_thread, children = 40, []
    for process in range(2):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            names = ("shared", f"own-{process}", "shared")
            threads = [
                threading.Thread(target=lambda name=name: [refuse(Journal(folder, name)) for _ in range(per_thread)])
                for name in names
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            os._exit(0)
        children.append(child)
    left = set(children)
    while left:
        left -= {child for child in left if os.waitpid(child, os.WNOHANG)[0]}
        write_ledgers(engine, folder)
    write_ledgers(engine, folder)
    with engine.connect() as connection:
        assert connection.scalar(select(func.sum(models.Refusal.count))) == 2 * 3 * per_thread
