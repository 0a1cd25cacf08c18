"""`noctis check`: each finding in plain words, each with its fix."""

import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from noctis.checks import findings
from noctis.config import load_settings
from noctis.home import Home, whoami
from noctis.scheduler import verification
from tests.integration.cli.conftest import Call
from tests.samples import write_study
from tests.support import free_port


def wrong(noctis: Call, *options: str | Path) -> dict[str, list[dict[str, Any]]]:
    """What is wrong, by check."""
    found: dict[str, list[dict[str, Any]]] = {}
    for each in noctis(*options, "check", "--json", code=1).json:
        if not each["well"]:
            assert each["fix"]
            found.setdefault(each["check"], []).append(each)
    return found


@pytest.fixture(autouse=True)
def _a_clock_that_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "RELEASED", datetime(2020, 1, 1, tzinfo=UTC))
    monkeypatch.setattr(findings, "_ntp", lambda: None)


@pytest.fixture(autouse=True)
def _a_port_for_the_pages_that_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOCTIS_WEB__PORT", str(free_port()))


def test_a_home_that_is_not_there(noctis: Call, home: Path) -> None:
    (finding,) = wrong(noctis)["folders"]
    assert finding["text"] == f"there is no Noctis home at {home}"
    assert not home.exists()


def test_a_fresh_home_lacks_a_supervisor_and_nothing_else(noctis: Call) -> None:
    noctis("facility", "add", "Central")
    assert wrong(noctis).keys() == {"supervisor"}
    out = noctis("check", "--quiet", code=1).out
    assert out.count("wrong") == out.count("fix: ") == 1
    assert "ok" not in out.split()


def test_what_is_not_the_owners(noctis: Call, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noctis("db", "upgrade")
    real = Path.stat

    def stat(self: Path, **options: bool) -> os.stat_result:
        found = list(real(self, **options))
        if self == home / "noctis.db":
            found[4] += 1  # the owner's number
        return os.stat_result(found)

    monkeypatch.setattr(Path, "stat", stat)
    (finding,) = wrong(noctis)["folders"]
    assert f"{home / 'noctis.db'} belongs to" in finding["text"]
    assert finding["fix"] == f"chown -R {whoami()} {home}"


def test_a_clock_that_is_wrong(noctis: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noctis("facility", "add", "Central")
    monkeypatch.setattr(findings, "_ntp", lambda: False)
    assert "not synchronised" in wrong(noctis)["clock"][0]["text"]
    write_study(tmp_path / "a", 1)
    noctis("import", "central", tmp_path / "a")
    monkeypatch.setattr(findings, "last_received", lambda engine: datetime.now(UTC) + timedelta(hours=1))
    assert "but an instance was received at" in wrong(noctis)["clock"][0]["text"]
    monkeypatch.setattr(findings, "RELEASED", datetime(2999, 1, 1, tzinfo=UTC))
    assert "before this version was made" in wrong(noctis)["clock"][0]["text"]


def test_a_disk_that_is_full(noctis: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    noctis("db", "upgrade")
    monkeypatch.setenv("NOCTIS_STORAGE__RESERVE_BYTES", str(1 << 60))
    assert [each["text"].split(" are free for the ")[1].split(";")[0] for each in wrong(noctis)["disk"]] == [
        "spool",
        "archive",
    ]


def test_a_port_that_somebody_holds(noctis: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        monkeypatch.setenv("NOCTIS_SERVER__PORT", str(port))
        noctis("db", "upgrade")
        (finding,) = wrong(noctis)["ports"]
        assert finding["text"].startswith(
            f"Port already in use: {port} of the default listener is held by pid {os.getpid()} ("
        )


def test_a_database_that_is_away_or_older(noctis: Call, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noctis("db", "upgrade")
    (home / "noctis.db").unlink()
    assert "has no tables yet" in wrong(noctis)["database"][0]["text"]
    monkeypatch.setenv("NOCTIS_DATABASE__URL", "postgresql://noctis:s3cret@127.0.0.1:1/x")
    (finding,) = wrong(noctis)["database"]
    assert "cannot be used" in finding["text"]
    assert "s3cret" not in finding["text"]


def test_a_wrong_setting_is_a_finding_too(noctis: Call, tmp_path: Path) -> None:
    path = tmp_path / "noctis.yaml"
    path.write_text("server:\n  port: 70000\nstorage:\n  layout: heap\n")
    (finding,) = wrong(noctis, "--config", path)["config"]
    assert f"{path}:2: server.port" in finding["text"]
    assert f"{path}:4: storage.layout" in finding["text"]
    assert "\n" not in finding["text"]


def test_what_the_last_verify_found_and_when_it_was(noctis: Call, home: Path, tmp_path: Path) -> None:
    noctis("facility", "add", "Central")
    write_study(tmp_path / "study", 2)
    noctis("import", "central", tmp_path / "study")
    assert noctis("status", "--json", code=1).json["verify"]["last"] is None
    noctis("archive", "verify", "--no-digests")
    assert noctis("status", "--json", code=1).json["verify"]["last"] is None  # it has not read the files
    noctis("archive", "verify")
    told = noctis("status", "--json", code=1).json["verify"]
    assert (told["files"], told["findings"], told["running"]) == (2, {}, False)
    assert told["last"] < told["next"]
    assert "verify" not in wrong(noctis)
    next((home / "media").rglob("*.dcm")).unlink()
    noctis("archive", "verify", code=1)
    assert "1 no-file" in noctis("status", code=1).out
    (finding,) = wrong(noctis)["verify"]
    assert "found: 1 no-file" in finding["text"]
    verification.write(
        home_paths(home), verification.LastVerify("2026-01-01T00:00:00+00:00", "2026-01-01T00:00:00+00:00")
    )
    (finding,) = wrong(noctis)["verify"]
    assert "was not verified for" in finding["text"]
    with verification.only_one(home_paths(home)):
        assert "runs on this home already" in noctis("archive", "verify", code=1).err
        assert noctis("status", "--json", code=1).json["verify"]["running"]


def home_paths(home: Path) -> Home:
    return load_settings(options={"home": str(home)}).paths


def test_pages_that_others_can_listen_in_to(noctis: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    noctis("db", "upgrade")
    assert "web" not in wrong(noctis)
    for address in ("0.0.0.0", "::", "192.0.2.1"):
        monkeypatch.setenv("NOCTIS_WEB__BIND", address)
        (finding,) = wrong(noctis)["web"]
        assert f"served on {address} without TLS" in finding["text"]
        assert "web.certificate" in finding["fix"]
    monkeypatch.setenv("NOCTIS_WEB__URL", "https://pages.example")  # a reverse proxy has it
    assert "web" not in wrong(noctis)
    monkeypatch.delenv("NOCTIS_WEB__URL")
    monkeypatch.setenv("NOCTIS_WEB__ENABLED", "false")
    assert "web" not in wrong(noctis)


def test_the_port_of_the_pages_is_taken(noctis: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    noctis("db", "upgrade")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("NOCTIS_WEB__PORT", str(taken.getsockname()[1]))
        (finding,) = wrong(noctis)["web"]
    assert f"held by pid {os.getpid()}" in finding["text"]
    assert "web.port" in finding["fix"]
