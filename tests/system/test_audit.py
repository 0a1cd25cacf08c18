"""Audit messages of a whole Noctis, by TCP and by TLS."""

import os
import re
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from noctis.checks import findings
from tests.auditing import Received, SyslogServer, syslog_server
from tests.integration.audit.certificates import Authority
from tests.samples import write_study
from tests.support import wait_for
from tests.system import senders
from tests.system.conftest import MakeNoctis, Noctis

STUDY, PATIENT = "110180", "2"
UID = "1.2.826.0.1.3680043.2.1.1"


@pytest.fixture
def server() -> Iterator[SyslogServer]:
    with syslog_server() as made:
        yield made


def audited(make_noctis: MakeNoctis, server: SyslogServer, **settings: str) -> Noctis:
    return make_noctis(audit={"syslog": f"tcp://127.0.0.1:{server.port}", **settings})


def told(server: SyslogServer, event: str, kind: str | None = None, count: int = 1) -> list[Received]:
    def found() -> list[Received]:
        some = [each for each in list(server.received) if each.id == event and kind in (None, each.type)]
        return some if len(some) >= count else []

    return wait_for(found, seconds=30, what=f"{count} of {event} {kind or ''}")


def test_everything_that_shall_be_told_is_told(make_noctis: MakeNoctis, server: SyslogServer, tmp_path: Path) -> None:
    noctis = audited(make_noctis, server).start()
    (started,) = told(server, "110100", "110120")
    assert noctis.control_status()["pid"] == int(started.users[0])
    facility = noctis.json("facility", "add", "Central")
    told(server, "110113", "110128")
    noctis.cli("device", "add", "central", "CT1")
    told(server, "110113", "110137")
    noctis.run("user", "add", "ada", "--password-stdin", stdin="correct horse battery staple\n")
    token = noctis.cli("user", "token", "add", "ada", "--name", "nightly").strip()
    *_, made = told(server, "110113", "110137", count=3)
    assert "nightly" in made.details[0]
    assert token.removeprefix("noctis_") not in made.details[0]
    noctis.wait_listener("central")
    paths = write_study(tmp_path / "study", 3, study=UID, patient_id="P4711", name="Secretan^Nadia")
    senders.storescu(facility["port"], facility["ae_title"], paths, calling="CT1")
    (transferred,) = told(server, "110104")
    assert (transferred.objects(STUDY), transferred.objects(PATIENT)) == ([UID], ["P4711"])
    assert transferred.classes == {"1.2.840.10008.5.1.4.1.1.2": 3}
    assert not senders.echoscu(noctis.port, "NOBODY", "STRANGER")
    (refused,) = told(server, "110113", "110126")
    assert "STRANGER" in refused.users
    noctis.cli("study", "list", "--patient", "Secretan", "--modality", "CT")
    noctis.cli("instance", "list", "--study", UID)
    first, second = told(server, "110112", count=2)
    assert '"fields": ["limit", "modality", "patient"]' in first.query
    assert "Secretan" not in first.query
    assert UID in second.query
    noctis.cli("import", "central", write_study(tmp_path / "old", 1, patient_id="P0815")[0])
    (imported,) = told(server, "110107")
    assert imported.objects(PATIENT) == ["P0815"]
    noctis.cli("db", "backup", tmp_path / "copy.db")
    noctis.cli("archive", "verify")
    noctis.cli("supervisorctl", "status")
    noctis.cli("supervisorctl", "restart", "watcher:*")
    noctis.cli("reload")
    actions = {"database.backed_up", "archive.verified", "supervisorctl.called", "supervisor.reloaded"}
    wait_for(lambda: actions <= {each["action"] for each in noctis.json("event", "list")}, what="the events")
    assert len(noctis.json("event", "list", "--action", "supervisorctl")) == 1
    told(server, "110113", "110132", count=3)
    audit = noctis.status()["audit"]
    assert audit["state"] == "running"
    assert audit["waiting"] == 0
    assert "audit     running" in noctis.cli("status")
    assert not [each for each in noctis.json("check") if each["check"] == "audit" and not each["well"]]
    assert "Secretan" not in noctis.log.read_text()
    before = len(server.received)
    noctis.stop()
    noctis.start()
    (stopped,) = told(server, "110100", "110121")
    assert stopped.outcome == "0"
    told(server, "110100", "110120", count=2)
    assert len(server.received) == before + 2  # a stop in order repeats nothing


