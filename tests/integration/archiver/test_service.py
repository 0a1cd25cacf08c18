"""The archiver as a process: forked, signalled, killed, and with its database taken away."""

import mmap
import os
import signal
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from noctis.archiver import service
from noctis.config import Settings, load_settings
from noctis.db import models
from noctis.db.engine import make_engine
from noctis.db.migrate import upgrade
from noctis.facilities.registry import Registry
from noctis.observability.scoreboard import Counter, Scoreboard, board_bytes
from noctis.observability.words import named
from noctis.repository.hints import HintSender
from noctis.repository.journal import Journal
from tests.books import assert_true, books, rows
from tests.postgres import PostgresServer
from tests.spooling import Intake
from tests.support import wait_for


class RunningArchiver:
    """A forked archiver."""

    def __init__(self, settings: Settings) -> None:
        self.scoreboard = Scoreboard(mmap.mmap(-1, board_bytes(8)))
        self.scoreboard.allow(8)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads
            self.pid = os.fork()
        if self.pid == 0:
            code = 70
            try:
                code = service.run(settings, self.scoreboard)
            finally:
                os._exit(code)

    def count(self, counter: Counter) -> int:
        board = self.scoreboard
        return board.get(counter) if counter is Counter.PENDING else board.total(counter)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send the signal; the exit code (negative: the signal that ended it)."""
        if not self.pid:
            return 0
        os.kill(self.pid, number)
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)


@pytest.fixture
def quick(settings: Settings) -> Settings:
    """Settings that make the archiver look often."""
    return load_settings(
        options={
            "home": str(settings.home),
            "database": {"url": settings.database_url},
            "storage": {"reserve_bytes": 0},
            "archiver": {"scan_seconds": 0.05, "study_quiet_seconds": 3600, "batch_instances": 20},
        }
    )


@pytest.fixture
def start(engine: Engine) -> Iterator[Callable[[Settings], RunningArchiver]]:
    running: list[RunningArchiver] = []

    def starter(settings: Settings) -> RunningArchiver:
        engine.dispose()  # a child must not have its parent's connections
        running.append(RunningArchiver(settings))
        return running[-1]

    yield starter
    for each in running:
        each.end(signal.SIGKILL)


def wait_until_filed(archiver: RunningArchiver, count: int) -> None:
    wait_for(lambda: archiver.count(Counter.INSTANCES) >= count, what=f"{count} instances filed")


def test_a_hint_is_enough(
    intake: Intake, settings: Settings, engine: Engine, start: Callable[[Settings], RunningArchiver]
) -> None:
    slow = load_settings(
        options={
            "home": str(settings.home),
            "database": {"url": settings.database_url},
            "archiver": {"scan_seconds": 3600},
        }
    )
    archiver = start(slow)
    wait_for(lambda: archiver.count(Counter.HEARTBEAT_NS), what="the archiver")
    sender = HintSender(settings.paths.hints)
    spooled = intake.instance(sop_instance="1.2.3.1")
    wait_for(lambda: sender.send(spooled.hint), what="room for a hint")
    wait_until_filed(archiver, 1)
    sender.close()
    assert archiver.end() == 0
    assert [row["sop_instance_uid"] for row in rows(engine, models.Instance)] == ["1.2.3.1"]
    assert_true(engine, settings)


def test_without_hints_the_scan_finds_everything(
    intake: Intake, quick: Settings, engine: Engine, start: Callable[[Settings], RunningArchiver]
) -> None:
    for number in range(5):
        intake.instance(sop_instance=f"1.2.3.{number}")
    intake.instance(sop_instance="1.2.3.0")
    intake.instance(sop_instance="1.2.3.0", name="Other")
    archiver = start(quick)
    wait_for(lambda: not intake.waiting(), what="an empty spool")
    wait_for(lambda: archiver.count(Counter.CONFLICTS), what="the conflict counted")
    intake.instance(sop_instance="1.2.3.9")
    wait_until_filed(archiver, 6)
    counts = (
        archiver.count(Counter.DUPLICATES),
        archiver.count(Counter.CONFLICTS),
        archiver.count(Counter.QUARANTINED),
    )
    assert counts == (1, 1, 1)
    wait_for(lambda: archiver.count(Counter.PENDING) == 0, what="nothing pending")
    assert archiver.end(signal.SIGINT) == 0
    assert len(rows(engine, models.Quarantined)) == 1
    assert_true(engine, quick)


def test_each_facility_is_counted_apart(
    intake: Intake, quick: Settings, start: Callable[[Settings], RunningArchiver]
) -> None:
    for number in range(3):
        intake.instance(sop_instance=f"1.2.3.{number}")
        intake.instance(sop_instance=f"1.2.3.{number}", slug="north")
    intake.instance(sop_instance="1.2.3.1", name="Other")
    intake.instance(sop_instance="1.2.3.1", slug="north")
    intake.instance(sop_instance="1.2.3.1", slug="nobody")  # waits
    archiver = start(quick)
    wait_until_filed(archiver, 6)
    wait_for(lambda: archiver.count(Counter.DUPLICATES) and archiver.count(Counter.CONFLICTS), what="the rest")
    rows = archiver.scoreboard.rows()
    wait_for(lambda: "nobody" in rows and rows["nobody"].get(Counter.PENDING), what="what waits")
    assert archiver.end() == 0
    central, north, nobody = (named(rows[slug].all()) for slug in ("central", "north", "nobody"))
    assert (central["instances"], central["conflicts"], central["quarantined"]) == (3, 1, 1)
    assert (north["instances"], north["duplicates"]) == (3, 1)
    assert "conflicts" not in north
    assert nobody["pending"] == 1
    assert nobody["oldest_ns"] > 0
    together = named(archiver.scoreboard.all())
    assert "instances" not in together
    assert sum(together["lag"][:-1]) == 6
    assert sum(together["batch"][:-1]) == together["batches"]
    assert together["batch"][-1] >= 8


def test_killed_again_and_again_under_load(
    intake: Intake, quick: Settings, engine: Engine, start: Callable[[Settings], RunningArchiver]
) -> None:
    for round_ in range(8):
        for number in range(60):
            intake.instance(study=f"1.2.826.{number % 7}", sop_instance=f"1.2.3.{round_}.{number}")
        archiver = start(quick)
        if round_ % 2:
            wait_for(lambda archiver=archiver: archiver.count(Counter.BATCHES), what="a batch")
        else:
            wait_for(lambda archiver=archiver: archiver.count(Counter.HEARTBEAT_NS), what="the archiver")
        assert archiver.end(signal.SIGKILL) == -signal.SIGKILL
    archiver = start(quick)
    wait_for(lambda: archiver.count(Counter.HEARTBEAT_NS), what="the archiver")
    wait_for(lambda: not intake.waiting(), what="an empty spool")
    assert archiver.end() == 0
    found = books(engine, quick)
    assert len(found.instances) == len(found.archive) == 480
    assert sum(study["instances"] for study in found.studies) == 480
    assert_true(engine, quick)


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_with_the_database_away_it_waits_and_files_all_when_it_is_back(
    intake: Intake,
    quick: Settings,
    engine: Engine,
    start: Callable[[Settings], RunningArchiver],
    postgres: PostgresServer,
) -> None:
    intake.instance(sop_instance="1.2.3.1")
    archiver = start(quick)
    wait_until_filed(archiver, 1)
    postgres.stop()
    try:
        for number in range(2, 30):
            intake.instance(sop_instance=f"1.2.3.{number}")
        wait_for(lambda: archiver.count(Counter.LAST_ERROR_NS), what="the outage noticed")
        wait_for(lambda: archiver.count(Counter.PENDING) == 28, what="the backlog seen")
        assert "cannot be used" in archiver.scoreboard.read().last_error
    finally:
        postgres.start()
    wait_until_filed(archiver, 29)
    assert archiver.end() == 0
    assert_true(engine, quick)


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_told_to_stop_while_the_database_is_away_it_stops(
    quick: Settings, start: Callable[[Settings], RunningArchiver], postgres: PostgresServer
) -> None:
    postgres.stop()
    try:
        archiver = start(quick)
        wait_for(lambda: archiver.count(Counter.LAST_ERROR_NS), what="the outage noticed")
        assert archiver.end() == 0
    finally:
        postgres.start()


def test_started_before_the_tables_exist_it_waits_for_them(
    empty_database_url: str, home: Path, start: Callable[[Settings], RunningArchiver]
) -> None:
    settings = load_settings(
        options={
            "home": str(home),
            "database": {"url": empty_database_url},
            "archiver": {"scan_seconds": 0.05},
            "storage": {"reserve_bytes": 0},
        }
    )
    settings.paths.create()
    intake = Intake(settings)
    intake.instance()
    archiver = start(settings)
    wait_for(lambda: "noctis db upgrade" in archiver.scoreboard.read().last_error, what="the missing schema told")
    engine = make_engine(settings)
    upgrade(engine)
    Registry(engine, settings, actor="tester").add("Central")
    wait_until_filed(archiver, 1)
    assert archiver.end() == 0
    engine.dispose()
    intake.close()


def test_a_facility_without_a_row_is_told_and_filed_when_its_row_is_back(
    intake: Intake,
    quick: Settings,
    engine: Engine,
    start: Callable[[Settings], RunningArchiver],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "HELD_SECONDS", 0.2)
    intake.instance(slug="gone", sop_instance="1.2.3.1")
    intake.instance(sop_instance="1.2.3.1")
    archiver = start(quick)
    wait_until_filed(archiver, 1)
    wait_for(lambda: "gone" in archiver.scoreboard.read().last_error, what="the unknown facility told")
    wait_for(lambda: archiver.count(Counter.PENDING) == 1, what="one instance waiting")
    assert archiver.count(Counter.OLDEST_NS) > time.time_ns() - 600 * 10**9
    with engine.begin() as connection:
        connection.execute(text("UPDATE facility SET slug = 'gone' WHERE slug = 'north'"))
    wait_until_filed(archiver, 2)
    assert archiver.end() == 0


@pytest.mark.usefixtures("engine")
def test_a_facility_that_has_to_wait_is_held_once_a_batch(
    intake: Intake, quick: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Holding goes through everything that waits."""
    for _ in range(3):
        intake.instance(slug="gone")
    archiver = service.Archiver(quick, Scoreboard())
    held: list[str] = []
    monkeypatch.setattr(archiver._backlog, "hold_facility", lambda slug, _seconds: held.append(slug))
    archiver._backlog.scan()
    archiver.turn()
    archiver.close()
    assert held == ["gone"]


