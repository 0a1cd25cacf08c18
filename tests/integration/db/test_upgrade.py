"""An upgrade is made whole or not at all, and nobody is in another one's way."""

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, func, inspect, select, text

from noctis.config import Settings, load_settings
from noctis.db import migrate, upgrading
from noctis.db.engine import make_engine
from noctis.db.models import Event, Facility
from noctis.db.upgrading import Progress
from noctis.errors import DatabaseError, UpgradingError
from noctis.facilities import recover, watcher
from noctis.supervisor import parent
from tests.older import OLDER, add_facility, add_studies, make_schema

NEWEST = migrate.revisions()[-1]
STUDIES = 3000


@pytest.fixture
def older_settings(empty_database_url: str, home: Path) -> Settings:
    """A home on a database of an older release."""
    made = load_settings(
        options={
            "home": str(home),
            "database": {"url": empty_database_url},
            "storage": {"reserve_bytes": 0},
        }
    )
    made.paths.create()
    return made


@pytest.fixture
def older(older_settings: Settings) -> Engine:
    engine = make_engine(older_settings, pooled=False)
    make_schema(engine)
    add_facility(engine, "Central", 11113)
    add_studies(engine, STUDIES)
    return engine


def copies(engine: Engine) -> list[Path]:
    file = migrate.sqlite_file(engine)
    return [] if file is None else sorted(file.parent.glob(f"{file.name}.before-*"))


def upgraded(engine: Engine) -> int:
    """How often, by the events."""
    with engine.connect() as connection:
        query = select(func.count()).select_from(Event).where(Event.action == "database.upgraded")
        return int(connection.scalar(query) or 0)


def test_it_tells_how_far_it_is_and_leaves_an_event(older: Engine, older_settings: Settings) -> None:
    told: list[tuple[str, int, int]] = []
    done = recover.upgrade(older, older_settings, "test", tell=lambda *each: told.append(each))
    assert done.before.current == OLDER
    assert ("the words of studies", STUDIES, STUDIES) in told
    assert migrate.schema_state(older).up_to_date
    assert upgraded(older) == 1
    assert recover.upgrade(older, older_settings, "test").before.up_to_date
    assert upgraded(older) == 1
    if older.dialect.name == "sqlite":
        assert copies(older) == [done.copy]
        copied = make_engine(
            older_settings.model_copy(
                update={"database": older_settings.database.model_copy(update={"url": f"sqlite:///{done.copy}"})}
            ),
            pooled=False,
        )
        assert migrate.schema_state(copied).current == OLDER


