"""A new release on an older schema: whoever sends is served while the database is upgraded, however that goes."""

import contextlib
import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import Engine, text

from noctis.db import migrate
from noctis.facilities import watcher
from tests.older import OLDER, add_facility, add_studies, make_schema
from tests.postgres import PostgresServer
from tests.support import free_port, wait_for
from tests.system import senders
from tests.system.conftest import MakeNoctis, Noctis
from tests.system.senders import StubbornSender

NEWEST = migrate.revisions()[-1]
STUDIES = 40_000  # several batches of the upgrade
FACILITY = "CENTRAL"

Old = Callable[..., Noctis]


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """The section of the settings."""
    if request.param == "sqlite":
        yield {}
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    name = server.create()
    yield {"url": server.url(name)}
    server.drop(name)


@pytest.fixture
def old(make_noctis: MakeNoctis, database: dict[str, Any]) -> Old:
    """A home that an older release has left: one facility, and a snapshot of it. Not started."""

    def make(studies: int = 0, **options: Any) -> Noctis:
        noctis = make_noctis(database=database, **options)
        noctis.settings.paths.create()
        engine = noctis.engine()
        make_schema(engine)
        add_facility(engine, "Central", noctis.port + 1)
        add_studies(engine, studies)
        watcher.refresh(noctis.settings, engine)
        engine.dispose()
        return noctis

    return make


@contextlib.contextmanager
def held(noctis: Noctis) -> Iterator[None]:
    """Somebody else's transaction, for which the upgrade has to wait."""
    engine = noctis.engine()
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("LOCK TABLE study IN ACCESS SHARE MODE"))
        else:
            connection.execute(text("SELECT 1"))  # BEGIN IMMEDIATE
        yield
    engine.dispose()


def schema(noctis: Noctis) -> str | None:
    engine: Engine = noctis.engine()
    try:
        return migrate.schema_state(engine).current
    finally:
        engine.dispose()


def upgrade_pid(noctis: Noctis) -> int | None:
    """The process that upgrades; None: there is none."""
    told: str = noctis.cli("supervisorctl", "status")
    words = next((line.split() for line in told.splitlines() if line.startswith("upgrade")), [])
    return int(words[3].rstrip(",")) if "RUNNING" in words else None


def get(url: str) -> tuple[int, str, Any]:
    """Status, body and headers."""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status, answer.read().decode(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), error.headers


def send(noctis: Noctis, seed: int, count: int = 5) -> list[str]:
    """Echo and store; what was acknowledged."""
    assert senders.echoscu(noctis.port + 1, FACILITY)
    load = StubbornSender(noctis.port + 1, FACILITY, seed, limit=count)
    load.start()
    acknowledged = load.stop_at_limit()
    assert load.refused == []
    assert load.broken == 0
    return acknowledged


def wait_filed(noctis: Noctis, acknowledged: list[str]) -> None:
    wait_for(lambda: schema(noctis) == NEWEST, seconds=120, what="the upgrade")
    wait_for(lambda: set(noctis.indexed()) == set(acknowledged), seconds=60, what="everything to be filed")
    wait_for(noctis.settled, what="an empty spool")
    wait_for(lambda: "upgrade" not in noctis.cli("supervisorctl", "status"), what="the upgrade's process to be gone")


def test_receiving_does_not_wait_for_the_upgrade(old: Old) -> None:
    port = free_port()
    noctis = old(web={"enabled": True, "port": port})
    snapshot = noctis.settings.paths.snapshot.read_bytes()
    with held(noctis):
        noctis.start()
        acknowledged = send(noctis, 1)
        assert schema(noctis) == OLDER
        wait_for(lambda: noctis.events("supervisor.ready"), what="READY=1")

        status = noctis.run("status")
        assert status.returncode == 1
        assert f"the database is being upgraded from schema {OLDER} to {NEWEST}" in status.stdout
        assert "noctis db upgrade" not in status.stdout
        assert json.loads(noctis.run("status", "--json").stdout)["database"]["upgrade"]["after"] == NEWEST
        assert "is being upgraded" in noctis.run("check").stdout
        for command in (("facility", "add", "Later"), ("study", "list"), ("db", "upgrade")):
            refused = noctis.run(*command)
            assert refused.returncode == 1
            assert f"the database is being upgraded from schema {OLDER} to {NEWEST}" in refused.stderr
            assert "fix: wait until it is done" in refused.stderr or "fix: end that program" in refused.stderr
            assert "fix: noctis db upgrade" not in refused.stderr

        code, body, _ = wait_for(lambda: get(f"http://127.0.0.1:{port}/readyz"), what="the web process")
        assert code == 503
        assert "is being upgraded" in json.loads(body)["reasons"][0]["problem"]
        code, body, headers = get(f"http://127.0.0.1:{port}/login")
        assert (code, headers["Refresh"], headers["Retry-After"]) == (503, "5", "5")
        assert "The database is being upgraded" in body
        code, body, _ = get(f"http://127.0.0.1:{port}/api/v1/facilities")
        assert code == 503
        assert "is being upgraded" in json.loads(body)["title"]
        assert noctis.settings.paths.snapshot.read_bytes() == snapshot
        acknowledged += send(noctis, 2)
    wait_filed(noctis, acknowledged)
    assert get(f"http://127.0.0.1:{port}/login")[0] == 200
    wait_for(lambda: get(f"http://127.0.0.1:{port}/readyz")[0] == 200, what="readiness")
    assert noctis.run("status").returncode == 0
    assert noctis.json("facility", "add", "Later")["slug"] == "later"
    (event,) = noctis.json("event", "list", "--action", "database.upgraded")
    assert event["detail"] == {"before": OLDER, "now": NEWEST}
    assert {each["level"] for each in noctis.events("database.upgrade_awaited")} == {"info"}
    for name in ("archiver.waiting", "database.down"):
        assert noctis.events(name) == []
    assert noctis.events("process.crashed") == []


