"""With PostgreSQL away in mid-stream nothing is refused and nothing fails; all is indexed once it is back."""

import os
import signal
from collections.abc import Iterator

import pytest

from tests.postgres import PostgresServer
from tests.support import wait_for
from tests.system import senders
from tests.system.conftest import MakeNoctis, Noctis
from tests.system.senders import StubbornSender


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A server of this test's own: it is stopped in the middle."""
    running = PostgresServer()
    yield running
    running.close()


@pytest.fixture
def noctis(make_noctis: MakeNoctis, server: PostgresServer) -> Noctis:
    return make_noctis(database={"url": server.url(server.create()), "connect_seconds": 2}).start()


def indexed(noctis: Noctis) -> set[str]:
    return {uid for (uid,) in noctis.query("SELECT sop_instance_uid FROM instance")}


def more(load: StubbornSender, count: int = 30) -> None:
    before = len(load.acknowledged)
    wait_for(lambda: len(load.acknowledged) >= before + count, what=f"{count} more instances acknowledged")


def test_a_stream_does_not_notice_that_the_database_is_away(noctis: Noctis, server: PostgresServer) -> None:
    facility = noctis.json("facility", "add", "Central")
    load = StubbornSender(facility["port"], facility["ae_title"], 1)
    load.start()
    more(load)
    server.stop()
    more(load)
    wait_for(lambda: noctis.control_status()["archiver"]["last_error"], what="the archiver to notice")
    more(load)
    server.start()
    more(load)
    acknowledged = load.stop()
    assert load.refused == []
    assert load.broken == 0
    wait_for(lambda: indexed(noctis) >= set(acknowledged), seconds=60, what="everything to be indexed")
    assert noctis.run("archive", "verify").returncode == 0


def test_listeners_start_and_restart_without_the_database(noctis: Noctis, server: PostgresServer) -> None:
    facility = noctis.json("facility", "add", "Central")
    noctis.stop()
    server.stop()
    noctis.start()
    assert senders.echoscu(facility["port"], facility["ae_title"])
    os.kill(noctis.listener("central")["pid"], signal.SIGKILL)
    wait_for(lambda: senders.echoscu(facility["port"], facility["ae_title"]), what="the listener to be back")
    load = StubbornSender(facility["port"], facility["ae_title"], 2)
    load.start()
    more(load)
    acknowledged = load.stop()
    found = noctis.run("status", "--json")
    assert found.returncode == 1
    assert '"reachable": false' in found.stdout
    server.start()
    wait_for(lambda: indexed(noctis) == set(acknowledged), seconds=60, what="everything to be indexed")
