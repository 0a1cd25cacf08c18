"""What senders did, as the ledger's writer counts it: once, bounded, and only what sends."""

import importlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Engine, select

from noctis.archiver import activity
from noctis.archiver.activity import CALLERS_MAX, forget_old_activity
from noctis.archiver.ledger import write_ledgers
from noctis.config import Settings
from noctis.db.migrate import alembic_config
from noctis.db.models import ActivityDay, AssociationRecord
from noctis.facilities.records import DeviceRecord
from noctis.facilities.registry import Registry
from noctis.repository.journal import Journal
from tests.integration.archiver import journals

DAY = datetime(2026, 1, 2, tzinfo=UTC)
NUMBER = (DAY - datetime(1970, 1, 1, tzinfo=UTC)).days


@pytest.fixture
def folder(registry: Registry, settings: Settings) -> Path:
    return settings.paths.journal


def associate(folder: Path, number: int, started: datetime, ended: datetime, **changes: Any) -> None:
    journals.associate(Journal(folder, "central-1"), number, started.isoformat(), ended.isoformat(), **changes)


def at(hour: float) -> datetime:
    return DAY + timedelta(hours=hour)


def days(engine: Engine) -> dict[tuple[str, int], Any]:
    with engine.connect() as connection:
        return {(row.calling, row.day - NUMBER): row for row in connection.execute(select(ActivityDay.__table__))}


def test_hours_and_sums_of_a_day(folder: Path, engine: Engine) -> None:
    associate(folder, 1, at(8.1), at(8.2))
    associate(folder, 2, at(8.3), at(8.4), calling="MR1")
    write_ledgers(engine, folder)
    associate(folder, 3, at(8.5), at(9.5), instances=4, bytes=500)
    associate(folder, 4, at(7.0), at(7.1))  # came into the ledger late
    write_ledgers(engine, folder)
    row = days(engine)["CT1", 0]
    assert row.hours == 1 << 7 | 1 << 8 | 1 << 9
    assert (row.associations, row.instances, row.bytes, row.last_at) == (3, 10, 2500, at(9.5))
    assert days(engine)["MR1", 0].associations == 1


def test_an_association_counts_where_it_ended_and_is_activity_all_along(folder: Path, engine: Engine) -> None:
    associate(folder, 1, at(22.5), at(25.5))
    write_ledgers(engine, folder)
    first, second = days(engine)["CT1", 0], days(engine)["CT1", 1]
    assert (first.hours, first.associations, first.instances) == (1 << 22 | 1 << 23, 0, 0)
    assert (second.hours, second.associations, second.instances) == (1 << 0 | 1 << 1, 1, 3)


def test_a_beginning_that_cannot_be_believed_marks_at_most_a_week(folder: Path, engine: Engine) -> None:
    associate(folder, 1, datetime(1970, 1, 1, tzinfo=UTC), at(1))
    associate(folder, 2, at(900), at(2))  # ended before it began
    write_ledgers(engine, folder)
    assert sum(bin(row.hours).count("1") for row in days(engine).values()) == activity.SPAN_HOURS + 1
    assert sum(row.associations for row in days(engine).values()) == 2


def test_echoes_do_not_count_and_what_was_refused_does(folder: Path, engine: Engine) -> None:
    associate(folder, 1, at(8), at(8), instances=0, echoes=5)
    associate(folder, 2, at(9), at(9), instances=0, failures=1)
    write_ledgers(engine, folder)
    assert days(engine)["CT1", 0].hours == 1 << 9


def test_a_line_that_is_read_twice_is_counted_once(folder: Path, engine: Engine) -> None:
    associate(folder, 1, at(8), at(8))
    associate(folder, 1, at(8), at(8))
    text = (folder / "central-1.jsonl").read_bytes()
    write_ledgers(engine, folder)
    (folder / "central-1.jsonl").write_bytes(text)  # killed between the commit and the deletion
    assert json.loads(text.splitlines()[0])["association_id"] == "a00001"
    associate(folder, 2, at(8), at(8))
    write_ledgers(engine, folder)
    assert days(engine)["CT1", 0].associations == 2


def test_titles_that_callers_make_up_are_bounded(folder: Path, engine: Engine, registry: Registry) -> None:
    for number in range(2 * CALLERS_MAX):
        associate(folder, number, at(8), at(8), calling=f"MADE-UP-{number}")
    write_ledgers(engine, folder)
    registry.add_device("central", DeviceRecord("CT_NEW", ""))
    associate(folder, 1000, at(9), at(9), calling="CT_NEW")
    associate(folder, 1001, at(9), at(9), calling="MADE-UP-0")
    associate(folder, 1002, at(9), at(9), calling="ANOTHER")
    associate(folder, 1003, at(9), at(9), calling="MADE-UP-200", slug="north")
    write_ledgers(engine, folder)
    found = days(engine)
    assert len(found) == CALLERS_MAX + 3  # the first, the device, all others under "", and the other facility's
    assert found["", 0].associations == CALLERS_MAX + 1
    assert found["CT_NEW", 0].hours == 1 << 9
    assert found["MADE-UP-0", 0].associations == 2


def test_old_days_are_forgotten(folder: Path, engine: Engine) -> None:
    now = datetime.now(UTC)
    for number, back in enumerate((1, activity.KEEP_DAYS - 1, activity.KEEP_DAYS + 2)):
        ended = now - timedelta(days=back)
        associate(folder, number, ended, ended)
    write_ledgers(engine, folder)
    forget_old_activity(engine)
    assert len(days(engine)) == 2


def test_the_migration_fills_it_as_the_ledger_would_have(folder: Path, engine: Engine, registry: Registry) -> None:
    """From the associations that are there: the same rows."""
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    for number in range(40):
        ended = now - timedelta(hours=5 * number)
        associate(folder, number, ended - timedelta(hours=number % 4), ended, calling=f"CT{number % 3}")
    associate(folder, 100, now, now, instances=0, echoes=1)
    write_ledgers(engine, folder)
    before = days(engine)
    with engine.connect() as connection:
        kept = [dict(row._mapping) for row in connection.execute(select(AssociationRecord.__table__))]
    config = alembic_config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        module = importlib.import_module("noctis.db.migrations.versions.0005_activity")
        assert module.revision == "0005"
        for table in ("activity_day", "silence_mute"):
            connection.exec_driver_sql(f"DROP TABLE {table}")
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0004'")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0005")
    assert kept
    assert days(engine) == before
