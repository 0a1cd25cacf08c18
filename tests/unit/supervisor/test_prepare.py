"""What is done before anything is forked: the lock, the schema, the first snapshot."""

import os
import sqlite3
from pathlib import Path

import pytest

from noctis.config import Settings, load_settings
from noctis.db import migrate, upgrading
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


@pytest.fixture
def newer_release(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """This release wants one schema more, to which there is nothing to do; what was called, in order."""
    called: list[str] = []
    known = [*migrate.revisions(), "9000"]
    monkeypatch.setattr(migrate, "revisions", lambda: known)
    monkeypatch.setattr(migrate, "_migrate", lambda _connection, _tell: called.append("migrated"))
    return called


def test_with_a_snapshot_an_older_schema_is_left_to_a_process_beside_receiving(
    settings: Settings, request: pytest.FixtureRequest
) -> None:
    assert parent.prepare(settings)
    called: list[str] = request.getfixturevalue("newer_release")
    assert not parent.prepare(settings)
    assert called == []
    found = upgrading.under_way(settings.paths)
    assert found is not None
    assert (found.after, found.pid) == ("9000", os.getpid())
    settings.paths.snapshot.write_text("broken")
    assert parent.prepare(settings)
    assert called == ["migrated"]
    assert upgrading.under_way(settings.paths) is None


def test_who_upgrades_by_hand_is_not_overtaken(settings: Settings, request: pytest.FixtureRequest) -> None:
    by_hand = settings.model_copy(update={"database": settings.database.model_copy(update={"migrate": False})})
    parent.prepare(settings)
    called: list[str] = request.getfixturevalue("newer_release")
    assert parent.prepare(by_hand)  # from the last snapshot
    settings.paths.snapshot.unlink()
    with pytest.raises(DatabaseError, match="this release wants 9000"):
        parent.prepare(by_hand)
    assert called == []


def test_a_database_that_holds_something_is_copied_before_an_upgrade(
    settings: Settings, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent.prepare(settings)
    request.getfixturevalue("newer_release")
    copied: list[bool] = []
    copy = settings.paths.root / "noctis.db.before-9000"
    monkeypatch.setattr(migrate, "_migrate", lambda _connection, _tell: copied.append(copy.exists()))
    settings.paths.snapshot.unlink()
    parent.prepare(settings)
    assert copied == [True]
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