def test_the_server_and_the_service_are_away_for_a_while(
    make_noctis: MakeNoctis, server: SyslogServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    noctis = audited(make_noctis, server).start()
    told(server, "110100", "110120")
    server.stop()
    noctis.add("Central")
    wait_for(lambda: (noctis.control_status()["audit"]["waiting_seconds"] or 0) > 0, what="an outage")
    noctis.add("North")
    # two, and those of the start too if the server went before they counted as arrived
    wait_for(lambda: noctis.control_status()["audit"]["waiting"] in (2, 3, 4), seconds=60, what="a further try")
    killed = noctis.control_status()["audit"]["pid"]
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: noctis.control_status()["audit"]["pid"] not in (None, killed), what="another process")

    def is_back_and_waits() -> bool:
        audit = noctis.control_status()["audit"]
        return audit["state"] == "running" and (audit["waiting_seconds"] or 0) > 0

    wait_for(is_back_and_waits, what="an outage")
    monkeypatch.setattr(findings, "AUDIT_LATE_SECONDS", 0)
    (finding,) = findings.check_audit(noctis.settings)
    assert not finding.well
    assert re.search(r"\b[234] wait", finding.text)
    server.start()
    told(server, "110113", "110128", count=2)
    wait_for(lambda: noctis.control_status()["audit"]["waiting_seconds"] is None, what="the end of the outage")
    assert next(findings.check_audit(noctis.settings)).well


def test_an_unclean_end_is_told_at_the_next_start(make_noctis: MakeNoctis, server: SyslogServer) -> None:
    noctis = audited(make_noctis, server).start()
    told(server, "110100", "110120")
    for process in noctis.processes():
        process.kill()
    noctis.wait_gone()
    noctis.start()
    (lost,) = told(server, "110100", "110121")
    assert lost.outcome == "12"
    noctis.reload()
    told(server, "110100", "110120", count=3)
    assert [each.outcome for each in told(server, "110100", "110121", count=2)] == ["12", "0"]


def test_by_tls_to_a_server_that_is_the_right_one(make_noctis: MakeNoctis, tmp_path: Path) -> None:
    authority = Authority.make(tmp_path / "ca")
    certificate, key = authority.issue("noctis")
    with syslog_server(authority.server(clients=True)) as server:
        own = {"ca": str(authority.certificate), "certificate": str(certificate), "private_key": str(key)}
        noctis = make_noctis(audit={"syslog": f"tls://localhost:{server.port}", **own}).start()
        told(server, "110100", "110120")
        noctis.add("Central")
        told(server, "110113", "110128")
        assert noctis.stop() == 0


def test_events_cost_no_database(make_noctis: MakeNoctis) -> None:
    """Without `audit.syslog` there is no service, and the events are there; a query that finds no journal succeeds."""
    noctis = make_noctis().start()
    assert noctis.status()["audit"] is None
    noctis.cli("study", "list")
    wait_for(lambda: noctis.json("event", "list", "--action", "query.studies"), what="the event")
    noctis.stop()
    journal = noctis.settings.paths.journal
    lock = sqlite3.connect(noctis.settings.paths.sqlite, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    try:
        noctis.cli("study", "list")  # reads, and waits for no writer
        assert "query.studies" in (journal / "operator.jsonl").read_text()
    finally:
        lock.close()
    (journal / "operator.jsonl").unlink()
    (journal / "operator.jsonl").mkdir()
    noctis.cli("study", "list")
    assert "event archive.reindexed could not be written" in noctis.run("archive", "reindex").stderr