def held_in_the_middle(noctis: Noctis) -> int:
    """Start, and stop the clock of the upgrade's process (SIGSTOP) when some of the words are written; its pid."""
    note = noctis.settings.paths.run / "upgrade.json"
    noctis.start()
    wait_for(lambda: note.exists() and json.loads(note.read_text())["done"] > 0, seconds=60, what="some of the words")
    (pid,) = (each.pid for each in psutil.Process(noctis.pid).children() if each.name().startswith("noctis:upgrade"))
    os.kill(pid, signal.SIGSTOP)
    assert 0 < json.loads(note.read_text())["done"] < STUDIES
    assert schema(noctis) == OLDER
    return pid


def let_it_meet_its_end(pid: int) -> None:
    """Go on with a process that was held, once it was sent SIGTERM: it does nothing else any more.

    The kernel itself goes on with one whose parent was killed.
    """

    def is_sent() -> bool:
        try:
            lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        except (FileNotFoundError, ProcessLookupError):
            return True
        return bool(int(lines["ShdPnd"], 16) >> (signal.SIGTERM - 1) & 1)

    wait_for(is_sent, what="SIGTERM")
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("whom", ["child", "parent"])
def test_a_kill_in_the_middle_of_it_undoes_it_and_it_begins_anew(old: Old, whom: str) -> None:
    noctis = old(STUDIES)
    pid = held_in_the_middle(noctis)
    if whom == "child":
        os.kill(pid, signal.SIGKILL)
    else:
        noctis.kill()
        let_it_meet_its_end(pid)
        wait_for(lambda: not noctis.processes(), what="the children to follow")
        assert schema(noctis) == OLDER
        assert noctis.query("SELECT count(*) FROM study") == [(STUDIES,)]
        noctis.start()
    acknowledged = send(noctis, 3)
    wait_filed(noctis, acknowledged)
    assert noctis.query("SELECT count(*) FROM study WHERE words <> ''")[0][0] >= STUDIES
    assert noctis.query("SELECT count(*) FROM event WHERE action = 'database.upgraded'") == [(1,)]


def test_a_stop_in_the_middle_of_it(old: Old) -> None:
    noctis = old(STUDIES)
    pid = held_in_the_middle(noctis)
    noctis.signal(signal.SIGTERM)
    let_it_meet_its_end(pid)
    assert noctis.wait_gone() == 0
    assert schema(noctis) == OLDER
    assert not noctis.processes()
    noctis.start()
    wait_filed(noctis, send(noctis, 4))


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_of_two_machines_on_one_database_one_upgrades_it(
    old: Old, make_noctis: MakeNoctis, database: dict[str, Any]
) -> None:
    first = old()
    second = make_noctis(database=database)
    second.settings.paths.create()
    second.settings.paths.snapshot.write_bytes(first.settings.paths.snapshot.read_bytes())
    with held(first):
        first.start()
        wait_for(lambda: upgrade_pid(first), what="the first one's upgrade")
        second.set(facilities={"first_port": second.port + 1})
        second.start(wait=False)  # the facility's port is the first one's, as both are on this machine
        wait_for(lambda: second.control.is_running() and upgrade_pid(second), what="the second one's upgrade")
    for each in (first, second):
        wait_for(lambda each=each: upgrade_pid(each) is None, seconds=60, what="the end of the upgrade")
        assert each.events("process.crashed") == []
        assert each.events("database.upgrade_waits") == []
        assert not (each.settings.paths.run / "upgrade.json").exists()
    assert schema(first) == NEWEST
    assert first.query("SELECT count(*) FROM event WHERE action = 'database.upgraded'") == [(1,)]


def test_a_database_that_comes_back_with_an_older_schema_is_upgraded(make_noctis: MakeNoctis) -> None:
    """The release was changed while the database was away."""
    server = PostgresServer()
    try:
        noctis = make_noctis(database={"url": server.url(server.create()), "connect_seconds": 2})
        noctis.settings.paths.create()
        engine = noctis.engine()
        make_schema(engine)
        add_facility(engine, "Central", noctis.port + 1)
        watcher.refresh(noctis.settings, engine)
        engine.dispose()
        server.stop()
        noctis.start()
        acknowledged = send(noctis, 5)
        server.start()
        wait_filed(noctis, acknowledged)
    finally:
        server.close()