def test_what_breaks_in_the_middle_leaves_all_as_it_was(
    older: Engine, older_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_at_the_end(step: str, done: int, _of: int) -> None:
        if done == STUDIES:
            raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        recover.upgrade(older, older_settings, "test", tell=break_at_the_end)
    assert migrate.schema_state(older).current == OLDER
    assert "study_term" not in inspect(older).get_table_names()
    assert upgraded(older) == 0
    recover.upgrade(older, older_settings, "test")
    assert migrate.schema_state(older).up_to_date


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_a_disk_that_is_full_in_the_middle_of_it(older: Engine, older_settings: Settings) -> None:
    file = migrate.sqlite_file(older)
    assert file is not None

    def no_larger(connection: Any, _record: object) -> None:
        connection.execute(f"PRAGMA max_page_count={file.stat().st_size // 4096 + 20}")

    event.listen(older, "connect", no_larger)
    with pytest.raises(DatabaseError, match="database or disk is full"):
        recover.upgrade(older, older_settings, "test")
    event.remove(older, "connect", no_larger)
    assert migrate.schema_state(older).current == OLDER
    recover.upgrade(older, older_settings, "test")
    assert upgraded(older) == 1


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_an_upgrade_takes_nothing_from_the_reserve_of_receiving(
    older: Engine, older_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserve = 1 << 30
    for free in (1000, reserve + 1000):
        monkeypatch.setattr(recover, "free_bytes", lambda _where, free=free: free)
        with pytest.raises(DatabaseError, match=r"needs .* on its disk"):
            recover.upgrade(older, older_settings, "test", reserve_bytes=reserve)
        assert copies(older) == []
        assert migrate.schema_state(older).current == OLDER
    monkeypatch.setattr(recover, "free_bytes", lambda _where: reserve - 1000)  # it is used up already
    recover.upgrade(older, older_settings, "test", reserve_bytes=reserve)
    assert migrate.schema_state(older).up_to_date


def test_tables_that_are_made_anew_are_never_seen_without_their_facilities(
    older: Engine, older_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher.refresh(older_settings, older)
    snapshot = older_settings.paths.snapshot.read_bytes()
    _drop_all(older)

    def fail(*_: object) -> int:
        raise OSError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(recover, "_enter", fail)
        with pytest.raises(OSError, match="killed"):
            recover.upgrade(older, older_settings, "test")
    assert migrate.schema_state(older).current is None
    assert recover.upgrade(older, older_settings, "test").recovered == 1
    with older.connect() as connection:
        assert connection.scalar(select(Facility.slug)) == "central"
    assert older_settings.paths.snapshot.read_bytes() == snapshot


def test_two_at_once_are_one_upgrade(older: Engine, older_settings: Settings) -> None:
    both = threading.Barrier(2)
    failed: list[Exception] = []

    def upgrade() -> None:
        engine = make_engine(older_settings, pooled=False)
        try:
            both.wait(30)
            recover.upgrade(engine, older_settings, "test")
        except Exception as error:  # noqa: BLE001 - whatever it is, the test tells
            failed.append(error)
        finally:
            engine.dispose()

    threads = [threading.Thread(target=upgrade) for _ in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert failed == []
    assert migrate.schema_state(older).up_to_date
    assert upgraded(older) == 1


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_who_finds_another_one_at_it_says_so(
    older: Engine, older_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "LOCK_SECONDS", 0)
    told: list[str] = []
    with older.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": migrate.UPGRADE_LOCK})
        with pytest.raises(UpgradingError, match="another program upgrades"):
            recover.upgrade(older, older_settings, "test", tell=lambda step, *_: told.append(step))
    recover.upgrade(older, older_settings, "test")
    assert migrate.schema_state(older).up_to_date


def test_the_watcher_keeps_its_hands_off_another_schema(older: Engine, older_settings: Settings) -> None:
    """What it asks before it looks at the table."""
    with pytest.raises(DatabaseError, match=f"has schema {OLDER}"):
        migrate.require_current(older, older_settings.paths)
    Progress(older_settings.paths, OLDER, NEWEST, os.getpid()).tell("the words of studies", 1, 4)
    with pytest.raises(UpgradingError, match=r"from schema .*: the words of studies, 1 of 4 \(25 %\)"):
        migrate.require_current(older, older_settings.paths)


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_a_start_from_a_snapshot_does_not_wait_for_a_lock(
    engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher.refresh(settings, engine)
    monkeypatch.setattr("noctis.db.engine.LOCK_SECONDS", 3600)
    prepared: list[bool] = []
    start = threading.Thread(target=lambda: prepared.append(parent.prepare(settings)), daemon=True)
    with engine.begin() as connection:
        connection.execute(text("LOCK TABLE facility IN ACCESS EXCLUSIVE MODE"))
        start.start()
        start.join(60)
        assert prepared == [False]  # whether the schema is ours is looked at beside receiving


def _drop_all(engine: Engine) -> None:
    def drop(connection: Connection) -> None:
        if connection.dialect.name == "postgresql":
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))

    file = migrate.sqlite_file(engine)
    if file is not None:
        engine.dispose()
        for suffix in ("", "-wal", "-shm"):
            file.with_name(file.name + suffix).unlink(missing_ok=True)
        return
    with engine.begin() as connection:
        drop(connection)


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
class TestProgress:
    """What `run/upgrade.json` says."""

    def test_it_is_true_while_its_process_lives(self, older_settings: Settings) -> None:
        home = older_settings.paths
        assert upgrading.under_way(home) is None
        progress = Progress(home, "0003", "0006", os.getpid())
        found = upgrading.under_way(home)
        assert found is not None
        assert found.sentence.startswith("the database is being upgraded from schema 0003 to 0006, since ")
        path = home.run / "upgrade.json"
        left = json.loads(path.read_text())
        for other in ({"pid": 1}, {"started": left["started"] + 1}, {"unknown": 1}):
            path.write_text(json.dumps(left | other))
            assert upgrading.under_way(home) is None
        path.write_text("{")
        assert upgrading.under_way(home) is None
        progress.tell("the words of studies", 10, 40)
        upgrading.forget(home)
        assert upgrading.under_way(home) is None
        upgrading.forget(home)

    def test_why_it_waits_is_not_for_everybody(self, older_settings: Settings) -> None:
        home = older_settings.paths
        progress = Progress(home, "0003", "0006", os.getpid())
        progress.waits(DatabaseError("the database postgresql://db.internal/noctis is away", fix="noctis check"))
        found = upgrading.under_way(home)
        assert found is not None
        assert "db.internal" in found.sentence
        assert "db.internal" not in found.public
        assert found.public.endswith("it waits")
        assert found.fix == "noctis check"
        progress.tell("the words of studies", 1, 2)
        found = upgrading.under_way(home)
        assert found is not None
        assert found.waiting == ""
        assert Progress(home, "0003", "0006", os.getpid())  # the process was started again
        again = upgrading.under_way(home)
        assert again is not None
        assert again.since == found.since

    def test_a_disk_that_is_full_stops_no_upgrade(
        self, older_settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(upgrading, "write_whole", full)
        Progress(older_settings.paths, "0003", "0006", os.getpid()).tell("the words of studies", 1, 2)
        assert upgrading.under_way(older_settings.paths) is None