def test_ledgers_and_completion(
    intake: Intake, quick: Settings, settings: Settings, engine: Engine, start: Callable[[Settings], RunningArchiver]
) -> None:
    quiet = quick.model_copy(update={"archiver": quick.archiver.model_copy(update={"study_quiet_seconds": 0.2})})
    archiver = start(quiet)
    intake.instance()
    Journal(settings.paths.journal, "central-1").append(
        "event", at="2026-01-02T03:04:05+00:00", actor="listener", action="test", slug="central", subject="s", detail={}
    )
    wait_for(lambda: [row["status"] for row in rows(engine, models.Study)] == ["complete"], what="a complete study")
    wait_for(lambda: "test" in [row["action"] for row in rows(engine, models.Event)], what="the event")
    assert archiver.end() == 0


def test_what_a_dead_listener_committed_is_recovered(
    intake: Intake, quick: Settings, start: Callable[[Settings], RunningArchiver]
) -> None:
    """Whole by its commit record and not yet renamed: `spool.recover` moves it, and it is filed."""
    spooled = intake.instance()
    dead = quick.paths.spool / "central" / "tmp" / "0123456789abcdef"
    dead.mkdir()
    spooled.entry.path.rename(dead / "1.dcm")
    archiver = start(quick)
    wait_until_filed(archiver, 1)
    assert archiver.end() == 0
    assert not dead.exists()


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_a_locked_database_delays_and_loses_nothing(
    intake: Intake, quick: Settings, home: Path, start: Callable[[Settings], RunningArchiver]
) -> None:
    archiver = start(quick)
    wait_for(lambda: archiver.count(Counter.HEARTBEAT_NS), what="the archiver")
    holder = sqlite3.connect(home / "noctis.db", isolation_level=None, timeout=20)  # not over a fork
    holder.execute("BEGIN IMMEDIATE")
    intake.instance()
    wait_for(lambda: archiver.count(Counter.PENDING) == 1, what="the entry seen")
    holder.execute("ROLLBACK")
    holder.close()
    wait_until_filed(archiver, 1)
    assert archiver.end() == 0
