"""`noctis notification` and `noctis receipt`."""

import csv
import io
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine

from noctis.archiver.filing import Filer
from noctis.config import load_settings
from noctis.db.engine import make_engine
from noctis.notify.rules import Draft, Rules
from noctis.repository.slots import everything_waiting
from tests.integration.cli.conftest import Call
from tests.notifying import SECRET, mail_server
from tests.spooling import Intake


@pytest.fixture
def engine(noctis: Call) -> Iterator[Engine]:
    noctis("facility", "add", "Central")
    made = make_engine(load_settings())
    yield made
    made.dispose()


@pytest.fixture
def received(engine: Engine) -> None:
    settings = load_settings()
    intake = Intake(settings)
    intake.instance(study="1.2.3", sop_instance="1.2.3.1")
    intake.instance(study="1.2.3", sop_instance="1.2.3.2")
    Filer(engine, settings).file((entry, None) for entry in everything_waiting(settings.paths.spool))
    intake.close()


def test_rules_tests_and_deliveries(noctis: Call, engine: Engine) -> None:
    assert noctis("notification", "rules").out.startswith("There is no rule")
    draft = Draft("pacs", ("silence",), url="https://x.example/secret", secret=SECRET, recipients=("a@x.example",))
    Rules(engine, load_settings(), "ada").add(draft)
    listed = noctis("notification", "rules")
    assert "https://x.example/…" in listed.out
    assert SECRET not in listed.out + noctis("notification", "rules", "--json").out
    assert "2 receivers" in noctis("notification", "test", "pacs").out
    rows = noctis("notification", "list", "--json").json
    assert [(row["state"], row["kind"], row["rule_name"]) for row in rows] == [("pending", "test", "pacs")] * 2
    noctis("notification", "discard", rows[0]["id"])
    noctis("notification", "retry", rows[1]["id"])
    assert noctis("notification", "retry", rows[0]["id"], code=2).err.startswith("noctis: this delivery is discarded")
    assert [row["id"] for row in noctis("notification", "list", "--state", "pending", "--json").json] == [rows[1]["id"]]
    assert "there is no notification rule" in noctis("notification", "test", "nobody", code=2).err
    actions = {row["action"] for row in noctis("event", "list", "--json").json}
    assert {"notification_rule.tested", "delivery.discarded", "delivery.retried"} <= actions


@pytest.mark.usefixtures("received")
def test_a_receipt_as_text_json_and_csv(noctis: Call) -> None:
    today = datetime.now().astimezone().date().isoformat()
    text = noctis("receipt", "central", "today").out
    assert f"Receipt of {today} for Central" in text
    assert "1 study, 1 series, 2 instances" in text
    document = noctis("receipt", "Central", today, "--json").json
    assert document["totals"]["instances"] == 2
    (row,) = csv.DictReader(io.StringIO(noctis("receipt", "central", today, "--csv").out))
    assert row["sha256"] == document["studies"][0]["sha256"]
    assert row["study_instance_uid"] == "1.2.3"


@pytest.mark.usefixtures("received")
def test_what_cannot_be_meant_is_said(noctis: Call) -> None:
    assert "no day" in noctis("receipt", "central", "soon", code=2).err
    assert "still to come" in noctis("receipt", "central", "2999-01-01", code=2).err
    assert "not both" in noctis("receipt", "central", "today", "--json", "--csv", code=2).err
    assert "no receipt of this day" in noctis("receipt", "central", "today", "--send", code=2).err
    assert "goes with --send" in noctis("receipt", "central", "today", "--to", "a@x.example", code=2).err
    assert "no e-mail address" in noctis("receipt", "central", "today", "--send", "--to", "x\ny", code=2).err


def test_check_asks_the_mail_server_and_tells_of_receivers(
    noctis: Call, engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def found() -> list[tuple[bool, str]]:
        told = json.loads(noctis("check", "--json", code=None).out)
        return [(each["well"], each["text"]) for each in told if each["check"] == "notifications"]

    assert found() == []
    monkeypatch.setenv("NOCTIS_SMTP__HOST", "127.0.0.1")
    monkeypatch.setenv("NOCTIS_SMTP__SECURITY", "none")
    with mail_server() as server:
        monkeypatch.setenv("NOCTIS_SMTP__PORT", str(server.port))
        assert found() == [(True, "the mail server 127.0.0.1 takes mail from us")]
    assert not found()[0][0]
    Rules(engine, load_settings(), "ada").add(Draft("pacs", ("silence",), url="https://x.example/s", secret=SECRET))
    noctis("notification", "test", "pacs")
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE delivery SET state = 'dead'")
    assert (False, "1 messages to https://x.example/… were given up: see the list") in found()
