"""What is done before anything is forked: the lock, the schema, the first snapshot."""

import os
import sqlite3
from pathlib import Path

import pytest

from noctis.config import Settings, load_settings
from noctis.db import migrate
from noctis.db.migrate import SchemaState
from noctis.errors import DatabaseError, SupervisorError
from noctis.facilities.snapshot import Snapshot, write_if_changed
from noctis.supervisor import parent


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = load_settings(options={"home": str(tmp_path / "home")})
    made.paths.create()
    return made


def test_an_empty_home_gets_a_database_and_a_snapshot(settings: Settings) -> None:
    parent.prepare(settings)
    assert settings.paths.sqlite.stat().st_mode & 0o777 == 0o600
    assert settings.paths.snapshot.exists()
    assert not list(settings.paths.root.glob("noctis.db.before-*"))


def test_a_database_that_holds_something_is_copied_before_an_upgrade(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent.prepare(settings)
    upgraded: list[bool] = []
    monkeypatch.setattr(migrate, "schema_state", lambda _engine: SchemaState("0000", "0042"))
    monkeypatch.setattr(migrate, "upgrade", lambda _engine: upgraded.append(copy.exists()))
    copy = settings.paths.root / "noctis.db.before-0042"
    parent.prepare(settings)
    assert upgraded == [True]
    with sqlite3.connect(copy) as database:
        assert database.execute("SELECT count(*) FROM facility").fetchone() == (0,)
    database.close()
    assert copy.stat().st_mode & 0o777 == 0o600


def test_without_a_database_the_last_snapshot_will_do(settings: Settings) -> None:
    away = settings.model_copy(
        update={"database": settings.database.model_copy(update={"url": "sqlite:////nowhere/at/all.db"})}
    )
    with pytest.raises(DatabaseError):
        parent.prepare(away)
    write_if_changed(settings.paths.snapshot, Snapshot)
    parent.prepare(away)


def test_a_newer_database_is_refused_even_with_a_snapshot(settings: Settings) -> None:
    parent.prepare(settings)
    with sqlite3.connect(settings.paths.sqlite) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    with pytest.raises(DatabaseError, match="newer"):
        parent.prepare(settings)


def test_one_supervisor_a_home(settings: Settings) -> None:
    path = settings.paths.run / "supervisor.lock"
    held = parent._only_one(path)
    with pytest.raises(SupervisorError, match=f"pid {os.getpid()}"):
        parent._only_one(path)
    os.close(held)
    os.close(parent._only_one(path))
