"""`noctis db`: what is restored is looked at first, and what was there is kept."""

import shutil
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from noctis.config import load_settings
from noctis.db import migrate
from noctis.db.engine import make_engine
from noctis.facilities import watcher
from noctis.facilities.snapshot import SnapshotReader
from noctis.home import actor
from tests.integration.cli.conftest import Call
from tests.postgres import PostgresServer

_known = migrate.revisions()


def slugs(noctis: Call) -> list[str]:
    return [row["slug"] for row in noctis("facility", "list", "--json").json]


def execute(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(statement)


@pytest.fixture
def saved(noctis: Call, tmp_path: Path) -> Path:
    """A backup that has the facility Central alone."""
    noctis("facility", "add", "Central")
    path = tmp_path / "saved.db"
    noctis("db", "backup", path)
    noctis("facility", "add", "Later")
    return path


def test_a_backup_is_whole_and_readable_by_nobody_else(noctis: Call, saved: Path) -> None:
    assert saved.stat().st_mode & 0o777 == 0o600
    noctis("db", "backup", saved)  # over an older one
    assert not saved.with_name("saved.db.partial").exists()
    noctis("db", "restore", saved)
    assert slugs(noctis) == ["central", "later"]


def test_what_was_there_is_kept_and_can_be_restored_too(noctis: Call, home: Path, saved: Path) -> None:
    noctis("db", "restore", saved)
    assert slugs(noctis) == ["central"]
    (kept,) = home.glob("noctis.db.before-restore-*T??????")
    noctis("db", "restore", kept)
    assert slugs(noctis) == ["central", "later"]


def test_a_file_that_cannot_be_used_changes_nothing(noctis: Call, home: Path, saved: Path, tmp_path: Path) -> None:
    newer, foreign, damaged, empty = (tmp_path / name for name in ("newer", "foreign", "damaged", "empty"))
    shutil.copyfile(saved, newer)
    execute(newer, "UPDATE alembic_version SET version_num = '9999'")
    execute(foreign, "CREATE TABLE x (y)")
    content = bytearray(saved.read_bytes())
    content[4096 : 4096 * 40] = b"\xff" * 4096 * 39
    damaged.write_bytes(content)
    empty.write_bytes(b"")
    for path, code, words in (
        (newer, 1, "newer Noctis"),
        (foreign, 2, "no database of Noctis"),
        (damaged, 1, "damaged"),
        (empty, 2, "no SQLite database"),
    ):
        answer = noctis("db", "restore", path, code=code)
        assert str(path) in answer.err
        assert words in answer.err or "malformed" in answer.err
    assert slugs(noctis) == ["central", "later"]
    assert [path.name for path in home.glob("noctis.db*") if "restor" in path.name] == []


def test_a_backup_into_nowhere(noctis: Call, saved: Path, tmp_path: Path) -> None:
    assert "does not exist" in noctis("db", "backup", tmp_path / "none" / "x.db", code=2).err
    (tmp_path / "x.db.partial").mkdir()
    assert "cannot be copied" in noctis("db", "backup", tmp_path / "x.db", code=1).err


def test_no_restore_under_a_running_supervisor(noctis: Call, home: Path, saved: Path) -> None:
    with socket.socket(socket.AF_UNIX) as control:
        control.bind(str(home / "run" / "supervisor.sock"))
        control.listen()
        assert "stop it first" in noctis("db", "restore", saved, code=1).err
    assert slugs(noctis) == ["central", "later"]


def test_an_older_schema_is_upgraded_only_when_told(
    noctis: Call, home: Path, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = migrate.revisions()[-1]
    with monkeypatch.context() as patch:
        patch.setattr(migrate, "revisions", lambda: [*_known, "9000"])
        for arguments in (["facility", "list"], ["study", "list"], ["facility", "add", "X"]):
            answer = noctis(*arguments, code=1)
            assert f"the database has schema {head}, this release wants 9000" in answer.err
            assert "fix: noctis db upgrade" in answer.err
        assert noctis("db", "current", code=1).out == f"{head} (this release: 9000)\n"
        assert "schema" in noctis("status", "--json", code=1).json["database"]["error"]
        patch.setattr(migrate, "_migrate", lambda _connection, _tell: None)
        assert "Backed up to" in noctis("db", "upgrade").out
    assert (home / "noctis.db.before-9000").is_file()
    assert slugs(noctis) == ["central", "later"]


def test_a_home_without_a_database_says_what_to_do(noctis: Call, home: Path) -> None:
    noctis("db", "upgrade")
    (home / "noctis.db").unlink()
    answer = noctis("study", "list", code=1)
    assert "has no tables yet" in answer.err
    assert "noctis db upgrade" in answer.err
    assert noctis("status", "--json", code=1).json["database"]["up_to_date"] is False
    noctis("check", code=1)
    assert not (home / "noctis.db").exists()
    noctis("facility", "add", "Central")  # the first command of all makes it
    assert slugs(noctis) == ["central"]


def test_the_first_command_on_a_lost_database_takes_the_facilities_of_the_snapshot(noctis: Call, home: Path) -> None:
    alpha = noctis("facility", "add", "Alpha", "--json").json
    (home / "noctis.db").unlink()
    answer = noctis("facility", "add", "Beta", "--json")
    assert "1 facilities are taken from" in answer.err
    assert answer.json["port"] != alpha["port"]
    after = {row["slug"]: row for row in noctis("facility", "list", "--json").json}
    assert sorted(after) == ["alpha", "beta"]
    assert [after["alpha"][key] for key in ("ae_title", "port")] == [alpha[key] for key in ("ae_title", "port")]
    known = SnapshotReader(home / "run" / "facilities.json").current()
    assert sorted(known.by_slug) == ["alpha", "beta"]
    events = noctis("event", "list", "--action", "facility.recovered", "--json").json
    assert [(each["facility"], each["actor"]) for each in events] == [("alpha", actor())]


@pytest.mark.parametrize("command", [("db", "upgrade"), ("db", "rebuild")])
def test_whose_recovery_it_was(
    noctis: Call, home: Path, command: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    noctis("facility", "add", "Alpha")
    (home / "noctis.db").unlink()
    monkeypatch.setenv("SUDO_USER", "jane")
    noctis(*command)
    assert slugs(noctis) == ["alpha"]
    (event,) = noctis("event", "list", "--action", "facility.recovered", "--json").json
    assert event["actor"] == "jane"


def test_postgresql_is_backed_up_and_restored(
    noctis: Call, postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = postgres.create()
    monkeypatch.setenv("NOCTIS_DATABASE__URL", postgres.url(name))
    monkeypatch.setenv("PATH", str(postgres.tools), prepend=":")
    noctis("db", "upgrade")
    noctis("facility", "add", "Central")
    noctis("db", "backup", tmp_path / "saved")
    noctis("facility", "add", "Later")
    noctis("db", "restore", tmp_path / "saved")
    assert slugs(noctis) == ["central"]
    (tmp_path / "junk").write_text("no dump")
    assert "pg_restore failed" in noctis("db", "restore", tmp_path / "junk", code=1).err
    assert slugs(noctis) == ["central"]
    monkeypatch.setenv("PATH", "/nowhere")
    assert "pg_dump is not installed" in noctis("db", "backup", tmp_path / "saved", code=1).err
    postgres.drop(name)


def test_a_damaged_database_is_found_and_rebuilt(noctis: Call, home: Path) -> None:
    noctis("facility", "add", "Central")
    settings = load_settings(options={"home": str(home)})
    engine = make_engine(settings, pooled=False)
    watcher.refresh(settings, engine)
    engine.dispose()
    before = noctis("facility", "show", "central", "--json").json
    damaged = bytearray(settings.paths.sqlite.read_bytes())
    damaged[8192:] = b"\xa5" * (len(damaged) - 8192)
    settings.paths.sqlite.write_bytes(damaged)
    checked = noctis("check", code=1)
    assert "is damaged" in checked.out
    assert "noctis db rebuild" in checked.out
    said = noctis("db", "rebuild").out
    assert "1 facilities are taken from" in said
    after = noctis("facility", "show", "central", "--json").json
    assert [after[key] for key in ("slug", "ae_title", "port")] == [before[key] for key in ("slug", "ae_title", "port")]
    (kept,) = home.glob("noctis.db.before-rebuild-*T??????")
    assert kept.read_bytes() == damaged
