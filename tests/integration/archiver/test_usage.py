"""What the archiver tells listeners of usage: true over restarts, outages and whoever else files."""

import os
import signal
import time
from collections.abc import Callable

import pytest
from sqlalchemy import Engine, text

from noctis.archiver import usage as usage_module
from noctis.archiver.usage import UsageWriter
from noctis.config import Settings, load_settings
from noctis.facilities.registry import Registry
from noctis.facilities.snapshot import write_if_changed
from noctis.repository.queries import archived_usage
from noctis.repository.usage import Usage, UsageFile, parse, write
from tests.integration.archiver.test_service import RunningArchiver, start
from tests.postgres import PostgresServer
from tests.spooling import Intake
from tests.support import wait_for

__all__ = ["start"]  # a fixture

Start = Callable[[Settings], RunningArchiver]


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_module, "WRITE_SECONDS", 0.05)
    monkeypatch.setattr(usage_module, "SUMS_SECONDS", 0.2)
    monkeypatch.setattr(usage_module, "_SHARE", 1)


@pytest.fixture
def limited(settings: Settings, registry: Registry) -> Settings:
    """Settings with a quota, and the snapshot of two facilities."""
    write_if_changed(settings.paths.snapshot, registry.snapshot)
    return load_settings(
        options={
            "home": str(settings.home),
            "database": {"url": settings.database_url},
            "storage": {"reserve_bytes": 0, "facility_quota_instances": 100},
            "archiver": {"scan_seconds": 0.05},
        }
    )


def told(settings: Settings) -> UsageFile:
    try:
        return parse(settings.paths.usage.read_bytes())
    except FileNotFoundError:
        return UsageFile()


def wait_told(settings: Settings, slug: str, archived: int, waiting: int = 0) -> UsageFile:
    def said() -> UsageFile | None:
        found = told(settings)
        counts = [found.archived.get(slug, Usage()).instances, found.waiting.get(slug, Usage()).instances]
        return found if counts == [archived, waiting] else None

    return wait_for(said, what=f"{archived} archived and {waiting} waiting of {slug}")


def test_what_is_filed_is_told_with_its_bytes(intake: Intake, limited: Settings, engine: Engine, start: Start) -> None:
    for number in range(3):
        intake.instance(sop_instance=f"1.2.3.{number}")
    archiver = start(limited)
    wait_told(limited, "central", 3)
    intake.instance(sop_instance="1.2.3.9")
    intake.instance(sop_instance="1.2.3.9")  # a duplicate
    intake.instance(slug="north")
    wait_told(limited, "north", 1)
    found = wait_told(limited, "central", 4)
    assert archiver.end() == 0
    assert found.archived == archived_usage(engine)
    assert found.archived["central"].bytes == sum(
        path.stat().st_size for path in (limited.paths.media / "central").rglob("*.dcm")
    )


def test_over_a_kill_and_a_restart(intake: Intake, limited: Settings, start: Start) -> None:
    archiver = start(limited)
    intake.instance()
    first = wait_told(limited, "central", 1)
    archiver.end(signal.SIGKILL)
    intake.instance()
    assert told(limited).archived == first.archived  # it stays, and the listeners count on from it
    archiver = start(limited)
    second = wait_told(limited, "central", 2)
    assert second.as_of > first.as_of
    assert archiver.end() == 0


def test_what_others_file_and_remove_is_seen(
    intake: Intake,
    limited: Settings,
    engine: Engine,
    start: Start,
) -> None:
    intake.instance()
    archiver = start(limited)
    wait_told(limited, "central", 1)
    with engine.begin() as connection:
        connection.execute(text("UPDATE study SET instances = 7"))
    wait_told(limited, "central", 7)
    assert archiver.end() == 0


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_with_the_database_away_what_waits_is_counted_on(
    intake: Intake,
    limited: Settings,
    start: Start,
    postgres: PostgresServer,
) -> None:
    intake.instance()
    archiver = start(limited)
    wait_told(limited, "central", 1)
    postgres.stop()
    try:
        for _ in range(3):
            intake.instance()
        wait_told(limited, "central", 1, waiting=3)
        archiver.end(signal.SIGKILL)
        archiver = start(limited)  # knows it from the file
        intake.instance()
        wait_told(limited, "central", 1, waiting=4)
    finally:
        postgres.start()
    wait_told(limited, "central", 5)
    assert archiver.end() == 0


def test_without_a_quota_nothing_is_counted_until_one_is_set(
    intake: Intake,
    settings: Settings,
    registry: Registry,
    start: Start,
) -> None:
    write_if_changed(settings.paths.snapshot, registry.snapshot)
    intake.instance()
    archiver = start(settings)
    wait_for(lambda: not intake.waiting(), what="an empty spool")
    assert not settings.paths.usage.exists()
    registry.edit("north", {"quota_bytes": 1000})
    write_if_changed(settings.paths.snapshot, registry.snapshot)
    wait_told(settings, "central", 1)
    assert archiver.end() == 0


def test_a_file_is_written_only_while_something_changes(intake: Intake, limited: Settings, engine: Engine) -> None:
    """And once more after the last change, so that what was counted twice is not so for long."""
    writer = UsageWriter(engine, limited)
    intake.instance()

    def keep() -> int:
        writer._write_at = 0.0
        writer.keep(reachable=True)
        return os.stat(limited.paths.usage).st_ino

    first, second, third = keep(), keep(), keep()
    assert first != second == third
    intake.instance()
    assert keep() != third


def test_it_never_raises(limited: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = UsageWriter(engine, limited)
    write(limited.paths.usage, UsageFile(time.time_ns(), {"central": Usage(3, 4)}, {}))
    before = told(limited)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(usage_module, "write", full)
    writer.keep(reachable=False)
    assert told(limited) == before
