"""The home and the database as the command line meets them: missing, foreign, older, newer, backed up."""

import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from noctis import __version__
from noctis.cli import common
from noctis.errors import HomeError
from tests.integration.cli.conftest import Call


def test_a_home_that_nobody_named_is_not_made(noctis: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOCTIS_HOME")
    monkeypatch.chdir(tmp_path)
    answer = noctis("facility", "list", code=1)
    assert "there is no Noctis home at" in answer.err
    assert not (tmp_path / "data").exists()


def test_a_home_that_cannot_be_made(noctis: Call, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for arguments in (["db", "upgrade"], ["facility", "add", "Central"]):
        answer = noctis("--home", tmp_path / "file" / "home", *arguments, code=1)
        assert "cannot create the folder" in answer.err


def test_a_home_that_is_not_writable_names_its_owner(noctis: Call, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noctis("db", "upgrade")
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != home / "spool")
    answer = noctis("facility", "list", code=1)
    assert f"{home / 'spool'} belongs to" in answer.err
    assert "chown" in answer.err
    found = noctis("check", "--json", code=1).json
    assert any("Permission denied" in each["text"] for each in found if not each["well"])


def test_root_becomes_the_owner_of_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    import pwd

    nobody = pwd.getpwnam("nobody")
    done: list[tuple[str, object]] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "initgroups", lambda name, gid: done.append(("initgroups", name)))
    monkeypatch.setattr(os, "setgid", lambda gid: done.append(("setgid", gid)))
    monkeypatch.setattr(os, "setuid", lambda uid: done.append(("setuid", uid)))

    def owner(uid: int, gid: int) -> os.stat_result:
        return os.stat_result((0o40700, 0, 0, 1, uid, gid, 0, 0, 0, 0))

    common.become(owner(nobody.pw_uid, nobody.pw_gid))
    assert done == [("initgroups", "nobody"), ("setgid", nobody.pw_gid), ("setuid", nobody.pw_uid)]
    common.become(owner(0, 0))
    assert len(done) == 3


def test_upgrade_makes_what_is_missing_and_is_quiet_the_second_time(noctis: Call, home: Path) -> None:
    assert "there is no Noctis home" in noctis("db", "current", code=1).err
    assert not home.exists()
    home.mkdir()
    (home / "run").mkdir()
    assert noctis("db", "current", code=1).out.startswith("no tables yet")
    assert not (home / "noctis.db").exists()
    assert "Upgraded from nothing" in noctis("db", "upgrade").out
    assert "already" in noctis("db", "upgrade").out
    assert noctis("db", "current", "--json").json["up_to_date"]
    assert (home / "noctis.db").stat().st_mode & 0o777 == 0o600


def version(home: Path, revision: str) -> None:
    database = sqlite3.connect(home / "noctis.db")
    with database:
        database.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    database.close()


def test_a_database_of_a_newer_version_is_refused(noctis: Call, home: Path) -> None:
    noctis("db", "upgrade")
    version(home, "9999")
    for arguments in (["facility", "list"], ["db", "upgrade"], ["study", "list"]):
        assert "newer Noctis" in noctis(*arguments, code=1).err


def test_backup_and_restore(noctis: Call, home: Path, tmp_path: Path) -> None:
    noctis("facility", "add", "Central")
    noctis("db", "backup", tmp_path / "saved.db")
    noctis("facility", "add", "Later")
    noctis("db", "restore", tmp_path / "saved.db")
    assert [row["slug"] for row in noctis("facility", "list", "--json").json] == ["central"]
    assert list(home.glob("noctis.db.before-restore-*"))
    (tmp_path / "junk").write_text("no database")
    assert "no SQLite database" in noctis("db", "restore", tmp_path / "junk", code=2).err


def test_a_lost_database_is_told_and_the_rest_still_answers(noctis: Call, home: Path) -> None:
    noctis("facility", "add", "Central")
    (home / "noctis.db").write_bytes(b"this is no database at all, not even nearly " * 100)
    for suffix in ("-wal", "-shm"):
        (home / f"noctis.db{suffix}").unlink(missing_ok=True)
    assert "file is not a database" in noctis("facility", "list", code=1).err
    status = noctis("status", "--json", code=1).json
    assert status["database"]["reachable"] is False


def test_a_wrong_configuration_stops_everything(noctis: Call, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("server:\n  prt: 1\n")
    answer = noctis("--config", path, "supervise", code=2)
    assert f"{path}:2: server.prt: unknown setting; did you mean 'port'?" in answer.err
    assert "config" in noctis("--config", path, "check", code=1).out
    assert "no configuration file" in noctis("--config", tmp_path / "none.yaml", "status", code=2).err


def test_check_names_a_fix_for_everything_it_finds(noctis: Call, home: Path) -> None:
    noctis("facility", "add", "Central")
    shutil.rmtree(home / "quarantine")
    (home / "spool").chmod(0o755)
    found = noctis("check", "--json", code=1).json
    wrong = [each for each in found if not each["well"]]
    assert all(each["fix"] for each in wrong)
    assert any("can be read by others" in each["text"] for each in wrong)
    assert any("no supervisor runs" in each["text"] for each in wrong)


def test_settings_are_shown_without_the_password(noctis: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    noctis("db", "upgrade")
    monkeypatch.setenv("NOCTIS_DATABASE__URL", "postgresql://noctis:s3cret@127.0.0.1:1/x")
    assert "s3cret" not in noctis("config", "show").out
    assert "s3cret" not in noctis("config", "show", "--json").out
    answer = noctis("facility", "list", code=1)
    assert "s3cret" not in answer.err
    assert "cannot be used" in answer.err


def test_a_home_names_its_own_configuration(noctis: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "noctis.yaml").write_text("server:\n  ae_title: OTHER\n")
    shown = noctis("--home", other, "config", "show", "--json").json
    assert (shown["file"], shown["settings"]["server"]["ae_title"]) == (str(other / "noctis.yaml"), "OTHER")
    assert shown["settings"]["home"] == str(other)
    assert noctis("config", "show", "--json").json["file"] is None
    assert f"# file: {other / 'noctis.yaml'}" in noctis("--home", other, "config", "show").out


def test_nothing_but_the_first_commands_makes_a_home(noctis: Call, home: Path) -> None:
    for arguments in (["study", "list"], ["status"], ["facility", "list"], ["reload"], ["device", "list"]):
        assert f"there is no Noctis home at {home}" in noctis(*arguments, code=1).err
    home.mkdir()  # a folder of somebody else's, perhaps
    noctis("study", "list", code=1)
    assert list(home.iterdir()) == []
    noctis("facility", "add", "Central")
    assert (home / "noctis.db").is_file()


def test_root_does_not_become_who_cannot_run_this(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("initgroups", "setgid", "setuid"):
        monkeypatch.setattr(os, name, lambda *numbers: None)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(HomeError, match="may not read"):
        common.become(os.stat_result((0o40700, 0, 0, 1, 65534, 65534, 0, 0, 0, 0)))


def test_versions(noctis: Call) -> None:
    versions = noctis("version", "--json").json
    assert versions["noctis"] == __version__
    assert {"python", "pydicom", "pynetdicom", "SQLAlchemy"} <= versions.keys()
    assert f"noctis      {__version__}" in noctis("version").out
