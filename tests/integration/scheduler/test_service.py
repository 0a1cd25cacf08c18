"""The scheduled verify: once when due, made up for when missed, never two at once; what it found is noted."""

import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from noctis.archiver.ledger import write_ledgers
from noctis.config import Settings
from noctis.db import models
from noctis.observability.scoreboard import Scoreboard
from noctis.scheduler import service, verification
from noctis.scheduler.service import Scheduler
from noctis.scheduler.verification import LastVerify
from tests.books import rows
from tests.spooling import Intake

LONG_AGO = LastVerify(began="2020-01-01T00:00:00+00:00")
FIRST = "central/1.1/1.1.0/1.2.3.0.dcm"


@pytest.fixture
def due(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Scheduler]:
    """A scheduler that finds a missed verify and does not wait with it."""
    monkeypatch.setattr(service, "START_SECONDS", 0.0)

    def make() -> Scheduler:
        verification.write(settings.paths, LONG_AGO)
        return Scheduler(settings, Scoreboard())

    return make


def ended(settings: Settings) -> str | None:
    last = verification.read(settings.paths)
    assert last is not None
    return last.ended


@pytest.mark.usefixtures("filed")
def test_what_is_due_is_done_once_and_noted(due: Callable[[], Scheduler], settings: Settings, engine: Engine) -> None:
    scheduler = due()
    scheduler.look()
    last = verification.read(settings.paths)
    assert last is not None
    assert (last.actor, last.files, last.rows, last.findings) == ("scheduler", 3, 3, {})
    scheduler.look()
    assert verification.read(settings.paths) == last
    Scheduler(settings, Scoreboard()).look()
    assert verification.read(settings.paths) == last
    write_ledgers(engine, settings.paths.journal)
    (event,) = [row for row in rows(engine, models.Event) if row["action"] == "archive.verified"]
    assert (event["actor"], event["detail"]["files"], event["detail"]["findings"]) == ("scheduler", 3, {})


@pytest.mark.usefixtures("filed")
def test_what_is_found_is_told(due: Callable[[], Scheduler], settings: Settings, engine: Engine) -> None:
    (settings.paths.media / FIRST).unlink()
    due().look()
    last = verification.read(settings.paths)
    assert last is not None
    assert last.findings == {"no-file": 1}
    write_ledgers(engine, settings.paths.journal)
    (event,) = [row for row in rows(engine, models.Event) if row["action"] == "archive.verified"]
    assert event["detail"]["first"] == [{"kind": "no-file", "facility": "central", "subject": FIRST}]


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_the_first_look_only_begins_to_count(settings: Settings) -> None:
    Scheduler(settings, Scoreboard()).look()
    assert ended(settings) is None
    began = datetime.fromisoformat(verification.read(settings.paths).began)  # type: ignore[union-attr]
    assert timedelta(0) <= datetime.now(UTC) - began < timedelta(minutes=10)


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_one_that_was_missed_waits_a_while_after_the_start(settings: Settings) -> None:
    verification.write(settings.paths, LONG_AGO)
    Scheduler(settings, Scoreboard()).look()
    assert ended(settings) is None


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_nothing_is_scheduled(settings: Settings, due: Callable[[], Scheduler]) -> None:
    never = settings.model_copy(update={"schedule": settings.schedule.model_copy(update={"verify": "never"})})
    verification.write(settings.paths, LONG_AGO)
    Scheduler(never, Scoreboard()).look()
    assert ended(settings) is None


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_another_verify_is_not_joined(due: Callable[[], Scheduler], settings: Settings) -> None:
    scheduler = due()
    with verification.only_one(settings.paths):
        assert verification.running_pid(settings.paths) is not None
        with pytest.raises(verification.BusyError), verification.only_one(settings.paths):
            pass
        scheduler.look()
    assert ended(settings) is None
    assert verification.running_pid(settings.paths) is None
    scheduler._not_before = 0.0
    scheduler.look()
    assert ended(settings) is not None


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_with_the_database_away_it_is_tried_again(due: Callable[[], Scheduler], settings: Settings) -> None:
    scheduler = due()
    away = settings.paths.sqlite.with_suffix(".away")
    settings.paths.sqlite.rename(away)
    scheduler.look()
    assert ended(settings) is None
    assert verification.running_pid(settings.paths) is None  # the lock file of one that failed names nobody
    away.rename(settings.paths.sqlite)
    scheduler.look()
    assert ended(settings) is None  # not at once
    scheduler._not_before = 0.0
    scheduler.look()
    assert ended(settings) is not None


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
@pytest.mark.parametrize("content", ["", "{", "[]", '{"began": "x"}', '{"began": "2020-01-01T00:00:00"}', '{"a": 1}'])
def test_a_broken_note_counts_as_none(content: str, settings: Settings) -> None:
    (settings.paths.run / "verify.json").write_text(content)
    assert verification.read(settings.paths) is None
    Scheduler(settings, Scoreboard()).look()
    assert verification.read(settings.paths) is not None


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_a_clock_that_was_far_ahead_is_corrected(due: Callable[[], Scheduler], settings: Settings) -> None:
    verification.write(settings.paths, LastVerify(began="2099-01-01T00:00:00+00:00", ended="2099-01-01T01:00:00+00:00"))
    Scheduler(settings, Scoreboard()).look()
    last = verification.read(settings.paths)
    assert last is not None
    assert last.began_at <= datetime.now(UTC)


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_sigterm_ends_it_in_the_middle(settings: Settings, filed: Intake) -> None:
    verification.write(settings.paths, LONG_AGO)
    script = f"""
from noctis.config import load_settings
from noctis.observability.scoreboard import Scoreboard
from noctis.repository import verify
from noctis.scheduler import service
import time
service.START_SECONDS = 0.0
def endless(*_):
    print("verifying", flush=True)
    while True:
        time.sleep(60)
verify.verify = endless
service.run(load_settings(options={{"home": {str(settings.home)!r}}}), Scoreboard())
"""
    running = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    lines = iter(running.stdout.readline, "")
    assert any("verifying" in line for line in lines)
    with pytest.raises(verification.BusyError), verification.only_one(settings.paths):
        pass
    running.send_signal(signal.SIGTERM)
    assert running.wait(30) == -signal.SIGTERM
    running.stdout.close()
    assert ended(settings) is None
    with verification.only_one(settings.paths):
        pass
